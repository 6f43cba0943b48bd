//! `SHA256SUMS`: the hash of every file of the output folder, in the form that `sha256sum --check` reads.

use std::fmt::Write;
use std::path::Path;

use tilecast_onnx::write_atomically;

use crate::identity::sha256;
use crate::{Failure, FailureKind};

/// Name of the file.
pub(crate) const SUMS_FILE: &str = "SHA256SUMS";

/// Hashes these files of a folder, those beside them that hold their weights included.
///
/// # Errors
/// A file cannot be read, or the list cannot be written.
pub(crate) fn write_sums<'a>(
    folder: &Path,
    files: impl Iterator<Item = &'a str>,
) -> Result<(), Failure> {
    let weights = |name: &&str| folder.join(format!("{name}.data")).is_file();
    let mut names: Vec<String> = Vec::new();
    for name in files {
        names.push(name.to_owned());
        names.extend(
            Some(name)
                .filter(weights)
                .map(|name| format!("{name}.data")),
        );
    }
    names.sort();
    let mut text = String::new();
    for name in names {
        let path = folder.join(&name);
        let bytes = std::fs::read(&path).map_err(|e| fail("read", &path, &e))?;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}  {name}", sha256(&bytes));
    }
    let path = folder.join(SUMS_FILE);
    write_atomically(&path, text.as_bytes()).map_err(|e| fail("write", &path, &e))
}

fn fail(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        FailureKind::Io,
        format!("cannot {what} `{}`: {error}", path.display()),
    )
}
