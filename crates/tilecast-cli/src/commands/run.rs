//! `tilecast run`.

use std::fmt::Write;
use std::path::PathBuf;

use tilecast::recipe::Sweeps;
use tilecast::{Context, Failure, RunSettings};

use super::{DEFAULT_MEMORY_BYTES, EngineName, json, parse_sweeps};
use crate::printer::Output;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// ONNX model.
    model: PathBuf,
    /// Image (PNG, JPEG, TIFF) or folder of images.
    input: PathBuf,
    /// Image to write, or folder where INPUT is one.
    #[arg(short, long)]
    output: PathBuf,
    /// Side fed to the network, pixels; smaller images run whole.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    tile: u32,
    /// Run all tiles so often, or `auto`, that operators that look at the whole image see it instead of their tile.
    #[arg(long, value_name = "N|auto", value_parser = parse_sweeps)]
    sweeps: Option<Sweeps>,
    /// Engine that runs the model.
    #[arg(long, value_enum, default_value_t)]
    engine: EngineName,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, cx: &Context<'_>) -> Result<Output, Failure> {
        let settings = RunSettings {
            model: self.model,
            input: self.input,
            output: self.output,
            tile_px: self.tile as usize,
            sweeps: self.sweeps,
            memory_bytes: DEFAULT_MEMORY_BYTES,
            engine: self.engine.choice(),
        };
        let outcome = tilecast::run(&settings, cx)?;
        if self.json {
            return Ok(Output::success(json(&outcome)?));
        }
        let mut text = String::new();
        for image in &outcome.images {
            let sweeps = match image.sweeps {
                1 => String::new(),
                n => format!(" in {n} sweeps"),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{}: {}x{}, {} tile(s){sweeps}, {:.1} s",
                image.output, image.width, image.height, image.tiles, image.seconds
            );
        }
        Ok(Output::success(text))
    }
}
