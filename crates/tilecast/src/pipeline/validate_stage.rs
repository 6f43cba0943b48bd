//! Stage 7: FP32 and every artifact run over the held-out images, tiled alike; FP32 also runs whole. Where an artifact is
//! not finite, its nodes are looked at.

use std::sync::atomic::AtomicUsize;

use tilecast_exec::Engine;
use tilecast_onnx::Model;

use super::save_stage::SavedJob;
use crate::Failure;
use crate::calibrate::{CalibrateOptions, count_tiles as count_observed_tiles};
use crate::compare::{CompareOptions, ImageComparison, Looks, compare, count_tiles};
use crate::context::Context;
use crate::finite::{FiniteCheck, observe_all};
use crate::stages::StageClock;

/// A job whose artifacts are measured.
pub(super) struct ValidatedJob {
    pub(super) saved: SavedJob,
    /// One per held-out image, with one score per artifact. What they say of tiles does not hold for artifacts of fixed shape.
    pub(super) images: Vec<ImageComparison>,
    /// One per artifact: the same for an artifact of fixed shape, with its score alone, in tiles of that shape.
    pub(super) fixed: Vec<Option<Vec<ImageComparison>>>,
    /// One per artifact: where it stopped being finite, if it did.
    pub(super) non_finite: Vec<Option<FiniteCheck>>,
}

pub(super) fn validate(
    saved: SavedJob,
    engine: &dyn Engine,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<ValidatedJob, Failure> {
    let options = compare_options(&saved);
    let linted = &saved.rewritten.calibrated.prepared.linted;
    let holdout = &linted.job.images.holdout;
    let is_fixed = |index: usize| linted.job.artifacts[index].0.shape.is_some();
    let candidates: Vec<&Model> = (0..saved.files.len())
        .filter(|&index| !is_fixed(index))
        .map(|index| &saved.files[index].model)
        .collect();
    let total = count_tiles(holdout, candidates.len(), &options)?;
    let mut images = clock.run(cx, "validate", "tiles", total, || {
        compare(engine, linted.model(), &candidates, holdout, &options, cx)
    })?;
    let mut fixed = Vec::new();
    for index in 0..saved.files.len() {
        let own = is_fixed(index)
            .then(|| measure_one(&saved, index, engine, clock, cx))
            .transpose()?;
        for (image, own) in images.iter_mut().zip(own.iter().flatten()) {
            image.scores.insert(index, own.scores[0].clone());
        }
        fixed.push(own);
    }
    let non_finite = (0..saved.files.len())
        .map(|index| find_non_finite(&saved, &images, index, engine, clock, cx))
        .collect::<Result<_, _>>()?;
    Ok(ValidatedJob {
        saved,
        images,
        fixed,
        non_finite,
    })
}

/// Runs one artifact over the held-out images, in tiles of its own.
fn measure_one(
    saved: &SavedJob,
    index: usize,
    engine: &dyn Engine,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<Vec<ImageComparison>, Failure> {
    let linted = &saved.rewritten.calibrated.prepared.linted;
    let geometry = match linted.job.artifacts[index].0.shape {
        Some(shape) => linted.geometry.with_fixed_tile(shape),
        None => linted.geometry.clone(),
    };
    let options = CompareOptions {
        geometry: &geometry,
        ..compare_options(saved)
    };
    let holdout = &linted.job.images.holdout;
    let total = count_tiles(holdout, 1, &options)?;
    let model = &saved.files[index].model;
    clock.run(cx, "validate", "tiles", total, || {
        compare(engine, linted.model(), &[model], holdout, &options, cx)
    })
}

/// Measures an artifact that was made anew, in the place of what it replaces.
///
/// # Errors
/// As [`validate`].
pub(super) fn validate_again(
    validated: &mut ValidatedJob,
    index: usize,
    engine: &dyn Engine,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<(), Failure> {
    let ValidatedJob {
        saved,
        images,
        fixed,
        ..
    } = validated;
    let again = measure_one(saved, index, engine, clock, cx)?;
    for (image, again) in images.iter_mut().zip(&again) {
        image.scores[index] = again.scores[0].clone();
    }
    if fixed[index].is_some() {
        fixed[index] = Some(again);
    }
    let found = find_non_finite(saved, images, index, engine, clock, cx)?;
    validated.non_finite[index] = found;
    Ok(())
}

/// How FP32 and artifacts are run.
pub(super) fn compare_options(saved: &SavedJob) -> CompareOptions<'_> {
    let linted = &saved.rewritten.calibrated.prepared.linted;
    let job = &linted.job;
    CompareOptions {
        geometry: &linted.geometry,
        tile_px: Some(job.tile_px()),
        memory_bytes: job.memory_bytes(),
        sweeping: linted.sweeping.as_ref(),
        value_range: job.feeding.value_range,
        looks: Some(Looks {
            pictures: true,
            error_maps: None,
        }),
        whole_reference: linted.windowed.is_some().then_some(&job.model),
    }
}

/// Which nodes of an artifact whose output is not finite give NaN or infinities on the held-out images where the prepared
/// model gives none.
fn find_non_finite(
    saved: &SavedJob,
    images: &[ImageComparison],
    index: usize,
    engine: &dyn Engine,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<Option<FiniteCheck>, Failure> {
    let mut differences = images.iter().map(|image| &image.scores[index].difference);
    if differences.all(|difference| difference.max_abs().is_some()) {
        return Ok(None);
    }
    let prepared = &saved.rewritten.calibrated.prepared;
    let job = &prepared.linted.job;
    let before = &prepared.targets[prepared.target_of(index)].prepared.model;
    // An artifact of fixed shape is looked at as it was before: tiles of any size show its nodes.
    let after = match job.artifacts[index].0.shape {
        Some(_) => &saved.rewritten.models[index].0,
        None => &saved.files[index].model,
    };
    let images = &job.images.holdout;
    let options = CalibrateOptions {
        values: Vec::new(),
        bins: false,
        study: None,
        analysis: Some(prepared.linted.geometry.analysis()),
        tile_px: Some(job.tile_px()),
        memory_bytes: job.memory_bytes(),
        value_range: job.feeding.value_range,
    };
    let total = 2 * count_observed_tiles(images, &options)?;
    clock.run(cx, "find non-finite nodes", "tiles", total, || {
        let done = AtomicUsize::new(0);
        let seen = observe_all(engine, before, images, &options, &done, cx)?;
        let found = observe_all(engine, after, images, &options, &done, cx)?;
        let check = FiniteCheck::new("held-out images", after, &found, &seen);
        Ok(Some(check))
    })
}
