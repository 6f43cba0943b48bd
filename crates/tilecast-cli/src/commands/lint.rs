//! `tilecast lint`.

mod github;
mod sarif;

use std::fmt::Write;
use std::path::PathBuf;

use tilecast::{Context, Failure, LintOutcome, ProbeCheck, Probing};

use super::json;
use crate::printer::Output;

/// Arguments of `lint`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tilecast lint net.onnx --format github")]
pub(crate) struct Arguments {
    /// ONNX model.
    model: PathBuf,
    /// How to print findings: human, json, sarif or github.
    #[arg(long, value_enum, default_value_t = Format::Human, hide_possible_values = true)]
    format: Format,
    /// The same as `--format json`.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Run the model on small images of noise, and report where that disagrees with what the graph says.
    #[arg(long)]
    probe: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Text.
    #[value(alias = "text")]
    Human,
    /// One JSON document.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Annotations of GitHub Actions.
    Github,
}

impl Arguments {
    pub(super) fn run(self, cx: &Context<'_>) -> Result<Output, Failure> {
        let probing = if self.probe {
            Probing::Run
        } else {
            Probing::None
        };
        let outcome = tilecast::lint(&self.model, probing, cx)?;
        let format = if self.json { Format::Json } else { self.format };
        let text = match format {
            Format::Human => human(&outcome),
            Format::Json => json(&outcome)?,
            Format::Sarif => json(&sarif::document(&outcome))?,
            Format::Github => github::annotations(&outcome),
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
    for check in outcome.probes.iter().flatten() {
        let _ = writeln!(
            text,
            "probe[{}] {}: {}",
            check.probe,
            verdict(check),
            check.message
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

fn verdict(check: &ProbeCheck) -> &'static str {
    match check.agrees {
        Some(true) => "agrees",
        Some(false) => "DISAGREES with the verdict",
        None => "not run",
    }
}
