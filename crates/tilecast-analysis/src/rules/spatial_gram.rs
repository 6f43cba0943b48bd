//! H26: products summed over all positions: attention among channels.

use crate::TilingClass;
use crate::halo::layout::{Factor, Layout};
use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H26.
pub(super) struct SpatialGram;

const EXPLANATION: &str = "\
**Why.** Attention among channels multiplies queries and keys over all positions, so that each entry of its small matrix is a sum over the
image; linear attention does the same with keys and values. In a tile it is a sum over the tile.

**Does overlap help?** Only as far as a larger tile resembles the image more.

**What to do.** Merge the sums of all tiles and inject them, use tiles about as large as the training crops, or run the image whole.
";

static META: RuleMeta = RuleMeta {
    code: "H26",
    name: "spatial_gram",
    severity: Severity::Warning,
    summary: "A matrix product summed over all positions: attention among channels, Gram matrices.",
    explanation: EXPLANATION,
};

impl Rule for SpatialGram {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for id in cx.global_nodes(TilingClass::C) {
            let node = cx.graph().node(id);
            if !matches!(node.op(), "MatMul" | "Gemm" | "Einsum") {
                continue;
            }
            // Tables of all pairs of positions are softmaxed, which is where they are reported.
            let is_table = |layout: &Layout| {
                layout
                    .axes
                    .iter()
                    .flatten()
                    .any(|f| matches!(f, Factor::Free(_)))
            };
            let values = node.input.iter().chain(&node.output);
            if values.filter_map(|name| cx.layout(name)).any(is_table) {
                continue;
            }
            report.push(META.finding(
                cx.label(id),
                format!(
                    "{} sums over all positions of the tile, not of the image",
                    node.op()
                ),
                super::STATISTICS_HELP,
            ));
        }
    }
}
