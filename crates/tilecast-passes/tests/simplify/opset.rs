//! The opset is raised to what a fusion needs and may have, and no further.

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{DataType, Model, Tensor, attribute};
use tilecast_passes::{SimplifyOptions, SimplifyReport, simplify, target_by_name};

use crate::common::{Case, float, ints, op, run_values, value};

const DIMS: [usize; 4] = [1, 4, 6, 5];

fn simplified(model: &Model, target: &str, max_opset: Option<i64>) -> (Model, SimplifyReport) {
    let mut after = model.clone();
    let options = SimplifyOptions {
        max_opset,
        ..SimplifyOptions::for_target(target_by_name(target).unwrap())
    };
    let report = simplify(&mut after, options).unwrap();
    assert!(report.reached_fixpoint());
    let input: Vec<f32> = (0..120)
        .map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0)
        .collect();
    let [before, now] = [model, &after].map(|m| run_values(m, DIMS.to_vec(), input.clone()));
    let difference = before.iter().zip(&now).map(|(a, b)| (a - b).abs());
    assert!(difference.fold(0.0, f32::max) < 1e-5);
    (after, report)
}

fn operators(model: &Model) -> Vec<&str> {
    model.graph_proto().node.iter().map(NodeProto::op).collect()
}

/// A layer normalization over the last axis, with axes as attributes, of `x` to `n`.
fn layer_norm() -> Vec<NodeProto> {
    let axes = || attribute::ints("axes", &[3]);
    vec![
        op("ReduceMean", &["x"], &["mean"]).with_attribute(axes()),
        op("Sub", &["x", "mean"], &["d"]),
        op("Pow", &["d", "two"], &["q"]),
        op("ReduceMean", &["q"], &["var"]).with_attribute(axes()),
        op("Add", &["var", "eps"], &["e"]),
        op("Sqrt", &["e"], &["s"]),
        op("Div", &["d", "s"], &["n"]),
    ]
}

fn case(opset: i64, rest: Vec<NodeProto>) -> Case {
    let mut case = Case::new(layer_norm().into_iter().chain(rest).collect())
        .constant("two", float(2.0))
        .constant("eps", float(1e-5));
    case.opset = opset;
    case.ir_version = 6;
    case.inputs = vec![value("x", DataType::F32, &DIMS.map(|d| Some(d as i64)))];
    case
}

#[test]
fn a_fusion_gets_its_opset_where_it_may() {
    for opset in [11, 13] {
        let model = case(opset, vec![op("Relu", &["n"], &["y"])]).model();
        let (after, report) = simplified(&model, "ort-cpu", Some(17));
        assert_eq!(after.opset(), 17);
        assert_eq!(after.proto().ir_version, Some(8));
        assert_eq!(operators(&after), ["LayerNormalization", "Relu"]);
        let passes: Vec<&str> = report.steps.iter().map(|s| s.pass).collect();
        assert_eq!(passes, ["raise_opset", "fuse_layer_norm"]);
        for (target, max_opset) in [("ort-cpu", None), ("generic", None), ("generic", Some(16))] {
            let (after, report) = simplified(&model, target, max_opset);
            assert!(report.steps.is_empty() && after.to_bytes() == model.to_bytes());
        }
    }
}

#[test]
fn operators_that_changed_on_the_way_are_converted() {
    let rest = vec![
        op("Softmax", &["n"], &["p"]).with_attribute(attribute::int("axis", 1)),
        op("Split", &["p"], &["a", "b"])
            .with_attribute(attribute::int("axis", 1))
            .with_attribute(attribute::ints("split", &[1, 3])),
        op("Concat", &["b", "a"], &["c"]).with_attribute(attribute::int("axis", 1)),
        op("Unsqueeze", &["c"], &["u"]).with_attribute(attribute::ints("axes", &[0])),
        op("Squeeze", &["u"], &["y"]).with_attribute(attribute::ints("axes", &[0])),
    ];
    // Before opset 13 Softmax normalized over all axes from the given one on.
    let model = case(11, rest).model();
    let (after, _) = simplified(&model, "ort-cpu", Some(17));
    assert_eq!(after.opset(), 17);
    let found = operators(&after);
    for expected in ["LayerNormalization", "Flatten", "Softmax", "Reshape"] {
        assert!(found.contains(&expected), "{found:?}");
    }
}

#[test]
fn a_model_keeps_its_opset_where_nothing_newer_is_needed() {
    let without = |nodes| {
        let mut case = Case::new(nodes);
        case.opset = 11;
        case.model()
    };
    for max_opset in [None, Some(21)] {
        let model = without(vec![op("Relu", &["x"], &["a"]), op("Abs", &["a"], &["y"])]);
        let (after, report) = simplified(&model, "ort-cpu", max_opset);
        assert!(report.steps.is_empty() && after.to_bytes() == model.to_bytes());
    }
    // The pattern is there and cannot be taken: what is inside is read elsewhere too.
    let model = case(11, vec![op("Add", &["n", "d"], &["y"])]).model();
    let (after, report) = simplified(&model, "ort-cpu", Some(17));
    assert_eq!((after.opset(), report.steps.len()), (11, 0));
}

#[test]
fn a_limit_is_for_every_fusion_and_for_no_more_than_each_needs() {
    let gelu = || {
        let mut case = Case::new(vec![
            op("Div", &["x", "root"], &["d"]),
            op("Erf", &["d"], &["e"]),
            op("Add", &["e", "one"], &["a"]),
            op("Mul", &["x", "a"], &["m"]),
            op("Mul", &["m", "half"], &["y"]),
        ])
        .constant("root", float(std::f32::consts::SQRT_2))
        .constant("one", float(1.0))
        .constant("half", float(0.5));
        case.opset = 13;
        case.model()
    };
    for (max_opset, opset, expected) in [
        (None, 13, None),
        (Some(19), 13, None),
        (Some(20), 20, Some("Gelu")),
        (Some(25), 20, Some("Gelu")),
    ] {
        let (after, report) = simplified(&gelu(), "ort-cpu", max_opset);
        assert_eq!(after.opset(), opset, "{max_opset:?}");
        assert_eq!(operators(&after).contains(&"Gelu"), expected.is_some());
        if expected.is_none() {
            let reason = &report.declined[0].decline.reason;
            assert_eq!(reason, "Gelu needs opset 20, the model has 13");
        }
    }
    // A limit below what the fusion needs is kept.
    let model = case(11, vec![op("Relu", &["n"], &["y"])]).model();
    assert_eq!(simplified(&model, "ort-cpu", Some(16)).0.opset(), 11);
}

#[test]
fn slices_of_an_old_model_become_a_split_where_asked_for() {
    let mut case = Case::new(vec![
        op("Slice", &["x", "zero", "half", "axis"], &["a"]),
        op("Slice", &["x", "half", "whole", "axis"], &["b"]),
        op("Mul", &["a", "b"], &["y"]),
    ])
    .constant("zero", ints(&[0]))
    .constant("half", ints(&[2]))
    .constant("whole", ints(&[4]))
    .constant("axis", ints(&[1]));
    case.opset = 11;
    let (after, _) = simplified(&case.model(), "generic", Some(17));
    assert_eq!(
        (after.opset(), operators(&after)),
        (13, vec!["Split", "Mul"])
    );
}

#[test]
fn a_model_that_cannot_be_converted_keeps_its_opset_and_says_why() {
    let mut case = case(
        11,
        vec![
            op("RandomUniformLike", &["n"], &["r"]),
            op("Add", &["n", "r"], &["y"]),
        ],
    );
    let wide = Tensor::from_f32(vec![1], &[0.5]);
    case.nodes.push(op("ThirdParty", &["x"], &["z"]));
    case = case.constant("unused", wide).output("z");
    let mut after = case.model();
    let target = target_by_name("ort-cpu").unwrap();
    let options = SimplifyOptions {
        max_opset: Some(17),
        ..SimplifyOptions::for_target(target)
    };
    let report = simplify(&mut after, options).unwrap();
    assert_eq!(after.opset(), 11);
    let declined = report
        .declined
        .iter()
        .find(|d| d.pass == "raise_opset")
        .unwrap();
    let reason = &declined.decline.reason;
    assert!(
        reason.contains("`fuse_layer_norm` would need it") && reason.contains("`ThirdParty`"),
        "{reason}"
    );
}
