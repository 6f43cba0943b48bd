//! Runtimes that replace a node between pairs by an integer kernel: `DequantizeLinear`, node, `QuantizeLinear`.

use std::collections::HashMap;

use tilecast_onnx::{DataType, NodeId};

use super::propagate::{Pairs, pairs};
use super::view::View;
use super::{FloatReason, Runs};
use crate::precision::insert_qdq::absorb::bounds;
use crate::precision::insert_qdq::part::{Part, data_slots, part};

pub(super) fn runs(view: &View<'_, '_>) -> HashMap<NodeId, Runs> {
    let pairs = pairs(view);
    let mut runs: HashMap<NodeId, Runs> = HashMap::new();
    for (id, _) in view.float_nodes() {
        let Some(part) = part(view.graph, id, view.target) else {
            continue;
        };
        if pairs.moved.contains(&id) {
            runs.insert(id, Runs::Int8);
            continue;
        }
        match unit(view, &pairs, id, part) {
            Ok(activation) => {
                runs.insert(id, Runs::Int8);
                runs.extend(activation.map(|id| (id, Runs::Inside)));
            }
            Err(reason) => {
                runs.insert(id, Runs::Float(reason));
            }
        }
    }
    runs
}

/// The activation that disappears with the pair, if there is one; or why there is no integer kernel.
fn unit(
    view: &View<'_, '_>,
    pairs: &Pairs<'_>,
    id: NodeId,
    part: Part,
) -> Result<Option<NodeId>, FloatReason> {
    let node = view.graph.node(id);
    let read: Option<Vec<NodeId>> = data_slots(node)
        .map(|slot| pairs.dequantized.get(node.input_name(slot)?).copied())
        .collect();
    let read = read.ok_or(FloatReason::ReadsFloats)?;
    if part == Part::Weighted && view.dequantizer(id, 1).is_none() {
        return Err(FloatReason::FloatWeights);
    }
    let activation = match part {
        Part::Movement => None,
        Part::Weighted | Part::Arithmetic => view
            .graph
            .only_use(node.output_name(0).unwrap_or_default())
            .map(|usage| usage.node)
            .filter(|&next| {
                ["Relu", "Clip"]
                    .iter()
                    .any(|op| view.graph.node(next).is(op))
            }),
    };
    let written: Option<Vec<NodeId>> = view
        .outputs(activation.unwrap_or(id))
        .map(|output| pairs.quantized.get(output).copied())
        .collect();
    let written = written.ok_or(FloatReason::WritesFloats)?;
    if let Some(activation) = activation
        && !written.iter().all(|&q| clamps_alike(view, q, activation))
    {
        return Err(FloatReason::ActivationBetween);
    }
    if part == Part::Movement {
        let before = read.first().and_then(|&dq| view.parameters(dq));
        if before.is_none() || written.iter().any(|&q| view.parameters(q) != before) {
            return Err(FloatReason::ScalesDiffer);
        }
    }
    Ok(activation)
}

/// Whether the integers of a `QuantizeLinear` reach no further than the activation before it lets through.
fn clamps_alike(view: &View<'_, '_>, quantizer: NodeId, activation: NodeId) -> bool {
    let Some((scale, zero_point)) = view.parameters(quantizer) else {
        return false;
    };
    let (lowest, highest) = match zero_point.data_type() {
        DataType::U8 => (0, 255),
        DataType::I8 => (-128, 127),
        _ => return false,
    };
    let (Some((lower, upper)), Some(&[zero])) = (
        bounds(view.graph, view.graph.node(activation)),
        zero_point.to_i64_vec().as_deref(),
    ) else {
        return false;
    };
    let value = |integer: i64| scale * (integer - zero) as f32;
    lower - value(lowest) <= f32::EPSILON && value(highest) - upper <= f32::EPSILON
}
