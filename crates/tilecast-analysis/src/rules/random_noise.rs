//! H40: noise that differs from tile to tile.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H40.
pub(super) struct RandomNoise;

const EXPLANATION: &str = "\
**Why.** Each tile draws its own noise, and two runs differ. No comparison with the whole image is possible.

**Does overlap help?** No.

**What to do.** Make the noise an input of the model, draw it once for the image and cut it with the tiles; or export the model in
inference mode.
";

static META: RuleMeta = RuleMeta {
    code: "H40",
    name: "random_noise",
    severity: Severity::Error,
    summary: "Noise that is drawn anew for each tile.",
    explanation: EXPLANATION,
};

impl Rule for RandomNoise {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        let ops = [
            "RandomNormal",
            "RandomNormalLike",
            "RandomUniform",
            "RandomUniformLike",
            "Bernoulli",
        ];
        for (id, node) in cx.nodes_of(&ops) {
            report.push(META.finding(
                cx.label(id),
                format!("{} draws its noise anew for each tile", node.op()),
                "make the noise an input of the model, or export it in inference mode",
            ));
        }
        for (id, node) in cx.nodes_of(&["Dropout"]) {
            let training = node
                .input_name(2)
                .and_then(|name| cx.constant_integers(name));
            if training.is_some_and(|t| t != [0]) {
                report.push(META.finding(
                    cx.label(id),
                    "Dropout in training mode drops other elements in each tile",
                    "call `model.eval()` and export again",
                ));
            }
        }
    }
}
