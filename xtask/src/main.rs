//! `cargo xtask VERB`: the developer verbs, and every verb of the tilecast command line as this checkout has it.
//!
//! Reading order: `forward` (what is not ours) → `generated` (documents that come from code) → `calibration` (the sample
//! images) and `picture` (that of the README) → `conformance` (the test cases of ONNX) → `fuzz` → `bench` (measurements).
//! The rules that the sources themselves must keep are tests: `tests/tidy/`.

mod bench;
mod calibration;
mod conformance;
mod forward;
mod fuzz;
mod generated;
mod picture;

use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;

/// The allocator of the `tilecast` binary, so that the main job costs here what it costs there.
#[global_allocator]
static ALLOCATOR: tilecast_alloc::Allocator = tilecast_alloc::Allocator;

/// What `cargo xtask help` prints.
const HELP: &str = "\
Developer verbs of tilecast.

usage: cargo xtask VERB ...

  bench [NAME] [--python PATH] [--rounds N] [--only TEXT] [--json | --markdown | --write-docs]
                           measure, beside other tools; without NAME, list what can be measured
  calibration [--out DIR]  draw the calibration images again, into calibration/ or DIR
  conformance [--cases DIR] [--update] [--json]
                           run the backend cases of the onnx package against tests/conformance/manifest.txt, or write it
  fuzz [TARGET] [--seconds N] [--seed N] [--blind]
                           search for inputs that break a property, see fuzz/README.md
  gen [--check]            write the files that are generated from code, or only check that they are up to date
  picture [--dist DIR]     draw the picture of the README from the artifacts in dist/nafnet or DIR
  help                     print this text

Every other verb is one of the tilecast command line, built in release mode from this checkout:

  cargo xtask quantize recipes/nafnet.yaml
  cargo xtask --help

Examples:

  cargo xtask bench simplify --python .venv/bin/python
  cargo xtask conformance --cases node-cases
  cargo xtask fuzz roundtrip_is_identity --seconds 60
";

/// The verbs that [`HELP`] explains; `VERB --help` prints it.
const OWN_VERBS: &[&str] = &[
    "bench",
    "calibration",
    "conformance",
    "fuzz",
    "gen",
    "picture",
    "help",
];

fn is_help(argument: &OsString) -> bool {
    argument == "-h" || argument == "--help"
}

/// Exit codes of the developer verbs; the same numbers mean the same on the tilecast command line.
mod exit_code {
    /// A check failed.
    pub(crate) const CHECK_FAILED: u8 = 1;
    /// The command line is wrong.
    pub(crate) const USAGE: u8 = 2;
    /// A file is missing, or cannot be read or written.
    pub(crate) const FILE: u8 = 4;
    /// A defect in xtask.
    pub(crate) const BUG: u8 = 70;
}

/// Who handles a command line.
#[derive(Debug, PartialEq, Eq)]
enum Verb {
    Bench,
    Calibration,
    Conformance,
    Fuzz,
    /// Cargo, which builds a fuzz target, asks for the compiler.
    Compiler,
    Generated,
    Picture,
    Help,
    /// The tilecast command line.
    Forward,
}

impl Verb {
    /// Decides by all the arguments after the program's name.
    ///
    /// `help quantize` and `--help` are tilecast's.
    fn of(args: &[OsString]) -> Self {
        match args {
            [verb, asked] if OWN_VERBS.iter().any(|own| verb == own) && is_help(asked) => {
                Self::Help
            }
            [verb, ..] if verb == "bench" => Self::Bench,
            [verb, ..] if verb == "calibration" => Self::Calibration,
            [verb, ..] if verb == "conformance" => Self::Conformance,
            [verb, ..] if verb == "fuzz" => Self::Fuzz,
            _ if fuzz::is_compiler(args) => Self::Compiler,
            [verb, ..] if verb == "gen" => Self::Generated,
            [verb, ..] if verb == "picture" => Self::Picture,
            [verb] if verb == "help" => Self::Help,
            [] => Self::Help,
            _ => Self::Forward,
        }
    }
}

#[expect(
    unsafe_code,
    reason = "the environment can only be changed safely before there are threads, which is here"
)]
fn main() -> ExitCode {
    // SAFETY: nothing has started a thread yet.
    unsafe { tilecast_exec::pin_kernels() };
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let after_verb = args.iter().skip(1).cloned();
    match Verb::of(&args) {
        Verb::Bench => finish(bench::run(after_verb), bench_exit_code),
        Verb::Calibration => finish(calibration::run(after_verb), calibration_exit_code),
        Verb::Conformance => finish(conformance::run(after_verb), conformance_exit_code),
        Verb::Fuzz => finish(fuzz::run(after_verb), fuzz_exit_code),
        Verb::Compiler => fuzz::compile(&args),
        Verb::Generated => finish(generated::run(after_verb), generated_exit_code),
        Verb::Picture => finish(picture::run(after_verb), picture_exit_code),
        Verb::Help => {
            print_help();
            ExitCode::SUCCESS
        }
        Verb::Forward => forward::run(args),
    }
}

/// Turns a verb's result into an exit code, and says on stderr what went wrong, cause by cause.
fn finish<E: Error>(result: Result<(), E>, code_of: fn(&E) -> u8) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error);
            ExitCode::from(code_of(&error))
        }
    }
}

fn bench_exit_code(error: &bench::BenchError) -> u8 {
    use bench::BenchError as E;
    match error {
        E::Usage(_) => exit_code::USAGE,
        E::Python(_) | E::File { .. } => exit_code::FILE,
        E::Step { .. } => exit_code::CHECK_FAILED,
    }
}

fn calibration_exit_code(error: &calibration::GenerateError) -> u8 {
    match error {
        calibration::GenerateError::UnexpectedArgument(_)
        | calibration::GenerateError::MissingFolder => exit_code::USAGE,
        calibration::GenerateError::Write { .. } => exit_code::FILE,
        calibration::GenerateError::Encode { .. } => exit_code::BUG,
    }
}

fn conformance_exit_code(error: &conformance::ConformanceError) -> u8 {
    use conformance::ConformanceError as E;
    match error {
        E::UnexpectedArgument(_) | E::MissingFolder => exit_code::USAGE,
        E::Differs(_) | E::Manifest(_) => exit_code::CHECK_FAILED,
        E::Export(_) | E::Cases(_) | E::ManifestFile(_) => exit_code::FILE,
    }
}

fn fuzz_exit_code(error: &fuzz::FuzzError) -> u8 {
    use fuzz::FuzzError as E;
    match error {
        E::UnexpectedArgument(_) | E::MissingNumber(_) | E::NotBlind => exit_code::USAGE,
        E::Found(_) | E::Build(_) => exit_code::CHECK_FAILED,
        E::Io { .. } => exit_code::FILE,
    }
}

fn generated_exit_code(error: &generated::GenerateError) -> u8 {
    match error {
        generated::GenerateError::UnexpectedArgument(_) => exit_code::USAGE,
        generated::GenerateError::Stale(_) => exit_code::CHECK_FAILED,
        generated::GenerateError::Read { .. } | generated::GenerateError::Write { .. } => {
            exit_code::FILE
        }
    }
}

fn picture_exit_code(error: &picture::DrawError) -> u8 {
    match error {
        picture::DrawError::UnexpectedArgument(_) => exit_code::USAGE,
        picture::DrawError::Input { .. } | picture::DrawError::Write { .. } => exit_code::FILE,
    }
}

#[expect(
    clippy::print_stdout,
    reason = "a developer tool talks to its terminal; the text is what was asked for"
)]
fn print_help() {
    print!("{HELP}");
}

#[expect(
    clippy::print_stderr,
    reason = "a developer tool talks to its terminal"
)]
fn print_error(error: &dyn Error) {
    eprintln!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  caused by: {cause}");
        source = cause.source();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_own_verb_and_fits_a_screen() {
        for verb in OWN_VERBS {
            assert!(HELP.contains(&format!("\n  {verb} ")), "{verb}");
        }
        assert!(HELP.lines().count() <= 40);
        assert!(HELP.lines().all(|line| line.chars().count() <= 120));
    }

    #[test]
    fn own_verbs_stay_here_and_the_rest_is_forwarded() {
        let cases: &[(&[&str], Verb)] = &[
            (&[], Verb::Help),
            (&["help"], Verb::Help),
            (&["help", "quantize"], Verb::Forward),
            (&["help", "--help"], Verb::Help),
            (&["bench", "--help"], Verb::Help),
            (&["gen", "-h"], Verb::Help),
            (&["quantize", "--help"], Verb::Forward),
            (&["--help"], Verb::Forward),
            (&["bench"], Verb::Bench),
            (&["bench", "parse", "--json"], Verb::Bench),
            (&["calibration", "--out", "x"], Verb::Calibration),
            (&["conformance", "--cases", "x"], Verb::Conformance),
            (&["fuzz", "roundtrip_is_identity"], Verb::Fuzz),
            (&["/bin/rustc", "-vV"], Verb::Compiler),
            (&["gen"], Verb::Generated),
            (&["gen", "--check"], Verb::Generated),
            (&["quantize", "recipes/nafnet.yaml"], Verb::Forward),
            // A verb is the first argument only.
            (&["quantize", "gen"], Verb::Forward),
            (&["generate"], Verb::Forward),
        ];
        for (args, expected) in cases {
            let args: Vec<OsString> = args.iter().map(OsString::from).collect();
            assert_eq!(&Verb::of(&args), expected, "{args:?}");
        }
    }
}
