//! Gates as JUnit XML, which every system of continuous integration shows: one test case per gate.

use std::fmt::Write;

use super::Report;
use super::checks::{Outcome, Suite, of_report, of_verification};
use crate::Verification;

/// The gates of the main job as JUnit XML.
#[must_use]
pub fn report_to_junit(report: &Report) -> String {
    let name = format!("tilecast quantize {}", report.recipe.name);
    to_junit(&name, &report.recipe.name, &of_report(report))
}

/// The gates of `verify` as JUnit XML.
#[must_use]
pub fn verification_to_junit(verification: &Verification) -> String {
    to_junit(
        "tilecast verify",
        "verify",
        &[of_verification(verification)],
    )
}

fn to_junit(name: &str, class: &str, suites: &[Suite]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(name, class, suites, &mut text);
    text
}

fn write(name: &str, class: &str, suites: &[Suite], out: &mut String) -> std::fmt::Result {
    let count = |outcome| suites.iter().map(|s| s.count(outcome)).sum::<usize>();
    writeln!(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\">",
        escape(name),
        suites.iter().map(|s| s.checks.len()).sum::<usize>(),
        count(Outcome::Failed),
        count(Outcome::Skipped)
    )?;
    for suite in suites {
        writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\">",
            escape(&suite.name),
            suite.checks.len(),
            suite.count(Outcome::Failed),
            suite.count(Outcome::Skipped)
        )?;
        for check in &suite.checks {
            let (class, suite) = (escape(class), escape(&suite.name));
            let (name, found) = (escape(&check.name), escape(&check.found));
            write!(
                out,
                "    <testcase classname=\"{class}.{suite}\" name=\"{name}\""
            )?;
            match check.outcome {
                Outcome::Passed => writeln!(out, "><system-out>{found}</system-out></testcase>")?,
                Outcome::Failed => writeln!(
                    out,
                    "><failure type=\"gate\" message=\"{found}\">{suite}: {found}</failure></testcase>"
                )?,
                Outcome::Skipped => {
                    writeln!(out, "><skipped message=\"{found}\"/></testcase>")?;
                }
            }
        }
        writeln!(out, "  </testsuite>")?;
    }
    writeln!(out, "</testsuites>")
}

/// Text for XML, in attributes and between tags; characters that XML does not know become U+FFFD.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::checks::Check;
    use super::*;

    #[test]
    fn outcomes_are_counted_and_text_is_escaped() {
        let check = |name: &str, outcome| Check {
            name: name.to_owned(),
            outcome,
            found: "a < b & \"c\"\u{1}".to_owned(),
        };
        let suite = Suite {
            name: "x".to_owned(),
            checks: vec![
                check("one", Outcome::Passed),
                check("two", Outcome::Failed),
                check("three", Outcome::Skipped),
            ],
        };
        let text = to_junit("job", "class", &[suite]);
        assert!(
            text.contains(
                "<testsuite name=\"x\" tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\">"
            ),
            "{text}"
        );
        assert!(
            text.contains(
                "<testcase classname=\"class.x\" name=\"two\"><failure type=\"gate\" \
                 message=\"a &lt; b &amp; &quot;c&quot;\u{fffd}\">"
            ),
            "{text}"
        );
    }
}
