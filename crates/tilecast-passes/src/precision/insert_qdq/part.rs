//! How a node can take part in INT8 on a target: by its operator, its attributes and its operands.

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, NodeId};

use crate::Target;

/// How a node takes part in INT8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It multiplies by weights: where INT8 saves its time.
    Weighted,
    /// It computes without weights, with scales of its own for what it reads and writes.
    Arithmetic,
    /// It moves elements, all of which keep their scale.
    Movement,
}

/// The part that `id` can take in INT8 on this target, if any.
pub(crate) fn part(graph: &Graph<'_>, id: NodeId, target: &Target) -> Option<Part> {
    let node = graph.node(id);
    let listed = |ops: &[&str]| ops.iter().any(|op| node.is(op));
    if listed(target.weighted_ops) {
        return is_plain_product(node).then_some(Part::Weighted);
    }
    // A constant operand would need a scale that no calibration gives.
    let all_computed = || data_slots(node).all(|slot| is_computed(graph, node, slot));
    if listed(target.arithmetic_ops) {
        return all_computed().then_some(Part::Arithmetic);
    }
    (listed(target.movement_ops) && only_moves(node) && all_computed()).then_some(Part::Movement)
}

/// Slots in which the node reads image data rather than weights, sizes or bounds.
pub(crate) fn data_slots(node: &NodeProto) -> std::ops::Range<usize> {
    match node.op() {
        "Concat" => 0..node.input.len(),
        "Add" | "Mul" => 0..2,
        _ => 0..1,
    }
}

fn is_computed(graph: &Graph<'_>, node: &NodeProto, slot: usize) -> bool {
    node.input_name(slot).is_some_and(|name| {
        graph.initializer(name).is_none()
            && !graph.producer_node(name).is_some_and(|n| n.is("Constant"))
    })
}

/// A Gemm with factors has no integer form.
fn is_plain_product(node: &NodeProto) -> bool {
    let is_one = |name| matches!(node.float(name), Ok(factor) if factor.is_none_or(|f| f.to_bits() == 1.0_f32.to_bits()));
    !node.is("Gemm")
        || (is_one("alpha") && is_one("beta") && matches!(node.int("transA"), Ok(None | Some(0))))
}

/// Whether every output element is an input element: a resampling that interpolates is not, and indices are no image.
fn only_moves(node: &NodeProto) -> bool {
    match node.op() {
        "Resize" => {
            let is = |name, value, default: &str| matches!(node.string(name), Ok(found) if found.unwrap_or(default) == value);
            is("mode", "nearest", "nearest")
                && !is(
                    "coordinate_transformation_mode",
                    "tf_crop_and_resize",
                    "half_pixel",
                )
        }
        "MaxPool" => node.output_name(1).is_none(),
        _ => true,
    }
}

/// The axis of the weights along which each index has a scale of its own; `None` where one scale must do for all.
pub(crate) fn channel_axis(node: &NodeProto, rank: usize) -> Option<usize> {
    match node.op() {
        "Conv" => Some(0),
        // Groups share the second axis, so that a channel of it is one of several outputs.
        "ConvTranspose" => matches!(node.int("group"), Ok(None | Some(1))).then_some(1),
        "Gemm" => Some(usize::from(matches!(
            node.int("transB"),
            Ok(None | Some(0))
        ))),
        _ => rank.checked_sub(1),
    }
}
