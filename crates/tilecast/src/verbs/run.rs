//! `run`: the tiled runtime on an image or a folder.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use tilecast_onnx::Model;
use tilecast_tile::{
    ChosenTiles, ImageReader, ImageTarget, ProcessMemory, ReadLimits, RowSource, RunControl,
    RunRowsError, Size, TilePlan, TiledRunner, ValueRange, Wiring, check_image_target,
    format_in_file, list_images, resident_rows_bytes, write_rows, writer_resident_bytes,
};

use crate::context::{Context, Event};
use crate::engines::EngineChoice;
use crate::geometry::Geometry;
use crate::recipe::Sweeps;
use crate::tiled::Sweeping;
use crate::tiles::{ImageMemory, Tiler};
use crate::windows::Windowed;
use crate::{Failure, FailureKind};

/// Which tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TileSelection {
    /// Squares of this side, pixels; images that are smaller run whole.
    Side(usize),
    /// Those of least work within the memory limit.
    Fitting,
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
    /// How often tiles are swept for the statistics of the whole image; `None` leaves each tile with its own.
    pub sweeps: Option<Sweeps>,
    /// Side of the window, pixels, that means over the whole image are replaced by; `None` leaves each tile with its own.
    pub local_window: Option<NonZeroU32>,
    /// Most bytes that the process may take.
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
    /// Context per side, pixels; null without a bound.
    pub halo_px: Option<usize>,
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
    /// How often all of them were run.
    pub sweeps: usize,
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
    let jobs = jobs(&settings.input, &settings.output)?;
    for (_, output) in &jobs {
        check_image_target(output)?;
    }
    let sweeping = match settings.sweeps {
        Some(sweeps) => Sweeping::of(&model, geometry.analysis(), sweeps)?,
        None => None,
    };
    if let Some(sweeping) = &sweeping {
        return super::run_swept::run(
            settings,
            engine.as_ref(),
            &model,
            &geometry,
            sweeping,
            &jobs,
            cx,
        );
    }
    let runner = TiledRunner::new(engine.as_ref(), &model, ValueRange::UNIT)?;
    let tiler = Tiler::new(&runner, &geometry, cx)?;
    let is_exact = geometry.analysis().tiling_class.is_exact() && !is_other_network;
    let mut images = Vec::new();
    for (input, output) in jobs {
        cx.check()?;
        let job = Job {
            settings,
            geometry: &geometry,
            tiler: &tiler,
            runner: &runner,
            input: &input,
            output: &output,
        };
        images.push(job.run(cx)?);
    }
    Ok(RunOutcome {
        schema: "tilecast.run/1",
        engine: settings.engine.name(),
        halo_px: geometry.analysis().halo_px,
        equivalence: if is_exact { "exact" } else { "approximate" },
        memory_bytes: settings.memory_bytes,
        process_peak_bytes: ProcessMemory::now().map(|memory| memory.peak_bytes),
        images,
    })
}

/// One image to run.
struct Job<'a> {
    settings: &'a RunSettings,
    geometry: &'a Geometry,
    tiler: &'a Tiler<'a>,
    runner: &'a TiledRunner<'a>,
    input: &'a Path,
    output: &'a Path,
}

impl Job<'_> {
    fn run(&self, cx: &Context<'_>) -> Result<RunImage, Failure> {
        let start = Instant::now();
        let limits = ReadLimits {
            max_bytes: self.settings.memory_bytes,
            ..ReadLimits::default()
        };
        let mut reader = ImageReader::open(self.input, &limits)?;
        for note in reader.notes() {
            cx.emit(&Event::Warning(&format!(
                "{}: {note}",
                self.input.display()
            )));
        }
        let about = |failure: Failure| failure.about(self.input.display());
        let wiring = self.wiring(&reader).map_err(about)?;
        let chosen = self.choose(&reader, &wiring).map_err(about)?;
        let plan = &chosen.plan;
        let n_tiles = plan.n_tiles();
        if n_tiles > 1 && !self.geometry.analysis().tiling_class.is_exact() {
            cx.emit(&Event::Warning(&format!(
                "{}: {} node(s) look at the whole image, so its {n_tiles} tiles differ from a whole-image run; \
                 `tilecast lint` says where",
                self.input.display(),
                self.geometry.analysis().global_nodes.len()
            )));
        }
        let stage = format!(
            "run {}",
            self.input.file_name().unwrap_or_default().display()
        );
        cx.emit(&Event::Started {
            stage: &stage,
            unit: "tiles",
            total: n_tiles,
        });
        let progress = |done: usize, _: usize| cx.emit(&Event::Progress { done });
        let control = RunControl {
            cancelled: cx.cancelled(),
            progress: &progress,
            max_workers: NonZeroUsize::new(chosen.n_workers),
        };
        let metadata = reader.metadata().clone();
        let target = ImageTarget {
            path: self.output,
            size: plan.output_px(),
            format: wiring.output(),
            metadata: &metadata,
        };
        write_rows(&target, |sink| {
            self.runner
                .run_rows(&mut reader, sink, plan, &wiring, &control)
        })
        .map_err(|error| match error {
            RunRowsError::Run(error) => about(error.into()),
            // These name the file themselves.
            other => other.into(),
        })?;
        let seconds = start.elapsed().as_secs_f64();
        cx.emit(&Event::Finished {
            stage: &stage,
            seconds,
        });
        let (size, tile) = (plan.output_px(), plan.tile_size());
        Ok(RunImage {
            input: self.input.display().to_string(),
            output: self.output.display().to_string(),
            width: size.width,
            height: size.height,
            tile: plan.tile_px(),
            tile_width: tile.width,
            tile_height: tile.height,
            tiles: n_tiles,
            sweeps: 1,
            workers: Some(chosen.n_workers),
            peak_bytes: Some(chosen.peak_bytes),
            decisions: self.tiler.decisions(&chosen),
            seconds,
        })
    }

    /// How the planes of the image go through the network, and what the output file makes of the result.
    fn wiring(&self, reader: &ImageReader) -> Result<Wiring, Failure> {
        // How many planes the network gives does not depend on the size of the tile.
        let smallest = self.geometry.smallest_tile();
        let wiring = self
            .runner
            .wiring(smallest, self.geometry.scale(), reader.format())?;
        let output = format_in_file(self.output, wiring.output())?;
        Ok(wiring.with_output(output))
    }

    fn choose(&self, reader: &ImageReader, wiring: &Wiring) -> Result<ChosenTiles, Failure> {
        let (input, output) = (reader.format(), wiring.output());
        let rows = |plan: &TilePlan| resident_rows_bytes(plan, input, output) as u64;
        let scale = self.geometry.scale();
        let output_px = Size {
            height: reader.size().height.saturating_mul(scale),
            width: reader.size().width.saturating_mul(scale),
        };
        let image = ImageMemory {
            planes_in_flight: wiring.planes_in_flight(),
            files_bytes: reader
                .resident_bytes()
                .saturating_add(writer_resident_bytes(self.output, output_px, output)?),
        };
        let budget = self.settings.memory_bytes;
        match self.settings.tiles {
            TileSelection::Fitting if self.geometry.fixed_tile().is_none() => {
                self.tiler.choose(reader.size(), image, budget, &rows)
            }
            // A model that takes one size has the tiles of that size, whatever is asked for.
            TileSelection::Fitting | TileSelection::Side(_) => {
                let side = match self.settings.tiles {
                    TileSelection::Side(side) => side,
                    TileSelection::Fitting => 1,
                };
                let plan = self.geometry.plan(reader.size(), Some(side))?;
                Ok(self.tiler.predict(plan, image, budget, &rows))
            }
        }
    }
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

#[cfg(test)]
mod tests;
