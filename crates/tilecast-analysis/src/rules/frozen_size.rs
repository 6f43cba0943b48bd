//! H35: graphs that hold for one size.

use crate::AnalyzeErrorKind;
use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H35.
pub(super) struct FrozenSize;

const EXPLANATION: &str = "\
**Why.** Shapes in `Reshape`, `Expand` or `Slice` were folded to the numbers of the image that the model was traced with, or an operator
depends on the absolute size in another way. Other sizes fail, or give something else.

**Does overlap help?** No.

**What to do.** Export the model with dynamic height and width. Where only the declared size is fixed and nothing in the graph depends on it,
`lint: { fix: [H35] }` in the recipe opens it. Otherwise run the model at its fixed size.
";

static META: RuleMeta = RuleMeta {
    code: "H35",
    name: "frozen_size",
    severity: Severity::Error,
    summary: "The graph works for the size of export only, or depends on it.",
    explanation: EXPLANATION,
};

impl Rule for FrozenSize {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        // What more special rules explain is theirs.
        let is_explained = report
            .iter()
            .any(|f| f.severity == Severity::Error && f.is_about_tiles());
        if let Err(error) = cx.tiling()
            && error.kind() == AnalyzeErrorKind::SizeDependent
            && !is_explained
        {
            report.push(META.finding(
                error.node().map_or_else(|| cx.graph_label(), |id| cx.label(id)),
                format!("the graph depends on the absolute size of the image: {error}"),
                "export the model with dynamic height and width, or run it on whole images of its size",
            ));
        }
    }
}
