//! `tilecast calibrate` and `tilecast calibrate merge`.

use std::path::PathBuf;

use tilecast::{
    CalibrateOutcome, CalibrateSettings, Context, Failure, FailureKind, MergeSettings, Shard,
};

use super::{DEFAULT_MEMORY_BYTES, json, megabytes, preprocess};
use crate::printer::Output;

/// Arguments of `calibrate`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(
    after_help = "Example:\n  tilecast calibrate net.onnx --images photos -o net.calibration.json"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    merge: Option<Action>,
    /// FP32 ONNX model.
    #[arg(required = true)]
    model: Option<PathBuf>,
    /// Folder of typical inputs, of any sizes.
    #[arg(long, value_name = "DIR", required = true)]
    images: Option<PathBuf>,
    /// Table to write.
    #[arg(short, long, value_name = "TABLE", required = true)]
    output: Option<PathBuf>,
    /// Runtime that models will be made for.
    #[arg(long, default_value = "generic")]
    target: String,
    /// Side fed to the network, pixels: that of the tiles in which the model will run.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    tile: u32,
    /// Observe the model as it is, for conversions with `--no-simplify`.
    #[arg(long)]
    no_simplify: bool,
    /// Keep only the smallest and largest values: takes less time, and is enough for `--range minmax`.
    #[arg(long)]
    extremes_only: bool,
    /// Observe only one share of the images, such as 1/4; `calibrate merge` puts the tables of all shares together.
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Recipe whose `preprocess` says how the model is fed.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Put the tables of all shards together, to the bytes that one run over all images gives.
    Merge {
        /// Tables made with `--shard`, in any order.
        #[arg(required = true)]
        tables: Vec<PathBuf>,
        /// Table to write.
        #[arg(short, long, value_name = "TABLE")]
        output: PathBuf,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

impl Arguments {
    pub(super) fn run(self, cx: &Context<'_>) -> Result<Output, Failure> {
        if let Some(Action::Merge {
            tables,
            output,
            json,
        }) = self.merge
        {
            let outcome = tilecast::merge_calibrations(&MergeSettings { tables, output })?;
            return shown(&outcome, json);
        }
        let (Some(model), Some(images), Some(output)) = (self.model, self.images, self.output)
        else {
            // The parser has refused such a line already.
            return Err(Failure::new(
                FailureKind::Usage,
                "calibrate needs MODEL, --images and --output",
            ));
        };
        let settings = CalibrateSettings {
            preprocess: preprocess(self.recipe.as_deref())?,
            model,
            images,
            output,
            target: self.target,
            tile_px: self.tile as usize,
            memory_bytes: DEFAULT_MEMORY_BYTES,
            simplify: !self.no_simplify,
            bins: !self.extremes_only,
            shard: self.shard,
        };
        shown(&tilecast::calibrate(&settings, cx)?, self.json)
    }
}

fn shown(outcome: &CalibrateOutcome, as_json: bool) -> Result<Output, Failure> {
    if as_json {
        return Ok(Output::success(json(outcome)?));
    }
    Ok(Output::success(format!(
        "{}: {}{}, {} values on {} images\n",
        outcome.path,
        megabytes(outcome.bytes),
        if outcome.complete { "" } else { ", a part" },
        outcome.values,
        outcome.images,
    )))
}
