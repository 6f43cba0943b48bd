//! H27: attention over positions.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H27.
pub(super) struct SpatialSoftmax;

const EXPLANATION: &str = "\
**Why.** Every position competes with all others; in a tile, with those of the tile only. A softmax over channels is harmless.

**Does overlap help?** Only as far as a larger tile resembles the image more.

**What to do.** Run the image whole, or accept the difference and measure it.
";

static META: RuleMeta = RuleMeta {
    code: "H27",
    name: "spatial_softmax",
    severity: Severity::Warning,
    summary: "A softmax over positions: spatial attention.",
    explanation: EXPLANATION,
};

impl Rule for SpatialSoftmax {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(&["Softmax", "LogSoftmax", "Hardmax"]) {
            let Some(x) = node.input_name(0) else {
                continue;
            };
            let rank = cx.rank(x).unwrap_or(4) as i64;
            // Before opset 13 all axes from this one on were one.
            let is_joined = cx.opset() < 13;
            let axis = node.int("axis").ok().flatten();
            let axis = axis.unwrap_or(if is_joined { 1 } else { -1 });
            let axis = if axis < 0 { axis + rank } else { axis };
            let axes: Vec<i64> = if is_joined {
                (axis.max(0)..rank).collect()
            } else {
                vec![axis]
            };
            if super::covers_positions(cx, x, &axes) {
                report.push(META.finding(
                    cx.label(id),
                    format!(
                        "{} over rows or columns sees the tile only, not the image",
                        node.op()
                    ),
                    super::STATISTICS_HELP,
                ));
            }
        }
    }
}
