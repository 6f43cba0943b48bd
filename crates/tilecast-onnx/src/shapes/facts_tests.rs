//! Facts of real exports, against shape inference at concrete sizes.

use std::path::{Path, PathBuf};

use super::walk::Contradictions;
use super::{Extent, Facts, InputExtents, infer_shapes};
use crate::proto::{GraphFields, GraphProto, ValueInfoFields, ValueInfoProto};
use crate::{Graph, Model, Tensor, attribute};

/// Every export, with what height and width must be multiples of.
const EXPORTS: &[(&str, usize)] = &[
    ("nafnet-denoise", 1),
    ("srvgg-x2", 1),
    ("exports/nafnet-ts17", 8),
    ("exports/nafnet-dy20", 8),
    ("exports/nafnet-pad-ts17", 1),
    ("exports/nafnet-pad-dy20", 1),
    ("exports/unet-bn-ts17", 4),
    ("exports/unet-bn-dy20", 4),
    ("exports/unet-bn-unoptimized-dy20", 4),
    ("exports/unet-mobile-ts17", 1),
    ("exports/unet-mobile-dy20", 1),
    ("exports/realesrgan-x4v3-ts17", 1),
    ("exports/realesrgan-x4v3-dy20", 1),
    ("exports/realesrgan-x4plus-ts17", 1),
    ("exports/realesrgan-x4plus-dy20", 1),
    ("exports/swinir-ts17", 1),
    ("exports/swinir-dy20", 1),
    ("exports/restormer-ts17", 4),
    ("exports/restormer-dy20", 4),
];

fn load(name: &str) -> Model {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    Model::load(&folder.join(format!("{name}.onnx"))).unwrap()
}

#[test]
fn every_extent_and_every_followed_integer_is_what_inference_finds_at_each_size() {
    for (name, multiple) in EXPORTS {
        let model = load(name);
        let graph = model.graph();
        let (facts, unknowns) =
            Facts::infer(&graph, 8, &InputExtents::default(), Contradictions::Refused).unwrap();
        let (mut n_checked, mut n_values) = (0, 0);
        for (h, w) in [(8, 13), (11, 5), (24, 10)] {
            let (h, w) = (h * multiple, w * multiple);
            let shapes = infer_shapes(&graph, &[("input", vec![1, 3, h, w])]).unwrap();
            let at = |extent: &Extent| {
                unknowns.value(extent, &|_, axis| [1, 3, h as i64, w as i64][axis])
            };
            for value in graph.nodes().flat_map(|(_, node)| &node.output) {
                let found = shapes.shape(value).zip(facts.dims(value));
                n_values += 1;
                if let Some((expected, dims)) = found {
                    assert_eq!(expected.len(), dims.len(), "{name}: rank of {value}");
                    for (&expected, extent) in expected.iter().zip(dims) {
                        if let Some(value_at) = at(extent) {
                            assert_eq!(value_at, expected as i64, "{name} {h}x{w}: {value}");
                            n_checked += 1;
                        }
                    }
                }
                let elements = facts.elements(value);
                if let Some((expected, elements)) = shapes.integers(value).zip(elements) {
                    for (&expected, element) in expected.iter().zip(&elements) {
                        if let Some(value_at) = element.as_ref().and_then(at) {
                            assert_eq!(value_at, expected, "{name} {h}x{w}: element of {value}");
                        }
                    }
                }
            }
        }
        assert!(n_checked > n_values, "{name}: {n_checked} of {n_values}");
    }
}

#[test]
fn the_padded_denoiser_is_followed_to_its_last_layer() {
    let model = load("nafnet-denoise");
    let graph = model.graph();
    let facts = Facts::of(&graph, 8, &InputExtents::default());
    // The crop gives the size of the input again, which the padding, four strides and four upsamplings went through.
    assert!(facts.same_shape("input", "output"));
    assert_eq!(facts.extent("output", 1), Some(3));
    assert_eq!(facts.extent("output", 2), None);
    assert_eq!(facts.fixed_dims("output"), None);
}

#[test]
fn bound_extents_take_the_place_of_declared_ones() {
    let model = load("srvgg-x2");
    let graph = model.graph();
    let bound = InputExtents::default().with("input", vec![None, Some(3), Some(10), Some(20)]);
    let facts = Facts::of(&graph, 8, &bound);
    let dims = facts.dims("output").unwrap();
    let known: Vec<Option<i64>> = dims.iter().map(Extent::known).collect();
    assert_eq!(known, [None, Some(3), Some(20), Some(40)]);
}

#[test]
fn a_rank_that_an_operator_cannot_take_is_unknown() {
    let node = |op: &str| crate::node(op, op, &["v"], &[op]);
    let operators = [
        "GlobalAveragePool",
        "MaxPool",
        "Conv",
        "ConvTranspose",
        "DepthToSpace",
        "SpaceToDepth",
        "Gemm",
        "MatMul",
        "Gather",
        "Concat",
    ];
    let vector = Tensor::from_f32(vec![3], &[0.0; 3]).to_proto("v");
    let proto = GraphProto::from(GraphFields {
        node: operators.map(node).to_vec(),
        initializer: vec![vector],
        ..Default::default()
    });
    let facts = Facts::of(&Graph::new(&proto), 8, &InputExtents::default());
    for op in operators {
        assert_eq!(facts.dims(op), None, "{op}");
    }
}

#[test]
fn a_reshape_to_sizes_that_may_be_zero() {
    // Half the height and half the width of an image of 3 channels are none at one pixel.
    let op = |op: &str, output: &str, inputs: &[&str]| crate::node(op, output, inputs, &[output]);
    let int = attribute::int;
    let shape_of = |output: &str, axis: i64| {
        op("Shape", output, &["x"])
            .with_attribute(int("start", axis))
            .with_attribute(int("end", axis + 1))
    };
    let joined =
        |output: &str, inputs: &[&str]| op("Concat", output, inputs).with_attribute(int("axis", 0));
    let nodes = vec![
        shape_of("h", 2),
        shape_of("w", 3),
        op("Div", "half_h", &["h", "two"]),
        op("Div", "half_w", &["w", "two"]),
        op("Mul", "area", &["half_h", "half_w"]),
        op("MaxPool", "image", &["x"])
            .with_attribute(attribute::ints("kernel_shape", &[2, 2]))
            .with_attribute(attribute::ints("strides", &[2, 2])),
        joined("flat_shape", &["one", "three", "area"]),
        op("Reshape", "flat", &["image", "flat_shape"]),
        joined("image_shape", &["one", "three", "half_h", "half_w"]),
        op("Reshape", "restored", &["flat", "image_shape"]),
        joined("open_shape", &["half_h", "half_w", "three"]),
        op("Reshape", "open", &["image", "open_shape"]),
        op("Reshape", "literal", &["image", "open_shape"]).with_attribute(int("allowzero", 1)),
    ];
    let number = |name: &str, number: i64| Tensor::from_i64(vec![1], &[number]).to_proto(name);
    let proto = GraphProto::from(GraphFields {
        node: nodes,
        input: vec![ValueInfoProto::from(ValueInfoFields {
            name: Some("x".into()),
            ..Default::default()
        })],
        initializer: vec![number("one", 1), number("two", 2), number("three", 3)],
        ..Default::default()
    });
    let graph = Graph::new(&proto);
    let size = InputExtents::default().with("x", vec![Some(1), Some(3), None, None]);
    let facts = Facts::of(&graph, 17, &size);
    // The number of elements decides about one of them.
    let (image, flat) = (facts.dims("image").unwrap(), facts.dims("flat").unwrap());
    assert_eq!(flat[..2], image[..2]);
    assert_eq!(Some(&flat[2]), facts.elements("area").unwrap()[0].as_ref());
    // Of two, one may decide: the height, since there is no fourth axis to copy for a width of 0.
    let restored = facts.dims("restored").unwrap();
    assert_eq!(restored[3], image[3]);
    // Two that could each be a copy decide nothing, unless a zero is a zero.
    let (open, literal) = (facts.dims("open").unwrap(), facts.dims("literal").unwrap());
    assert!(open.iter().all(|e| !image.contains(e)));
    assert_eq!((&literal[0], &literal[1]), (&image[2], &image[3]));
}
