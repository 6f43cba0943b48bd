//! H38: sampling at computed positions.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H38.
pub(super) struct DataDependentSampling;

const EXPLANATION: &str = "\
**Why.** `GridSample` and `DeformConv` read where an offset points. How far that is cannot be seen in the graph.

**Does overlap help?** Yes, if it is at least as wide as the largest offset.

**What to do.** Bound the offsets, and use an overlap of the halo plus that bound; verify it by measuring.
";

static META: RuleMeta = RuleMeta {
    code: "H38",
    name: "data_dependent_sampling",
    severity: Severity::Warning,
    summary: "Sampling at positions that the data decides.",
    explanation: EXPLANATION,
};

impl Rule for DataDependentSampling {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(&["GridSample", "DeformConv"]) {
            if super::reads_positions(cx, node) {
                report.push(META.finding(
                    cx.label(id),
                    format!("{} reads pixels at distances that the data decides", node.op()),
                    "find out how far its offsets reach, and measure the error of tiles with that much overlap",
                ));
            }
        }
    }
}
