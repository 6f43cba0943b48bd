//! H24: box means by running sums: local converters (TLC).

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H24.
pub(super) struct LocalConverter;

const EXPLANATION: &str = "\
**Why.** TLC replaces the global pool of each block by the mean over a large box, computed from running sums along both axes. The
mean itself is local, with a reach of half a box for each block; the sums are not: they grow with the image, and their float
error with them. Whether the box or the whole image is averaged was decided by the size at export.

**Does overlap help?** In theory, by half a box for each block; in practice that is more than the image.

**What to do.** Export the model without the local converter and sweep the statistics of its pools, or replace the sums by an average pool of the
same kernel.
";

static META: RuleMeta = RuleMeta {
    code: "H24",
    name: "local_converter",
    severity: Severity::Error,
    summary: "A box mean by running sums over rows and columns, as local converters write it.",
    explanation: EXPLANATION,
};

impl Rule for LocalConverter {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(&["CumSum"]) {
            if super::is_box_mean(cx, node) {
                report.push(META.finding(
                    cx.label(id),
                    "running sums along both axes, as a local converter (TLC) computes its box mean: they start anew in each tile",
                    "export the model without the local converter, or with an average pool of the same kernel",
                ));
            }
        }
    }
}
