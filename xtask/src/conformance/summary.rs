//! What is said at the end: counts for a person, or one JSON document.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::check::{Category, Stage};
use super::manifest::{Discrepancy, Outcome};

/// Version of the JSON document.
const SCHEMA: u32 = 1;

/// Counts over all cases.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    schema: u32,
    /// Why nothing was checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
    cases: usize,
    /// Models that load and pass verification.
    loaded: usize,
    /// Those of them that are written back byte for byte.
    saved_identical: usize,
    /// Cases that the engine ran, with a right result or a wrong one.
    ran: usize,
    matched: usize,
    /// Cases per category of the manifest.
    listed: BTreeMap<&'static str, usize>,
    discrepancies: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    case: String,
    problem: String,
}

impl Summary {
    /// Counts outcomes.
    pub(super) fn new(outcomes: &[Outcome], discrepancies: &[Discrepancy]) -> Self {
        let mut summary = Self {
            schema: SCHEMA,
            cases: outcomes.len(),
            ..Self::default()
        };
        for (_, failure) in outcomes {
            let failed_at = failure.as_ref().map(|failure| failure.stage);
            let category = failure.as_ref().and_then(|failure| failure.category);
            summary.loaded += usize::from(failed_at != Some(Stage::Load));
            summary.saved_identical += usize::from(matches!(failed_at, None | Some(Stage::Run)));
            summary.matched += usize::from(failure.is_none());
            let differs = failed_at == Some(Stage::Run) && category.is_none();
            summary.ran += usize::from(failure.is_none() || differs);
            if let Some(category) = category {
                *summary.listed.entry(category.word()).or_default() += 1;
            }
        }
        summary.discrepancies = discrepancies
            .iter()
            .map(|discrepancy| Entry {
                case: discrepancy.subject.clone(),
                problem: discrepancy.problem.clone(),
            })
            .collect();
        summary
    }

    /// Nothing was checked.
    pub(super) fn skipped(reason: String) -> Self {
        Self {
            schema: SCHEMA,
            skipped: Some(reason),
            ..Self::default()
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = &self.skipped {
            return writeln!(f, "conformance: skipped, {reason}");
        }
        for entry in &self.discrepancies {
            writeln!(f, "{}: {}", entry.case, entry.problem)?;
        }
        writeln!(f, "{} cases", self.cases)?;
        writeln!(f, "  {:5} load and verify", self.loaded)?;
        writeln!(f, "  {:5} written back byte for byte", self.saved_identical)?;
        writeln!(f, "  {:5} run by the engine", self.ran)?;
        writeln!(f, "  {:5} with the expected result", self.matched)?;
        let categories = Category::ALL.map(Category::word);
        for (word, n) in categories
            .iter()
            .filter_map(|word| Some((word, self.listed.get(word)?)))
        {
            writeln!(f, "  {n:5} listed as {word}")?;
        }
        writeln!(f, "  {:5} against the manifest", self.discrepancies.len())
    }
}
