//! What FP16 converters get wrong, one test per trap, on a graph built for it. The headers say who fails and how;
//! onnxconverter-common is 1.16, the converter in ONNX Runtime that of 1.31.

use tilecast_exec::{Engine, HostTensor, SessionOptions, TractEngine};
use tilecast_onnx::proto::{GraphFields, GraphProto, NodeProto, ValueInfoFields, ValueInfoProto};
use tilecast_onnx::{
    DataType, Model, Tensor, attribute, infer_types, mixed_float_operands, node, verify,
};
use tilecast_passes::{
    ConvertHalf, IoTypes, Override, PlanRequest, Precision, PrecisionPlan, RangeEvidence,
    RangeStudy, run_pass,
};

use crate::common::{
    bias, chain, conv, initializer_type, listing, max_abs, model, plan, request, run, weights,
};

/// What calibration sees of a model on the input that [`run`] feeds.
pub(crate) fn observe(model: &Model) -> RangeEvidence {
    let study = RangeStudy::of(model);
    let mut tally = study.tally();
    let options = SessionOptions {
        observe: study.values().to_vec(),
        ..SessionOptions::default()
    };
    let input = (0..2 * 64).map(|i| (i * 37 % 101) as f32 / 100.0).collect();
    let session = TractEngine::new().load(model, &options).unwrap();
    session
        .run_observed(
            &[HostTensor::new(vec![1, 2, 8, 8], input)],
            &mut |value, dims, elements| {
                study.observe(&mut tally, value, dims, elements);
            },
        )
        .unwrap();
    study.evidence(&tally)
}

fn carry_out(model: &Model, plan: &PrecisionPlan) -> Model {
    let mut half = model.clone();
    let _ = run_pass(
        &ConvertHalf {
            plan,
            io: &IoTypes::default(),
        },
        &mut half,
    )
    .unwrap();
    assert_eq!(mixed_float_operands(half.proto(), half.opset()), []);
    assert_eq!(verify(half.proto()), [], "sorted, and every name defined");
    half
}

/// Converts as `convert` does without any option: first without calibration images, then with them.
fn both_ways(model: &Model, precision: Precision) -> [(PrecisionPlan, Model); 2] {
    [None, Some(observe(model))].map(|evidence| {
        let mut plan = plan(model, precision, "generic");
        plan.keep_in_range(model, evidence.as_ref());
        let half = carry_out(model, &plan);
        (plan, half)
    })
}

/// Finite, and within a hundredth of the range of the FP32 result, however it is converted.
#[track_caller]
fn assert_close(model: &Model) -> [(PrecisionPlan, Model); 2] {
    let expected = run(model);
    let largest = expected.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
    assert!(largest > 0.0 && largest.is_finite());
    let converted = both_ways(model, Precision::Fp16);
    for (plan, half) in &converted {
        let got = run(half);
        assert!(got.iter().all(|v| v.is_finite()), "{:?}", plan.decisions());
        let difference = max_abs(&expected, &got) / largest;
        assert!(difference < 1e-2, "{difference}: {:?}", plan.decisions());
    }
    converted
}

fn singles(plan: &PrecisionPlan) -> Vec<&str> {
    let single = plan
        .decisions()
        .iter()
        .filter(|d| d.precision == Precision::Fp32);
    single.map(|d| d.node.as_str()).collect()
}

fn n_casts(model: &Model) -> usize {
    model
        .graph_proto()
        .node
        .iter()
        .filter(|n| n.is("Cast"))
        .count()
}

/// onnxconverter-common and Olive clamp constants at ±10 000 by default, without a word.
#[test]
fn a_weight_of_20000_is_kept() {
    let model = model(
        vec![conv("x", "w", "b", "a"), conv("a", "small", "", "y")],
        &[
            ("w", weights([20000.0, 0.5, -20000.0, 1.0])),
            ("b", bias([0.5, -0.5])),
            ("small", weights([1e-4, 0.0, 0.0, 1e-4])),
        ],
        2,
    );
    let [_, (plan, half)] = assert_close(&model);
    let stored = half.graph().constant("w").unwrap().unwrap();
    assert_eq!(
        stored.to_f32_vec().unwrap()[0].to_bits(),
        20000.0_f32.to_bits()
    );
    // The result of the first reaches 20000, more than a quarter of what the format holds.
    assert_eq!(singles(&plan), ["conv_a", "conv_y"]);
    assert!(plan.decisions()[0].reason.to_string().contains("reaches"));
}

/// Every converter turns a weight beyond 65504 into infinity or clamps it.
#[test]
fn a_weight_beyond_the_format_keeps_its_node_in_fp32_with_the_number() {
    let model = model(
        vec![conv("x", "w", "", "a"), conv("a", "small", "", "y")],
        &[
            ("w", weights([1e5, 0.5, 0.25, 1.0])),
            ("small", weights([1e-5, 0.0, 0.0, 1e-5])),
        ],
        2,
    );
    for (plan, _) in both_ways(&model, Precision::Fp16) {
        let reason = plan.decision("a").unwrap().reason.to_string();
        assert_eq!(reason, "constant `w` holds 1e5, which becomes infinite");
    }
}

/// onnxconverter-common 1.15 and later leaves `Cast(to=FLOAT)` inside the graph as it is, so that the next operator gets
/// float32 and float16; its clean-up of casts compares type codes with 32 and 16, which no type has.
#[test]
fn casts_of_the_model_become_identities_and_go() {
    let to = |code: i64| attribute::int("to", code);
    let model = model(
        vec![
            conv("x", "w", "", "a"),
            node("Cast", "down", &["a"], &["h"]).with_attribute(to(10)),
            node("Cast", "up", &["h"], &["f"]).with_attribute(to(1)),
            node("Cast", "same", &["f"], &["g"]).with_attribute(to(1)),
            node("Cast", "int", &["g"], &["i"]).with_attribute(to(6)),
            node("Cast", "back", &["i"], &["k"]).with_attribute(to(1)),
            node("Add", "add", &["g", "k"], &["y"]),
        ],
        &[("w", weights([0.5, 0.25, -0.5, 1.0]))],
        2,
    );
    let half = carry_out(&model, &plan(&model, Precision::Fp16, "generic"));
    assert_eq!(
        listing(&half),
        [
            "Cast(x) -> x_fp16",
            "Conv(x_fp16, w, ) -> a",
            "Cast(a) -> i",
            "Cast(i) -> k",
            "Add(a, k) -> y_fp16",
            "Cast(y_fp16) -> y",
        ]
    );
    assert!(max_abs(&run(&model), &run(&half)) < 5e-3);
}

/// onnxconverter-common names casts after the node, so those of two unnamed nodes collide.
#[test]
fn unnamed_nodes_get_casts_with_names_of_their_own() {
    let mut model = chain();
    for node in &mut model.proto_mut().graph.as_mut().unwrap().node {
        node.name = None;
    }
    let overrides = [
        Override::new("a", Precision::Fp32).unwrap(),
        Override::new("c", Precision::Fp32).unwrap(),
    ];
    let request = PlanRequest {
        overrides: &overrides,
        ..request(Precision::Fp16, "generic")
    };
    let half = carry_out(&model, &PrecisionPlan::new(&model, &request));
    let mut names: Vec<_> = half
        .graph_proto()
        .node
        .iter()
        .filter_map(|n| n.name.clone())
        .collect();
    assert_eq!(names.len(), n_casts(&half));
    names.sort();
    names.dedup();
    assert_eq!(names.len(), n_casts(&half));
    assert!(max_abs(&run(&model), &run(&half)) < 5e-3);
}

/// ONNX Runtime's converter casts a shared initializer at every use, onnxconverter-common leaves it float32 for all.
#[test]
fn a_constant_that_two_types_read_is_stored_once_in_each() {
    let model = model(
        vec![
            node("Mul", "single", &["x", "s"], &["a"]),
            node("Mul", "half", &["a", "s"], &["b"]),
            node("Mul", "half_too", &["b", "s"], &["c"]),
            node("Mul", "single_too", &["c", "s"], &["y"]),
        ],
        &[("s", Tensor::from_f32(vec![1, 2, 1, 1], &[0.5, 2.0]))],
        2,
    );
    let overrides = [Override::new("single*", Precision::Fp32).unwrap()];
    let request = PlanRequest {
        overrides: &overrides,
        ..request(Precision::Fp16, "generic")
    };
    let half = carry_out(&model, &PrecisionPlan::new(&model, &request));
    assert_eq!(half.graph_proto().initializer.len(), 2);
    assert_eq!(initializer_type(&half, "s"), Some(DataType::F32));
    assert_eq!(initializer_type(&half, "s_fp16"), Some(DataType::F16));
    assert_eq!(n_casts(&half), 2);
}

/// ONNX Runtime's converter knows which input of `Resize` holds scales for some opsets only; with float16 scales the model
/// does not load.
#[test]
fn resize_keeps_its_scales_and_region_of_interest_in_every_opset() {
    for (opset, operands) in [
        (10, vec!["x", "scales"]),
        (11, vec!["x", "roi", "scales"]),
        (13, vec!["x", "roi", "scales"]),
        (18, vec!["x", "", "scales"]),
        (19, vec!["x", "", "scales"]),
    ] {
        let mut model = model(
            vec![
                node("Resize", "resize", &operands, &["a"])
                    .with_attribute(attribute::string("mode", "nearest")),
                conv("a", "w", "", "y"),
            ],
            &[
                ("scales", Tensor::from_f32(vec![4], &[1.0; 4])),
                (
                    "roi",
                    Tensor::from_f32(vec![8], &[0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]),
                ),
                ("w", weights([0.5, 0.25, -0.5, 1.0])),
            ],
            2,
        );
        model.proto_mut().opset_import[0].version = Some(opset);
        let half = carry_out(&model, &plan(&model, Precision::Fp16, "generic"));
        let types = infer_types(&half.graph());
        assert_eq!(types["a"], DataType::F16, "opset {opset}");
        assert_eq!(
            initializer_type(&half, "scales"),
            Some(DataType::F32),
            "opset {opset}"
        );
        assert_eq!(
            initializer_type(&half, "roi"),
            Some(DataType::F32),
            "opset {opset}"
        );
    }
}

fn body(nodes: Vec<NodeProto>, output: &str) -> GraphProto {
    GraphProto::from(GraphFields {
        name: Some(format!("to_{output}")),
        node: nodes,
        output: vec![ValueInfoProto::from(ValueInfoFields {
            name: Some(output.into()),
            ..ValueInfoFields::default()
        })],
        ..GraphFields::default()
    })
}

fn with_body(mut node: NodeProto, name: &str, body: GraphProto) -> NodeProto {
    let mut held = attribute::int(name, 0);
    held.i = None;
    held.r#type = Some(5);
    held.g = Some(Box::new(body));
    node.attribute.push(held);
    node
}

/// ONNX Runtime's converter puts casts into the main graph only, and those of `ModelOpt` end up behind the branch that reads
/// them: a branch that captures a value of the graph around it gets the wrong type.
#[test]
fn branches_agree_and_captured_values_are_cast_where_they_are_made() {
    let yes = body(vec![node("Mul", "in_then", &["a", "s"], &["t"])], "t");
    let no = body(vec![node("Exp", "in_else", &["a"], &["e"])], "e");
    let choose = with_body(node("If", "choose", &["flag"], &["c"]), "then_branch", yes);
    let model = model(
        vec![
            conv("x", "w", "", "a"),
            with_body(choose, "else_branch", no),
            conv("c", "w", "", "y"),
        ],
        &[
            ("w", weights([0.5, 0.25, -0.5, 1.0])),
            ("s", Tensor::from_f32(vec![], &[0.5])),
            (
                "flag",
                Tensor::from_raw(DataType::Bool, vec![], vec![1].into()).unwrap(),
            ),
        ],
        2,
    );
    let mut plan = plan(&model, Precision::Fp16, "generic");
    plan.keep_in_range(&model, None);
    assert_eq!(
        singles(&plan),
        ["in_else"],
        "nothing is known of the values of a branch"
    );
    let half = carry_out(&model, &plan);
    assert_eq!(
        listing(&half),
        [
            "Cast(x) -> x_fp16",
            "Conv(x_fp16, w, ) -> a",
            "Cast(a) -> a_fp32",
            "If(flag) -> c",
            "Conv(c, w, ) -> y_fp16",
            "Cast(y_fp16) -> y",
        ]
    );
    let bodies: Vec<&GraphProto> = half.graph_proto().node[3]
        .attribute
        .iter()
        .filter_map(|a| a.g.as_deref())
        .collect();
    let lines = |graph: &GraphProto| -> Vec<String> {
        let line = |n: &NodeProto| {
            format!(
                "{}({}) -> {}",
                n.op(),
                n.input.join(", "),
                n.output.join(", ")
            )
        };
        graph.node.iter().map(line).collect()
    };
    assert_eq!(lines(bodies[0]), ["Mul(a, s) -> t"]);
    assert_eq!(lines(bodies[1]), ["Exp(a_fp32) -> e", "Cast(e) -> e_fp16"]);
    assert_eq!(bodies[1].output[0].name.as_deref(), Some("e_fp16"));
    assert_eq!(infer_types(&half.graph())["c"], DataType::F16);
}

/// The same for the values that a loop carries from one turn to the next.
#[test]
fn a_loop_carries_the_format_from_turn_to_turn() {
    let mut turn = body(
        vec![node("Identity", "go_on", &["cond"], &["more"])],
        "more",
    );
    turn.node
        .push(node("Mul", "scale", &["carried", "s"], &["next"]));
    for name in ["i", "cond", "carried"] {
        turn.input.push(ValueInfoProto::from(ValueInfoFields {
            name: Some(name.into()),
            ..ValueInfoFields::default()
        }));
    }
    turn.output.push(ValueInfoProto::from(ValueInfoFields {
        name: Some("next".into()),
        ..ValueInfoFields::default()
    }));
    let repeat = with_body(
        node("Loop", "repeat", &["turns", "flag", "x"], &["y"]),
        "body",
        turn,
    );
    let model = model(
        vec![repeat],
        &[
            ("turns", Tensor::from_i64(vec![], &[3])),
            ("s", Tensor::from_f32(vec![], &[0.5])),
            (
                "flag",
                Tensor::from_raw(DataType::Bool, vec![], vec![1].into()).unwrap(),
            ),
        ],
        2,
    );
    let half = carry_out(&model, &plan(&model, Precision::Fp16, "generic"));
    assert_eq!(
        listing(&half),
        [
            "Cast(x) -> x_fp16",
            "Loop(turns, flag, x_fp16) -> y_fp16",
            "Cast(y_fp16) -> y"
        ]
    );
    assert_eq!(initializer_type(&half, "s"), Some(DataType::F16));
}

/// Attributes that hold a type are special-cased unevenly; integers made by these operators must stay integers.
#[test]
fn operators_that_name_their_type_change_it_where_it_is_float() {
    let dtype = |code: i64| attribute::int("dtype", code);
    let model = model(
        vec![
            node("Shape", "shape", &["x"], &["dims"]),
            node("ConstantOfShape", "zeros", &["dims"], &["z"]),
            node("ConstantOfShape", "ints", &["dims"], &["n"])
                .with_attribute(attribute::tensor("value", &Tensor::from_i64(vec![1], &[2]))),
            node("Cast", "to_float", &["n"], &["nf"]).with_attribute(attribute::int("to", 1)),
            node("RandomNormalLike", "noise", &["x"], &["r"]),
            node("RandomNormalLike", "typed", &["x"], &["r2"]).with_attribute(dtype(1)),
            node("Sum", "sum", &["z", "nf", "r", "r2"], &["y"]),
        ],
        &[],
        2,
    );
    let half = carry_out(&model, &plan(&model, Precision::Fp16, "generic"));
    let graph = half.graph();
    let types = infer_types(&graph);
    for (value, expected) in [
        ("z", DataType::F16),
        ("n", DataType::I64),
        ("nf", DataType::F16),
        ("r", DataType::F16),
        ("r2", DataType::F16),
    ] {
        assert_eq!(types[value], expected, "{value}");
    }
}

/// No converter looks inside: the squares of 300 are 90 000. Here 512 channels of ±300 are normalized by nine nodes.
#[test]
fn a_decomposed_normalization_of_large_activations_stays_finite() {
    let wide: Vec<f32> = (0..1024)
        .map(|i| {
            if i % 3 == 0 {
                300.0
            } else {
                -250.0 - (i % 7) as f32
            }
        })
        .collect();
    let narrow: Vec<f32> = (0..1024)
        .map(|i| ((i * 29 % 31) as f32 - 15.0) / 4000.0)
        .collect();
    let axes = || attribute::ints("axes", &[1]);
    let model = model(
        vec![
            conv("x", "wide", "", "a"),
            node("ReduceMean", "mean", &["a"], &["m"]).with_attribute(axes()),
            node("Sub", "center", &["a", "m"], &["c"]),
            node("Pow", "square", &["c", "two"], &["q"]),
            node("ReduceMean", "variance", &["q"], &["v"]).with_attribute(axes()),
            node("Add", "add_eps", &["v", "eps"], &["ve"]),
            node("Sqrt", "deviation", &["ve"], &["d"]),
            node("Div", "normalize", &["c", "d"], &["n"]),
            conv("n", "narrow", "", "y"),
        ],
        &[
            ("wide", Tensor::from_f32(vec![512, 2, 1, 1], &wide)),
            ("narrow", Tensor::from_f32(vec![2, 512, 1, 1], &narrow)),
            ("two", Tensor::from_f32(vec![], &[2.0])),
            ("eps", Tensor::from_f32(vec![], &[1e-6])),
        ],
        2,
    );
    let [_, (plan, _)] = assert_close(&model);
    let single = singles(&plan);
    assert!(
        single.contains(&"square") && single.contains(&"variance"),
        "{single:?}"
    );
    assert!(
        !single.contains(&"conv_y") && !single.contains(&"normalize"),
        "{single:?}"
    );
    // Converted as the peers do, it is not finite or far off.
    let naive = carry_out(
        &model,
        &crate::common::plan(&model, Precision::Fp16, "generic"),
    );
    let (expected, got) = (run(&model), run(&naive));
    assert!(
        got.iter()
            .zip(&expected)
            .any(|(a, b)| (a - b).is_nan() || (a - b).abs() >= 1e-2)
    );
}

/// An epsilon of 1e-8 becomes zero in every converter, and a flat image is divided by nothing.
#[test]
fn an_epsilon_that_would_vanish_keeps_its_root_in_fp32() {
    let axes = || attribute::ints("axes", &[1]);
    let model = model(
        vec![
            node("Mul", "flatten", &["x", "zero"], &["a"]),
            node("Pow", "square", &["a", "two"], &["q"]),
            node("ReduceMean", "mean", &["q"], &["v"]).with_attribute(axes()),
            node("Add", "add_eps", &["v", "eps"], &["ve"]),
            node("Sqrt", "root", &["ve"], &["d"]),
            node("Div", "divide", &["a", "d"], &["n"]),
            node("Add", "shift", &["n", "x"], &["y"]),
        ],
        &[
            ("zero", Tensor::from_f32(vec![1, 2, 1, 1], &[0.0, 1e-4])),
            ("two", Tensor::from_f32(vec![], &[2.0])),
            ("eps", Tensor::from_f32(vec![], &[1e-8])),
        ],
        2,
    );
    for (plan, half) in assert_close(&model) {
        let reason = plan.decision("ve").unwrap().reason.to_string();
        assert!(reason.contains("becomes zero"), "{reason}");
        assert_eq!(initializer_type(&half, "eps"), Some(DataType::F32));
    }
}

/// A mask of -3.4e38 becomes minus infinity in all but one linter, and a row that is masked whole becomes NaN.
#[test]
fn a_mask_of_the_lowest_float_is_kept_in_fp32_up_to_its_softmax() {
    let mask: Vec<f32> = (0..64)
        .map(|i| if i % 8 > 5 || i < 8 { f32::MIN } else { 0.0 })
        .collect();
    let model = model(
        vec![
            conv("x", "w", "", "a"),
            node("Add", "mask", &["a", "hidden"], &["m"]),
            node("Softmax", "softmax", &["m"], &["p"]).with_attribute(attribute::int("axis", -1)),
            conv("p", "w", "", "y"),
        ],
        &[
            ("w", weights([0.5, 0.25, -0.5, 1.0])),
            ("hidden", Tensor::from_f32(vec![1, 1, 8, 8], &mask)),
        ],
        2,
    );
    for (plan, _) in assert_close(&model) {
        assert_eq!(singles(&plan), ["mask", "softmax"]);
    }
    for (plan, half) in both_ways(&model, Precision::Bf16) {
        assert_eq!(
            plan.decision("m").unwrap().precision,
            Precision::Fp32,
            "it overflows in bfloat16 too"
        );
        assert!(run(&half).iter().all(|v| v.is_finite()));
    }
}

/// A bound of 3.4e38 says "no bound"; as infinity it is refused by some runtimes.
#[test]
fn a_bound_beyond_the_format_becomes_its_largest_number() {
    let model = model(
        vec![
            conv("x", "w", "", "a"),
            node("Clip", "clip", &["a", "low", "high"], &["y"]),
        ],
        &[
            ("w", weights([0.5, 0.25, -0.5, 1.0])),
            ("low", Tensor::from_f32(vec![], &[0.0])),
            ("high", Tensor::from_f32(vec![], &[f32::MAX])),
        ],
        2,
    );
    for (plan, half) in assert_close(&model) {
        assert_eq!(singles(&plan), Vec::<&str>::new());
        let high = half.graph().constant("high").unwrap().unwrap();
        assert_eq!(
            high.to_f32_vec().unwrap()[0].to_bits(),
            65504.0_f32.to_bits()
        );
    }
}
