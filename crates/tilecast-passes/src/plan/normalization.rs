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
/// `(x − mean(x)) / sqrt(mean((x − mean(x))²) + ε)` with the scale and shift behind it, whether its averages are
/// reductions or convolutions.
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

    let under_root = producer(sqrt, 0)?;
    let mut nodes = vec![sqrt, under_root];
    let mean_of_squares = if is(under_root, "Add") {
        let mean = [0, 1]
            .into_iter()
            .find_map(|slot| producer(under_root, slot).filter(|&id| is(id, "ReduceMean")))?;
        nodes.push(mean);
        mean
    } else {
        Some(under_root).filter(|&id| averages_channels(graph, id))?
    };
    let square = producer(mean_of_squares, 0).filter(|&id| is(id, "Pow") || is(id, "Mul"))?;
    let centered = producer(square, 0)?;
    nodes.extend([square, centered]);
    if is(centered, "Sub") || is(centered, "Add") {
        let subtracted = producer(centered, 1)?;
        let mean = if is(centered, "Sub") {
            subtracted
        } else if spreads_over_channels(graph, subtracted, -1.0) {
            nodes.push(subtracted);
            producer(subtracted, 0)?
        } else {
            return None;
        };
        if !is(mean, "ReduceMean") && !averages_channels(graph, mean) {
            return None;
        }
        if graph.node(mean).input_name(0) != graph.node(centered).input_name(0) {
            return None;
        }
        nodes.push(mean);
    } else if !centers_channels(graph, centered) {
        return None;
    }
    let reader = |id: NodeId, op: &str| {
        let value = graph.node(id).output_name(0)?;
        let mut readers = graph.uses(value).iter().map(|u| u.node);
        readers.find(|&id| is(id, op))
    };
    // What divides, or multiplies with the reciprocal that a convolution spreads over the channels.
    let last = if let Some(divide) = reader(sqrt, "Div") {
        divide
    } else {
        let reciprocal = reader(sqrt, "Reciprocal")?;
        let spread =
            reader(reciprocal, "Conv").filter(|&id| spreads_over_channels(graph, id, 1.0))?;
        nodes.extend([reciprocal, spread]);
        reader(spread, "Mul")?
    };
    if producer(last, 0) != Some(centered) {
        return None;
    }
    nodes.push(last);
    nodes.extend(affine_behind(graph, last));
    Some(nodes)
}

/// Whether a node is the 1x1 convolution that gives all channels what its one input channel has, times a factor.
fn spreads_over_channels(graph: &Graph<'_>, id: NodeId, factor: f32) -> bool {
    pointwise_weights(graph, id).is_some_and(|(outputs, weights)| {
        weights.len() == outputs && weights.iter().all(|w| w.to_bits() == factor.to_bits())
    })
}

/// Whether a node is the 1x1 convolution that averages all channels.
fn averages_channels(graph: &Graph<'_>, id: NodeId) -> bool {
    pointwise_weights(graph, id).is_some_and(|(outputs, weights)| {
        let share = (1.0 / weights.len() as f64) as f32;
        outputs == 1 && weights.iter().all(|w| w.to_bits() == share.to_bits())
    })
}

/// Whether a node is the 1x1 convolution that subtracts from all channels their average.
fn centers_channels(graph: &Graph<'_>, id: NodeId) -> bool {
    pointwise_weights(graph, id).is_some_and(|(outputs, weights)| {
        let share = 1.0 / outputs as f64;
        let expected = |i: usize| f64::from(u8::from(i / outputs == i % outputs)) - share;
        weights.len() == outputs * outputs
            && (0..)
                .zip(&weights)
                .all(|(i, w)| w.to_bits() == (expected(i) as f32).to_bits())
    })
}

/// Number of output channels and constant weights of a 1x1 convolution of images.
fn pointwise_weights(graph: &Graph<'_>, id: NodeId) -> Option<(usize, Vec<f32>)> {
    let node = graph.node(id);
    let weights = node.is("Conv").then(|| node.input_name(1))??;
    let weights = graph.constant(weights).ok()??;
    let [outputs, _, 1, 1] = *weights.dims() else {
        return None;
    };
    Some((outputs, weights.to_f32_vec()?))
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
