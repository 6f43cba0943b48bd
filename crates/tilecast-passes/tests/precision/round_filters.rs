//! Weights in 16 bits whose filters keep their mean answer.

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Model, Tensor, attribute, node};
use tilecast_passes::{PassReport, Precision, RoundFilters, run_pass};
use tilecast_quant::HalfFormat;

use crate::common::{bias, conv, model, plan, run, weights};
use crate::traps::observe;

fn rounded(model: &Model) -> (Model, PassReport) {
    let plan = plan(model, Precision::Fp16, "generic");
    let evidence = observe(model);
    let mut rounded = model.clone();
    let pass = RoundFilters {
        plan: &plan,
        evidence: &evidence,
    };
    let report = run_pass(&pass, &mut rounded).unwrap();
    (rounded, report)
}

/// The model with these initializers rounded to nearest.
fn nearest(model: &Model, names: &[&str]) -> Model {
    let mut proto = model.proto().clone();
    let graph = proto.graph.as_mut().unwrap();
    for tensor in &mut graph.initializer {
        let name = tensor.name.clone().unwrap();
        if names.contains(&name.as_str()) {
            let exact = Tensor::from_proto(tensor).unwrap();
            let mut values = exact.to_f32_vec().unwrap();
            HalfFormat::F16.round_in_place(&mut values);
            *tensor = Tensor::from_f32(exact.dims().to_vec(), &values).to_proto(&name);
        }
    }
    Model::from_proto(proto).unwrap()
}

/// Largest difference of the mean of any of the `n` output channels, the first axis of an output being 1.
fn mean_shift(before: &Model, after: &Model, n: usize) -> f64 {
    let means = |model: &Model| -> Vec<f64> {
        let output = run(model);
        let of = |channel: &[f32]| {
            channel.iter().map(|&v| f64::from(v)).sum::<f64>() / channel.len() as f64
        };
        output.chunks(output.len() / n).map(of).collect()
    };
    let shifts = means(before).into_iter().zip(means(after));
    shifts.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn awkward(dims: &[usize]) -> Tensor {
    let len: usize = dims.iter().product();
    let values: Vec<f32> = (0..len).map(|i| (i as f32 * 1.37).sin() * 0.3).collect();
    Tensor::from_f32(dims.to_vec(), &values)
}

/// The one node `y = op(x, w, b)`.
fn alone(
    op: &str,
    weight: &[usize],
    biases: Option<usize>,
) -> (NodeProto, Vec<(&'static str, Tensor)>) {
    let mut constants = vec![("w", awkward(weight))];
    let mut inputs = vec!["x", "w"];
    if let Some(n) = biases {
        constants.push(("b", awkward(&[n])));
        inputs.push("b");
    }
    (node(op, "layer", &inputs, &["y"]), constants)
}

#[test]
fn the_mean_output_stays() {
    let stride = attribute::ints("strides", &[2, 2]);
    let (grouped, of_grouped) = alone("Conv", &[4, 1, 3, 3], Some(4));
    let (dense, of_dense) = alone("Conv", &[3, 2, 1, 1], None);
    let (transposed, of_transposed) = alone("ConvTranspose", &[2, 3, 2, 2], Some(3));
    let cases = [
        (
            grouped.with_attribute(attribute::int("group", 2)),
            of_grouped,
            4,
        ),
        (dense, of_dense, 3),
        (transposed.with_attribute(stride), of_transposed, 3),
    ];
    // Two weights and no bias leave little to choose from; without padding, taps see a little less than the whole input.
    let limits = [0.2, 0.5, 0.2];
    for ((node, constants, n_channels), limit) in cases.into_iter().zip(limits) {
        let op = node.op().to_owned();
        let model = model(vec![node], &constants, n_channels);
        let (kept, report) = rounded(&model);
        assert!(report.changed && report.declined.is_empty(), "{report:?}");
        let plain = nearest(&model, &["w", "b"]);
        let n_channels = n_channels as usize;
        let (kept, plain) = (
            mean_shift(&model, &kept, n_channels),
            mean_shift(&model, &plain, n_channels),
        );
        assert!(kept < limit * plain, "{op}: {kept:e}, to nearest {plain:e}");
    }
}

#[test]
fn every_weight_is_a_number_of_the_format() {
    let (node, constants) = alone("Conv", &[4, 2, 1, 1], Some(4));
    let model = model(vec![node], &constants, 4);
    let (kept, _) = rounded(&model);
    let again = nearest(&kept, &["w", "b"]);
    assert_eq!(run(&kept), run(&again));
    assert_ne!(run(&kept), run(&model));
}

#[test]
fn shared_weights_are_left_alone_and_the_reason_is_told() {
    let model = model(
        vec![conv("x", "w", "b", "a"), conv("a", "w", "b2", "y")],
        &[
            ("w", weights([0.1, 0.2, 0.3, 0.4])),
            ("b", bias([0.1, 0.3])),
            ("b2", bias([0.1, 0.3])),
        ],
        2,
    );
    let (after, report) = rounded(&model);
    assert!(!report.changed);
    assert_eq!(report.declined.len(), 2);
    assert!(report.declined[0].reason.contains("of its own"));
    assert_eq!(after.proto(), model.proto());
}

#[test]
fn a_shared_bias_stays_and_the_weights_do_without_it() {
    let constants = [
        ("w", awkward(&[2, 2, 1, 1])),
        ("w2", awkward(&[2, 2, 1, 1])),
        ("b", bias([0.1, 0.3])),
    ];
    let nodes = vec![conv("x", "w", "b", "a"), conv("a", "w2", "b", "y")];
    let model = model(nodes, &constants, 2);
    let (after, report) = rounded(&model);
    assert!(report.changed && report.declined.is_empty());
    let stored = |model: &Model, name| model.graph().constant(name).unwrap().unwrap().to_f32_vec();
    assert_eq!(stored(&after, "b"), stored(&model, "b"));
    assert_ne!(stored(&after, "w"), stored(&model, "w"));
}
