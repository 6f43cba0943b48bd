//! `tilecast init`.

use std::path::PathBuf;

use tilecast::{Context, Failure, InitOutcome, InitSettings};

use super::json;
use crate::printer::Output;

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  tilecast init net.onnx --images photos -o net.yaml && tilecast quantize net.yaml"
)]
pub(crate) struct Arguments {
    /// FP32 ONNX model.
    model: PathBuf,
    /// Recipe to write, with the schema for editors beside it; without it the recipe is printed.
    #[arg(short, long, value_name = "RECIPE")]
    output: Option<PathBuf>,
    /// Folder of typical inputs.
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Folder of ground truth with the same file names.
    #[arg(long, value_name = "DIR")]
    references: Option<PathBuf>,
    /// Replace a recipe that is there.
    #[arg(long, requires = "output")]
    force: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, cx: &Context<'_>) -> Result<Output, Failure> {
        let settings = InitSettings {
            model: self.model,
            output: self.output,
            images: self.images,
            references: self.references,
            force: self.force,
        };
        let outcome = tilecast::init(&settings, cx)?;
        let text = match (&outcome.path, self.json) {
            (_, true) => json(&outcome)?,
            (None, false) => outcome.recipe,
            (Some(path), false) => next(path, &outcome),
        };
        Ok(Output::success(text))
    }
}

/// What was recognized, and what to do now.
fn next(path: &str, outcome: &InitOutcome) -> String {
    let recognized: Vec<String> = outcome
        .recognized
        .iter()
        .map(|line| format!("  {line}\n"))
        .collect();
    let recognized = recognized.concat();
    let check = match outcome.warnings.len() {
        0 => String::new(),
        n => format!("look at the {n} line(s) marked CHECK, then "),
    };
    format!("{path}:\n{recognized}next: {check}`tilecast quantize {path} --dry-run`\n")
}
