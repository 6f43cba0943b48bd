//! Reductions that drop an axis which comes back.

use crate::common::Network;
use tilecast_passes::KeepReducedAxis;

const PASS: KeepReducedAxis = KeepReducedAxis;

fn reduced(network: Network, axis: i64) -> Network {
    network
        .node("ReduceMean", &["x"], &["m"])
        .ints("axes", &[axis])
        .int("keepdims", 0)
}

/// The mean of 7 x 10 pixels per row, put back as PyTorch's exporter does.
fn restored_by_shape(network: Network) -> Network {
    reduced(network, -1)
        .node("Shape", &["m"], &["s"])
        .integers("one", &[1])
        .node("Concat", &["s", "one"], &["t"])
        .int("axis", 0)
        .node("Reshape", &["m", "t"], &["k"])
        .node("Sub", &["x", "k"], &["y"])
}

#[test]
fn a_reshape_puts_the_axis_back() {
    // What remains of the shapes is dead.
    restored_by_shape(Network::of_image(3))
        .becomes(&PASS, &["ReduceMean", "Shape", "Concat", "Sub"]);
}

#[test]
fn a_shape_still_tells_the_axes_before() {
    for (start, end) in [(0, 3), (-2, 9), (1, -1)] {
        let network = reduced(Network::of_image(3), 3)
            .integers("three", &[3])
            .node("Unsqueeze", &["m", "three"], &["k"])
            .node("Shape", &["m"], &["s"])
            .int("start", start)
            .int("end", end)
            .node("Cast", &["s"], &["f"])
            .int("to", 1)
            .node("ReduceMax", &["f"], &["l"])
            .node("Add", &["k", "l"], &["y"]);
        let left = ["ReduceMean", "Shape", "Cast", "ReduceMax", "Add"];
        network.becomes(&PASS, &left);
    }
}

#[test]
fn two_nodes_put_the_axis_back() {
    reduced(Network::of_image(3), -1)
        .integers("last", &[-1])
        .node("Unsqueeze", &["m", "last"], &["k"])
        .integers("flat", &[0, 3, -1, 1])
        .node("Reshape", &["m", "flat"], &["j"])
        .node("Sub", &["x", "k"], &["d"])
        .node("Mul", &["d", "j"], &["y"])
        .becomes(&PASS, &["ReduceMean", "Identity", "Sub", "Mul"]);
}

#[test]
fn an_axis_that_others_miss_stays_dropped() {
    restored_by_shape(Network::of_image(3))
        .output("m")
        .declined(&PASS, "`m` is an output of the graph");
    restored_by_shape(Network::of_image(3))
        .node("Neg", &["m"], &["o"])
        .output("o")
        .declined(&PASS, "`n5` reads it without the axis");
    // Before opset 15 Shape tells all axes.
    restored_by_shape(Network::of_image(3).opset(14))
        .declined(&PASS, "`n1` reads it without the axis");
    // Another axis, put back elsewhere.
    reduced(Network::of_image(3), 2)
        .integers("two", &[2])
        .node("Unsqueeze", &["m", "two"], &["k"])
        .node("Sub", &["x", "k"], &["y"])
        .ignored(&PASS);
    reduced(Network::of_image(3), -1)
        .node("Neg", &["m"], &["y"])
        .ignored(&PASS);
}
