//! `tilecast simplify`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use tilecast::{Context, Failure, SimplifyOutcome, SimplifySettings};

use super::{json, megabytes};
use crate::printer::Output;

/// Arguments of `simplify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tilecast simplify net.onnx -o net-simple.onnx --explain")]
pub(crate) struct Arguments {
    /// ONNX model.
    model: PathBuf,
    /// Model to write.
    #[arg(short, long)]
    output: PathBuf,
    /// Runtime that the model is made for.
    #[arg(long, default_value = "generic")]
    target: String,
    /// Fix an input size: `h=256` by the model's name of a dimension, `input:2=256`, or `input=1x3x256x256`. Repeatable, or
    /// with commas.
    #[arg(long, value_name = "NAME=N")]
    bind: Vec<String>,
    /// Newest opset that the model may get where a fusion needs a newer one than it has; without this it keeps its own.
    #[arg(long, value_name = "N")]
    opset: Option<i64>,
    /// Stop after this many rewrites.
    #[arg(long, value_name = "N")]
    stop_after: Option<usize>,
    /// Write the model after each rewrite into this folder.
    #[arg(long, value_name = "DIR")]
    dump: Option<PathBuf>,
    /// Also print what was left alone, and why.
    #[arg(long)]
    explain: bool,
    /// Print one JSON document.
    #[arg(long, conflicts_with = "explain")]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, cx: &Context<'_>) -> Result<Output, Failure> {
        let settings = SimplifySettings {
            model: self.model,
            output: self.output,
            target: self.target,
            bind: self.bind,
            max_opset: self.opset,
            stop_after: self.stop_after,
            dump: self.dump,
        };
        let outcome = tilecast::simplify(&settings, cx)?;
        if self.json {
            return Ok(Output::success(json(&outcome)?));
        }
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = write(&outcome, &mut text);
        if self.explain {
            for left in &outcome.report.declined {
                let _ = writeln!(
                    text,
                    "left alone by {}: {}: {}",
                    left.pass, left.decline.node, left.decline.reason
                );
            }
        }
        Ok(Output::success(text))
    }
}

fn write(outcome: &SimplifyOutcome, out: &mut String) -> std::fmt::Result {
    let report = &outcome.report;
    let [before, after] = report.nodes;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for step in &report.steps {
        *counts.entry(step.pass).or_default() += 1;
    }
    writeln!(
        out,
        "{}: {before} nodes to {after}, {} to {}",
        outcome.path,
        megabytes(outcome.bytes[0]),
        megabytes(outcome.bytes[1])
    )?;
    if let [old, new] = outcome.opset
        && old != new
    {
        writeln!(out, "  opset {old} to {new}")?;
    }
    for (pass, times) in counts {
        writeln!(out, "  {pass}: {times} time(s)")?;
    }
    for check in &outcome.checks {
        let [height, width] = check.size_px;
        writeln!(
            out,
            "  unchanged at {width}x{height} px: largest difference {:.1e}, {:.1e} of the output's range",
            check.max_abs, check.relative
        )?;
    }
    if !report.reached_fixpoint() {
        writeln!(out, "  there may be more to do: the passes were stopped")?;
    }
    Ok(())
}
