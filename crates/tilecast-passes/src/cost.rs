//! What nodes cost to run: the work that INT8 makes faster.

use std::collections::BTreeMap;

use tilecast_onnx::{Graph, ShapeMap};

/// Multiplications of every node that sums products with weights, by the name of its first output. Nodes whose shapes are not
/// known are left out.
#[must_use]
pub fn multiplications(graph: &Graph<'_>, shapes: &ShapeMap) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (_, node) in graph.nodes() {
        let (Some(output), Some(input), Some(weights)) = (
            node.output_name(0),
            node.input_name(0).and_then(|name| shapes.shape(name)),
            node.input_name(1).and_then(|name| shapes.shape(name)),
        ) else {
            continue;
        };
        let Some(result) = shapes.shape(output) else {
            continue;
        };
        let product = |dims: &[usize]| {
            let dims = dims.iter().map(|&d| d as u64);
            dims.fold(1_u64, u64::saturating_mul)
        };
        // Every weight meets each position of the side that it is stepped over.
        let positions = match node.op() {
            "Conv" => product(result.get(2..).unwrap_or_default()),
            "ConvTranspose" => product(input.get(2..).unwrap_or_default()),
            "MatMul" | "Gemm" => product(&result[..result.len().saturating_sub(1)]),
            _ => continue,
        };
        counts.insert(
            output.to_owned(),
            product(weights).saturating_mul(positions),
        );
    }
    counts
}
