//! Ranges of activations: what was observed, what is kept, and how much lies outside.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::super::{CalibratedRange, Report};
use super::format::table;
use super::plots::range_bar;

/// Tensors that are shown without unfolding: those with the longest tails.
const SHOWN: usize = 12;

pub(super) fn section(report: &Report) -> Markup {
    let calibration = &report.calibration;
    html! {
        p {
            (calibration.images.len()) " images were calibrated on, " (calibration.holdout.len())
            " were held out and are those that everything above is measured on. Range estimator: "
            code { (calibration.range) } "."
        }
        @if calibration.ranges.is_empty() { p.muted { "No artifact needed ranges of activations." } }
        @for (target, ranges) in &calibration.ranges {
            h3 { "Ranges for target " (target) }
            (of_target(ranges))
        }
    }
}

fn of_target(ranges: &BTreeMap<String, CalibratedRange>) -> Markup {
    let mut sorted: Vec<(&String, &CalibratedRange)> = ranges.iter().collect();
    sorted.sort_by(|a, b| tails(b.1).total_cmp(&tails(a.1)));
    let (first, rest) = sorted.split_at(SHOWN.min(sorted.len()));
    html! {
        (table("Tensors with the longest tails outside of their range; blue is kept, orange are the tails", &rows(first)))
        @if !rest.is_empty() {
            details {
                summary { "The other " (rest.len()) " tensors" }
                (table("Tensors with shorter tails outside of their range", &rows(rest)))
            }
        }
    }
}

fn rows(ranges: &[(&String, &CalibratedRange)]) -> Markup {
    html! {
        thead {
            tr {
                th.name scope="col" { "tensor" }
                th scope="col" { "kept of observed" }
                th.n scope="col" { "outside" }
                th.n scope="col" { "kept" }
                th.n scope="col" { "observed" }
            }
        }
        tbody {
            @for (name, range) in ranges {
                tr {
                    th.name scope="row" { code { (name) } }
                    td { (range_bar([range.observed_min, range.observed_max], [range.min, range.max])) }
                    td.n { (format!("{:.4} %", 100.0 * range.clipped)) }
                    td.n { (span(range.min, range.max)) }
                    td.n { (span(range.observed_min, range.observed_max)) }
                }
            }
        }
    }
}

/// How much of the observed range is not kept, as a share of it.
fn tails(range: &CalibratedRange) -> f32 {
    let outside =
        (range.min - range.observed_min).max(0.0) + (range.observed_max - range.max).max(0.0);
    outside / (range.observed_max - range.observed_min).max(f32::MIN_POSITIVE)
}

fn span(low: f32, high: f32) -> String {
    format!("{low:.3} to {high:.3}")
}
