//! `run --sweeps`: images are held whole, because every sweep reads all of their tiles.

use std::path::{Path, PathBuf};
use std::time::Instant;

use tilecast_exec::Engine;
use tilecast_onnx::Model;
use tilecast_tile::{
    Alpha, BitDepth, Colour, ImageReader, ImageTarget, Metadata, PixelFormat, PlanarImage,
    ProcessMemory, ReadLimits, RowSource, RunControl, RunTiledError, Size, WriteImageError,
    format_in_file, write_rows,
};

use super::run::{RunImage, RunOutcome, RunSettings, TileSelection};
use crate::context::{Context, Event};
use crate::feed::Feeding;
use crate::geometry::Geometry;
use crate::tiled::{ImageRunner, Sweeping, equivalence};
use crate::{Failure, FailureKind};

/// Side of the tiles where none is asked for, pixels.
const DEFAULT_SIDE_PX: usize = 512;

/// Runs the images with swept statistics. Pixels stay as they are stored, and what the file says besides is kept.
///
/// # Errors
/// A file cannot be read or written, a tile cannot be run, or the user interrupts.
#[expect(
    clippy::too_many_arguments,
    reason = "all of it is what a run over images is"
)]
pub(super) fn run(
    settings: &RunSettings,
    engine: &dyn Engine,
    feeding: &Feeding,
    model: &Model,
    geometry: &Geometry,
    sweeping: &Sweeping,
    images: &[(PathBuf, PathBuf)],
    cx: &Context<'_>,
) -> Result<RunOutcome, Failure> {
    let analysis = geometry.analysis();
    let side_px = match settings.tiles {
        TileSelection::Side(side_px) => side_px,
        TileSelection::Fitting | TileSelection::Adaptive(_) => DEFAULT_SIDE_PX,
    };
    let runner = ImageRunner::new(
        engine,
        model,
        Some(sweeping),
        feeding.value_range,
        settings.memory_bytes,
    )?;
    let n_local = sweeping.facts().left_out.len();
    let mut all_statistics_exact = true;
    let mut done = Vec::new();
    for (input, output) in images {
        cx.check()?;
        let start = Instant::now();
        let stored = Stored::read(input, &runner, settings.memory_bytes)?;
        for note in &stored.notes {
            cx.emit(&Event::Warning(&format!("{}: {note}", input.display())));
        }
        let image = &stored.image;
        let plan = geometry
            .plan(image.size(), Some(side_px))
            .map_err(|f| f.about(input.display()))?;
        let n_tiles = plan.n_tiles();
        if n_tiles > 1 && n_local > 0 {
            cx.emit(&Event::Warning(&format!(
                "{}: {n_local} node(s) look at the whole image and cannot be swept, so its {n_tiles} tiles differ from a \
                 whole-image run; `tilecast lint` says where",
                input.display(),
            )));
        }
        let stage = format!("run {}", input.file_name().unwrap_or_default().display());
        cx.emit(&Event::Started {
            stage: &stage,
            unit: "tiles",
            total: n_tiles * sweeping.limit(),
        });
        let progress = |done: usize, _: usize| cx.emit(&Event::Progress { done });
        let control = RunControl {
            cancelled: cx.cancelled(),
            progress: &progress,
            max_workers: None,
        };
        let result = runner
            .run(image, &plan, &control)
            .map_err(|e| e.about(input.display()))?;
        stored.write_result(output, &result.image)?;
        all_statistics_exact &= result.statistics_exact;
        let seconds = start.elapsed().as_secs_f64();
        cx.emit(&Event::Finished {
            stage: &stage,
            seconds,
        });
        let (size, tile) = (result.image.size(), plan.tile_size());
        done.push(RunImage {
            input: input.display().to_string(),
            output: output.display().to_string(),
            width: size.width,
            height: size.height,
            tile: plan.tile_px(),
            tile_width: tile.width,
            tile_height: tile.height,
            tiles: n_tiles,
            measured: None,
            preview: None,
            sweeps: result.n_sweeps,
            workers: None,
            peak_bytes: None,
            decisions: Vec::new(),
            seconds,
        });
    }
    Ok(RunOutcome {
        schema: "tilecast.run/1",
        engine: settings.engine.name(),
        halo_px: analysis.halo_px,
        mode: "exact",
        equivalence: equivalence(analysis, Some(sweeping), all_statistics_exact),
        memory_bytes: settings.memory_bytes,
        process_peak_bytes: ProcessMemory::now().map(|memory| memory.peak_bytes),
        images: done,
    })
}

/// An image file as it is stored.
struct Stored {
    format: PixelFormat,
    metadata: Metadata,
    /// What will not be in a file that is made from it.
    notes: Vec<String>,
    /// As many planes as the network takes.
    image: PlanarImage,
}

impl Stored {
    /// Reads a file whose image and result may be in memory; a grey image is repeated for a network that takes three planes.
    ///
    /// # Errors
    /// The file cannot be read, or its pixels are of no use to the network.
    fn read(path: &Path, runner: &ImageRunner<'_>, memory_bytes: u64) -> Result<Self, Failure> {
        let limits = ReadLimits {
            max_bytes: memory_bytes,
            ..ReadLimits::default()
        };
        let mut reader = ImageReader::open(path, &limits)?;
        let (format, Size { height, width }) = (reader.format(), reader.size());
        if format.alpha != Alpha::None {
            let reason = format!(
                "`{}` has an alpha channel, which sweeps do not carry over",
                path.display()
            );
            return Err(Failure::new(FailureKind::Usage, reason)
                .with_help("flatten it onto a background, or run it without --sweeps"));
        }
        let (own, fed) = (format.planes(), runner.network_planes());
        if own > fed {
            let error = RunTiledError::Planes {
                colour: format.colour,
                fed,
                given: fed,
            };
            return Err(Failure::from(error).about(path.display()));
        }
        let n_pixels = height * width;
        let mut planes = vec![0.0; fed * n_pixels];
        let mut row = vec![0.0; width * own];
        for y in 0..height {
            reader.read_row(&mut row)?;
            for (plane, values) in planes.chunks_exact_mut(n_pixels).enumerate() {
                let samples = row.iter().skip(plane.min(own - 1)).step_by(own);
                for (value, sample) in values[y * width..][..width].iter_mut().zip(samples) {
                    *value = *sample;
                }
            }
        }
        Ok(Self {
            format,
            metadata: reader.metadata().clone(),
            notes: reader.notes().to_vec(),
            image: PlanarImage::new(fed, reader.size(), planes, BitDepth::Sixteen),
        })
    }

    /// Writes what became of the image, with the samples and the metadata of its file. A grey image becomes a grey one: the
    /// mean of the planes.
    fn write_result(&self, path: &Path, result: &PlanarImage) -> Result<(), Failure> {
        let colour = match (self.format.colour, result.channels()) {
            (Colour::Rgb, 3) => Colour::Rgb,
            _ => Colour::Grey,
        };
        let format = format_in_file(
            path,
            PixelFormat {
                colour,
                ..self.format
            },
        )?;
        let target = ImageTarget {
            path,
            size: result.size(),
            format,
            metadata: &self.metadata,
        };
        let n = result.channels();
        write_rows(&target, |sink| -> Result<(), WriteImageError> {
            let mut row = vec![0.0; result.size().width * format.planes()];
            for y in 0..result.size().height {
                for (x, pixel) in row.chunks_exact_mut(format.planes()).enumerate() {
                    match colour {
                        Colour::Rgb => {
                            for (plane, value) in pixel.iter_mut().enumerate() {
                                *value = result.row(plane, y)[x];
                            }
                        }
                        Colour::Grey => {
                            let sum: f32 = (0..n).map(|plane| result.row(plane, y)[x]).sum();
                            pixel[0] = sum / n as f32;
                        }
                    }
                }
                sink.write_row(&row)?;
            }
            Ok(())
        })?;
        Ok(())
    }
}
