//! Scales and shifts into neighbouring convolutions.

use crate::common::{Network, max_abs, ops, run};
use tilecast_passes::{FoldScaleShift, run_pass};

const PASS: FoldScaleShift = FoldScaleShift;

#[test]
fn behind_a_convolution_every_operation_and_shape_of_constant() {
    for dims in [&[1, 4, 1, 1][..], &[4, 1, 1], &[1, 1, 1, 1], &[1], &[]] {
        for (op, first) in [
            ("Mul", false),
            ("Mul", true),
            ("Add", false),
            ("Sub", false),
            ("Sub", true),
            ("Div", false),
        ] {
            let inputs = if first { ["s", "c"] } else { ["c", "s"] };
            // The kernel is 1x1 because tract 0.23.9 swaps the operands of `constant - convolution` for larger ones.
            Network::of_image(3)
                .conv("x", "w", &[4, 3, 1, 1], "b", "c")
                .positive("s", dims)
                .node(op, &inputs, &["y"])
                .becomes(&PASS, &["Conv"]);
        }
    }
}

#[test]
fn a_chain_behind_a_convolution_is_folded_at_once() {
    Network::of_image(4)
        .conv("x", "w", &[4, 2, 3, 3], "", "c")
        .int("group", 2)
        .random("s", &[1, 4, 1, 1])
        .random("t", &[4, 1, 1])
        .scalar("k", 0.2)
        .node("Mul", &["s", "c"], &["m"])
        .node("Add", &["m", "t"], &["a"])
        .node("Mul", &["a", "k"], &["y"])
        .becomes(&PASS, &["Conv"]);
}

#[test]
fn behind_a_transposed_convolution_with_groups() {
    let after = Network::of_image(6)
        .random("w", &[6, 2, 2, 2])
        .node("ConvTranspose", &["x", "w"], &["c"])
        .int("group", 3)
        .ints("strides", &[2, 2])
        .random("s", &[1, 6, 1, 1])
        .node("Mul", &["c", "s"], &["y"])
        .becomes(&PASS, &["ConvTranspose"]);
    assert_eq!(
        after.graph_proto().node[0].input,
        ["x", "w"],
        "a scale alone makes no bias"
    );
}

/// A normalization's affine part: a scale and a shift of a value with `channels`.
fn with_affine(channels: usize) -> Network {
    Network::of_image(channels as i64)
        .node("Relu", &["x"], &["r"])
        .random("s", &[1, channels, 1, 1])
        .random("t", &[1, channels, 1, 1])
        .node("Mul", &["s", "r"], &["m"])
        .node("Add", &["m", "t"], &["a"])
}

#[test]
fn before_convolutions_without_padding() {
    for (dims, group) in [
        ([5, 6, 1, 1], 1),
        ([4, 3, 1, 1], 2),
        ([6, 1, 3, 2], 6),
        ([2, 6, 3, 3], 1),
    ] {
        for bias in ["b", ""] {
            with_affine(6)
                .conv("a", "w", &dims, bias, "y")
                .int("group", group)
                .ints("strides", &[2, 1])
                .becomes(&PASS, &["Relu", "Conv"]);
        }
    }
}

#[test]
fn before_several_convolutions_that_share_weights() {
    with_affine(3)
        .conv("a", "w", &[3, 3, 1, 1], "b", "c")
        .node("Conv", &["a", "w"], &["d"])
        .node("Conv", &["c", "w", "b"], &["e"])
        .node("Sub", &["d", "e"], &["y"])
        .becomes(&PASS, &["Relu", "Conv", "Conv", "Conv", "Sub"]);
}

#[test]
fn between_two_convolutions_both_directions_meet() {
    Network::of_image(3)
        .conv("x", "w", &[4, 3, 3, 3], "b", "c")
        .ints("pads", &[1, 1, 1, 1])
        .random("s", &[1, 4, 1, 1])
        .node("Mul", &["c", "s"], &["d"])
        .node("Relu", &["d"], &["r"])
        .random("t", &[1, 4, 1, 1])
        .node("Add", &["r", "t"], &["a"])
        .conv("a", "v", &[2, 4, 1, 1], "", "e")
        .scalar("k", 0.2)
        .node("Mul", &["e", "k"], &["y"])
        .becomes(&PASS, &["Conv", "Relu", "Conv"]);
}

#[test]
fn a_shared_convolution_output_can_still_be_scaled_in_its_only_reader() {
    Network::of_image(3)
        .conv("x", "w", &[3, 3, 3, 3], "b", "c")
        .ints("pads", &[1, 1, 1, 1])
        .random("s", &[1, 3, 1, 1])
        .node("Mul", &["c", "s"], &["d"])
        .conv("d", "v", &[3, 3, 1, 1], "", "e")
        .node("Add", &["c", "e"], &["y"])
        .becomes(&PASS, &["Conv", "Conv", "Add"]);
}

#[test]
fn a_scale_alone_may_meet_padding() {
    Network::of_image(3)
        .node("Relu", &["x"], &["r"])
        .random("s", &[1, 3, 1, 1])
        .node("Mul", &["r", "s"], &["m"])
        .conv("m", "w", &[4, 3, 3, 3], "b", "y")
        .ints("pads", &[1, 0, 2, 1])
        .becomes(&PASS, &["Relu", "Conv"]);
}

#[test]
fn of_a_chain_the_part_next_to_the_convolution_is_folded_where_the_rest_cannot_be() {
    // The first step widens one channel to three.
    let network = Network::of_image(1)
        .random("s", &[1, 3, 1, 1])
        .node("Relu", &["x"], &["r"])
        .node("Mul", &["r", "s"], &["m"])
        .random("t", &[1, 3, 1, 1])
        .node("Add", &["m", "t"], &["a"])
        .conv("a", "w", &[4, 3, 1, 1], "b", "y");
    let mut model = network.build();
    let report = run_pass(&PASS, &mut model).unwrap();
    assert_eq!(ops(&model), ["Relu", "Mul", "Conv"]);
    assert_eq!(
        report.declined[0].reason,
        "it is not known that `r` has 3 channels"
    );
    let dims = [1, 1, 5, 8];
    let (expected, actual) = (run(&network.build(), &dims), run(&model, &dims));
    assert!(max_abs(expected[0].data(), actual[0].data()) < 1e-5);
}

#[test]
fn behind_near_misses_are_declined_with_their_reason() {
    let conv = || Network::of_image(3).conv("x", "w", &[4, 3, 3, 3], "b", "c");
    conv()
        .random("s", &[1, 4, 1, 1])
        .node("Mul", &["c", "s"], &["m"])
        .node("Add", &["m", "c"], &["y"])
        .declined(&PASS, "`c` is read by other nodes too");
    conv()
        .output("c")
        .random("s", &[1, 4, 1, 1])
        .node("Mul", &["c", "s"], &["y"])
        .declined(&PASS, "`c` is an output of the graph");
    conv()
        .random("s", &[8])
        .node("Mul", &["c", "s"], &["y"])
        .declined(&PASS, "its constant [8] is not one value per channel of 4");
    conv()
        .random("s", &[1, 4, 5, 8])
        .node("Mul", &["c", "s"], &["y"])
        .declined(
            &PASS,
            "its constant [1, 4, 5, 8] is not one value per channel of 4",
        );
    conv()
        .random("s", &[1, 1, 4, 1, 1])
        .node("Mul", &["c", "s"], &["y"])
        .declined(
            &PASS,
            "its constant has 5 dimensions, the value it meets has 4",
        );
    conv()
        .floats("s", &[4, 1, 1], &[1.0, f32::INFINITY, 1.0, 1.0])
        .node("Mul", &["c", "s"], &["y"])
        .declined(&PASS, "its constant holds values that are not finite");
    conv()
        .floats("s", &[], &[0.0])
        .node("Div", &["c", "s"], &["y"])
        .declined(&PASS, "a folded weight would not be finite");
    Network::of_image(3)
        .conv("x", "w", &[1, 3, 3, 3], "b", "c")
        .random("s", &[1, 4, 1, 1])
        .node("Mul", &["c", "s"], &["y"])
        .declined(
            &PASS,
            "its constant [1, 4, 1, 1] is not one value per channel of 1",
        );
    Network::of_image(3)
        .random("v", &[3, 3, 1, 1])
        .node("Relu", &["v"], &["w"])
        .node("Conv", &["x", "w"], &["c"])
        .scalar("s", 0.5)
        .node("Mul", &["c", "s"], &["y"])
        .declined(&PASS, "`w` of the convolution is not constant");
}

#[test]
fn before_near_misses_are_declined_with_their_reason() {
    let padded = "the convolution behind it pads its input, and the zeros come after the shift";
    let output = "`a` is an output of the graph";
    let other = "`a` is also read by g/node \"n4\" (Relu), which is no convolution of it";
    let transposed =
        "`a` is also read by g/node \"n3\" (ConvTranspose), which is no convolution of it";
    let conv = |dims| with_affine(3).conv("a", "w", dims, "b", "y");
    for (network, reason) in [
        (conv(&[4, 3, 3, 3]).ints("pads", &[1, 1, 1, 1]), padded),
        (conv(&[4, 3, 3, 3]).string("auto_pad", "SAME_UPPER"), padded),
        (conv(&[3, 3, 1, 1]).output("a"), output),
        (
            with_affine(3)
                .conv("a", "w", &[3, 3, 1, 1], "b", "c")
                .node("Relu", &["a"], &["d"])
                .node("Add", &["c", "d"], &["y"]),
            other,
        ),
        (
            with_affine(3)
                .random("w", &[3, 4, 2, 2])
                .node("ConvTranspose", &["a", "w"], &["c"])
                .conv("a", "v", &[4, 3, 1, 1], "b", "d")
                .node("ReduceMean", &["c"], &["e"])
                .node("Mul", &["e", "d"], &["y"]),
            transposed,
        ),
    ] {
        let mut model = network.build();
        let report = run_pass(&PASS, &mut model).unwrap();
        let found: Vec<_> = report.declined.iter().map(|d| d.reason.as_str()).collect();
        assert_eq!(found, [reason; 2], "the scale and the shift");
        assert!(!report.changed);
    }
    Network::of_image(1)
        .node("Relu", &["x"], &["r"])
        .random("s", &[1, 3, 1, 1])
        .node("Mul", &["r", "s"], &["m"])
        .conv("m", "w", &[4, 3, 1, 1], "b", "y")
        .declined(&PASS, "it is not known that `r` has 3 channels");
}

#[test]
fn operations_without_a_constant_are_none_of_its_business() {
    Network::of_image(3)
        .conv("x", "w", &[3, 3, 1, 1], "b", "c")
        .node("Relu", &["x"], &["r"])
        .node("Mul", &["c", "r"], &["m"])
        .random("s", &[3, 1, 1])
        .node("Div", &["s", "m"], &["d"])
        .node("Pow", &["d", "s"], &["y"])
        .ignored(&PASS);
}
