//! `tilecast convert`.

use std::fmt::Write;
use std::path::PathBuf;

use tilecast::{
    Context, ConvertCheck, ConvertOutcome, ConvertPrecision, ConvertSettings, Failure, Int8Extent,
    PlannedNode, RangeSource,
};

use super::{DEFAULT_MEMORY_BYTES, json, megabytes, preprocess};
use crate::printer::Output;

/// Arguments of `convert`.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  tilecast convert net.onnx --to int8 --target ort-cpu --calibration photos -o net-int8.onnx"
)]
pub(crate) struct Arguments {
    /// FP32 ONNX model.
    model: PathBuf,
    /// Precision: fp16, bf16, int8, or int8-dynamic for whole images.
    #[arg(long, value_enum, hide_possible_values = true)]
    to: To,
    /// Model to write.
    #[arg(short, long)]
    output: PathBuf,
    /// Folder of images to calibrate on; INT8 needs one, FP16 and BF16 leave fewer nodes in FP32 with one.
    #[arg(long, value_name = "DIR")]
    calibration: Option<PathBuf>,
    /// Table of `tilecast calibrate`, instead of images.
    #[arg(long, value_name = "TABLE")]
    calibration_table: Option<PathBuf>,
    /// How INT8 ranges are chosen: minmax, mean-minmax, percentile, entropy or mse.
    #[arg(long, value_name = "METHOD", default_value = "percentile")]
    range: String,
    /// Runtime that the model is made for.
    #[arg(long, default_value = "generic")]
    target: String,
    /// Side fed to the network while calibrating, pixels.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    tile: u32,
    /// Convert the model as it is, not simplified first.
    #[arg(long)]
    no_simplify: bool,
    /// Give inputs and outputs the precision too.
    #[arg(long)]
    convert_io: bool,
    /// Input or output that keeps float32 all the same; may be repeated.
    #[arg(long, value_name = "NAME", requires = "convert_io")]
    keep_io: Vec<String>,
    /// Leave out documentation, metadata and recorded shapes.
    #[arg(long)]
    strip_metadata: bool,
    /// Write the model although its outputs are not finite.
    #[arg(long)]
    force: bool,
    /// Do not run the converted model before it is written.
    #[arg(long, conflicts_with = "force")]
    no_check: bool,
    /// Give INT8 also to what is no faster with it.
    #[arg(long)]
    int8_everywhere: bool,
    /// End with 1 where no node is worth INT8 on the target.
    #[arg(long)]
    require_int8: bool,
    /// Fix an input size of the written model: `h=256` by the model's name of a dimension, `input:2=256`, or
    /// `input=1x3x256x256`. Repeatable, or with commas.
    #[arg(long, value_name = "NAME=N")]
    bind: Vec<String>,
    /// Recipe whose `preprocess` says how the model is fed.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum To {
    /// Half precision.
    Fp16,
    /// bfloat16: the range of float32 with 8 significant bits.
    Bf16,
    /// 8-bit integers between quantize-dequantize pairs.
    Int8,
    /// 8-bit integers in matrix products, on ranges taken while the model runs: for whole images, not for tiles.
    Int8Dynamic,
}

impl Arguments {
    pub(super) fn run(self, cx: &Context<'_>) -> Result<Output, Failure> {
        let settings = ConvertSettings {
            preprocess: preprocess(self.recipe.as_deref())?,
            model: self.model,
            to: match self.to {
                To::Fp16 => ConvertPrecision::Fp16,
                To::Bf16 => ConvertPrecision::Bf16,
                To::Int8 | To::Int8Dynamic => ConvertPrecision::Int8,
            },
            range_source: match self.to {
                To::Int8Dynamic => RangeSource::Dynamic,
                _ => RangeSource::Static,
            },
            output: self.output,
            calibration: self.calibration,
            table: self.calibration_table,
            range: self.range,
            target: self.target,
            tile_px: self.tile as usize,
            memory_bytes: DEFAULT_MEMORY_BYTES,
            simplify: !self.no_simplify,
            convert_io: self.convert_io,
            keep_io: self.keep_io,
            strip_metadata: self.strip_metadata,
            bind: self.bind,
            int8: if self.int8_everywhere {
                Int8Extent::Everywhere
            } else {
                Int8Extent::Worthwhile
            },
            check: match (self.no_check, self.force) {
                (true, _) => ConvertCheck::Skip,
                (false, true) => ConvertCheck::Warn,
                (false, false) => ConvertCheck::Refuse,
            },
        };
        let outcome = tilecast::convert(&settings, cx)?;
        let passed =
            !self.require_int8 || outcome.nodes.contains_key(ConvertPrecision::Int8.name());
        if self.json {
            return Ok(Output::gated(json(&outcome)?, passed));
        }
        let nodes: Vec<String> = outcome
            .nodes
            .iter()
            .map(|(precision, n)| format!("{n} {precision}"))
            .collect();
        let mut text = format!(
            "{}: {}, {:.3} of the input; nodes: {}\n",
            outcome.path,
            megabytes(outcome.bytes),
            outcome.bytes_ratio,
            nodes.join(", ")
        );
        text += &kept_single(&outcome);
        if let Some(prediction) = &outcome.prediction {
            text += &prediction.to_text();
        }
        if let Some(check) = &outcome.finite {
            // Writing to a string cannot fail.
            let _ = match check.in_outputs {
                0 => writeln!(text, "outputs are finite on {}", check.on),
                n => writeln!(text, "{n} output elements are not finite on {}", check.on),
            };
        }
        if let Some(advice) = &outcome.advice {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{advice}");
        }
        Ok(Output::gated(text, passed))
    }
}

/// The nodes that were kept in FP32, with their reasons; more than a screen of them is cut.
fn kept_single(outcome: &ConvertOutcome) -> String {
    const SHOWN: usize = 12;
    let kept: Vec<&PlannedNode> = outcome
        .plan
        .iter()
        .filter(|node| node.precision == ConvertPrecision::Fp32.name())
        .collect();
    let mut text = String::new();
    for node in kept.iter().take(SHOWN) {
        let _ = writeln!(text, "  fp32: {} ({}): {}", node.node, node.op, node.reason);
    }
    if kept.len() > SHOWN {
        let _ = writeln!(text, "  and {} more; --json lists all", kept.len() - SHOWN);
    }
    text
}
