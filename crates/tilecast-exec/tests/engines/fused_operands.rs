//! Binary operators on the result of a convolution. tract computes them inside the convolution, and swaps the operands
//! of some where the constant stands first.

use tilecast_exec::{Engine, HostTensor};
use tilecast_onnx::proto::{NodeProto, TensorProto};
use tilecast_onnx::{Tensor, attribute, node};

use crate::{Small, on_each_engine, values};

const DIMS: [usize; 4] = [1, 4, 9, 11];

fn conv(side: usize) -> NodeProto {
    let pad = (side / 2) as i64;
    node("Conv", "conv", &["x", "w", "b"], &["c"])
        .with_attribute(attribute::ints("kernel_shape", &[side as i64; 2]))
        .with_attribute(attribute::ints("pads", &[pad; 4]))
}

fn weights(side: usize) -> Vec<TensorProto> {
    let n = 16 * side * side;
    let w: Vec<f32> = values(3, n).iter().map(|v| v - 0.5).collect();
    vec![
        Tensor::from_f32(vec![4, 4, side, side], &w).to_proto("w"),
        Tensor::from_f32(vec![4], &[3.0, 4.0, 5.0, 6.0]).to_proto("b"),
    ]
}

fn run(engine: &dyn Engine, nodes: Vec<NodeProto>, initializers: Vec<TensorProto>) -> Vec<f32> {
    let input = HostTensor::new(DIMS.to_vec(), values(1, DIMS.iter().product()));
    Small::new(&DIMS, nodes, initializers)
        .run(engine, &input)
        .into_data()
}

/// Element `index` of the output's operand, broadcast from its dims.
fn broadcast(dims: &[usize], data: &[f32], index: usize) -> f32 {
    match data.len() {
        1 => data[0],
        4 => data[index / (DIMS[2] * DIMS[3])],
        _ => {
            assert_eq!(dims, DIMS);
            data[index]
        }
    }
}

#[test]
fn operands_keep_their_order_behind_a_convolution() {
    on_each_engine(|engine| {
        let others: [(&str, Vec<usize>); 4] = [
            ("scalar", vec![]),
            ("channel", vec![1, 4, 1, 1]),
            ("full", DIMS.to_vec()),
            ("x", DIMS.to_vec()),
        ];
        for side in [1, 3, 5] {
            for between in ["Identity", "Relu", "Sigmoid", "Mul", "Add"] {
                let step = match between {
                    "Mul" | "Add" => node(between, "step", &["c", "b1"], &["d"]),
                    _ => node(between, "step", &["c"], &["d"]),
                };
                let mut initializers = weights(side);
                initializers.push(
                    Tensor::from_f32(vec![1, 4, 1, 1], &[0.5, 0.75, 1.25, 1.5]).to_proto("b1"),
                );
                let mut alone = step.clone();
                alone.output[0] = "y".into();
                let reference = run(engine, vec![conv(side), alone], initializers.clone());
                for op in ["Add", "Sub", "Mul", "Div", "Max", "Min"] {
                    for (name, dims) in &others {
                        let data: Vec<f32> = match *name {
                            "x" => values(1, DIMS.iter().product()),
                            _ => values(7, dims.iter().product())
                                .iter()
                                .map(|v| v + 0.5)
                                .collect(),
                        };
                        for operands in [[*name, "d"], ["d", *name]] {
                            let mut initializers = initializers.clone();
                            if *name != "x" {
                                initializers
                                    .push(Tensor::from_f32(dims.clone(), &data).to_proto(name));
                            }
                            let got = run(
                                engine,
                                vec![conv(side), step.clone(), node(op, "op", &operands, &["y"])],
                                initializers,
                            );
                            for (index, (&got, &d)) in got.iter().zip(&reference).enumerate() {
                                let other = broadcast(dims, &data, index);
                                let [a, b] = if operands[0] == "d" {
                                    [d, other]
                                } else {
                                    [other, d]
                                };
                                let want = match op {
                                    "Add" => a + b,
                                    "Sub" => a - b,
                                    "Mul" => a * b,
                                    "Div" => a / b,
                                    "Max" => a.max(b),
                                    _ => a.min(b),
                                };
                                assert!(
                                    (got - want).abs() <= 1e-4 * want.abs().max(1.0),
                                    "{side}x{side}, {between}, {op}({}, {}): element {index} is {got}, not {want}",
                                    operands[0],
                                    operands[1]
                                );
                            }
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn what_no_input_reaches_is_a_constant_operand_too() {
    on_each_engine(|engine| {
        let alone = run(engine, vec![renamed(conv(3))], weights(3));
        let operands = [
            vec![node("Identity", "copy", &["one"], &["k"])],
            vec![node("Add", "sum", &["half", "half"], &["k"])],
            vec![
                node("Shape", "shape", &["x"], &["s"]),
                node("Expand", "expand", &["one", "s"], &["k"]),
            ],
        ];
        for (op, nodes) in ["Sub", "Div"]
            .into_iter()
            .flat_map(|op| operands.iter().map(move |nodes| (op, nodes)))
        {
            let constant = |name: &str, v| Tensor::from_f32(vec![1; 4], &[v]).to_proto(name);
            let mut initializers = weights(3);
            initializers.extend([constant("one", 1.0), constant("half", 0.5)]);
            let last = node(op, "op", &["k", "c"], &["y"]);
            let nodes: Vec<NodeProto> = nodes.iter().cloned().chain([conv(3), last]).collect();
            for (got, c) in run(engine, nodes, initializers).iter().zip(&alone) {
                let want = if op == "Sub" { 1.0 - c } else { 1.0 / c };
                assert!(
                    (got - want).abs() <= 1e-4 * want.abs().max(1.0),
                    "{op}: {got}, not {want}"
                );
            }
        }
    });
}

/// The node with `y` as its output.
fn renamed(mut node: NodeProto) -> NodeProto {
    node.output[0] = "y".into();
    node
}
