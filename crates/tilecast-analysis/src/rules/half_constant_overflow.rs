//! P02: masks and other constants that FP16 cannot hold.

use crate::half;
use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// P02.
pub(super) struct HalfConstantOverflow;

const EXPLANATION: &str = "\
**Why.** Exporters write -3.4e38 for \"masked\". In FP16 and in bfloat16 that is minus infinity, and where a row is masked whole, or infinity
meets infinity, the result is NaN. The bounds of Clip, Max and Min are not meant: as infinity, or as the largest number, they do the same.

**Does overlap help?** It has nothing to do with tiles.

**What to do.** tilecast keeps the node, and what it hands the value to, in FP32. With another converter, list these nodes among those that
stay float32, or export a mask of -10 000.
";

static META: RuleMeta = RuleMeta {
    code: "P02",
    name: "half_constant_overflow",
    severity: Severity::Warning,
    summary: "A constant beyond 65504, the end of FP16: a mask, mostly.",
    explanation: EXPLANATION,
};

impl Rule for HalfConstantOverflow {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.graph().nodes() {
            let weighted = half::WEIGHTED.contains(&node.op());
            if weighted || half::BOUNDS.contains(&node.op()) || !node.domain_name().is_empty() {
                continue;
            }
            for name in &node.input {
                if let Some(extreme) = half::beyond(cx, name) {
                    report.push(META.finding(
                        cx.label(id),
                        format!("`{name}` holds {extreme:e}, which becomes infinite in FP16"),
                        "keep this node and its readers in FP32 when the model is converted; tilecast does",
                    ));
                }
            }
        }
    }
}
