//! The report as one page that needs nothing else: no network, no other file. It reads top-down from the verdict to what is
//! needed to make it again.
//!
//! Styles, the script of the sliders and all images lie inside. Every picture and plot has words that say the same.

mod calibration;
mod costs;
mod findings;
mod format;
mod images;
mod plan;
mod plots;
mod reproduce;
mod tradeoffs;
mod verdict;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Report;
use crate::compare::ImageComparison;

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/script.js");

/// Nothing is loaded from anywhere.
const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// The report as a page. `images` are those of the report, with the pictures that were kept.
#[must_use]
pub(crate) fn to_html(report: &Report, images: &[ImageComparison]) -> String {
    let sections: Vec<(&str, &str, Markup)> = [
        ("verdict", "Verdict", Some(verdict::section(report))),
        ("images", "Images", Some(images::section(report, images))),
        (
            "tradeoffs",
            "Size, quality and speed",
            tradeoffs::section(report),
        ),
        ("plan", "Precision plan", Some(plan::section(report))),
        ("memory", "Memory and tiles", Some(costs::memory(report))),
        (
            "calibration",
            "Calibration",
            Some(calibration::section(report)),
        ),
        ("lint", "Lint", Some(findings::section(report))),
        ("stages", "Stages", Some(costs::stages(report))),
        (
            "reproduce",
            "Make it again",
            Some(reproduce::section(report)),
        ),
    ]
    .into_iter()
    .filter_map(|(id, title, body)| Some((id, title, body?)))
    .collect();
    let title = format!("{}: {}", report.recipe.name, verdict::words(report.passed));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – tilecast" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to the report" }
                header {
                    h1 { (report.recipe.name) " " (verdict::badge(report.passed)) }
                    p {
                        code { (report.model.name) } ": " (report.model.parameters) " parameters, "
                        (format::megabytes(report.model.bytes)) ", " (report.model.nodes) " nodes, opset "
                        (report.model.opset) "."
                    }
                    nav aria-label="Sections" {
                        ul {
                            @for (id, title, _) in &sections {
                                li { a href={ "#" (id) } { (title) } }
                            }
                        }
                    }
                }
                main id="main" {
                    @for (id, title, body) in &sections {
                        section aria-labelledby=(id) {
                            h2 id=(id) { (title) }
                            (body)
                        }
                    }
                }
                footer {
                    p {
                        "Made by " (report.tool.name) " " (report.tool.version) " from recipe " (report.recipe.name)
                        " and model " (report.model.name) "."
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}
