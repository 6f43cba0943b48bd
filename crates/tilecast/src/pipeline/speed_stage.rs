//! Stage 9: where the machine has ONNX Runtime, the models that ship are timed in it.

use tilecast_exec::LibrarySearch;

use super::mix_stage::MixedJob;
use super::validate_stage::compare_options;
use crate::Failure;
use crate::context::Context;
use crate::speed::{Candidate, SpeedReport, measure, open};
use crate::stages::StageClock;

/// A job whose artifacts are timed, if that was possible.
pub(super) struct TimedJob {
    pub(super) mixed: MixedJob,
    pub(super) speed: SpeedReport,
}

pub(super) fn time(
    mixed: MixedJob,
    search: &LibrarySearch,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<TimedJob, Failure> {
    let engine = match open(search) {
        Ok(engine) => engine,
        Err(speed) => {
            return Ok(TimedJob {
                mixed,
                speed: *speed,
            });
        }
    };
    let saved = &mixed.validated.saved;
    let linted = &saved.rewritten.calibrated.prepared.linted;
    let job = &linted.job;
    let options = compare_options(saved);
    let candidates: Vec<Candidate<'_>> = job
        .artifacts
        .iter()
        .zip(&saved.files)
        .zip(&saved.rewritten.models)
        .map(|(((request, _), file), (open, _))| Candidate {
            name: &request.name,
            // All models are timed on the same tile, which one of fixed shape does not take.
            model: if request.shape.is_some() {
                open
            } else {
                &file.model
            },
        })
        .collect();
    let speed = clock.run(cx, "time", "runs", 0, || {
        measure(
            &engine,
            &job.feeding,
            linted.model(),
            &candidates,
            &job.images.holdout,
            &options,
            cx,
        )
    })?;
    Ok(TimedJob { mixed, speed })
}
