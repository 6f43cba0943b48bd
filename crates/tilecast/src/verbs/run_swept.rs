//! `run --sweeps`: images are held whole, because every sweep reads all of their tiles.

use std::path::PathBuf;
use std::time::Instant;

use tilecast_exec::Engine;
use tilecast_onnx::Model;
use tilecast_tile::{ProcessMemory, RunControl, read_image, write_image};

use super::run::{RunImage, RunOutcome, RunSettings, TileSelection};
use crate::Failure;
use crate::context::{Context, Event};
use crate::feed::Feeding;
use crate::geometry::Geometry;
use crate::tiled::{ImageRunner, Sweeping, equivalence};

/// Side of the tiles where none is asked for, pixels.
const DEFAULT_SIDE_PX: usize = 512;

/// Runs the images with swept statistics. Colour profiles are kept; pixels are turned as the orientation says, and other
/// metadata is not carried over.
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
        TileSelection::Fitting => DEFAULT_SIDE_PX,
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
        let image = read_image(input)?.with_planes(Some(runner.planes()));
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
            .run(&image, &plan, &control)
            .map_err(|e| e.about(input.display()))?;
        drop(image);
        write_image(output, &result.image)?;
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
        equivalence: equivalence(analysis, Some(sweeping), all_statistics_exact),
        memory_bytes: settings.memory_bytes,
        process_peak_bytes: ProcessMemory::now().map(|memory| memory.peak_bytes),
        images: done,
    })
}
