//! `tilecast run`.

use std::fmt::Write;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use tilecast::recipe::{ByteSize, Sweeps};
use tilecast::{Context, Failure, RunOutcome, RunSettings, TileMode, TileSelection};

use super::{
    DEFAULT_MEMORY_BYTES, EngineName, free_memory, json, megabytes, parse_sweeps, preprocess,
};
use crate::printer::Output;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tilecast run net.onnx photo.tif -o result.tif --memory 2GiB")]
pub(crate) struct Arguments {
    /// ONNX model.
    model: PathBuf,
    /// Image (PNG, JPEG, TIFF, WebP) or folder of images.
    input: PathBuf,
    /// Image to write, or folder where INPUT is one.
    #[arg(short, long)]
    output: PathBuf,
    /// Most memory that the process may take, for example `512MiB`; tiles are chosen for it.
    #[arg(long, value_name = "SIZE", conflicts_with = "tile")]
    memory: Option<ByteSize>,
    /// Side fed to the network, pixels. Without it and `--memory`, free memory decides.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    tile: Option<u32>,
    /// Context of tiles: exact, as the graph says, or measured, the least within the tolerance.
    #[arg(
        long,
        value_enum,
        default_value_t,
        conflicts_with = "sweeps",
        hide_possible_values = true
    )]
    mode: ModeName,
    /// Largest difference that measured context may make, as a share of the range of values.
    #[arg(long, value_name = "SHARE", default_value_t = DEFAULT_TOLERANCE, value_parser = tolerance)]
    tolerance: f32,
    /// Write an image of 1/N of the size first, as `NAME-preview` beside the output.
    #[arg(long, value_name = "N", value_parser = preview)]
    preview: Option<NonZeroUsize>,
    /// Sweeps over all tiles, or `auto`, so that global operators see the whole image.
    #[arg(long, value_name = "N|auto", value_parser = parse_sweeps)]
    sweeps: Option<Sweeps>,
    /// Take means over the whole image over windows of N pixels instead: another network.
    #[arg(long, value_name = "N", conflicts_with = "sweeps")]
    local_window: Option<NonZeroU32>,
    /// Engine that runs the model: tract, or ort for an installed ONNX Runtime.
    #[arg(long, value_enum, default_value_t, hide_possible_values = true)]
    engine: EngineName,
    /// Recipe whose `preprocess` says how the model is fed, and whose `tiling.free_memory` which tiles it is run in.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, cx: &Context<'_>) -> Result<Output, Failure> {
        let (tiles, memory_bytes) = match (self.memory, self.tile) {
            (Some(memory), _) => (TileSelection::Fitting, memory.bytes()),
            (None, Some(side)) => (TileSelection::Side(side as usize), DEFAULT_MEMORY_BYTES),
            (None, None) => (
                TileSelection::Adaptive(free_memory(self.recipe.as_deref())?),
                DEFAULT_MEMORY_BYTES,
            ),
        };
        let settings = RunSettings {
            preprocess: preprocess(self.recipe.as_deref())?,
            model: self.model,
            input: self.input,
            output: self.output,
            tiles,
            mode: match self.mode {
                ModeName::Exact => TileMode::Exact,
                ModeName::Measured => TileMode::Measured {
                    tolerance: self.tolerance,
                },
            },
            preview: self.preview,
            sweeps: self.sweeps,
            local_window: self.local_window,
            memory_bytes,
            engine: self.engine.choice(),
        };
        let outcome = tilecast::run(&settings, cx)?;
        Ok(Output::success(if self.json {
            json(&outcome)?
        } else {
            human(&outcome)
        }))
    }
}

/// Modes, as `--mode` names them.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum ModeName {
    /// As much as the graph says; tiles meet at a line.
    #[default]
    Exact,
    /// The least that keeps within the tolerance on places of each image; tiles fade into each other.
    Measured,
}

/// Half a step of 8 bits, about.
const DEFAULT_TOLERANCE: f32 = 0.002;

/// The value of `--tolerance`.
fn tolerance(text: &str) -> Result<f32, String> {
    let share = text.parse::<f32>().ok();
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| format!("`{text}` is no share; a number from 0 to 1 is expected"))
}

/// The value of `--preview`.
fn preview(text: &str) -> Result<NonZeroUsize, String> {
    let factor = text.parse::<NonZeroUsize>().ok();
    factor.filter(|factor| factor.get() > 1).ok_or_else(|| {
        format!("`{text}` makes no image smaller; a whole number from 2 is expected")
    })
}

fn human(outcome: &RunOutcome) -> String {
    let mut text = String::new();
    for image in &outcome.images {
        let workers = image
            .workers
            .map_or_else(String::new, |n| format!(", {n} at a time"));
        let sweeps = match image.sweeps {
            1 => String::new(),
            n => format!(" in {n} sweeps"),
        };
        let drafts = match image.drafts {
            0 => String::new(),
            n => format!(" after {n} draft(s)"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}: {}x{}, {} tile(s) of {}x{} px{sweeps}{drafts}{workers}, {:.1} s",
            image.output,
            image.width,
            image.height,
            image.tiles,
            image.tile_width,
            image.tile_height,
            image.seconds
        );
        if let Some(preview) = &image.preview {
            let _ = writeln!(text, "  preview: {preview}");
        }
        for decision in &image.decisions {
            let _ = writeln!(text, "  {decision}");
        }
        if let Some(peak_bytes) = image.peak_bytes {
            let _ = writeln!(
                text,
                "  memory: {} predicted of {} allowed",
                megabytes(peak_bytes as usize),
                megabytes(outcome.memory_bytes as usize),
            );
        }
    }
    if let Some(bytes) = outcome.process_peak_bytes {
        let _ = writeln!(text, "memory taken: {}", megabytes(bytes as usize));
    }
    text
}
