//! `plan`: which tiles a memory limit allows, before anything runs.

use std::path::PathBuf;

use serde::Serialize;
use tilecast_analysis::analyze;
use tilecast_onnx::Model;
use tilecast_tile::{
    Alpha, Colour, PixelFormat, SampleType, Size, TilePlan, TiledRunner, resident_rows_bytes,
};

use crate::Failure;
use crate::context::Context;
use crate::engines::EngineChoice;
use crate::feed::Feeding;
use crate::geometry::Geometry;
use crate::recipe::Preprocess;
use crate::tiles::{ImageMemory, Tiler};

/// What to plan for.
#[derive(Clone, Debug)]
pub struct PlanSettings {
    /// Model file.
    pub model: PathBuf,
    /// Width of the image, pixels.
    pub width: usize,
    /// Height of the image, pixels.
    pub height: usize,
    /// Bytes that the process may take.
    pub memory_bytes: u64,
    /// Engine that will run the model.
    pub engine: EngineChoice,
    /// How pixels and other inputs reach the model; `None` for images in [0, 1] and the layout that the model declares.
    pub preprocess: Option<Preprocess>,
}

/// The tiles; the JSON document of `plan`.
#[derive(Clone, Debug, Serialize)]
pub struct PlanOutcome {
    /// Format of this document.
    pub schema: &'static str,
    /// Longest side that is fed, pixels.
    pub tile: usize,
    /// Width that is fed, pixels.
    pub tile_width: usize,
    /// Height that is fed, pixels.
    pub tile_height: usize,
    /// Context per side, pixels; null without a bound.
    pub halo_px: Option<usize>,
    /// Origins and sizes of tiles are multiples of this, pixels.
    pub alignment_px: usize,
    /// Output pixels per input pixel and axis.
    pub scale: usize,
    /// Number of tiles.
    pub tiles: usize,
    /// Tiles at the same time.
    pub workers: usize,
    /// Predicted peak of the process, bytes, for an RGB image of 16 bits that is read and written by rows.
    pub peak_bytes: u64,
    /// Pixels fed per pixel of the image.
    pub work_ratio: f64,
    /// `exact`: the halo is the graph's.
    pub mode: &'static str,
    /// `exact` or `approximate`: what a tiled image equals.
    pub equivalence: &'static str,
    /// What the prediction consists of.
    pub memory: PlannedMemory,
    /// Why the tiles are as they are, a sentence each.
    pub decisions: Vec<String>,
}

/// Parts of a predicted peak, bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PlannedMemory {
    /// The process with the model loaded, before any image.
    pub process_bytes: u64,
    /// Weights, as the engine holds them.
    pub weights_bytes: u64,
    /// Rows of the image and of the result.
    pub rows_bytes: u64,
    /// One tile in flight; null where the engine cannot tell.
    pub tile_bytes: Option<u64>,
    /// What kernels allocate beside live tensors, as a factor.
    pub scratch: f64,
}

/// Chooses tiles for an image of a size within a memory limit. Prepares two small tiles of the model, and runs one.
///
/// # Errors
/// The model cannot be tiled or run, nothing fits, or the user interrupts.
pub fn plan(settings: &PlanSettings, cx: &Context<'_>) -> Result<PlanOutcome, Failure> {
    let engine = settings.engine.open()?;
    let model = Model::load(&settings.model)?;
    let geometry = Geometry::new(analyze(&model)?)?;
    let feeding = Feeding::new(settings.preprocess.as_ref(), &model)?;
    let fed = feeding.engine(engine.as_ref());
    let runner = TiledRunner::new(&fed, &model, feeding.value_range)?;
    let image_px = Size {
        height: settings.height,
        width: settings.width,
    };
    let format = PixelFormat {
        colour: Colour::Rgb,
        alpha: Alpha::None,
        samples: SampleType::U16,
    };
    let tiler = Tiler::new(
        |small, large| runner.study_tiles(small, large),
        &geometry,
        cx,
    )?;
    cx.check()?;
    let rows = |plan: &TilePlan| resident_rows_bytes(plan, format, format) as u64;
    let image = ImageMemory {
        planes_in_flight: (format.planes(), format.planes()),
        files_bytes: FILES_BYTES,
    };
    let chosen = tiler.choose(image_px, image, settings.memory_bytes, &rows)?;
    let tile = chosen.plan.tile_size();
    let is_exact = chosen.plan.n_tiles() == 1 || geometry.analysis().tiling_class.is_exact();
    Ok(PlanOutcome {
        schema: "tilecast.plan/1",
        tile: chosen.plan.tile_px(),
        tile_width: tile.width,
        tile_height: tile.height,
        halo_px: geometry.analysis().halo_px,
        alignment_px: geometry.analysis().alignment_px,
        scale: geometry.scale(),
        tiles: chosen.plan.n_tiles(),
        workers: chosen.n_workers,
        peak_bytes: chosen.peak_bytes,
        work_ratio: chosen.work_ratio,
        memory: tiler.memory(&chosen, image, &rows),
        mode: "exact",
        equivalence: if is_exact { "exact" } else { "approximate" },
        decisions: tiler.decisions(&chosen),
    })
}

/// What reading and writing an image by rows holds, about.
const FILES_BYTES: u64 = 2 << 20;
