//! The list of cases that fail, each with its reason: enforced both ways.
//!
//! One line is `pattern stage category reason`. The pattern is the name of a case, or a prefix of names followed by `*`;
//! every case that it matches must fail at that stage, for a cause of that category, with a message that holds the
//! reason. Lines are sorted by pattern and no two match the same case. `#` begins a comment.

use std::collections::BTreeMap;
use std::fmt;

use super::check::{Category, Failure, Stage};

/// Longest reason that is written, characters; messages go on with what the user can do.
const REASON_CHARS: usize = 110;

/// What stands above the lines of a written manifest.
const HEADER: &str = "\
# Backend cases of the onnx package that do not pass, each with its reason.
#
# pattern stage category reason
#
# `*` at the end of a pattern stands for any rest. Every case that a line matches fails at that stage with a message that
# holds the reason, and every case that fails has its line; `cargo xtask conformance` checks both, and writes this file
# with --update. A result that differs from the expected one cannot be listed.
";

/// A parsed manifest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    pattern: String,
    stage: Stage,
    category: Category,
    reason: String,
}

/// A line that is no line of a manifest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {reason}")]
pub(crate) struct ParseManifestError {
    /// Counted from one.
    line: usize,
    reason: String,
}

/// A case, and how it failed if it did.
pub(super) type Outcome = (String, Option<Failure>);

/// A case and the manifest that say different things.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Discrepancy {
    /// The case, or the pattern of a line that matches none.
    pub(super) subject: String,
    /// What is wrong.
    pub(super) problem: String,
}

impl Line {
    fn matches(&self, case: &str) -> bool {
        match self.pattern.strip_suffix('*') {
            Some(prefix) => case.starts_with(prefix),
            None => case == self.pattern,
        }
    }

    fn explains(&self, failure: &Failure) -> bool {
        self.stage == failure.stage
            && Some(self.category) == failure.category
            && failure.message.contains(&self.reason)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stage, category) = (self.stage.word(), self.category.word());
        write!(f, "{} {stage} {category} {}", self.pattern, self.reason)
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEADER)?;
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// A line without its four parts, with an unknown word, or out of order.
    pub(super) fn parse(text: &str) -> Result<Self, ParseManifestError> {
        let mut lines: Vec<Line> = Vec::new();
        for (index, text) in text.lines().enumerate() {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let fail = |reason: String| ParseManifestError {
                line: index + 1,
                reason,
            };
            let line = parse_line(text).map_err(fail)?;
            if let Some(before) = lines.last()
                && before.pattern >= line.pattern
            {
                return Err(fail(format!(
                    "`{}` stands after `{}`; lines are sorted by pattern, each pattern once",
                    line.pattern, before.pattern
                )));
            }
            lines.push(line);
        }
        Ok(Self { lines })
    }

    /// Everything in which the manifest and the outcomes of all cases differ, both ways.
    pub(super) fn discrepancies(&self, outcomes: &[Outcome]) -> Vec<Discrepancy> {
        let mut found = Vec::new();
        let mut used = vec![false; self.lines.len()];
        for (case, failure) in outcomes {
            let matching: Vec<usize> = (0..self.lines.len())
                .filter(|&index| self.lines[index].matches(case))
                .collect();
            for &index in &matching {
                used[index] = true;
            }
            if let Some(problem) = self.problem(&matching, failure.as_ref()) {
                found.push(Discrepancy {
                    subject: case.clone(),
                    problem,
                });
            }
        }
        let unused = self.lines.iter().zip(used).filter(|(_, used)| !used);
        found.extend(unused.map(|(line, _)| Discrepancy {
            subject: line.pattern.clone(),
            problem: "the line matches no case; remove it".into(),
        }));
        found
    }

    /// What is wrong with one case, given the lines that match it.
    fn problem(&self, matching: &[usize], failure: Option<&Failure>) -> Option<String> {
        match (matching, failure) {
            ([], None) => None,
            ([], Some(failure)) => Some(format!("not listed: {failure}")),
            (&[index], None) => Some(format!("passes, but is listed: {}", self.lines[index])),
            (&[index], Some(failure)) if self.lines[index].explains(failure) => None,
            (&[index], Some(failure)) => Some(format!(
                "fails in another way than listed: {failure}; listed: {}",
                self.lines[index]
            )),
            (&[first, second, ..], _) => Some(format!(
                "listed twice: {}; {}",
                self.lines[first], self.lines[second]
            )),
        }
    }

    /// The manifest that these outcomes need, families of cases with one reason under one prefix. What cannot be listed
    /// is left out.
    pub(super) fn covering(outcomes: &[Outcome]) -> Self {
        let mut lines = Vec::new();
        let outcomes: BTreeMap<&str, Option<Line>> = outcomes
            .iter()
            .map(|(case, failure)| (case.as_str(), failure.as_ref().and_then(|f| line(case, f))))
            .collect();
        let cases: Vec<(&str, Option<Line>)> = outcomes.into_iter().collect();
        cover(&cases, 0, &mut lines);
        lines.sort_by(|a, b| a.pattern.cmp(&b.pattern));
        Self { lines }
    }
}

/// Lines for sorted cases that share the first `shared` bytes of their names.
fn cover(cases: &[(&str, Option<Line>)], shared: usize, lines: &mut Vec<Line>) {
    let Some((first, line)) = cases.first() else {
        return;
    };
    let same_cause = |other: &Option<Line>| match (line, other) {
        (Some(line), Some(other)) => {
            (line.stage, line.category, &line.reason)
                == (other.stage, other.category, &other.reason)
        }
        _ => false,
    };
    match line {
        Some(line) if cases.len() == 1 => return lines.push(line.clone()),
        Some(line) if shared > 0 && cases.iter().all(|(_, other)| same_cause(other)) => {
            return lines.push(Line {
                pattern: format!("{}*", &first[..shared]),
                ..line.clone()
            });
        }
        _ => {}
    }
    // Names are cut after `_` and `/`, so that a family is one of words.
    let end_of_word = |case: &str| {
        let rest = &case[shared..];
        shared + rest.find(['_', '/']).map_or(rest.len(), |at| at + 1)
    };
    for family in cases.chunk_by(|(a, _), (b, _)| a[..end_of_word(a)] == b[..end_of_word(b)]) {
        if family.len() == 1 && family[0].1.is_none() {
            continue;
        }
        cover(family, end_of_word(family[0].0), lines);
    }
}

/// The line of one case, if it may have one.
fn line(case: &str, failure: &Failure) -> Option<Line> {
    Some(Line {
        pattern: case.to_owned(),
        stage: failure.stage,
        category: failure.category?,
        reason: reason(&failure.message).to_owned(),
    })
}

/// The part of a message that does not depend on names: what follows the path of the node, up to the advice.
fn reason(message: &str) -> &str {
    let line = message.lines().find(|line| !line.trim().is_empty());
    let line = line.unwrap_or_default().trim();
    // tract puts the path between quotes.
    let after_path = [r#")" "#, "): "]
        .into_iter()
        .filter_map(|end| line.split_once(end))
        .find(|(path, _)| path.contains('/'))
        .map_or(line, |(_, rest)| rest);
    let cause = after_path.split("; ").next().unwrap_or_default();
    let end = cause.char_indices().nth(REASON_CHARS).map(|(at, _)| at);
    cause[..end.unwrap_or(cause.len())].trim()
}

fn parse_line(text: &str) -> Result<Line, String> {
    let mut parts = text.splitn(4, ' ');
    let mut part = |what: &str| {
        let part = parts.next().map(str::trim).filter(|part| !part.is_empty());
        part.ok_or_else(|| format!("no {what}; a line is `pattern stage category reason`"))
    };
    let (pattern, stage, category) = (part("pattern")?, part("stage")?, part("category")?);
    let reason = part("reason")?;
    if pattern.strip_suffix('*').unwrap_or(pattern).contains('*') {
        return Err(format!("`{pattern}` has a `*` that is not at its end"));
    }
    let words = |words: Vec<&str>| words.join(", ");
    Ok(Line {
        pattern: pattern.to_owned(),
        stage: Stage::ALL
            .into_iter()
            .find(|known| known.word() == stage)
            .ok_or_else(|| {
                let known = words(Stage::ALL.map(Stage::word).to_vec());
                format!("unknown stage `{stage}`; it is one of {known}")
            })?,
        category: Category::ALL
            .into_iter()
            .find(|known| known.word() == category)
            .ok_or_else(|| {
                let known = words(Category::ALL.map(Category::word).to_vec());
                format!("unknown category `{category}`; it is one of {known}")
            })?,
        reason: reason.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Place of an outcome, what it becomes, and how the discrepancy begins.
    type Change = (usize, Outcome, &'static str);

    fn failing(case: &str, category: Option<Category>, message: &str) -> Outcome {
        let failure = Failure {
            stage: Stage::Run,
            category,
            message: message.into(),
        };
        (case.into(), Some(failure))
    }

    fn refused(case: &str, message: &str) -> Outcome {
        failing(case, Some(Category::EngineRefuses), message)
    }

    fn passing(case: &str) -> Outcome {
        (case.into(), None)
    }

    #[test]
    fn a_manifest_is_enforced_both_ways() {
        let manifest = "\
# a comment
node/add run engine-refuses too wide

node/loop_* run unsupported-op operator Loop
";
        let manifest = Manifest::parse(manifest).unwrap();
        let loops =
            |case: &str| failing(case, Some(Category::UnsupportedOp), "operator Loop is out");
        let agreeing = [
            refused("node/add", "n: too wide; use a narrower one"),
            passing("node/add_bcast"),
            loops("node/loop_a"),
            loops("node/loop_b"),
            passing("node/loop"),
        ];
        assert_eq!(manifest.discrepancies(&agreeing), []);
        let clone = |index: usize| agreeing[index].clone();
        let changes: [Change; 6] = [
            (
                0,
                passing("node/add"),
                "passes, but is listed: node/add run",
            ),
            (
                2,
                passing("node/loop_a"),
                "passes, but is listed: node/loop_* run",
            ),
            (
                1,
                refused("node/add_bcast", "no"),
                "not listed: run (engine-refuses): no",
            ),
            (
                0,
                refused("node/add", "too narrow"),
                "fails in another way than listed: run (engine-refuses): too narrow",
            ),
            (
                0,
                failing("node/add", Some(Category::Random), "too wide"),
                "fails in another way than listed: run (random): too wide",
            ),
            // A wrong result is not excused by a line that quotes it.
            (
                0,
                failing("node/add", None, "too wide"),
                "fails in another way than listed: run (defect): too wide",
            ),
        ];
        for (at, outcome, problem) in changes {
            let subject = outcome.0.clone();
            let mut outcomes: Vec<Outcome> = (0..agreeing.len()).map(clone).collect();
            outcomes[at] = outcome;
            let found = manifest.discrepancies(&outcomes);
            assert_eq!(found.len(), 1, "{problem}: {found:?}");
            assert_eq!(found[0].subject, subject);
            assert!(found[0].problem.starts_with(problem), "{found:?}");
        }
        let found = manifest.discrepancies(&agreeing[1..]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].subject, "node/add");
        assert!(found[0].problem.contains("matches no case"), "{found:?}");
    }

    #[test]
    fn a_case_has_one_line() {
        let text = "a* run random x\nab run random x\n";
        let manifest = Manifest::parse(text).unwrap();
        let found = manifest.discrepancies(&[failing("ab", Some(Category::Random), "x")]);
        assert!(found[0].problem.starts_with("listed twice"), "{found:?}");
    }

    #[test]
    fn lines_that_are_none_are_refused_by_number() {
        for (text, reason) in [
            ("a run random", "line 1: no reason"),
            ("# c\na run", "line 2: no category"),
            (
                "a walk random x",
                "line 1: unknown stage `walk`; it is one of load, save, run",
            ),
            ("a run different x", "line 1: unknown category `different`"),
            (
                "a*b run random x",
                "line 1: `a*b` has a `*` that is not at its end",
            ),
            (
                "b run random x\na run random x",
                "line 2: `a` stands after `b`",
            ),
            (
                "a run random x\na run random y",
                "line 2: `a` stands after `a`",
            ),
        ] {
            let error = Manifest::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{error}\nshould say: {reason}");
        }
    }

    #[test]
    fn a_written_manifest_covers_its_outcomes_and_reads_back() {
        let outcomes = [
            passing("node/abs"),
            refused("node/add", "g/node #0 (Add): too wide; use another"),
            refused("node/add_one", "g/node #3 (Add): too wide; use another"),
            refused("node/loop_a", "g/node \"x\" (Loop): no loops"),
            refused("node/loop_b_c", "h/node \"y\" (Loop): no loops"),
            refused("node/pad", "tract: it panicked"),
            passing("node/pad_two"),
            refused(
                "node/pow",
                "analysis of \"#0 g/node #0 (Pow)\" Pow: no rule",
            ),
            failing("node/sub", None, "1, expected 2"),
        ];
        let manifest = Manifest::covering(&outcomes);
        let text = manifest.to_string();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "node/add run engine-refuses too wide",
                "node/add_one run engine-refuses too wide",
                "node/loop_* run engine-refuses no loops",
                "node/pad run engine-refuses tract: it panicked",
                "node/pow run engine-refuses Pow: no rule",
            ]
        );
        assert_eq!(Manifest::parse(&text).unwrap(), manifest);
        let found = manifest.discrepancies(&outcomes);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].subject, "node/sub");
    }
}
