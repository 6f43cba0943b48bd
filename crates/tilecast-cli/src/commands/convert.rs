//! `tilecast convert`.

use std::path::PathBuf;

use tilecast::{Context, ConvertPrecision, ConvertSettings, Failure};

use super::{DEFAULT_MEMORY_BYTES, json, megabytes};
use crate::printer::Output;

/// Arguments of `convert`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// FP32 ONNX model.
    model: PathBuf,
    /// Precision; first and last convolutions and normalizations stay at FP16 in INT8 models.
    #[arg(long, value_enum)]
    to: To,
    /// Model to write.
    #[arg(short, long)]
    output: PathBuf,
    /// Folder of images to calibrate on; INT8 needs one.
    #[arg(long)]
    calibration: Option<PathBuf>,
    /// Runtime that the model is made for.
    #[arg(long, default_value = "generic")]
    target: String,
    /// Side fed to the network while calibrating, pixels.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    tile: u32,
    /// Convert the model as it is, without simplifying it for the target first.
    #[arg(long)]
    no_simplify: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum To {
    /// Half precision; inputs and outputs stay float32.
    Fp16,
    /// 8-bit integers between quantize-dequantize pairs.
    Int8,
}

impl Arguments {
    pub(super) fn run(self, cx: &Context<'_>) -> Result<Output, Failure> {
        let settings = ConvertSettings {
            model: self.model,
            to: match self.to {
                To::Fp16 => ConvertPrecision::Fp16,
                To::Int8 => ConvertPrecision::Int8,
            },
            output: self.output,
            calibration: self.calibration,
            target: self.target,
            tile_px: self.tile as usize,
            memory_bytes: DEFAULT_MEMORY_BYTES,
            simplify: !self.no_simplify,
        };
        let outcome = tilecast::convert(&settings, cx)?;
        if self.json {
            return Ok(Output::success(json(&outcome)?));
        }
        let nodes: Vec<String> = outcome
            .nodes
            .iter()
            .map(|(precision, n)| format!("{n} {precision}"))
            .collect();
        Ok(Output::success(format!(
            "{}: {}, {:.3} of the input; nodes: {}\n",
            outcome.path,
            megabytes(outcome.bytes),
            outcome.bytes_ratio,
            nodes.join(", ")
        )))
    }
}
