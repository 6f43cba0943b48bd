//! Stage 4: precision plans; ranges of the activations that some artifact quantizes, and extremes of all values where an
//! artifact computes in 16 bits, observed in one run per target.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;

use tilecast_exec::Engine;
use tilecast_passes::{PrecisionPlan, RangeEvidence, RangeStudy};
use tilecast_quant::estimator_by_name;

use super::prepare_stage::PreparedJob;
use crate::calibrate::{
    CalibrateOptions, CalibratedRange, calibrate as observe, count_tiles, ranges as estimate_ranges,
};
use crate::context::{Context, Event};
use crate::stages::StageClock;
use crate::{Failure, FailureKind};

/// A job whose artifacts have precision plans and the ranges that these need.
pub(super) struct CalibratedJob {
    pub(super) prepared: PreparedJob,
    /// One per artifact.
    pub(super) plans: Vec<PrecisionPlan>,
    /// One per prepared target: range by name of the value.
    pub(super) ranges: Vec<BTreeMap<String, CalibratedRange>>,
    /// One per prepared target, where some artifact computes in 16 bits.
    pub(super) evidence: Vec<Option<RangeEvidence>>,
}

pub(super) fn calibrate(
    prepared: PreparedJob,
    engine: &dyn Engine,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<CalibratedJob, Failure> {
    let job = &prepared.linted.job;
    let estimator = estimator_by_name(job.recipe.recipe.calibration.range.name())
        .map_err(|e| Failure::new(FailureKind::Usage, e.to_string()))?;
    let mut plans = Vec::new();
    let mut values = vec![Vec::new(); prepared.targets.len()];
    let mut studies: Vec<Option<RangeStudy>> = vec![None; prepared.targets.len()];
    for (index, (request, _)) in job.artifacts.iter().enumerate() {
        let target = prepared.target_of(index);
        let model = &prepared.targets[target].prepared.model;
        let plan = request.plan(model, job.tile_px());
        for pattern in plan.unmatched(&request.overrides) {
            cx.emit(&Event::Warning(&format!(
                "artifact `{}`: override `{pattern}` matches no node of the simplified model",
                request.name
            )));
        }
        values[target].extend(request.calibrated_values(model, &plan));
        if request.computes_in_half() {
            studies[target].get_or_insert_with(|| RangeStudy::of(model));
        }
        plans.push(plan);
    }
    let images = &job.images.calibration;
    let options: Vec<CalibrateOptions<'_>> = values
        .into_iter()
        .zip(studies)
        .map(|(mut values, study)| {
            values.sort_unstable();
            values.dedup();
            CalibrateOptions {
                values,
                bins: estimator.needs_bins(),
                study,
                analysis: Some(prepared.linted.geometry.analysis()),
                tile_px: Some(job.tile_px()),
                memory_bytes: job.memory_bytes(),
                value_range: job.value_range,
            }
        })
        .collect();
    let mut total = 0;
    for options in options.iter().filter(|o| o.observes()) {
        total += count_tiles(images, options)?;
    }
    let tables = clock.run(cx, "calibrate", "tiles", total, || {
        let done = AtomicUsize::new(0);
        prepared
            .targets
            .iter()
            .zip(&options)
            .map(|(target, options)| {
                observe(engine, &target.prepared.model, images, options, &done, cx)
            })
            .collect::<Result<Vec<_>, Failure>>()
    })?;
    let ranges = tables
        .iter()
        .zip(&prepared.targets)
        .map(|(table, prepared)| {
            let symmetry = prepared.target.activation_symmetry;
            estimate_ranges(&table.statistics, estimator.as_ref(), symmetry)
        })
        .collect::<Result<_, _>>()?;
    let evidence: Vec<_> = options
        .iter()
        .zip(&tables)
        .map(|(options, table)| options.evidence(table))
        .collect();
    for (index, (request, _)) in job.artifacts.iter().enumerate() {
        if request.computes_in_half() {
            let target = prepared.target_of(index);
            let model = &prepared.targets[target].prepared.model;
            plans[index].keep_in_range(model, evidence[target].as_ref());
        }
    }
    Ok(CalibratedJob {
        prepared,
        plans,
        ranges,
        evidence,
    })
}
