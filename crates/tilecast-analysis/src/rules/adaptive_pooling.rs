//! H23: pools into a fixed number of parts.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H23.
pub(super) struct AdaptivePooling;

const EXPLANATION: &str = "\
**Why.** Pyramid and adaptive pools divide the image into k×k parts. Exported at a fixed size they are pools with a kernel of the size
of such a part; in a tile, or at any other size, the parts would have to be others.

**Does overlap help?** No.

**What to do.** Replace the pool by one with a fixed kernel and train with it, or run the model on whole images of its fixed size.
";

static META: RuleMeta = RuleMeta {
    code: "H23",
    name: "adaptive_pooling",
    severity: Severity::Error,
    summary: "A pool into a fixed number of parts of the image, frozen to the size of export.",
    explanation: EXPLANATION,
};

impl Rule for AdaptivePooling {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        let Some(dims) = cx.fixed_shapes() else {
            return;
        };
        for (id, node) in cx.nodes_of(&["AveragePool", "MaxPool"]) {
            let list = |name: &str| node.ints(name).ok().flatten().unwrap_or_default();
            let (kernel, strides) = (list("kernel_shape"), list("strides"));
            let Some([_, _, height, width]) = node.input_name(0).and_then(|x| dims.shape(x)) else {
                continue;
            };
            let is_part = |&(&k, &n): &(&i64, &usize)| {
                let part = usize::try_from(k).unwrap_or(0);
                (LEAST_PART..n).contains(&part) && n.is_multiple_of(part) && n / part <= MOST_PARTS
            };
            if kernel == strides
                && kernel.len() == 2
                && kernel.iter().zip([height, width]).all(|p| is_part(&p))
            {
                report.push(META.finding(
                    cx.label(id),
                    format!(
                        "it pools {width}x{height} positions into {}x{} parts, whose size follows that of the image",
                        *width as i64 / kernel[1].max(1),
                        *height as i64 / kernel[0].max(1)
                    ),
                    "replace it by a pool with a fixed kernel, or run the model on whole images",
                ));
            }
        }
    }
}

/// No network strides by as many positions in one pool.
const LEAST_PART: usize = 16;

/// Pyramids have so many parts on a side at most.
const MOST_PARTS: usize = 8;
