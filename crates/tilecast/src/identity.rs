//! What files are: SHA-256 of their contents.

use std::fmt::Write;
use std::path::Path;

use sha2::{Digest, Sha256};
use tilecast_onnx::Model;

use crate::report::FileFacts;
use crate::{Failure, FailureKind};

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// SHA-256 of a model: of its file, followed by the weights that lie in other files, in the order of the initializers.
pub(crate) fn model_sha256(model: &Model) -> String {
    let mut hash = Sha256::new();
    hash.update(model.to_bytes());
    for tensor in &model.graph_proto().initializer {
        if let Some(weights) = tensor.external.bytes() {
            hash.update(weights);
        }
    }
    hexadecimal(&hash.finalize())
}

/// A file by name and content.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn file_facts(path: &Path) -> Result<FileFacts, Failure> {
    let bytes = std::fs::read(path).map_err(|e| {
        Failure::new(
            FailureKind::Io,
            format!("cannot read `{}`: {e}", path.display()),
        )
    })?;
    Ok(FileFacts {
        name: file_name(path),
        sha256: sha256(&bytes),
    })
}

/// The name of a file, for reports.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default()
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
