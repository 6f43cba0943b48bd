//! `tilecast quantize`.

use std::fmt::Write;
use std::path::PathBuf;

use tilecast::report::SpeedReport;
use tilecast::{Context, DryRun, Failure, QuantizeSettings, Quantized};

use super::gates::{GateArguments, regressions};
use super::{cache, json, megabytes, onnxruntime};
use crate::printer::Output;

/// Arguments of `quantize`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tilecast quantize net.yaml --set tiling.validate_tile=384")]
pub(crate) struct Arguments {
    /// Recipe (YAML).
    recipe: PathBuf,
    /// Folder for artifacts and report; `dist/<recipe name>` by default.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Change a value of the recipe; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Say what would be done, with predicted sizes and times, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Compute everything anew, and keep nothing for the next run.
    #[arg(long)]
    no_cache: bool,
    /// Folder for what is kept between runs; by default the user's cache folder, or `TILECAST_CACHE_DIR`.
    #[arg(long, value_name = "DIR", conflicts_with = "no_cache")]
    cache_dir: Option<PathBuf>,
    /// Print the report as one JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gates: GateArguments,
}

impl Arguments {
    pub(super) fn run(self, cx: &Context<'_>) -> Result<Output, Failure> {
        let settings = QuantizeSettings {
            recipe: self.recipe,
            out: self.out,
            overrides: self.overrides,
            onnxruntime: onnxruntime(),
            judging: self.gates.judging(),
            cache: if self.no_cache {
                None
            } else {
                cache::of_user(self.cache_dir)
            },
        };
        if self.dry_run {
            let plan = tilecast::dry_run(&settings, cx)?;
            return Ok(Output::success(if self.json {
                json(&plan)?
            } else {
                forecast(&plan)
            }));
        }
        let quantized = tilecast::quantize(&settings, cx)?;
        let text = if self.json {
            json(&quantized.report)?
        } else {
            summary(&quantized)
        };
        Ok(Output::gated(text, quantized.report.passed))
    }
}

/// What would be done, in words.
fn forecast(plan: &DryRun) -> String {
    let mut text = format!(
        "would write to {}, from {} images to calibrate on and {} held out:\n",
        plan.folder, plan.calibration_images, plan.holdout_images
    );
    for artifact in &plan.artifacts {
        let nodes: Vec<String> = artifact
            .nodes
            .iter()
            .map(|(p, n)| format!("{n} {p}"))
            .collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  {}: {}, {:.3} of FP32; nodes: {}",
            artifact.path,
            megabytes(artifact.bytes),
            artifact.bytes_ratio,
            nodes.join(", ")
        );
    }
    for stage in &plan.stages {
        let _ = match (stage.reused, stage.tiles) {
            (true, _) => writeln!(text, "  {}: in the cache", stage.name),
            (false, 0) => writeln!(text, "  {}: nothing to run", stage.name),
            (false, tiles) => {
                writeln!(
                    text,
                    "  {}: {tiles} tiles, about {}",
                    stage.name,
                    duration(stage.seconds)
                )
            }
        };
    }
    let _ = writeln!(
        text,
        "about {} on this machine, more where INT8 misses a gate; nothing was written",
        duration(plan.seconds)
    );
    text
}

/// Seconds or minutes.
fn duration(seconds: f64) -> String {
    if seconds < 90.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{:.0} min", seconds / 60.0)
    }
}

fn summary(quantized: &Quantized) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(quantized, &mut text);
    text
}

/// Fits 80 columns for names of usual length.
fn write(quantized: &Quantized, out: &mut String) -> std::fmt::Result {
    let report = &quantized.report;
    let width = report
        .artifacts
        .iter()
        .map(|a| a.name.len())
        .max()
        .unwrap_or(0)
        .max(8);
    writeln!(
        out,
        "{:width$}  {:>9}  {:>5}  {:>15}  {:>7}  {:>7}  verdict",
        "artifact", "size", "ratio", "PSNR mean/worst", "SSIM", "lost"
    )?;
    for a in &report.artifacts {
        let q = &a.quality;
        let psnr = q.psnr_db.map_or("not finite".to_owned(), |p| {
            format!("{:.2}/{:.2} dB", p.mean, p.min)
        });
        let ssim = q.ssim.map_or("-".to_owned(), |s| format!("{:.5}", s.mean));
        let lost = q
            .truth
            .map_or("-".to_owned(), |t| format!("{:.3} dB", t.drop_db));
        let verdict = if q.passed { "passed" } else { "FAILED" };
        writeln!(
            out,
            "{:width$}  {:>9}  {:>5.3}  {psnr:>15}  {ssim:>7}  {lost:>8}  {verdict}",
            a.name,
            megabytes(a.bytes),
            a.bytes_ratio
        )?;
        if a.precision == "int8" && a.nodes.get("int8").is_none_or(|n| *n == 0) {
            writeln!(
                out,
                "{:width$}  no node is worth INT8 on target {}; ship FP16",
                "", a.target
            )?;
        }
        for gate in q.gates.iter().filter(|g| !g.passed) {
            let value = gate
                .value
                .map_or("not measurable".to_owned(), |v| format!("{v:.3}"));
            writeln!(
                out,
                "{:width$}  gate {} {} is {value}",
                "", gate.gate, gate.limit
            )?;
        }
    }
    if let Some(psnr) = report.tiling.error.and_then(|e| e.psnr_db) {
        writeln!(
            out,
            "tiling alone, FP32 in {} px tiles against whole: {:.2}/{:.2} dB",
            report.tiling.tile, psnr.mean, psnr.min
        )?;
    }
    regressions(report.baseline.as_ref(), out)?;
    speed(&report.onnxruntime, out)?;
    writeln!(
        out,
        "report: {}",
        quantized.folder.join("report.html").display()
    )
}

/// Latencies of FP32 and of every artifact, on a line each.
fn speed(speed: &SpeedReport, out: &mut String) -> std::fmt::Result {
    let Some(fp32) = &speed.fp32 else {
        return Ok(());
    };
    writeln!(
        out,
        "in onnxruntime {}, one run on {:?}:",
        speed.version.as_deref().unwrap_or_default(),
        speed.input.as_deref().unwrap_or_default()
    )?;
    for model in [fp32].into_iter().chain(&speed.artifacts) {
        write!(out, "  {}:", model.name)?;
        if let Some(error) = &model.error {
            write!(out, " {error}")?;
        }
        for (index, latency) in model.latency.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(
                out,
                "{separator} {:.1} ms at {} thread(s) ({:.2}x)",
                latency.median_ms, latency.threads, latency.speedup
            )?;
        }
        if let Some(psnr) = model.psnr_db {
            write!(out, ", {:.2}/{:.2} dB", psnr.mean, psnr.min)?;
        }
        writeln!(out)?;
    }
    Ok(())
}
