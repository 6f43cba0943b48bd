//! Where the network begins and ends: first and last convolutions, and convolutions on pooled vectors.

use std::collections::HashSet;

use tilecast_onnx::{Graph, NodeId};

fn is_conv(op: &str) -> bool {
    matches!(op, "Conv" | "ConvTranspose")
}

/// Convolutions that read a graph input through no other convolution, sorted. Those of `norms` (sorted) are no layers of
/// the network: they average.
pub(super) fn first_convs(graph: &Graph<'_>, norms: &[NodeId]) -> Vec<NodeId> {
    // Values that depend on an input and have passed no convolution yet.
    let mut fresh: HashSet<&str> = graph.inputs().filter_map(|v| v.name.as_deref()).collect();
    let mut found = Vec::new();
    for (id, node) in graph.nodes() {
        if !node.input.iter().any(|name| fresh.contains(name.as_str())) {
            continue;
        }
        if is_conv(node.op()) && norms.binary_search(&id).is_err() {
            found.push(id);
        } else if node.op() != "Shape" {
            fresh.extend(node.output.iter().map(String::as_str));
        }
    }
    found
}

/// Convolutions whose result reaches a graph output through no other convolution, sorted; `norms` as above.
pub(super) fn last_convs(graph: &Graph<'_>, norms: &[NodeId]) -> Vec<NodeId> {
    let mut wanted: HashSet<&str> = graph
        .proto()
        .output
        .iter()
        .filter_map(|v| v.name.as_deref())
        .collect();
    let mut found = Vec::new();
    for (id, node) in graph.nodes().rev() {
        if !node
            .output
            .iter()
            .any(|name| wanted.contains(name.as_str()))
        {
            continue;
        }
        if is_conv(node.op()) && norms.binary_search(&id).is_err() {
            found.push(id);
        } else if node.op() != "Shape" {
            wanted.extend(node.input.iter().map(String::as_str));
        }
    }
    found.reverse();
    found
}

/// Convolutions whose input is a globally pooled vector, possibly through other convolutions and element-wise work on
/// such vectors only, sorted.
pub(super) fn on_pooled_vectors(graph: &Graph<'_>) -> Vec<NodeId> {
    let mut pooled: HashSet<&str> = HashSet::new();
    let mut found = Vec::new();
    for (id, node) in graph.nodes() {
        let all_pooled = || {
            let mut data = node.input.iter().filter(|name| {
                !name.is_empty()
                    && graph.initializer(name).is_none()
                    && !is_constant_node(graph, name)
            });
            let first = data.next();
            first.is_some_and(|f| pooled.contains(f.as_str()))
                && data.all(|name| pooled.contains(name.as_str()))
        };
        let vector = match node.op() {
            "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => true,
            _ => all_pooled(),
        };
        if vector {
            pooled.extend(node.output.iter().map(String::as_str));
            if is_conv(node.op()) {
                found.push(id);
            }
        }
    }
    found
}

fn is_constant_node(graph: &Graph<'_>, value: &str) -> bool {
    graph.producer_node(value).is_some_and(|n| n.is("Constant"))
}
