//! Stage 3: ranges of the activations that some artifact quantizes, observed once for all artifacts.

use std::collections::BTreeMap;

use tilecast_exec::Engine;
use tilecast_passes::PrecisionPlan;
use tilecast_quant::estimator_by_name;

use super::lint_stage::LintedJob;
use crate::calibrate::{
    CalibrateOptions, CalibratedRange, CalibrationTable, calibrate as observe, count_tiles,
};
use crate::context::{Context, Event};
use crate::stages::StageClock;
use crate::{Failure, FailureKind};

/// A job whose artifacts have precision plans and the ranges that these need.
pub(super) struct CalibratedJob {
    pub(super) linted: LintedJob,
    /// One per artifact.
    pub(super) plans: Vec<PrecisionPlan>,
    pub(super) ranges: BTreeMap<String, CalibratedRange>,
}

pub(super) fn calibrate(
    linted: LintedJob,
    engine: &dyn Engine,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<CalibratedJob, Failure> {
    let job = &linted.job;
    let plans: Vec<PrecisionPlan> =
        clock.run(cx, "plan", "artifacts", job.artifacts.len(), || {
            Ok::<_, Failure>(
                job.artifacts
                    .iter()
                    .map(|(request, _)| request.plan(&job.model))
                    .collect(),
            )
        })?;
    let mut values = Vec::new();
    for ((request, _), plan) in job.artifacts.iter().zip(&plans) {
        for pattern in plan.unmatched(&request.overrides) {
            cx.emit(&Event::Warning(&format!(
                "artifact `{}`: override `{pattern}` matches no node",
                request.name
            )));
        }
        values.extend(request.calibrated_values(&job.model, plan));
    }
    values.sort_unstable();
    values.dedup();
    let table = if values.is_empty() {
        CalibrationTable::default()
    } else {
        let options = CalibrateOptions {
            values,
            geometry: &linted.geometry,
            tile_px: Some(job.tile_px()),
            memory_bytes: job.memory_bytes(),
            value_range: job.value_range,
        };
        let images = &job.images.calibration;
        let total = count_tiles(images, &options)?;
        clock.run(cx, "calibrate", "tiles", total, || {
            observe(engine, &job.model, images, &options, cx)
        })?
    };
    let estimator = estimator_by_name(job.recipe.recipe.calibration.range.name())
        .map_err(|e| Failure::new(FailureKind::Usage, e.to_string()))?;
    let ranges = table.ranges(estimator.as_ref())?;
    Ok(CalibratedJob {
        linted,
        plans,
        ranges,
    })
}
