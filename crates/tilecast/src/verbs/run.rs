//! `run`: the tiled runtime on an image or a folder.
//!
//! Reading order: [`run`] → `job` (one image) → `adaptive` (tiles by the memory that is free) and `measured` (the context
//! of tiles by their measured error).

mod adaptive;
mod job;
mod measured;

use std::ffi::OsStr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tilecast_exec::Engine;
use tilecast_onnx::Model;
use tilecast_tile::{ProcessMemory, TiledRunner, check_image_target, list_images};

use crate::context::Context;
use crate::engines::EngineChoice;
use crate::feed::Feeding;
use crate::geometry::Geometry;
use crate::recipe::{Preprocess, Sweeps};
use crate::tiled::{Sweeping, equivalence};
use crate::tiles::Tiler;
use crate::windows::Windowed;
use crate::{Failure, FailureKind};

use job::{Job, Patience, Swept};

pub use adaptive::FreeMemoryLevels;
pub use measured::MeasuredContext;

/// Which tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TileSelection {
    /// Squares of this side, pixels; images that are smaller run whole.
    Side(usize),
    /// Those of least work within the memory limit.
    Fitting,
    /// By how much memory is free when an image is begun; the memory limit does not count.
    Adaptive(FreeMemoryLevels),
}

/// How much context tiles are given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum TileMode {
    /// What the graph says. Tiles meet at a line.
    #[default]
    Exact,
    /// The least with which no value differs by more than `tolerance`, as a share of the range of values, from what more
    /// context gives; measured on places of each image. Tiles fade into each other.
    Measured {
        /// The largest difference.
        tolerance: f32,
    },
}

impl TileMode {
    fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Measured { .. } => "measured",
        }
    }
}

/// What to run, on what.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// Model file.
    pub model: PathBuf,
    /// Image file, or folder of images.
    pub input: PathBuf,
    /// Image file, or folder where the input is one.
    pub output: PathBuf,
    /// Which tiles.
    pub tiles: TileSelection,
    /// How much context they are given.
    pub mode: TileMode,
    /// Before each image, write one of 1/this of its width and height beside it.
    pub preview: Option<NonZeroUsize>,
    /// How often tiles are swept for the statistics of the whole image; `None` leaves each tile with its own.
    pub sweeps: Option<Sweeps>,
    /// Side of the window, pixels, that means over the whole image are replaced by; `None` leaves each tile with its own.
    pub local_window: Option<NonZeroU32>,
    /// Most bytes that the process may take.
    pub memory_bytes: u64,
    /// Engine that runs the model.
    pub engine: EngineChoice,
    /// How pixels and other inputs reach the model; `None` for images in [0, 1] and the layout that the model declares.
    pub preprocess: Option<Preprocess>,
}

/// What was done.
#[derive(Clone, Debug, Serialize)]
pub struct RunOutcome {
    /// Format of this document.
    pub schema: &'static str,
    /// Engine that ran the model.
    pub engine: &'static str,
    /// Context per side that the graph asks for, pixels; null without a bound.
    pub halo_px: Option<usize>,
    /// `exact`: the context is the graph's; or `measured`: see [`RunImage::measured`].
    pub mode: &'static str,
    /// `exact`, `exact-with-sweeps` or `approximate`: what a tiled image equals.
    pub equivalence: &'static str,
    /// Limit on the memory of the process, bytes.
    pub memory_bytes: u64,
    /// Most that the process has taken so far, bytes; null where the system does not tell.
    pub process_peak_bytes: Option<u64>,
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
    /// Longest side fed to the network, pixels.
    pub tile: usize,
    /// Width fed to the network, pixels.
    pub tile_width: usize,
    /// Height fed to the network, pixels.
    pub tile_height: usize,
    /// Number of tiles.
    pub tiles: usize,
    /// Context and what it costs, where the mode is `measured` and the image is more than one tile.
    pub measured: Option<MeasuredContext>,
    /// The smaller image that was written first.
    pub preview: Option<String>,
    /// How often all of them were run.
    pub sweeps: usize,
    /// How often they were run with little halo before, to learn the statistics of the image.
    pub drafts: usize,
    /// Whether every swept statistic was that of the whole image in the last sweep, or the image is one tile; goes into
    /// [`RunOutcome::equivalence`].
    #[serde(skip)]
    pub(crate) statistics_exact: bool,
    /// Tiles at the same time; null where every core takes some.
    pub workers: Option<usize>,
    /// Predicted peak of the process, bytes; null where the image is held whole.
    pub peak_bytes: Option<u64>,
    /// Why the tiles are as they are, a sentence each.
    pub decisions: Vec<String>,
    /// Wall-clock time with reading and writing, seconds.
    pub seconds: f64,
}

/// Runs a model over an image or all images of a folder. Rows stream from file to file where the formats allow it.
///
/// # Errors
/// A file cannot be read or written, the model cannot be tiled so, memory does not suffice, or the user interrupts.
pub fn run(settings: &RunSettings, cx: &Context<'_>) -> Result<RunOutcome, Failure> {
    let engine = settings.engine.open()?;
    run_on(engine.as_ref(), settings, Patience::default(), cx)
}

/// As [`run`], on an engine that is open.
fn run_on(
    engine: &dyn Engine,
    settings: &RunSettings,
    patience: Patience,
    cx: &Context<'_>,
) -> Result<RunOutcome, Failure> {
    let model = Model::load(&settings.model)?;
    let geometry = Geometry::of_model(&model)?;
    let windowed = match settings.local_window {
        Some(px) => Windowed::of(&model, geometry.analysis(), px.get() as usize)?,
        None => None,
    };
    let is_other_network = windowed.is_some();
    let (model, geometry) = match windowed {
        Some(windowed) => (windowed.model, Geometry::new(windowed.analysis)?),
        None => (model, geometry),
    };
    let feeding = Feeding::new(settings.preprocess.as_ref(), &model)?;
    let fed = feeding.engine(engine);
    let jobs = jobs(&settings.input, &settings.output)?;
    for (_, output) in &jobs {
        check_image_target(output)?;
    }
    let sweeping = match settings.sweeps {
        Some(sweeps) => Sweeping::of(&model, geometry.analysis(), sweeps)?,
        None => None,
    };
    let runner = TiledRunner::new(&fed, &model, feeding.value_range)?;
    let swept = match &sweeping {
        Some(sweeping) => {
            let (runner, _) = sweeping.runner(&fed, &model, feeding.value_range)?;
            Some(Swept { sweeping, runner })
        }
        None => None,
    };
    let study = |small, large| match &swept {
        Some(swept) => swept
            .runner
            .study_tiles(small, large, runner.network_planes()),
        None => runner.study_tiles(small, large),
    };
    let tiler = Tiler::new(study, &geometry, cx)?;
    let mut statistics_exact = true;
    let mut images = Vec::new();
    for (input, output) in jobs {
        cx.check()?;
        let job = Job {
            settings,
            geometry: &geometry,
            tiler: &tiler,
            runner: &runner,
            swept: swept.as_ref(),
            input: &input,
            patience,
        };
        let image = job.run(&output, cx)?;
        statistics_exact &= image.statistics_exact;
        images.push(image);
    }
    let equivalence = if is_other_network || settings.mode != TileMode::Exact {
        "approximate"
    } else {
        equivalence(geometry.analysis(), sweeping.as_ref(), statistics_exact)
    };
    Ok(RunOutcome {
        schema: "tilecast.run/1",
        engine: settings.engine.name(),
        halo_px: geometry.analysis().halo_px,
        mode: settings.mode.name(),
        equivalence,
        memory_bytes: settings.memory_bytes,
        process_peak_bytes: ProcessMemory::now().map(|memory| memory.peak_bytes),
        images,
    })
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
    let outputs: Vec<PathBuf> = images
        .iter()
        .map(|image| output.join(output_name(image, &images)))
        .collect();
    Ok(images.into_iter().zip(outputs).collect())
}

/// What the result of an image of a folder is called: as the image. WebP is not written, so that becomes `NAME.png`, or
/// `NAME.webp.png` beside another `NAME.png`.
fn output_name(image: &Path, images: &[PathBuf]) -> PathBuf {
    let name = PathBuf::from(image.file_name().unwrap_or_default());
    let is_webp = |extension: &OsStr| extension.eq_ignore_ascii_case("webp");
    if !name.extension().is_some_and(is_webp) {
        return name;
    }
    let png = name.with_extension("png");
    if images
        .iter()
        .any(|other| other.file_name() == Some(png.as_os_str()))
    {
        name.with_added_extension("png")
    } else {
        png
    }
}

#[cfg(test)]
mod tests;
