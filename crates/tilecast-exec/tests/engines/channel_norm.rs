//! Normalization over channels that an exporter has taken apart: put together it gives what its operators give, and it is
//! left alone where something else reads what is in between.

use tilecast_exec::{HostTensor, TractEngine};
use tilecast_onnx::proto::{NodeProto, TensorProto};
use tilecast_onnx::{Tensor, attribute, node};

use crate::{Small, values};

const DIMS: [usize; 4] = [1, 4, 9, 40];

/// `scaled` puts a scale and a shift behind it, `squares` is the operator that squares.
fn norm(squares: &str, scaled: bool) -> Vec<NodeProto> {
    let mean = |name: &str, input: &str, output: &str| {
        node("ReduceMean", name, &[input, "axes"], &[output])
    };
    let last = if scaled { "n" } else { "y" };
    let square = match squares {
        "Pow" => node("Pow", "square", &["d", "two"], &["p"]),
        _ => node("Mul", "square", &["d", "d"], &["p"]),
    };
    let mut nodes = vec![
        mean("mean", "x", "m"),
        node("Sub", "sub", &["x", "m"], &["d"]),
        square,
        mean("variance", "p", "v"),
        node("Add", "add", &["v", "epsilon"], &["a"]),
        node("Sqrt", "root", &["a"], &["s"]),
        node("Div", "div", &["d", "s"], &[last]),
    ];
    if scaled {
        nodes.push(node("Mul", "scale", &["gamma", "n"], &["g"]));
        nodes.push(node("Add", "shift", &["g", "beta"], &["y"]));
    }
    nodes
}

fn constants() -> Vec<TensorProto> {
    let list = |name: &str, dims: &[usize], data: &[f32]| {
        Tensor::from_f32(dims.to_vec(), data).to_proto(name)
    };
    vec![
        Tensor::from_i64(vec![1], &[1]).to_proto("axes"),
        list("two", &[], &[2.0]),
        list("epsilon", &[], &[1e-3]),
        list("gamma", &[1, 4, 1, 1], &[0.5, 1.0, -2.0, 3.0]),
        list("beta", &[4, 1, 1], &[0.0, 1.0, 2.0, -1.0]),
    ]
}

fn expected(input: &[f32], scaled: bool) -> Vec<f64> {
    let n_pixels = DIMS[2] * DIMS[3];
    let mut expected = vec![0.0; input.len()];
    for pixel in 0..n_pixels {
        let at = |channel: usize| f64::from(input[channel * n_pixels + pixel]);
        let mean = (0..4).map(at).sum::<f64>() / 4.0;
        let variance = (0..4).map(|c| (at(c) - mean).powi(2)).sum::<f64>() / 4.0;
        for channel in 0..4 {
            let value = (at(channel) - mean) / (variance + 1e-3).sqrt();
            expected[channel * n_pixels + pixel] = if scaled {
                value * [0.5, 1.0, -2.0, 3.0][channel] + [0.0, 1.0, 2.0, -1.0][channel]
            } else {
                value
            };
        }
    }
    expected
}

#[test]
fn it_gives_what_its_operators_give() {
    let input = values(5, DIMS.iter().product());
    for squares in ["Pow", "Mul"] {
        for scaled in [false, true] {
            let small = Small::new(&DIMS, norm(squares, scaled), constants());
            let found = small.run(
                &TractEngine::new(),
                &HostTensor::new(DIMS.to_vec(), input.clone()),
            );
            for (found, expected) in found.data().iter().zip(expected(&input, scaled)) {
                let difference = (f64::from(*found) - expected).abs();
                assert!(
                    difference < 1e-5,
                    "{squares} {scaled}: {found} for {expected}"
                );
            }
        }
    }
}

/// Axes were attributes before opset 18.
#[test]
fn it_is_found_in_old_opsets_too() {
    let input = values(5, DIMS.iter().product());
    let mut nodes = norm("Pow", true);
    for node in nodes.iter_mut().filter(|node| node.op() == "ReduceMean") {
        node.input.pop();
        node.attribute.push(attribute::ints("axes", &[1]));
    }
    let mut small = Small::new(&DIMS, nodes, constants());
    small.opset = 17;
    let found = small.run(
        &TractEngine::new(),
        &HostTensor::new(DIMS.to_vec(), input.clone()),
    );
    for (found, expected) in found.data().iter().zip(expected(&input, true)) {
        assert!(
            (f64::from(*found) - expected).abs() < 1e-5,
            "{found} for {expected}"
        );
    }
}

#[test]
fn what_else_reads_the_inside_still_can() {
    let input = values(5, DIMS.iter().product());
    let mut nodes = norm("Mul", false);
    // The result is divided by the deviation again.
    nodes[6].output[0] = "n".into();
    nodes.push(node("Div", "again", &["n", "s"], &["y"]));
    let small = Small::new(&DIMS, nodes, constants());
    let found = small.run(
        &TractEngine::new(),
        &HostTensor::new(DIMS.to_vec(), input.clone()),
    );
    let n_pixels = DIMS[2] * DIMS[3];
    let plain = expected(&input, false);
    for pixel in [0, 7, n_pixels - 1] {
        let at = |channel: usize| f64::from(input[channel * n_pixels + pixel]);
        let mean = (0..4).map(at).sum::<f64>() / 4.0;
        let variance = (0..4).map(|c| (at(c) - mean).powi(2)).sum::<f64>() / 4.0;
        let expected = plain[pixel] / (variance + 1e-3).sqrt();
        assert!((f64::from(found.data()[pixel]) - expected).abs() < 1e-4);
    }
}
