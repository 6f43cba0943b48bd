//! Times of models in onnxruntime, in pairs with a reference: `ort_pairs.py`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::python::Dialog;
use super::statistics::Quartiles;
use super::{BenchError, Options, progress};

const SCRIPT: &str = "ort_pairs.py";

/// Numbers of threads that onnxruntime is given.
pub(super) const THREADS: [usize; 2] = [1, 2];

/// What is run against one reference.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) reference: PathBuf,
    /// `[1, channels, height, width]`.
    pub(super) shape: [usize; 4],
    /// By label.
    pub(super) candidates: BTreeMap<String, PathBuf>,
}

/// What became of one candidate.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum Run {
    /// It ran.
    Done {
        /// Time of the reference over that of the candidate, per round.
        ratios: Vec<f64>,
        /// Largest absolute difference of an output over its range.
        difference: f64,
    },
    /// It does not run.
    Failed {
        /// What onnxruntime said.
        error: String,
    },
}

/// By number of threads.
pub(super) type Runs = BTreeMap<usize, Run>;

/// A line of the script.
#[derive(Debug, Deserialize)]
struct Answer {
    threads: usize,
    candidates: BTreeMap<String, Run>,
}

impl Run {
    /// Median of the ratios.
    pub(super) fn median(&self) -> Option<f64> {
        match self {
            Self::Done { ratios, .. } => Some(Quartiles::of(ratios)?.median),
            Self::Failed { .. } => None,
        }
    }
}

/// A cell: median and quartiles of the ratios.
pub(super) fn speed(run: Option<&Run>) -> String {
    match run {
        Some(Run::Done { ratios, .. }) => {
            Quartiles::of(ratios).map_or_else(String::new, Quartiles::text)
        }
        Some(Run::Failed { .. }) => "does not run".into(),
        None => "–".into(),
    }
}

/// Runs every case with every number of threads; per case the runs by label.
///
/// # Errors
/// Python or the script fails.
pub(super) fn measure(
    options: &Options,
    cases: &[Case],
) -> Result<Vec<BTreeMap<String, Runs>>, BenchError> {
    let job = json!({ "threads": THREADS, "rounds": options.rounds, "cases": cases });
    let mut script = Dialog::start(&options.python, SCRIPT)?;
    script.say(&job.to_string())?;
    script.hush();
    let mut all = Vec::new();
    for case in cases {
        progress(&format!("running {}", case.name));
        let mut runs: BTreeMap<String, Runs> = BTreeMap::new();
        for _ in THREADS {
            let answer = read(&script.hear()?)?;
            for (label, run) in answer.candidates {
                runs.entry(label).or_default().insert(answer.threads, run);
            }
        }
        all.push(runs);
    }
    Ok(all)
}

fn read(line: &str) -> Result<Answer, BenchError> {
    serde_json::from_str(line)
        .map_err(|e| BenchError::step(format!("reading what {SCRIPT} said"), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_shown() {
        let line = r#"{"name": "m", "threads": 2, "reference_ms": [1.0], "candidates":
            {"a": {"ratios": [1.0, 1.2, 1.4], "difference": 2e-7}, "b": {"error": "Fail: no"}}}"#;
        let answer = read(line).unwrap();
        assert_eq!(answer.threads, 2);
        let cell = |label: &str| speed(answer.candidates.get(label));
        assert_eq!(cell("a"), "1.20 (1.10–1.30)");
        assert_eq!(cell("b"), "does not run");
        assert_eq!(cell("c"), "–");
        assert_eq!(answer.candidates["a"].median(), Some(1.2));
        assert_eq!(answer.candidates["b"].median(), None);
        assert!(read("Traceback").is_err());
    }
}
