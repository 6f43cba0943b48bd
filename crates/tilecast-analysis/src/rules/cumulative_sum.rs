//! H37: operators that go through positions in order.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H37.
pub(super) struct CumulativeSum;

const EXPLANATION: &str = "\
**Why.** A running sum, a recurrent layer or a scan depends on everything before it. In a tile it starts at the tile's edge.

**Does overlap help?** No.

**What to do.** Run the model on whole images.
";

static META: RuleMeta = RuleMeta {
    code: "H37",
    name: "cumulative_sum",
    severity: Severity::Error,
    summary: "A running sum, scan or recurrent layer over rows or columns starts anew in each tile.",
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
            let is_box_mean = super::is_box_mean(cx, node) || super::begins_box_mean(cx, node);
            if over_positions && !is_box_mean {
                report.push(META.finding(
                    cx.label(id),
                    "CumSum over rows or columns starts anew in each tile",
                    "run the model on whole images",
                ));
            }
        }
        for (id, node) in cx.nodes_of(&["Scan", "Loop", "LSTM", "GRU", "RNN"]) {
            let reads = |name: &String| !name.is_empty() && cx.has_positions(name);
            if node.input.iter().any(reads) {
                report.push(META.finding(
                    cx.label(id),
                    format!(
                        "{} goes through positions in order, and starts anew in each tile",
                        node.op()
                    ),
                    "run the model on whole images",
                ));
            }
        }
    }
}
