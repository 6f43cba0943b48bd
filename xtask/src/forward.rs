//! Verbs that are not ours: the tilecast command line of this checkout.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the tilecast command line on the arguments after this program's name, unchanged.
///
/// The name becomes the one that was typed, so that a usage text shows a command that can be run.
pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    tilecast_cli::run([OsString::from("cargo xtask")].into_iter().chain(args))
}
