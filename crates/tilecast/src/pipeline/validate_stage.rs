//! Stage 7: FP32 and every artifact run over the held-out images, tiled alike; FP32 also runs whole. Where an artifact is
//! not finite, its nodes are looked at.

use std::sync::atomic::AtomicUsize;

use tilecast_exec::Engine;
use tilecast_onnx::Model;

use super::save_stage::SavedJob;
use crate::Failure;
use crate::calibrate::{CalibrateOptions, count_tiles as count_observed_tiles};
use crate::compare::{CompareOptions, ImageComparison, compare, count_tiles};
use crate::context::Context;
use crate::finite::{FiniteCheck, observe_all};
use crate::stages::StageClock;

/// A job whose artifacts are measured.
pub(super) struct ValidatedJob {
    pub(super) saved: SavedJob,
    /// One per held-out image, with one score per artifact.
    pub(super) images: Vec<ImageComparison>,
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
    let job = &saved.rewritten.calibrated.prepared.linted.job;
    let candidates: Vec<&Model> = saved.files.iter().map(|f| &f.model).collect();
    let total = count_tiles(&job.images.holdout, candidates.len(), &options)?;
    let images = clock.run(cx, "validate", "tiles", total, || {
        compare(
            engine,
            &job.model,
            &candidates,
            &job.images.holdout,
            &options,
            cx,
        )
    })?;
    let non_finite = (0..saved.files.len())
        .map(|index| find_non_finite(&saved, &images, index, engine, clock, cx))
        .collect::<Result<_, _>>()?;
    Ok(ValidatedJob {
        saved,
        images,
        non_finite,
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
    let ValidatedJob { saved, images, .. } = validated;
    let options = compare_options(saved);
    let job = &saved.rewritten.calibrated.prepared.linted.job;
    let holdout = &job.images.holdout;
    let total = count_tiles(holdout, 1, &options)?;
    let model = &saved.files[index].model;
    let again = clock.run(cx, "validate", "tiles", total, || {
        compare(engine, &job.model, &[model], holdout, &options, cx)
    })?;
    for (image, again) in images.iter_mut().zip(again) {
        image.scores[index] = again.scores.into_iter().next().expect("one candidate");
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
    let after = &saved.files[index].model;
    let images = &job.images.holdout;
    let options = CalibrateOptions {
        values: Vec::new(),
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
