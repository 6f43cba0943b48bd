//! H08: resizing by a factor that is no whole number.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H08.
pub(super) struct FractionalResize;

const EXPLANATION: &str = "\
**Why.** With a factor of p/q the sampling points fall into the same places only every q positions.

**Does overlap help?** At origins that are multiples of q, yes, as for any resize; at others no overlap does.

**What to do.** Place tiles at multiples of the alignment period, which includes q.
";

static META: RuleMeta = RuleMeta {
    code: "H08",
    name: "fractional_resize",
    severity: Severity::Note,
    summary: "A resize by a factor that is neither a whole number nor its reciprocal.",
    explanation: EXPLANATION,
};

impl Rule for FractionalResize {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(&["Resize", "Upsample"]) {
            let extents = |name: Option<&str>| cx.extents(name?);
            let (Some(input), Some(output)) =
                (extents(node.input_name(0)), extents(node.output_name(0)))
            else {
                continue;
            };
            let x = node.input_name(0).unwrap_or_default();
            let is_fractional = |axis: &usize| {
                let (from, to) = (input[*axis][0], output[*axis][0]);
                from > 0 && to > 0 && from % to != 0 && to % from != 0
            };
            let mut axes =
                (0..input.len().min(output.len())).filter(|&axis| cx.is_position_axis(x, axis));
            if let Some(axis) = axes.find(is_fractional) {
                report.push(META.finding(
                    cx.label(id),
                    format!("it resizes {} positions to {}", input[axis][0], output[axis][0]),
                    "let the tiler align its grid: the alignment period includes the factor's denominator",
                ));
            }
        }
    }
}
