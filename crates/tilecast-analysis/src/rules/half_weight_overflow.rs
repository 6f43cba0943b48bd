//! P01: weights that FP16 cannot hold.

use crate::half;
use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// P01.
pub(super) struct HalfWeightOverflow;

const EXPLANATION: &str = "\
**Why.** The largest FP16 number is 65504. A weight or bias beyond it becomes infinite, and so does every pixel that it reaches; converters
that clamp it instead (some at 10 000 already) change the network without a word.

**Does overlap help?** It has nothing to do with tiles.

**What to do.** tilecast keeps the node in FP32 by itself and says so in the precision plan. With another converter, list the node among
those that stay float32. A weight of this size is often a scale that was folded the wrong way round: divide it out in training.
";

static META: RuleMeta = RuleMeta {
    code: "P01",
    name: "half_weight_overflow",
    severity: Severity::Warning,
    summary: "A weight beyond 65504, the end of FP16.",
    explanation: EXPLANATION,
};

impl Rule for HalfWeightOverflow {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(half::WEIGHTED) {
            for name in node.input.iter().skip(1) {
                if let Some(extreme) = half::beyond(cx, name) {
                    report.push(META.finding(
                        cx.label(id),
                        format!("`{name}` holds {extreme:e}, which becomes infinite in FP16"),
                        "keep this node in FP32 when the model is converted; tilecast does",
                    ));
                }
            }
        }
    }
}
