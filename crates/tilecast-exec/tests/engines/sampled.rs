//! Operators that read every second position, behind one that looks along the same axis. tract drops the unread positions
//! early, and takes a normalization or softmax for an operator that works on each position alone.

use tilecast_exec::{Engine, HostTensor};
use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Tensor, attribute, node};

use crate::{Small, on_each_engine, values};

const DIMS: [usize; 4] = [1, 1, 4, 6];

/// Operators along the last axis, from `x` to `n`.
fn along_the_axis() -> Vec<NodeProto> {
    let axis = || attribute::int("axis", -1);
    vec![
        node("LayerNormalization", "norm", &["x", "gain"], &["n"]).with_attribute(axis()),
        node("RMSNormalization", "norm", &["x", "gain"], &["n"]).with_attribute(axis()),
        node("Softmax", "norm", &["x"], &["n"]).with_attribute(axis()),
        node("LogSoftmax", "norm", &["x"], &["n"]).with_attribute(axis()),
        node("CumSum", "norm", &["x", "three"], &["n"]),
    ]
}

fn run(engine: &dyn Engine, nodes: Vec<NodeProto>) -> Vec<f32> {
    let n: usize = DIMS.iter().product();
    let initializers = vec![
        Tensor::from_f32(vec![6], &values(5, 6)).to_proto("gain"),
        Tensor::from_f32(vec![1, 1, 1, 1], &[1.0]).to_proto("w"),
        Tensor::from_i64(vec![], &[3]).to_proto("three"),
        Tensor::from_i64(vec![1], &[3]).to_proto("axes"),
        Tensor::from_i64(vec![1], &[0]).to_proto("start"),
        Tensor::from_i64(vec![1], &[6]).to_proto("end"),
        Tensor::from_i64(vec![1], &[2]).to_proto("step"),
    ];
    let mut graph = Small::new(&DIMS, nodes, initializers);
    graph.opset = 23;
    let input = HostTensor::new(DIMS.to_vec(), values(1, n));
    graph.run(engine, &input).into_data()
}

#[test]
fn what_is_left_unread_still_counts_along_its_axis() {
    on_each_engine(|engine| {
        let identity = |from: &str, to: &str| node("Identity", "copy", &[from], &[to]);
        for op in along_the_axis() {
            let name = op.op().to_owned();
            let whole = run(engine, vec![op.clone(), identity("n", "y")]);
            let every_second: Vec<f32> = whole.iter().copied().step_by(2).collect();
            let convolved = node("Conv", "sample", &["n", "w"], &["y"])
                .with_attribute(attribute::ints("kernel_shape", &[1, 1]))
                .with_attribute(attribute::ints("strides", &[1, 2]));
            let sliced = node(
                "Slice",
                "sample",
                &["n", "start", "end", "axes", "step"],
                &["y"],
            );
            for sample in [convolved, sliced] {
                let by = sample.op().to_owned();
                let got = run(engine, vec![op.clone(), sample]);
                assert_eq!(got.len(), every_second.len());
                for (got, want) in got.iter().zip(&every_second) {
                    assert!((got - want).abs() < 1e-5, "{name}, {by}: {got}, not {want}");
                }
            }
        }
    });
}
