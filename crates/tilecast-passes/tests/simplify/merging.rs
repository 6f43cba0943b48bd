//! Passes that merge what is there twice, and pairs of nodes.

use tilecast_onnx::{DataType, Tensor, attribute};
use tilecast_passes::{
    MergeCasts, MergeCommonSubexpressions, MergeDuplicateInitializers, MergeEqualSizes,
    MergeReshapes, MergeTransposes, ReplaceCastLike,
};

use crate::common::{
    Case, capturing, cast, float, ints, op, refuses, rewrites, rewrites_unrun, value,
};

#[test]
fn equal_initializers_become_one() {
    let case = Case::new(vec![
        op("Add", &["x", "one"], &["a"]),
        op("Mul", &["a", "uno"], &["b"]),
        op("Mul", &["b", "other"], &["y"]),
    ])
    .constant("one", float(1.0))
    .constant("uno", float(1.0))
    .constant("other", float(2.0));
    let model = rewrites(
        &MergeDuplicateInitializers,
        case,
        &["Add(x, one) -> a", "Mul(a, one) -> b", "Mul(b, other) -> y"],
    );
    assert_eq!(model.graph_proto().initializer.len(), 2);
}

#[test]
fn initializers_that_differ_or_are_seen_from_outside_stay() {
    let graph = |constants: [Tensor; 2]| {
        let [a, b] = constants;
        Case::new(vec![
            op("Add", &["x", "one"], &["a"]),
            op("Mul", &["a", "uno"], &["y"]),
        ])
        .constant("one", a)
        .constant("uno", b)
    };
    // The sign of zero, the dimensions, and what lies behind the first bytes.
    let long = |last: f32| {
        let mut values = vec![0.5; 40];
        values[39] = last;
        Tensor::from_f32(vec![40, 1, 1, 1], &values)
    };
    for constants in [
        [float(0.0), float(-0.0)],
        [float(1.0), Tensor::from_f32(vec![1], &[1.0])],
        [long(1.0), long(2.0)],
    ] {
        refuses(&MergeDuplicateInitializers, graph(constants), "");
    }
    let equal = || [float(1.0), float(1.0)];
    let mut listed = graph(equal());
    listed.inputs.push(value("uno", DataType::F32, &[]));
    refuses(
        &MergeDuplicateInitializers,
        listed,
        "it is a graph input, so a caller may replace it",
    );
    // The first one listed: the second is not to read it either.
    let mut listed = graph(equal());
    listed.inputs.push(value("one", DataType::F32, &[]));
    refuses(&MergeDuplicateInitializers, listed, "");
    refuses(
        &MergeDuplicateInitializers,
        graph(equal()).output("uno"),
        "it is a graph output",
    );
    let mut captured = graph(equal()).input(value("flag", DataType::Bool, &[]));
    captured.nodes.push(capturing("uno", "z"));
    refuses(
        &MergeDuplicateInitializers,
        captured.output("z"),
        "a subgraph reads it by name",
    );
}

#[test]
fn chains_that_compute_the_same_become_one() {
    let case = Case::new(vec![
        op("Relu", &["x"], &["a"]),
        op("Relu", &["x"], &["b"]),
        op("Mul", &["a", "two"], &["c"]),
        op("Mul", &["b", "two"], &["d"]),
        op("Add", &["c", "d"], &["y"]),
    ])
    .constant("two", float(2.0));
    rewrites(
        &MergeCommonSubexpressions,
        case,
        &["Relu(x) -> a", "Mul(a, two) -> c", "Add(c, c) -> y"],
    );
}

#[test]
fn nodes_that_differ_or_are_seen_from_outside_are_not_merged() {
    let slope = |y: &str, alpha| {
        op("LeakyRelu", &["x"], &[y]).with_attribute(attribute::float("alpha", alpha))
    };
    let twice = |a, b| Case::new(vec![a, b, op("Add", &["a", "b"], &["y"])]);
    refuses(
        &MergeCommonSubexpressions,
        twice(slope("a", 0.1), slope("b", 0.2)),
        "",
    );
    refuses(
        &MergeCommonSubexpressions,
        twice(
            op("RandomNormalLike", &["x"], &["a"]),
            op("RandomNormalLike", &["x"], &["b"]),
        ),
        "",
    );
    refuses(
        &MergeCommonSubexpressions,
        twice(op("Dropout", &["x"], &["a"]), op("Dropout", &["x"], &["b"])),
        "",
    );
    refuses(
        &MergeCommonSubexpressions,
        twice(op("Relu", &["x"], &["a"]), op("Relu", &["x"], &["b"])).output("b"),
        "its output `b` is a graph output",
    );
    let mut captured = twice(op("Relu", &["x"], &["a"]), op("Relu", &["x"], &["b"])).input(value(
        "flag",
        DataType::Bool,
        &[],
    ));
    captured.nodes.push(capturing("b", "z"));
    refuses(
        &MergeCommonSubexpressions,
        captured.output("z"),
        "a subgraph reads its output `b` by name",
    );
    let pool = |outputs: &[&str]| {
        op("MaxPool", &["x"], outputs).with_attribute(attribute::ints("kernel_shape", &[1, 1]))
    };
    let mut foreign = [op("Relu", &["x"], &["a"]), op("Relu", &["x"], &["b"])];
    for node in &mut foreign {
        node.domain = Some("ai.onnx".into());
    }
    let [a, b] = foreign;
    // The alias of the default domain is the default domain.
    rewrites_unrun(
        &MergeCommonSubexpressions,
        twice(a, b).model(),
        &["Relu(x) -> a", "Add(a, a) -> y"],
    );
    refuses(
        &MergeCommonSubexpressions,
        twice(pool(&["a", ""]), pool(&["b", "indices"])).output("indices"),
        "is a graph output",
    );
    let mut indices = twice(pool(&["a", ""]), pool(&["b", "indices"])).output("z");
    indices.nodes.push(op("Shape", &["indices"], &["z"]));
    refuses(
        &MergeCommonSubexpressions,
        indices,
        "the first one leaves out output 1",
    );
}

#[test]
fn sizes_that_are_equal_by_different_ways_are_computed_once() {
    let case = Case::new(vec![
        op("Relu", &["x"], &["r"]),
        op("Shape", &["x"], &["s"]),
        op("Shape", &["r"], &["t"]),
        op("Gather", &["s", "two"], &["h"]),
        op("Gather", &["t", "two"], &["g"]),
        op("Slice", &["r", "zero", "g", "two"], &["a"]),
        op("Slice", &["a", "zero", "h", "two"], &["y"]),
    ])
    .constant("two", ints(&[2]))
    .constant("zero", ints(&[0]));
    rewrites(
        &MergeEqualSizes,
        case,
        &[
            "Relu(x) -> r",
            "Shape(x) -> s",
            "Gather(s, two) -> h",
            "Slice(r, zero, h, two) -> a",
            "Slice(a, zero, h, two) -> y",
        ],
    );
}

#[test]
fn sizes_that_are_not_proved_equal_stay() {
    let graph = |first: &str, second: &str| {
        Case::new(vec![
            op("Shape", &["x"], &["s"]),
            op("Gather", &["s", first], &["a"]),
            op("Gather", &["s", second], &["b"]),
            op("Sub", &["a", "b"], &["c"]),
            cast("c", DataType::F32, "f"),
            op("Add", &["x", "f"], &["y"]),
        ])
        .constant("two", ints(&[2]))
        .constant("three", ints(&[3]))
    };
    // Height and width are equal for square images only.
    refuses(&MergeEqualSizes, graph("two", "three"), "");
    refuses(
        &MergeEqualSizes,
        graph("two", "two").output("b"),
        "`b` is a graph output",
    );
    let mut captured = graph("two", "two").input(value("flag", DataType::Bool, &[]));
    captured.nodes.push(capturing("b", "z"));
    refuses(
        &MergeEqualSizes,
        captured.output("z"),
        "`b` is read by name in a subgraph",
    );
    // The same number in another element type.
    let typed = Case::new(vec![
        op("Shape", &["x"], &["s"]),
        cast("s", DataType::I32, "t"),
        cast("t", DataType::F32, "f"),
        op("Reshape", &["x", "s"], &["r"]),
        op("Flatten", &["r"], &["y"]),
    ])
    .output("f");
    refuses(&MergeEqualSizes, typed, "");
}

#[test]
fn two_transposes_become_one() {
    let transpose = |x: &str, perm: &[i64], y: &str| {
        op("Transpose", &[x], &[y]).with_attribute(attribute::ints("perm", perm))
    };
    let case = Case::new(vec![
        transpose("x", &[0, 2, 3, 1], "a"),
        op("Transpose", &["a"], &["y"]),
    ])
    .output("a");
    let model = rewrites_unrun(
        &MergeTransposes,
        case.model(),
        &["Transpose(x) -> a", "Transpose(x) -> y"],
    );
    let perm = model.graph_proto().node[1].ints("perm").unwrap().unwrap();
    assert_eq!(perm, [1, 3, 2, 0]);
    let case = Case::new(vec![
        transpose("x", &[0, 2, 3, 1], "a"),
        transpose("a", &[1, 0, 3, 2], "y"),
    ]);
    rewrites(
        &MergeTransposes,
        case,
        &["Transpose(x) -> a", "Transpose(x) -> y"],
    );
}

#[test]
fn transposes_of_unknown_rank_stay() {
    let mut case = Case::new(vec![
        op("Transpose", &["x"], &["a"]),
        op("Transpose", &["a"], &["y"]),
    ]);
    let mut unranked = value("x", DataType::F32, &[]);
    if let Some(tilecast_onnx::proto::TypeValue::Tensor(tensor)) =
        unranked.r#type.as_mut().unwrap().value.as_mut()
    {
        tensor.shape = None;
    }
    case.inputs = vec![unranked];
    refuses(&MergeTransposes, case, "the rank is not known");
    let case = Case::new(vec![
        op("Transpose", &["x"], &["a"]).with_attribute(attribute::ints("perm", &[1, 0])),
        op("Transpose", &["a"], &["y"]).with_attribute(attribute::ints("perm", &[0, 2, 1])),
    ]);
    refuses(
        &MergeTransposes,
        case,
        "its permutation does not fit its input",
    );
}

#[test]
fn a_reshape_reads_what_was_reshaped_before() {
    for first in [
        op("Reshape", &["x", "flat"], &["a"]),
        op("Flatten", &["x"], &["a"]),
        op("Squeeze", &["x", "axis"], &["a"]),
        op("Unsqueeze", &["x", "axis"], &["a"]),
    ] {
        let before = format!("{}({}) -> a", first.op(), first.input.join(", "));
        let case = Case::new(vec![first, op("Reshape", &["a", "target"], &["y"])])
            .constant("flat", ints(&[-1]))
            .constant("axis", ints(&[0]))
            .constant("target", ints(&[2, -1]));
        rewrites(
            &MergeReshapes,
            case,
            &[before.as_str(), "Reshape(x, target) -> y"],
        );
    }
}

#[test]
fn a_reshape_that_depends_on_what_is_between_stays() {
    let graph = || {
        Case::new(vec![
            op("Flatten", &["x"], &["a"]),
            op("Reshape", &["a", "target"], &["y"]),
        ])
    };
    refuses(
        &MergeReshapes,
        graph().constant("target", ints(&[0, 2, -1])),
        "copies an extent of what is between",
    );
    refuses(
        &MergeReshapes,
        graph().input(value("target", DataType::I64, &[Some(2)])),
        "its target shape is computed",
    );
    refuses(
        &MergeReshapes,
        Case::new(vec![
            op("Transpose", &["x"], &["a"]),
            op("Reshape", &["a", "target"], &["y"]),
        ])
        .constant("target", ints(&[2, -1])),
        "",
    );
}

#[test]
fn a_cast_like_names_its_type() {
    let case = Case::new(vec![
        op("Shape", &["x"], &["s"]),
        op("CastLike", &["s", "x"], &["f"]),
        op("ReduceMax", &["f"], &["m"]),
        op("Mul", &["x", "m"], &["y"]),
    ]);
    let model = rewrites_unrun(
        &ReplaceCastLike,
        case.model(),
        &[
            "Shape(x) -> s",
            "Cast(s) -> f",
            "ReduceMax(f) -> m",
            "Mul(x, m) -> y",
        ],
    );
    let to = model.graph_proto().node[1].int("to").unwrap();
    assert_eq!(to, Some(DataType::F32.code().into()));
    let unknown = Case::new(vec![
        op("OptionalGetElement", &["x"], &["m"]),
        op("CastLike", &["x", "m"], &["y"]),
    ]);
    refuses(
        &ReplaceCastLike,
        unknown,
        "the element type of its second input is not known",
    );
}

#[test]
fn a_cast_reads_what_was_widened_before() {
    use DataType as T;
    let case = |from, middle, to| {
        let mut case = Case::new(vec![cast("x", middle, "a"), cast("a", to, "y")]);
        case.inputs = vec![value("x", from, &[Some(2)])];
        case
    };
    for (from, middle, to) in [
        (T::F16, T::F32, T::F16),
        (T::I32, T::I64, T::F32),
        (T::Bool, T::I64, T::F32),
        (T::U8, T::F16, T::F32),
        (T::I32, T::F64, T::I64),
        (T::F32, T::F64, T::Bool),
        (T::U8, T::I32, T::U8),
    ] {
        rewrites_unrun(
            &MergeCasts,
            case(from, middle, to).model(),
            &["Cast(x) -> a", "Cast(x) -> y"],
        );
    }
    for (from, middle, to) in [
        (T::F32, T::F16, T::F32),
        (T::I64, T::I32, T::I64),
        (T::I32, T::F32, T::I32),
        (T::I32, T::U32, T::I64),
        (T::U16, T::F16, T::F32),
        (T::BF16, T::F16, T::F32),
        (T::F16, T::BF16, T::F32),
        (T::F32, T::Bool, T::F32),
    ] {
        refuses(&MergeCasts, case(from, middle, to), "may round");
    }
    refuses(
        &MergeCasts,
        case(T::F16, T::F32, T::F8E4M3FN),
        "depends on the type before",
    );
    let unknown = Case::new(vec![
        op("OptionalGetElement", &["x"], &["m"]),
        cast("m", T::F32, "a"),
        cast("a", T::F16, "y"),
    ]);
    refuses(
        &MergeCasts,
        unknown,
        "the element type before both casts is not known",
    );
}
