//! H13: padding with the opposite border of the image.

use crate::TilingClass;
use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H13.
pub(super) struct CircularPadding;

const EXPLANATION: &str = "\
**Why.** `Pad` with mode `wrap` continues the image with its opposite border, and a cyclic shift (two slices that change places)
brings the two together. In a tile that is the tile's opposite edge. Shifts that only feed masked window attention are harmless
and not reported.

**Does overlap help?** Inside the image, yes; at its borders the wrong pixels are read, because the opposite border is not in the
tile.

**What to do.** Wrap the image once, outside the model, and export the model without circular padding.
";

static META: RuleMeta = RuleMeta {
    code: "H13",
    name: "circular_padding",
    severity: Severity::Error,
    summary: "Circular padding connects opposite borders of the image.",
    explanation: EXPLANATION,
};

impl Rule for CircularPadding {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(&["Pad"]) {
            if node.string("mode").ok().flatten() == Some("wrap")
                && node.input_name(0).is_some_and(|x| cx.has_positions(x))
            {
                report.push(META.finding(
                    cx.label(id),
                    "Pad with mode `wrap` continues a tile with its own opposite edge instead of the image's",
                    "wrap the image once outside the model, or run it on whole images",
                ));
            }
        }
        for id in cx.global_nodes(TilingClass::D) {
            let node = cx.graph().node(id);
            // A join that ties the graph to the size of the image is that of a cyclic shift.
            if node.is("Concat") && node.input.iter().all(|name| is_slice(cx, name)) {
                report.push(META.finding(
                    cx.label(id),
                    "a cyclic shift brings opposite borders together, and what follows mixes them: in a tile these are the tile's",
                    "mask what the shift made neighbours, or run the model on whole images",
                ));
            }
        }
    }
}

fn is_slice(cx: &LintContext<'_>, name: &str) -> bool {
    cx.graph()
        .producer_node(name)
        .is_some_and(|n| n.is("Slice"))
}
