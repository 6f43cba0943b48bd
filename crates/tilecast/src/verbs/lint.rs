//! `lint`: tiling and precision hazards of a model.

use std::path::Path;

use serde::Serialize;
use tilecast_analysis::{Finding, Severity};
use tilecast_onnx::Model;

use crate::Failure;
use crate::context::Context;
use crate::probe::{ProbeCheck, probe};

/// Findings of one model.
#[derive(Clone, Debug, Serialize)]
pub struct LintOutcome {
    /// Format of this document.
    pub schema: &'static str,
    /// File name of the model.
    pub model: String,
    /// What was found, errors first.
    pub findings: Vec<Finding>,
    /// What runs of the model say to the verdict, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<Vec<ProbeCheck>>,
}

impl LintOutcome {
    /// Whether a finding makes tiled results wrong at any tile size, or a probe disagrees with the verdict.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        let is_error = |f: &Finding| f.severity == Severity::Error;
        self.findings.iter().any(is_error) || self.disagreements().next().is_some()
    }

    /// Probes that disagree with the verdict.
    pub fn disagreements(&self) -> impl Iterator<Item = &ProbeCheck> {
        let checks = self.probes.iter().flatten();
        checks.filter(|check| check.agrees == Some(false))
    }
}

/// Whether lint runs the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Probing {
    /// The graph is read only.
    #[default]
    None,
    /// The embedded engine runs it on small images of noise, to test the verdict.
    Run,
}

/// Lints a model file.
///
/// # Errors
/// The model cannot be loaded; with probes, the engine cannot run it, or the user interrupts.
pub fn lint(path: &Path, probing: Probing, cx: &Context<'_>) -> Result<LintOutcome, Failure> {
    let model = Model::load(path)?;
    let findings = tilecast_analysis::lint(&model);
    let probes = match probing {
        Probing::None => None,
        Probing::Run => Some(probe(&model, cx)?),
    };
    Ok(LintOutcome {
        schema: "tilecast.lint/1",
        model: path.display().to_string(),
        findings,
        probes,
    })
}
