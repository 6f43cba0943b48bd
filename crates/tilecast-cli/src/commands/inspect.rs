//! `tilecast inspect`.

use std::fmt::Write;
use std::path::PathBuf;

use tilecast::{Context, Failure, Inspection};

use super::{json, megabytes};
use crate::printer::Output;

/// Arguments of `inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tilecast inspect net.onnx --bind h=256,w=256")]
pub(crate) struct Arguments {
    /// ONNX model.
    model: PathBuf,
    /// Show the shapes of inputs and outputs at a size: `h=256` by the model's name of a dimension, `input:2=256`, or
    /// `input=1x3x256x256`. Repeatable, or with commas.
    #[arg(long, value_name = "NAME=N")]
    bind: Vec<String>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, cx: &Context<'_>) -> Result<Output, Failure> {
        let inspection = tilecast::inspect(&self.model, &self.bind, cx)?;
        Ok(Output::success(if self.json {
            json(&inspection)?
        } else {
            human(&inspection)
        }))
    }
}

fn human(i: &Inspection) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(i, &mut text);
    text
}

fn write(i: &Inspection, out: &mut String) -> std::fmt::Result {
    writeln!(out, "{}", i.model)?;
    writeln!(
        out,
        "  made by      {} (IR {}, opset {})",
        i.producer, i.ir_version, i.opset
    )?;
    writeln!(out, "  parameters   {}", i.parameters)?;
    let at: Vec<String> = i
        .bytes_at
        .iter()
        .map(|(name, bytes)| format!("{name} {}", megabytes(*bytes)))
        .collect();
    writeln!(
        out,
        "  size         {} now; as {}",
        megabytes(i.bytes),
        at.join(", ")
    )?;
    for (label, ports) in [("input", &i.inputs), ("output", &i.outputs)] {
        for port in ports {
            writeln!(
                out,
                "  {label:12} {} {} [{}]",
                port.name,
                port.data_type,
                port.shape.join(", ")
            )?;
        }
    }
    let mut operators: Vec<_> = i.operators.iter().collect();
    operators.sort_by_key(|(name, n)| (std::cmp::Reverse(**n), name.as_str()));
    let shown: Vec<String> = operators
        .iter()
        .take(8)
        .map(|(name, n)| format!("{n} {name}"))
        .collect();
    let more = if operators.len() > 8 {
        format!(" and {} more kinds", operators.len() - 8)
    } else {
        String::new()
    };
    writeln!(
        out,
        "  nodes        {}: {}{more}",
        i.nodes,
        shown.join(", ")
    )?;
    match (&i.tiling_class, &i.tiling_note) {
        (Some(class), _) => {
            let halo = i
                .halo_px
                .map_or("unbounded".to_owned(), |h| format!("{h} px"));
            writeln!(
                out,
                "  tiling       class {class}, halo {halo}, alignment {} px, scale {}, {} node(s) see the whole image",
                i.alignment_px.unwrap_or(1),
                i.scale.unwrap_or(1.0),
                i.global_nodes.len()
            )?;
        }
        (None, note) => writeln!(
            out,
            "  tiling       unknown: {}",
            note.as_deref().unwrap_or("not analysed")
        )?,
    }
    let mut peaks: Vec<(usize, usize)> = i
        .peak_bytes
        .iter()
        .filter_map(|(side, bytes)| Some((side.parse().ok()?, *bytes)))
        .collect();
    peaks.sort_unstable();
    let peaks: Vec<String> = peaks
        .iter()
        .map(|(side, bytes)| format!("{side} px {}", megabytes(*bytes)))
        .collect();
    writeln!(
        out,
        "  memory       {}",
        if peaks.is_empty() {
            "unknown".to_owned()
        } else {
            peaks.join(", ")
        }
    )?;
    if peaks.is_empty() {
        return writeln!(out, "  largest tile unknown");
    }
    let fits: Vec<String> = i
        .fits
        .iter()
        .map(|(tier, side)| {
            side.map_or(format!("{tier}: none"), |side| format!("{tier}: {side} px"))
        })
        .collect();
    writeln!(
        out,
        "  largest tile {} (of those above, FP32)",
        fits.join(", ")
    )
}
