//! Raising the opset: what every conversion writes, that shapes stay, and what is refused.

use tilecast_onnx::attribute::{float, floats, int, ints, string};
use tilecast_onnx::proto::{GraphProto, NodeProto, TensorProto};
use tilecast_onnx::{Model, Tensor, attribute, infer_shapes, node, upgrade_opset};

use crate::support::{graph, import, listing, model, untyped, value};

/// One operator that reads `x` of these dimensions and writes `y`.
struct Case {
    from: i64,
    to: i64,
    node: NodeProto,
    dims: &'static [i64],
    constants: Vec<TensorProto>,
    /// The nodes afterwards, or the refusal.
    expected: Result<&'static [&'static str], &'static str>,
}

fn op(name: &str, inputs: &[&str]) -> NodeProto {
    node(name, "n", inputs, &["y"])
}

fn build(case: &Case) -> Model {
    let outputs: Vec<&str> = case.node.output.iter().map(String::as_str).collect();
    let constants = case.constants.clone();
    let graph = graph(
        vec![value("x", case.dims)],
        vec![case.node.clone()],
        constants,
        &outputs,
    );
    Model::from_proto(model(case.from, graph)).unwrap()
}

fn constant(name: &str, values: &[f32]) -> TensorProto {
    Tensor::from_f32(vec![values.len()], values).to_proto(name)
}

fn cases() -> Vec<Case> {
    const IMAGE: &[i64] = &[2, 4, 6, 8];
    let case = |from, to, node: NodeProto, expected| Case {
        from,
        to,
        node,
        dims: IMAGE,
        constants: vec![],
        expected,
    };
    let ok = |from, to, node: NodeProto, expected: &'static [&'static str]| {
        case(from, to, node, Ok(expected))
    };
    let refused = |from, to, node: NodeProto, reason| case(from, to, node, Err(reason));
    let with = |case: Case, constants: Vec<TensorProto>| Case { constants, ..case };
    let of = |case: Case, dims| Case { dims, ..case };
    let outputs = |mut node: NodeProto, outputs: &[&str]| {
        node.output = outputs.iter().map(|&o| o.to_owned()).collect();
        node
    };
    let normalized = |name| op(name, &["x", "s", "b", "m", "v"]);
    let statistics = || {
        ["s", "b", "m", "v"]
            .map(|n| constant(n, &[1.0, 2.0, 3.0, 4.0]))
            .to_vec()
    };
    vec![
        ok(12, 17, op("Relu", &["x"]), &["y = Relu(x)"]),
        // Axes become inputs.
        of(
            ok(
                11,
                13,
                op("Squeeze", &["x"]).with_attribute(ints("axes", &[0, 2])),
                &["y = Squeeze(x, [0, 2])"],
            ),
            &[1, 4, 1, 8],
        ),
        of(
            ok(11, 13, op("Squeeze", &["x"]), &["y = Squeeze(x)"]),
            &[1, 4, 1, 8],
        ),
        ok(
            11,
            25,
            op("Unsqueeze", &["x"]).with_attribute(ints("axes", &[0, -1])),
            &["y = Unsqueeze(x, [0, -1])"],
        ),
        ok(
            9,
            13,
            op("ReduceSum", &["x"])
                .with_attribute(int("keepdims", 0))
                .with_attribute(ints("axes", &[1])),
            &["y = ReduceSum(x, [1]) keepdims=0"],
        ),
        ok(
            13,
            17,
            op("ReduceMean", &["x"]).with_attribute(ints("axes", &[2, 3])),
            &["y = ReduceMean(x) axes=[2, 3]"],
        ),
        ok(
            17,
            18,
            op("ReduceMean", &["x"]).with_attribute(ints("axes", &[2, 3])),
            &["y = ReduceMean(x, [2, 3])"],
        ),
        ok(17, 18, op("ReduceMax", &["x"]), &["y = ReduceMax(x)"]),
        // Sizes of a split.
        ok(
            11,
            18,
            outputs(op("Split", &["x"]), &["y", "z"])
                .with_attribute(int("axis", 1))
                .with_attribute(ints("split", &[1, 3])),
            &["y, z = Split(x, [1, 3]) axis=1"],
        ),
        ok(
            13,
            18,
            outputs(op("Split", &["x"]), &["y", "z"]).with_attribute(int("axis", 1)),
            &["y, z = Split(x) axis=1 num_outputs=2"],
        ),
        // Parameters become inputs.
        ok(
            6 + 1,
            13,
            op("Clip", &["x"])
                .with_attribute(float("max", 6.0))
                .with_attribute(float("min", 0.0)),
            &["y = Clip(x, 0.0, 6.0)"],
        ),
        ok(
            10,
            11,
            op("Clip", &["x"]).with_attribute(float("max", 6.0)),
            &["y = Clip(x, , 6.0)"],
        ),
        ok(10, 11, op("Clip", &["x"]), &["y = Clip(x)"]),
        ok(
            9,
            18,
            op("Pad", &["x"])
                .with_attribute(ints("pads", &[0, 0, 1, 1, 0, 0, 2, 2]))
                .with_attribute(float("value", 0.5)),
            &["y = Pad(x, [0, 0, 1, 1, 0, 0, 2, 2], 0.5)"],
        ),
        ok(
            9,
            11,
            op("Pad", &["x"])
                .with_attribute(string("mode", "reflect"))
                .with_attribute(ints("pads", &[0, 0, 1, 1, 0, 0, 2, 2]))
                .with_attribute(float("value", 0.0)),
            &["y = Pad(x, [0, 0, 1, 1, 0, 0, 2, 2]) mode=reflect"],
        ),
        refused(9, 11, op("Pad", &["x"]), "attribute `pads` is missing"),
        ok(
            9,
            13,
            op("Slice", &["x"])
                .with_attribute(ints("axes", &[2]))
                .with_attribute(ints("ends", &[-1]))
                .with_attribute(ints("starts", &[1])),
            &["y = Slice(x, [1], [-1], [2])"],
        ),
        ok(
            9,
            11,
            outputs(op("TopK", &["x"]), &["y", "z"])
                .with_attribute(int("k", 3))
                .with_attribute(int("axis", 1)),
            &["y, z = TopK(x, [3]) axis=1"],
        ),
        ok(
            9,
            13,
            op("Dropout", &["x"]).with_attribute(float("ratio", 0.25)),
            &["y = Dropout(x, 0.25)"],
        ),
        refused(
            9,
            13,
            outputs(op("Dropout", &["x"]), &["y", "z"]),
            "the mask of `Dropout`",
        ),
        // Resampling.
        ok(
            7,
            19,
            op("Upsample", &["x"])
                .with_attribute(string("mode", "nearest"))
                .with_attribute(floats("scales", &[1.0, 1.0, 2.0, 2.0])),
            &[
                "y = Resize(x, [], [1.0, 1.0, 2.0, 2.0]) mode=nearest nearest_mode=floor coordinate_transformation_mode=asymmetric",
            ],
        ),
        with(
            ok(
                10,
                11,
                op("Resize", &["x", "s"]).with_attribute(string("mode", "linear")),
                &[
                    "y = Resize(x, [], [1.0, 1.0, 0.5, 0.5]) mode=linear coordinate_transformation_mode=asymmetric",
                ],
            ),
            vec![constant("s", &[1.0, 1.0, 0.5, 0.5])],
        ),
        with(
            refused(
                10,
                11,
                op("Resize", &["x", "s"]),
                "which neighbour is nearest",
            ),
            vec![constant("s", &[1.0, 1.0, 0.5, 0.5])],
        ),
        with(
            ok(
                11,
                13,
                op("Resize", &["x", "", "s", "n"]),
                &["y = Resize(x, , , [2, 4, 12, 16])"],
            ),
            vec![
                constant("s", &[]),
                Tensor::from_i64(vec![4], &[2, 4, 12, 16]).to_proto("n"),
            ],
        ),
        with(
            refused(
                11,
                13,
                op("Resize", &["x", "", "s"]).with_attribute(string(
                    "coordinate_transformation_mode",
                    "tf_half_pixel_for_nn",
                )),
                "does not exist in a newer opset",
            ),
            vec![constant("s", &[1.0, 1.0, 2.0, 2.0])],
        ),
        // The axis of a softmax.
        of(
            ok(11, 13, op("Softmax", &["x"]), &["y = Softmax(x) axis=-1"]),
            &[2, 5],
        ),
        ok(
            11,
            13,
            op("LogSoftmax", &["x"]).with_attribute(int("axis", 3)),
            &["y = LogSoftmax(x) axis=-1"],
        ),
        ok(
            11,
            13,
            op("Softmax", &["x"]),
            &[
                "y_shape = Shape(x)",
                "y_flat = Flatten(x) axis=1",
                "y_flat_result = Softmax(y_flat) axis=-1",
                "y = Reshape(y_flat_result, y_shape)",
            ],
        ),
        // Normalization.
        with(
            ok(
                8,
                15,
                normalized("BatchNormalization")
                    .with_attribute(int("spatial", 1))
                    .with_attribute(float("epsilon", 0.5)),
                &[
                    "y = BatchNormalization(x, [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]) epsilon=0.5",
                ],
            ),
            statistics(),
        ),
        with(
            refused(
                8,
                9,
                normalized("BatchNormalization").with_attribute(int("spatial", 0)),
                "`spatial` = 0",
            ),
            statistics(),
        ),
        with(
            refused(
                9,
                14,
                outputs(normalized("BatchNormalization"), &["y", "mean", "var"]),
                "it computes statistics for training",
            ),
            statistics(),
        ),
        with(
            ok(
                18,
                21,
                op("GroupNormalization", &["x", "s", "b"]).with_attribute(int("num_groups", 2)),
                &[
                    "y = GroupNormalization(x, [1.0, 1.0, 2.0, 2.0], [3.0, 3.0, 4.0, 4.0]) num_groups=2",
                ],
            ),
            vec![constant("s", &[1.0, 2.0]), constant("b", &[3.0, 4.0])],
        ),
        refused(
            18,
            21,
            op("GroupNormalization", &["x", "x", "x"]).with_attribute(int("num_groups", 2)),
            "the scale is no constant",
        ),
        // Windows.
        ok(
            7,
            22,
            op("AveragePool", &["x"]).with_attribute(ints("kernel_shape", &[2, 2])),
            &["y = AveragePool(x) kernel_shape=[2, 2]"],
        ),
        refused(
            11,
            22,
            op("MaxPool", &["x"])
                .with_attribute(ints("kernel_shape", &[2, 2]))
                .with_attribute(int("ceil_mode", 1)),
            "with `ceil_mode` the last window",
        ),
        with(
            refused(
                9,
                11,
                op("ConvTranspose", &["x", "w"]).with_attribute(string("auto_pad", "SAME_UPPER")),
                "pad the other side",
            ),
            vec![Tensor::from_f32(vec![4, 1, 1, 1], &[0.0; 4]).to_proto("w")],
        ),
        // New names.
        ok(
            16,
            20,
            op("GridSample", &["x", "x"]).with_attribute(string("mode", "bicubic")),
            &["y = GridSample(x, x) mode=cubic"],
        ),
        ok(
            10,
            16,
            op("RoiAlign", &["x", "x", "x"]),
            &["y = RoiAlign(x, x, x) coordinate_transformation_mode=output_half_pixel"],
        ),
        ok(
            9,
            11,
            op("Scatter", &["x", "x", "x"]),
            &["y = ScatterElements(x, x, x)"],
        ),
        // What nothing is known about.
        refused(
            9,
            11,
            op("OneHot", &["x", "x", "x"]),
            "`OneHot` changes its meaning in opset 11",
        ),
        refused(
            11,
            12,
            op("Fancy", &["x"]),
            "`Fancy` is no operator of ONNX",
        ),
        refused(
            13,
            17,
            op("LayerNormalization", &["x", "x"]),
            "is not part of opset 13",
        ),
    ]
}

#[test]
fn every_conversion_writes_what_the_newer_opset_means() {
    for case in cases() {
        let mut model = build(&case);
        let before = model.clone();
        let label = format!("{} {} to {}", case.node.op(), case.from, case.to);
        let result = upgrade_opset(&mut model, case.to);
        match (case.expected, result) {
            (Ok(expected), Ok(())) => {
                assert_eq!(listing(model.graph_proto()), expected, "{label}");
                assert_eq!(model.opset(), case.to, "{label}");
                let shape = |m: &Model| {
                    let shapes = infer_shapes(&m.graph(), &[]).unwrap();
                    shapes.shape("y").map(<[usize]>::to_vec)
                };
                assert_eq!(shape(&before), shape(&model), "{label}");
                let mut again = model.clone();
                upgrade_opset(&mut again, case.to).unwrap();
                assert!(again.to_bytes() == model.to_bytes(), "{label}");
            }
            (Err(reason), Err(error)) => {
                let text = error.to_string();
                assert!(text.contains(reason), "{label}: {text}");
                assert!(text.contains("g/node \"n\""), "{label}: {text}");
                assert!(model.to_bytes() == before.to_bytes(), "{label}");
            }
            (expected, result) => panic!("{label}: {expected:?}, {result:?}"),
        }
    }
}

#[test]
fn subgraphs_are_converted_where_they_are() {
    let squeeze = op("Squeeze", &["x"]).with_attribute(ints("axes", &[0]));
    let branch = graph(vec![], vec![squeeze], vec![], &["y"]);
    let mut choice = node("If", "choose", &["c"], &["chosen"]);
    for name in ["then_branch", "else_branch"] {
        let mut branch_attribute = int(name, 0);
        branch_attribute.i = None;
        branch_attribute.r#type = Some(5);
        branch_attribute.g = Some(Box::new(branch.clone()));
        choice.attribute.push(branch_attribute);
    }
    let main = graph(
        vec![value("x", &[1, 2]), untyped("c")],
        vec![choice],
        vec![],
        &["chosen"],
    );
    let mut model = Model::from_proto(model(11, main)).unwrap();
    upgrade_opset(&mut model, 13).unwrap();
    assert_eq!(
        listing(model.graph_proto()),
        [
            r#"chosen = If(c) then_branch=["y = Squeeze(x, [0])"] else_branch=["y = Squeeze(x, [0])"]"#
        ]
    );
    let initializers: Vec<&GraphProto> = model.graph_proto().node[0]
        .attribute
        .iter()
        .filter_map(|a| a.g.as_deref())
        .collect();
    let names = initializers
        .iter()
        .map(|g| g.initializer[0].name.clone().unwrap());
    assert_eq!(
        names.collect::<Vec<_>>(),
        ["y_axes", "y_axes_2"],
        "names are unique in the whole model"
    );
}

#[test]
fn every_refusal_is_listed_and_other_domains_stay() {
    let mut foreign = node("Softmax", "theirs", &["x"], &["a"]);
    foreign.domain = Some("com.example".into());
    let nodes = vec![
        foreign,
        node("OneHot", "first", &["a", "a", "a"], &["b"]),
        node("OneHot", "second", &["b", "b", "b"], &["y"]),
    ];
    let mut proto = model(9, graph(vec![value("x", &[1])], nodes, vec![], &["y"]));
    proto.opset_import.push(import("com.example", 1));
    let mut model = Model::from_proto(proto).unwrap();
    let error = upgrade_opset(&mut model, 13).unwrap_err();
    assert_eq!(error.refusals().len(), 2);
    assert!(error.refusals()[1].contains("\"second\""), "{error}");
    upgrade_opset(&mut model, 10).unwrap();
    assert_eq!(model.opset_of("com.example"), Some(1));
}

#[test]
fn the_opset_goes_up_only_and_takes_the_ir_version_along() {
    let relu = || {
        graph(
            vec![value("x", &[1])],
            vec![op("Relu", &["x"])],
            vec![],
            &["y"],
        )
    };
    let mut old = Model::from_proto(model(17, relu())).unwrap();
    for (target, reason) in [(16, "cannot be lowered"), (99, "only opsets")] {
        let error = upgrade_opset(&mut old, target).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    upgrade_opset(&mut old, 18).unwrap();
    assert_eq!(
        old.proto().ir_version,
        Some(8),
        "opset 18 came with IR version 8"
    );
    upgrade_opset(&mut old, 21).unwrap();
    assert_eq!(old.proto().ir_version, Some(10));
    let mut ancient = Model::from_proto(model(6, relu())).unwrap();
    assert!(upgrade_opset(&mut ancient, 13).is_err());
}

#[test]
fn scales_of_an_unknown_element_type_are_refused() {
    let clip = node("Clip", "n", &["h"], &["y"]).with_attribute(float("min", 0.0));
    let nodes = vec![op("Magic", &["x"]), clip];
    let mut nodes = nodes;
    nodes[0].domain = Some("com.example".into());
    nodes[0].output = vec!["h".into()];
    let mut proto = model(
        9,
        graph(vec![value("x", &[1])], nodes.clone(), vec![], &["y"]),
    );
    proto.opset_import.push(import("com.example", 1));
    let mut unknown = Model::from_proto(proto.clone()).unwrap();
    let error = upgrade_opset(&mut unknown, 11).unwrap_err().to_string();
    assert!(
        error.contains("`min` becomes an input of the element type of `h`"),
        "{error}"
    );

    nodes[0] = node("Cast", "", &["x"], &["h"]).with_attribute(attribute::int("to", 10));
    proto.graph.as_mut().unwrap().node = nodes;
    let mut half = Model::from_proto(proto).unwrap();
    upgrade_opset(&mut half, 11).unwrap();
    let bound = half.graph().constant("y_min").unwrap().unwrap();
    assert_eq!(bound.data_type(), tilecast_onnx::DataType::F16);
}

#[test]
fn whole_models_of_old_opsets_are_raised() {
    let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    for (file, target) in [
        ("old_opset.onnx", 21),
        ("older_parameters.onnx", 18),
        ("attention.onnx", 28),
    ] {
        let before = Model::load(&seeds.join(file)).unwrap();
        let mut after = before.clone();
        upgrade_opset(&mut after, target).unwrap();
        let [old, new] = [&before, &after].map(|m| infer_shapes(&m.graph(), &[]).unwrap());
        for node in &before.graph_proto().node {
            for name in &node.output {
                assert_eq!(old.shape(name), new.shape(name), "{file}: {name}");
            }
        }
        assert_eq!(old.shape("y").is_some(), file != "attention.onnx", "{file}");
    }
}
