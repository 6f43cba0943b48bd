//! Slices that are a partition, as one Split.

use crate::common::{Network, Size};
use tilecast_passes::SlicesToSplit;

const PASS: SlicesToSplit = SlicesToSplit;

/// Slices of the 8 channels behind a convolution: (start, end) each, and the sum of what is left of them.
fn chunks(axis: i64, bounds: &[(i64, i64)]) -> Network {
    let mut network = Network::of_image(3)
        .conv("x", "w", &[8, 3, 1, 1], "b", "c")
        .integers("axis", &[axis]);
    let mut sum: Option<String> = None;
    for (index, &(start, end)) in bounds.iter().enumerate() {
        let (s, e, out) = (
            format!("s{index}"),
            format!("e{index}"),
            format!("part{index}"),
        );
        network = network
            .integers(&s, &[start])
            .integers(&e, &[end])
            .node("Slice", &["c", &s, &e, "axis"], &[&out])
            .node("ReduceMean", &[&out], &[&format!("mean{index}")])
            .ints("axes", &[axis]);
        let mean = format!("mean{index}");
        sum = Some(match sum {
            None => mean,
            Some(before) => {
                let name = format!("sum{index}");
                network = network.node("Mul", &[&before, &mean], &[&name]);
                name
            }
        });
    }
    network.node("Relu", &[&sum.unwrap()], &["y"])
}

const HALVES: [&str; 6] = ["Conv", "Split", "ReduceMean", "ReduceMean", "Mul", "Relu"];

#[test]
fn halves_thirds_and_uneven_parts_in_any_order() {
    for bounds in [
        [(0, 4), (4, 8)],
        [(0, 4), (4, i64::MAX)],
        [(3, 8), (0, 3)],
        [(0, -2), (-2, 8)],
    ] {
        for axis in [1, -3] {
            chunks(axis, &bounds).becomes(&PASS, &HALVES);
        }
    }
    chunks(1, &[(0, 1), (1, 6), (6, 100)]).becomes(
        &PASS,
        &[
            "Conv",
            "Split",
            "ReduceMean",
            "ReduceMean",
            "Mul",
            "ReduceMean",
            "Mul",
            "Relu",
        ],
    );
}

#[test]
fn bounds_computed_from_the_number_of_channels_are_constant() {
    Network::of_image(3)
        .conv("x", "w", &[8, 3, 1, 1], "b", "c")
        .integers("zero", &[0])
        .integers("one", &[1])
        .integers("two", &[2])
        .node("Shape", &["c"], &["shape"])
        .node("Gather", &["shape", "one"], &["channels"])
        .node("Div", &["channels", "two"], &["half"])
        .node("Slice", &["c", "zero", "half", "one"], &["a"])
        .node("Slice", &["c", "half", "channels", "one"], &["b2"])
        .node("Mul", &["a", "b2"], &["y"])
        .becomes(&PASS, &["Conv", "Shape", "Gather", "Div", "Split", "Mul"]);
}

#[test]
fn near_misses_are_declined_with_their_reason() {
    chunks(1, &[(0, 4), (4, 8)]).opset(12).declined(
        &PASS,
        "Split with its sizes as an input needs opset 13, the model has 12",
    );
    chunks(1, &[(0, 5), (4, 8)]).declined(&PASS, "the slices overlap at 4 (g/node \"n3\" (Slice))");
    chunks(1, &[(0, 3), (4, 8)])
        .declined(&PASS, "the slices leave a gap at 4 (g/node \"n3\" (Slice))");
    chunks(1, &[(1, 4), (4, 8)])
        .declined(&PASS, "the slices leave a gap at 1 (g/node \"n1\" (Slice))");
    chunks(1, &[(0, 4), (4, 7)]).declined(&PASS, "the slices end at 7 of 8 along axis 1");
    chunks(1, &[(0, 4), (8, 9)]).declined(&PASS, "g/node \"n3\" (Slice) is empty");
    chunks(3, &[(0, 4), (4, 10)])
        .declined(&PASS, "the length of axis 3 of `c` depends on the input");
    let two = |second: &str, steps: &str| {
        Network::of_image(3)
            .conv("x", "w", &[8, 3, 1, 1], "b", "c")
            .integers("zero", &[0])
            .integers("four", &[4])
            .integers("eight", &[8])
            .integers("one", &[1])
            .integers("two", &[2])
            .node("Slice", &["c", "zero", "four", "one"], &["a"])
            .node("Slice", &["c", "four", "eight", second, steps], &["d"])
            .node("ReduceMean", &["a"], &["ma"])
            .node("ReduceMean", &["d"], &["md"])
            .node("Mul", &["ma", "md"], &["y"])
    };
    two("two", "one").declined(&PASS, "`c` is cut along several axes");
    two("one", "two").declined(
        &PASS,
        "the bounds of g/node \"n2\" (Slice) are not constant, or its steps are not 1",
    );
    Network::of_image(3)
        .conv("x", "w", &[8, 3, 1, 1], "b", "c")
        .integers("from", &[0, 0])
        .integers("to", &[4, 4])
        .integers("axes", &[1, 2])
        .node("Slice", &["c", "from", "to", "axes"], &["a"])
        .node("Slice", &["c", "from", "to", "axes"], &["d"])
        .node("Mul", &["a", "d"], &["y"])
        .declined(&PASS, "g/node \"n1\" (Slice) cuts several axes");
}

#[test]
fn one_slice_is_no_partition() {
    chunks(1, &[(0, 4)]).ignored(&PASS);
    Network::of(&[Size::Fixed(1), Size::Fixed(8), Size::Open(5)])
        .integers("s", &[0])
        .integers("e", &[4])
        .integers("a", &[1])
        .node("Slice", &["x", "s", "e", "a"], &["y"])
        .ignored(&PASS);
}
