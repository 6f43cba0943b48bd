//! H17: normalization with statistics of the image.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H17.
pub(super) struct InstanceNorm;

const EXPLANATION: &str = "\
**Why.** Mean and variance are those of the tile instead of the image. Contrast and colour step from tile to tile.

**Does overlap help?** No; blending turns steps into gradients.

**What to do.** Share the mean and variance of the whole image among tiles (they merge exactly), use tiles about as large as
the training crops, or run the image whole.
";

static META: RuleMeta = RuleMeta {
    code: "H17",
    name: "instance_norm",
    severity: Severity::Warning,
    summary: "InstanceNormalization takes mean and variance from the tile.",
    explanation: EXPLANATION,
};

impl Rule for InstanceNorm {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(&["InstanceNormalization"]) {
            if super::is_group_norm_pattern(cx, node) || !super::reads_positions(cx, node) {
                continue;
            }
            report.push(META.finding(
                cx.label(id),
                "InstanceNormalization takes mean and variance from the tile, not from the image",
                super::STATISTICS_HELP,
            ));
        }
    }
}
