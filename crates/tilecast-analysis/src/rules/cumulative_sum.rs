//! H37: running sums over positions.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H37.
pub(super) struct CumulativeSum;

const EXPLANATION: &str = "\
**Why.** A running sum depends on everything before it. In a tile it starts at the tile's edge. Local converters (TLC) that were
traced into the graph contain two of them.

**Does overlap help?** No.

**What to do.** Export the model without the local converter, or run it on whole images.
";

static META: RuleMeta = RuleMeta {
    code: "H37",
    name: "cumulative_sum",
    severity: Severity::Error,
    summary: "A running sum over rows or columns starts anew in each tile.",
    explanation: EXPLANATION,
};

impl Rule for CumulativeSum {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(&["CumSum"]) {
            let (Some(x), Some(axis)) = (node.input_name(0), node.input_name(1)) else {
                continue;
            };
            // An axis that is not known may be any.
            let over_positions = match cx.constant_integers(axis) {
                Some(axes) => super::covers_positions(cx, x, &axes),
                None => cx.has_positions(x),
            };
            if over_positions {
                report.push(META.finding(
                    cx.label(id),
                    "CumSum over rows or columns starts anew in each tile",
                    "export the model without it (TLC adds it), or run it on whole images",
                ));
            }
        }
    }
}
