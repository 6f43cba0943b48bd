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
        "a depthwise convolution over 20 channels is not computed in blocks, and `y` is an output of the graph",
    );
    split(Network::of_image(16).node("Relu", &["x"], &["c"])).ignored(&PASS);
    Network::of_image(3)
        .conv("x", "w", &[16, 3, 1, 1], "bias", "c")
        .node("Split", &["c"], &["a", "b"])
        .int("axis", 3)
        .node("Mul", &["a", "b"], &["y"])
        .declined(&PASS, "it does not split channels");
}

/// A feed-forward block of Restormer behind its first convolution: what reads the halves is the caller's.
fn feed_forward(n_channels: usize) -> Network {
    Network::of_image(3)
        .conv("x", "w", &[n_channels, 3, 1, 1], "b1", "c")
        .conv("c", "v", &[n_channels, 1, 3, 3], "b2", "d")
        .int("group", n_channels as i64)
        .ints("pads", &[1, 1, 1, 1])
        .node("Split", &["d"], &["a", "b"])
        .int("axis", 1)
}

/// The same up to the last convolution: a GELU of one half times the other.
fn whole_feed_forward(n_channels: usize) -> Network {
    let half = n_channels / 2;
    feed_forward(n_channels)
        .scalar("root", 2_f32.sqrt())
        .scalar("one", 1.0)
        .scalar("half", 0.5)
        .node("Div", &["a", "root"], &["e1"])
        .node("Erf", &["e1"], &["e2"])
        .node("Add", &["one", "e2"], &["e3"])
        .node("Mul", &["a", "e3"], &["e4"])
        .node("Mul", &["e4", "half"], &["g"])
        .node("Mul", &["g", "b"], &["m"])
        .conv("m", "u", &[3, half, 1, 1], "b3", "y")
}

#[test]
fn parts_that_are_no_blocks_are_widened() {
    let left = [
        "Conv", "Conv", "Conv", "Conv", "Div", "Erf", "Add", "Mul", "Mul", "Mul", "Conv",
    ];
    let model = whole_feed_forward(42).becomes(&PASS, &left);
    let graph = model.graph_proto();
    let dims = |name: &str| {
        let found = graph.initializer.iter().find(|t| t.name() == name);
        found.map(|t| t.dims.clone()).unwrap()
    };
    let convs: Vec<_> = graph.node.iter().filter(|n| n.is("Conv")).collect();
    let weights: Vec<_> = convs.iter().map(|n| dims(&n.input[1])).collect();
    let expected = [
        [32, 3, 1, 1],
        [32, 1, 3, 3],
        [32, 3, 1, 1],
        [32, 1, 3, 3],
        [3, 32, 1, 1],
    ];
    assert_eq!(weights, expected);
    assert_eq!(convs[1].int("group").unwrap(), Some(32));
}

#[test]
fn parts_whose_readers_need_their_channels_stay() {
    let declined = |network: Network, why: &str| {
        let why = format!(
            "a depthwise convolution over 21 channels is not computed in blocks, and {why}"
        );
        network.without_unread().declined(&PASS, &why);
    };
    let conv = |network: Network| network.conv("m", "u", &[3, 21, 1, 1], "b3", "y");
    declined(
        whole_feed_forward(42).output("g"),
        "`g` is an output of the graph",
    );
    let gate = |op: &str| conv(feed_forward(42).node(op, &["a", "b"], &["m"]));
    // A number over zero.
    declined(gate("Div"), "`n3` reads it");
    let shifted = feed_forward(42)
        .floats("s", &[21, 1, 1], &[0.5; 21])
        .node("Add", &["a", "s"], &["t"])
        .node("Mul", &["t", "b"], &["m"]);
    declined(conv(shifted), "`n3` reads it");
    let pooled = feed_forward(42)
        .node("ReduceMean", &["a"], &["t"])
        .ints("axes", &[1])
        .node("Mul", &["t", "b"], &["m"]);
    declined(conv(pooled), "`n3` reads it");
    let grouped = feed_forward(42)
        .node("Mul", &["a", "b"], &["m"])
        .conv("m", "u", &[21, 1, 1, 1], "b3", "y")
        .int("group", 21);
    declined(grouped, "`n4` reads it");
    let unequal = Network::of_image(3)
        .conv("x", "w", &[42, 3, 1, 1], "b1", "c")
        .conv("c", "v", &[42, 1, 3, 3], "b2", "d")
        .int("group", 42)
        .integers("sizes", &[21, 11, 10])
        .node("Split", &["d", "sizes"], &["a", "b", "e"])
        .int("axis", 1)
        .node("Relu", &["a"], &["m"])
        .node("Add", &["b", "e"], &["z"]);
    declined(conv(unequal).output("z"), "its parts are not equal");
    let whole = feed_forward(48).node("Mul", &["a", "b"], &["y"]);
    whole.declined(
        &PASS,
        "a depthwise convolution over 24 channels is not computed in blocks, and one over 48 is",
    );
}
