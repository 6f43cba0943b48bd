//! What the analysis refuses, with the node that it names.

use tilecast_analysis::{AnalyzeErrorKind, analyze};
use tilecast_onnx::{Tensor, attribute};

use super::support::{CHANNELS, Net};

#[test]
fn what_cannot_be_tiled_is_refused_by_name() {
    let unsupported = AnalyzeErrorKind::Unsupported;
    let size_dependent = AnalyzeErrorKind::SizeDependent;
    let perm = |order: &[i64]| vec![attribute::ints("perm", order)];
    let attention = {
        let net = Net::new().op("Transpose", perm(&[0, 1, 3, 2]));
        let other = net.end();
        net.from("x").op_with("MatMul", &[&other], vec![])
    };
    let reshaped = {
        let mut net = Net::new();
        let shape = net.integers(&[0, 2, -1]);
        net.op_with("Reshape", &[&shape], vec![])
    };
    let gridded = {
        let mut net = Net::new();
        let shape = net.integers(&[0, 0, 8, -1, 0]);
        let axis = net.integers(&[2]);
        net.op_with("Unsqueeze", &[&axis], vec![])
            .op_with("Reshape", &[&shape], vec![])
    };
    let rolled = {
        let net = Net::new();
        net.op_with("Concat", &["x"], vec![attribute::int("axis", 3)])
    };
    let embedding = {
        let mut net = Net::new();
        let table = net.constant(&Tensor::from_f32(vec![1, 4, 8, 8], &[0.0; 256]));
        net.add(&table)
    };
    let fixed_size = {
        let mut net = Net::new();
        let sizes = net.integers(&[1, 4, 512, 512]);
        net.op_with("Resize", &["", "", &sizes], vec![])
    };
    let valid = Net::new().conv_of([CHANNELS; 2], 3, 1, 0);
    let cases = [
        (
            "unknown operator",
            Net::new().op("Einsum", vec![]),
            unsupported,
            "\"n0\" (Einsum)",
        ),
        ("attention", attention, unsupported, "no output is an image"),
        ("tokens", reshaped, unsupported, "no output is an image"),
        (
            "a grid of parts",
            gridded,
            size_dependent,
            "(Reshape): it splits rows",
        ),
        ("concatenation of columns", rolled, unsupported, "(Concat)"),
        ("learned positions", embedding, size_dependent, "(Add)"),
        (
            "resize to a fixed size",
            fixed_size,
            size_dependent,
            "(Resize)",
        ),
        ("cropped output", valid, unsupported, "output `v0`"),
        (
            "no image output",
            Net::new().op("GlobalAveragePool", vec![]),
            unsupported,
            "no output is an image",
        ),
    ];
    for (name, net, kind, text) in cases {
        let error = analyze(&net.model()).unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(error.to_string().contains(text), "{name}: {error}");
    }
}

#[test]
fn a_skip_that_joins_different_strides_is_refused() {
    let net = Net::new().down();
    let low = net.end();
    let error = analyze(&net.from("x").add(&low).model()).unwrap_err();
    assert!(error.to_string().contains("(Add)"), "{error}");
}

#[test]
fn outputs_of_different_scales_are_refused_and_equal_ones_joined() {
    let net = Net::new().conv3();
    let first = net.end();
    let net = net.conv3s(3);
    let second = net.end();
    let joined = analyze(&net.clone().model_with_outputs(&[&first, &second])).unwrap();
    assert_eq!(joined.halo_px, Some(4));
    let net = net.nearest(2.0);
    let third = net.end();
    let error = analyze(&net.model_with_outputs(&[&first, &third])).unwrap_err();
    assert!(error.to_string().contains("different scale"), "{error}");
}
