//! H04: blocks of pixels that become channels.

use crate::lint::{Finding, LintContext, Rule, RuleMeta, Severity};

/// H04.
pub(super) struct PixelUnshuffle;

const EXPLANATION: &str = "\
**Why.** Blocks of r×r pixels become channels, counted from the corner of the tile. A tile that begins inside a block cuts all blocks at
other places, and every channel holds another pixel.

**Does overlap help?** No, unless the origin is a multiple of the block: then none is needed.

**What to do.** Place tiles at multiples of the alignment period, which includes r.
";

static META: RuleMeta = RuleMeta {
    code: "H04",
    name: "pixel_unshuffle",
    severity: Severity::Note,
    summary: "A pixel unshuffle: blocks of pixels become channels.",
    explanation: EXPLANATION,
};

impl Rule for PixelUnshuffle {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, cx: &LintContext<'_>, report: &mut Vec<Finding>) {
        for (id, node) in cx.nodes_of(&["SpaceToDepth"]) {
            let block = node.int("blocksize").ok().flatten().unwrap_or(1);
            if block > 1 && super::reads_positions(cx, node) {
                report.push(found(cx.label(id), block, block));
            }
        }
        for &(id, [rows, columns]) in cx.unshuffles() {
            report.push(found(cx.label(id), rows, columns));
        }
    }
}

fn found(node: String, rows: impl std::fmt::Display, columns: impl std::fmt::Display) -> Finding {
    META.finding(
        node,
        format!(
            "blocks of {rows}x{columns} pixels become channels, counted from the tile's corner"
        ),
        "let the tiler align its grid; overlap cannot repair a misaligned one",
    )
}
