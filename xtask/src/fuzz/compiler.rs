//! rustc as the fuzz targets are built with it: xtask in the place of `RUSTC_WRAPPER`.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, ExitCode};

use super::TARGETS;

/// What our crates are compiled with: counters on every edge and operands of comparisons, for libFuzzer to follow, and
/// the checks of a debug build, so that an overflow is a finding.
const INSTRUMENTED: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions=on",
    "-Coverflow-checks=on",
];

/// Whether cargo called this program in the place of the compiler, whose path is then the first argument.
pub(crate) fn is_compiler(args: &[OsString]) -> bool {
    args.first()
        .and_then(|program| Path::new(program).file_stem())
        .is_some_and(|stem| stem == "rustc")
}

/// Runs the compiler that the first argument names with the rest, and more where it compiles one of our crates.
pub(crate) fn compile(args: &[OsString]) -> ExitCode {
    let Some((rustc, rest)) = args.split_first() else {
        return ExitCode::from(crate::exit_code::BUG);
    };
    let mut command = Command::new(rustc);
    command.args(rest);
    if is_ours(rest) {
        command.args(INSTRUMENTED);
    }
    let code = command.status().ok().and_then(|status| status.code());
    ExitCode::from(code.and_then(|c| u8::try_from(c).ok()).unwrap_or(1))
}

fn is_ours(args: &[OsString]) -> bool {
    let name = args
        .iter()
        .position(|a| a == "--crate-name")
        .and_then(|at| args.get(at + 1));
    let is_target = |name: &OsStr| TARGETS.iter().any(|t| name == t.name);
    name.is_some_and(|name| is_target(name) || name.to_string_lossy().starts_with("tilecast_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_crates_are_instrumented() {
        let args = |line: &str| -> Vec<OsString> { line.split(' ').map(OsString::from).collect() };
        assert!(is_compiler(&args("/somewhere/bin/rustc -vV")));
        assert!(!is_compiler(&args("fuzz --seconds 5")));
        assert!(is_ours(&args(
            "--crate-name tilecast_onnx --edition=2024 src/lib.rs"
        )));
        assert!(is_ours(&args(
            "--edition=2024 --crate-name passes_preserve_outputs"
        )));
        assert!(!is_ours(&args("--crate-name tract_core src/lib.rs")));
        assert!(!is_ours(&args("-vV")));
    }
}
