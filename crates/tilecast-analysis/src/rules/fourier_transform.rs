//! H31: Fourier transforms over rows or columns.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H31.
pub(super) struct FourierTransform;

const EXPLANATION: &str = "\
**Why.** Each coefficient depends on every position, and what it stands for depends on the length of the axis.

**Does overlap help?** No.

**What to do.** Run the model on whole images of the size that it was trained with.
";

static META: RuleMeta = RuleMeta {
    code: "H31",
    name: "fourier_transform",
    severity: Severity::Error,
    summary: "A Fourier transform over rows or columns.",
    explanation: EXPLANATION,
};

impl Rule for FourierTransform {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(&["DFT", "STFT"]) {
            if super::reads_positions(cx, node) {
                report.push(META.finding(
                    cx.label(id),
                    format!(
                        "{} transforms the tile, whose frequencies are not those of the image",
                        node.op()
                    ),
                    "run the model on whole images",
                ));
            }
        }
    }
}
