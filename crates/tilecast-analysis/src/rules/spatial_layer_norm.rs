//! H19: normalizations whose axes include rows or columns.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H19.
pub(super) struct SpatialLayerNorm;

const EXPLANATION: &str = "\
**Why.** `LayerNormalization` over channels alone works at each position and is harmless. Over axes that include rows or columns,
as `MeanVarianceNormalization` has by default, it takes its statistics from the tile.

**Does overlap help?** No.

**What to do.** As H17. If channels were meant, move them to the last axis and normalize that one.
";

static META: RuleMeta = RuleMeta {
    code: "H19",
    name: "spatial_layer_norm",
    severity: Severity::Warning,
    summary: "A normalization whose axes include rows or columns.",
    explanation: EXPLANATION,
};

impl Rule for SpatialLayerNorm {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        let ops = [
            "LayerNormalization",
            "RMSNormalization",
            "MeanVarianceNormalization",
        ];
        for (id, node) in cx.nodes_of(&ops) {
            let Some(x) = node.input_name(0) else {
                continue;
            };
            let rank = cx.rank(x).unwrap_or(4);
            let axes: Vec<i64> = if node.is("MeanVarianceNormalization") {
                let axes = node.ints("axes").ok().flatten();
                axes.unwrap_or(&[0, 2, 3]).to_vec()
            } else {
                let first = node.int("axis").ok().flatten().unwrap_or(-1);
                let first = if first < 0 {
                    first + rank as i64
                } else {
                    first
                };
                (first.max(0)..rank as i64).collect()
            };
            if super::covers_positions(cx, x, &axes) {
                report.push(META.finding(
                    cx.label(id),
                    format!("{} over rows or columns takes its statistics from the tile, not from the image", node.op()),
                    super::STATISTICS_HELP,
                ));
            }
        }
    }
}
