//! What a verb with gates does with its verdict besides the exit code: a baseline to compare with, and files for
//! continuous integration.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tilecast_onnx::write_atomically;

use crate::baseline::{Baseline, BaselineSettings};
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
    /// Reads the baseline, and removes the files of an earlier verdict, which nobody is to take for that of a run that fails.
    ///
    /// # Errors
    /// The baseline is none, or a file cannot be removed.
    pub(crate) fn begin(&self) -> Result<Option<Baseline>, Failure> {
        let baseline = self.baseline.as_ref().map(Baseline::load).transpose()?;
        for path in [&self.junit, &self.summary].into_iter().flatten() {
            match std::fs::remove_file(path) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(Failure::new(
                        FailureKind::Io,
                        format!("cannot replace `{}`: {e}", path.display()),
                    ));
                }
                _ => {}
            }
        }
        Ok(baseline)
    }

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
