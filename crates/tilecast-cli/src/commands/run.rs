//! `tilecast run`.

use std::fmt::Write;
use std::num::NonZeroU32;
use std::path::PathBuf;

use tilecast::recipe::{ByteSize, Sweeps};
use tilecast::{Context, Failure, RunOutcome, RunSettings, TileSelection};

use super::{DEFAULT_MEMORY_BYTES, EngineName, json, megabytes, parse_sweeps, preprocess};
use crate::printer::Output;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tilecast run net.onnx photo.tif -o result.tif --memory 2GiB")]
pub(crate) struct Arguments {
    /// ONNX model.
    model: PathBuf,
    /// Image (PNG, JPEG, TIFF) or folder of images.
    input: PathBuf,
    /// Image to write, or folder where INPUT is one.
    #[arg(short, long)]
    output: PathBuf,
    /// Most memory that the process may take, for example `512MiB`; tiles are chosen for it.
    #[arg(long, value_name = "SIZE", conflicts_with = "tile")]
    memory: Option<ByteSize>,
    /// Side fed to the network, pixels; smaller images run whole.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    tile: u32,
    /// Run all tiles so often, or `auto`, that operators that look at the whole image see it instead of their tile.
    #[arg(long, value_name = "N|auto", value_parser = parse_sweeps)]
    sweeps: Option<Sweeps>,
    /// Take means over the whole image over windows of N pixels instead, by another network that is made of the model.
    #[arg(long, value_name = "N", conflicts_with = "sweeps")]
    local_window: Option<NonZeroU32>,
    /// Engine that runs the model: tract, or ort for an installed ONNX Runtime.
    #[arg(long, value_enum, default_value_t, hide_possible_values = true)]
    engine: EngineName,
    /// Recipe whose `preprocess` says how the model is fed.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, cx: &Context<'_>) -> Result<Output, Failure> {
        let (tiles, memory_bytes) = match self.memory {
            Some(memory) => (TileSelection::Fitting, memory.bytes()),
            None => (
                TileSelection::Side(self.tile as usize),
                DEFAULT_MEMORY_BYTES,
            ),
        };
        let settings = RunSettings {
            preprocess: preprocess(self.recipe.as_deref())?,
            model: self.model,
            input: self.input,
            output: self.output,
            tiles,
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
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}: {}x{}, {} tile(s) of {}x{} px{sweeps}{workers}, {:.1} s",
            image.output,
            image.width,
            image.height,
            image.tiles,
            image.tile_width,
            image.tile_height,
            image.seconds
        );
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
