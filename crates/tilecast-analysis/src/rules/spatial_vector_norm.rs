//! H25: vector norms over the whole image.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H25.
pub(super) struct SpatialVectorNorm;

const EXPLANATION: &str = "\
**Why.** Attention over channels normalizes queries and keys by their length over all positions. In a tile that is the length
over the tile.

**Does overlap help?** No.

**What to do.** Merge the sums of squares of all tiles and inject them, or run the image whole.
";

static META: RuleMeta = RuleMeta {
    code: "H25",
    name: "spatial_vector_norm",
    severity: Severity::Warning,
    summary: "A vector norm over all positions.",
    explanation: EXPLANATION,
};

impl Rule for SpatialVectorNorm {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        let ops = [
            "ReduceL1",
            "ReduceL2",
            "ReduceSumSquare",
            "ReduceLogSumExp",
            "ReduceLogSum",
            "ReduceProd",
        ];
        for (id, node) in cx.nodes_of(&ops) {
            if super::reduces_positions(cx, node) && !super::normalizes_image(cx, node) {
                report.push(META.finding(
                    cx.label(id),
                    format!("{} reduces the tile, not the image", node.op()),
                    super::STATISTICS_HELP,
                ));
            }
        }
        for (id, node) in cx.nodes_of(&["LpNormalization"]) {
            let axis = node.int("axis").ok().flatten().unwrap_or(-1);
            if node
                .input_name(0)
                .is_some_and(|x| super::covers_positions(cx, x, &[axis]))
            {
                report.push(META.finding(
                    cx.label(id),
                    "LpNormalization divides by the length over a row or column of the tile, not of the image",
                    super::STATISTICS_HELP,
                ));
            }
        }
    }
}
