//! `cargo xtask fuzz [TARGET] [--seconds N] [--seed N] [--blind]`: searches for inputs that break a property.
//!
//! The targets of `fuzz/` are built with the compiler of this checkout: libFuzzer needs nothing but counters in the code,
//! and the pass that puts them there can be asked for on stable Rust. Cargo has no flags per crate, so `compiler` stands
//! between it and rustc and adds them to our crates only: a fuzzer has nothing to learn from the coverage of tract, and
//! instrumented it is slow. Builds go to `target/fuzz`.
//!
//! `--blind` checks random graphs in this very build, without a fuzzer and without building anything.
//!
//! Reading order: `Settings` → `search` → `compiler`; `blind`.

mod blind;
mod compiler;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

pub(crate) use compiler::{compile, is_compiler};

/// The targets, with the longest input of each and the feature that it needs.
const TARGETS: [Target; 3] = [
    Target {
        name: "import_never_panics",
        max_len: 16384,
        feature: None,
    },
    Target {
        name: "roundtrip_is_identity",
        max_len: 16384,
        feature: None,
    },
    Target {
        name: BLIND_TARGET,
        max_len: 4096,
        feature: Some("engine"),
    },
];

/// The target that can be run without a fuzzer.
const BLIND_TARGET: &str = "passes_preserve_outputs";

const DEFAULT_SECONDS: u64 = 60;

/// A process that holds more has a finding.
const MAX_MEBIBYTES: usize = 2048;
/// An input that takes longer is a finding.
const MAX_SECONDS_PER_INPUT: usize = 20;

const USAGE: &str = "cargo xtask fuzz [TARGET] [--seconds N] [--seed N] [--blind]";

/// Why nothing was searched, or what was found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FuzzError {
    /// The command line holds something else than a target and the options.
    #[error("unexpected argument `{}`; usage: {USAGE}", .0.display())]
    UnexpectedArgument(OsString),
    /// An option has no number.
    #[error("`{0}` needs a number; usage: {USAGE}")]
    MissingNumber(&'static str),
    /// A target that only a fuzzer can run.
    #[error("only `{BLIND_TARGET}` can be run with `--blind`")]
    NotBlind,
    /// A folder cannot be made, or a program not started.
    #[error("cannot use `{path}`")]
    Io {
        /// Folder or program.
        path: String,
        /// What went wrong.
        source: io::Error,
    },
    /// The targets do not compile.
    #[error("cannot build the fuzz targets ({0})")]
    Build(ExitStatus),
    /// An input breaks the property.
    #[error("`{0}` has a finding: its input is in fuzz/artifacts/{0}, see fuzz/README.md")]
    Found(&'static str),
}

#[derive(Debug, PartialEq, Eq)]
struct Target {
    name: &'static str,
    max_len: usize,
    feature: Option<&'static str>,
}

/// The command line.
#[derive(Debug)]
struct Settings {
    /// `None` for all of them.
    target: Option<&'static Target>,
    seconds: u64,
    seed: u64,
    search: Search,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Search {
    /// By a fuzzer, along the coverage.
    Guided,
    /// By random choices, in this build.
    Blind,
}

impl Settings {
    fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, FuzzError> {
        let mut settings = Self {
            target: None,
            seconds: DEFAULT_SECONDS,
            seed: 1,
            search: Search::Guided,
        };
        let mut args = args.into_iter();
        while let Some(argument) = args.next() {
            let mut number = |option| {
                let text = args.next().and_then(|a| a.into_string().ok());
                text.and_then(|t| t.parse().ok())
                    .ok_or(FuzzError::MissingNumber(option))
            };
            if argument == "--seconds" {
                settings.seconds = number("--seconds")?;
            } else if argument == "--seed" {
                settings.seed = number("--seed")?;
            } else if argument == "--blind" {
                settings.search = Search::Blind;
            } else if let (None, Some(target)) =
                (settings.target, TARGETS.iter().find(|t| argument == t.name))
            {
                settings.target = Some(target);
            } else {
                return Err(FuzzError::UnexpectedArgument(argument));
            }
        }
        let is_blind = |target: &Target| target.name == BLIND_TARGET;
        if settings.search == Search::Blind && !settings.target.is_none_or(is_blind) {
            return Err(FuzzError::NotBlind);
        }
        Ok(settings)
    }
}

/// Runs `cargo xtask fuzz` with the arguments after the verb.
///
/// # Errors
/// See [`FuzzError`].
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> Result<(), FuzzError> {
    let settings = Settings::parse(args)?;
    let root = checkout();
    if settings.search == Search::Blind {
        let artifacts = folder(&root, "fuzz/artifacts", BLIND_TARGET)?;
        return blind::search(settings.seed, settings.seconds, &artifacts);
    }
    for target in TARGETS {
        if settings.target.is_none_or(|wanted| *wanted == target) {
            build(&root, &target)?;
            search(&root, &target, &settings)?;
        }
    }
    Ok(())
}

fn build(root: &Path, target: &Target) -> Result<(), FuzzError> {
    let wrapper = std::env::current_exe().map_err(io_error("xtask"))?;
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "--locked", "--bin", target.name])
        .args(["--manifest-path", "fuzz/Cargo.toml"])
        .args(["--target-dir", "target/fuzz"])
        .args(target.feature.iter().flat_map(|f| ["--features", f]))
        .env("RUSTC_WRAPPER", wrapper)
        .current_dir(root);
    let status = cargo.status().map_err(io_error("cargo"))?;
    if status.success() {
        Ok(())
    } else {
        Err(FuzzError::Build(status))
    }
}

fn search(root: &Path, target: &Target, settings: &Settings) -> Result<(), FuzzError> {
    let corpus = folder(root, "fuzz/corpus", target.name)?;
    let artifacts = folder(root, "fuzz/artifacts", target.name)?;
    let program = root.join("target/fuzz/release").join(target.name);
    let mut prefix = OsString::from("-artifact_prefix=");
    prefix.push(artifacts.join(""));
    let status = Command::new(&program)
        .arg(corpus)
        .arg(root.join("fuzz/seeds"))
        .arg(prefix)
        .arg(format!("-max_total_time={}", settings.seconds))
        .arg(format!("-seed={}", settings.seed))
        .arg(format!("-max_len={}", target.max_len))
        .arg(format!("-rss_limit_mb={MAX_MEBIBYTES}"))
        .arg(format!("-timeout={MAX_SECONDS_PER_INPUT}"))
        .arg("-print_final_stats=1")
        .current_dir(root)
        .status()
        .map_err(io_error(&program))?;
    if status.success() {
        Ok(())
    } else {
        Err(FuzzError::Found(target.name))
    }
}

fn checkout() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().unwrap_or(crate_folder).to_owned()
}

/// A folder of a target, made where it is missing.
fn folder(root: &Path, parent: &str, target: &str) -> Result<PathBuf, FuzzError> {
    let folder = root.join(parent).join(target);
    fs::create_dir_all(&folder).map_err(io_error(&folder))?;
    Ok(folder)
}

fn io_error(path: impl AsRef<OsStr>) -> impl FnOnce(io::Error) -> FuzzError {
    let path = path.as_ref().display().to_string();
    |source| FuzzError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Settings, FuzzError> {
        Settings::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_command_line_is_a_target_and_options() {
        let all = parse("").unwrap();
        assert!(all.target.is_none() && all.search == Search::Guided);
        let one = parse("roundtrip_is_identity --seconds 5 --seed 9").unwrap();
        assert_eq!(one.target, Some(&TARGETS[1]));
        assert_eq!((one.seconds, one.seed), (5, 9));
        assert!(parse("passes_preserve_outputs --blind").is_ok());
        for (line, said) in [
            ("import", "unexpected argument `import`"),
            ("--seconds", "`--seconds` needs a number"),
            ("--seed x", "`--seed` needs a number"),
            (
                "import_never_panics --blind",
                "only `passes_preserve_outputs`",
            ),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[test]
    fn the_targets_are_those_of_the_manifest() {
        let manifest = fs::read_to_string(checkout().join("fuzz/Cargo.toml")).unwrap();
        let bins = manifest.matches("[[bin]]").count();
        assert_eq!(bins, TARGETS.len());
        for target in TARGETS {
            assert!(manifest.contains(&format!("name = \"{}\"", target.name)));
        }
    }
}
