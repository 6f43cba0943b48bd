//! `cargo xtask bench [NAME] [OPTIONS]`: measurements, each against the tool that it is to be compared with.
//!
//! A benchmark is one file below `bench/` and one entry in [`BENCHMARKS`]. None is run by a test, and none asserts a time:
//! it prints what it measured, with the statistic, the spread, the machine and the versions. Those that need Python say
//! which packages; nothing else here does.
//!
//! Reading order: `statistics` → `report` (what a benchmark gives back) → `python` (the other tools) → the benchmarks.

mod half;
mod int8;
mod large;
mod nafnet;
mod pairs;
mod parse;
mod process;
mod python;
mod report;
mod simplify;
mod statistics;
mod stream;
mod sweeps;
mod tile;

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use report::Report;

/// A measurement.
struct Benchmark {
    name: &'static str,
    /// One line for `cargo xtask bench`.
    summary: &'static str,
    /// The document that shows its tables, relative to the root of the checkout.
    page: Option<&'static str>,
    /// Pairs or repetitions where the command line does not say.
    rounds: usize,
    run: fn(&Options) -> Result<Report, BenchError>,
}

/// Every benchmark.
const BENCHMARKS: &[Benchmark] = &[
    Benchmark {
        name: "simplify",
        summary: "nodes, speed in onnxruntime and correctness of simplified models, beside onnxslim and onnxsim",
        page: Some("docs/simplify.md"),
        rounds: 21,
        run: simplify::run,
    },
    Benchmark {
        name: "half",
        summary: "FP16 models: bytes, PSNR and traps, time and memory, beside onnxconverter-common",
        page: Some("docs/half.md"),
        rounds: 5,
        run: half::run,
    },
    Benchmark {
        name: "int8",
        summary: "INT8 models: PSNR, speed, bytes, and calibration, beside onnxruntime's quantize_static",
        page: Some("docs/int8.md"),
        rounds: 21,
        run: int8::run,
    },
    Benchmark {
        name: "sweeps",
        summary: "tiles with swept statistics against the whole image: PSNR after each sweep, time and memory",
        page: Some("docs/sweeps.md"),
        rounds: 9,
        run: sweeps::run,
    },
    Benchmark {
        name: "parse",
        summary: "loading a NAFNet of 29 M parameters beside onnx.load, and simplifying it",
        page: None,
        rounds: 11,
        run: parse::run,
    },
    Benchmark {
        name: "large",
        summary: "memory of loading, converting and saving 3 GB of external weights (needs 5 GB of disk)",
        page: None,
        rounds: 1,
        run: large::run,
    },
    Benchmark {
        name: "stream",
        summary: "memory of 100 megapixels through `run --memory 512MiB`, and predicted against measured peaks",
        page: None,
        rounds: 3,
        run: stream::run,
    },
    Benchmark {
        name: "tile",
        summary: "time and memory of `run` on 24 megapixels, beside onnxruntime in a Python loop over the same tiles",
        page: Some("docs/run.md"),
        rounds: 3,
        run: tile::run,
    },
];

const USAGE: &str = "cargo xtask bench [NAME] [--python PATH] [--rounds N] [--only TEXT] [--json | --markdown | --write-docs]";

/// How the result is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Output {
    #[default]
    Text,
    Json,
    Markdown,
    /// Into the page of the benchmark.
    Page,
}

/// What a benchmark may know of the command line.
#[derive(Debug)]
struct Options {
    /// The Python that has the other tools.
    python: PathBuf,
    /// Pairs or repetitions; zero leaves the times out where there is something else to say.
    rounds: usize,
    /// Only models whose name holds this.
    only: Option<String>,
}

impl Options {
    fn wants(&self, model: &str) -> bool {
        self.only.as_ref().is_none_or(|text| model.contains(text))
    }
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// The command line is wrong.
    #[error("{0}; usage: {USAGE}")]
    Usage(String),
    /// Python or one of its packages is missing.
    #[error("{0}")]
    Python(String),
    /// A file cannot be read or written.
    #[error("cannot read or write `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is measured failed.
    #[error("{what} failed")]
    Step {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: Box<dyn Error>,
    },
}

impl BenchError {
    fn step(what: impl Into<String>, source: impl Into<Box<dyn Error>>) -> Self {
        Self::Step {
            what: what.into(),
            source: source.into(),
        }
    }

    fn file(path: &Path, source: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            source,
        }
    }
}

/// Runs `cargo xtask bench` with the arguments after the verb.
///
/// # Errors
/// See [`BenchError`].
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> Result<(), BenchError> {
    let Some((benchmark, options, output)) = parse(args)? else {
        print(&list());
        return Ok(());
    };
    let mut report = (benchmark.run)(&options)?;
    report.reproduce(benchmark.name, options.rounds, options.only.as_deref());
    match (output, benchmark.page) {
        (Output::Text, _) => print(&report.text()),
        (Output::Json, _) => print(&format!("{:#}\n", report.json())),
        (Output::Markdown, _) => print(&report.markdown()),
        (Output::Page, None) => {
            return Err(BenchError::Usage(format!(
                "`{}` has no page that could be written",
                benchmark.name
            )));
        }
        (Output::Page, Some(page)) => {
            let path = checkout().join(page);
            let old = fs::read_to_string(&path).map_err(|e| BenchError::file(&path, e))?;
            let new = report
                .within(benchmark.name, &old)
                .map_err(|reason| BenchError::step(format!("writing `{page}`"), reason))?;
            fs::write(&path, new).map_err(|e| BenchError::file(&path, e))?;
        }
    }
    Ok(())
}

/// The benchmark and its options; nothing where none is named.
fn parse(
    args: impl IntoIterator<Item = OsString>,
) -> Result<Option<(&'static Benchmark, Options, Output)>, BenchError> {
    let usage = |reason: String| Err(BenchError::Usage(reason));
    let mut args = args.into_iter();
    let Some(name) = args.next() else {
        return Ok(None);
    };
    let Some(benchmark) = BENCHMARKS.iter().find(|b| name == b.name) else {
        return usage(format!("there is no benchmark `{}`", name.display()));
    };
    let mut options = Options {
        python: "python3".into(),
        rounds: benchmark.rounds,
        only: None,
    };
    let mut output = Output::Text;
    while let Some(argument) = args.next() {
        let chosen = match argument.to_str() {
            Some("--json") => Output::Json,
            Some("--markdown") => Output::Markdown,
            Some("--write-docs") => Output::Page,
            Some(option @ ("--python" | "--rounds" | "--only")) => {
                let Some(value) = args.next() else {
                    return usage(format!("`{option}` needs a value"));
                };
                match (option, value.to_str().map(str::parse)) {
                    ("--python", _) => options.python = value.into(),
                    ("--rounds", Some(Ok(n))) => options.rounds = n,
                    ("--only", _) => options.only = Some(value.to_string_lossy().into_owned()),
                    _ => return usage(format!("`{}` is no number", value.display())),
                }
                continue;
            }
            _ => return usage(format!("unexpected argument `{}`", argument.display())),
        };
        if output != Output::Text {
            return usage("only one form of output can be asked for".into());
        }
        output = chosen;
    }
    Ok(Some((benchmark, options, output)))
}

fn list() -> String {
    let lines: Vec<String> = BENCHMARKS
        .iter()
        .map(|benchmark| format!("  {:10} {}\n", benchmark.name, benchmark.summary))
        .collect();
    format!("usage: {USAGE}\n\n{}", lines.concat())
}

/// The root of the checkout that xtask was built from.
fn checkout() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().unwrap_or(crate_folder).to_owned()
}

/// A folder for what a benchmark writes, removed at the end. It lies in the target folder: the system's folder for such
/// files may be in memory.
fn scratch() -> Result<tempfile::TempDir, BenchError> {
    let target = checkout().join("target");
    fs::create_dir_all(&target).map_err(|e| BenchError::file(&target, e))?;
    tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(&target)
        .map_err(|e| BenchError::file(&target, e))
}

#[expect(
    clippy::print_stdout,
    reason = "a developer tool talks to its terminal; the result is what was asked for"
)]
fn print(text: &str) {
    print!("{text}");
}

#[expect(
    clippy::print_stderr,
    reason = "a developer tool talks to its terminal"
)]
fn progress(text: &str) {
    eprintln!("bench: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Option<(&'static str, Options, Output)>, String> {
        parse(args.iter().map(OsString::from))
            .map(|found| found.map(|(b, options, output)| (b.name, options, output)))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn without_a_name_the_benchmarks_are_listed() {
        assert!(parsed(&[]).unwrap().is_none());
        let text = list();
        for benchmark in BENCHMARKS {
            assert!(text.contains(benchmark.summary));
        }
    }

    #[test]
    fn options_are_read_and_mistakes_named() {
        let (name, options, output) =
            parsed(&["simplify", "--rounds", "3", "--only", "unet", "--json"])
                .unwrap()
                .unwrap();
        assert_eq!(
            (name, options.rounds, output),
            ("simplify", 3, Output::Json)
        );
        assert!(options.wants("unet-bn-ts17") && !options.wants("swinir-ts17"));
        for (args, message) in [
            (&["fast"] as &[&str], "no benchmark `fast`"),
            (&["parse", "--rounds"], "`--rounds` needs a value"),
            (&["parse", "--rounds", "many"], "`many` is no number"),
            (&["parse", "--fast"], "unexpected argument `--fast`"),
            (&["parse", "--json", "--markdown"], "only one form"),
        ] {
            let error = parsed(args).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn pages_have_a_place_for_their_tables() {
        for page in BENCHMARKS.iter().filter_map(|b| Some((b.name, b.page?))) {
            let text = fs::read_to_string(checkout().join(page.1)).unwrap();
            Report::default().within(page.0, &text).unwrap();
        }
    }
}
