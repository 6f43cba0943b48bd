//! H32: constants with a value for each position of the image.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H32.
pub(super) struct PositionEmbedding;

const EXPLANATION: &str = "\
**Why.** Such a constant has the size of the image that the model was exported or trained with, and its content follows the position. A
tile would get the content of the corner, wherever it lies.

**Does overlap help?** No.

**What to do.** Run the model on images of its fixed size; or make the embedding an input and cut it with the tiles.
";

static META: RuleMeta = RuleMeta {
    code: "H32",
    name: "position_embedding",
    severity: Severity::Error,
    summary: "A constant with a value for each position of the image: a learned position embedding.",
    explanation: EXPLANATION,
};

impl Rule for PositionEmbedding {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(&["Add", "Mul", "Concat"]) {
            let is_pixels = |name: &&String| cx.graph().constant(name).ok().flatten().is_none();
            let Some(pixels) = node.input.iter().find(is_pixels) else {
                continue;
            };
            let is_table = is_table_of_pairs(cx, pixels);
            let has_positions = |name: &String| {
                let tensor = cx.graph().constant(name).ok().flatten()?;
                let rank = cx.rank(pixels).unwrap_or(4);
                let lead = rank.checked_sub(tensor.dims().len())?;
                let mut axes = tensor.dims().iter().enumerate();
                Some(axes.any(|(axis, &n)| n > 1 && cx.is_position_axis(pixels, axis + lead)))
            };
            if !is_table
                && node
                    .input
                    .iter()
                    .any(|name| has_positions(name) == Some(true))
            {
                report.push(META.finding(
                    cx.label(id),
                    "it brings in a constant with a value for each position, which every tile would get alike",
                    "run the model on images of its fixed size, or make the constant an input that is cut with the tiles",
                ));
            }
        }
    }
}

/// Whether a value is a table of pairs of positions, which has as many axes as an image: it comes from a product, with
/// biases added.
fn is_table_of_pairs(cx: &LintContext<'_>, value: &str) -> bool {
    let mut value = Some(value);
    for _ in 0..4 {
        let Some(node) = value.and_then(|name| cx.graph().producer_node(name)) else {
            return false;
        };
        match node.op() {
            "MatMul" | "Einsum" => return true,
            "Add" | "Mul" | "Div" | "Reshape" | "Unsqueeze" | "Squeeze" => {
                let mut inputs = node.input.iter().map(String::as_str);
                value = inputs.find(|name| cx.graph().constant(name).ok().flatten().is_none());
            }
            _ => return false,
        }
    }
    false
}
