//! H10: resizing to a size that is fixed in the file.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H10.
pub(super) struct FrozenResize;

const EXPLANATION: &str = "\
**Why.** The `sizes` of the `Resize` are constants, so that every tile is resized to the size of the image that the model was traced with.

**Does overlap help?** No.

**What to do.** Export the model with scale factors, or with dynamic height and width.
";

static META: RuleMeta = RuleMeta {
    code: "H10",
    name: "frozen_resize",
    severity: Severity::Error,
    summary: "A resize to a size that was fixed when the model was exported.",
    explanation: EXPLANATION,
};

impl Rule for FrozenResize {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(&["Resize"]) {
            let Some(sizes) = node.input_name(3) else {
                continue;
            };
            let frozen = cx
                .graph()
                .constant(sizes)
                .ok()
                .flatten()
                .and_then(|t| t.to_i64_vec());
            // Sizes of rows and columns; such as 1x1 are no image's.
            let is_image =
                frozen.is_some_and(|s| s.len() >= 2 && s.iter().rev().take(2).all(|&n| n > 1));
            if is_image && super::reads_positions(cx, node) {
                report.push(META.finding(
                    cx.label(id),
                    "it resizes to a size that is fixed in the file, whatever the size of the tile",
                    "export the model with scale factors, or with dynamic height and width",
                ));
            }
        }
    }
}
