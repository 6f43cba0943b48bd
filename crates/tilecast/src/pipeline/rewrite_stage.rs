//! Stage 5: every precision plan is carried out on a copy of the prepared model.

use tilecast_onnx::Model;
use tilecast_passes::PassReport;

use super::calibrate_stage::CalibratedJob;
use crate::Failure;
use crate::context::{Context, Event};
use crate::stages::StageClock;

/// A job whose artifacts exist in memory.
pub(super) struct RewrittenJob {
    pub(super) calibrated: CalibratedJob,
    /// One per artifact.
    pub(super) models: Vec<(Model, Vec<PassReport>)>,
}

pub(super) fn rewrite(
    calibrated: CalibratedJob,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<RewrittenJob, Failure> {
    let prepared = &calibrated.prepared;
    let job = &prepared.linted.job;
    let models = clock.run(cx, "rewrite", "artifacts", job.artifacts.len(), || {
        let mut models = Vec::new();
        for (index, (request, _)) in job.artifacts.iter().enumerate() {
            cx.check()?;
            let target = prepared.target_of(index);
            let ranges = calibrated.ranges[target]
                .iter()
                .map(|(name, range)| (name.clone(), range.range()))
                .collect();
            let rewritten = request
                .rewrite(
                    &prepared.targets[target].prepared.model,
                    &calibrated.plans[index],
                    &ranges,
                    calibrated.evidence[target].as_ref(),
                )
                .map_err(|f| f.about(format!("artifact `{}`", request.name)))?;
            models.push(rewritten);
            cx.emit(&Event::Progress { done: models.len() });
        }
        Ok::<_, Failure>(models)
    })?;
    Ok(RewrittenJob { calibrated, models })
}
