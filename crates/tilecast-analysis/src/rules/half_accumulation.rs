//! P04: sums that want FP32 though everything around them fits into FP16.

use tilecast_onnx::proto::NodeProto;

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// P04.
pub(super) struct HalfAccumulation;

const EXPLANATION: &str = "\
**Why.** The squares of 300 are 90 000, more than FP16 holds, and an average over a 256x256 tile sums 65 536 values. Normalizations that the
exporter took apart (`Pow` and `ReduceMean` instead of `LayerNormalization`), vector norms and pools over the image overflow inside
although what goes in and comes out is small. Runtimes differ in whether they sum in FP32.

**Does overlap help?** It has nothing to do with tiles.

**What to do.** Convert with calibration images: tilecast then measures these sums and keeps those in FP32 that come near the end of the
format. Without images it keeps all of them.
";

static META: RuleMeta = RuleMeta {
    code: "P04",
    name: "half_accumulation",
    severity: Severity::Note,
    summary: "Squares or long sums that may need FP32 inside.",
    explanation: EXPLANATION,
};

impl Rule for HalfAccumulation {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        let sums: Vec<_> = cx
            .graph()
            .nodes()
            .filter(|(_, node)| node.domain_name().is_empty() && sums_much(cx, node))
            .collect();
        if let [(first, node), rest @ ..] = sums.as_slice() {
            let others = match rest.len() {
                0 => String::new(),
                1 => ", and so does 1 more node".to_owned(),
                n => format!(", and so do {n} more nodes"),
            };
            report.push(META.finding(
                cx.label(*first),
                format!("{} sums squares or many values{others}", node.op()),
                "give `convert` calibration images, on which it finds out which of them need FP32",
            ));
        }
    }
}

/// Whether the node sums squares, or over all positions of the image.
fn sums_much(cx: &LintContext<'_>, node: &NodeProto) -> bool {
    match node.op() {
        "InstanceNormalization" | "ReduceL2" | "ReduceSumSquare" | "LpNormalization" => true,
        // Since opset 21 its statistics are float32 by definition.
        "GroupNormalization" => cx.opset() < 21,
        "GlobalAveragePool" | "GlobalLpPool" => super::reduces_positions(cx, node),
        "ReduceMean" | "ReduceSum" => {
            super::reduces_positions(cx, node)
                || node.input_name(0).is_some_and(|x| is_square(cx, x))
        }
        _ => false,
    }
}

fn is_square(cx: &LintContext<'_>, value: &str) -> bool {
    cx.graph().producer_node(value).is_some_and(|node| {
        node.is("Pow") || (node.is("Mul") && node.input_name(0) == node.input_name(1))
    })
}
