//! `cargo xtask gen [--check]`: the files that are generated from code, so that they cannot fall behind it.
//!
//! Another file is one entry in [`FILES`].

mod passes;
mod rules;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A file that is generated from code.
struct GeneratedFile {
    /// Where it is checked in, relative to the repository's root.
    path: &'static str,
    /// What it must hold.
    contents: fn() -> String,
}

/// Every generated file.
const FILES: &[GeneratedFile] = &[
    GeneratedFile {
        path: "docs/generated/passes.md",
        contents: passes::markdown,
    },
    GeneratedFile {
        path: "docs/generated/rules.md",
        contents: rules::markdown,
    },
    GeneratedFile {
        path: "docs/recipe.schema.json",
        contents: tilecast::recipe::json_schema,
    },
    GeneratedFile {
        path: "docs/report.schema.json",
        contents: tilecast::report::report_schema,
    },
    GeneratedFile {
        path: "docs/verify.schema.json",
        contents: tilecast::report::verification_schema,
    },
];

/// Why generated files could not be written, or are not what they should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GenerateError {
    /// The command line holds something other than `--check`.
    #[error("unexpected argument `{}`; usage: cargo xtask gen [--check]", .0.display())]
    UnexpectedArgument(OsString),
    /// Files are missing or differ from what the code gives.
    #[error("not up to date: {}; run `cargo xtask gen`", .0.join(", "))]
    Stale(Vec<&'static str>),
    /// A file is there and cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or its folder cannot be written.
    #[error("cannot write `{}`; check that the folder is writable and the disk not full", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Runs `cargo xtask gen` with the arguments after the verb: nothing, or `--check`.
///
/// # Errors
/// [`GenerateError::UnexpectedArgument`] for a wrong command line, otherwise those of [`check`] or [`write`].
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> Result<(), GenerateError> {
    let mut action: fn(&Path) -> Result<(), GenerateError> = write;
    for argument in args {
        if argument != "--check" {
            return Err(GenerateError::UnexpectedArgument(argument));
        }
        action = check;
    }
    action(&checkout())
}

/// Writes every generated file that is not up to date below `root`.
///
/// # Errors
/// [`GenerateError::Read`] and [`GenerateError::Write`], by file.
fn write(root: &Path) -> Result<(), GenerateError> {
    for file in FILES {
        let (path, contents) = (root.join(file.path), (file.contents)());
        if read(&path)?.as_deref() == Some(contents.as_bytes()) {
            continue;
        }
        let folder = path.parent().expect("a generated file lies in a folder");
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, contents))
            .map_err(|source| GenerateError::Write { path, source })?;
    }
    Ok(())
}

/// Checks that every generated file below `root` holds what the code gives.
///
/// # Errors
/// [`GenerateError::Stale`] with every file that does not, [`GenerateError::Read`].
fn check(root: &Path) -> Result<(), GenerateError> {
    let mut stale = Vec::new();
    for file in FILES {
        if read(&root.join(file.path))?.as_deref() != Some((file.contents)().as_bytes()) {
            stale.push(file.path);
        }
    }
    if stale.is_empty() {
        Ok(())
    } else {
        Err(GenerateError::Stale(stale))
    }
}

/// The bytes of a file, or nothing where there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, GenerateError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(GenerateError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The root of this checkout.
fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A one-line summary as a sentence: the first letter in upper case, one period at the end.
fn sentence(summary: &str) -> String {
    let mut letters = summary.trim_end_matches('.').chars();
    letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(letters)
        .chain(['.'])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_files_are_what_the_code_gives() {
        if let Err(error) = check(&checkout()) {
            panic!("{error}");
        }
    }

    #[test]
    fn what_is_missing_or_changed_is_named_and_written() {
        let root = tempfile::tempdir().unwrap();
        let all: Vec<&str> = FILES.iter().map(|file| file.path).collect();
        let stale = || match check(root.path()) {
            Ok(()) => Vec::new(),
            Err(GenerateError::Stale(paths)) => paths,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(stale(), all);
        write(root.path()).unwrap();
        assert_eq!(stale(), Vec::<&str>::new());
        fs::write(root.path().join(all[0]), "edited by hand").unwrap();
        assert_eq!(stale(), all[..1]);
        write(root.path()).unwrap();
        assert_eq!(stale(), Vec::<&str>::new());
    }

    #[test]
    fn summaries_become_sentences() {
        for summary in ["how wide it is", "How wide it is."] {
            assert_eq!(sentence(summary), "How wide it is.");
        }
    }

    #[test]
    fn wrong_arguments_are_refused_by_name() {
        let error = run(["--chekc".into()]).unwrap_err();
        assert!(error.to_string().contains("`--chekc`"), "{error}");
    }
}
