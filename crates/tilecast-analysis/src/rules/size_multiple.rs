//! H36: graphs that take certain sizes only.

use crate::halo::probe::shapes_at;
use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H36.
pub(super) struct SizeMultiple;

const EXPLANATION: &str = "\
**Why.** Where a skip connection joins what went down and up again, sides that do not divide evenly do not fit together, and nothing in the
graph pads them.

**Does overlap help?** It is not a matter of overlap.

**What to do.** Pad the image once, by reflection, to a multiple of the alignment, and crop the result; the tiler does.
";

static META: RuleMeta = RuleMeta {
    code: "H36",
    name: "size_multiple",
    severity: Severity::Note,
    summary: "The graph takes images only whose sides are multiples of the alignment.",
    explanation: EXPLANATION,
};

impl Rule for SizeMultiple {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        let Ok(tiling) = cx.tiling() else { return };
        let period = tiling.alignment_px;
        if period == 1 || tiling.pads_itself.is_some() {
            return;
        }
        // Two sizes that are far from any multiple.
        let misaligned = [8 * period + 1, 10 * period + 1];
        if shapes_at(cx.graph(), misaligned).is_err() {
            report.push(META.finding(
                cx.graph_label(),
                format!(
                    "the graph fails for images whose sides are no multiples of {period} pixels"
                ),
                "pad the image once to a multiple, and crop the result; the tiler does",
            ));
        }
    }
}
