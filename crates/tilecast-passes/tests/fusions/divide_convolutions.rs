//! A Split of channels behind convolutions, as convolutions per part.

use crate::common::Network;
use tilecast_passes::DivideConvolutions;

const PASS: DivideConvolutions = DivideConvolutions;

fn gated(network: Network) -> Network {
    network.node("Mul", &["a", "b"], &["y"])
}

#[test]
fn a_gate_behind_one_convolution() {
    let halves = Network::of_image(3)
        .conv("x", "w", &[16, 3, 3, 3], "bias", "c")
        .ints("pads", &[1, 2, 1, 0])
        .node("Split", &["c"], &["a", "b"])
        .int("axis", 1);
    gated(halves).becomes(&PASS, &["Conv", "Conv", "Mul"]);
    let without_bias = Network::of_image(3)
        .conv("x", "w", &[16, 3, 1, 1], "", "c")
        .node("Split", &["c"], &["a", "b"])
        .int("axis", -3);
    gated(without_bias).becomes(&PASS, &["Conv", "Conv", "Mul"]);
}

#[test]
fn depthwise_convolutions_between_are_divided_too() {
    let network = Network::of_image(3)
        .conv("x", "w", &[48, 3, 1, 1], "b1", "c")
        .conv("c", "v", &[48, 1, 3, 3], "b2", "d")
        .int("group", 48)
        .ints("pads", &[1, 1, 1, 1])
        .integers("sizes", &[16, 32])
        .node("Split", &["d", "sizes"], &["a", "b"])
        .int("axis", 1)
        .node("ReduceMean", &["b"], &["m"])
        .ints("axes", &[1])
        .node("Mul", &["a", "m"], &["y"]);
    network.becomes(
        &PASS,
        &["Conv", "Conv", "Conv", "Conv", "ReduceMean", "Mul"],
    );
}

#[test]
fn three_parts() {
    let network = Network::of_image(3)
        .conv("x", "w", &[24, 3, 1, 1], "bias", "c")
        .node("Split", &["c"], &["a", "b", "d"])
        .int("axis", 1)
        .node("Mul", &["a", "b"], &["e"])
        .node("Mul", &["e", "d"], &["y"]);
    network.becomes(&PASS, &["Conv", "Conv", "Conv", "Mul", "Mul"]);
}

#[test]
fn what_cannot_be_divided_stays() {
    let split = |network: Network| {
        gated(network.node("Split", &["c"], &["a", "b"]).int("axis", 1)).without_unread()
    };
    let conv = |filters| Network::of_image(4).conv("x", "w", &[filters, 4, 1, 1], "bias", "c");
    split(conv(8)).declined(&PASS, "a convolution with 4 filters does not pay");
    split(
        Network::of_image(4)
            .conv("x", "w", &[16, 2, 1, 1], "bias", "c")
            .int("group", 2),
    )
    .declined(&PASS, "its convolution has 2 groups");
    split(conv(16).output("c")).declined(&PASS, "`c` is an output of the graph");
    split(
        Network::of_image(16)
            .conv("x", "w", &[16, 1, 3, 3], "bias", "c")
            .int("group", 16),
    )
    .declined(
        &PASS,
        "depthwise convolutions are in front of it, and no other convolution in front of these",
    );
    split(
        Network::of_image(3)
            .conv("x", "w", &[40, 3, 1, 1], "b1", "e")
            .conv("e", "v", &[40, 1, 3, 3], "b2", "c")
            .int("group", 40),
    )
    .declined(
        &PASS,
        "a depthwise convolution over 20 channels is not computed in blocks",
    );
    split(Network::of_image(16).node("Relu", &["x"], &["c"])).ignored(&PASS);
    Network::of_image(3)
        .conv("x", "w", &[16, 3, 1, 1], "bias", "c")
        .node("Split", &["c"], &["a", "b"])
        .int("axis", 3)
        .node("Mul", &["a", "b"], &["y"])
        .declined(&PASS, "it does not split channels");
}
