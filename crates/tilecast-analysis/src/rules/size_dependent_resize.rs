//! H09: resizing whose coordinates depend on the length of the axis.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H09.
pub(super) struct SizeDependentResize;

const EXPLANATION: &str = "\
**Why.** `align_corners`, `half_pixel_symmetric` and `tf_crop_and_resize` place the sampling points by the length of the axis. In a
tile that length is the tile's, so the points lie elsewhere than in the whole image.

**Does overlap help?** No: the error does not fade with the distance from the tile's edge.

**What to do.** Export the model with `align_corners=False` (coordinate mode `half_pixel`), or run it on whole images. In a model of fixed size, `lint: { fix: [H09] }` in a recipe writes a linear one as matrix products
(`tilecast explain make_resize_explicit`), for runtimes that do not have the mode.
";

static META: RuleMeta = RuleMeta {
    code: "H09",
    name: "size_dependent_resize",
    severity: Severity::Error,
    summary: "A resize that computes its coordinates from the length of the axis.",
    explanation: EXPLANATION,
};

impl Rule for SizeDependentResize {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(&["Resize"]) {
            let mode = node.string("coordinate_transformation_mode");
            let Ok(Some(mode @ ("align_corners" | "half_pixel_symmetric" | "tf_crop_and_resize"))) =
                mode
            else {
                continue;
            };
            if node.input_name(0).is_some_and(|x| cx.has_positions(x)) {
                report.push(META.finding(
                    cx.label(id),
                    format!("Resize with `{mode}` samples at points that depend on the size of the tile"),
                    "export the model with coordinate mode `half_pixel` (align_corners=False), or run it on whole images",
                ));
            }
        }
    }
}
