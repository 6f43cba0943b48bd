//! H41: quantization ranges taken from the tile.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H41.
pub(super) struct DynamicQuantization;

const EXPLANATION: &str = "\
**Why.** The range, and with it the rounding of every value, is that of the tile. Brightness steps from tile to tile by up to a
quantization step at every such node.

**Does overlap help?** No.

**What to do.** Quantize statically: calibrate once, and write the scales into the model.
";

static META: RuleMeta = RuleMeta {
    code: "H41",
    name: "dynamic_quantization",
    severity: Severity::Error,
    summary: "DynamicQuantizeLinear takes its range from the tile.",
    explanation: EXPLANATION,
};

/// The finding for an artifact that is to quantize dynamically, of which no node is there yet.
#[must_use]
pub fn dynamic_quantization(artifact: &str) -> Finding {
    META.finding(
        format!("artifact {artifact}"),
        "it takes the ranges of its activations from the tile, so neighbouring tiles are rounded differently",
        "use `precision: int8`, or run it on whole images only",
    )
}

impl Rule for DynamicQuantization {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, _) in cx.nodes_of(&["DynamicQuantizeLinear"]) {
            report.push(META.finding(
                cx.label(id),
                "DynamicQuantizeLinear takes its range from the tile, so neighbouring tiles are rounded differently",
                "quantize the model statically, with calibrated scales",
            ));
        }
    }
}
