//! Passes that take nodes away: identities, dead nodes, weights among the inputs.

use tilecast_onnx::{DataType, Tensor, attribute};
use tilecast_passes::{RemoveDeadNodes, RemoveIdentity, RemoveInitializerInputs, run_pass};

use crate::common::{
    Case, capturing, cast, float, int, ints, op, refuses, rewrites, rewrites_unrun, value,
};

#[test]
fn every_kind_of_identity_goes() {
    let eight_zeros = ints(&[0; 8]);
    let cases = vec![
        Case::new(vec![op("Identity", &["x"], &["a"])]),
        Case::new(vec![op("Dropout", &["x"], &["a", "mask"])]),
        Case::new(vec![op("Dropout", &["x", "ratio", "off"], &["a"])])
            .constant("ratio", float(0.5))
            .constant(
                "off",
                Tensor::from_raw(DataType::Bool, vec![], vec![0u8].into()).unwrap(),
            ),
        Case::new(vec![cast("x", DataType::F32, "a")]),
        Case::new(vec![
            op("Shape", &["x"], &["s"]),
            op("Reshape", &["x", "s"], &["a"]),
        ]),
        Case::new(vec![op("Reshape", &["x", "s"], &["a"])]).constant("s", ints(&[0, 4, 0, 0])),
        Case::new(vec![op("Expand", &["x", "s"], &["a"])]).constant("s", ints(&[1, 1, 1])),
        Case::new(vec![op("Slice", &["x", "s", "e", "axes"], &["a"])])
            .constant("s", ints(&[0, 0]))
            .constant("e", ints(&[4, i64::MAX]))
            .constant("axes", ints(&[1, 2])),
        Case::new(vec![
            op("Transpose", &["x"], &["a"]).with_attribute(attribute::ints("perm", &[0, 1, 2, 3])),
        ]),
        Case::new(vec![op("Tile", &["x", "r"], &["a"])]).constant("r", ints(&[1, 1, 1, 1])),
        Case::new(vec![op("Pad", &["x", "p"], &["a"])]).constant("p", eight_zeros),
        Case::new(vec![
            op("Concat", &["x"], &["a"]).with_attribute(attribute::int("axis", 1)),
        ]),
        Case::new(vec![op("Sum", &["x"], &["a"])]),
        Case::new(vec![op("Mul", &["one", "x"], &["a"])]).constant("one", float(1.0)),
        Case::new(vec![op("Div", &["x", "one"], &["a"])])
            .constant("one", Tensor::from_f32(vec![4, 1, 1], &[1.0; 4])),
        Case::new(vec![op("Sub", &["x", "zero"], &["a"])]).constant("zero", float(0.0)),
        Case::new(vec![op("Add", &["x", "zero"], &["a"])]).constant("zero", float(-0.0)),
    ];
    for mut case in cases {
        // The engine keeps the sign of a zero in this one.
        case.nodes.push(op("Neg", &["a"], &["y"]));
        let before = case.nodes.len();
        let kept = if before == 3 {
            vec!["Shape(x) -> s", "Neg(x) -> y"]
        } else {
            vec!["Neg(x) -> y"]
        };
        rewrites(&RemoveIdentity, case, &kept);
    }
}

#[test]
fn adding_zero_to_integers_is_an_identity() {
    let case = Case::new(vec![
        op("Shape", &["x"], &["s"]),
        op("Add", &["s", "zero"], &["t"]),
        op("Reshape", &["x", "t"], &["r"]),
        op("Relu", &["r"], &["y"]),
    ])
    .constant("zero", int(0));
    rewrites(&RemoveIdentity, case, &["Shape(x) -> s", "Relu(x) -> y"]);
}

#[test]
fn the_name_of_a_graph_output_moves_to_the_node_before() {
    let case = Case::new(vec![
        op("Relu", &["x"], &["a"]),
        op("Neg", &["a"], &["n"]),
        op("Identity", &["a"], &["y"]),
    ])
    .output("n");
    rewrites(&RemoveIdentity, case, &["Relu(x) -> y", "Neg(y) -> n"]);
}

#[test]
fn what_is_no_identity_stays() {
    let relu = || op("Relu", &["a"], &["y"]);
    let cases = [
        // Turns -0 into 0.
        (
            Case::new(vec![op("Add", &["x", "zero"], &["a"]), relu()]).constant("zero", float(0.0)),
            "turns -0 into 0",
        ),
        (
            Case::new(vec![op("Mul", &["x", "one"], &["a"]), relu()])
                .constant("one", Tensor::from_f32(vec![2, 1, 1, 1], &[1.0; 2])),
            "may enlarge `x` by broadcasting",
        ),
        (
            Case::new(vec![op("Div", &["one", "x"], &["a"]), relu()]).constant("one", float(1.0)),
            "",
        ),
        (
            Case::new(vec![op("Mul", &["x", "almost"], &["a"]), relu()])
                .constant("almost", float(1.0 + f32::EPSILON)),
            "",
        ),
        (
            Case::new(vec![op("Dropout", &["x"], &["a", "mask"]), relu()]).output("mask"),
            "its output `mask` is read",
        ),
        (
            Case::new(vec![op("Dropout", &["x", "", "flag"], &["a"]), relu()]).input(value(
                "flag",
                DataType::Bool,
                &[],
            )),
            "its training mode is not constantly off",
        ),
        (
            Case::new(vec![op("Identity", &["x"], &["y"])]),
            "which no node computes, the name of the graph output `y`",
        ),
        (
            Case::new(vec![
                op("Relu", &["x"], &["a"]),
                op("Identity", &["a"], &["y"]),
            ])
            .output("a"),
            "both graph outputs",
        ),
        (
            Case::new(vec![op("Identity", &["x"], &["a"]), capturing("a", "y")]).input(value(
                "flag",
                DataType::Bool,
                &[],
            )),
            "a subgraph reads its output `a` by name",
        ),
        // The same shape, another order.
        (
            Case::new(vec![
                op("Slice", &["x", "start", "end", "axes", "steps"], &["a"]),
                relu(),
            ])
            .constant("start", ints(&[-1]))
            .constant("end", ints(&[i64::MIN]))
            .constant("axes", ints(&[1]))
            .constant("steps", ints(&[-1])),
            "",
        ),
        // All rows but the last.
        (
            Case::new(vec![
                op("Slice", &["x", "start", "end", "axes"], &["a"]),
                relu(),
            ])
            .constant("start", ints(&[0]))
            .constant("end", ints(&[-1]))
            .constant("axes", ints(&[2])),
            "",
        ),
        // Equal where height and width are.
        (
            Case::new(vec![
                op("Transpose", &["x"], &["a"])
                    .with_attribute(attribute::ints("perm", &[0, 1, 3, 2])),
                relu(),
            ]),
            "",
        ),
        (
            Case::new(vec![op("Expand", &["x", "s"], &["a"]), relu()])
                .constant("s", ints(&[2, 1, 1, 1])),
            "",
        ),
        (
            Case::new(vec![op("Pad", &["x", "p"], &["a"]), relu()])
                .constant("p", ints(&[0, 0, 0, 0, 0, 0, 0, 1])),
            "",
        ),
    ];
    for (case, reason) in cases {
        refuses(&RemoveIdentity, case, reason);
    }
}

#[test]
fn a_factor_that_a_caller_may_replace_is_no_identity() {
    let mut case = Case::new(vec![op("Mul", &["x", "one"], &["y"])]).constant("one", float(1.0));
    case.inputs.push(value("one", DataType::F32, &[]));
    refuses(&RemoveIdentity, case, "");
}

#[test]
fn dropout_before_opset_7_is_training_unless_it_says_otherwise() {
    let graph = |node| {
        let mut case = Case::new(vec![node, op("Relu", &["a"], &["y"])]);
        case.opset = 6;
        case
    };
    let dropout = || op("Dropout", &["x"], &["a"]);
    refuses(
        &RemoveIdentity,
        graph(dropout()),
        "its training mode is not constantly off",
    );
    let inference = graph(dropout().with_attribute(attribute::int("is_test", 1)));
    rewrites_unrun(&RemoveIdentity, inference.model(), &["Relu(x) -> y"]);
}

#[test]
fn dead_nodes_and_initializers_go() {
    let case = Case::new(vec![
        op("Relu", &["x"], &["a"]),
        op("Shape", &["a"], &["s"]),
        op("Gather", &["s", "i"], &["g"]),
        op("Mul", &["x", "used"], &["y"]),
    ])
    .constant("i", int(1))
    .constant("used", float(2.0))
    .constant("unused", float(3.0));
    let model = rewrites(&RemoveDeadNodes, case, &["Mul(x, used) -> y"]);
    let names: Vec<_> = model
        .graph_proto()
        .initializer
        .iter()
        .map(|t| t.name.as_deref().unwrap())
        .collect();
    assert_eq!(names, ["used"]);
}

#[test]
fn what_something_may_read_is_not_dead() {
    // A default of a graph input, an output, and what a subgraph captures.
    let mut default = Case::new(vec![op("Relu", &["x"], &["y"])]).constant("w", float(1.0));
    default.inputs.push(value("w", DataType::F32, &[]));
    refuses(&RemoveDeadNodes, default, "");
    let output = Case::new(vec![
        op("Relu", &["x"], &["y"]),
        op("Abs", &["x"], &["second"]),
    ])
    .output("second");
    refuses(&RemoveDeadNodes, output, "");
    let captured = Case::new(vec![op("Relu", &["x"], &["a"]), capturing("a", "y")]).input(value(
        "flag",
        DataType::Bool,
        &[],
    ));
    refuses(&RemoveDeadNodes, captured, "");
}

#[test]
fn weights_of_old_models_are_taken_off_the_inputs() {
    let graph = |ir_version| {
        let mut case = Case::new(vec![op("Mul", &["x", "w"], &["y"])]).constant("w", float(2.0));
        case.inputs.push(value("w", DataType::F32, &[]));
        case.ir_version = ir_version;
        case
    };
    let model = rewrites(&RemoveInitializerInputs, graph(3), &["Mul(x, w) -> y"]);
    assert_eq!(model.graph_proto().input.len(), 1);
    assert_eq!(model.proto().ir_version, Some(4));
    // From version 4 on, a listed weight is a default.
    refuses(&RemoveInitializerInputs, graph(4), "");
    let mut nothing_listed = Case::new(vec![op("Relu", &["x"], &["y"])]);
    nothing_listed.ir_version = 3;
    let mut model = nothing_listed.model();
    assert!(
        !run_pass(&RemoveInitializerInputs, &mut model)
            .unwrap()
            .changed
    );
    assert_eq!(model.proto().ir_version, Some(3));
}
