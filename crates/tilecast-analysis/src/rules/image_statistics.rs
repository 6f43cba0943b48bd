//! H43: statistics of the image itself.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H43.
pub(super) struct ImageStatistics;

const EXPLANATION: &str = "\
**Why.** The graph computes the mean, the deviation or the range of its input, and scales the image by it. In a tile these are the
statistics of the tile, so that a dark one is brightened and a bright one is not.

**Does overlap help?** No.

**What to do.** Take the statistic out of the model: compute it once for the image and make it an input, or sweep it.
";

static META: RuleMeta = RuleMeta {
    code: "H43",
    name: "image_statistics",
    severity: Severity::Warning,
    summary: "A statistic of the image itself, by which the graph normalizes its input.",
    explanation: EXPLANATION,
};

impl Rule for ImageStatistics {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(super::POSITION_REDUCTIONS) {
            if super::reduces_positions(cx, node) && super::normalizes_image(cx, node) {
                report.push(META.finding(
                    cx.label(id),
                    format!("{} takes a statistic of the tile itself, not of the image", node.op()),
                    "compute the statistic once for the image and make it an input of the model; overlap does not help",
                ));
            }
        }
    }
}
