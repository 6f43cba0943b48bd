//! Stage 5: every precision plan is carried out on a copy of the prepared model.

use tilecast_onnx::Model;
use tilecast_passes::{PassReport, Precision};

use super::calibrate_stage::CalibratedJob;
use crate::Failure;
use crate::artifact::ArtifactRequest;
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
            if let Some(warning) = without_int8(request, &rewritten) {
                cx.emit(&Event::Warning(&warning));
            }
            models.push(rewritten);
            cx.emit(&Event::Progress { done: models.len() });
        }
        Ok::<_, Failure>(models)
    })?;
    Ok(RewrittenJob { calibrated, models })
}

/// What to say of an artifact that was asked for in INT8 and has none: it passes its gates easily.
fn without_int8(
    request: &ArtifactRequest,
    (model, passes): &(Model, Vec<PassReport>),
) -> Option<String> {
    let is_int8 = |op: &str| ["DequantizeLinear", "DynamicQuantizeLinear"].contains(&op);
    if request.precision != Precision::Int8 || model.graph().nodes().any(|(_, n)| is_int8(n.op())) {
        return None;
    }
    let declined = passes.iter().find_map(|pass| pass.declined.first());
    let why = match declined {
        Some(decline) => format!("`{}`: {}", decline.node, decline.reason),
        None => format!("the plan for target `{}` has none", request.target.name),
    };
    Some(format!(
        "artifact `{}`: no node became INT8 ({why}); the report says why for each",
        request.name
    ))
}
