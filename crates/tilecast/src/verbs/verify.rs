//! `verify`: a quality gate between two models.

use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::Serialize;
use tilecast_onnx::Model;
use tilecast_tile::ValueRange;

use crate::Failure;
use crate::compare::{CompareOptions, compare, count_tiles};
use crate::context::Context;
use crate::engines::EngineChoice;
use crate::geometry::Geometry;
use crate::images::find_images;
use crate::recipe::Sweeps;
use crate::report::{Gates, Quality, TilingFacts};
use crate::stages::StageClock;
use crate::tiled::Sweeping;
use crate::windows::{Windowed, pooled_in_windows};

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
    /// Side of the window, pixels, that means over the whole image are replaced by in both models when they run in tiles; `None` leaves each tile with its own.
    pub local_window: Option<NonZeroU32>,
    /// Most bytes that tiles in flight may take together.
    pub memory_bytes: u64,
    /// Engine that runs both models.
    pub engine: EngineChoice,
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
    let images = find_images(&settings.images, settings.references.as_deref())?;
    let geometry = Geometry::of_model(&reference)?;
    let analysis = geometry.analysis().clone();
    let windowed = match settings.local_window {
        Some(px) => Windowed::of(&reference, &analysis, px.get() as usize)?,
        None => None,
    };
    let candidate = match (&windowed, settings.local_window) {
        (Some(_), Some(px)) => {
            pooled_in_windows(&candidate, analysis.alignment_px, px.get() as usize)?.0
        }
        _ => candidate,
    };
    let tiled = windowed.as_ref().map_or(&reference, |w| &w.model);
    let geometry = match &windowed {
        Some(windowed) => Geometry::new(windowed.analysis.clone())?,
        None => geometry,
    };
    // Both run in the tiles of the one that takes no others.
    let geometry = match Geometry::of_model(&candidate)?.fixed_tile() {
        Some(fixed_px) => geometry.with_fixed_tile(fixed_px),
        None => geometry,
    };
    let sweeping = match settings.sweeps {
        Some(sweeps) => Sweeping::of(&reference, geometry.analysis(), sweeps)?,
        None => None,
    };
    let options = CompareOptions {
        geometry: &geometry,
        tile_px: settings.tile_px,
        memory_bytes: settings.memory_bytes,
        sweeping: sweeping.as_ref(),
        value_range: ValueRange::UNIT,
        whole_reference: windowed.is_some().then_some(&reference),
    };
    let total = count_tiles(&images, 1, &options)?;
    let compared = StageClock::default().run(cx, "verify", "tiles", total, || {
        compare(engine.as_ref(), tiled, &[&candidate], &images, &options, cx)
    })?;
    Ok(Verification {
        schema: "tilecast.verify/1",
        reference: settings.reference.display().to_string(),
        candidate: settings.candidate.display().to_string(),
        engine: settings.engine.name(),
        tiling: settings.tile_px.map(|tile| {
            let window = windowed.as_ref().map(|w| &w.facts);
            TilingFacts::new(
                geometry.analysis(),
                tile,
                sweeping.as_ref(),
                window,
                &compared,
            )
        }),
        quality: Quality::new(&compared, 0, &settings.gates),
    })
}
