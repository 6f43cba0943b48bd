//! Zero padding into what reads it.

use crate::common::Network;
use tilecast_passes::FoldPad;

const PASS: FoldPad = FoldPad;

/// A `Pad` of `x` to `p`, value left out.
fn padded(pads: &[i64]) -> Network {
    Network::of_image(3)
        .integers("pads", pads)
        .node("Pad", &["x", "pads"], &["p"])
}

const AROUND: [i64; 8] = [0, 0, 1, 2, 0, 0, 3, 0];

#[test]
fn into_convolutions_with_and_without_padding_of_their_own() {
    let conv = || padded(&AROUND).conv("p", "w", &[4, 3, 3, 3], "b", "y");
    for network in [
        conv(),
        conv().ints("pads", &[1, 0, 0, 2]),
        conv().string("auto_pad", "VALID"),
        conv().ints("strides", &[2, 3]).ints("dilations", &[1, 2]),
    ] {
        network.becomes(&PASS, &["Conv"]);
    }
}

#[test]
fn into_every_reader_at_once() {
    padded(&[0, 0, 1, 1, 0, 0, 1, 1])
        .conv("p", "w", &[3, 1, 3, 3], "b", "c")
        .int("group", 3)
        .node("AveragePool", &["p"], &["d"])
        .ints("kernel_shape", &[3, 3])
        .node("Add", &["c", "d"], &["y"])
        .becomes(&PASS, &["Conv", "AveragePool", "Add"]);
}

#[test]
fn an_average_goes_on_counting_the_zeros() {
    for (own, counts) in [([0; 4], 0), ([0; 4], 1), ([1, 0, 0, 1], 1)] {
        padded(&[0, 0, 1, 1, 0, 0, 2, 1])
            .node("AveragePool", &["p"], &["y"])
            .ints("kernel_shape", &[3, 3])
            .ints("pads", &own)
            .int("count_include_pad", counts)
            .becomes(&PASS, &["AveragePool"]);
    }
}

#[test]
fn the_value_and_the_older_form_are_understood() {
    Network::of_image(3)
        .integers("pads", &AROUND)
        .scalar("zero", 0.0)
        .node("Pad", &["x", "pads", "zero"], &["p"])
        .string("mode", "constant")
        .conv("p", "w", &[4, 3, 3, 3], "b", "y")
        .becomes(&PASS, &["Conv"]);
    Network::of_image(3)
        .opset(9)
        .node("Pad", &["x"], &["p"])
        .ints("pads", &AROUND)
        .conv("p", "w", &[4, 3, 3, 3], "b", "y")
        .becomes(&PASS, &["Conv"]);
}

#[test]
fn paddings_that_do_not_qualify_are_declined_with_their_reason() {
    let conv = |network: Network| network.conv("p", "w", &[4, 3, 3, 3], "b", "y");
    conv(padded(&AROUND).string("mode", "reflect"))
        .declined(&PASS, "it pads by `reflect`, not with zeros");
    let valued = |value: f32| {
        Network::of_image(3)
            .integers("pads", &AROUND)
            .scalar("v", value)
            .node("Pad", &["x", "pads", "v"], &["p"])
    };
    conv(valued(0.5)).declined(&PASS, "it pads with 0.5, not with zeros");
    conv(
        Network::of_image(3)
            .integers("pads", &AROUND)
            .scalar("u", 0.0)
            .node("Relu", &["u"], &["v"])
            .node("Pad", &["x", "pads", "v"], &["p"]),
    )
    .declined(&PASS, "its value `v` is not a float32 constant");
    conv(
        Network::of_image(3)
            .integers("shift", &[0, 0, 0, 0])
            .node("Shape", &["x"], &["shape"])
            .node("Concat", &["shift", "shape"], &["pads"])
            .int("axis", 0)
            .node("Pad", &["x", "pads"], &["p"]),
    )
    .declined(&PASS, "its pads are not constant");
    conv(
        Network::of_image(3)
            .opset(18)
            .integers("pads", &[1, 1])
            .integers("axes", &[2])
            .node("Pad", &["x", "pads", "", "axes"], &["p"]),
    )
    .declined(&PASS, "it names its axes");
    conv(padded(&[0, 0, 1, 1, 0, 0, -1, 1])).declined(&PASS, "it crops: a pad is negative");
    padded(&[0, 1, 1, 1, 0, 0, 1, 1])
        .conv("p", "w", &[4, 4, 3, 3], "b", "y")
        .declined(&PASS, "it pads the batch or the channels");
    conv(padded(&[1, 1])).declined(&PASS, "its 2 pads are not those of an image");
}

#[test]
fn readers_that_do_not_qualify_are_named() {
    padded(&AROUND)
        .output("p")
        .conv("p", "w", &[4, 3, 3, 3], "b", "y")
        .declined(&PASS, "`p` is an output of the graph");
    padded(&AROUND)
        .conv("p", "w", &[3, 3, 1, 1], "b", "c")
        .node("MaxPool", &["p"], &["d"])
        .ints("kernel_shape", &[1, 1])
        .node("Add", &["c", "d"], &["y"])
        .declined(&PASS, "g/node \"n2\" (MaxPool) reads it too and cannot pad");
    padded(&AROUND)
        .conv("p", "w", &[4, 3, 3, 3], "b", "y")
        .string("auto_pad", "SAME_LOWER")
        .declined(
            &PASS,
            "g/node \"n1\" (Conv) pads by itself to the size of its input",
        );
    padded(&AROUND)
        .conv("p", "w", &[4, 3, 3, 3], "b", "y")
        .ints("pads", &[1, 1])
        .declined(&PASS, "g/node \"n1\" (Conv) has 2 pads, the padding has 4");
    let pool = |name: &str, value: i64, own: &[i64]| {
        padded(&[0, 0, 1, 1, 0, 0, 1, 1])
            .node("AveragePool", &["p"], &["y"])
            .ints("kernel_shape", &[2, 2])
            .int(name, value)
            .ints("pads", own)
    };
    pool("ceil_mode", 1, &[0; 4]).declined(
        &PASS,
        "g/node \"n1\" (AveragePool) rounds its size up, and padding moves where its last window ends",
    );
    pool("count_include_pad", 0, &[1, 0, 0, 0]).declined(
        &PASS,
        "g/node \"n1\" (AveragePool) leaves its own padding out of its averages",
    );
    pool("count_include_pad", 1, &[1, 0, 0, 0]).declined(
        &PASS,
        "g/node \"n1\" (AveragePool) has a kernel that is not larger than the padding",
    );
}

#[test]
fn padding_that_feeds_nothing_that_pads_is_left_alone() {
    padded(&AROUND)
        .node("MaxPool", &["p"], &["y"])
        .ints("kernel_shape", &[2, 2])
        .ignored(&PASS);
}
