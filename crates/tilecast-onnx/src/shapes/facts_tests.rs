//! Facts of real exports, against shape inference at concrete sizes.

use std::path::{Path, PathBuf};

use super::walk::Contradictions;
use super::{Extent, Facts, InputExtents, infer_shapes};
use crate::proto::{GraphFields, GraphProto};
use crate::{Graph, Model, Tensor};

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
