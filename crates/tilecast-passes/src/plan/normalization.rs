//! Which nodes are a normalization, also where an exporter has taken it apart.

use std::collections::BTreeSet;

use tilecast_onnx::{Graph, NodeId};

/// Operators that normalize as a whole.
const OPERATORS: &[&str] = &[
    "LayerNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "BatchNormalization",
    "MeanVarianceNormalization",
    "LpNormalization",
    "RMSNormalization",
];

/// Nodes of all normalizations, sorted: the operators, and the decomposed form
/// `(x − mean(x)) / sqrt(mean((x − mean(x))²) + ε)` with the scale and shift behind it.
#[must_use]
pub fn normalization_nodes(graph: &Graph<'_>) -> Vec<NodeId> {
    let mut found = BTreeSet::new();
    for (id, node) in graph.nodes() {
        if OPERATORS.contains(&node.op()) {
            found.insert(id);
        } else if node.is("Sqrt")
            && let Some(nodes) = decomposed(graph, id)
        {
            found.extend(nodes);
        }
    }
    found.into_iter().collect()
}

/// The nodes of the decomposed normalization around this `Sqrt`, if it is one.
fn decomposed(graph: &Graph<'_>, sqrt: NodeId) -> Option<Vec<NodeId>> {
    let producer = |id: NodeId, slot: usize| {
        graph
            .node(id)
            .input_name(slot)
            .and_then(|v| graph.producer(v))
            .map(|p| p.0)
    };
    let is = |id: NodeId, op: &str| graph.node(id).is(op);

    let add_epsilon = producer(sqrt, 0).filter(|&id| is(id, "Add"))?;
    let mean_of_squares = [0, 1]
        .into_iter()
        .find_map(|slot| producer(add_epsilon, slot).filter(|&id| is(id, "ReduceMean")))?;
    let square = producer(mean_of_squares, 0).filter(|&id| is(id, "Pow") || is(id, "Mul"))?;
    let centered = producer(square, 0).filter(|&id| is(id, "Sub"))?;
    let mean = producer(centered, 1).filter(|&id| is(id, "ReduceMean"))?;
    if graph.node(mean).input_name(0) != graph.node(centered).input_name(0) {
        return None;
    }
    let deviation = graph.node(sqrt).output_name(0)?;
    let divide = graph
        .uses(deviation)
        .iter()
        .map(|u| u.node)
        .find(|&id| is(id, "Div"))?;
    if producer(divide, 0) != Some(centered) {
        return None;
    }
    let mut nodes = vec![
        mean,
        centered,
        square,
        mean_of_squares,
        add_epsilon,
        sqrt,
        divide,
    ];
    nodes.extend(affine_behind(graph, divide));
    Some(nodes)
}

/// The multiplication and addition of constants that directly follow.
fn affine_behind(graph: &Graph<'_>, last: NodeId) -> Vec<NodeId> {
    let mut nodes = Vec::new();
    let mut current = last;
    for op in ["Mul", "Add"] {
        let Some(next) = graph
            .node(current)
            .output_name(0)
            .and_then(|v| graph.only_use(v))
        else {
            break;
        };
        let node = graph.node(next.node);
        let Some(slot) = next.slot.filter(|_| node.is(op)) else {
            break;
        };
        let other = node.input_name(1 - slot.min(1));
        if !other.is_some_and(|name| matches!(graph.constant(name), Ok(Some(_)))) {
            break;
        }
        nodes.push(next.node);
        current = next.node;
    }
    nodes
}
