//! Pixel shuffle and unshuffle.

use crate::common::{Network, Size};
use tilecast_passes::FusePixelShuffle;

const PASS: FusePixelShuffle = FusePixelShuffle;

/// An image of 12 channels and 4 x 5 pixels.
fn small() -> Network {
    Network::of(&[1, 12, 4, 5].map(Size::Fixed))
}

/// An image of 6 x 10 pixels.
fn large(channels: i64) -> Network {
    Network::of(&[1, channels, 6, 10].map(Size::Fixed))
}

impl Network {
    fn moved(self, six: &[i64], perm: &[i64], four: &[i64]) -> Self {
        self.integers("six", six)
            .integers("four", four)
            .node("Reshape", &["x", "six"], &["a"])
            .node("Transpose", &["a"], &["b"])
            .ints("perm", perm)
            .node("Reshape", &["b", "four"], &["y"])
    }
}

const CRD: [i64; 6] = [0, 1, 4, 2, 5, 3];
const DCR: [i64; 6] = [0, 3, 4, 1, 5, 2];
const UNSHUFFLE: [i64; 6] = [0, 1, 3, 5, 2, 4];
const SPACE_TO_DEPTH: [i64; 6] = [0, 3, 5, 1, 2, 4];

#[test]
fn both_orders_of_channels() {
    for (six, perm, mode) in [
        ([1, 3, 2, 2, 4, 5], CRD, Some("CRD")),
        ([0, 2, 2, 3, 4, -1], DCR, None),
    ] {
        let after = small()
            .moved(&six, &perm, &[1, 3, 8, 10])
            .becomes(&PASS, &["DepthToSpace"]);
        let fused = &after.graph_proto().node[0];
        assert_eq!(fused.string("mode").unwrap(), mode);
    }
}

#[test]
fn an_open_image_size_is_proved_from_the_shape_arithmetic() {
    let dim = |network: Network, index: i64, name: &str| {
        let at = format!("at{index}");
        network
            .integers(&at, &[index])
            .node("Gather", &["shape", &at], &[name])
    };
    let network = Network::of(&[Size::Open(2), Size::Fixed(12), Size::Open(4), Size::Open(5)])
        .node("Shape", &["x"], &["shape"]);
    let network = dim(network, 0, "n");
    let network = dim(network, 2, "h");
    dim(network, 3, "w")
        .integers("blocks", &[3, 2, 2])
        .integers("three", &[3])
        .integers("two", &[2])
        .node("Concat", &["n", "blocks", "h", "w"], &["six"])
        .int("axis", 0)
        .node("Mul", &["h", "two"], &["h2"])
        .node("Mul", &["w", "two"], &["w2"])
        .node("Concat", &["n", "three", "h2", "w2"], &["four"])
        .int("axis", 0)
        .node("Reshape", &["x", "six"], &["a"])
        .node("Transpose", &["a"], &["b"])
        .ints("perm", &CRD)
        .node("Reshape", &["b", "four"], &["y"])
        .becomes(
            &PASS,
            &[
                "Shape",
                "Gather",
                "Gather",
                "Gather",
                "Concat",
                "Mul",
                "Mul",
                "Concat",
                "DepthToSpace",
            ],
        );
}

#[test]
fn unshuffle_where_the_order_of_channels_agrees() {
    large(2)
        .moved(&[1, 2, 3, 2, 5, 2], &SPACE_TO_DEPTH, &[1, 8, 3, 5])
        .becomes(&PASS, &["SpaceToDepth"]);
    large(1)
        .moved(&[1, 1, 3, 2, 5, 2], &UNSHUFFLE, &[1, 4, 3, 5])
        .becomes(&PASS, &["SpaceToDepth"]);
    large(2)
        .moved(&[1, 2, 3, 2, 5, 2], &UNSHUFFLE, &[1, 8, 3, 5])
        .declined(
            &PASS,
            "it puts each of 2 channels before the position in the block, SpaceToDepth behind it",
        );
}

#[test]
fn near_misses_are_declined_with_their_reason() {
    small()
        .moved(&[1, 2, 2, 3, 4, 5], &CRD, &[1, 2, 8, 15])
        .declined(&PASS, "its blocks are not square");
    let shapes = "its shapes are not provably those of a pixel shuffle";
    small()
        .moved(&[1, 3, 2, 2, 5, 4], &CRD, &[1, 3, 10, 8])
        .declined(&PASS, shapes);
    small()
        .moved(&[1, 3, 2, 2, 4, 5], &CRD, &[1, 3, 10, 8])
        .declined(&PASS, shapes);
    small()
        .moved(&[1, 3, 2, 2, 4, 5], &CRD, &[1, 6, 8, 5])
        .declined(&PASS, shapes);
    Network::of(&[
        Size::Fixed(1),
        Size::Fixed(12),
        Size::Open(4),
        Size::Open(5),
    ])
    .moved(&[1, 3, 2, 2, 4, 5], &CRD, &[1, 3, 8, 10])
    .declined(&PASS, shapes);
    Network::of(&[
        Size::Fixed(1),
        Size::Open(12),
        Size::Fixed(4),
        Size::Fixed(5),
    ])
    .moved(&[1, -1, 2, 2, 4, 5], &CRD, &[1, -1, 8, 10])
    .declined(&PASS, "axis 1 of `a` depends on the input");
    small()
        .opset(9)
        .moved(&[1, 3, 2, 2, 4, 5], &CRD, &[1, 3, 8, 10])
        .declined(
            &PASS,
            "DepthToSpace in the order CRD needs opset 11, the model has 9",
        );
    small()
        .output("b")
        .moved(&[1, 3, 2, 2, 4, 5], &CRD, &[1, 3, 8, 10])
        .declined(&PASS, "`b` is an output of the graph");
}

#[test]
fn other_transpositions_are_left_alone() {
    small()
        .node("Transpose", &["x"], &["y"])
        .ints("perm", &[0, 2, 3, 1])
        .ignored(&PASS);
    small()
        .moved(&[1, 3, 2, 2, 4, 5], &[0, 1, 2, 4, 3, 5], &[1, 3, 8, 10])
        .ignored(&PASS);
}
