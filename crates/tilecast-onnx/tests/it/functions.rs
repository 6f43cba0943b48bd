//! Inlining of model-local functions.

use tilecast_onnx::attribute::{float, int, ints};
use tilecast_onnx::proto::{
    AttributeFields, AttributeProto, FunctionFields, FunctionProto, ModelProto, NodeProto,
};
use tilecast_onnx::{Model, inline_functions, node};

use crate::support::{graph, import, listing, model, untyped, value};

fn function(name: &str, inputs: &[&str], outputs: &[&str], nodes: Vec<NodeProto>) -> FunctionProto {
    let owned = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect();
    FunctionProto::from(FunctionFields {
        name: Some(name.into()),
        domain: Some("local".into()),
        input: owned(inputs),
        output: owned(outputs),
        node: nodes,
        opset_import: vec![import("", 17), import("local", 1)],
        ..FunctionFields::default()
    })
}

fn call(name: &str, label: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let mut call = node(name, label, inputs, outputs);
    call.domain = Some("local".into());
    call
}

fn reference(name: &str, to: &str, code: i32) -> AttributeProto {
    AttributeProto::from(AttributeFields {
        name: Some(name.into()),
        ref_attr_name: Some(to.into()),
        r#type: Some(code),
        ..AttributeFields::default()
    })
}

fn with_functions(nodes: Vec<NodeProto>, functions: Vec<FunctionProto>) -> ModelProto {
    let mut proto = model(17, graph(vec![value("x", &[1, 4])], nodes, vec![], &["y"]));
    proto.opset_import.push(import("local", 1));
    proto.functions = functions;
    proto
}

fn inlined(proto: ModelProto) -> (usize, Model) {
    let mut model = Model::from_proto(proto).unwrap();
    let count = inline_functions(&mut model).unwrap();
    assert!(model.proto().functions.is_empty());
    assert_eq!(model.opset_of("local"), None);
    (count, model)
}

#[test]
fn a_model_without_functions_stays_as_it_is() {
    let nodes = vec![node("Relu", "", &["x"], &["y"])];
    let mut plain = Model::from_proto(model(
        17,
        graph(vec![value("x", &[1])], nodes, vec![], &["y"]),
    ))
    .unwrap();
    let before = plain.to_bytes();
    assert_eq!(inline_functions(&mut plain).unwrap(), 0);
    assert!(plain.to_bytes() == before);
}

#[test]
fn attributes_come_from_the_call_then_from_the_defaults() {
    let mut scaled = function(
        "Scaled",
        &["a"],
        &["r"],
        vec![
            node("LeakyRelu", "act", &["a"], &["t"]).with_attribute(reference("alpha", "slope", 1)),
            node("Softmax", "", &["t"], &["r"]).with_attribute(reference("axis", "along", 2)),
        ],
    );
    scaled.attribute = vec!["along".into()];
    scaled.attribute_proto = vec![float("slope", 0.25)];
    let (count, model) = inlined(with_functions(
        vec![
            call("Scaled", "one", &["x"], &["m"]).with_attribute(int("along", 1)),
            call("Scaled", "one", &["m"], &["y"]).with_attribute(float("slope", 0.5)),
        ],
        vec![scaled],
    ));
    assert_eq!(count, 2);
    assert_eq!(
        listing(model.graph_proto()),
        [
            "one/t = LeakyRelu(x) alpha=0.25",
            "m = Softmax(one/t) axis=1",
            "one_2/t = LeakyRelu(m) alpha=0.5",
            "y = Softmax(one_2/t)",
        ]
    );
    assert_eq!(model.graph_proto().node[0].label(), "one/act");
}

#[test]
fn calls_nest_and_pass_their_attributes_on() {
    let inner = function(
        "Inner",
        &["a"],
        &["b"],
        vec![node("Softmax", "", &["a"], &["b"]).with_attribute(reference("axis", "axis", 2))],
    );
    let outer = function(
        "Outer",
        &["a"],
        &["c"],
        vec![
            call("Inner", "i", &["a"], &["b"]).with_attribute(reference("axis", "dimension", 2)),
            node("Relu", "", &["b"], &["c"]),
        ],
    );
    let (count, model) = inlined(with_functions(
        vec![call("Outer", "o", &["x"], &["y"]).with_attribute(int("dimension", 0))],
        vec![inner, outer],
    ));
    assert_eq!(count, 2);
    assert_eq!(
        listing(model.graph_proto()),
        ["o/b = Softmax(x) axis=0", "y = Relu(o/b)"]
    );
}

#[test]
fn arguments_may_be_missing_repeated_or_handed_through() {
    let body = vec![node("Clip", "", &["a", "low", "high"], &["clipped"])];
    let bounded = function(
        "Bounded",
        &["a", "low", "high"],
        &["clipped", "a", "clipped"],
        body,
    );
    let (_, model) = inlined(with_functions(
        vec![
            call("Bounded", "", &["x", "", "x"], &["p", "q", "r"]),
            call("Bounded", "", &["x"], &["s"]),
            node("Sum", "", &["p", "q", "r", "s"], &["y"]),
        ],
        vec![bounded],
    ));
    assert_eq!(
        listing(model.graph_proto()),
        [
            "p = Clip(x, , x)",
            "q = Identity(x)",
            "r = Identity(p)",
            "s = Clip(x, , )",
            "y = Sum(p, q, r, s)",
        ]
    );
}

#[test]
fn names_in_subgraphs_are_renamed_and_captures_follow() {
    let branch = graph(
        vec![],
        vec![
            node("Relu", "", &["shared"], &["t"]).with_attribute(reference("unused", "absent", 2)),
            node("Unsqueeze", "", &["t", "a"], &["u"]).with_attribute(reference("axes", "axes", 7)),
        ],
        vec![],
        &["u"],
    );
    let mut choice = node("If", "", &["a"], &["r"]);
    choice.attribute = vec![AttributeProto::from(AttributeFields {
        name: Some("then_branch".into()),
        r#type: Some(5),
        g: Some(Box::new(branch)),
        ..AttributeFields::default()
    })];
    let body = vec![node("Abs", "", &["a"], &["shared"]), choice];
    let chosen = function("Chosen", &["a"], &["r"], body);
    let (_, model) = inlined(with_functions(
        vec![
            node("Neg", "", &["x"], &["f/t"]),
            call("Chosen", "f", &["x"], &["y"]).with_attribute(ints("axes", &[3])),
        ],
        vec![chosen],
    ));
    assert_eq!(
        listing(model.graph_proto()),
        [
            "f/t = Neg(x)",
            "f/shared = Abs(x)",
            r#"y = If(x) then_branch=["f/t_2 = Relu(f/shared)", "f/u = Unsqueeze(f/t_2, x) axes=[3]"]"#,
        ]
    );
}

#[test]
fn calls_in_subgraphs_of_the_model_are_replaced() {
    let branch = graph(
        vec![],
        vec![call("Twice", "t", &["x"], &["b"])],
        vec![],
        &["b"],
    );
    let mut choice = node("If", "", &["c"], &["y"]);
    choice.attribute = vec![AttributeProto::from(AttributeFields {
        name: Some("then_branch".into()),
        r#type: Some(5),
        g: Some(Box::new(branch)),
        ..AttributeFields::default()
    })];
    let twice = function(
        "Twice",
        &["a"],
        &["r"],
        vec![node("Add", "", &["a", "a"], &["r"])],
    );
    let mut proto = with_functions(vec![choice], vec![twice]);
    proto.graph.as_mut().unwrap().input.push(untyped("c"));
    let (count, model) = inlined(proto);
    assert_eq!(count, 1);
    assert_eq!(
        listing(model.graph_proto()),
        [r#"y = If(c) then_branch=["b = Add(x, x)"]"#]
    );
}

#[test]
fn what_cannot_be_inlined_is_refused_and_leaves_the_model_alone() {
    let relu = |inputs: &[&str]| node("Relu", "", inputs, &["r"]);
    let recursive = vec![
        function("F", &["a"], &["r"], vec![call("G", "g", &["a"], &["r"])]),
        function("G", &["a"], &["r"], vec![call("F", "f", &["a"], &["r"])]),
    ];
    let doubling: Vec<FunctionProto> = (0..40)
        .map(|i| {
            let (name, next) = (
                if i == 0 { "F".into() } else { format!("F{i}") },
                format!("F{}", i + 1),
            );
            let body = vec![
                call(&next, "", &["a"], &["t"]),
                call(&next, "", &["t"], &["r"]),
            ];
            function(&name, &["a"], &["r"], body)
        })
        .chain([function("F40", &["a"], &["r"], vec![relu(&["a"])])])
        .collect();
    let mut older = function(
        "F",
        &["a"],
        &["r"],
        vec![node("Softmax", "", &["a"], &["r"])],
    );
    older.opset_import[0].version = Some(11);
    let mut newer = function("F", &["a"], &["r"], vec![relu(&["a"])]);
    newer.opset_import[0].version = Some(21);
    let plain = function("F", &["a"], &["r"], vec![relu(&["a"])]);
    for (functions, inputs, reason) in [
        (
            recursive,
            &["x"][..],
            "(local::F): the function calls itself",
        ),
        (doubling, &["x"], "the model grows beyond"),
        (
            vec![older],
            &["x"],
            "the function's `Softmax` is of opset 11",
        ),
        (
            vec![plain],
            &["x", "x"],
            "2 inputs are given, the function has 1",
        ),
        (vec![newer], &["x"], ""),
    ] {
        let proto = with_functions(vec![call("F", "start", inputs, &["y"])], functions);
        let mut model = Model::from_proto(proto).unwrap();
        let before = model.to_bytes();
        match inline_functions(&mut model) {
            Ok(count) => assert_eq!((count, reason), (1, "")),
            Err(error) => {
                let text = error.to_string();
                assert!(!reason.is_empty() && text.contains(reason), "{text}");
                assert!(model.to_bytes() == before);
            }
        }
    }
}
