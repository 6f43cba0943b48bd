//! Writing the cases: finding a Python that has the `onnx` package, and keeping what its script wrote.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cases::ONNX_VERSION;

/// The script, relative to the root of the checkout.
const SCRIPT: &str = "tests/conformance/export_cases.py";

/// Names under which Python may be installed.
const PYTHONS: [&str; 2] = ["python3", "python"];

/// Why the cases could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    /// Python could not be started although it was found.
    #[error("cannot run `{python}`")]
    Start {
        /// The name of the program.
        python: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The script failed; it has said why.
    #[error("{SCRIPT} failed ({status}); see its message above")]
    Script {
        /// How it ended.
        status: String,
    },
}

/// The folder with the cases below `target`, written if they are not there yet. Inside, why there can be none here.
///
/// # Errors
/// The script failed.
pub(super) fn export(root: &Path) -> Result<Result<PathBuf, String>, ExportError> {
    let folder = root
        .join("target/conformance")
        .join(format!("onnx-{ONNX_VERSION}"));
    if folder.join("index.json").is_file() {
        return Ok(Ok(folder));
    }
    let python = match find_python() {
        Ok(python) => python,
        Err(reason) => return Ok(Err(reason)),
    };
    let status = Command::new(python)
        .arg(root.join(SCRIPT))
        .arg(&folder)
        .status()
        .map_err(|source| ExportError::Start { python, source })?;
    if !status.success() {
        return Err(ExportError::Script {
            status: status.to_string(),
        });
    }
    Ok(Ok(folder))
}

/// A Python with the right version of the package, or why there is none.
fn find_python() -> Result<&'static str, String> {
    let mut reason = String::from("there is no Python");
    for python in PYTHONS {
        let output = Command::new(python)
            .args(["-c", "import onnx; print(onnx.__version__)"])
            .output();
        let Ok(output) = output else {
            continue;
        };
        let version = String::from_utf8_lossy(&output.stdout);
        match (output.status.success(), version.trim()) {
            (true, ONNX_VERSION) => return Ok(python),
            (true, version) => reason = format!("`{python}` has onnx {version}"),
            (false, _) => reason = format!("`{python}` does not have the onnx package"),
        }
    }
    Err(format!(
        "{reason}; install onnx=={ONNX_VERSION} into an environment and put it first on PATH, or give --cases DIR"
    ))
}
