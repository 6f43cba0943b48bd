//! A second opinion on halos: a 1-D float interpreter of the operators' definitions along the width.
//!
//! Each node is evaluated on one row of f64 values with positive pseudo-random weights, as the operator's definition says
//! and with no regard for intervals. Running it on a whole row and on a tile of it shows which outputs are equal.

use std::collections::HashMap;

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, Model};

/// The model's output along one row of input.
pub(crate) fn evaluate(model: &Model, row: &[f64]) -> Vec<f64> {
    let graph = model.graph();
    let mut values: HashMap<String, Vec<f64>> = HashMap::from([("x".to_owned(), row.to_vec())]);
    for (id, node) in graph.nodes() {
        let inputs: Vec<&[f64]> = node
            .input
            .iter()
            .filter_map(|name| values.get(name).map(Vec::as_slice))
            .collect();
        let result = apply(&graph, node, id.0, &inputs);
        values.insert(node.output[0].clone(), result);
    }
    let output = graph.proto().output[0].name.clone().unwrap();
    values.remove(&output).unwrap()
}

/// A positive weight, different for each node and tap.
fn weight(node: usize, tap: usize) -> f64 {
    let mixed = (node as u64 * 31 + tap as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    0.2 + (mixed >> 40) as f64 / 2f64.powi(25)
}

fn apply(graph: &Graph<'_>, node: &NodeProto, index: usize, inputs: &[&[f64]]) -> Vec<f64> {
    let x = inputs[0];
    let last = |name: &str, default: i64| {
        let list = node.ints(name).unwrap().unwrap_or(&[]);
        list.last().copied().unwrap_or(default)
    };
    let kernel = |slot: usize| {
        let name = node.input_name(slot).unwrap();
        *graph
            .constant(name)
            .unwrap()
            .unwrap()
            .dims()
            .last()
            .unwrap() as i64
    };
    let integers = |slot: usize| {
        let name = node.input_name(slot).unwrap();
        graph.constant(name).unwrap().unwrap().to_i64_vec().unwrap()
    };
    let at = |position: i64| {
        usize::try_from(position)
            .ok()
            .and_then(|p| x.get(p))
            .copied()
    };
    let n = x.len() as i64;
    let (stride, dilation) = (last("strides", 1), last("dilations", 1));
    let pads = node.ints("pads").unwrap().unwrap_or(&[0; 4]);
    let (begin, end) = (pads[pads.len() / 2 - 1], *pads.last().unwrap());
    match node.op() {
        "Conv" | "MaxPool" | "AveragePool" => {
            let k = if node.is("Conv") {
                kernel(1)
            } else {
                last("kernel_shape", 1)
            };
            let count = (n + begin + end - dilation * (k - 1) - 1) / stride + 1;
            (0..count)
                .map(|o| {
                    let taps =
                        (0..k).filter_map(|t| Some((t, at(o * stride - begin + t * dilation)?)));
                    match node.op() {
                        "MaxPool" => taps.map(|(_, v)| v).fold(f64::MIN, f64::max),
                        _ => taps
                            .map(|(t, v)| v * weight(index, t as usize))
                            .sum::<f64>()
                            .tanh(),
                    }
                })
                .collect()
        }
        "ConvTranspose" => {
            let k = kernel(1);
            let mut out =
                vec![0.0; (stride * (n - 1) + dilation * (k - 1) + 1 - begin - end) as usize];
            for i in 0..n {
                for t in 0..k {
                    let o = i * stride - begin + t * dilation;
                    if let Some(slot) = usize::try_from(o).ok().and_then(|o| out.get_mut(o)) {
                        *slot += x[i as usize] * weight(index, t as usize);
                    }
                }
            }
            out
        }
        "DepthToSpace" => {
            let r = node.int("blocksize").unwrap().unwrap() as usize;
            (0..x.len() * r)
                .map(|o| x[o / r] * weight(index, o % r))
                .collect()
        }
        "SpaceToDepth" => {
            let r = node.int("blocksize").unwrap().unwrap() as usize;
            x.chunks(r)
                .map(|c| {
                    c.iter()
                        .enumerate()
                        .map(|(t, v)| v * weight(index, t))
                        .sum()
                })
                .collect()
        }
        "Resize" => resize(graph, node, x),
        "Pad" => {
            let pads = integers(1);
            (-pads[3]..n + pads[7])
                .map(|o| at(o).unwrap_or(0.0))
                .collect()
        }
        "Slice" => {
            let (starts, steps) = (integers(1), integers(4));
            let start = *starts.last().unwrap() as usize;
            x[start..]
                .iter()
                .step_by(*steps.last().unwrap() as usize)
                .copied()
                .collect()
        }
        "Add" | "Concat" => (0..x.len())
            .map(|o| {
                inputs
                    .iter()
                    .enumerate()
                    .map(|(t, v)| v[o] * weight(index, t))
                    .sum()
            })
            .collect(),
        "Relu" => x.iter().map(|v| v.max(0.5)).collect(),
        other => panic!("the test interpreter has no {other}"),
    }
}

fn resize(graph: &Graph<'_>, node: &NodeProto, x: &[f64]) -> Vec<f64> {
    let scales = graph
        .constant(node.input_name(2).unwrap())
        .unwrap()
        .unwrap();
    let scale = f64::from(*scales.to_f32_vec().unwrap().last().unwrap());
    let attribute = |name: &str, default| node.string(name).unwrap().unwrap_or(default).to_owned();
    let mode = attribute("coordinate_transformation_mode", "half_pixel");
    let n_out = (x.len() as f64 * scale) as usize;
    let at = |position: f64| x[(position.max(0.0) as usize).min(x.len() - 1)];
    (0..n_out)
        .map(|o| {
            let o = o as f64;
            let c = match mode.as_str() {
                "asymmetric" => o / scale,
                "align_corners" => o * (x.len() - 1) as f64 / (n_out - 1) as f64,
                _ => (o + 0.5) / scale - 0.5,
            };
            let (floor, t) = (c.floor(), c - c.floor());
            match attribute("mode", "nearest").as_str() {
                "nearest" => match attribute("nearest_mode", "round_prefer_floor").as_str() {
                    "floor" => at(floor),
                    "ceil" => at(c.ceil()),
                    "round_prefer_ceil" => at((c + 0.5).floor()),
                    _ => at((c - 0.5).ceil()),
                },
                "linear" => at(floor) * (1.0 - t) + at(floor + 1.0) * t,
                _ => {
                    let near = |d: f64| (1.25 * d - 2.25) * d * d + 1.0;
                    let far = |d: f64| ((-0.75 * d + 3.75) * d - 6.0) * d + 3.0;
                    at(floor - 1.0) * far(1.0 + t)
                        + at(floor) * near(t)
                        + at(floor + 1.0) * near(1.0 - t)
                        + at(floor + 2.0) * far(2.0 - t)
                }
            }
        })
        .collect()
}
