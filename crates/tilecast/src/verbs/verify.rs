//! `verify`: a quality gate between two models.

use std::num::NonZeroU32;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;
use tilecast_onnx::Model;

use crate::baseline::Figures;
use crate::compare::{CompareOptions, Looks, compare, count_tiles};
use crate::context::Context;
use crate::engines::EngineChoice;
use crate::feed::Feeding;
use crate::geometry::Geometry;
use crate::images::find_images;
use crate::judging::Judging;
use crate::recipe::{Preprocess, Sweeps};
use crate::report::{
    BaselineReport, Gates, Quality, TilingFacts, verification_to_junit, verification_to_summary,
};
use crate::stages::StageClock;
use crate::tiled::Sweeping;
use crate::verbs::inspect::predict_peaks;
use crate::windows::{Windowed, pooled_in_windows};
use crate::{Failure, FailureKind};

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
    /// How pixels and other inputs reach the model; `None` for images in [0, 1] and the layout that the model declares.
    pub preprocess: Option<Preprocess>,
    /// What the candidate must meet.
    pub gates: Gates,
    /// What it is compared with, and files for the verdict.
    pub judging: Judging,
    /// Folder for a map of every image's error, made where it is missing.
    pub error_maps: Option<PathBuf>,
}

/// Quality of the candidate; the JSON document of `verify`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Verification {
    /// Format of this document.
    pub schema: &'static str,
    /// Reference file.
    pub reference: String,
    /// Candidate file.
    pub candidate: String,
    /// Engine that ran both models.
    pub engine: &'static str,
    /// Size of the candidate with its weights.
    pub bytes: usize,
    /// Predicted peak of one of its tiles in the embedded engine, bytes; null without tiles, and where it cannot prepare one.
    pub peak_bytes: Option<usize>,
    /// Comparison with an earlier report; null where none was given.
    pub baseline: Option<BaselineReport>,
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
    let baseline = settings.judging.begin()?;
    let engine = settings.engine.open()?;
    if let Some(folder) = &settings.error_maps {
        std::fs::create_dir_all(folder).map_err(|e| {
            Failure::new(
                FailureKind::Io,
                format!("cannot make folder `{}`: {e}", folder.display()),
            )
        })?;
    }
    let reference = Model::load(&settings.reference)?;
    let candidate = Model::load(&settings.candidate)?;
    let feeding = Feeding::new(settings.preprocess.as_ref(), &reference)?;
    let fed = feeding.engine(engine.as_ref());
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
        value_range: feeding.value_range,
        looks: Some(Looks {
            pictures: false,
            error_maps: settings.error_maps.as_deref(),
        }),
        whole_reference: windowed.is_some().then_some(&reference),
    };
    let total = count_tiles(&images, 1, &options)?;
    let compared = StageClock::default().run(cx, "verify", "tiles", total, || {
        compare(&fed, tiled, &[&candidate], &images, &options, cx)
    })?;
    let mut quality = Quality::new(&compared, 0, &settings.gates);
    let bytes = candidate.stored_bytes() as usize;
    let peak_bytes = match settings.tile_px {
        Some(side) => {
            let alignment_px = geometry.analysis().alignment_px.max(1);
            let peaks = predict_peaks(&candidate, &[side], alignment_px, &cx.silent())?;
            peaks.get(&side).copied()
        }
        None => None,
    };
    let judged = match baseline {
        Some(baseline) => {
            let figures = Figures::of_candidate(&quality, bytes, peak_bytes);
            Some(baseline.judge_candidate(&settings.candidate, &quality, figures, cx)?)
        }
        None => None,
    };
    quality.passed &= judged.as_ref().is_none_or(|b| b.passed);
    let verification = Verification {
        schema: "tilecast.verify/1",
        reference: settings.reference.display().to_string(),
        candidate: settings.candidate.display().to_string(),
        engine: settings.engine.name(),
        bytes,
        peak_bytes,
        baseline: judged,
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
        quality,
    };
    settings.judging.write(
        || verification_to_junit(&verification),
        || verification_to_summary(&verification),
    )?;
    Ok(verification)
}
