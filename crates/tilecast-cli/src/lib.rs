//! The tilecast command line: arguments, terminal and exit codes. The only crate that prints.
//!
//! stdout is data, stderr is talk. Each verb is one file under `commands/`, its arguments beside what runs them;
//! everything past them works with resolved settings and never sees a flag.

mod commands;
mod printer;
mod version;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use clap::error::ErrorKind;
use tilecast::{Failure, FailureKind};

use commands::Command;
use printer::{ColorChoice, Output, Printer, Talk};

/// FP32 ONNX image models to verified release models.
#[derive(Debug, Parser)]
#[command(
    name = "tilecast",
    version,
    max_term_width = 100,
    after_help = "Example:\n  tilecast init net.onnx --images photos -o net.yaml\n  tilecast quantize net.yaml\n\n\
                  Exit codes: 0 ok, 1 a gate or an error-level finding, 2 usage, 3 model, 4 file, 70 a bug, 130 interrupted."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Print no progress, warnings or hints.
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Say more: stages without a terminal; with --version, the build.
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    verbose: bool,
    /// When to use colour: auto, always or never.
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto, hide_possible_values = true)]
    color: ColorChoice,
}

/// Set by Ctrl-C; read before every tile.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// Runs a command line, the program's name first, and returns the process's exit code: 0 ok, 1 a gate or an error-level
/// finding, 2 usage, 3 model, 4 file, 70 a bug in tilecast, 130 interrupted.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(text) = version::answer(&arguments) {
        return finish(
            &Printer::new(Talk::Quiet, ColorChoice::Never),
            &Output::success(text),
        );
    }
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers, everything else is a usage error; a closed pipe is nobody's fault.
            let _ = error.print();
            let answered = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            return ExitCode::from(if answered {
                0
            } else {
                FailureKind::Usage.exit_code()
            });
        }
    };
    // A second handler, as when tests call this twice in one process, is refused and not needed.
    let _ = ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed));
    let talk = match (arguments.quiet, arguments.verbose) {
        (true, _) => Talk::Quiet,
        (false, true) => Talk::Verbose,
        (false, false) => Talk::Normal,
    };
    let printer = Printer::new(talk, arguments.color);
    let result = std::panic::catch_unwind(|| arguments.command.run(&printer, &INTERRUPTED));
    printer.clear();
    match result {
        Ok(Ok(output)) => finish(&printer, &output),
        Ok(Err(failure)) => {
            printer.failure(&failure);
            ExitCode::from(failure.kind().exit_code())
        }
        Err(_) => {
            printer.failure(
                &Failure::new(
                    FailureKind::Internal,
                    "tilecast has met a bug; the message above says where",
                )
                .with_help("please report it with the command line and, if you can, the model"),
            );
            ExitCode::from(FailureKind::Internal.exit_code())
        }
    }
}

/// Prints what the verb gave; a reader that has closed the pipe has seen enough, but a missed gate stays one.
fn finish(printer: &Printer, output: &Output) -> ExitCode {
    match Printer::data(&output.text) {
        Ok(()) => output.code,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => output.code,
        Err(error) => {
            printer.failure(&Failure::new(
                FailureKind::Io,
                format!("cannot write to stdout: {error}"),
            ));
            ExitCode::from(FailureKind::Io.exit_code())
        }
    }
}
