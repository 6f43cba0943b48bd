//! H06: transposed convolutions whose padding is computed from a size.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H06.
pub(super) struct FixedOutputSize;

const EXPLANATION: &str = "\
**Why.** `output_shape` fixes the size of the result as it was when the model was exported, and `auto_pad` computes the padding from the
size. In a tile either gives other padding than in the image, or another size.

**Does overlap help?** No: all positions move.

**What to do.** Export the model with explicit `pads` and `output_padding`.
";

static META: RuleMeta = RuleMeta {
    code: "H06",
    name: "fixed_output_size",
    severity: Severity::Error,
    summary: "A transposed convolution that computes its padding from the output size.",
    explanation: EXPLANATION,
};

impl Rule for FixedOutputSize {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(&["ConvTranspose"]) {
            let shape = node.ints("output_shape").ok().flatten().unwrap_or_default();
            let auto_pad = node.string("auto_pad").ok().flatten().unwrap_or("NOTSET");
            let attribute = if !shape.is_empty() {
                "output_shape"
            } else if auto_pad.starts_with("SAME") {
                "auto_pad"
            } else {
                continue;
            };
            if super::reads_positions(cx, node) {
                report.push(META.finding(
                    cx.label(id),
                    format!(
                        "`{attribute}` makes the padding depend on the size, which is the tile's"
                    ),
                    "export the model with explicit `pads` and `output_padding`",
                ));
            }
        }
    }
}
