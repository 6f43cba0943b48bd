//! H21: averages over the whole image: channel attention, squeeze and excitation.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H21.
pub(super) struct GlobalAverage;

const EXPLANATION: &str = "\
**Why.** The average of each channel is that of the tile instead of the image, and what it steers (a gate on each channel) changes
from tile to tile.

**Does overlap help?** Only as far as a larger tile resembles the image more.

**What to do.** Sweep the statistics: run the tiles once to collect the averages, merge them, run again with the averages of the
whole image. Or let the network look at windows of bounded size instead (`global_statistics: {window: n}`,
`--local-window`), which makes another network of it. Or use tiles about as large as the crops that the model was trained on: for such
models small tiles are not worse against the ground truth, only different. Or run the image whole.
";

static META: RuleMeta = RuleMeta {
    code: "H21",
    name: "global_average",
    severity: Severity::Warning,
    summary: "An average over all positions: channel attention, squeeze and excitation.",
    explanation: EXPLANATION,
};

impl Rule for GlobalAverage {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(&[
            "GlobalAveragePool",
            "GlobalLpPool",
            "ReduceMean",
            "ReduceSum",
        ]) {
            if super::reduces_positions(cx, node) && !super::normalizes_image(cx, node) {
                report.push(META.finding(
                    cx.label(id),
                    format!("{} averages over the tile, not over the image", node.op()),
                    super::STATISTICS_HELP,
                ));
            }
        }
    }
}
