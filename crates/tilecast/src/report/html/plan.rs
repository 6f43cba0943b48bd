//! The precision plan: a strip along the network, and what each node has with the reason.

use maud::{Markup, html};

use super::super::{ArtifactReport, PlannedNode, Report};
use super::format::table;

/// Nodes of a group that are named before it is unfolded.
const NAMED: usize = 3;

pub(super) fn section(report: &Report) -> Markup {
    html! {
        p { "From input to output, a stripe per node that computes with floats, in the order of the file." }
        ul.legend {
            @for precision in ["int8", "fp16", "bf16", "fp32"] {
                @if report.artifacts.iter().any(|a| a.plan.iter().any(|n| n.precision == precision)) {
                    li { svg viewBox="0 0 1 1" aria-hidden="true" { rect class=(precision) width="1" height="1" {} } (precision) }
                }
            }
        }
        @for artifact in &report.artifacts {
            h3 { (artifact.name) ", target " (artifact.target) }
            (strip(artifact))
            @if let Some(prediction) = &artifact.prediction {
                p {
                    "Predicted on " (prediction.target) ": " (prediction.int8) " of " (prediction.nodes.len())
                    " nodes of the file in INT8, " (prediction.float_islands.len()) " islands of floats between them."
                }
            }
            (groups(artifact))
            details {
                summary { "Every node: " (artifact.plan.len()) }
                (nodes(artifact))
            }
        }
    }
}

/// Neighbours of one precision are one stripe.
fn strip(artifact: &ArtifactReport) -> Markup {
    let plan = &artifact.plan;
    let mut stripes: Vec<(usize, usize)> = Vec::new();
    for (index, node) in plan.iter().enumerate() {
        match stripes.last_mut() {
            Some((first, n)) if plan[*first].precision == node.precision => *n += 1,
            _ => stripes.push((index, 1)),
        }
    }
    let counts: Vec<String> = artifact
        .nodes
        .iter()
        .map(|(precision, n)| format!("{n} nodes in {precision}"))
        .collect();
    html! {
        svg.strip viewBox={ "0 0 " (plan.len().max(1)) " 10" } preserveAspectRatio="none" role="img"
            aria-label={ "Precisions of " (artifact.name) " from input to output: " (counts.join(", ")) } {
            @for (first, n) in stripes {
                rect class=(plan[first].precision) x=(first) y="0" width=(n) height="10" {
                    title { (plan[first].node) " to " (plan[first + n - 1].node) ": " (plan[first].precision) }
                }
            }
        }
        p.muted { (counts.join(", ")) "." }
    }
}

/// Nodes with the same precision and reason.
fn groups(artifact: &ArtifactReport) -> Markup {
    let mut groups: Vec<(&PlannedNode, Vec<&str>)> = Vec::new();
    for node in &artifact.plan {
        let same = |g: &PlannedNode| g.precision == node.precision && g.reason == node.reason;
        match groups.iter_mut().find(|(first, _)| same(first)) {
            Some((_, nodes)) => nodes.push(&node.node),
            None => groups.push((node, vec![&node.node])),
        }
    }
    let rows = html! {
        thead {
            tr {
                th scope="col" { "precision" }
                th scope="col" { "reason" }
                th.n scope="col" { "nodes" }
                th.name scope="col" { "for example" }
            }
        }
        tbody {
            @for (first, nodes) in &groups {
                tr {
                    th scope="row" { (first.precision) }
                    td.words { (first.reason) }
                    td.n { (nodes.len()) }
                    td.name {
                        @for (index, node) in nodes.iter().take(NAMED).enumerate() {
                            @if index > 0 { ", " }
                            code { (node) }
                        }
                    }
                }
            }
        }
    };
    table("Why each precision", &rows)
}

fn nodes(artifact: &ArtifactReport) -> Markup {
    let rows = html! {
        thead {
            tr {
                th.n scope="col" { "#" }
                th.name scope="col" { "node" }
                th scope="col" { "operator" }
                th scope="col" { "precision" }
                th scope="col" { "reason" }
            }
        }
        tbody {
            @for (index, node) in artifact.plan.iter().enumerate() {
                tr {
                    td.n { (index + 1) }
                    th.name scope="row" { code { (node.node) } }
                    td { (node.op) }
                    td { (node.precision) }
                    td.words { (node.reason) }
                }
            }
        }
    };
    table("Every node that computes with floats", &rows)
}
