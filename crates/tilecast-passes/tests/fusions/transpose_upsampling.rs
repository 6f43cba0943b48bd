//! A 1x1 convolution and a pixel shuffle, as a transposed convolution.

use crate::common::Network;
use tilecast_passes::TransposeUpsampling;

const PASS: TransposeUpsampling = TransposeUpsampling;

/// A shuffle of `c`, and something behind it.
fn shuffled(network: Network, mode: &str, block: i64) -> Network {
    network
        .node("DepthToSpace", &["c"], &["s"])
        .int("blocksize", block)
        .string("mode", mode)
        .node("Relu", &["s"], &["y"])
}

#[test]
fn both_orders_of_channels_and_other_blocks() {
    for (mode, block, rows) in [
        ("CRD", 2, 12),
        ("DCR", 2, 12),
        ("CRD", 3, 18),
        ("DCR", 4, 32),
    ] {
        let network = Network::of_image(5).conv("x", "w", &[rows, 5, 1, 1], "", "c");
        shuffled(network, mode, block).becomes(&PASS, &["ConvTranspose", "Relu"]);
    }
}

#[test]
fn a_bias_that_is_even_over_blocks_is_kept() {
    let with_bias = |values: &[f32]| {
        let network = Network::of_image(5)
            .floats("bias", &[8], values)
            .random("w", &[8, 5, 1, 1])
            .node("Conv", &["x", "w", "bias"], &["c"]);
        shuffled(network, "CRD", 2)
    };
    let even = [0.5, 0.5, 0.5, 0.5, -1.0, -1.0, -1.0, -1.0];
    with_bias(&even).becomes(&PASS, &["ConvTranspose", "Relu"]);
    with_bias(&[0.5, 0.5, 0.5, 0.25, -1.0, -1.0, -1.0, -1.0]).declined(
        &PASS,
        "its convolution has a bias that is not the same all over a block",
    );
}

#[test]
fn what_is_no_such_pair_stays() {
    let conv = |weights: &[usize]| Network::of_image(4).conv("x", "w", weights, "", "c");
    shuffled(conv(&[8, 4, 3, 3]), "CRD", 2)
        .declined(&PASS, "its convolution has more taps than one");
    shuffled(conv(&[8, 2, 1, 1]).int("group", 2), "CRD", 2)
        .declined(&PASS, "its convolution has strides, pads or groups");
    shuffled(conv(&[8, 4, 1, 1]).ints("strides", &[2, 2]), "CRD", 2)
        .declined(&PASS, "its convolution has strides, pads or groups");
    shuffled(conv(&[8, 4, 1, 1]).ints("pads", &[1, 1, 1, 1]), "CRD", 2)
        .declined(&PASS, "its convolution has strides, pads or groups");
    shuffled(conv(&[8, 4, 1, 1]).output("c"), "CRD", 2)
        .declined(&PASS, "`c` is an output of the graph");
    let wide = Network::of_image(129).conv("x", "w", &[8, 129, 1, 1], "", "c");
    shuffled(wide, "CRD", 2).declined(&PASS, "its convolution has 129 channels");
    shuffled(Network::of_image(8).node("Relu", &["x"], &["c"]), "CRD", 2).ignored(&PASS);
}
