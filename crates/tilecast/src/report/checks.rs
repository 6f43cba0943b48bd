//! Every gate of a report as one list, for the formats that continuous integration reads.

use super::{ArtifactReport, GateVerdict, Quality, Report};
use crate::Verification;
use crate::baseline::BaselineCheck;
use crate::finite::FiniteCheck;
use crate::identity::file_name;

/// The gates of one artifact, or of the candidate of `verify`.
pub(super) struct Suite {
    /// Name of the artifact.
    pub(super) name: String,
    /// In order: finite output, gates, baseline.
    pub(super) checks: Vec<Check>,
}

/// One gate.
pub(super) struct Check {
    /// What must hold.
    pub(super) name: String,
    pub(super) outcome: Outcome,
    /// What was found, as a sentence without its period.
    pub(super) found: String,
}

/// What became of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed,
    /// Nothing to compare with.
    Skipped,
}

impl Suite {
    pub(super) fn count(&self, outcome: Outcome) -> usize {
        self.checks.iter().filter(|c| c.outcome == outcome).count()
    }
}

/// The suites of a report, artifacts of the baseline that are gone included.
pub(super) fn of_report(report: &Report) -> Vec<Suite> {
    let mut suites: Vec<Suite> = report.artifacts.iter().map(of_artifact).collect();
    for check in report.baseline.iter().flat_map(|b| &b.checks) {
        match suites.iter_mut().find(|s| s.name == check.artifact) {
            Some(suite) => suite.checks.push(of_baseline(check)),
            None => suites.push(Suite {
                name: check.artifact.clone(),
                checks: vec![of_baseline(check)],
            }),
        }
    }
    suites
}

/// The one suite of `verify`.
pub(super) fn of_verification(verification: &Verification) -> Suite {
    let mut suite = Suite {
        name: file_name(std::path::Path::new(&verification.candidate)),
        checks: of_quality(&verification.quality, ""),
    };
    let checks = verification.baseline.iter().flat_map(|b| &b.checks);
    suite.checks.extend(checks.map(of_baseline));
    suite
}

fn of_artifact(artifact: &ArtifactReport) -> Suite {
    let blame = artifact.finite.as_ref().map(FiniteCheck::blame);
    Suite {
        name: artifact.name.clone(),
        checks: of_quality(&artifact.quality, &blame.unwrap_or_default()),
    }
}

fn of_quality(quality: &Quality, blame: &str) -> Vec<Check> {
    let finite = Check {
        name: "output is finite".to_owned(),
        outcome: outcome(quality.psnr_db.is_some()),
        found: match quality.psnr_db {
            Some(psnr) => format!("PSNR {:.2} dB mean, {:.2} dB worst", psnr.mean, psnr.min),
            None => format!("the output has NaN or infinite values{blame}"),
        },
    };
    let gates = quality.gates.iter().map(|gate| Check {
        name: format!("{} {} {}", gate.gate, sign(gate), gate.limit),
        outcome: outcome(gate.passed),
        found: format!("{} is {}", gate.gate, found(gate)),
    });
    [finite].into_iter().chain(gates).collect()
}

/// What a gate found, for people.
pub(super) fn found(gate: &GateVerdict) -> String {
    gate.value
        .map_or("not measurable".to_owned(), |v| format!("{v:.3}"))
}

/// Which side of its limit a gate asks for.
pub(super) fn sign(gate: &GateVerdict) -> &'static str {
    if gate.gate.starts_with("max") {
        "at most"
    } else {
        "at least"
    }
}

fn of_baseline(check: &BaselineCheck) -> Check {
    Check {
        name: format!("baseline {}", check.measure),
        outcome: if check.baseline.is_none() {
            Outcome::Skipped
        } else {
            outcome(check.passed)
        },
        found: check.found(),
    }
}

fn outcome(passed: bool) -> Outcome {
    if passed {
        Outcome::Passed
    } else {
        Outcome::Failed
    }
}
