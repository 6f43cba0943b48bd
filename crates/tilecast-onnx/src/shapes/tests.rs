//! Shapes against what onnxruntime computed, and against hostile and contradictory graphs.

use std::path::{Path, PathBuf};

use super::{InferShapesError, ShapeMap, infer_shapes};
use crate::proto::{GraphFields, GraphProto, NodeProto, ValueInfoFields, ValueInfoProto};
use crate::{Graph, Model, Tensor, attribute, node};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every node output of the model must have the recorded shape, and the recorded integers where there are any.
fn assert_golden(model: &Path, golden: &str) {
    let model = Model::load(model).unwrap();
    let graph = model.graph();
    let (_, size) = golden.rsplit_once('-').unwrap();
    let (height, width) = size.split_once('x').unwrap();
    let input = graph.inputs().next().unwrap().name.clone().unwrap();
    let channels = if input == "x" { 4 } else { 3 };
    let dims = vec![1, channels, height.parse().unwrap(), width.parse().unwrap()];
    let shapes = infer_shapes(&graph, &[(&input, dims)]).unwrap();
    let path = repository().join(format!("tests/golden/shapes/{golden}.tsv"));
    let mut wrong = Vec::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, dims, values] = fields[..] else {
            panic!("malformed line {line}");
        };
        let expected: Vec<usize> = dims
            .split(',')
            .filter(|d| !d.is_empty())
            .map(|d| d.parse().unwrap())
            .collect();
        if shapes.shape(name) != Some(&expected) {
            wrong.push(format!(
                "{name}: {:?}, not {expected:?}",
                shapes.shape(name)
            ));
        }
        let values = values.strip_prefix('[').and_then(|v| v.strip_suffix(']'));
        let Some(values) = values else { continue };
        let expected: Vec<i64> = values
            .split(',')
            .filter(|v| !v.is_empty())
            .map(|v| v.parse().unwrap())
            .collect();
        if shapes.integers(name) != Some(&expected) {
            wrong.push(format!(
                "{name} = {:?}, not {expected:?}",
                shapes.integers(name)
            ));
        }
    }
    assert!(wrong.is_empty(), "{golden}:\n{}", wrong.join("\n"));
}

#[test]
fn every_tensor_of_the_sample_models_has_the_shape_that_onnxruntime_gives_it() {
    for model in ["nafnet-denoise", "srvgg-x2"] {
        for size in ["250x131", "64x48"] {
            let path = repository().join(format!("models/{model}.onnx"));
            assert_golden(&path, &format!("{model}-{size}"));
        }
    }
}

#[test]
fn every_operator_variant_has_the_shape_and_value_that_onnxruntime_gives_it() {
    for opset in ["opset9", "opset17", "opset21"] {
        let name = format!("operators-{opset}");
        let path = repository().join(format!("tests/golden/shapes/{name}.onnx"));
        assert_golden(&path, &format!("{name}-25x18"));
    }
}

const IMAGE: &[usize] = &[1, 4, 8, 8];
const HUGE: i64 = i64::MAX;

/// Infers one-node graphs over `x` of the given shape and int64 constants `c0`, `c1`, …
fn infer_one(
    x: &[usize],
    constants: &[&[i64]],
    node: NodeProto,
) -> Result<ShapeMap, InferShapesError> {
    let initializer = constants
        .iter()
        .enumerate()
        .map(|(i, c)| Tensor::from_i64(vec![c.len()], c).to_proto(&format!("c{i}")))
        .collect();
    let graph = GraphProto::from(GraphFields {
        name: Some("g".into()),
        input: vec![ValueInfoProto::from(ValueInfoFields {
            name: Some("x".into()),
            ..ValueInfoFields::default()
        })],
        initializer,
        node: vec![node],
        ..GraphFields::default()
    });
    infer_shapes(&Graph::new(&graph), &[("x", x.to_vec())])
}

#[test]
fn contradictions_and_hostile_sizes_are_errors_with_the_path() {
    struct Case {
        x: &'static [usize],
        constants: &'static [&'static [i64]],
        node: NodeProto,
        reason: &'static str,
    }
    let ints = attribute::ints;
    let case = |x, constants, node, reason| Case {
        x,
        constants,
        node,
        reason,
    };
    let cases = [
        case(
            IMAGE,
            &[&[3, -1]],
            node("Reshape", "n", &["x", "c0"], &["y"]),
            "cannot reshape",
        ),
        case(
            IMAGE,
            &[&[-1, -1]],
            node("Reshape", "n", &["x", "c0"], &["y"]),
            "two extents open",
        ),
        case(
            IMAGE,
            &[&[-5]],
            node("Reshape", "n", &["x", "c0"], &["y"]),
            "not a size",
        ),
        case(
            IMAGE,
            &[&[HUGE, HUGE]],
            node("Reshape", "n", &["x", "c0"], &["y"]),
            "too large",
        ),
        case(
            IMAGE,
            &[&[HUGE]],
            node("ConstantOfShape", "n", &["c0"], &["y"]),
            "too large",
        ),
        case(
            IMAGE,
            &[&[1 << 30, 1 << 30]],
            node("ConstantOfShape", "n", &["c0"], &["y"]),
            "too large",
        ),
        case(
            IMAGE,
            &[&[1, 1, HUGE, HUGE]],
            node("Tile", "n", &["x", "c0"], &["y"]),
            "too large",
        ),
        case(
            IMAGE,
            &[&[HUGE], &[HUGE - 2]],
            node("Range", "n", &["c0", "c1", "c1"], &["y"]),
            "",
        ),
        case(
            IMAGE,
            &[&[0; 8], &[0]],
            node("Slice", "n", &["x", "c0", "c1"], &["y"]),
            "do not fit",
        ),
        case(
            IMAGE,
            &[&[0], &[4], &[1], &[0]],
            node("Slice", "n", &["x", "c0", "c1", "c2", "c3"], &["y"]),
            "step of zero",
        ),
        case(
            IMAGE,
            &[&[0], &[4], &[4]],
            node("Slice", "n", &["x", "c0", "c1", "c2"], &["y"]),
            "axis 4 is out of range",
        ),
        case(
            IMAGE,
            &[&[1, 2]],
            node("Split", "n", &["x", "c0"], &["y", "z"]).with_attribute(attribute::int("axis", 1)),
            "do not make up axis 1",
        ),
        case(
            IMAGE,
            &[&[5, 3, 3]],
            node("Concat", "n", &["x", "c0"], &["y"]),
            "cannot be joined",
        ),
        case(
            IMAGE,
            &[&[9, 9, 9]],
            node("Add", "n", &["x", "c0"], &["y"]),
            "do not broadcast",
        ),
        case(
            IMAGE,
            &[&[9]],
            node("Gather", "n", &["x", "c0"], &["y"]),
            "index 9 is out of range",
        ),
        case(
            IMAGE,
            &[&[0, 0, -9, 0, 0, 0, 0, 0]],
            node("Pad", "n", &["x", "c0"], &["y"]),
            "not a size",
        ),
        case(
            IMAGE,
            &[&[0, 0, HUGE, 0, 0, 0, HUGE, 0]],
            node("Pad", "n", &["x", "c0"], &["y"]),
            "too large",
        ),
        case(
            IMAGE,
            &[&[1, 1]],
            node("Squeeze", "n", &["x", "c0"], &["y"]),
            "named twice",
        ),
        case(
            IMAGE,
            &[&[2]],
            node("Squeeze", "n", &["x", "c0"], &["y"]),
            "cannot be dropped",
        ),
        case(
            IMAGE,
            &[],
            node("DepthToSpace", "n", &["x"], &["y"])
                .with_attribute(attribute::int("blocksize", 3)),
            "do not divide",
        ),
        case(
            IMAGE,
            &[],
            node("DepthToSpace", "n", &["x"], &["y"])
                .with_attribute(attribute::int("blocksize", HUGE)),
            "do not fit",
        ),
        case(
            IMAGE,
            &[],
            node("MaxPool", "n", &["x"], &["y"]).with_attribute(ints("kernel_shape", &[9, 9])),
            "does not fit an input of 8",
        ),
        case(
            IMAGE,
            &[],
            node("MaxPool", "n", &["x"], &["y"])
                .with_attribute(ints("kernel_shape", &[2, 2]))
                .with_attribute(ints("strides", &[0, 1])),
            "at least 1",
        ),
        case(
            IMAGE,
            &[],
            node("MaxPool", "n", &["x"], &["y"])
                .with_attribute(ints("kernel_shape", &[2, 2]))
                .with_attribute(ints("pads", &[HUGE; 4])),
            "too large",
        ),
        case(
            IMAGE,
            &[],
            node("MaxPool", "n", &["x"], &["y"]),
            "no kernel_shape",
        ),
        case(
            IMAGE,
            &[],
            node("Transpose", "n", &["x"], &["y"]).with_attribute(ints("perm", &[0, 1, 2, 2])),
            "named twice",
        ),
        case(
            IMAGE,
            &[],
            node("ReduceMean", "n", &["x"], &["y"]).with_attribute(ints("axes", &[i64::MIN])),
            "out of range",
        ),
        case(
            IMAGE,
            &[],
            node("Softmax", "n", &[""], &["y"]),
            "required input 0 is missing",
        ),
        case(
            &[1 << 20, 1 << 20, 1 << 20],
            &[],
            node("Relu", "n", &["x"], &["y"]),
            "too large",
        ),
    ];
    for Case {
        x,
        constants,
        node,
        reason,
    } in cases
    {
        let op = node.op().to_owned();
        match infer_one(x, constants, node) {
            Err(error) => {
                let error = error.to_string();
                assert!(
                    error.contains(reason),
                    "{op}: {error} does not say {reason}"
                );
                let path = error.starts_with(&format!("g/node \"n\" ({op}): "));
                assert!(path || error.starts_with("input `x`: "), "{error}");
            }
            Ok(shapes) => assert!(reason.is_empty(), "{op}: {:?}", shapes.shape("y")),
        }
    }
}

#[test]
fn unknown_operators_hide_shapes_and_stop_nothing() {
    let graph = GraphProto::from(GraphFields {
        node: vec![
            node("Einsum", "", &["x"], &["e"]),
            node("Relu", "", &["e"], &["r"]),
            node("Sigmoid", "", &["x"], &["s"]),
            node("Shape", "", &["r"], &["n"]),
        ],
        input: vec![ValueInfoProto::from(ValueInfoFields {
            name: Some("x".into()),
            ..ValueInfoFields::default()
        })],
        ..GraphFields::default()
    });
    let shapes = infer_shapes(&Graph::new(&graph), &[("x", vec![2, 3])]).unwrap();
    assert_eq!(shapes.shape("s"), Some(&[2, 3][..]));
    for hidden in ["e", "r", "n"] {
        assert_eq!(shapes.shape(hidden), None, "{hidden}");
        assert_eq!(shapes.integers(hidden), None, "{hidden}");
    }
}

#[test]
fn values_beyond_their_type_or_the_tracking_limit_are_not_followed() {
    let narrow = infer_one(
        &[1],
        &[&[1 << 40]],
        node("Cast", "", &["c0"], &["y"]).with_attribute(attribute::int("to", 6)),
    )
    .unwrap();
    assert_eq!(
        (narrow.shape("y"), narrow.integers("y")),
        (Some(&[1][..]), None)
    );
    let many = infer_one(&[1], &[&[0], &[1 << 20], &[1]], {
        node("Expand", "", &["c0", "c1"], &["y"])
    })
    .unwrap();
    assert_eq!(
        (many.shape("y"), many.integers("y")),
        (Some(&[1 << 20][..]), None)
    );
    let divided = infer_one(&[1], &[&[7], &[0]], node("Div", "", &["c0", "c1"], &["y"])).unwrap();
    assert_eq!(
        (divided.shape("y"), divided.integers("y")),
        (Some(&[1][..]), None)
    );
}

#[test]
fn input_names_and_ranks_are_checked_and_fixed_extents_are_not() {
    let path = repository().join("models/nafnet-denoise.onnx");
    let model = Model::load(&path).unwrap();
    let graph = model.graph();
    let error = |name, dims| {
        infer_shapes(&graph, &[(name, dims)])
            .unwrap_err()
            .to_string()
    };
    assert!(error("image", vec![1, 3, 8, 8]).contains("no such input"));
    assert!(error("input", vec![3, 8, 8]).contains("declares 4 dimensions"));
    // The batch of the sample is declared as 1.
    let batch = infer_shapes(&graph, &[("input", vec![2, 3, 32, 32])]).unwrap();
    assert_eq!(batch.shape("output"), Some(&[2, 3, 32, 32][..]));
}
