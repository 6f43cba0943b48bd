//! Stage 1: everything that the recipe names is found, read and resolved before anything is computed.

use tilecast_onnx::Model;

use super::settings;
use crate::Failure;
use crate::artifact::ArtifactRequest;
use crate::context::Context;
use crate::feed::Feeding;
use crate::identity::{file_facts, file_name, sha256};
use crate::images::{ImageSet, find_images, split};
use crate::provenance::Provenance;
use crate::recipe::LoadedRecipe;
use crate::report::{FileFacts, Gates};
use crate::stages::StageClock;

/// A recipe whose model and images exist.
pub(super) struct LoadedJob {
    pub(super) recipe: LoadedRecipe,
    pub(super) model: Model,
    pub(super) model_sha256: String,
    pub(super) images: ImageSet,
    pub(super) artifacts: Vec<(ArtifactRequest, Gates)>,
    pub(super) feeding: Feeding,
    /// The calibration images by content, in their order.
    pub(super) calibration_facts: Vec<FileFacts>,
    /// What is written into every artifact.
    pub(super) provenance: Provenance,
}

impl LoadedJob {
    /// Side fed to the network for calibration and validation, pixels.
    pub(super) fn tile_px(&self) -> usize {
        self.recipe.recipe.tiling.validate_tile as usize
    }

    /// Most bytes that tiles in flight may take together.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.recipe.recipe.tiling.memory.bytes()
    }
}

pub(super) fn load(
    recipe: LoadedRecipe,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<LoadedJob, Failure> {
    clock.run(cx, "load", "files", 0, || {
        let spec = &recipe.recipe;
        let artifacts = spec
            .artifacts
            .iter()
            .map(|a| Ok((settings::artifact(a)?, settings::gates(&a.gate))))
            .collect::<Result<Vec<_>, Failure>>()?;
        let model = Model::load(&spec.model)?;
        let feeding = Feeding::new(Some(&spec.preprocess), &model)?;
        let calibration = &spec.calibration;
        let images = find_images(&calibration.images, calibration.references.as_deref())?;
        let images = split(images, calibration.holdout)?;
        let calibration_facts = images
            .calibration
            .iter()
            .map(|image| file_facts(&image.path))
            .collect::<Result<Vec<_>, Failure>>()?;
        let facts = FileFacts {
            name: file_name(model.path()),
            sha256: sha256(&model.to_bytes()),
        };
        Ok(LoadedJob {
            provenance: Provenance::new(&recipe, &facts, &calibration_facts),
            calibration_facts,
            images,
            model_sha256: facts.sha256,
            model,
            artifacts,
            feeding,
            recipe,
        })
    })
}
