//! Attention inside windows, plain and shifted: halos by formula, and masks that are not what they should be.

use tilecast_analysis::{TilingClass, analyze, lint};
use tilecast_onnx::{Tensor, attribute};

use super::halo::side;
use super::support::{CHANNELS, Net};

const WINDOW: i64 = 8;
const AREA: i64 = WINDOW * WINDOW;

/// How the mask of a shifted window is made.
#[derive(Clone, Copy, PartialEq)]
enum Mask {
    None,
    /// For windows that the shift wraps around the border.
    Right,
    /// As if the shift had been one less.
    OffByOne,
    /// Not deep enough to silence a pair.
    Shallow,
}

fn perm(order: &[i64]) -> Vec<tilecast_onnx::proto::AttributeProto> {
    vec![attribute::ints("perm", order)]
}

/// [1, H, W, C] to [windows, 64, C].
fn to_windows(mut net: Net, channels: i64) -> Net {
    let shape = net.end();
    net = net.op("Shape", vec![]);
    let dims = net.end();
    let (one, two, three) = (net.integers(&[1]), net.integers(&[2]), net.integers(&[3]));
    let (window, count) = (net.integers(&[WINDOW]), net.integers(&[channels]));
    net = net
        .from(&dims)
        .op_with("Slice", &[&one, &two], vec![])
        .op_with("Div", &[&window], vec![]);
    let rows = net.end();
    net = net
        .from(&dims)
        .op_with("Slice", &[&two, &three], vec![])
        .op_with("Div", &[&window], vec![]);
    let columns = net.end();
    net = net.from(&one).op_with(
        "Concat",
        &[&rows, &window, &columns, &window, &count],
        vec![attribute::int("axis", 0)],
    );
    let parted = net.end();
    let tokens = net.integers(&[-1, AREA, channels]);
    net.from(&shape)
        .op_with("Reshape", &[&parted], vec![])
        .op("Transpose", perm(&[0, 1, 3, 2, 4, 5]))
        .op_with("Reshape", &[&tokens], vec![])
}

/// Rows and columns moved by `by`, around the border: what is now first was at `by`.
fn roll(mut net: Net, by: i64) -> Net {
    for axis in [1, 2] {
        let whole = net.end();
        let (zero, at, end) = (
            net.integers(&[0]),
            net.integers(&[by]),
            net.integers(&[i64::MAX]),
        );
        let axes = net.integers(&[axis]);
        net = net.op_with("Slice", &[&at, &end, &axes], vec![]);
        let first = net.end();
        net = net
            .from(&whole)
            .op_with("Slice", &[&zero, &at, &axes], vec![]);
        let second = net.end();
        net = net
            .from(&first)
            .op_with("Concat", &[&second], vec![attribute::int("axis", axis)]);
    }
    net
}

/// [windows, 64, 64] from the size of an [1, H, W, C] value: pairs of positions on different sides of the border.
fn mask(mut net: Net, image: &str, kind: Mask) -> Net {
    let scalar = |net: &mut Net, v: i64| net.constant(&Tensor::from_i64(vec![], &[v]));
    let (zero, one) = (scalar(&mut net, 0), scalar(&mut net, 1));
    net = net.from(image).op("Shape", vec![]);
    let dims = net.end();
    let mut sides = Vec::new();
    for axis in [1i64, 2] {
        let at = scalar(&mut net, axis);
        let shift = scalar(&mut net, if kind == Mask::OffByOne { 3 } else { 4 });
        net = net.from(&dims).op_with("Gather", &[&at], vec![]);
        let length = net.end();
        net = net.from(&zero).op_with("Range", &[&length, &one], vec![]);
        let positions = net.end();
        net = net.from(&length).op_with("Sub", &[&shift], vec![]);
        let border = net.end();
        net = net
            .from(&positions)
            .op_with("Less", &[&border], vec![])
            .op("Cast", vec![attribute::int("to", 1)]);
        let axes = net.integers(if axis == 1 { &[0, 2, 3] } else { &[0, 1, 3] });
        net = net.op_with("Unsqueeze", &[&axes], vec![]);
        sides.push(net.end());
    }
    let two = net.constant(&Tensor::from_f32(vec![], &[2.0]));
    net = net
        .from(&sides[0])
        .op_with("Mul", &[&two], vec![])
        .add(&sides[1]);
    let net = to_windows(net, 1);
    let mut net = net;
    let (last, middle) = (net.integers(&[2]), net.integers(&[1]));
    let squeezed = net.clone().op_with("Squeeze", &[&last], vec![]);
    net = squeezed;
    let region = net.end();
    net = net.op_with("Unsqueeze", &[&middle], vec![]);
    let rows = net.end();
    net = net.from(&region).op_with("Unsqueeze", &[&last], vec![]);
    let zero = net.constant(&Tensor::from_f32(vec![], &[0.0]));
    let depth = if kind == Mask::Shallow { -5.0 } else { -100.0 };
    let depth = net.constant(&Tensor::from_f32(vec![], &[depth]));
    net.op_with("Sub", &[&rows], vec![])
        .op_with("Equal", &[&zero], vec![])
        .op("Not", vec![])
        .op("Cast", vec![attribute::int("to", 1)])
        .op_with("Mul", &[&depth], vec![])
}

/// Attention inside windows on [1, C, H, W], where `shift` is not 0 after a cyclic shift, and undone.
fn window_attention(net: Net, shift: i64, kind: Mask) -> Net {
    let mut net = net.op("Transpose", perm(&[0, 2, 3, 1]));
    let image = net.end();
    if shift != 0 {
        net = roll(net, shift);
    }
    let shifted = net.end();
    net = to_windows(net, CHANNELS as i64);
    let tokens = net.end();
    net = net.op("Transpose", perm(&[0, 2, 1]));
    let keys = net.end();
    net = net.from(&tokens).op_with("MatMul", &[&keys], vec![]);
    let scores = net.end();
    if shift != 0 && kind != Mask::None {
        net = mask(net, &image, kind);
        let mask = net.end();
        net = net.from(&scores).add(&mask);
    }
    net = net
        .op("Softmax", vec![attribute::int("axis", -1)])
        .op_with("MatMul", &[&tokens], vec![]);
    let attended = net.end();
    // Back to rows and columns: the windows' own way, turned round.
    net = net.from(&shifted).op("Shape", vec![]);
    let dims = net.end();
    let (one, two, three) = (net.integers(&[1]), net.integers(&[2]), net.integers(&[3]));
    let window = net.integers(&[WINDOW]);
    let rest = net.integers(&[-1]);
    net = net
        .from(&dims)
        .op_with("Slice", &[&one, &two], vec![])
        .op_with("Div", &[&window], vec![]);
    let rows = net.end();
    net = net
        .from(&dims)
        .op_with("Slice", &[&two, &three], vec![])
        .op_with("Div", &[&window], vec![]);
    let columns = net.end();
    net = net.from(&one).op_with(
        "Concat",
        &[&rows, &columns, &window, &window, &rest],
        vec![attribute::int("axis", 0)],
    );
    let parted = net.end();
    net = net
        .from(&attended)
        .op_with("Reshape", &[&parted], vec![])
        .op("Transpose", perm(&[0, 1, 3, 2, 4, 5]))
        .op_with("Reshape", &[&dims], vec![]);
    if shift != 0 {
        net = roll(net, -shift);
    }
    net.add(&image).op("Transpose", perm(&[0, 3, 1, 2]))
}

/// Groups of `layers` attentions, every second one shifted, and a convolution; one convolution before and two behind them.
fn swin(groups: usize, layers: usize) -> Net {
    let mut net = Net::new().conv3();
    for _ in 0..groups {
        for layer in 0..layers {
            let shift = if layer % 2 == 1 { WINDOW / 2 } else { 0 };
            net = window_attention(net, shift, Mask::Right);
        }
        net = net.conv3();
    }
    net.conv3s(2)
}

/// Table 3.3 of the halo theory: `SwinIR` in its light and its classical form, for aligned blocks.
#[test]
fn halos_of_window_attention() {
    for (groups, reach) in [(4, 97), (6, 145)] {
        let facts = analyze(&swin(groups, 6).model()).unwrap();
        assert_eq!(side(facts.reach.unwrap()), [reach; 2], "{groups} groups");
        assert_eq!(
            (facts.alignment_px, facts.tiling_class),
            (8, TilingClass::B)
        );
    }
}

#[test]
fn a_shift_is_exact_only_under_the_right_mask() {
    for (kind, class) in [
        (Mask::Right, TilingClass::B),
        (Mask::None, TilingClass::D),
        (Mask::OffByOne, TilingClass::D),
        (Mask::Shallow, TilingClass::D),
    ] {
        let model = window_attention(Net::new().conv3(), 4, kind).model();
        let facts = analyze(&model).unwrap();
        assert_eq!(facts.tiling_class, class);
        let codes: Vec<&str> = lint(&model).iter().map(|f| f.code).collect();
        assert_eq!(codes.contains(&"H13"), class == TilingClass::D, "{codes:?}");
    }
}

#[test]
fn a_shift_that_is_undone_before_anything_mixes_is_harmless() {
    let there = roll(Net::new().conv3().op("Transpose", perm(&[0, 2, 3, 1])), 3);
    let relu = there.clone().op("Relu", vec![]);
    let back = roll(relu, -3).op("Transpose", perm(&[0, 3, 1, 2]));
    let facts = analyze(&back.model()).unwrap();
    assert_eq!(facts.tiling_class, TilingClass::A);
    assert_eq!(side(facts.reach.unwrap()), [1, 1]);
    // Undone too late.
    let mixed = there.op("Transpose", perm(&[0, 3, 1, 2])).conv3();
    let late = roll(mixed.op("Transpose", perm(&[0, 2, 3, 1])), -3);
    let facts = analyze(&late.op("Transpose", perm(&[0, 3, 1, 2])).model()).unwrap();
    assert_eq!(facts.tiling_class, TilingClass::D);
}

/// Channels that stand below rows and columns become positions between them, and the other way round.
#[test]
fn shuffles_in_reshaped_form_are_those_of_the_operators() {
    let shape_of = |net: &mut Net, [rows, columns]: [i64; 2], rest: &[i64]| {
        // Extents from the shape of `x`, divided or multiplied.
        let (two, three, four) = (net.integers(&[2]), net.integers(&[3]), net.integers(&[4]));
        let before = net.end();
        let factor = |net: Net, from: &str, to: &str, by: i64| {
            let mut net = net
                .from("x")
                .op("Shape", vec![])
                .op_with("Slice", &[from, to], vec![]);
            let by_name = net.integers(&[by.abs()]);
            net.op_with(if by < 0 { "Div" } else { "Mul" }, &[&by_name], vec![])
        };
        let net_rows = factor(net.clone(), &two, &three, rows);
        let row_name = net_rows.end();
        let net_columns = factor(net_rows, &three, &four, columns);
        let column_name = net_columns.end();
        *net = net_columns;
        let parts: Vec<String> = rest
            .iter()
            .map(|&n| match n {
                -2 => row_name.clone(),
                -3 => column_name.clone(),
                n => net.integers(&[n]),
            })
            .collect();
        let more: Vec<&str> = parts[1..].iter().map(String::as_str).collect();
        *net =
            net.clone()
                .from(&parts[0])
                .op_with("Concat", &more, vec![attribute::int("axis", 0)]);
        let shape = net.end();
        *net = net.clone().from(&before);
        shape
    };
    let mut net = Net::new();
    let split = shape_of(&mut net, [-2, -2], &[1, 4, -2, 2, -3, 2]);
    net = net
        .op_with("Reshape", &[&split], vec![])
        .op("Transpose", perm(&[0, 1, 3, 5, 2, 4]));
    let merged = shape_of(&mut net, [-2, -2], &[1, 16, -2, -3]);
    net = net
        .op_with("Reshape", &[&merged], vec![])
        .conv_of([16, 16], 3, 1, 1);
    let up = shape_of(&mut net, [-2, -2], &[1, 4, 2, 2, -2, -3]);
    net = net
        .op_with("Reshape", &[&up], vec![])
        .op("Transpose", perm(&[0, 1, 4, 2, 5, 3]));
    let whole = shape_of(&mut net, [1, 1], &[1, 4, -2, -3]);
    let model = net.op_with("Reshape", &[&whole], vec![]).conv3().model();
    let reshaped = analyze(&model).unwrap();
    let operators = Net::new().op("SpaceToDepth", vec![attribute::int("blocksize", 2)]);
    let operators = operators
        .conv_of([16, 16], 3, 1, 1)
        .op("DepthToSpace", vec![attribute::int("blocksize", 2)])
        .conv3();
    let direct = analyze(&operators.model()).unwrap();
    assert_eq!(reshaped.reach, direct.reach);
    assert_eq!(
        (reshaped.alignment_px, reshaped.tiling_class),
        (2, TilingClass::B)
    );
    assert!(lint(&model).iter().any(|f| f.code == "H04"));
}

/// Attention of every position to every other, and of channels to channels: statistics of the image.
#[test]
fn attention_over_the_image_is_global() {
    let tokens = |net: Net| {
        let mut net = net.conv3();
        let shape = net.integers(&[0, CHANNELS as i64, -1]);
        net.op_with("Reshape", &[&shape], vec![])
    };
    let back = |net: Net| {
        let attended = net.end();
        let net = net.from("x").op("Shape", vec![]);
        let shape = net.end();
        net.from(&attended)
            .op_with("Reshape", &[&shape], vec![])
            .conv3()
    };
    let channels = {
        let net = tokens(Net::new());
        let features = net.end();
        let net = net.op("Transpose", perm(&[0, 2, 1]));
        let turned = net.end();
        let net = net.from(&features).op_with("MatMul", &[&turned], vec![]);
        let net = net.op("Softmax", vec![attribute::int("axis", -1)]);
        back(net.op_with("MatMul", &[&features], vec![]))
    };
    let positions = {
        let net = tokens(Net::new());
        let features = net.end();
        let net = net.op("Transpose", perm(&[0, 2, 1]));
        let turned = net.end();
        let net = net.op_with("MatMul", &[&features], vec![]);
        let net = net.op("Softmax", vec![attribute::int("axis", -1)]);
        let net = net.op_with("MatMul", &[&turned], vec![]);
        back(net.op("Transpose", perm(&[0, 2, 1])))
    };
    let einsum = {
        let net = tokens(Net::new());
        let features = net.end();
        let equation = |text: &str| vec![attribute::string("equation", text)];
        let net = net.op_with("Einsum", &[&features], equation("bcn, bdn -> bcd"));
        back(net.op_with("Einsum", &[&features], equation("bcd,bdn->bcn")))
    };
    for (name, net, codes) in [
        ("channels", channels, &["H26"][..]),
        ("positions", positions, &["H27"]),
        ("einsum", einsum, &["H26"]),
    ] {
        let model = net.model();
        let facts = analyze(&model).unwrap();
        assert_eq!(facts.tiling_class, TilingClass::C, "{name}");
        assert_eq!(side(facts.reach.unwrap()), [2, 2], "{name}");
        let findings = lint(&model);
        let found: Vec<&str> = findings
            .iter()
            .filter(|f| f.severity != tilecast_analysis::Severity::Note)
            .map(|f| f.code)
            .collect();
        assert_eq!(found, codes, "{name}");
    }
}
