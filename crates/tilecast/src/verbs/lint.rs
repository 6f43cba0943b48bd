//! `lint`: tiling and precision hazards of a model.

use std::path::Path;

use serde::Serialize;
use tilecast_analysis::{Finding, Severity};
use tilecast_onnx::Model;

use crate::Failure;

/// Findings of one model.
#[derive(Clone, Debug, Serialize)]
pub struct LintOutcome {
    /// Format of this document.
    pub schema: &'static str,
    /// File name of the model.
    pub model: String,
    /// What was found, errors first.
    pub findings: Vec<Finding>,
}

impl LintOutcome {
    /// Whether a finding makes tiled results wrong at any tile size.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Error)
    }
}

/// Lints a model file.
///
/// # Errors
/// The model cannot be loaded.
pub fn lint(path: &Path) -> Result<LintOutcome, Failure> {
    let model = Model::load(path)?;
    Ok(LintOutcome {
        schema: "tilecast.lint/1",
        model: path.display().to_string(),
        findings: tilecast_analysis::lint(&model),
    })
}
