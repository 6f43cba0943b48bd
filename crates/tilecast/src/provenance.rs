//! Where an artifact comes from, written into it: program, recipe, FP32 model and calibration images, by hash. Nothing
//! that differs between two runs of the same recipe.

use tilecast_onnx::Model;

use crate::identity::sha256;
use crate::recipe::LoadedRecipe;
use crate::report::FileFacts;

/// Entries of `metadata_props` that all artifacts of a job share.
#[derive(Clone, Debug)]
pub(crate) struct Provenance {
    entries: Vec<(&'static str, String)>,
}

impl Provenance {
    /// Of the artifacts of this recipe.
    pub(crate) fn new(recipe: &LoadedRecipe, model: &FileFacts, calibration: &[FileFacts]) -> Self {
        let mut entries = vec![
            ("tilecast.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("tilecast.recipe", recipe.name.clone()),
            ("tilecast.recipe_sha256", sha256(recipe.text.as_bytes())),
            ("tilecast.model", model.name.clone()),
            ("tilecast.model_sha256", model.sha256.clone()),
            ("tilecast.calibration_sha256", images_sha256(calibration)),
        ];
        if !recipe.overrides.is_empty() {
            entries.push(("tilecast.recipe_set", recipe.overrides.join("\n")));
        }
        Self { entries }
    }

    /// Writes the entries, and the artifact's name, into a model.
    pub(crate) fn write_into(&self, model: &mut Model, artifact: &str) {
        for (key, value) in &self.entries {
            model.set_metadata(key, value);
        }
        model.set_metadata("tilecast.artifact", artifact);
    }
}

/// One hash for a set of images, whatever their order and their names: SHA-256 of the sorted hashes, a line each.
pub(crate) fn images_sha256(images: &[FileFacts]) -> String {
    let mut lines: Vec<String> = images
        .iter()
        .map(|image| format!("{}\n", image.sha256))
        .collect();
    lines.sort_unstable();
    sha256(lines.concat().as_bytes())
}
