//! `tilecast lint`.

use std::fmt::Write;
use std::path::PathBuf;

use tilecast::{Failure, LintOutcome};

use super::json;
use crate::printer::Output;

/// Arguments of `lint`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// ONNX model.
    model: PathBuf,
    /// How to print findings.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// The same as `--format json`.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Text.
    Human,
    /// One JSON document.
    Json,
}

impl Arguments {
    pub(super) fn run(self) -> Result<Output, Failure> {
        let outcome = tilecast::lint(&self.model)?;
        let text = match self.format {
            Format::Human if !self.json => human(&outcome),
            _ => json(&outcome)?,
        };
        Ok(Output::gated(text, !outcome.has_errors()))
    }
}

fn human(outcome: &LintOutcome) -> String {
    let mut text = String::new();
    for finding in &outcome.findings {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}[{}] {}: {}\n  help: {}",
            finding.severity, finding.code, finding.node, finding.message, finding.help
        );
    }
    let _ = writeln!(
        text,
        "{}: {} finding(s); `tilecast explain CODE` says more",
        outcome.model,
        outcome.findings.len()
    );
    text
}
