//! What each target's INT8 form looks like: where pairs go, what shares a scale, what is left in float, and what the
//! runtime is predicted to make of it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::{bias, conv, listing, max_abs, model, plan, run, target, weights};
use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{DataType, Model, Tensor, attribute, node};
use tilecast_passes::{
    FloatReason, InsertQdq, PerChannel, Precision, Reason, Runs, SimplifyOptions, TARGETS, predict,
    run_pass, simplify,
};
use tilecast_quant::Range;

/// The model in the INT8 form of a target, every activation calibrated to one range unless `ranges` has another.
fn quantized(model: &Model, name: &str, ranges: &[(&str, f32, f32)]) -> Model {
    let plan = plan(model, Precision::Int8, name);
    let values = InsertQdq::calibrated_values(&model.graph(), &plan, target(name));
    let graph = model.graph();
    let range = |value: &str| {
        let clamped = graph
            .producer_node(value)
            .is_some_and(|n| ["Relu", "Clip", "MaxPool"].contains(&n.op()));
        Range::new(if clamped { 0.0 } else { -1.0 }, 2.0).unwrap()
    };
    let mut known: BTreeMap<String, Range> = values
        .into_iter()
        .map(|value| (value.clone(), range(&value)))
        .collect();
    for &(value, min, max) in ranges {
        assert!(known.contains_key(value), "{value} has no pair: {known:?}");
        known.insert(value.to_owned(), Range::new(min, max).unwrap());
    }
    let pass = InsertQdq {
        plan: &plan,
        target: target(name),
        per_channel: PerChannel::Yes,
        ranges: &known,
    };
    let mut model = model.clone();
    let report = run_pass(&pass, &mut model).unwrap();
    assert!(report.declined.is_empty(), "{:?}", report.declined);
    model
}

/// Two INT8 convolutions with a residual around the second, between pinned ends.
fn residual() -> Model {
    let mut initializers = vec![("b", bias([0.1, -0.2]))];
    initializers.push(("w", weights([0.5, -0.25, 1.0, 0.75])));
    let nodes = vec![
        conv("x", "w", "b", "first"),
        conv("first", "w", "b", "a"),
        node("Relu", "relu", &["a"], &["r"]),
        conv("r", "w", "b", "c"),
        node("Add", "add", &["c", "r"], &["s"]),
        conv("s", "w", "b", "d"),
        conv("d", "w", "b", "y"),
    ];
    model(nodes, &initializers, 2)
}

fn constant(model: &Model, name: &str) -> Tensor {
    model.graph().constant(name).unwrap().unwrap()
}

/// Scale and zero point of the pair behind a value.
fn pair(model: &Model, value: &str) -> (f32, i64) {
    let graph = model.graph();
    let quantizer = graph
        .uses(value)
        .iter()
        .map(|u| graph.node(u.node))
        .find(|n| n.is("QuantizeLinear"))
        .unwrap_or_else(|| panic!("no pair behind {value}: {:#?}", listing(model)));
    let read = |slot| constant(model, quantizer.input_name(slot).unwrap());
    let scale = read(1).to_f32_vec().unwrap()[0];
    (scale, read(2).to_i64_vec().unwrap()[0])
}

#[test]
fn tensorrt_has_pairs_on_inputs_and_on_the_residual_operand_only() {
    let model = residual();
    let quantized = quantized(&model, "tensorrt", &[]);
    assert_eq!(
        listing(&quantized),
        [
            "Conv(x, w, b) -> first",
            "QuantizeLinear(first, first_scale, first_zp) -> first_q",
            "DequantizeLinear(first_q, first_scale, first_zp) -> first_dq",
            "DequantizeLinear(w_q, w_scale, w_zp) -> w_dq",
            "Conv(first_dq, w_dq, b) -> a",
            "Relu(a) -> r",
            "QuantizeLinear(r, r_scale, r_zp) -> r_q",
            "DequantizeLinear(r_q, r_scale, r_zp) -> r_dq",
            "Conv(r_dq, w_dq, b) -> c",
            "Add(c, r_dq) -> s",
            "QuantizeLinear(s, s_scale, s_zp) -> s_q",
            "DequantizeLinear(s_q, s_scale, s_zp) -> s_dq",
            "Conv(s_dq, w_dq, b) -> d",
            "Conv(d, w, b) -> y",
        ]
    );
    let prediction = predict(&quantized, target("tensorrt"));
    for (value, runs) in [
        ("first", Runs::Float(FloatReason::ReadsFloats)),
        ("a", Runs::Int8),
        ("r", Runs::Inside),
        ("c", Runs::Int8),
        ("s", Runs::Inside),
        ("d", Runs::Int8),
        ("y", Runs::Float(FloatReason::ReadsFloats)),
    ] {
        assert_eq!(prediction.of(value), Some(runs), "{value}");
    }
    assert_eq!(prediction.islands.len(), 2, "{:?}", prediction.islands);
    assert!(max_abs(&run(&model), &run(&quantized)) < 0.2);
}

/// What must hold of every TensorRT artifact.
fn assert_symmetric(model: &Model, name: &str) {
    let graph = model.graph();
    for (id, node) in graph.nodes() {
        let path = || format!("{name}: {}", graph.path(id));
        if !["QuantizeLinear", "DequantizeLinear"].contains(&node.op()) {
            let bias = node.input_name(2).filter(|_| node.op().starts_with("Conv"));
            let is_integer = bias
                .and_then(|bias| graph.producer_node(bias))
                .is_some_and(|n| n.is("DequantizeLinear"));
            assert!(!is_integer, "{}", path());
            continue;
        }
        let zero_point = constant(model, node.input_name(2).unwrap());
        assert_eq!(zero_point.data_type(), DataType::I8, "{}", path());
        let zeros = zero_point.to_i64_vec().unwrap();
        assert!(zeros.iter().all(|&zero| zero == 0), "{}", path());
        // A pair is there for an input: some INT8 node reads it, and no output of the graph comes out of one.
        let output = node.output_name(0).unwrap();
        assert!(!graph.is_output(output), "{}", path());
        let readers = graph.uses(output).iter().map(|u| graph.node(u.node));
        let expected: &[&str] = match node.op() {
            "QuantizeLinear" => &["DequantizeLinear"],
            _ => &[
                "Conv",
                "ConvTranspose",
                "Gemm",
                "MatMul",
                "AveragePool",
                "Add",
            ],
        };
        assert!(readers.clone().count() > 0, "{}", path());
        for reader in readers {
            assert!(expected.contains(&reader.op()), "{} {reader:?}", path());
        }
    }
}

/// The sample and every export, simplified for a target.
fn real_models(name: &str) -> Vec<(String, Model)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let mut paths: Vec<_> = [root.clone(), root.join("exports")]
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "onnx"))
        .collect();
    paths.sort();
    assert!(paths.len() > 10, "{paths:?}");
    let load = |path: &std::path::PathBuf| {
        let mut model = Model::load(path).unwrap();
        simplify(&mut model, SimplifyOptions::for_target(target(name))).unwrap();
        (format!("{} for {name}", path.display()), model)
    };
    paths.iter().map(load).collect()
}

#[test]
fn real_models_take_the_form_of_each_target() {
    for target in TARGETS {
        for (name, model) in real_models(target.name) {
            let plan = plan(&model, Precision::Int8, target.name);
            let quantized = quantized(&model, target.name, &[]);
            if ["tensorrt", "coreml"].contains(&target.name) {
                assert_symmetric(&quantized, &name);
            }
            // Each node that the plan gives INT8 is predicted to run in INT8, and on inputs-only targets no other is.
            let prediction = predict(&quantized, target);
            for decision in plan.decisions().iter().filter(|d| !d.nested) {
                let runs = prediction.of(&decision.value);
                if decision.precision == Precision::Int8 {
                    let float = matches!(runs, Some(Runs::Float(_)) | None);
                    assert!(!float, "{name}: {decision:?} {runs:?}");
                }
            }
        }
    }
}

#[test]
fn the_scales_of_a_transposed_convolution_run_along_its_second_axis() {
    let up = |group: i64| {
        node("ConvTranspose", "up", &["a", "up_w"], &["u"])
            .with_attribute(attribute::ints("kernel_shape", &[1, 1]))
            .with_attribute(attribute::int("group", group))
    };
    let small = weights([0.5, -0.25, 1.0, 0.75]);
    let case = |group, dims: Vec<usize>, channels: usize| {
        let up_w = Tensor::from_f32(dims, &[0.5, -2.0, 1.0, 0.75]);
        let nodes = vec![conv("x", "w", "", "a"), up(group), conv("u", "w", "", "y")];
        let model = model(nodes, &[("w", small.clone()), ("up_w", up_w)], 2);
        let quantized = quantized(&model, "tensorrt", &[]);
        let scales = constant(&quantized, "up_w_scale").to_f32_vec().unwrap();
        assert_eq!(scales.len(), channels);
        let graph = quantized.graph();
        let dequantizer = graph.producer_node("up_w_dq").unwrap();
        let axis = (channels > 1).then_some(1);
        assert_eq!(dequantizer.int("axis").unwrap(), axis);
        scales
    };
    assert_eq!(case(1, vec![2, 2, 1, 1], 2), [1.0 / 127.0, 2.0 / 127.0]);
    // Two groups of one channel each would share the scale of an axis that has length 1.
    case(2, vec![2, 1, 1, 2], 1);
}

/// A node between two INT8 convolutions and pinned ends.
fn between(middle: Vec<NodeProto>) -> Model {
    let mut nodes = vec![conv("x", "w", "", "first"), conv("first", "w", "", "a")];
    nodes.extend(middle);
    nodes.extend([conv("m", "w", "", "d"), conv("d", "w", "", "y")]);
    let initializers = [
        ("w", weights([0.5, -0.25, 1.0, 0.75])),
        ("zero", Tensor::from_f32(vec![], &[0.0])),
        ("one", Tensor::from_f32(vec![], &[1.0])),
        ("minus", Tensor::from_f32(vec![], &[-1.0])),
        ("six", Tensor::from_f32(vec![], &[6.0])),
    ];
    model(nodes, &initializers, 2)
}

fn max_pool(x: &str, y: &str) -> NodeProto {
    node("MaxPool", "pool", &[x], &[y])
        .with_attribute(attribute::ints("kernel_shape", &[2, 2]))
        .with_attribute(attribute::ints("strides", &[2, 2]))
}

#[test]
fn a_movement_between_int8_nodes_has_one_scale_on_both_sides() {
    let model = between(vec![max_pool("a", "m")]);
    for name in ["ort-cpu", "directml"] {
        let ranges = [("a", -3.0, 1.0), ("m", -1.0, 4.0)];
        let quantized = quantized(&model, name, &ranges);
        assert_eq!(pair(&quantized, "a"), pair(&quantized, "m"), "{name}");
        let (scale, zero_point) = pair(&quantized, "a");
        assert_eq!((scale, zero_point), (7.0 / 255.0, 109), "{name}");
        let prediction = predict(&quantized, target(name));
        assert_eq!(prediction.of("m"), Some(Runs::Int8), "{name}");
    }
    // There the runtime moves the pair itself.
    let quantized = quantized(&model, "tensorrt", &[]);
    assert!(listing(&quantized).contains(&"MaxPool(a) -> m".to_owned()));
    let prediction = predict(&quantized, target("tensorrt"));
    assert_eq!(prediction.of("m"), Some(Runs::Int8));
}

#[test]
fn a_node_without_weights_between_float_nodes_stays_in_float() {
    // No table has a Tanh in INT8.
    let model = between(vec![
        max_pool("a", "p"),
        node("Tanh", "tanh", &["p"], &["m"]),
    ]);
    for name in ["ort-cpu", "directml", "tensorrt", "coreml"] {
        let plan = plan(&model, Precision::Int8, name);
        let decision = plan.decision("p").unwrap();
        assert_eq!(decision.reason, Reason::OnlyTraffic, "{name}");
        assert_ne!(decision.precision, Precision::Int8, "{name}");
    }
}

#[test]
fn a_clip_disappears_only_where_the_integers_clamp_as_it_does() {
    let clip = |low, high| vec![node("Clip", "clip", &["a", low, high], &["m"])];
    // The estimated range reaches further than the Clip lets through.
    let relu6 = quantized(&between(clip("zero", "six")), "ort-cpu", &[("m", 0.0, 7.0)]);
    let (scale, zero_point) = pair(&relu6, "m");
    assert_eq!(zero_point, 0);
    assert!(scale * 255.0 <= 6.0 && scale * 255.0 > 5.999, "{scale}");
    let prediction = predict(&relu6, target("ort-cpu"));
    assert_eq!(prediction.of("a"), Some(Runs::Int8));
    assert_eq!(prediction.of("m"), Some(Runs::Inside));

    // No zero point makes the smallest integer stand for -1 exactly: the convolution gets a pair of its own.
    let both_sides = quantized(
        &between(clip("minus", "one")),
        "ort-cpu",
        &[("a", -2.0, 2.0)],
    );
    let prediction = predict(&both_sides, target("ort-cpu"));
    assert_eq!(prediction.of("a"), Some(Runs::Int8));
    assert_eq!(prediction.of("m"), Some(Runs::Float(FloatReason::NoKernel)));
}

#[test]
fn a_pair_that_does_not_clamp_keeps_the_activation_and_the_convolution_in_float() {
    let relu = between(vec![node("Relu", "relu", &["a"], &["m"])]);
    // A range that reaches below zero, as a shared scale may.
    let quantized = quantized(&relu, "ort-cpu", &[("m", -0.5, 2.0)]);
    let prediction = predict(&quantized, target("ort-cpu"));
    let expected = Some(Runs::Float(FloatReason::ActivationBetween));
    assert_eq!(prediction.of("a"), expected);
}
