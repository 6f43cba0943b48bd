//! What a verb with gates does with its verdict besides the exit code: a baseline to compare with, and files for
//! continuous integration.

use std::path::{Path, PathBuf};

use tilecast_onnx::write_atomically;

use crate::baseline::BaselineSettings;
use crate::{Failure, FailureKind};

/// How results are judged besides by their gates, and where the verdict goes.
#[derive(Clone, Debug, Default)]
pub struct Judging {
    /// An earlier report that nothing may be worse than.
    pub baseline: Option<BaselineSettings>,
    /// File for the gates as JUnit XML.
    pub junit: Option<PathBuf>,
    /// File for a Markdown summary.
    pub summary: Option<PathBuf>,
}

impl Judging {
    /// Writes the files that were asked for.
    ///
    /// # Errors
    /// One cannot be written.
    pub(crate) fn write(
        &self,
        junit: impl FnOnce() -> String,
        summary: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if let Some(path) = &self.junit {
            write(path, &junit())?;
        }
        if let Some(path) = &self.summary {
            write(path, &summary())?;
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    write_atomically(path, text.as_bytes()).map_err(|e| {
        Failure::new(
            FailureKind::Io,
            format!("cannot write `{}`: {e}", path.display()),
        )
        .with_help("name a file in a folder that exists")
    })
}
