//! Folding of constants and of shape arithmetic.

use tilecast_onnx::{DataType, InputExtents, Model, Tensor, attribute};
use tilecast_passes::{FoldConstants, FoldShapes, run_pass, run_pass_with};

use crate::common::{
    Case, capturing, cast, float, int, ints, listing, op, refuses, rewrites, rewrites_unrun,
    sample, value,
};

/// The stored constant of this name.
fn stored(model: &Model, name: &str) -> Tensor {
    model.graph().constant(name).unwrap().unwrap()
}

#[test]
fn chains_of_constants_fold_in_one_run() {
    let two = float(2.0);
    let case = Case::new(vec![
        op("Constant", &[], &["two"]).with_attribute(attribute::tensor("value", &two)),
        op("Mul", &["two", "three"], &["six"]),
        op("Sqrt", &["six"], &["root"]),
        op("Mul", &["x", "root"], &["y"]),
    ])
    .constant("three", float(3.0));
    let model = rewrites(&FoldConstants, case, &["Mul(x, root) -> y"]);
    assert_eq!(
        stored(&model, "root").to_f32_vec().unwrap(),
        [6.0f32.sqrt()]
    );
}

#[test]
fn operators_compute_what_they_are_defined_to() {
    let matrix = Tensor::from_i64(vec![2, 3], &[1, 2, 3, 4, 5, 6]);
    let axis = |node: tilecast_onnx::proto::NodeProto, axis| {
        node.with_attribute(attribute::int("axis", axis))
    };
    let cases = [
        (
            op("Transpose", &["m"], &["c"]),
            vec![],
            vec![3, 2],
            vec![1, 4, 2, 5, 3, 6],
        ),
        (
            op("Reshape", &["m", "a"], &["c"]),
            vec![("a", ints(&[-1, 2]))],
            vec![3, 2],
            vec![1, 2, 3, 4, 5, 6],
        ),
        (
            axis(op("Gather", &["m", "a"], &["c"]), 1),
            vec![("a", ints(&[-1, 0]))],
            vec![2, 2],
            vec![3, 1, 6, 4],
        ),
        (
            axis(op("Concat", &["m", "m"], &["c"]), -1),
            vec![],
            vec![2, 6],
            vec![1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6],
        ),
        (
            op("Slice", &["m", "s", "e", "a", "t"], &["c"]),
            vec![
                ("s", ints(&[-1])),
                ("e", ints(&[i64::MIN])),
                ("a", ints(&[1])),
                ("t", ints(&[-2])),
            ],
            vec![2, 2],
            vec![3, 1, 6, 4],
        ),
        (
            op("Unsqueeze", &["m", "a"], &["c"]),
            vec![("a", ints(&[1, -1]))],
            vec![2, 1, 3, 1],
            vec![1, 2, 3, 4, 5, 6],
        ),
        (
            op("Expand", &["n", "a"], &["c"]),
            vec![("n", ints(&[7, 8])), ("a", ints(&[2, 1]))],
            vec![2, 2],
            vec![7, 8, 7, 8],
        ),
        (
            op("Tile", &["n", "a"], &["c"]),
            vec![("n", ints(&[7, 8])), ("a", ints(&[2]))],
            vec![4],
            vec![7, 8, 7, 8],
        ),
        (
            op("Mod", &["n", "a"], &["c"]),
            vec![("n", ints(&[-7, 7])), ("a", int(4))],
            vec![2],
            vec![1, 3],
        ),
        (
            op("Div", &["n", "a"], &["c"]),
            vec![("n", ints(&[-7, 7])), ("a", int(4))],
            vec![2],
            vec![-1, 1],
        ),
        (
            op("Where", &["q", "n", "a"], &["c"]),
            vec![
                (
                    "q",
                    Tensor::from_raw(DataType::Bool, vec![2], vec![0u8, 1].into()).unwrap(),
                ),
                ("n", int(-1)),
                ("a", ints(&[5, 6])),
            ],
            vec![2],
            vec![5, -1],
        ),
        (
            op("Range", &["n", "a", "s"], &["c"]),
            vec![("n", int(5)), ("a", int(-1)), ("s", int(-2))],
            vec![3],
            vec![5, 3, 1],
        ),
        (
            op("ConstantOfShape", &["a"], &["c"])
                .with_attribute(attribute::tensor("value", &ints(&[9]))),
            vec![("a", ints(&[1, 2]))],
            vec![1, 2],
            vec![9, 9],
        ),
        (op("Shape", &["m"], &["c"]), vec![], vec![2], vec![2, 3]),
        (
            op("NonZero", &["n"], &["c"]),
            vec![("n", ints(&[0, 4, 0, 5]))],
            vec![1, 2],
            vec![1, 3],
        ),
        (
            cast("n", DataType::I64, "c"),
            vec![("n", Tensor::from_f32(vec![2], &[-1.7, 2.5]))],
            vec![2],
            vec![-1, 2],
        ),
    ];
    for (node, constants, dims, elements) in cases {
        let name = node.op().to_owned();
        let mut case = Case::new(vec![node, cast("c", DataType::F32, "f"), {
            op("Add", &["x", "f"], &["y"])
        }])
        .constant("m", matrix.clone());
        case.constants.extend(constants);
        let mut model = case.model();
        run_pass(&FoldConstants, &mut model).unwrap();
        let folded = stored(&model, "c");
        assert_eq!(folded.dims(), dims, "{name}");
        assert_eq!(folded.to_i64_vec().unwrap(), elements, "{name}");
        assert_eq!(listing(&model), ["Add(x, f) -> y"], "{name}");
    }
}

#[test]
fn constants_are_left_alone_for_a_reason() {
    let one = float(1.0);
    let mut default = Case::new(vec![
        op("Neg", &["w"], &["n"]),
        op("Mul", &["x", "n"], &["y"]),
    ])
    .constant("w", one.clone());
    default.inputs.push(value("w", DataType::F32, &[]));
    refuses(&FoldConstants, default, "");
    refuses(
        &FoldConstants,
        Case::new(vec![
            op("Exp", &["w"], &["n"]),
            op("Mul", &["x", "n"], &["y"]),
        ])
        .constant("w", one.clone()),
        "Exp on them is left to the runtime",
    );
    refuses(
        &FoldConstants,
        Case::new(vec![op("Neg", &["w"], &["y"])]).constant("w", one.clone()),
        "is a graph output",
    );
    refuses(
        &FoldConstants,
        Case::new(vec![
            op("Expand", &["w", "s"], &["n"]),
            op("Mul", &["x", "n"], &["y"]),
        ])
        .constant("w", one)
        .constant("s", ints(&[1, 4, 100, 100])),
        "into 160000",
    );
    refuses(
        &FoldConstants,
        Case::new(vec![
            op("Mul", &["w", "w"], &["n"]),
            op("Reshape", &["x", "n"], &["y"]),
        ])
        .constant("w", ints(&[i64::MAX])),
        "Mul on them is left to the runtime",
    );
    // Weights stored in half the bytes stay so.
    let half = Tensor::from_raw(DataType::F16, vec![1], vec![0u8, 0x3c].into()).unwrap();
    refuses(
        &FoldConstants,
        Case::new(vec![
            cast("w", DataType::F32, "n"),
            op("Mul", &["x", "n"], &["y"]),
        ])
        .constant("w", half),
        "Cast on them is left to the runtime",
    );
    refuses(
        &FoldConstants,
        Case::new(vec![
            op("RandomNormal", &[], &["n"]).with_attribute(attribute::ints("shape", &[1])),
            op("Mul", &["x", "n"], &["y"]),
        ]),
        "",
    );
}

/// `Shape → Gather → Add → Div → Mul → Slice`, as `chunk` along the channels is exported.
fn chunk() -> Vec<tilecast_onnx::proto::NodeProto> {
    vec![
        op("Shape", &["x"], &["s"]),
        op("Gather", &["s", "one"], &["c"]),
        op("Add", &["c", "one"], &["more"]),
        op("Div", &["more", "two"], &["half"]),
        op("Mul", &["half", "two"], &["all"]),
        op("Slice", &["x", "half", "all", "one"], &["y"]),
    ]
}

#[test]
fn bounds_that_come_from_channels_fold() {
    let case = Case::new(chunk())
        .constant("one", ints(&[1]))
        .constant("two", ints(&[2]));
    let model = rewrites(
        &FoldShapes,
        case,
        &["Shape(x) -> s", "Slice(x, half, all, one) -> y"],
    );
    assert_eq!(stored(&model, "half").to_i64_vec().unwrap(), [2]);
    assert_eq!(stored(&model, "all").to_i64_vec().unwrap(), [4]);
}

#[test]
fn channels_that_the_graph_leaves_open_do_not_fold_until_they_are_bound() {
    let open = || {
        let mut case = Case::new(chunk())
            .constant("one", ints(&[1]))
            .constant("two", ints(&[2]));
        case.inputs = vec![value("x", DataType::F32, &[Some(1), None, None, None])];
        case
    };
    refuses(&FoldShapes, open(), "it depends on the size of the input");
    let mut model = open().model();
    let bound = InputExtents::default().with("x", vec![None, Some(4), None, None]);
    assert!(
        run_pass_with(&FoldShapes, &mut model, &bound)
            .unwrap()
            .changed
    );
    assert_eq!(stored(&model, "half").to_i64_vec().unwrap(), [2]);
    // The other way round: extents that the graph declares are left open.
    let mut model = Case::new(chunk())
        .constant("one", ints(&[1]))
        .constant("two", ints(&[2]))
        .model();
    let freed = InputExtents::default().with("x", vec![None; 4]);
    assert!(
        !run_pass_with(&FoldShapes, &mut model, &freed)
            .unwrap()
            .changed
    );
}

#[test]
fn a_number_that_happens_to_be_the_same_at_many_sizes_is_not_proved() {
    // h / 1024 is 0 at every size that a test would try.
    let case = Case::new(vec![
        op("Shape", &["x"], &["s"]),
        op("Gather", &["s", "two"], &["h"]),
        op("Div", &["h", "many"], &["zero"]),
        op("Slice", &["x", "zero", "h", "two"], &["y"]),
    ])
    .constant("two", ints(&[2]))
    .constant("many", ints(&[1024]));
    refuses(&FoldShapes, case, "it depends on the size of the input");
}

#[test]
fn a_difference_of_sizes_that_cancels_is_proved() {
    let case = Case::new(vec![
        op("Shape", &["x"], &["s"]),
        op("Gather", &["s", "two"], &["h"]),
        op("Relu", &["x"], &["r"]),
        op("Shape", &["r"], &["t"]),
        op("Gather", &["t", "two"], &["g"]),
        op("Sub", &["h", "g"], &["zero"]),
        op("Slice", &["r", "zero", "h", "two"], &["y"]),
    ])
    .constant("two", ints(&[2]));
    let model = rewrites(
        &FoldShapes,
        case,
        &[
            "Shape(x) -> s",
            "Gather(s, two) -> h",
            "Relu(x) -> r",
            "Shape(r) -> t",
            "Gather(t, two) -> g",
            "Slice(r, zero, h, two) -> y",
        ],
    );
    assert_eq!(stored(&model, "zero").to_i64_vec().unwrap(), [0]);
}

#[test]
fn proved_values_that_the_outside_sees_stay() {
    let shape = || {
        op("Shape", &["x"], &["s"])
            .with_attribute(attribute::int("start", 0))
            .with_attribute(attribute::int("end", 2))
    };
    let output = Case::new(vec![shape(), op("Relu", &["x"], &["y"])]).output("s");
    refuses(&FoldShapes, output, "is a graph output");
    let split = Case::new(vec![
        shape(),
        op("Split", &["s"], &["n", "c"]),
        op("Expand", &["x", "n"], &["y"]),
    ]);
    let mut model = split.model();
    let report = run_pass(&FoldShapes, &mut model).unwrap();
    assert_eq!(report.declined[0].reason, "it has further outputs");
    // A subgraph finds a stored constant by its name as well.
    let captured = Case::new(vec![shape(), capturing("s", "y")])
        .input(value("flag", DataType::Bool, &[]))
        .model();
    let listing = ["If(flag) -> y"];
    let model = rewrites_unrun(&FoldShapes, captured, &listing);
    assert_eq!(stored(&model, "s").to_i64_vec().unwrap(), [1, 4]);
}

#[test]
fn every_gate_of_the_sample_gets_constant_bounds() {
    let mut model = sample("nafnet-denoise");
    run_pass(&FoldConstants, &mut model).unwrap();
    run_pass(&FoldShapes, &mut model).unwrap();
    let graph = model.graph();
    let computed: Vec<String> = graph
        .nodes()
        .filter(|(_, n)| n.is("Slice") && n.label().contains("/sg/"))
        .flat_map(|(_, n)| &n.input[1..])
        .filter(|name| graph.initializer(name).is_none())
        .cloned()
        .collect();
    assert_eq!(computed, Vec::<String>::new());
}
