//! What a run will take, from the graph: ONNX Runtime does not tell before it has run.

use std::collections::HashMap;

use tilecast_onnx::{DataType, Model, TypeMap, infer_shapes};

use crate::border::GraphInput;

/// The weights and the largest sum of tensors that are alive while some node of the graph is computed, bytes. Values
/// whose shape cannot be inferred do not count.
pub(super) fn peak_live_bytes(
    model: &Model,
    inputs: &[GraphInput<'_>],
    types: &TypeMap<'_>,
) -> usize {
    let weights = model.stored_bytes() as usize;
    let graph = model.graph();
    let named: Vec<(&str, Vec<usize>)> = inputs.iter().map(|i| (i.name, i.dims.clone())).collect();
    // Shapes that contradict each other are for ONNX Runtime to refuse.
    let Ok(shapes) = infer_shapes(&graph, &named) else {
        return weights;
    };
    let bytes = |name: &str| {
        let n_elements = shapes.shape(name).map_or(0, |dims| dims.iter().product());
        let data_type = types.get(name).copied().unwrap_or(DataType::F32);
        data_type.packed_bytes(n_elements).unwrap_or(0)
    };
    let mut last_reader: HashMap<&str, usize> = HashMap::new();
    for (index, (_, node)) in graph.nodes().enumerate() {
        for name in &node.input {
            last_reader.insert(name, index);
        }
    }
    let mut alive: HashMap<&str, usize> = inputs.iter().map(|i| (i.name, bytes(i.name))).collect();
    let mut now: usize = alive.values().sum();
    let mut peak = now;
    for (index, (_, node)) in graph.nodes().enumerate() {
        for name in &node.output {
            let size = bytes(name);
            alive.insert(name, size);
            now += size;
        }
        peak = peak.max(now);
        for name in node.input.iter().chain(&node.output) {
            let is_read_later = last_reader.get(name.as_str()) > Some(&index);
            if !is_read_later && !graph.is_output(name) {
                now -= alive.remove(name.as_str()).unwrap_or(0);
            }
        }
    }
    weights + peak
}
