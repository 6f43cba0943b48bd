//! H18: group normalization, as an operator or decomposed.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H18.
pub(super) struct GroupNorm;

const EXPLANATION: &str = "\
**Why.** As instance normalization (H17), over groups of channels. Exporters also write it as Reshape, InstanceNormalization,
Reshape.

**Does overlap help?** No; blending turns steps into gradients.

**What to do.** As H17: share the statistics of the whole image among tiles, use tiles about as large as the training crops, or
run the image whole.
";

static META: RuleMeta = RuleMeta {
    code: "H18",
    name: "group_norm",
    severity: Severity::Warning,
    summary: "Group normalization takes mean and variance from the tile.",
    explanation: EXPLANATION,
};

impl Rule for GroupNorm {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(&["GroupNormalization", "InstanceNormalization"]) {
            let is_group_norm =
                node.is("GroupNormalization") || super::is_group_norm_pattern(cx, node);
            if is_group_norm && super::reads_positions(cx, node) {
                report.push(META.finding(
                    cx.label(id),
                    "group normalization takes mean and variance from the tile, not from the image",
                    super::STATISTICS_HELP,
                ));
            }
        }
    }
}
