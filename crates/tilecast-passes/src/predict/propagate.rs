//! Where pairs are once a runtime has moved them over operators that only move elements: a pair in front of one is repeated
//! behind it, a pair behind one in front of it.

use std::collections::{HashMap, HashSet};

use tilecast_onnx::NodeId;

use super::view::View;
use crate::precision::insert_qdq::part::{Part, part};

/// Values and the halves of pairs at them.
pub(super) struct Pairs<'g> {
    /// The `DequantizeLinear` whose result a value is.
    pub(super) dequantized: HashMap<&'g str, NodeId>,
    /// The `QuantizeLinear` that is all that reads a value.
    pub(super) quantized: HashMap<&'g str, NodeId>,
    /// Nodes that got between pairs by that.
    pub(super) moved: HashSet<NodeId>,
}

pub(super) fn pairs<'g>(view: &View<'_, 'g>) -> Pairs<'g> {
    let mut pairs = Pairs {
        dequantized: HashMap::new(),
        quantized: HashMap::new(),
        moved: HashSet::new(),
    };
    for (id, node) in view.graph.nodes() {
        for output in view.outputs(id) {
            if node.is("DequantizeLinear") {
                pairs.dequantized.insert(output, id);
            } else if let Some(quantizer) = view.quantizer(output) {
                pairs.quantized.insert(output, quantizer);
            }
        }
    }
    let movements: Vec<(NodeId, &str, &str)> = view
        .float_nodes()
        .filter(|(id, node)| {
            view.target.propagated_ops.contains(&node.op())
                && part(view.graph, *id, view.target) == Some(Part::Movement)
        })
        .filter_map(|(id, node)| Some((id, node.input_name(0)?, node.output_name(0)?)))
        .collect();
    for &(id, input, output) in movements.iter().rev() {
        let read_by_one = view.graph.only_use(input).is_some();
        if let Some(&quantizer) = pairs.quantized.get(output)
            && read_by_one
            && !pairs.dequantized.contains_key(input)
        {
            pairs.quantized.insert(input, quantizer);
            pairs.moved.insert(id);
        }
    }
    for &(id, input, output) in &movements {
        let uses = view.graph.uses(output);
        // An output of the graph that nodes read as well stays as it is.
        let is_free = uses.is_empty() || !view.graph.is_output(output);
        let quantizes = |id: NodeId| view.graph.node(id).is("QuantizeLinear");
        if let Some(&dequantizer) = pairs.dequantized.get(input)
            && is_free
            && !uses.iter().any(|u| quantizes(u.node))
        {
            pairs.dequantized.insert(output, dequantizer);
            pairs.moved.insert(id);
        }
    }
    pairs
}
