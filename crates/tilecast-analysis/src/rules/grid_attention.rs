//! H30: rows or columns cut into a fixed number of parts.

use crate::halo::error::Cause;
use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H30.
pub(super) struct GridAttention;

const EXPLANATION: &str = "\
**Why.** Grid (dilated) attention and patch grids cut the image into a fixed number of parts and let positions at the same place of
all parts see each other. Where a part begins, and how far it is to its neighbour, depends on the size of the image.

**Does overlap help?** No.

**What to do.** Run the model on whole images, or with tiles of the size that it was trained with and the difference measured.
";

static META: RuleMeta = RuleMeta {
    code: "H30",
    name: "grid_attention",
    severity: Severity::Error,
    summary: "Rows or columns are cut into a fixed number of parts, whose size follows the image.",
    explanation: EXPLANATION,
};

impl Rule for GridAttention {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        if let Err(error) = cx.tiling()
            && error.cause() == Cause::Grid
            && let Some(id) = error.node()
        {
            report.push(META.finding(
                cx.label(id),
                "it cuts rows or columns into a fixed number of parts, whose size follows that of the tile",
                "run the model on whole images",
            ));
        }
    }
}
