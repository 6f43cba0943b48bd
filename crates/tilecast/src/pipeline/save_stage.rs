//! Stage 6: artifacts are written, and read back: what is validated is the file that ships.

use std::path::Path;

use tilecast_onnx::Model;

use super::load_stage::LoadedJob;
use super::rewrite_stage::RewrittenJob;
use crate::artifact::{ArtifactRequest, at_fixed_size};
use crate::context::{Context, Event};
use crate::identity::sha256;
use crate::report::REPORT_FILES;
use crate::stages::StageClock;
use crate::sums::SUMS_FILE;
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
    /// Name of the file that says how to run it in tiles.
    pub(super) contract_name: String,
    /// Name of the file with statistics as inputs and outputs, where they are swept.
    pub(super) swept_name: String,
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
    let files = clock.run(cx, "save", "artifacts", rewritten.models.len(), || {
        std::fs::create_dir_all(folder).map_err(|e| {
            Failure::new(
                FailureKind::Io,
                format!("cannot make folder `{}`: {e}", folder.display()),
            )
        })?;
        // A report describes the artifacts beside it; from here on those of an earlier run are replaced.
        for name in REPORT_FILES.into_iter().chain([SUMS_FILE]) {
            remove(&folder.join(name))?;
        }
        let mut files = Vec::new();
        for ((request, _), (model, _)) in job.artifacts.iter().zip(&rewritten.models) {
            cx.check()?;
            files.push(write_artifact(job, request, model, folder)?);
            cx.emit(&Event::Progress { done: files.len() });
        }
        Ok::<_, Failure>(files)
    })?;
    Ok(SavedJob { rewritten, files })
}

/// Removes what an earlier run left under this name.
fn remove(path: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Failure::new(
            FailureKind::Io,
            format!("cannot remove `{}`: {e}", path.display()),
        )),
        _ => Ok(()),
    }
}

/// Writes one artifact, named after the FP32 model and itself, and reads it back. What said how to run an earlier one of the
/// name is removed.
///
/// # Errors
/// The file cannot be written or read.
pub(super) fn write_artifact(
    job: &LoadedJob,
    request: &ArtifactRequest,
    model: &Model,
    folder: &Path,
) -> Result<SavedArtifact, Failure> {
    let file_name = artifact_file_name(&job.model, request);
    let stem = file_name.trim_end_matches(".onnx");
    let [contract_name, swept_name] =
        ["tiling.json", "swept.onnx"].map(|extension| format!("{stem}.{extension}"));
    for name in [&contract_name, &swept_name] {
        remove(&folder.join(name))?;
    }
    let path = folder.join(&file_name);
    let mut written = match request.shape {
        Some(size) => at_fixed_size(model, size)?,
        None => model.clone(),
    };
    if !request.strip_metadata {
        job.provenance.write_into(&mut written, &request.name);
    }
    written.save(&path)?;
    let model = Model::load(&path)?;
    Ok(SavedArtifact {
        file_name,
        contract_name,
        swept_name,
        sha256: sha256(&model.to_bytes()),
        model,
    })
}

/// `<model>-<artifact>.onnx`, without characters that some file systems do not take.
pub(super) fn artifact_file_name(fp32: &Model, request: &ArtifactRequest) -> String {
    let stem = fp32.path().file_stem().unwrap_or_default();
    let stem = portable(&stem.to_string_lossy());
    format!("{stem}-{}.onnx", request.name)
}

/// The name with `_` for what Windows refuses in names of files.
fn portable(name: &str) -> String {
    const REFUSED: &str = "<>:\"/\\|?*";
    name.chars()
        .map(|c| {
            if c.is_control() || REFUSED.contains(c) {
                '_'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_by_every_file_system() {
        assert_eq!(portable("net:v2 \"best\"?"), "net_v2 _best__");
        assert_eq!(portable("Rausch-frei.größer"), "Rausch-frei.größer");
    }
}
