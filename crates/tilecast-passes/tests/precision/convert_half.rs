//! FP16: where casts go, what stays float32, and that the rewritten graph still computes the same thing.

use crate::common::{
    chain, conv, initializer_type, listing, max_abs, model, plan, request, run, sample, weights,
};
use tilecast_onnx::{
    DataType, Model, SaveOptions, Tensor, attribute, infer_types, mixed_float_operands, node,
};
use tilecast_passes::{
    ConvertHalf, IoTypes, Override, PlanRequest, Precision, PrecisionPlan, StoreFloat16, run_pass,
};
use tilecast_quant::HalfFormat;

fn converted(model: &Model, plan: &PrecisionPlan) -> Model {
    let mut model = model.clone();
    assert!(
        run_pass(
            &ConvertHalf {
                plan,
                io: &IoTypes::default()
            },
            &mut model
        )
        .unwrap()
        .changed
    );
    assert_eq!(mixed_float_operands(model.proto(), model.opset()), []);
    model
}

#[test]
fn inputs_and_outputs_keep_their_type_with_one_cast_each() {
    let model = chain();
    let half = converted(&model, &plan(&model, Precision::Fp16, "generic"));
    let lines = listing(&half);
    assert_eq!(lines.first().unwrap(), "Cast(x) -> x_fp16");
    assert_eq!(lines.last().unwrap(), "Cast(y_fp16) -> y");
    assert_eq!(lines.iter().filter(|l| l.starts_with("Cast")).count(), 2);
    assert!(
        ["w1", "b4"]
            .iter()
            .all(|name| initializer_type(&half, name) == Some(DataType::F16))
    );
    let difference = max_abs(&run(&model), &run(&half));
    assert!(difference > 0.0 && difference < 5e-3, "{difference}");
}

#[test]
fn casts_stand_where_precisions_meet_and_a_shared_constant_is_kept_in_both() {
    let model = model(
        vec![
            conv("x", "w", "", "a"),
            conv("a", "w", "", "b"),
            node("Add", "add", &["a", "b"], &["c"]),
            conv("c", "w", "", "y"),
        ],
        &[("w", weights([0.5, 0.25, -0.5, 1.0]))],
        2,
    );
    let overrides = [Override::new("conv_b", Precision::Fp32).unwrap()];
    let request = PlanRequest {
        overrides: &overrides,
        ..request(Precision::Fp16, "generic")
    };
    let half = converted(&model, &PrecisionPlan::new(&model, &request));
    assert_eq!(
        listing(&half),
        [
            "Cast(x) -> x_fp16",
            "Conv(x_fp16, w_fp16, ) -> a",
            "Cast(a) -> a_fp32",
            "Conv(a_fp32, w, ) -> b",
            "Cast(b) -> b_fp16",
            "Add(a, b_fp16) -> c",
            "Conv(c, w_fp16, ) -> y_fp16",
            "Cast(y_fp16) -> y",
        ]
    );
    assert_eq!(initializer_type(&half, "w"), Some(DataType::F32));
    assert_eq!(initializer_type(&half, "w_fp16"), Some(DataType::F16));
    assert!(max_abs(&run(&model), &run(&half)) < 5e-3);
}

#[test]
fn types_held_in_attributes_follow_and_integer_work_does_not() {
    let model = model(
        vec![
            node("Shape", "shape", &["x"], &["dims"]),
            node("ConstantOfShape", "ones", &["dims"], &["o"]).with_attribute(attribute::tensor(
                "value",
                &Tensor::from_f32(vec![1], &[0.25]),
            )),
            node("Cast", "to_int", &["x"], &["xi"]).with_attribute(attribute::int("to", 6)),
            node("Cast", "to_float", &["xi"], &["xf"]).with_attribute(attribute::int("to", 1)),
            node("Add", "add", &["xf", "o"], &["s"]),
            node("Resize", "resize", &["s", "", "scales"], &["y"])
                .with_attribute(attribute::string("mode", "nearest")),
        ],
        &[("scales", Tensor::from_f32(vec![4], &[1.0, 1.0, 1.0, 1.0]))],
        2,
    );
    let half = converted(&model, &plan(&model, Precision::Fp16, "generic"));
    let graph = half.graph();
    let types = infer_types(&graph);
    for (value, expected) in [
        ("dims", DataType::I64),
        ("o", DataType::F16),
        ("xi", DataType::I32),
        ("xf", DataType::F16),
        ("s", DataType::F16),
    ] {
        assert_eq!(types[value], expected, "{value}");
    }
    assert_eq!(
        initializer_type(&half, "scales"),
        Some(DataType::F32),
        "Resize takes its scales in float32"
    );
    assert!(max_abs(&run(&model), &run(&half)) < 1e-3);
}

#[test]
fn the_border_gets_the_format_where_it_is_asked_to() {
    let model = chain();
    let plan = plan(&model, Precision::Fp16, "generic");
    let io = IoTypes {
        converted: Some(HalfFormat::F16),
        kept: ["y".to_owned()].into(),
    };
    let mut half = model.clone();
    let _ = run_pass(
        &ConvertHalf {
            plan: &plan,
            io: &io,
        },
        &mut half,
    )
    .unwrap();
    let lines = listing(&half);
    assert_eq!(lines.first().unwrap(), "Conv(x, w1, b1) -> a");
    assert_eq!(lines.last().unwrap(), "Cast(y_fp16) -> y");
    let types = infer_types(&half.graph());
    assert_eq!((types["x"], types["y"]), (DataType::F16, DataType::F32));
    assert_eq!(mixed_float_operands(half.proto(), half.opset()), []);
}

#[test]
fn the_sample_is_consistently_typed_and_half_the_size() {
    let model = sample();
    let half = converted(&model, &plan(&model, Precision::Fp16, "generic"));
    let graph = half.graph();
    let types = infer_types(&graph);
    // Every float operand of an arithmetic node has the type of its result.
    for (id, node) in graph
        .nodes()
        .filter(|(_, n)| ["Conv", "Mul", "Add", "Sub", "Div", "Pow"].contains(&n.op()))
    {
        let result = types[node.output_name(0).unwrap()];
        for name in node.input.iter().filter(|n| !n.is_empty()) {
            assert_eq!(types[name.as_str()], result, "{}: {name}", graph.path(id));
        }
    }
    let ratio = half.encoded_len() as f64 / model.encoded_len() as f64;
    assert!(ratio < 0.52, "{ratio}");
}

#[test]
fn storing_in_fp16_puts_a_cast_behind_large_weights_only() {
    let large = Tensor::from_f32(vec![2, 2, 32, 32], &[0.125; 4096]);
    let model = model(
        vec![
            node("Conv", "first", &["x", "w1", "b1"], &["a"])
                .with_attribute(attribute::ints("pads", &[16, 16, 15, 15])),
            conv("a", "w2", "", "y"),
        ],
        &[
            ("w1", large),
            ("b1", crate::common::bias([0.5, 0.25])),
            ("w2", weights([1e6, 0.25, -0.5, 1.0])),
        ],
        2,
    );
    let plan = plan(&model, Precision::Fp16, "ort-cpu");
    let mut stored = model.clone();
    let report = run_pass(&StoreFloat16 { plan: &plan }, &mut stored).unwrap();
    assert_eq!(
        listing(&stored)[..2],
        ["Cast(w1_fp16) -> w1", "Conv(x, w1, b1) -> a"]
    );
    assert_eq!(
        initializer_type(&stored, "b1"),
        Some(DataType::F32),
        "a Cast would cost more than it saves"
    );
    assert_eq!(
        report.declined[0].reason,
        "`w2` holds values beyond the range of FP16"
    );
    assert!(
        max_abs(&run(&model), &run(&stored)).abs() < 1e-6,
        "these weights are exact in FP16"
    );
}

#[test]
fn weights_in_external_files_are_converted_when_they_are_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let inside = sample();
    let options = SaveOptions {
        largest_single_file: 0,
    };
    inside.save_with(&path("fp32.onnx"), &options).unwrap();
    let outside = Model::load(&path("fp32.onnx")).unwrap();
    let plan = plan(&inside, Precision::Fp16, "generic");
    let expected = converted(&inside, &plan);
    let half = converted(&outside, &plan);
    half.save(&path("fp16.onnx")).unwrap();
    let saved = Model::load(&path("fp16.onnx")).unwrap();
    for model in [&half, &saved] {
        for tensor in &expected.graph_proto().initializer {
            let name = tensor.name.as_deref().unwrap();
            let found = model.graph().constant(name).unwrap().unwrap();
            assert_eq!(found, Tensor::from_proto(tensor).unwrap(), "{name}");
        }
    }
    let n_lazy = half
        .graph_proto()
        .initializer
        .iter()
        .filter(|t| t.is_external())
        .count();
    assert!(n_lazy > 100, "{n_lazy}");
    let payload_bytes = |model: &Model| model.stored_bytes() - model.encoded_len() as u64;
    assert_eq!(payload_bytes(&half), payload_bytes(&saved));
    let data = std::fs::metadata(path("fp32.onnx.data")).unwrap().len();
    assert!(std::fs::metadata(path("fp16.onnx.data")).unwrap().len() < data * 6 / 10);
    // Writing over the file that the weights still lie in.
    half.save(&path("fp32.onnx")).unwrap();
    assert!(
        std::fs::read(path("fp32.onnx.data")).unwrap()
            == std::fs::read(path("fp16.onnx.data")).unwrap()
    );
}
