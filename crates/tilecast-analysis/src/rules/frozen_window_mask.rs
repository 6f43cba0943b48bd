//! H29: masks of shifted windows that are constants.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H29.
pub(super) struct FrozenWindowMask;

const EXPLANATION: &str = "\
**Why.** The mask says which pairs of positions a cyclic shift of the image made neighbours, and so which windows lie at its border. As a
constant it does so for the size of export alone.

**Does overlap help?** No.

**What to do.** Export the model with dynamic height and width, so that the mask is computed; or run it at its fixed size.
";

static META: RuleMeta = RuleMeta {
    code: "H29",
    name: "frozen_window_mask",
    severity: Severity::Error,
    summary: "The mask of shifted windows is a constant, made for one size.",
    explanation: EXPLANATION,
};

impl Rule for FrozenWindowMask {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(&["Add"]) {
            let is_mask = |name: &String| {
                let tensor = cx.graph().constant(name).ok().flatten()?;
                let (windows, [.., rows, columns]) =
                    (tensor.dims().iter().rev().skip(2), tensor.dims())
                else {
                    return None;
                };
                let several = windows.product::<usize>() > 1 && rows == columns && *rows > 1;
                let values = tensor.to_f32_vec().filter(|_| several)?;
                let masked = |v: &f32| *v <= MASKED;
                Some(values.iter().any(masked) && values.iter().all(|v| masked(v) || *v == 0.0))
            };
            if node.input.iter().any(|name| is_mask(name) == Some(true)) {
                report.push(META.finding(
                    cx.label(id),
                    "it adds a mask of shifted windows that is a constant, made for one size",
                    "export the model with dynamic height and width, or run it at its fixed size",
                ));
            }
        }
    }
}

/// Masks have zeros and numbers that no score makes up for.
const MASKED: f32 = -50.0;
