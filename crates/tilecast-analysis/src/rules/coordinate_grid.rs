//! H33: coordinates and other values that are computed from the size.

use crate::TilingClass;
use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H33.
pub(super) struct CoordinateGrid;

const EXPLANATION: &str = "\
**Why.** Coordinates, or sine and cosine of them, are made from the shape of the input. In a tile they start anew at its corner and end at
its edge.

**Does overlap help?** No.

**What to do.** Make the coordinates an input of the model, compute them once for the image and cut them with the tiles.
";

static META: RuleMeta = RuleMeta {
    code: "H33",
    name: "coordinate_grid",
    severity: Severity::Error,
    summary: "Values that are computed from the size of the image and differ from position to position.",
    explanation: EXPLANATION,
};

impl Rule for CoordinateGrid {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for id in cx.global_nodes(TilingClass::D) {
            let node = cx.graph().node(id);
            let is_computed = |name: &&String| {
                let follows = cx
                    .extents(name)
                    .is_some_and(|dims| dims.iter().any(|d| d[0] != d[1]));
                follows && cx.layout(name).is_none()
            };
            if let Some(name) = node.input.iter().find(is_computed) {
                report.push(META.finding(
                    cx.label(id),
                    format!("`{name}` has the size of the tile, depends on no pixel, and is not the same everywhere"),
                    "make it an input of the model that is cut with the tiles, or run the model on whole images",
                ));
            }
        }
    }
}
