//! `tilecast plan`.

use std::fmt::Write;
use std::path::PathBuf;

use tilecast::recipe::ByteSize;
use tilecast::{Context, Failure, PlanOutcome, PlanSettings};

use super::{EngineName, json, megabytes, preprocess};
use crate::printer::Output;

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tilecast plan net.onnx --image 6000x4000 --memory 2GiB")]
pub(crate) struct Arguments {
    /// ONNX model.
    model: PathBuf,
    /// Width and height of the image, pixels, for example `6000x4000`.
    #[arg(long, value_name = "WxH", value_parser = size)]
    image: (u32, u32),
    /// Most memory that the process may take, for example `512MiB`.
    #[arg(long, value_name = "SIZE")]
    memory: ByteSize,
    /// Engine that will run the model: tract, or ort for an installed ONNX Runtime.
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
        let settings = PlanSettings {
            preprocess: preprocess(self.recipe.as_deref())?,
            model: self.model,
            width: self.image.0 as usize,
            height: self.image.1 as usize,
            memory_bytes: self.memory.bytes(),
            engine: self.engine.choice(),
        };
        let outcome = tilecast::plan(&settings, cx)?;
        Ok(Output::success(if self.json {
            json(&outcome)?
        } else {
            human(&outcome)
        }))
    }
}

fn human(outcome: &PlanOutcome) -> String {
    let mut text = String::new();
    let halo = outcome
        .halo_px
        .map_or("without a bound".to_owned(), |px| format!("{px} px"));
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{} tile(s) of {}x{} px, {} at a time; halo {halo}, alignment {} px, scale {}, {}",
        outcome.tiles,
        outcome.tile_width,
        outcome.tile_height,
        outcome.workers,
        outcome.alignment_px,
        outcome.scale,
        outcome.equivalence
    );
    let _ = writeln!(
        text,
        "peak memory {} (predicted)",
        megabytes(outcome.peak_bytes as usize)
    );
    for decision in &outcome.decisions {
        let _ = writeln!(text, "  {decision}");
    }
    text
}

/// Reads `6000x4000`.
fn size(text: &str) -> Result<(u32, u32), String> {
    let parse = |side: &str| side.parse::<u32>().ok().filter(|side| *side > 0);
    text.split_once(['x', 'X'])
        .and_then(|(width, height)| Some((parse(width)?, parse(height)?)))
        .ok_or_else(|| {
            format!("`{text}` is no size; write width and height, for example `6000x4000`")
        })
}
