//! H02: where tiles may begin.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H02.
pub(super) struct TileAlignment;

const EXPLANATION: &str = "\
**Why.** A strided convolution, a pooling or a pixel unshuffle samples every n-th position, counted from the tile's corner. A tile
that begins between two samples of the whole-image run computes other values everywhere.

**Does overlap help?** No. With a misaligned origin not a single pixel is equal, whatever the overlap; blending only hides it.

**What to do.** Place tiles, and choose their sizes, at multiples of the alignment period (the least common multiple of the
strides).
";

static META: RuleMeta = RuleMeta {
    code: "H02",
    name: "tile_alignment",
    severity: Severity::Note,
    summary: "Tile origins and sizes must be multiples of the alignment period.",
    explanation: EXPLANATION,
};

impl Rule for TileAlignment {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        if let Ok(tiling) = cx.tiling()
            && tiling.alignment_px > 1
        {
            report.push(META.finding(
                cx.graph_label(),
                format!(
                    "tile origins and sizes must be multiples of {} pixels, the network's stride",
                    tiling.alignment_px
                ),
                "let the tiler align its grid; overlap cannot repair a misaligned one",
            ));
        }
    }
}
