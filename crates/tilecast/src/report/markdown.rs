//! The report for people who read it in a terminal, a pull request or an editor.

use std::fmt::Write;

use super::{ArtifactReport, ModelSpeed, Report, SpeedReport, SweepReport, TilingFacts};
use crate::finite::FiniteCheck;

/// The report as GitHub-flavoured Markdown.
#[must_use]
pub fn to_markdown(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(report, &mut text);
    text
}

fn write(report: &Report, out: &mut String) -> std::fmt::Result {
    let verdict = if report.passed {
        "all gates passed"
    } else {
        "**a gate failed**"
    };
    writeln!(out, "# {}: {verdict}\n", report.recipe.name)?;
    writeln!(
        out,
        "`{}`: {} parameters, {:.2} MB, {} nodes, opset {}.\n",
        report.model.name,
        report.model.parameters,
        megabytes(report.model.bytes),
        report.model.nodes,
        report.model.opset
    )?;
    for prepared in &report.prepare {
        let [before, after] = prepared.passes.nodes;
        let largest = prepared
            .checks
            .iter()
            .map(|c| c.relative)
            .fold(0.0, f64::max);
        writeln!(
            out,
            "Prepared for {}: {before} nodes to {after}; outputs before and after differ by {largest:.1e} of their \
             range at most.\n",
            prepared.target
        )?;
    }
    artifacts(&report.artifacts, out)?;
    mixtures(&report.artifacts, out)?;
    speed(report, out)?;
    regressions(report, out)?;
    tiling(&report.tiling, out)?;
    images(&report.artifacts, out)?;
    lint(report, out)?;
    plans(&report.artifacts, out)?;
    stages(report, out)?;
    writeln!(
        out,
        "Made by {} {} from recipe `{}` (sha256 {}), model sha256 {}.",
        report.tool.name,
        report.tool.version,
        report.recipe.name,
        report.recipe.sha256,
        report.model.sha256
    )
}

fn artifacts(artifacts: &[ArtifactReport], out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "| artifact | size | of FP32 | PSNR mean / worst | SSIM | lost against truth mean / worst | verdict |"
    )?;
    writeln!(out, "|---|---:|---:|---:|---:|---:|---|")?;
    for a in artifacts {
        let q = &a.quality;
        let psnr = q.psnr_db.map_or("not finite".to_owned(), |p| {
            format!("{:.2} / {:.2} dB", p.mean, p.min)
        });
        let ssim = q.ssim.map_or("–".to_owned(), |s| format!("{:.5}", s.mean));
        let drop = q.truth.map_or("–".to_owned(), |t| {
            format!("{:.3} / {:.3} dB", t.drop_db, t.worst_drop_db)
        });
        writeln!(
            out,
            "| `{}` | {:.2} MB | {:.3} | {psnr} | {ssim} | {drop} | {} |",
            a.path,
            megabytes(a.bytes),
            a.bytes_ratio,
            verdict(a)
        )?;
    }
    writeln!(out)
}

/// The Pareto front of the artifacts, and that of the mixtures which were measured to meet a gate.
fn mixtures(artifacts: &[ArtifactReport], out: &mut String) -> std::fmt::Result {
    let front: Vec<String> = artifacts
        .iter()
        .filter(|a| a.on_front)
        .map(|a| format!("`{}`", a.name))
        .collect();
    if artifacts.len() > 1 {
        writeln!(
            out,
            "On the Pareto front of PSNR, size and speed: {}.\n",
            front.join(", ")
        )?;
    }
    for artifact in artifacts {
        let Some(mixture) = &artifact.mixture else {
            continue;
        };
        writeln!(
            out,
            "`{}` missed its gates in INT8 alone. Mixtures that were measured, on {} tiles (*: on their Pareto front):\n\n\
             | nodes wider | PSNR | size | work in INT8 |\n|---:|---:|---:|---:|",
            artifact.name, mixture.tiles
        )?;
        for point in &mixture.points {
            let psnr = point
                .psnr_db
                .map_or("not finite".to_owned(), |db| format!("{db:.2} dB"));
            let star = if point.on_front { "\\*" } else { "" };
            writeln!(
                out,
                "| {}{star} | {psnr} | {:.2} MB | {:.1} % |",
                point.kept,
                megabytes(point.bytes),
                100.0 * point.work_int8
            )?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// What is worse than in the baseline.
fn regressions(report: &Report, out: &mut String) -> std::fmt::Result {
    let Some(baseline) = &report.baseline else {
        return Ok(());
    };
    writeln!(out, "## Baseline\n")?;
    let n_compared = baseline.checks.iter().filter(|c| c.baseline.is_some());
    writeln!(
        out,
        "{} measures compared with `{}` (sha256 {}); worse beyond tolerance: {}.\n",
        n_compared.count(),
        baseline.file.name,
        baseline.file.sha256,
        baseline.failed().count()
    )?;
    for check in baseline.failed() {
        writeln!(out, "- **{}**: {}", check.artifact, check.found())?;
    }
    writeln!(out)
}

fn verdict(artifact: &ArtifactReport) -> String {
    let failed: Vec<String> = artifact
        .quality
        .gates
        .iter()
        .filter(|g| !g.passed)
        .map(|g| {
            let value = g
                .value
                .map_or("not measurable".to_owned(), |v| format!("{v:.3}"));
            format!("{} {} is {value}", g.gate, g.limit)
        })
        .collect();
    if artifact.quality.passed {
        return "passed".to_owned();
    }
    let failed = if artifact.quality.psnr_db.is_none() {
        "the output is not finite".to_owned()
    } else if failed.is_empty() {
        "worse than the baseline".to_owned()
    } else {
        failed.join(", ")
    };
    let blame = artifact.finite.as_ref().map(FiniteCheck::blame);
    format!("**failed**: {failed}{}", blame.unwrap_or_default())
}

fn speed(report: &Report, out: &mut String) -> std::fmt::Result {
    let speed: &SpeedReport = &report.onnxruntime;
    writeln!(out, "## Speed in ONNX Runtime\n")?;
    let Some(fp32) = &speed.fp32 else {
        let reason = speed.reason.as_deref().unwrap_or("nothing was run");
        return writeln!(
            out,
            "Not measured: {reason}. The precision plans below are a prediction of what runs in which precision.\n"
        );
    };
    let dims = speed.input.as_deref().unwrap_or_default();
    writeln!(
        out,
        "Measured with ONNX Runtime {} on the CPU, input {dims:?}: median of runs that alternate between the models, and \
         how many times faster than FP32. PSNR is against FP32 there, on one tile per held-out image.\n",
        speed.version.as_deref().unwrap_or_default()
    )?;
    write!(out, "| model |")?;
    for latency in &fp32.latency {
        let s = if latency.threads == 1 { "" } else { "s" };
        write!(out, " {} thread{s} |", latency.threads)?;
    }
    write!(out, " PSNR mean / worst |\n|---|")?;
    for _ in &fp32.latency {
        write!(out, "---:|")?;
    }
    writeln!(out, "---:|")?;
    for model in [fp32].into_iter().chain(&speed.artifacts) {
        speed_row(model, fp32.latency.len(), out)?;
    }
    writeln!(out)?;
    for (artifact, model) in report.artifacts.iter().zip(&speed.artifacts) {
        let (Some(here), Some(there)) = (artifact.quality.psnr_db, model.psnr_db) else {
            continue;
        };
        if there.mean < here.mean - NOTABLE_LOSS_DB {
            writeln!(
                out,
                "`{}` is {:.1} dB worse there than its arithmetic. INT8 kernels for x86 processors without VNNI \
                 instructions saturate; the session option `session.x64quantprecision` set to `1` avoids that and is slower.\n",
                artifact.name,
                here.mean - there.mean
            )?;
        }
    }
    Ok(())
}

/// What a runtime may lose against the arithmetic that a file asks for before the report says why, dB. The two are not
/// taken over the same tiles.
const NOTABLE_LOSS_DB: f64 = 1.0;

fn speed_row(model: &ModelSpeed, n_columns: usize, out: &mut String) -> std::fmt::Result {
    write!(out, "| {} |", model.name)?;
    if let Some(error) = &model.error {
        return writeln!(out, " {error} |{}", " – |".repeat(n_columns));
    }
    for latency in &model.latency {
        write!(
            out,
            " {:.1} ms, {:.2}× |",
            latency.median_ms, latency.speedup
        )?;
    }
    let psnr = model.psnr_db.map_or("–".to_owned(), |p| {
        format!("{:.2} / {:.2} dB", p.mean, p.min)
    });
    writeln!(out, " {psnr} |")
}

fn tiling(tiling: &TilingFacts, out: &mut String) -> std::fmt::Result {
    writeln!(out, "## Tiling\n")?;
    let halo = tiling
        .halo_px
        .map_or("unbounded".to_owned(), |h| format!("{h} px"));
    let core = tiling
        .core_px
        .map_or("none".to_owned(), |c| format!("{c} px"));
    writeln!(
        out,
        "Tile {} px, halo {halo}, core {core}, alignment {} px; class {}; halo rule `{}`, equivalence `{}`.",
        tiling.tile, tiling.alignment_px, tiling.tiling_class, tiling.mode, tiling.equivalence
    )?;
    if let Some(SweepReport {
        most,
        most_drafts,
        facts,
    }) = &tiling.sweeps
    {
        writeln!(
            out,
            "{} statistics of the whole image are swept, in at most {most} sweeps over all tiles after {most_drafts} drafts with little halo; {} sweeps \
             make them exact.",
            facts.statistics,
            facts.depth + 1
        )?;
        for decline in &facts.left_out {
            writeln!(
                out,
                "- left to the tile: {}: {}",
                decline.node, decline.reason
            )?;
        }
    }
    if let Some(window) = &tiling.local_window {
        writeln!(
            out,
            "{} means over the whole image are over windows of {} px instead: FP32 in tiles is another network than FP32 whole.",
            window.nodes, window.window_px
        )?;
        for decline in &window.left_out {
            writeln!(out, "- left as it is: {}: {}", decline.node, decline.reason)?;
        }
    }
    match &tiling.error {
        None => writeln!(
            out,
            "Every image was a single tile: tiling costs nothing here.\n"
        ),
        Some(error) => {
            let psnr = error.psnr_db.map_or("not measurable".to_owned(), |p| {
                format!("{:.2} dB mean, {:.2} dB worst", p.mean, p.min)
            });
            writeln!(
                out,
                "FP32 tiled against FP32 whole, over {} images of more than one tile: {psnr}. \
                 This is the error of tiling alone; the figures above compare models tiled alike.\n",
                error.images
            )
        }
    }
}

fn images(artifacts: &[ArtifactReport], out: &mut String) -> std::fmt::Result {
    let Some(first) = artifacts.first() else {
        return Ok(());
    };
    writeln!(out, "## Held-out images\n")?;
    write!(out, "| image | size | tiles | tiling |")?;
    for a in artifacts {
        write!(out, " {} |", a.name)?;
    }
    write!(out, "\n|---|---:|---:|---:|")?;
    for _ in artifacts {
        write!(out, "---:|")?;
    }
    writeln!(out)?;
    let db = |value: Option<f64>| value.map_or("–".to_owned(), |v| format!("{v:.2} dB"));
    for (index, image) in first.quality.images.iter().enumerate() {
        let size = format!("{}×{}", image.width, image.height);
        write!(
            out,
            "| {} | {size} | {} | {} |",
            image.name,
            image.tiles,
            db(image.tiling_psnr_db)
        )?;
        for a in artifacts {
            write!(out, " {} |", db(a.quality.images[index].psnr_db))?;
        }
        writeln!(out)?;
    }
    writeln!(out)
}

fn lint(report: &Report, out: &mut String) -> std::fmt::Result {
    writeln!(out, "## Lint\n")?;
    if report.lint.is_empty() {
        return writeln!(out, "Nothing found.\n");
    }
    for finding in &report.lint {
        writeln!(
            out,
            "- {} **{}** `{}`: {} ({})",
            finding.severity, finding.code, finding.node, finding.message, finding.help
        )?;
    }
    writeln!(out)
}

/// The plan, nodes with the same precision and reason taken together.
fn plans(artifacts: &[ArtifactReport], out: &mut String) -> std::fmt::Result {
    writeln!(out, "## Precision plans\n")?;
    for a in artifacts {
        writeln!(out, "`{}`, target {}:\n", a.name, a.target)?;
        let mut groups: Vec<(&str, &str, Vec<&str>)> = Vec::new();
        for node in &a.plan {
            match groups
                .iter_mut()
                .find(|(p, r, _)| *p == node.precision && *r == node.reason)
            {
                Some((_, _, nodes)) => nodes.push(&node.node),
                None => groups.push((node.precision, &node.reason, vec![&node.node])),
            }
        }
        for (precision, reason, nodes) in groups {
            const SHOWN: usize = 3;
            let named: Vec<String> = nodes.iter().take(SHOWN).map(|n| format!("`{n}`")).collect();
            let more = nodes.len().saturating_sub(SHOWN);
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            writeln!(
                out,
                "- {precision}, {reason}: {} nodes ({}{more})",
                nodes.len(),
                named.join(", ")
            )?;
        }
        if let Some(prediction) = &a.prediction {
            for line in prediction.to_text().lines() {
                writeln!(out, "- {}", line.trim_start())?;
            }
        }
        for declined in a.passes.iter().flat_map(|p| &p.declined) {
            writeln!(
                out,
                "- left alone: {} because {}",
                declined.node, declined.reason
            )?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn stages(report: &Report, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "## Stages\n\n| stage | seconds | peak memory |\n|---|---:|---:|"
    )?;
    for stage in &report.stages {
        let peak = stage
            .peak_bytes
            .map_or("–".to_owned(), |b| format!("{:.0} MB", b as f64 / 1e6));
        writeln!(out, "| {} | {:.1} | {peak} |", stage.name, stage.seconds)?;
    }
    writeln!(out)
}

fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
