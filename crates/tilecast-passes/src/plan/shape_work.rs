//! Floats that are no image data: sizes and scales computed by the graph, which lose meaning when they are rounded.

use std::collections::HashSet;

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{DataType, Graph, NodeId, TypeMap};

/// Inputs that are sizes and scales, or turn into them.
fn is_scale(node: &NodeProto, slot: usize) -> bool {
    match node.op() {
        // Opset 10 has (X, scales); from 11 on (X, roi, scales, sizes). The region of interest is float as well.
        "Resize" => slot >= 1,
        "Upsample" | "QuantizeLinear" | "DequantizeLinear" => slot == 1,
        _ => false,
    }
}

/// Nodes whose float results end only in sizes and scales, sorted.
pub(super) fn nodes(graph: &Graph<'_>, types: &TypeMap<'_>) -> Vec<NodeId> {
    let float = |name: &str| types.get(name) == Some(&DataType::F32);
    // Shapes and indices are int64 or int32; a cast to uint8 is how a network writes its image.
    let index = |name: &str| {
        matches!(types.get(name), Some(DataType::I64 | DataType::I32)) && !graph.is_output(name)
    };
    let mut found: HashSet<NodeId> = HashSet::new();
    for (id, node) in graph.nodes().rev() {
        let makes_index = node.is("Cast") && node.output_name(0).is_some_and(index);
        let ends_in_shapes = |name: &str| {
            let uses = graph.uses(name);
            !uses.is_empty()
                && !graph.is_output(name)
                && uses.iter().all(|u| {
                    let reader = graph.node(u.node);
                    u.slot.is_some_and(|slot| is_scale(reader, slot)) || found.contains(&u.node)
                })
        };
        let mut floats = (0..node.output.len())
            .filter_map(|slot| node.output_name(slot))
            .filter(|name| float(name))
            .peekable();
        if makes_index || (floats.peek().is_some() && floats.all(ends_in_shapes)) {
            found.insert(id);
        }
    }
    let mut found: Vec<NodeId> = found.into_iter().collect();
    found.sort_unstable();
    found
}
