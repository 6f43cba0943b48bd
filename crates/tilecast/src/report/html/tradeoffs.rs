//! What each artifact gives for its size and speed, the mixtures that were tried, and how sensitive nodes are.

use maud::{Markup, html};

use super::super::{ModelSpeed, Report, SpeedReport};
use super::format::{figure, inline, megabytes, table};
use super::plots::{Point, bar, scatter};
use crate::sensitivity::Mixture;

/// Nodes of a sensitivity ranking that are shown without unfolding.
const SHOWN: usize = 12;

/// `None` where there is nothing to compare.
pub(super) fn section(report: &Report) -> Option<Markup> {
    let has_mixture = report.artifacts.iter().any(|a| a.mixture.is_some());
    let speed = &report.onnxruntime;
    if report.artifacts.len() < 2 && !has_mixture && speed.fp32.is_none() {
        return None;
    }
    Some(html! {
        div.plots {
            @if report.artifacts.len() > 1 { (pareto_of_size(report)) }
            @if speed.fp32.is_some() { (pareto_of_speed(report)) }
        }
        @for artifact in &report.artifacts {
            @if let Some(mixture) = &artifact.mixture {
                h3 { "Mixtures of " (artifact.name) }
                (mixtures(&artifact.name, mixture))
            }
        }
        (measured_speed(speed))
    })
}

fn pareto_of_size(report: &Report) -> Markup {
    let points: Vec<Point> = report
        .artifacts
        .iter()
        .filter_map(|a| {
            Some(Point {
                x: a.bytes as f64 / 1e6,
                y: a.quality.psnr_db?.mean,
                name: a.name.clone(),
                is_front: a.on_front,
            })
        })
        .collect();
    let description = describe(&points, "MB", "dB");
    html! {
        figure {
            figcaption { "Quality for size. Filled: no other artifact is at least as good in everything." }
            (scatter(&points, ["size, MB", "PSNR, dB"], &description, false))
        }
    }
}

fn pareto_of_speed(report: &Report) -> Markup {
    let speeds = report.onnxruntime.artifacts.iter();
    let points: Vec<Point> = report
        .artifacts
        .iter()
        .zip(speeds)
        .filter_map(|(a, speed)| {
            Some(Point {
                x: speed.latency.last()?.speedup,
                y: a.quality.psnr_db?.mean,
                name: a.name.clone(),
                is_front: a.on_front,
            })
        })
        .collect();
    let description = describe(&points, "times FP32's speed", "dB");
    html! {
        figure {
            figcaption { "Quality for speed in ONNX Runtime on the machine that made this page, with the most threads measured." }
            (scatter(&points, ["speed, FP32 = 1", "PSNR, dB"], &description, false))
        }
    }
}

/// The points in words.
fn describe(points: &[Point], x_unit: &str, y_unit: &str) -> String {
    let all: Vec<String> = points
        .iter()
        .map(|p| format!("{}: {:.2} {x_unit}, {:.2} {y_unit}", p.name, p.x, p.y))
        .collect();
    all.join("; ")
}

fn mixtures(name: &str, mixture: &Mixture) -> Markup {
    let points: Vec<Point> = mixture
        .points
        .iter()
        .filter_map(|p| {
            Some(Point {
                x: 100.0 * p.work_int8,
                y: p.psnr_db?,
                name: p.kept.to_string(),
                is_front: p.on_front,
            })
        })
        .collect();
    let rows = html! {
        thead {
            tr {
                th.n scope="col" { "nodes wider" }
                th.n scope="col" { "PSNR" }
                th.n scope="col" { "size" }
                th.n scope="col" { "work in INT8" }
                th scope="col" { "on the front" }
            }
        }
        tbody {
            @for p in &mixture.points {
                tr {
                    th.n scope="row" { (p.kept) }
                    td.n { (figure(p.psnr_db, 2, " dB")) }
                    td.n { (megabytes(p.bytes)) }
                    td.n { (format!("{:.1} %", 100.0 * p.work_int8)) }
                    td { @if p.on_front { "yes" } @else { "no" } }
                }
            }
        }
    };
    html! {
        p {
            code { (name) } " missed its gates in INT8 alone; these mixtures were measured on " (mixture.tiles)
            " tiles, and " (mixture.kept) " nodes are wider in the artifact."
        }
        div.plots {
            figure {
                figcaption { "Each point is a mixture, with the number of nodes that are not INT8. Filled: on the Pareto front." }
                (scatter(&points, ["work in INT8, %", "PSNR, dB"], &describe(&points, "%", "dB"), true))
            }
            (table("Mixtures", &rows))
        }
        (sensitivity(mixture))
    }
}

/// What INT8 costs in each place alone, the most costly for what it saves first.
fn sensitivity(mixture: &Mixture) -> Markup {
    let largest = mixture
        .ranking
        .iter()
        .filter_map(|n| n.mse)
        .fold(0.0, f64::max);
    let rows = |from: usize, to: usize| {
        html! {
            thead {
                tr {
                    th.n scope="col" { "rank" }
                    th.name scope="col" { "node" }
                    th scope="col" { "operator" }
                    th.n scope="col" { "PSNR alone in INT8" }
                    th scope="col" { "its error" }
                    th.n scope="col" { "share of the work" }
                }
            }
            tbody {
                @for (index, node) in mixture.ranking.iter().enumerate().skip(from).take(to - from) {
                    tr {
                        td.n { (index + 1) }
                        th.name scope="row" { code { (node.node) } }
                        td { (node.op) }
                        td.n { (figure(node.psnr_db, 2, " dB")) }
                        td { (bar(node.mse.map_or(1.0, |mse| mse / largest.max(f64::MIN_POSITIVE)))) }
                        td.n { (format!("{:.2} %", 100.0 * node.work)) }
                    }
                }
            }
        }
    };
    let n_nodes = mixture.ranking.len();
    let shown = SHOWN.min(n_nodes);
    html! {
        h4 { "Sensitivity" }
        (table("Nodes that INT8 costs most for what it saves", &rows(0, shown)))
        @if n_nodes > shown {
            details {
                summary { "The other " (n_nodes - shown) " nodes" }
                (table("Nodes that INT8 costs less", &rows(shown, n_nodes)))
            }
        }
    }
}

fn measured_speed(speed: &SpeedReport) -> Markup {
    let Some(fp32) = &speed.fp32 else {
        let reason = speed.reason.as_deref().unwrap_or("nothing was run");
        return html! { p.muted { "Speed in ONNX Runtime was not measured: " (inline(reason)) "." } };
    };
    let rows = html! {
        thead {
            tr {
                th.name scope="col" { "model" }
                @for latency in &fp32.latency {
                    th.n scope="col" { (latency.threads) " thread(s)" }
                    th.n scope="col" { "FP32 = 1" }
                }
                th.n scope="col" { "PSNR mean" }
                th.n scope="col" { "worst" }
            }
        }
        tbody { @for model in [fp32].into_iter().chain(&speed.artifacts) { (speed_row(model, fp32.latency.len())) } }
    };
    html! {
        h3 { "Speed in ONNX Runtime " (speed.version.as_deref().unwrap_or_default()) }
        (table("Median of runs that alternate between the models; PSNR is against FP32 there, on a tile per image", &rows))
    }
}

fn speed_row(model: &ModelSpeed, n_settings: usize) -> Markup {
    html! {
        tr {
            th.name scope="row" { (model.name) }
            @if let Some(error) = &model.error {
                td colspan=(2 * n_settings + 2) { (error) }
            } @else {
                @for latency in &model.latency {
                    td.n { (format!("{:.1} ms", latency.median_ms)) }
                    td.n { (format!("{:.2}", latency.speedup)) }
                }
                td.n { (figure(model.psnr_db.map(|p| p.mean), 2, " dB")) }
                td.n { (figure(model.psnr_db.map(|p| p.min), 2, " dB")) }
            }
        }
    }
}
