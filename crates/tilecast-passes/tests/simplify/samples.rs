//! Cleanup of the sample models and the exports: how much goes, and that the outputs stay.

use tilecast_onnx::{Model, infer_shapes};
use tilecast_passes::{CLEANUP, TARGETS, run_pass};

use crate::common::{run_on, sample};

/// Model, what height and width must be multiples of, nodes before and after.
const MODELS: &[(&str, usize, usize, usize)] = &[
    ("nafnet-denoise", 1, 851, 473),
    ("srvgg-x2", 1, 27, 26),
    ("exports/nafnet-ts17", 8, 463, 267),
    ("exports/nafnet-dy20", 8, 253, 253),
    ("exports/nafnet-pad-ts17", 1, 527, 289),
    ("exports/nafnet-pad-dy20", 1, 271, 271),
    ("exports/unet-bn-ts17", 4, 42, 42),
    ("exports/unet-bn-dy20", 4, 30, 30),
    ("exports/unet-bn-unoptimized-dy20", 4, 93, 42),
    ("exports/unet-mobile-ts17", 1, 151, 94),
    ("exports/unet-mobile-dy20", 1, 97, 97),
    ("exports/realesrgan-x4v3-ts17", 1, 23, 22),
    ("exports/realesrgan-x4v3-dy20", 1, 22, 22),
    ("exports/realesrgan-x4plus-ts17", 1, 122, 106),
    ("exports/realesrgan-x4plus-dy20", 1, 106, 106),
    ("exports/swinir-ts17", 1, 1814, 461),
    ("exports/swinir-dy20", 1, 450, 354),
    ("exports/restormer-ts17", 4, 1051, 383),
    ("exports/restormer-dy20", 4, 402, 370),
];

/// The cleanup passes in their order, until none changes anything.
fn clean(model: &mut Model) {
    let passes: Vec<_> = CLEANUP
        .iter()
        .filter_map(|entry| (entry.pass)(TARGETS[0]))
        .collect();
    for _ in 0..8 {
        let mut changed = false;
        for pass in &passes {
            changed |= run_pass(pass.as_ref(), model).unwrap().changed;
        }
        if !changed {
            return;
        }
    }
    panic!("no fixpoint in sight");
}

/// What is left keeps its names, so each value must have the shape, and each size the number, that it had.
fn same_shapes(name: &str, original: &Model, cleaned: &Model, dims: &[usize]) {
    let inputs = [("input", dims.to_vec())];
    let before = infer_shapes(&original.graph(), &inputs).unwrap();
    let after = infer_shapes(&cleaned.graph(), &inputs).unwrap();
    let mut n_compared = 0;
    for value in cleaned.graph().nodes().flat_map(|(_, node)| &node.output) {
        let (Some(expected), Some(found)) = (before.shape(value), after.shape(value)) else {
            continue;
        };
        assert_eq!(expected, found, "{name}: {value} at {dims:?}");
        if let (Some(expected), Some(found)) = (before.integers(value), after.integers(value)) {
            assert_eq!(expected, found, "{name}: {value} at {dims:?}");
        }
        n_compared += 1;
    }
    let n_nodes = cleaned.graph_proto().node.len();
    assert!(
        n_compared * 10 >= n_nodes * 9,
        "{name}: {n_compared} of {n_nodes}"
    );
}

#[test]
fn cleanup_leaves_the_outputs_as_they_are_to_the_bit() {
    for &(name, multiple, before, after) in MODELS {
        let original = sample(name);
        assert_eq!(original.graph_proto().node.len(), before, "{name}");
        let mut cleaned = original.clone();
        clean(&mut cleaned);
        assert_eq!(cleaned.graph_proto().node.len(), after, "{name}");
        for (height, width) in [(16, 24), (33, 17)] {
            let dims = vec![
                1,
                3,
                height / multiple * multiple,
                width / multiple * multiple,
            ];
            same_shapes(name, &original, &cleaned, &dims);
            assert!(
                run_on(&original, dims.clone()) == run_on(&cleaned, dims),
                "{name} at {height}x{width}"
            );
        }
    }
}
