//! `run`: the tiled runtime on an image or a folder.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use tilecast_analysis::analyze;
use tilecast_onnx::Model;
use tilecast_tile::{
    RunControl, ValueRange, check_image_target, list_images, read_image, write_image,
};

use crate::context::{Context, Event};
use crate::engines::EngineChoice;
use crate::geometry::Geometry;
use crate::recipe::Sweeps;
use crate::tiled::{ImageRunner, Sweeping, equivalence};
use crate::{Failure, FailureKind};

/// What to run, on what.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// Model file.
    pub model: PathBuf,
    /// Image file, or folder of images.
    pub input: PathBuf,
    /// Image file, or folder where the input is one.
    pub output: PathBuf,
    /// Side fed to the network, pixels; images that are smaller run whole.
    pub tile_px: usize,
    /// How often tiles are swept for the statistics of the whole image; `None` leaves each tile with its own.
    pub sweeps: Option<Sweeps>,
    /// Most bytes that tiles in flight may take together.
    pub memory_bytes: u64,
    /// Engine that runs the model.
    pub engine: EngineChoice,
}

/// What was done.
#[derive(Clone, Debug, Serialize)]
pub struct RunOutcome {
    /// Format of this document.
    pub schema: &'static str,
    /// Engine that ran the model.
    pub engine: &'static str,
    /// Side fed to the network, pixels.
    pub tile: usize,
    /// Context per side, pixels; null without a bound.
    pub halo_px: Option<usize>,
    /// `exact`, `exact-with-sweeps` or `approximate`: what a tiled image equals.
    pub equivalence: &'static str,
    /// One entry per image.
    pub images: Vec<RunImage>,
}

/// One image that was run.
#[derive(Clone, Debug, Serialize)]
pub struct RunImage {
    /// Input file.
    pub input: String,
    /// Output file.
    pub output: String,
    /// Output width, pixels.
    pub width: usize,
    /// Output height, pixels.
    pub height: usize,
    /// Number of tiles.
    pub tiles: usize,
    /// How often all of them were run.
    pub sweeps: usize,
    /// Wall-clock time with reading and writing, seconds.
    pub seconds: f64,
}

/// Runs a model over an image or all images of a folder.
///
/// # Errors
/// A file cannot be read or written, the model cannot be tiled so, or the user interrupts.
pub fn run(settings: &RunSettings, cx: &Context<'_>) -> Result<RunOutcome, Failure> {
    let engine = settings.engine.open()?;
    let model = Model::load(&settings.model)?;
    let geometry = Geometry::new(analyze(&model)?)?;
    let analysis = geometry.analysis();
    let sweeping = match settings.sweeps {
        Some(sweeps) => Sweeping::of(&model, analysis, sweeps)?,
        None => None,
    };
    let sweeping = sweeping.as_ref();
    let runner = ImageRunner::new(
        engine.as_ref(),
        &model,
        sweeping,
        ValueRange::UNIT,
        settings.memory_bytes,
    )?;
    // Nodes that go on looking at the tile.
    let n_local = match sweeping {
        Some(sweeping) => sweeping.facts().left_out.len(),
        None => analysis.global_nodes.len(),
    };
    let mut all_statistics_exact = true;
    let mut outcome = RunOutcome {
        schema: "tilecast.run/1",
        engine: settings.engine.name(),
        tile: settings.tile_px,
        halo_px: analysis.halo_px,
        equivalence: equivalence(analysis, sweeping, true),
        images: Vec::new(),
    };
    let jobs = jobs(&settings.input, &settings.output)?;
    for (_, output) in &jobs {
        check_image_target(output)?;
    }
    for (input, output) in jobs {
        cx.check()?;
        let start = Instant::now();
        let image = read_image(&input)?;
        let plan = geometry
            .plan(image.size(), Some(settings.tile_px))
            .map_err(|f| f.about(input.display()))?;
        let n_tiles = plan.n_tiles();
        if n_tiles > 1 && n_local > 0 {
            cx.emit(&Event::Warning(&format!(
                "{}: {} node(s) look at the whole image, so its {n_tiles} tiles differ from a whole-image run; \
                 `tilecast lint` says where",
                input.display(),
                n_local
            )));
        }
        let stage = format!("run {}", input.file_name().unwrap_or_default().display());
        cx.emit(&Event::Started {
            stage: &stage,
            unit: "tiles",
            total: n_tiles * sweeping.map_or(1, Sweeping::limit),
        });
        let progress = |done: usize, _: usize| cx.emit(&Event::Progress { done });
        let control = RunControl {
            cancelled: cx.cancelled(),
            progress: &progress,
        };
        let result = runner
            .run(&image, &plan, &control)
            .map_err(|e| e.about(input.display()))?;
        drop(image);
        write_image(&output, &result.image)?;
        all_statistics_exact &= result.statistics_exact;
        let seconds = start.elapsed().as_secs_f64();
        cx.emit(&Event::Finished {
            stage: &stage,
            seconds,
        });
        outcome.images.push(RunImage {
            input: input.display().to_string(),
            output: output.display().to_string(),
            width: result.image.size().width,
            height: result.image.size().height,
            tiles: n_tiles,
            sweeps: result.n_sweeps,
            seconds,
        });
    }
    outcome.equivalence = equivalence(analysis, sweeping, all_statistics_exact);
    Ok(outcome)
}

/// Pairs of input and output files.
fn jobs(input: &Path, output: &Path) -> Result<Vec<(PathBuf, PathBuf)>, Failure> {
    if !input.is_dir() {
        return Ok(vec![(input.to_owned(), output.to_owned())]);
    }
    let images = list_images(input)?;
    std::fs::create_dir_all(output).map_err(|e| {
        Failure::new(
            FailureKind::Io,
            format!("cannot make folder `{}`: {e}", output.display()),
        )
    })?;
    Ok(images
        .into_iter()
        .map(|i| (i.clone(), output.join(i.file_name().unwrap_or_default())))
        .collect())
}
