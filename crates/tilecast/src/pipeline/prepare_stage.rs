//! Stage 3: the model is simplified for each target, and run before and after to prove that nothing changed.

use tilecast_exec::Engine;
use tilecast_passes::{SimplifyOptions, Target};
use tilecast_quant::HalfFormat;

use super::lint_stage::LintedJob;
use crate::Failure;
use crate::context::{Context, Event};
use crate::prepare::{Prepared, prepare as simplify};
use crate::stages::StageClock;

/// A job whose model is ready to be rewritten. The model as it was loaded stays the reference.
pub(super) struct PreparedJob {
    pub(super) linted: LintedJob,
    /// One per target that an artifact names (and per format that needs a newer opset), in the order in which they are
    /// first named.
    pub(super) targets: Vec<PreparedTarget>,
}

/// The model as it suits one target.
pub(super) struct PreparedTarget {
    pub(super) target: &'static Target,
    pub(super) late_format: Option<HalfFormat>,
    pub(super) prepared: Prepared,
}

impl PreparedJob {
    /// Position in `targets` of the target that artifact `index` is made for.
    pub(super) fn target_of(&self, index: usize) -> usize {
        let wanted = &self.linted.job.artifacts[index].0;
        self.targets
            .iter()
            .position(|t| {
                t.target.name == wanted.target.name && t.late_format == wanted.late_format()
            })
            .expect("every target that an artifact names was prepared")
    }
}

pub(super) fn prepare(
    linted: LintedJob,
    engine: &dyn Engine,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<PreparedJob, Failure> {
    let job = &linted.job;
    let mut wanted: Vec<(&'static Target, Option<HalfFormat>)> = Vec::new();
    for (request, _) in &job.artifacts {
        let known = |(target, format): &(&Target, Option<HalfFormat>)| {
            target.name == request.target.name && *format == request.late_format()
        };
        if !wanted.iter().any(known) {
            wanted.push((request.target, request.late_format()));
        }
    }
    let targets = clock.run(cx, "prepare", "targets", wanted.len(), || {
        let mut targets = Vec::new();
        for (target, late_format) in wanted {
            cx.check()?;
            let options = SimplifyOptions::for_target(target);
            let prepared = simplify(linted.model(), options, late_format, engine)?;
            targets.push(PreparedTarget {
                target,
                late_format,
                prepared,
            });
            cx.emit(&Event::Progress {
                done: targets.len(),
            });
        }
        Ok::<_, Failure>(targets)
    })?;
    Ok(PreparedJob { linted, targets })
}
