//! Annotations of GitHub Actions: one workflow command a line.

use std::fmt::Write;

use tilecast::{LintOutcome, LintSeverity};

/// Findings, and probes that disagree.
pub(super) fn annotations(outcome: &LintOutcome) -> String {
    let mut text = String::new();
    let file = property(&outcome.model);
    for finding in &outcome.findings {
        let level = match finding.severity {
            LintSeverity::Error => "error",
            LintSeverity::Warning => "warning",
            LintSeverity::Note => "notice",
        };
        let title = property(&format!("{} {}", finding.code, finding.node));
        let message = data(&format!("{}\nhelp: {}", finding.message, finding.help));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "::{level} file={file},title={title}::{message}");
    }
    for check in outcome.disagreements() {
        let title = property(&format!("probe {}", check.probe));
        let message = data(&check.message);
        let _ = writeln!(text, "::error file={file},title={title}::{message}");
    }
    text
}

/// What a runner would take for the end of the message.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// And for the end of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_command_or_a_property_is_escaped() {
        assert_eq!(data("100 %\nof: it"), "100 %25%0Aof: it");
        assert_eq!(property("a:b,c\r"), "a%3Ab%2Cc%0D");
    }
}
