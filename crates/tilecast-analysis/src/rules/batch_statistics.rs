//! H44: statistics over the batch.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H44.
pub(super) struct BatchStatistics;

const EXPLANATION: &str = "\
**Why.** The first axis counts images. What is reduced or normalized over it mixes the tiles that happen to run together.

**Does overlap help?** No.

**What to do.** Run tiles one at a time (batch 1), or remove the operator from the model.
";

static META: RuleMeta = RuleMeta {
    code: "H44",
    name: "batch_statistics",
    severity: Severity::Warning,
    summary: "A reduction, softmax or norm over the batch: tiles of one batch influence each other.",
    explanation: EXPLANATION,
};

impl Rule for BatchStatistics {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        if cx.is_single_image() {
            return;
        }
        for (id, node) in cx.nodes_of(super::POSITION_REDUCTIONS) {
            // Images have four axes; with fewer the batch is gone.
            let has_batch = node
                .input_name(0)
                .is_some_and(|x| cx.rank(x) == Some(4) && cx.has_positions(x));
            let axes = super::reduced_axes(cx, node).unwrap_or_default();
            if has_batch && axes.contains(&0) && !axes.contains(&1) {
                report.push(META.finding(
                    cx.label(id),
                    format!(
                        "{} over the batch mixes the tiles that run together",
                        node.op()
                    ),
                    "run tiles one at a time (batch 1)",
                ));
            }
        }
        for (id, node) in cx.nodes_of(&["Softmax", "LogSoftmax", "Hardmax"]) {
            let over_batch = cx.opset() >= 13 && node.int("axis").ok().flatten() == Some(0);
            if over_batch
                && node
                    .input_name(0)
                    .is_some_and(|x| cx.rank(x) == Some(4) && cx.has_positions(x))
            {
                report.push(META.finding(
                    cx.label(id),
                    format!(
                        "{} over the batch mixes the tiles that run together",
                        node.op()
                    ),
                    "run tiles one at a time (batch 1)",
                ));
            }
        }
    }
}
