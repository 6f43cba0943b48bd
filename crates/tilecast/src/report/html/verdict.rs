//! The verdict: a row per artifact, its gates, and what is worse than in the baseline.

use maud::{Markup, html};

use super::super::checks::{found, sign};
use super::super::{ArtifactReport, GateVerdict, Report};
use super::format::{figure, megabytes, table};
use crate::baseline::BaselineReport;
use crate::finite::FiniteCheck;

pub(super) fn section(report: &Report) -> Markup {
    let rows = html! {
        thead {
            tr {
                th.name scope="col" { "artifact" }
                th scope="col" { "verdict" }
                th.n scope="col" { "PSNR mean" }
                th.n scope="col" { "worst" }
                th.n scope="col" { "size" }
                th.n scope="col" { "of FP32" }
                th.n scope="col" { "SSIM" }
                th.n scope="col" { "SSIMULACRA2" }
                th.n scope="col" { "ΔE mean" }
                th.n scope="col" { "ΔE worst" }
                th.n scope="col" { "lost" }
                th.n scope="col" { "in INT8" }
                th scope="col" { "gates" }
            }
        }
        tbody { @for artifact in &report.artifacts { (row(artifact)) } }
    };
    html! {
        (table("Artifacts. PSNR, SSIM, SSIMULACRA2 and ΔE (CIEDE2000; worst: the worst pixel) are against FP32, tiled alike; what is lost is against the truth.", &rows))
        @for artifact in &report.artifacts {
            @if let Some(check) = &artifact.finite {
                p.bad { code { (artifact.name) } " is not finite" (FiniteCheck::blame(check)) "." }
            }
        }
        @if let Some(baseline) = &report.baseline { (compared(baseline)) }
    }
}

/// A verdict as a coloured word.
pub(super) fn badge(passed: bool) -> Markup {
    let class = if passed { "badge good" } else { "badge bad" };
    html! { span class=(class) { (words(passed)) } }
}

pub(super) fn words(passed: bool) -> &'static str {
    if passed { "passed" } else { "failed" }
}

fn row(artifact: &ArtifactReport) -> Markup {
    let q = &artifact.quality;
    let psnr = q.psnr_db;
    let share = format!("{:.0} %", 100.0 * artifact.int8_share);
    html! {
        tr {
            th.name scope="row" { (artifact.name) }
            td { (badge(q.passed)) }
            td.n { (figure(psnr.map(|p| p.mean), 2, " dB")) }
            td.n { (figure(psnr.map(|p| p.min), 2, " dB")) }
            td.n { (megabytes(artifact.bytes)) }
            td.n { (format!("{:.1} %", 100.0 * artifact.bytes_ratio)) }
            td.n { (figure(q.ssim.map(|s| s.mean), 5, "")) }
            td.n { (figure(q.ssimulacra2.map(|s| s.mean), 2, "")) }
            td.n { (figure(q.delta_e.map(|d| d.mean), 3, "")) }
            td.n { (figure(q.delta_e.map(|d| d.max), 2, "")) }
            td.n { (figure(q.truth.map(|t| t.drop_db), 3, " dB")) }
            td.n { (share) }
            td {
                @if q.gates.is_empty() { span.muted { "none" } }
                ul.plain.nowrap { @for gate in &q.gates { li { (gate_line(gate)) } } }
            }
        }
    }
}

fn gate_line(gate: &GateVerdict) -> Markup {
    html! {
        code { (gate.gate) } " " (sign(gate)) " " (gate.limit) ": " (found(gate)) " "
        @if !gate.passed { (badge(false)) }
    }
}

fn compared(baseline: &BaselineReport) -> Markup {
    let rows = html! {
        thead {
            tr {
                th.name scope="col" { "artifact" }
                th scope="col" { "measure" }
                th.n scope="col" { "baseline" }
                th.n scope="col" { "now" }
                th.n scope="col" { "tolerated" }
                th scope="col" { "verdict" }
            }
        }
        tbody {
            @for check in &baseline.checks {
                tr {
                    th.name scope="row" { (check.artifact) }
                    td { code { (check.measure) } }
                    @if check.baseline.is_some() {
                        td.n { (check.show(check.baseline)) }
                        td.n { (check.show(check.value)) }
                        td.n { (check.show(check.limit)) }
                        td { (badge(check.passed)) }
                    } @else {
                        td.n { "–" }
                        td.n { (check.show(check.value)) }
                        td.n { "–" }
                        td { "new" }
                    }
                }
            }
        }
    };
    html! {
        h3 { "Against the baseline " (baseline.file.name) " " (badge(baseline.passed)) }
        details open[!baseline.passed] {
            summary { (baseline.failed().count()) " regression(s) among " (baseline.checks.len()) " measures" }
            (table("Every measure, now and in the baseline", &rows))
        }
    }
}
