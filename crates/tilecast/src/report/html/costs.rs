//! What things cost: memory of tiles, and time and memory of the stages that made this page.

use maud::{Markup, html};

use super::super::{Report, SweepReport, TilingFacts};
use super::format::{figure, memory as bytes, table};
use super::plots::bar;

/// Memory of tiles, and how the image is cut.
pub(super) fn memory(report: &Report) -> Markup {
    let facts = &report.memory;
    let mut sides: Vec<(usize, usize)> = facts
        .peak_bytes
        .iter()
        .filter_map(|(side, peak)| Some((side.parse().ok()?, *peak)))
        .collect();
    sides.sort_unstable();
    let largest = sides.iter().map(|(_, peak)| *peak).max().unwrap_or(1) as f64;
    let rows = html! {
        thead { tr { th.n scope="col" { "tile" } th.n scope="col" { "predicted peak" } th scope="col" { "compared" } } }
        tbody {
            @for (side, peak) in &sides {
                tr {
                    th.n scope="row" { (side) " px" }
                    td.n { (bytes(*peak as u64)) }
                    td { (bar(*peak as f64 / largest)) }
                }
            }
        }
    };
    let on_cpu = sides
        .iter()
        .rev()
        .find(|(_, peak)| *peak as u64 <= facts.limit_bytes);
    let side = |side: Option<usize>| side.map_or("none of these".to_owned(), |s| format!("{s} px"));
    let tiers = html! {
        thead { tr { th scope="col" { "memory" } th.n scope="col" { "largest tile that fits" } } }
        tbody {
            @for (tier, fits) in &facts.fits {
                tr { th scope="row" { "GPU, " (tier.replace("GiB", " GiB")) } td.n { (side(*fits)) } }
            }
            tr {
                th scope="row" { "CPU, within the recipe's " (bytes(facts.limit_bytes)) }
                td.n { (side(on_cpu.map(|(side, _)| *side))) }
            }
        }
    };
    let of_artifacts = html! {
        thead { tr { th.name scope="col" { "artifact" } th.n scope="col" { "predicted peak" } } }
        tbody {
            @for artifact in &report.artifacts {
                tr {
                    th.name scope="row" { (artifact.name) }
                    td.n { (artifact.peak_bytes.map_or("–".to_owned(), |b| bytes(b as u64))) }
                }
            }
        }
    };
    html! {
        (tiling(&report.tiling))
        div.plots {
            (table("One tile of the FP32 model", &rows))
            (table("Tiles that fit", &tiers))
            (table(&format!("One tile of {} px of each artifact", report.tiling.tile), &of_artifacts))
        }
        p.muted {
            "Predicted from the embedded engine's plan, which computes in FP32: a runtime that computes in FP16 takes about half, "
            "and whatever it adds for itself."
        }
    }
}

fn tiling(tiling: &TilingFacts) -> Markup {
    let px = |px: Option<usize>, none: &str| px.map_or(none.to_owned(), |px| format!("{px} px"));
    html! {
        p {
            "Tiles of " (tiling.tile) " px with a halo of " (px(tiling.halo_px, "unbounded size")) " on each side and a core of "
            (px(tiling.core_px, "nothing")) ", aligned to " (tiling.alignment_px) " px. Class " (tiling.tiling_class)
            "; tiles are " strong { (tiling.equivalence) } " to a run over the whole image."
        }
        @if let Some(SweepReport { most, most_drafts, facts }) = &tiling.sweeps {
            p {
                (facts.statistics) " statistics of the whole image are swept, in at most " (most) " sweeps after " (most_drafts)
                " drafts with little halo; " (facts.depth + 1) " sweeps make them exact."
            }
        }
        @if let Some(error) = &tiling.error {
            p {
                "FP32 in tiles against FP32 whole, over " (error.images) " images of more than one tile: "
                (figure(error.psnr_db.map(|p| p.mean), 2, " dB")) " mean, "
                (figure(error.psnr_db.map(|p| p.min), 2, " dB")) " worst. This is the error of tiling alone."
            }
        }
    }
}

/// Time and memory per stage, and what preparing the model did.
pub(super) fn stages(report: &Report) -> Markup {
    let longest = report.stages.iter().map(|s| s.seconds).fold(1e-9, f64::max);
    let total: f64 = report.stages.iter().map(|s| s.seconds).sum();
    let rows = html! {
        thead {
            tr {
                th scope="col" { "stage" }
                th.n scope="col" { "seconds" }
                th scope="col" { "compared" }
                th.n scope="col" { "peak memory of the process" }
            }
        }
        tbody {
            @for stage in &report.stages {
                tr {
                    th scope="row" { (stage.name) }
                    td.n { (format!("{:.1}", stage.seconds)) }
                    td { (bar(stage.seconds / longest)) }
                    td.n { (stage.peak_bytes.map_or("–".to_owned(), bytes)) }
                }
            }
        }
    };
    let prepared = html! {
        thead {
            tr {
                th scope="col" { "target" }
                th.n scope="col" { "nodes before" }
                th.n scope="col" { "after" }
                th.n scope="col" { "rewrites" }
                th.n scope="col" { "largest change of an output, of its range" }
            }
        }
        tbody {
            @for facts in &report.prepare {
                tr {
                    th scope="row" { (facts.target) }
                    td.n { (facts.passes.nodes[0]) }
                    td.n { (facts.passes.nodes[1]) }
                    td.n { (facts.passes.steps.len()) }
                    td.n { (format!("{:.1e}", facts.checks.iter().map(|c| c.relative).fold(0.0, f64::max))) }
                }
            }
        }
    };
    html! {
        (table(&format!("{total:.1} seconds before this page was written"), &rows))
        h3 { "Preparing the model" }
        (table("Simplification per target, checked by running before and after", &prepared))
    }
}
