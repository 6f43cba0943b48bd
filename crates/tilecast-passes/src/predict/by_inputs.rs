//! Runtimes that compute in INT8 what reads pairs, and find out from the next pair what a kernel writes.

use std::collections::HashMap;

use tilecast_onnx::NodeId;

use super::view::View;
use super::{FloatReason, Runs};
use crate::precision::insert_qdq::absorb::absorbed;
use crate::precision::insert_qdq::part::{Part, data_slots, part};

pub(super) fn runs(view: &View<'_, '_>) -> HashMap<NodeId, Runs> {
    let mut runs = HashMap::new();
    // From the end: whether elements can move as bytes depends on what reads them.
    let nodes: Vec<NodeId> = view.float_nodes().map(|(id, _)| id).collect();
    for &id in nodes.iter().rev() {
        let Some(part) = part(view.graph, id, view.target) else {
            continue;
        };
        let node = view.graph.node(id);
        let reads_pairs = data_slots(node).all(|slot| view.dequantizer(id, slot).is_some());
        let verdict = match part {
            Part::Movement => {
                let mut outputs = view.outputs(id);
                if outputs.all(|output| is_read_as_bytes(view, &runs, output)) {
                    Runs::Int8
                } else {
                    Runs::Float(FloatReason::WritesFloats)
                }
            }
            _ if !reads_pairs => Runs::Float(FloatReason::ReadsFloats),
            Part::Weighted if view.dequantizer(id, 1).is_none() => {
                Runs::Float(FloatReason::FloatWeights)
            }
            Part::Weighted | Part::Arithmetic => Runs::Int8,
        };
        runs.insert(id, verdict);
    }
    for id in nodes {
        let weighted = part(view.graph, id, view.target) == Some(Part::Weighted);
        if weighted && runs.get(&id) == Some(&Runs::Int8) {
            let mut last = id;
            while let Some(inside) = computed_inside(view, last) {
                runs.insert(inside, Runs::Inside);
                last = inside;
            }
        }
    }
    runs
}

/// Whether all that reads the value quantizes it first, or moves its bytes.
fn is_read_as_bytes(view: &View<'_, '_>, runs: &HashMap<NodeId, Runs>, value: &str) -> bool {
    let uses = view.graph.uses(value);
    let as_bytes = |id: NodeId| {
        let moves = part(view.graph, id, view.target) == Some(Part::Movement);
        view.graph.node(id).is("QuantizeLinear") || moves && runs.get(&id) == Some(&Runs::Int8)
    };
    !view.graph.is_output(value) && !uses.is_empty() && uses.iter().all(|u| as_bytes(u.node))
}

/// What a kernel computes besides: an activation, or an Add whose other operand is a pair's.
fn computed_inside(view: &View<'_, '_>, id: NodeId) -> Option<NodeId> {
    if let Some(activation) = absorbed(view.graph, id, view.target) {
        return Some(activation);
    }
    let usage = view.graph.only_use(view.graph.node(id).output_name(0)?)?;
    let add = view.graph.node(usage.node);
    let fits = view.target.absorbs_residual_add && add.is("Add");
    let other = 1_usize.checked_sub(usage.slot.filter(|_| fits)?)?;
    view.dequantizer(usage.node, other)?;
    Some(usage.node)
}
