//! `verify`: a quality gate between two models.

use std::path::PathBuf;

use serde::Serialize;
use tilecast_analysis::analyze;
use tilecast_onnx::Model;

use crate::Failure;
use crate::compare::{CompareOptions, compare, count_tiles};
use crate::context::Context;
use crate::engines::EngineChoice;
use crate::feed::Feeding;
use crate::geometry::Geometry;
use crate::images::find_images;
use crate::recipe::{Preprocess, Sweeps};
use crate::report::{Gates, Quality, TilingFacts};
use crate::stages::StageClock;
use crate::tiled::Sweeping;

/// What to compare, on what, and how close it must be.
#[derive(Clone, Debug)]
pub struct VerifySettings {
    /// The model that is right.
    pub reference: PathBuf,
    /// The model to judge.
    pub candidate: PathBuf,
    /// Folder of images.
    pub images: PathBuf,
    /// Folder of ground truth with the same file names.
    pub references: Option<PathBuf>,
    /// Side fed to the network, pixels; `None` runs every image whole.
    pub tile_px: Option<usize>,
    /// How often tiles are swept for the statistics of the whole image; `None` leaves each tile with its own.
    pub sweeps: Option<Sweeps>,
    /// Most bytes that tiles in flight may take together.
    pub memory_bytes: u64,
    /// Engine that runs both models.
    pub engine: EngineChoice,
    /// How pixels and other inputs reach the model; `None` for images in [0, 1] and the layout that the model declares.
    pub preprocess: Option<Preprocess>,
    /// What the candidate must meet.
    pub gates: Gates,
}

/// Quality of the candidate; the JSON document of `verify`.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// Format of this document.
    pub schema: &'static str,
    /// Reference file.
    pub reference: String,
    /// Candidate file.
    pub candidate: String,
    /// Engine that ran both models.
    pub engine: &'static str,
    /// How images were tiled; null where they ran whole.
    pub tiling: Option<TilingFacts>,
    /// The candidate's quality.
    #[serde(flatten)]
    pub quality: Quality,
}

/// Runs both models over all images, tiled alike, and judges the candidate.
///
/// # Errors
/// A file cannot be read, a model cannot be run, or the user interrupts. A missed gate is no error here: see
/// [`Quality::passed`].
pub fn verify(settings: &VerifySettings, cx: &Context<'_>) -> Result<Verification, Failure> {
    let engine = settings.engine.open()?;
    let reference = Model::load(&settings.reference)?;
    let candidate = Model::load(&settings.candidate)?;
    let feeding = Feeding::new(settings.preprocess.as_ref(), &reference)?;
    let fed = feeding.engine(engine.as_ref());
    let images = find_images(&settings.images, settings.references.as_deref())?;
    let geometry = Geometry::new(analyze(&reference)?)?;
    let sweeping = match settings.sweeps {
        Some(sweeps) => Sweeping::of(&reference, geometry.analysis(), sweeps)?,
        None => None,
    };
    let options = CompareOptions {
        geometry: &geometry,
        tile_px: settings.tile_px,
        memory_bytes: settings.memory_bytes,
        sweeping: sweeping.as_ref(),
        value_range: feeding.value_range,
    };
    let total = count_tiles(&images, 1, &options)?;
    let compared = StageClock::default().run(cx, "verify", "tiles", total, || {
        compare(&fed, &reference, &[&candidate], &images, &options, cx)
    })?;
    Ok(Verification {
        schema: "tilecast.verify/1",
        reference: settings.reference.display().to_string(),
        candidate: settings.candidate.display().to_string(),
        engine: settings.engine.name(),
        tiling: settings
            .tile_px
            .map(|tile| TilingFacts::new(geometry.analysis(), tile, sweeping.as_ref(), &compared)),
        quality: Quality::new(&compared, 0, &settings.gates),
    })
}
