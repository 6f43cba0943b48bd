//! `docs/generated/passes.md`: every graph rewrite, from the pass's own explanation.

use std::fmt::Write;

use tilecast_passes::PASSES;

use super::sentence;

/// The whole page.
pub(super) fn markdown() -> String {
    let mut page = String::from(
        "<!-- Written by `cargo xtask gen` from the sources of tilecast-passes. -->\n\
         # Passes\n\n\
         The rewrites that turn a float32 model into an artifact. `tilecast explain ID` prints the same text.\n",
    );
    for pass in PASSES {
        write!(
            page,
            "\n## `{}`\n\n{}\n\n{}\n",
            pass.id,
            sentence(pass.summary),
            pass.explanation.trim()
        )
        .expect("writing to a string does not fail");
    }
    page
}
