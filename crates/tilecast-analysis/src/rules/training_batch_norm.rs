//! H16: batch normalization that was exported in training mode.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H16.
pub(super) struct TrainingBatchNorm;

const EXPLANATION: &str = "\
**Why.** In training mode the operator computes mean and variance from its input: from this tile, and from whatever tiles are in
the same batch. Two tiles of one image get different colours. In inference mode it is a constant affine map and harmless.

**Does overlap help?** No.

**What to do.** Call `model.eval()` before the export, or let a recipe repair it: `lint: { fix: [H16] }` puts in the running statistics that the file carries
(`tilecast explain freeze_batch_norm`). If the model has no running statistics, it behaves as an instance
normalization and can only be run on whole images.
";

static META: RuleMeta = RuleMeta {
    code: "H16",
    name: "training_batch_norm",
    severity: Severity::Error,
    summary: "BatchNormalization in training mode normalizes with the statistics of the tile.",
    explanation: EXPLANATION,
};

impl Rule for TrainingBatchNorm {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(&["BatchNormalization"]) {
            if super::is_training_batch_norm(node) {
                report.push(META.finding(
                    cx.label(id),
                    "BatchNormalization in training mode normalizes each tile with its own statistics",
                    "call `model.eval()` and export again, or freeze it with `lint: { fix: [H16] }` in a recipe",
                ));
            }
        }
    }
}
