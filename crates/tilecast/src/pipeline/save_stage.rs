//! Stage 6: artifacts are written, and read back: what is validated is the file that ships.

use std::path::Path;

use tilecast_onnx::Model;

use super::load_stage::sha256;
use super::rewrite_stage::RewrittenJob;
use crate::context::{Context, Event};
use crate::report::REPORT_FILES;
use crate::stages::StageClock;
use crate::{Failure, FailureKind};

/// A job whose artifacts are files.
pub(super) struct SavedJob {
    pub(super) rewritten: RewrittenJob,
    /// One per artifact.
    pub(super) files: Vec<SavedArtifact>,
}

/// One artifact, as read back from its file.
pub(super) struct SavedArtifact {
    pub(super) file_name: String,
    pub(super) sha256: String,
    pub(super) model: Model,
}

pub(super) fn save(
    rewritten: RewrittenJob,
    folder: &Path,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<SavedJob, Failure> {
    let job = &rewritten.calibrated.prepared.linted.job;
    let stem = job
        .model
        .path()
        .file_stem()
        .map(|s| s.to_string_lossy().into_owned())
        .unwrap_or_default();
    let files = clock.run(cx, "save", "artifacts", rewritten.models.len(), || {
        std::fs::create_dir_all(folder).map_err(|e| {
            Failure::new(
                FailureKind::Io,
                format!("cannot make folder `{}`: {e}", folder.display()),
            )
        })?;
        // A report describes the artifacts beside it; from here on those of an earlier run are replaced.
        for name in REPORT_FILES {
            let path = folder.join(name);
            if path.exists() {
                std::fs::remove_file(&path).map_err(|e| {
                    Failure::new(
                        FailureKind::Io,
                        format!("cannot remove `{}`: {e}", path.display()),
                    )
                })?;
            }
        }
        let mut files = Vec::new();
        for ((request, _), (model, _)) in job.artifacts.iter().zip(&rewritten.models) {
            cx.check()?;
            let file_name = format!("{stem}-{}.onnx", request.name);
            let path = folder.join(&file_name);
            model.save(&path)?;
            let model = Model::load(&path)?;
            files.push(SavedArtifact {
                file_name,
                sha256: sha256(&model.to_bytes()),
                model,
            });
            cx.emit(&Event::Progress { done: files.len() });
        }
        Ok::<_, Failure>(files)
    })?;
    Ok(SavedJob { rewritten, files })
}
