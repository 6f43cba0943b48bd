//! The verbs: one file each, listed here.

mod cache;
mod calibrate;
mod completions;
mod convert;
mod explain;
mod gates;
mod init;
mod inspect;
mod lint;
mod man;
mod plan;
mod quantize;
mod run;
mod schema;
mod sensitivity;
mod simplify;
mod verify;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde::Serialize;
use tilecast::recipe::{LoadedRecipe, Preprocess, Sweeps};
use tilecast::{Context, EngineChoice, Failure, FailureKind, FreeMemoryLevels, LibrarySearch};

use crate::printer::{Output, Printer};

/// A verb and its arguments.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Write a recipe for a model.
    Init(init::Arguments),
    /// Make and verify the release models of a recipe.
    Quantize(quantize::Arguments),
    /// Show what a model is: size, operators, halo, memory.
    Inspect(inspect::Arguments),
    /// Find tiling and precision hazards.
    Lint(lint::Arguments),
    /// Explain a lint rule or a pass.
    Explain(explain::Arguments),
    /// Make a model smaller and faster without changing what it computes.
    Simplify(simplify::Arguments),
    /// Observe activations on images, for any number of conversions.
    Calibrate(calibrate::Arguments),
    /// Convert a model to one precision, without a recipe.
    Convert(convert::Arguments),
    /// Measure what INT8 costs in each place.
    Sensitivity(sensitivity::Arguments),
    /// Choose tiles for an image of a size within a memory limit.
    Plan(plan::Arguments),
    /// Run a model over an image or a folder, tile by tile.
    Run(run::Arguments),
    /// Judge a model against another on images.
    Verify(verify::Arguments),
    /// Print the JSON schema of recipes.
    Schema(schema::Arguments),
    /// Print a script that completes command lines in a shell.
    Completions(completions::Arguments),
    /// Write manual pages.
    Man(man::Arguments),
}

impl Command {
    pub(crate) fn run(
        self,
        printer: &Printer,
        interrupted: &'static AtomicBool,
    ) -> Result<Output, Failure> {
        let cx = Context::new(printer, interrupted);
        match self {
            Self::Init(arguments) => arguments.run(&cx),
            Self::Quantize(arguments) => arguments.run(&cx),
            Self::Inspect(arguments) => arguments.run(&cx),
            Self::Lint(arguments) => arguments.run(&cx),
            Self::Explain(arguments) => arguments.run(),
            Self::Simplify(arguments) => arguments.run(&cx),
            Self::Calibrate(arguments) => arguments.run(&cx),
            Self::Convert(arguments) => arguments.run(&cx),
            Self::Sensitivity(arguments) => arguments.run(&cx),
            Self::Plan(arguments) => arguments.run(&cx),
            Self::Run(arguments) => arguments.run(&cx),
            Self::Verify(arguments) => arguments.run(&cx),
            Self::Schema(_) => Ok(schema::Arguments::run()),
            Self::Completions(arguments) => arguments.run(),
            Self::Man(arguments) => arguments.run(),
        }
    }
}

/// The value of `--sweeps`.
fn parse_sweeps(text: &str) -> Result<Sweeps, String> {
    match text {
        "auto" => Ok(Sweeps::Auto),
        number => number
            .parse()
            .map(Sweeps::Count)
            .map_err(|_| "a whole number, 1 or more, or `auto` is expected".to_owned()),
    }
}

/// One JSON document.
fn json(document: &impl Serialize) -> Result<String, Failure> {
    let mut text = serde_json::to_string_pretty(document)
        .map_err(|e| Failure::new(FailureKind::Internal, format!("cannot encode JSON: {e}")))?;
    text.push('\n');
    Ok(text)
}

/// A size for people.
fn megabytes(bytes: usize) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

/// Engines, as `--engine` names them.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum EngineName {
    /// The embedded engine.
    #[default]
    Tract,
    /// ONNX Runtime's CPU provider, from a library on this machine.
    Ort,
}

impl EngineName {
    fn choice(self) -> EngineChoice {
        match self {
            Self::Tract => EngineChoice::Tract,
            Self::Ort => EngineChoice::Ort(onnxruntime()),
        }
    }
}

/// How pixels reach a model, where a recipe says so.
fn preprocess(recipe: Option<&Path>) -> Result<Option<Preprocess>, Failure> {
    let Some(path) = recipe else {
        return Ok(None);
    };
    Ok(Some(LoadedRecipe::load(path, &[])?.recipe.preprocess))
}

/// How much memory must be free for tiles of a size: as a recipe says, where there is one.
fn free_memory(recipe: Option<&Path>) -> Result<FreeMemoryLevels, Failure> {
    let Some(path) = recipe else {
        return Ok(FreeMemoryLevels::default());
    };
    let tiling = LoadedRecipe::load(path, &[])?.recipe.tiling;
    Ok(tiling.free_memory.into())
}

/// Where ONNX Runtime is looked for.
fn onnxruntime() -> LibrarySearch {
    LibrarySearch::from_variables(|name| std::env::var_os(name))
}

/// Bytes that tiles in flight may take where no recipe says otherwise.
const DEFAULT_MEMORY_BYTES: u64 = 2 << 30;
