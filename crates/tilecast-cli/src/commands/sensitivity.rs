//! `tilecast sensitivity`.

use std::fmt::Write;
use std::path::PathBuf;

use tilecast::{Context, Failure, SensitivityOutcome, SensitivitySettings};

use super::{DEFAULT_MEMORY_BYTES, json, onnxruntime, preprocess};
use crate::printer::Output;

/// Arguments of `sensitivity`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  tilecast sensitivity net.onnx --images photos --target ort-cpu"
)]
pub(crate) struct Arguments {
    /// FP32 ONNX model.
    model: PathBuf,
    /// Folder of images; a quarter of them is measured on, the others are calibrated on.
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Runtime that INT8 is made for.
    #[arg(long, default_value = "generic")]
    target: String,
    /// Side fed to the network, pixels.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    tile: u32,
    /// Share of the images that is held out for measuring.
    #[arg(long, default_value_t = 0.25, value_parser = share)]
    holdout: f64,
    /// Also keep the JSON document in this file.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Recipe whose `preprocess` says how the model is fed.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if share > 0.0 && share < 1.0 {
        Ok(share)
    } else {
        Err("it lies between 0 and 1".to_owned())
    }
}

impl Arguments {
    pub(super) fn run(self, cx: &Context<'_>) -> Result<Output, Failure> {
        let settings = SensitivitySettings {
            preprocess: preprocess(self.recipe.as_deref())?,
            model: self.model,
            images: self.images,
            holdout: self.holdout,
            target: self.target,
            tile_px: self.tile as usize,
            memory_bytes: DEFAULT_MEMORY_BYTES,
            output: self.output,
            onnxruntime: onnxruntime(),
        };
        let outcome = tilecast::sensitivity(&settings, cx)?;
        let text = if self.json {
            json(&outcome)?
        } else {
            human(&outcome)
        };
        Ok(Output::success(text))
    }
}

fn human(outcome: &SensitivityOutcome) -> String {
    let db = |value: Option<f64>| value.map_or("not finite".to_owned(), |v| format!("{v:.2} dB"));
    let mut text = format!(
        "{} nodes in INT8 together: {}; each alone, the most costly for what it saves first:\n",
        outcome.nodes.len(),
        db(outcome.all_int8_db)
    );
    for node in &outcome.nodes {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  {:>12}  {:5.1} % of the work  {} ({})",
            db(node.psnr_db),
            100.0 * node.work,
            node.node,
            node.op
        );
    }
    front(outcome, &mut text);
    text
}

/// Mixtures along the ranking; those that another one makes pointless have no star.
fn front(outcome: &SensitivityOutcome, text: &mut String) {
    text.push_str(
        "mixtures, with so many nodes from the head of this list wider (*: on the Pareto front):\n",
    );
    for mixture in &outcome.mixtures {
        let point = &mixture.point;
        let star = if point.on_front { '*' } else { ' ' };
        let db = point
            .psnr_db
            .map_or("not finite".to_owned(), |v| format!("{v:.2} dB"));
        let _ = write!(
            text,
            "{star} {:>3} wider  {db:>10}  {:8.2} MB  {:5.1} % of the work in INT8",
            point.kept,
            point.bytes as f64 / 1e6,
            100.0 * point.work_int8
        );
        for latency in &mixture.latency {
            let s = if latency.threads == 1 { "" } else { "s" };
            let _ = write!(
                text,
                "  {:.2}x FP32 at {} thread{s}",
                latency.speedup, latency.threads
            );
        }
        text.push('\n');
    }
    if let Some(reason) = &outcome.onnxruntime.reason {
        let _ = writeln!(text, "not timed: {reason}");
    }
}
