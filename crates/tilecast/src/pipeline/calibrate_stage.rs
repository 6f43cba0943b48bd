//! Stage 4: precision plans; ranges of the activations that some artifact quantizes, and extremes of all values where an
//! artifact computes in 16 bits, observed in one run per target.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;

use tilecast_exec::Engine;
use tilecast_onnx::Model;
use tilecast_passes::{PrecisionPlan, RangeEvidence, RangeStudy};
use tilecast_quant::estimator_by_name;

use super::load_stage::LoadedJob;
use super::prepare_stage::PreparedJob;
use crate::cache::{CacheKey, StageCache};
use crate::calibrate::{
    CalibrateOptions, CalibratedRange, CalibrationTable, calibrate as observe, count_tiles,
    ranges as estimate_ranges,
};
use crate::context::{Context, Event};
use crate::identity::model_sha256;
use crate::provenance::images_sha256;
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
    cache: Option<&StageCache>,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<CalibratedJob, Failure> {
    let job = &prepared.linted.job;
    let estimator = estimator_by_name(job.recipe.recipe.calibration.range.name())
        .map_err(|e| Failure::new(FailureKind::Usage, e.to_string()))?;
    let (mut plans, options) = survey(&prepared, cx);
    let images = &job.images.calibration;
    let keys: Vec<Option<CacheKey>> = prepared
        .targets
        .iter()
        .zip(&options)
        .map(|(target, options)| {
            let cache = cache.filter(|_| options.observes())?;
            Some(table_key(cache, &target.prepared.model, options, job))
        })
        .collect();
    let kept: Vec<Option<CalibrationTable>> = keys
        .iter()
        .map(|key| {
            cache
                .zip(key.as_ref())
                .and_then(|(cache, key)| cache.load(key))
        })
        .collect();
    let n_kept = kept.iter().flatten().count();
    let keys: Vec<Option<CacheKey>> = keys
        .into_iter()
        .zip(&kept)
        .map(|(key, kept)| key.filter(|_| kept.is_none()))
        .collect();
    let mut total = 0;
    for (options, kept) in options.iter().zip(&kept) {
        if options.observes() && kept.is_none() {
            total += count_tiles(images, options)?;
        }
    }
    let tables = clock.run(cx, "calibrate", "tiles", total, || {
        let done = AtomicUsize::new(0);
        prepared
            .targets
            .iter()
            .zip(&options)
            .zip(kept)
            .map(|((target, options), kept)| match kept {
                Some(table) => Ok(table),
                None => observe(engine, &target.prepared.model, images, options, &done, cx),
            })
            .collect::<Result<Vec<_>, Failure>>()
    })?;
    if n_kept > 0 {
        let n = options.iter().filter(|o| o.observes()).count();
        clock.reused(format!("tables of {n_kept} of {n} target(s)"), cx);
    }
    keep(cache, &keys, &tables, cx);
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

/// The precision plans, one per artifact, and what is to be observed for them, one per prepared target.
pub(super) fn survey<'a>(
    prepared: &'a PreparedJob,
    cx: &Context<'_>,
) -> (Vec<PrecisionPlan>, Vec<CalibrateOptions<'a>>) {
    let job = &prepared.linted.job;
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
    let options = values
        .into_iter()
        .zip(studies)
        .map(|(mut values, study)| {
            values.sort_unstable();
            values.dedup();
            CalibrateOptions {
                values,
                bins: estimator_by_name(job.recipe.recipe.calibration.range.name())
                    .is_ok_and(|estimator| estimator.needs_bins()),
                study,
                analysis: Some(prepared.linted.geometry.analysis()),
                tile_px: Some(job.tile_px()),
                memory_bytes: job.memory_bytes(),
                value_range: job.feeding.value_range,
            }
        })
        .collect();
    (plans, options)
}

/// Everything that decides what is observed: the model that runs, what of it is looked at, and what it is fed.
pub(super) fn table_key(
    cache: &StageCache,
    model: &Model,
    options: &CalibrateOptions<'_>,
    job: &LoadedJob,
) -> CacheKey {
    let study = options.study.as_ref().map_or(&[][..], RangeStudy::values);
    let preprocess = &job.recipe.recipe.preprocess;
    CacheKey::new(cache, "calibrate")
        .with(&model_sha256(model))
        .with(&options.values.join("\n"))
        .with(&study.join("\n"))
        .with(&format!(
            "{:?} {:?} {} {preprocess:?}",
            options.tile_px, options.analysis, options.bins
        ))
        .with(&images_sha256(&job.calibration_facts))
}

/// Keeps the tables that were computed.
fn keep(
    cache: Option<&StageCache>,
    keys: &[Option<CacheKey>],
    tables: &[CalibrationTable],
    cx: &Context<'_>,
) {
    let Some(cache) = cache else {
        return;
    };
    for (key, table) in keys.iter().zip(tables) {
        let Some(key) = key else { continue };
        if let Err(error) = cache.store(key, table) {
            cx.emit(&Event::Warning(&format!(
                "cannot keep the calibration in `{}`: {error}; --no-cache does without",
                cache.folder.display()
            )));
            return;
        }
    }
}
