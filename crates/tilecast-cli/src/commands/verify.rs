//! `tilecast verify`.

use std::fmt::Write;
use std::num::NonZeroU32;
use std::path::PathBuf;

use tilecast::recipe::Sweeps;
use tilecast::report::{Gates, Quality};
use tilecast::{Context, Failure, Verification, VerifySettings};

use super::gates::{GateArguments, regressions};
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
    /// Sweeps over all tiles, or `auto`, so that global operators see the whole image.
    #[arg(long, value_name = "N|auto", value_parser = parse_sweeps, requires = "tile")]
    sweeps: Option<Sweeps>,
    /// Take global means over windows of N pixels instead: other networks.
    #[arg(long, value_name = "N", requires = "tile", conflicts_with = "sweeps")]
    local_window: Option<NonZeroU32>,
    /// Least mean PSNR against REFERENCE, dB.
    #[arg(long, value_name = "DB")]
    min_psnr: Option<f64>,
    /// Most that may be lost against the ground truth in the mean, dB.
    #[arg(long, value_name = "DB", requires = "references")]
    max_drop: Option<f64>,
    /// Engine: tract, or ort, an installed ONNX Runtime.
    #[arg(long, value_enum, default_value_t, hide_possible_values = true)]
    engine: EngineName,
    /// Folder for a map of every image's error, amplified, as PNG.
    #[arg(long, value_name = "DIR")]
    error_map: Option<PathBuf>,
    /// Recipe whose `preprocess` says how the model is fed.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gate_files: GateArguments,
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
            local_window: self.local_window,
            memory_bytes: DEFAULT_MEMORY_BYTES,
            engine: self.engine.choice(),
            gates: Gates {
                min_psnr_db: self.min_psnr,
                max_drop_db: self.max_drop,
                ..Gates::default()
            },
            judging: self.gate_files.judging(),
            error_maps: self.error_map,
        };
        let verification = tilecast::verify(&settings, cx)?;
        let text = if self.json {
            json(&verification)?
        } else {
            human(&verification)
        };
        Ok(Output::gated(text, verification.quality.passed))
    }
}

fn human(verification: &Verification) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&verification.quality, &mut text)
        .and_then(|()| regressions(verification.baseline.as_ref(), &mut text));
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
    if let Some(delta_e) = quality.delta_e {
        writeln!(
            out,
            "colour difference (CIEDE2000) mean {:.3}, worst pixel {:.2}",
            delta_e.mean, delta_e.max
        )?;
    }
    if let Some(seams) = quality.seams {
        write!(
            out,
            "across tile lines {:.3} times as steep as beside them, {:.3} on the worst image",
            seams.mean_ratio, seams.max_ratio
        )?;
        match seams.max_dc_step {
            Some(step) => writeln!(out, "; largest step in brightness {step:.1e}")?,
            None => writeln!(out)?,
        }
    }
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
