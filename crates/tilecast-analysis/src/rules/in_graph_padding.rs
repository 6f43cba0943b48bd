//! H14: graphs that pad their input to a multiple.

use crate::PadFill;
use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H14.
pub(super) struct InGraphPadding;

const EXPLANATION: &str = "\
**Why.** Many exports pad the image right and bottom to a multiple of the stride and crop the result. The convolutions near that
border see the padding. A tile from the middle of the image must not get it; a tile at the border must get the same.

**Does overlap help?** It is not a matter of overlap: tiles whose size is a multiple of the alignment are not padded at all.

**What to do.** Pad the image once, with what the graph pads with, and cut tiles of aligned sizes from that.
";

static META: RuleMeta = RuleMeta {
    code: "H14",
    name: "in_graph_padding",
    severity: Severity::Note,
    summary: "The graph pads the image to the alignment period by itself.",
    explanation: EXPLANATION,
};

impl Rule for InGraphPadding {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        let Ok(tiling) = cx.tiling() else { return };
        if let Some(fill) = tiling.pads_itself {
            let with = match fill {
                PadFill::Zero => "zeros".to_owned(),
                PadFill::Constant(value) => format!("the constant {value}"),
                PadFill::Reflect => "the image mirrored".to_owned(),
                PadFill::Edge => "its last pixel repeated".to_owned(),
                PadFill::Wrap => "its opposite border".to_owned(),
            };
            report.push(META.finding(
                cx.graph_label(),
                format!(
                    "the graph itself pads the image to a multiple of {} pixels, right and bottom, with {with}",
                    tiling.alignment_px
                ),
                "pad the image once with the same, and cut aligned tiles from it",
            ));
        }
    }
}
