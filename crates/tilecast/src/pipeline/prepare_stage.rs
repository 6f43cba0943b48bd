//! Stage 3: the model is simplified for each target, and run before and after to prove that nothing changed.

use tilecast_exec::Engine;
use tilecast_passes::{SimplifyOptions, Target};

use super::lint_stage::LintedJob;
use crate::Failure;
use crate::context::{Context, Event};
use crate::prepare::{Prepared, prepare as simplify};
use crate::stages::StageClock;

/// A job whose model is ready to be rewritten. The model as it was loaded stays the reference.
pub(super) struct PreparedJob {
    pub(super) linted: LintedJob,
    /// One per target that an artifact names (and per opset that artifacts need), in the order in which they are
    /// first named.
    pub(super) targets: Vec<PreparedTarget>,
}

/// The model as it suits one target.
pub(super) struct PreparedTarget {
    pub(super) target: &'static Target,
    /// Opset that the model was raised to.
    pub(super) opset: i64,
    pub(super) prepared: Prepared,
}

impl PreparedJob {
    /// Position in `targets` of the target that artifact `index` is made for.
    pub(super) fn target_of(&self, index: usize) -> usize {
        let wanted = &self.linted.job.artifacts[index].0;
        let opset = wanted.opset(self.linted.model());
        self.targets
            .iter()
            .position(|t| t.target.name == wanted.target.name && t.opset == opset)
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
    let mut wanted: Vec<(&'static Target, i64)> = Vec::new();
    for (request, _) in &job.artifacts {
        let opset = request.opset(linted.model());
        let known =
            |(target, of): &(&Target, i64)| target.name == request.target.name && *of == opset;
        if !wanted.iter().any(known) {
            wanted.push((request.target, opset));
        }
    }
    let targets = clock.run(cx, "prepare", "targets", wanted.len(), || {
        let mut targets = Vec::new();
        for (target, opset) in wanted {
            cx.check()?;
            let options = SimplifyOptions::for_target(target);
            let prepared = simplify(linted.model(), options, opset, engine)?;
            targets.push(PreparedTarget {
                target,
                opset,
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
