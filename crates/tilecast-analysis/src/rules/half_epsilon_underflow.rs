//! P03: an epsilon that becomes zero in FP16.

use crate::half;
use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// P03.
pub(super) struct HalfEpsilonUnderflow;

const EXPLANATION: &str = "\
**Why.** FP16 has no number between zero and 6e-8; an epsilon of 1e-8 rounds to zero. It is there to keep a divisor or a logarithm away
from zero, so that a flat image, where the variance is zero, becomes NaN: the black tile in the sky.

**Does overlap help?** It has nothing to do with tiles.

**What to do.** tilecast keeps the sum, and the root or division behind it, in FP32. With another converter, list them among the nodes that
stay float32, or export the model with an epsilon of 1e-6.
";

static META: RuleMeta = RuleMeta {
    code: "P03",
    name: "half_epsilon_underflow",
    severity: Severity::Warning,
    summary: "A constant that becomes zero in FP16: an epsilon, mostly.",
    explanation: EXPLANATION,
};

impl Rule for HalfEpsilonUnderflow {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(&["Add", "Sub", "Max", "Clip"]) {
            for name in &node.input {
                if let Some(largest) = half::vanishing(cx, name) {
                    report.push(META.finding(
                        cx.label(id),
                        format!("`{name}` of {largest:e} becomes zero in FP16"),
                        "keep this node and the root or division behind it in FP32; tilecast does",
                    ));
                }
            }
        }
    }
}
