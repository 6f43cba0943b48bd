//! Stage 1: everything that the recipe names is found, read and resolved before anything is computed.

use tilecast_onnx::Model;
use tilecast_tile::ValueRange;

use super::settings;
use crate::artifact::ArtifactRequest;
use crate::context::Context;
use crate::identity::sha256;
use crate::images::{ImageSet, find_images, split};
use crate::recipe::LoadedRecipe;
use crate::report::Gates;
use crate::stages::StageClock;
use crate::{Failure, FailureKind};

/// A recipe whose model and images exist.
pub(super) struct LoadedJob {
    pub(super) recipe: LoadedRecipe,
    pub(super) model: Model,
    pub(super) model_sha256: String,
    pub(super) images: ImageSet,
    pub(super) artifacts: Vec<(ArtifactRequest, Gates)>,
    pub(super) value_range: ValueRange,
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
        let [low, high] = spec.preprocess.range;
        let value_range = ValueRange::new(low as f32, high as f32)
            .map_err(|e| Failure::new(FailureKind::Usage, e.to_string()))?;
        let model = Model::load(&spec.model)?;
        let calibration = &spec.calibration;
        let images = find_images(&calibration.images, calibration.references.as_deref())?;
        Ok(LoadedJob {
            images: split(images, calibration.holdout)?,
            model_sha256: sha256(&model.to_bytes()),
            model,
            artifacts,
            value_range,
            recipe,
        })
    })
}
