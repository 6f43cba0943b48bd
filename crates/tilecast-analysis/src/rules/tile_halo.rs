//! H01: how much context a tile needs.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H01.
pub(super) struct TileHalo;

const EXPLANATION: &str = "\
**Why.** A convolution with a kernel of k reads (k-1)/2 pixels beyond each output pixel, and layers add up. At the edge of a
tile those pixels are missing and zeros stand in for them, so that a band along the edge differs from the whole-image run.

**Does overlap help?** Yes, completely, if it is as wide as the halo: drop the band and the rest is equal, up to the order of
float sums. A guessed overlap of 10 or 32 pixels is usually narrower than the halo and hides the difference instead.

**What to do.** Let the tiler use the halo that is derived from the graph. Where that is too expensive, measure the error of a
narrower one.
";

static META: RuleMeta = RuleMeta {
    code: "H01",
    name: "tile_halo",
    severity: Severity::Note,
    summary: "How many pixels around a tile the network sees.",
    explanation: EXPLANATION,
};

impl Rule for TileHalo {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        let label = cx.graph_label();
        report.push(match cx.tiling() {
            Err(error) => META.finding(
                label,
                format!("the halo cannot be derived: {error}"),
                "run the model on whole images, or change the named node",
            ),
            Ok(tiling) => match tiling.halo_px {
                Some(halo_px) => META.finding(
                    label,
                    format!("a tile needs {halo_px} pixels of context on each side; the network sees that far"),
                    "keep only what is farther than this from a tile's inner edges",
                ),
                None => META.finding(
                    label,
                    format!(
                        "no halo is wide enough: {} reads pixels from anywhere",
                        tiling.global_nodes.join(", ")
                    ),
                    "run the model on whole images",
                ),
            },
        });
    }
}
