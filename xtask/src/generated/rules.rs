//! `docs/generated/rules.md`: every lint rule, from the rule's own explanation.

use std::fmt::Write;

use super::sentence;

/// The whole page.
pub(super) fn markdown() -> String {
    let mut page = String::from(
        "<!-- Written by `cargo xtask gen` from the sources of tilecast-analysis. -->\n\
         # Lint rules\n\n\
         What `tilecast lint` finds. `tilecast explain CODE` prints the same text.\n",
    );
    for rule in tilecast_analysis::rules() {
        write!(
            page,
            "\n## {} `{}` ({})\n\n{}\n\n{}\n",
            rule.code,
            rule.name,
            rule.severity,
            sentence(rule.summary),
            rule.explanation.trim()
        )
        .expect("writing to a string does not fail");
    }
    page
}
