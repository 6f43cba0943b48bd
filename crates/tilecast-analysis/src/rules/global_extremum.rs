//! H22: extrema over the whole image.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H22.
pub(super) struct GlobalExtremum;

const EXPLANATION: &str = "\
**Why.** The maximum or minimum is that of the tile instead of the image; a min-max normalization inside the graph does the same.

**Does overlap help?** No: one bright pixel in another tile is enough.

**What to do.** Merge the extrema of all tiles and inject them, or run the image whole.
";

static META: RuleMeta = RuleMeta {
    code: "H22",
    name: "global_extremum",
    severity: Severity::Warning,
    summary: "A maximum or minimum over all positions.",
    explanation: EXPLANATION,
};

impl Rule for GlobalExtremum {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(&["GlobalMaxPool", "ReduceMax", "ReduceMin"]) {
            if super::reduces_positions(cx, node) && !super::normalizes_image(cx, node) {
                report.push(META.finding(
                    cx.label(id),
                    format!(
                        "{} takes the extremum of the tile, not of the image",
                        node.op()
                    ),
                    super::STATISTICS_HELP,
                ));
            }
        }
    }
}
