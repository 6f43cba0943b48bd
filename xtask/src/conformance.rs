//! `cargo xtask conformance [--cases DIR] [--update] [--json]`: the backend cases of the `onnx` package.
//!
//! Every model of the package loads, verifies and is written back byte for byte; every case that the engine takes has
//! the expected result. What fails stands in `tests/conformance/manifest.txt` with its reason, and nothing else does. A
//! result that differs cannot be listed: the engine has to refuse the model, or compute it rightly.
//!
//! Reading order: `export` (Python writes the cases) → `cases` (reading them) → `bind` and `check` (one case) →
//! `manifest` (what may fail) → `summary`.

mod bind;
mod cases;
mod check;
mod export;
mod manifest;
mod summary;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tilecast_exec::TractEngine;

use manifest::{Manifest, Outcome};
use summary::Summary;

/// The manifest, relative to the root of the checkout.
const MANIFEST: &str = "tests/conformance/manifest.txt";

/// Cases between two lines of progress.
const PROGRESS_STEP: usize = 200;

const USAGE: &str = "cargo xtask conformance [--cases DIR] [--update] [--json]";

/// Why the check could not be made, or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConformanceError {
    /// The command line holds something else than the options.
    #[error("unexpected argument `{}`; usage: {USAGE}", .0.display())]
    UnexpectedArgument(OsString),
    /// `--cases` is the last argument.
    #[error("`--cases` needs a folder; usage: {USAGE}")]
    MissingFolder,
    /// The cases could not be written.
    #[error("cannot write the cases")]
    Export(#[from] export::ExportError),
    /// The cases could not be read.
    #[error("cannot read the cases")]
    Cases(#[from] cases::ReadCasesError),
    /// The manifest cannot be read or written.
    #[error("cannot read or write `{MANIFEST}`")]
    ManifestFile(#[source] io::Error),
    /// The manifest is not one.
    #[error("`{MANIFEST}` is wrong")]
    Manifest(#[from] manifest::ParseManifestError),
    /// Cases and manifest differ.
    #[error(
        "{0} case(s) differ from `{MANIFEST}`; repair what is wrong, then run with --update if what is left is right"
    )]
    Differs(usize),
}

/// The command line.
#[derive(Debug, Default)]
struct Settings {
    /// Where the cases are, if they are not to be written by Python.
    cases: Option<PathBuf>,
    manifest: ManifestUse,
    output: Output,
}

/// What is done with the manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ManifestUse {
    #[default]
    Enforce,
    /// Written anew before it is enforced.
    Update,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Output {
    #[default]
    Text,
    Json,
}

impl Settings {
    fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, ConformanceError> {
        let mut settings = Self::default();
        let mut args = args.into_iter();
        while let Some(argument) = args.next() {
            if argument == "--cases" {
                let folder = args.next().ok_or(ConformanceError::MissingFolder)?;
                settings.cases = Some(folder.into());
            } else if argument == "--update" {
                settings.manifest = ManifestUse::Update;
            } else if argument == "--json" {
                settings.output = Output::Json;
            } else {
                return Err(ConformanceError::UnexpectedArgument(argument));
            }
        }
        Ok(settings)
    }
}

/// Runs `cargo xtask conformance` with the arguments after the verb. Without Python, and without `--cases`, there is
/// nothing to check, and a message says so.
///
/// # Errors
/// See [`ConformanceError`].
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> Result<(), ConformanceError> {
    let settings = Settings::parse(args)?;
    let root = checkout();
    let folder = match &settings.cases {
        Some(folder) => folder.clone(),
        None => match export::export(&root)? {
            Ok(folder) => folder,
            Err(reason) => {
                print(&Summary::skipped(reason), settings.output);
                return Ok(());
            }
        },
    };
    let outcomes = check_all(&folder)?;
    let path = root.join(MANIFEST);
    if settings.manifest == ManifestUse::Update {
        let text = Manifest::covering(&outcomes).to_string();
        fs::write(&path, text).map_err(ConformanceError::ManifestFile)?;
    }
    let text = fs::read_to_string(&path).map_err(ConformanceError::ManifestFile)?;
    let discrepancies = Manifest::parse(&text)?.discrepancies(&outcomes);
    print(&Summary::new(&outcomes, &discrepancies), settings.output);
    match discrepancies.len() {
        0 => Ok(()),
        n => Err(ConformanceError::Differs(n)),
    }
}

/// Takes every case as far as it goes.
fn check_all(folder: &Path) -> Result<Vec<Outcome>, cases::ReadCasesError> {
    let index = cases::read_index(folder)?;
    let engine = TractEngine::new();
    let mut outcomes = Vec::with_capacity(index.cases.len());
    for case in &index.cases {
        let id = case.id();
        let outcome = check::check(case, &folder.join(&id), &engine)?;
        outcomes.push((id, outcome.err()));
        if outcomes.len().is_multiple_of(PROGRESS_STEP) {
            progress(outcomes.len(), index.cases.len());
        }
    }
    Ok(outcomes)
}

/// The root of the checkout that xtask was built from.
fn checkout() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().unwrap_or(crate_folder).to_owned()
}

#[expect(
    clippy::print_stderr,
    reason = "a developer tool talks to its terminal"
)]
fn progress(done: usize, all: usize) {
    eprintln!("conformance: {done}/{all} cases");
}

#[expect(
    clippy::print_stdout,
    reason = "a developer tool talks to its terminal; the summary is what was asked for"
)]
fn print(summary: &Summary, output: Output) {
    match output {
        Output::Text => print!("{summary}"),
        Output::Json => println!("{:#}", serde_json::json!(summary)),
    }
}
