//! H03: windows whose padding depends on the size.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H03.
pub(super) struct SizeDependentPooling;

const EXPLANATION: &str = "\
**Why.** `ceil_mode` and `auto_pad` of kind SAME add as much padding as the size needs to fill the last window. With a stride that amount
depends on the size modulo the stride, and so does, for SAME, where the first window begins.

**Does overlap help?** It is not a matter of overlap: for sizes that are multiples of the alignment the padding is the same in every tile.

**What to do.** Use tiles and images whose sides are multiples of the alignment period, or export with explicit pads.
";

static META: RuleMeta = RuleMeta {
    code: "H03",
    name: "size_dependent_pooling",
    severity: Severity::Note,
    summary: "A strided window whose padding depends on the size modulo the stride.",
    explanation: EXPLANATION,
};

impl Rule for SizeDependentPooling {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        let ops = [
            "Conv",
            "ConvInteger",
            "QLinearConv",
            "MaxPool",
            "AveragePool",
            "LpPool",
        ];
        for (id, node) in cx.nodes_of(&ops) {
            let strides = node.ints("strides").ok().flatten().unwrap_or_default();
            let auto_pad = node.string("auto_pad").ok().flatten().unwrap_or("NOTSET");
            let rounds_up = node.int("ceil_mode").ok().flatten().unwrap_or(0) != 0;
            let depends = rounds_up || auto_pad.starts_with("SAME");
            if depends && strides.iter().any(|&s| s > 1) && super::reads_positions(cx, node) {
                let attribute = if rounds_up { "ceil_mode" } else { "auto_pad" };
                report.push(META.finding(
                    cx.label(id),
                    format!("with `{attribute}` and a stride the padding depends on the size modulo the stride"),
                    "use sizes that are multiples of the alignment period, or export with explicit pads",
                ));
            }
        }
    }
}
