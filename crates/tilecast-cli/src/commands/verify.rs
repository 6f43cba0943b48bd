//! `tilecast verify`.

use std::fmt::Write;
use std::path::PathBuf;

use tilecast::recipe::Sweeps;
use tilecast::report::{Gates, Quality};
use tilecast::{Context, Failure, VerifySettings};

use super::{DEFAULT_MEMORY_BYTES, EngineName, json, parse_sweeps, preprocess};
use crate::printer::Output;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  tilecast verify net.onnx net-int8.onnx --images photos --tile 256 --min-psnr 46"
)]
pub(crate) struct Arguments {
    /// Model that is right.
    reference: PathBuf,
    /// Model to judge.
    candidate: PathBuf,
    /// Folder of images.
    #[arg(long)]
    images: PathBuf,
    /// Folder of ground truth with the same file names.
    #[arg(long)]
    references: Option<PathBuf>,
    /// Side fed to the network, pixels; without it every image runs whole.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    tile: Option<u32>,
    /// Run all tiles so often, or `auto`, that operators that look at the whole image see it instead of their tile.
    #[arg(long, value_name = "N|auto", value_parser = parse_sweeps, requires = "tile")]
    sweeps: Option<Sweeps>,
    /// Least mean PSNR against REFERENCE, dB.
    #[arg(long, value_name = "DB")]
    min_psnr: Option<f64>,
    /// Most that may be lost against the ground truth in the mean, dB.
    #[arg(long, value_name = "DB", requires = "references")]
    max_drop: Option<f64>,
    /// Engine that runs the models: tract, or ort for an installed ONNX Runtime.
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
        let settings = VerifySettings {
            preprocess: preprocess(self.recipe.as_deref())?,
            reference: self.reference,
            candidate: self.candidate,
            images: self.images,
            references: self.references,
            tile_px: self.tile.map(|t| t as usize),
            sweeps: self.sweeps,
            memory_bytes: DEFAULT_MEMORY_BYTES,
            engine: self.engine.choice(),
            gates: Gates {
                min_psnr_db: self.min_psnr,
                max_drop_db: self.max_drop,
                ..Gates::default()
            },
        };
        let verification = tilecast::verify(&settings, cx)?;
        let text = if self.json {
            json(&verification)?
        } else {
            human(&verification.quality)
        };
        Ok(Output::gated(text, verification.quality.passed))
    }
}

fn human(quality: &Quality) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(quality, &mut text);
    text
}

fn write(quality: &Quality, out: &mut String) -> std::fmt::Result {
    let db = |value: Option<f64>| value.map_or("not finite".to_owned(), |v| format!("{v:.2} dB"));
    for image in &quality.images {
        writeln!(
            out,
            "{}  {}x{}  {}",
            image.name,
            image.width,
            image.height,
            db(image.psnr_db)
        )?;
    }
    writeln!(
        out,
        "PSNR mean {}, worst {}",
        db(quality.psnr_db.map(|p| p.mean)),
        db(quality.psnr_db.map(|p| p.min))
    )?;
    if let Some(truth) = &quality.truth {
        writeln!(
            out,
            "against the ground truth {:.2} dB, {:.3} dB less than the reference (worst {:.3} dB)",
            truth.psnr_db, truth.drop_db, truth.worst_drop_db
        )?;
    }
    for gate in &quality.gates {
        let value = gate
            .value
            .map_or("not measurable".to_owned(), |v| format!("{v:.3}"));
        let verdict = if gate.passed { "passed" } else { "FAILED" };
        writeln!(out, "gate {} {}: {value}, {verdict}", gate.gate, gate.limit)?;
    }
    Ok(())
}
