//! A converted graph as the predictions see it: nodes, and the pairs around them.

use std::collections::HashSet;

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{DataType, Graph, NodeId, Tensor, TypeMap, infer_types};

use crate::Target;

pub(super) struct View<'a, 'g> {
    pub(super) graph: &'a Graph<'g>,
    pub(super) target: &'a Target,
    types: TypeMap<'g>,
    /// Values that do not depend on an input of the graph.
    constant: HashSet<&'g str>,
}

impl<'a, 'g> View<'a, 'g> {
    pub(super) fn of(graph: &'a Graph<'g>, target: &'a Target) -> Self {
        let mut constant: HashSet<&str> = HashSet::new();
        for (_, node) in graph.nodes() {
            let is_constant = |name: &String| {
                name.is_empty()
                    || graph.initializer(name).is_some()
                    || constant.contains(name.as_str())
            };
            if node.input.iter().all(is_constant) {
                constant.extend(node.output.iter().map(String::as_str));
            }
        }
        Self {
            graph,
            target,
            types: infer_types(graph),
            constant,
        }
    }

    /// Nodes that compute floats from an input of the graph, pairs and casts apart.
    pub(super) fn float_nodes(&self) -> impl Iterator<Item = (NodeId, &'g NodeProto)> {
        let is_float = |name: &String| {
            let data_type = self.types.get(name.as_str());
            matches!(
                data_type,
                Some(DataType::F32 | DataType::F16 | DataType::BF16)
            )
        };
        self.graph.nodes().filter(move |(_, node)| {
            !["QuantizeLinear", "DequantizeLinear", "Cast"].contains(&node.op())
                && node.output.iter().any(is_float)
                && !node
                    .output
                    .iter()
                    .any(|o| self.constant.contains(o.as_str()))
        })
    }

    /// The `DequantizeLinear` that gives what the node reads in this slot.
    pub(super) fn dequantizer(&self, id: NodeId, slot: usize) -> Option<NodeId> {
        let (producer, _) = self.graph.producer(self.graph.node(id).input_name(slot)?)?;
        self.graph
            .node(producer)
            .is("DequantizeLinear")
            .then_some(producer)
    }

    /// The `QuantizeLinear` that is all that reads this value.
    pub(super) fn quantizer(&self, value: &str) -> Option<NodeId> {
        let usage = self.graph.only_use(value)?;
        let is_data = usage.slot == Some(0);
        (is_data && self.graph.node(usage.node).is("QuantizeLinear")).then_some(usage.node)
    }

    /// Scale and zero point of one half of a pair; `None` where they are not constant scalars, or the scale is no float32.
    pub(super) fn parameters(&self, id: NodeId) -> Option<(f32, Tensor)> {
        let node = self.graph.node(id);
        let constant = |slot| self.graph.constant(node.input_name(slot)?).ok()?;
        let scale = constant(1)?;
        let values = (scale.data_type() == DataType::F32).then(|| scale.to_f32_vec())??;
        match values.as_slice() {
            &[scale] => Some((scale, constant(2)?)),
            _ => None,
        }
    }

    /// Names of the outputs that a node has.
    pub(super) fn outputs(&self, id: NodeId) -> impl Iterator<Item = &'g str> + use<'g> {
        let outputs = self.graph.node(id).output.iter();
        outputs.map(String::as_str).filter(|name| !name.is_empty())
    }
}
