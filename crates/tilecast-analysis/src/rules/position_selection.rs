//! H39: selections among positions.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H39.
pub(super) struct PositionSelection;

const EXPLANATION: &str = "\
**Why.** Positions compete: which are chosen, and in which order they come, depends on all of them. A tile chooses among its own.

**Does overlap help?** No.

**What to do.** Run the model on whole images.
";

static META: RuleMeta = RuleMeta {
    code: "H39",
    name: "position_selection",
    severity: Severity::Error,
    summary: "A selection among positions: the largest, the non-zero, the distinct ones.",
    explanation: EXPLANATION,
};

impl Rule for PositionSelection {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(&["TopK", "ArgMax", "ArgMin", "NonZero", "Unique"]) {
            let Some(x) = node.input_name(0) else {
                continue;
            };
            let default = if node.is("TopK") { -1 } else { 0 };
            let over_positions = match node.op() {
                "NonZero" | "Unique" => cx.has_positions(x),
                _ => {
                    let axis = node.int("axis").ok().flatten().unwrap_or(default);
                    super::covers_positions(cx, x, &[axis])
                }
            };
            if over_positions {
                report.push(META.finding(
                    cx.label(id),
                    format!(
                        "{} selects among the positions of the tile, not of the image",
                        node.op()
                    ),
                    "run the model on whole images",
                ));
            }
        }
    }
}
