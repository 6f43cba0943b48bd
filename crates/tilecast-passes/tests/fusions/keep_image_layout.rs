//! Detours of an image over flattened pixels.

use crate::common::Network;
use tilecast_passes::KeepImageLayout;

const PASS: KeepImageLayout = KeepImageLayout;

/// A layer normalization as Restormer's exporters write it, up to the transposed value `t`, and the shape to come back to.
fn flattened(network: Network) -> Network {
    network
        .node("Shape", &["x"], &["shape"])
        .integers("flat", &[0, 6, -1])
        .node("Reshape", &["x", "flat"], &["r"])
        .node("Transpose", &["r"], &["t"])
        .ints("perm", &[0, 2, 1])
}

/// A value brought back.
fn restored(network: Network, value: &str, output: &str) -> Network {
    let back = format!("{output}_back");
    network
        .node("Transpose", &[value], &[&back])
        .ints("perm", &[0, 2, 1])
        .node("Reshape", &[&back, "shape"], &[output])
}

fn normalized(network: Network) -> Network {
    network
        .node("ReduceMean", &["t"], &["m"])
        .ints("axes", &[-1])
        .node("Sub", &["t", "m"], &["d"])
        .node("Mul", &["d", "d"], &["q"])
        .node("ReduceMean", &["q"], &["v"])
        .ints("axes", &[2])
        .scalar("eps", 1e-5)
        .node("Add", &["v", "eps"], &["a"])
        .node("Sqrt", &["a"], &["s"])
        .node("Div", &["d", "s"], &["n"])
        .random("scale", &[6])
        .random("shift", &[1, 1, 6])
        .node("Mul", &["n", "scale"], &["g"])
        .node("Add", &["g", "shift"], &["z"])
}

/// What the normalization becomes; the Shape is left for the removal of dead nodes.
const NORM: [&str; 10] = [
    "Shape",
    "ReduceMean",
    "Sub",
    "Mul",
    "ReduceMean",
    "Add",
    "Sqrt",
    "Div",
    "Mul",
    "Add",
];

#[test]
fn a_layer_normalization_over_tokens() {
    let network = restored(normalized(flattened(Network::of_image(6))), "z", "y");
    network.becomes(&PASS, &NORM);
}

#[test]
fn axes_as_an_input() {
    let network = flattened(Network::of_image(6).opset(18))
        .integers("last", &[-1])
        .node("ReduceMean", &["t", "last"], &["m"])
        .node("Sub", &["t", "m"], &["d"])
        // Another reader of the axes.
        .node("ReduceMax", &["d", "last"], &["e"])
        .node("Mul", &["d", "e"], &["z"]);
    restored(network, "z", "y").becomes(&PASS, &["Shape", "ReduceMean", "Sub", "ReduceMax", "Mul"]);
}

#[test]
fn several_values_come_back() {
    let network = flattened(Network::of_image(6))
        .node("Exp", &["t"], &["root"])
        .scalar("two", 2.0)
        .node("Mul", &["two", "root"], &["z"]);
    let network = restored(restored(network, "root", "o1"), "z", "o2");
    let network = restored(restored(network, "t", "o3"), "z", "o4").node(
        "Sum",
        &["o1", "o2", "o3", "o4", "x"],
        &["y"],
    );
    network.becomes(
        &PASS,
        &["Shape", "Exp", "Mul", "Identity", "Identity", "Sum"],
    );
}

#[test]
fn the_flattened_image_may_have_other_readers() {
    let network = restored(normalized(flattened(Network::of_image(6))), "z", "y")
        .node("ReduceMean", &["r"], &["o"])
        .ints("axes", &[2])
        .output("o");
    let left = [&NORM[..1], &["Reshape"], &NORM[1..], &["ReduceMean"]].concat();
    network.becomes(&PASS, &left);
}

#[test]
fn the_number_of_pixels_is_still_told() {
    for (start, end) in [(1, 2), (-2, -1)] {
        let network = normalized(flattened(Network::of_image(6)))
            .node("Shape", &["v"], &["p"])
            .int("start", start)
            .int("end", end)
            .node("Cast", &["p"], &["o"])
            .int("to", 1)
            .output("o");
        let left = [&["Shape", "Reshape"], &NORM[1..], &["Shape", "Cast"]].concat();
        restored(network, "z", "y").becomes(&PASS, &left);
    }
    let all = normalized(flattened(Network::of_image(6)))
        .node("Shape", &["v"], &["p"])
        .node("Cast", &["p"], &["o"])
        .int("to", 1)
        .output("o");
    restored(all, "z", "y").declined(&PASS, "`n12` reads `v`");
}

#[test]
fn what_is_no_detour_stays() {
    let declined = |network: Network, why: &str| network.without_unread().declined(&PASS, why);
    let flat = || flattened(Network::of_image(6));
    let moved = flat()
        .random("w", &[6, 6])
        .node("MatMul", &["t", "w"], &["z"]);
    declined(restored(moved, "z", "y"), "`n3` reads `t`");
    let over_pixels = flat()
        .node("ReduceMean", &["t"], &["m"])
        .ints("axes", &[1])
        .node("Sub", &["t", "m"], &["z"]);
    declined(restored(over_pixels, "z", "y"), "`n3` reads `t`");
    let dropped = flat()
        .node("ReduceMean", &["t"], &["m"])
        .ints("axes", &[-1])
        .int("keepdims", 0)
        .integers("one", &[2])
        .node("Unsqueeze", &["m", "one"], &["u"])
        .node("Sub", &["t", "u"], &["z"]);
    declined(restored(dropped, "z", "y"), "`n3` reads `t`");
    let with_other = flat()
        .node("Add", &["t", "t"], &["u"])
        .node("ReduceMean", &["x"], &["o"])
        .ints("axes", &[1, 2, 3])
        .int("keepdims", 0)
        .node("Mul", &["u", "o"], &["z"]);
    declined(
        restored(with_other, "z", "y"),
        "`o` of `n5` is no constant per channel",
    );
    let shown = restored(normalized(flat()), "z", "y");
    declined(shown.output("d"), "`d` is an output of the graph");
    let elsewhere = flat()
        .node("Neg", &["t"], &["z"])
        .node("Transpose", &["z"], &["b"])
        .ints("perm", &[0, 2, 1])
        .integers("other", &[0, 3, 2, -1])
        .node("Reshape", &["b", "other"], &["y"]);
    declined(
        elsewhere,
        "`n5` reads `b` and does not provably restore the image",
    );
    let halves = Network::of_image(6)
        .integers("flat", &[0, 3, -1])
        .node("Reshape", &["x", "flat"], &["r"])
        .node("Transpose", &["r"], &["t"])
        .ints("perm", &[0, 2, 1])
        .node("Neg", &["t"], &["y"]);
    declined(halves, "`r` is not provably a flattened image");
}
