//! A short Markdown page for a pull request: the verdict first, a line per artifact, the rest folded away.

use std::fmt::Write;

use super::checks::{Outcome, Suite, found, of_report, of_verification, sign};
use super::{Quality, Report};
use crate::Verification;
use crate::baseline::BaselineReport;

/// The main job's gates for a pull request.
#[must_use]
pub fn report_to_summary(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_report(report, &mut text);
    text
}

/// The gates of `verify` for a pull request.
#[must_use]
pub fn verification_to_summary(verification: &Verification) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_verification(verification, &mut text);
    text
}

fn write_report(report: &Report, out: &mut String) -> std::fmt::Result {
    verdict(
        &report.recipe.name,
        report.passed,
        &of_report(report),
        report.baseline.as_ref(),
        out,
    )?;
    writeln!(
        out,
        "| artifact | verdict | PSNR mean / worst | ΔE mean | lost | size | of FP32 | in INT8 |\n\
         |---|---|---:|---:|---:|---:|---:|---:|"
    )?;
    for a in &report.artifacts {
        writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {:.2} MB | {:.1} % | {:.0} % |",
            cell(&a.name),
            word(a.quality.passed),
            psnr(&a.quality),
            delta_e(&a.quality),
            lost(&a.quality),
            a.bytes as f64 / 1e6,
            100.0 * a.bytes_ratio,
            100.0 * a.int8_share
        )?;
    }
    writeln!(out)?;
    gates(
        report
            .artifacts
            .iter()
            .map(|a| (a.name.as_str(), &a.quality)),
        out,
    )?;
    baseline(report.baseline.as_ref(), out)?;
    images(
        report
            .artifacts
            .iter()
            .map(|a| (a.name.as_str(), &a.quality)),
        out,
    )?;
    writeln!(
        out,
        "<details><summary>What this is about</summary>\n\n\
         `{}` ({} parameters, sha256 `{}`), recipe `{}` (sha256 `{}`), tilecast {}.\n",
        report.model.name,
        report.model.parameters,
        report.model.sha256,
        report.recipe.name,
        report.recipe.sha256,
        report.tool.version
    )?;
    for a in &report.artifacts {
        writeln!(out, "- `{}`: sha256 `{}`", a.path, a.sha256)?;
    }
    writeln!(out, "\n</details>")
}

fn write_verification(v: &Verification, out: &mut String) -> std::fmt::Result {
    let suite = of_verification(v);
    let name = suite.name.clone();
    verdict(&name, v.quality.passed, &[suite], v.baseline.as_ref(), out)?;
    writeln!(
        out,
        "| PSNR mean / worst | SSIM | ΔE mean | lost | size |\n|---:|---:|---:|---:|---:|\n\
         | {} | {} | {} | {} | {:.2} MB |\n",
        psnr(&v.quality),
        v.quality
            .ssim
            .map_or("–".to_owned(), |s| format!("{:.5}", s.mean)),
        delta_e(&v.quality),
        lost(&v.quality),
        v.bytes as f64 / 1e6
    )?;
    gates([(name.as_str(), &v.quality)].into_iter(), out)?;
    baseline(v.baseline.as_ref(), out)?;
    images([(name.as_str(), &v.quality)].into_iter(), out)?;
    writeln!(
        out,
        "`{}` against `{}`, run by {}.",
        v.candidate, v.reference, v.engine
    )
}

/// The heading, how many gates there were, and every one that failed.
fn verdict(
    name: &str,
    passed: bool,
    suites: &[Suite],
    baseline: Option<&BaselineReport>,
    out: &mut String,
) -> std::fmt::Result {
    let count = |outcome| suites.iter().map(|s| s.count(outcome)).sum::<usize>();
    let (met, missed) = (count(Outcome::Passed), count(Outcome::Failed));
    let verdict = if passed { "Passed" } else { "Failed" };
    writeln!(out, "### {verdict}: `{name}`\n")?;
    let against = baseline.map_or(String::new(), |b| {
        format!(", compared with the baseline `{}`", b.file.name)
    });
    writeln!(out, "{met} of {} checks passed{against}.\n", met + missed)?;
    for suite in suites {
        for check in suite.checks.iter().filter(|c| c.outcome == Outcome::Failed) {
            writeln!(out, "- **{}**: {}", cell(&suite.name), cell(&check.found))?;
        }
    }
    if missed > 0 {
        writeln!(out)?;
    }
    Ok(())
}

fn gates<'a>(
    artifacts: impl Iterator<Item = (&'a str, &'a Quality)>,
    out: &mut String,
) -> std::fmt::Result {
    writeln!(
        out,
        "<details><summary>Gates</summary>\n\n| artifact | gate | limit | value | verdict |\n|---|---|---:|---:|---|"
    )?;
    for (name, quality) in artifacts {
        for gate in &quality.gates {
            writeln!(
                out,
                "| `{}` | {} | {} {} | {} | {} |",
                cell(name),
                gate.gate,
                sign(gate),
                gate.limit,
                found(gate),
                word(gate.passed)
            )?;
        }
    }
    writeln!(out, "\n</details>\n")
}

fn baseline(baseline: Option<&BaselineReport>, out: &mut String) -> std::fmt::Result {
    let Some(baseline) = baseline else {
        return Ok(());
    };
    let n_regressions = baseline.failed().count();
    let t = &baseline.tolerances;
    writeln!(
        out,
        "<details><summary>Baseline: {n_regressions} regression(s)</summary>\n\n\
         Against `{}` (sha256 `{}`). Tolerated: {} dB, {} of SSIM, {} % of bytes, {} % of the predicted peak, {} points in INT8.\n\n\
         | artifact | measure | baseline | now | limit | verdict |\n|---|---|---:|---:|---:|---|",
        baseline.file.name,
        baseline.file.sha256,
        t.db,
        t.ssim,
        t.bytes_percent,
        t.peak_percent,
        t.int8_points
    )?;
    for check in &baseline.checks {
        let limited = |value| match check.baseline {
            Some(_) => check.show(value),
            None => "–".to_owned(),
        };
        writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {} |",
            cell(&check.artifact),
            check.measure,
            limited(check.baseline),
            check.show(check.value),
            limited(check.limit),
            match check.baseline {
                Some(_) => word(check.passed),
                None => "new",
            }
        )?;
    }
    writeln!(out, "\n</details>\n")
}

/// A line per image, a column per artifact.
fn images<'a>(
    artifacts: impl Iterator<Item = (&'a str, &'a Quality)>,
    out: &mut String,
) -> std::fmt::Result {
    let artifacts: Vec<(&str, &Quality)> = artifacts.collect();
    let Some((_, first)) = artifacts.first() else {
        return Ok(());
    };
    writeln!(
        out,
        "<details><summary>PSNR of {} images</summary>\n",
        first.images.len()
    )?;
    write!(out, "| image |")?;
    for (name, _) in &artifacts {
        write!(out, " {} |", cell(name))?;
    }
    write!(out, "\n|---|")?;
    for _ in &artifacts {
        write!(out, "---:|")?;
    }
    writeln!(out)?;
    for (index, image) in first.images.iter().enumerate() {
        write!(out, "| {} |", cell(&image.name))?;
        for (_, quality) in &artifacts {
            let psnr = quality.images[index].psnr_db;
            let psnr = psnr.map_or("not finite".to_owned(), |db| format!("{db:.2} dB"));
            write!(out, " {psnr} |")?;
        }
        writeln!(out)?;
    }
    writeln!(out, "\n</details>\n")
}

fn word(passed: bool) -> &'static str {
    if passed { "passed" } else { "**failed**" }
}

fn psnr(quality: &Quality) -> String {
    quality.psnr_db.map_or("not finite".to_owned(), |p| {
        format!("{:.2} / {:.2} dB", p.mean, p.min)
    })
}

fn delta_e(quality: &Quality) -> String {
    quality
        .delta_e
        .map_or("–".to_owned(), |d| format!("{:.3}", d.mean))
}

fn lost(quality: &Quality) -> String {
    quality
        .truth
        .map_or("–".to_owned(), |t| format!("{:.3} dB", t.drop_db))
}

/// Text inside a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
