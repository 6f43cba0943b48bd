//! INT8: where Q/DQ pairs go, what they hold, and that the rewritten graph still computes the same thing.

use std::collections::BTreeMap;

use crate::common::{
    bias, chain, conv, initializer_type, listing, max_abs, model, plan, run, target, weights,
};
use tilecast_onnx::{DataType, Model, node};
use tilecast_passes::{
    InsertQdq, PassReport, PerChannel, Pins, PlanRequest, Precision, PrecisionPlan, RangeSource,
    run_pass,
};
use tilecast_quant::Range;

fn quantized(
    model: &Model,
    plan: &PrecisionPlan,
    ranges: &[(&str, f32, f32)],
) -> (Model, PassReport) {
    let ranges: BTreeMap<String, Range> = ranges
        .iter()
        .map(|(name, min, max)| ((*name).to_owned(), Range::new(*min, *max).unwrap()))
        .collect();
    let pass = InsertQdq {
        plan,
        target: target("ort-cpu"),
        per_channel: PerChannel::Yes,
        ranges: &ranges,
    };
    let mut model = model.clone();
    let report = run_pass(&pass, &mut model).unwrap();
    (model, report)
}

#[test]
fn pairs_surround_int8_convolutions_and_relu_is_absorbed() {
    let model = chain();
    let plan = plan(&model, Precision::Int8, "ort-cpu");
    let values = InsertQdq::calibrated_values(&model.graph(), &plan, target("ort-cpu"));
    assert_eq!(values, ["a", "r", "c"]);
    let (quantized, report) = quantized(
        &model,
        &plan,
        &[("a", -1.0, 2.0), ("r", 0.0, 2.0), ("c", -1.0, 3.0)],
    );
    assert!(report.changed && report.declined.is_empty());
    assert_eq!(
        listing(&quantized),
        [
            "Conv(x, w1, b1) -> a",
            "QuantizeLinear(a, a_scale, a_zp) -> a_q",
            "DequantizeLinear(a_q, a_scale, a_zp) -> a_dq",
            "DequantizeLinear(w2_q, w2_scale, w2_zp) -> w2_dq",
            "DequantizeLinear(b2_q, b2_scale, b2_zp) -> b2_dq",
            "Conv(a_dq, w2_dq, b2_dq) -> b",
            "Relu(b) -> r",
            "QuantizeLinear(r, r_scale, r_zp) -> r_q",
            "DequantizeLinear(r_q, r_scale, r_zp) -> r_dq",
            "DequantizeLinear(w3_q, w3_scale, w3_zp) -> w3_dq",
            "DequantizeLinear(b3_q, b3_scale, b3_zp) -> b3_dq",
            "Conv(r_dq, w3_dq, b3_dq) -> c",
            "QuantizeLinear(c, c_scale, c_zp) -> c_q",
            "DequantizeLinear(c_q, c_scale, c_zp) -> c_dq",
            "Conv(c_dq, w4, b4) -> y",
        ]
    );
    let types =
        ["w2_q", "b2_q", "a_zp", "a_scale"].map(|name| initializer_type(&quantized, name).unwrap());
    assert_eq!(
        types,
        [DataType::I8, DataType::I32, DataType::U8, DataType::F32]
    );
    assert_eq!(
        initializer_type(&quantized, "w2"),
        None,
        "the float weights are gone"
    );
    assert_eq!(quantized.graph().initializer("w2_scale").unwrap().dims, [2]);
}

#[test]
fn the_result_differs_by_quantization_noise_and_nothing_else() {
    let model = chain();
    let plan = plan(&model, Precision::Int8, "ort-cpu");
    let (quantized, _) = quantized(
        &model,
        &plan,
        &[("a", -1.0, 2.0), ("r", 0.0, 2.0), ("c", -1.0, 3.0)],
    );
    let difference = max_abs(&run(&model), &run(&quantized));
    // Three activations of at most 4/255 per step, each through weights that sum to at most 1.75 per channel.
    assert!(difference > 0.0 && difference < 0.05, "{difference}");
}

#[test]
fn one_pair_serves_all_readers_and_float_readers_keep_float_inputs() {
    // `a` comes out of a float node: only the INT8 convolutions read it quantized. `b` comes out of an INT8 node:
    // everyone does.
    let model = model(
        vec![
            conv("x", "w", "", "a"),
            conv("a", "w", "", "b"),
            conv("a", "w", "", "c"),
            node("Add", "add1", &["a", "b"], &["d"]),
            node("Add", "add2", &["d", "c"], &["e"]),
            conv("e", "w", "", "y"),
        ],
        &[("w", weights([0.5, 0.25, -0.5, 1.0]))],
        2,
    );
    let plan = plan(&model, Precision::Int8, "ort-cpu");
    let ranges = [("a", -1.0, 2.0), ("b", -2.0, 2.0), ("c", -2.0, 2.0)];
    let (quantized, _) = quantized(&model, &plan, &ranges);
    let lines = listing(&quantized);
    assert!(
        lines.contains(&"Add(a, b_dq) -> d".to_owned()),
        "{lines:#?}"
    );
    assert!(lines.contains(&"Add(d, c_dq) -> e".to_owned()));
    assert_eq!(
        lines
            .iter()
            .filter(|l| l.starts_with("QuantizeLinear(a,"))
            .count(),
        1
    );
    // The shared weight is quantized once and kept in float for the pinned ends.
    assert_eq!(
        lines
            .iter()
            .filter(|l| l.starts_with("DequantizeLinear(w_q,"))
            .count(),
        1
    );
    assert_eq!(initializer_type(&quantized, "w"), Some(DataType::F32));
}

#[test]
fn a_quantized_graph_output_keeps_its_name() {
    let model = model(
        vec![conv("x", "w", "", "y")],
        &[("w", weights([0.5, 0.25, -0.5, 1.0]))],
        2,
    );
    let pins = Pins {
        first_conv: Precision::Int8,
        last_conv: Precision::Int8,
        norms: Precision::Int8,
    };
    let request = PlanRequest {
        precision: Precision::Int8,
        target: target("ort-cpu"),
        pins,
        overrides: &[],
        ranges: RangeSource::Static,
    };
    let plan = PrecisionPlan::new(&model, &request);
    let (quantized, _) = quantized(&model, &plan, &[("x", 0.0, 1.0), ("y", -1.0, 1.5)]);
    assert_eq!(
        listing(&quantized)[3..],
        [
            "Conv(x_dq, w_dq, ) -> y_raw",
            "QuantizeLinear(y_raw, y_scale, y_zp) -> y_q",
            "DequantizeLinear(y_q, y_scale, y_zp) -> y",
        ]
    );
    assert!(max_abs(&run(&model), &run(&quantized)) < 0.03);
}

#[test]
fn what_cannot_be_quantized_is_left_in_float_with_the_reason() {
    let full = [("a", -1.0, 2.0), ("r", 0.0, 2.0), ("c", -1.0, 3.0)];
    let case = |edit: &dyn Fn(&mut Model), ranges: &[(&str, f32, f32)], reason: &str| {
        let mut model = chain();
        edit(&mut model);
        let plan = plan(&model, Precision::Int8, "ort-cpu");
        let (_, report) = quantized(&model, &plan, ranges);
        assert!(
            report
                .declined
                .iter()
                .any(|d| d.node.contains("conv_") && d.reason.contains(reason)),
            "{reason}: {:?}",
            report.declined
        );
    };
    case(
        &|_| {},
        &[("a", -1.0, 2.0), ("r", 0.0, 2.0)],
        "`c` was not calibrated",
    );
    case(
        &|m| m.proto_mut().opset_import[0].version = Some(12),
        &full,
        "opset 12 has no scales per channel; it needs 13",
    );
    let nan = weights([f32::NAN, 0.0, 0.0, 1.0]).to_proto("w2");
    case(
        &|m| m.proto_mut().graph.as_mut().unwrap().initializer[2] = nan.clone(),
        &full,
        "`w2` holds values that are not finite",
    );
}

#[test]
fn a_bias_beyond_32_bits_raises_the_weight_scale_instead_of_saturating() {
    // Weights of 1e-7 beside a bias of 100: at the scale of the accumulator the bias needs 37 bits.
    let model = model(
        vec![
            conv("x", "w", "b", "a"),
            conv("a", "w5", "b5", "c"),
            conv("c", "w", "b", "y"),
        ],
        &[
            ("w", weights([1.0, 0.0, 0.0, 1.0])),
            ("b", bias([0.0, 0.0])),
            ("w5", weights([1e-7, 0.0, 0.0, 1.0])),
            ("b5", bias([100.0, 0.5])),
        ],
        2,
    );
    let plan = plan(&model, Precision::Int8, "ort-cpu");
    let (quantized, _) = quantized(&model, &plan, &[("a", 0.0, 1.0), ("c", 0.0, 101.0)]);
    assert!(max_abs(&run(&model), &run(&quantized)) < 101.0 / 255.0);
}

/// Kernels for processors without VNNI add two products of 8-bit numbers in 16 bits: only weights of one sign can overflow there.
#[test]
fn neighbouring_weights_of_one_sign_leave_room_for_sums_in_16_bits() {
    let model = model(
        vec![
            conv("x", "w1", "b1", "a"),
            conv("a", "w2", "b2", "b"),
            conv("b", "w1", "b1", "y"),
        ],
        &[
            ("w1", weights([0.5, -0.25, 1.0, 0.75])),
            ("b1", bias([0.1, -0.2])),
            ("w2", weights([1.0, 1.0, 1.0, -1.0])),
            ("b2", bias([0.1, -0.2])),
        ],
        2,
    );
    let plan = plan(&model, Precision::Int8, "ort-cpu");
    let (quantized, report) = quantized(&model, &plan, &[("a", -1.0, 2.0), ("b", -2.0, 2.0)]);
    assert!(report.changed && report.declined.is_empty());
    let stored = |name| quantized.graph().constant(name).unwrap().unwrap();
    let integers: Vec<i8> = stored("w2_q")
        .bytes()
        .iter()
        .map(|b| b.cast_signed())
        .collect();
    assert_eq!(integers, [63, 63, 127, -127]);
    let scales = stored("w2_scale").to_f32_vec().unwrap();
    assert!((scales[0] - 2.0 / 127.0).abs() < 1e-6 && (scales[1] - 1.0 / 127.0).abs() < 1e-6);
    // The bias follows the scale of its filter.
    let biases = stored("b2_scale").to_f32_vec().unwrap();
    assert!((biases[0] / biases[1] - 2.0).abs() < 1e-5);
}
