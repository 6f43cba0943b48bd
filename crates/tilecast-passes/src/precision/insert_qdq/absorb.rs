//! Activations that a runtime computes inside the INT8 kernel before them.
//!
//! Where kernels write integers (a pair on inputs and outputs), an activation disappears only if the integers clamp as it
//! does: the smallest of them must stand for its lower bound and the largest for no more than its upper bound. With a zero
//! point of its own a range that begins at 0 does that for Relu and for Clip from 0.

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, NodeId};
use tilecast_quant::Symmetry;

use crate::{Placement, Target};

/// The activation behind `id` that is computed inside its kernel, if any.
pub(crate) fn absorbed(graph: &Graph<'_>, id: NodeId, target: &Target) -> Option<NodeId> {
    let next = graph.only_use(graph.node(id).output_name(0)?)?;
    let node = graph.node(next.node);
    let listed = next.slot == Some(0) && target.absorbed_ops.iter().any(|op| node.is(op));
    let clamps = || {
        target.activation_symmetry == Symmetry::Asymmetric
            && matches!(bounds(graph, node), Some((lower, upper)) if lower == 0.0 && upper > 0.0)
    };
    (listed && (target.placement == Placement::InputsOnly || clamps())).then_some(next.node)
}

/// Between which values Relu or Clip lets through, where that is known.
pub(crate) fn bounds(graph: &Graph<'_>, node: &NodeProto) -> Option<(f32, f32)> {
    if node.is("Relu") {
        return Some((0.0, f32::INFINITY));
    }
    if !node.is("Clip") {
        return None;
    }
    // Attributes up to opset 10, inputs from 11 on; what is left out does not bound.
    let bound = |attribute: &str, slot: usize, unbounded: f32| match node.input_name(slot) {
        Some(name) => match graph.constant(name).ok()??.to_f32_vec()?.as_slice() {
            &[bound] => Some(bound),
            _ => None,
        },
        None => Some(node.float(attribute).ok()?.unwrap_or(unbounded)),
    };
    Some((
        bound("min", 1, f32::NEG_INFINITY)?,
        bound("max", 2, f32::INFINITY)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tilecast_onnx::proto::{GraphFields, GraphProto};
    use tilecast_onnx::{Tensor, attribute, node};

    #[test]
    fn bounds_are_read_from_attributes_and_inputs() {
        let initializer = vec![Tensor::from_f32(vec![], &[6.0]).to_proto("six")];
        let proto = GraphProto::from(GraphFields {
            initializer,
            ..GraphFields::default()
        });
        let graph = Graph::new(&proto);
        let clip = |inputs: &[&str]| node("Clip", "", inputs, &["y"]);
        let old = clip(&["x"]).with_attribute(attribute::float("min", -1.0));
        for (node, expected) in [
            (node("Relu", "", &["x"], &["y"]), Some((0.0, f32::INFINITY))),
            (clip(&["x", "", "six"]), Some((f32::NEG_INFINITY, 6.0))),
            (old, Some((-1.0, f32::INFINITY))),
            (clip(&["x", "computed"]), None),
            (node("Sigmoid", "", &["x"], &["y"]), None),
        ] {
            assert_eq!(bounds(&graph, &node), expected, "{node:?}");
        }
    }
}
