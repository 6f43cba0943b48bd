//! Stage 7: FP32 and every artifact run over the held-out images, tiled alike; FP32 also runs whole.

use tilecast_exec::Engine;
use tilecast_onnx::Model;

use super::save_stage::SavedJob;
use crate::Failure;
use crate::compare::{CompareOptions, ImageComparison, compare, count_tiles};
use crate::context::Context;
use crate::stages::StageClock;

/// A job whose artifacts are measured.
pub(super) struct ValidatedJob {
    pub(super) saved: SavedJob,
    /// One per held-out image, with one score per artifact.
    pub(super) images: Vec<ImageComparison>,
}

pub(super) fn validate(
    saved: SavedJob,
    engine: &dyn Engine,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<ValidatedJob, Failure> {
    let linted = &saved.rewritten.calibrated.prepared.linted;
    let job = &linted.job;
    let options = CompareOptions {
        geometry: &linted.geometry,
        tile_px: Some(job.tile_px()),
        memory_bytes: job.memory_bytes(),
        value_range: job.value_range,
    };
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
    Ok(ValidatedJob { saved, images })
}
