//! Group normalization.

use crate::common::{Network, Size};
use tilecast_passes::FuseGroupNorm;

const PASS: FuseGroupNorm = FuseGroupNorm;

/// Six channels behind a convolution, to be reshaped to this shape and normalized.
fn grouped(shape: &[i64]) -> Network {
    Network::of_image(3)
        .opset(21)
        .conv("x", "w", &[6, 3, 3, 3], "b", "v")
        .ints("pads", &[1, 1, 1, 1])
        .integers("groups", shape)
        .node("Reshape", &["v", "groups"], &["r"])
}

impl Network {
    fn neutral(self, scale: f32, bias: f32, n_groups: usize) -> Self {
        self.floats("ones", &[n_groups], &vec![scale; n_groups])
            .floats("zeros", &[n_groups], &vec![bias; n_groups])
            .node("InstanceNormalization", &["r", "ones", "zeros"], &["i"])
            .float("epsilon", 1e-4)
    }

    fn restored(self) -> Self {
        self.node("Shape", &["v"], &["shape"])
            .node("Reshape", &["i", "shape"], &["s"])
    }

    fn group_affine(self) -> Self {
        self.random("gamma", &[6, 1, 1])
            .random("beta", &[1, 6, 1, 1])
            .node("Mul", &["s", "gamma"], &["m"])
            .node("Add", &["m", "beta"], &["y"])
    }
}

#[test]
fn with_and_without_scale_and_shift() {
    for n_groups in [1, 2, 3, 6] {
        grouped(&[0, n_groups, -1])
            .neutral(1.0, 0.0, n_groups as usize)
            .restored()
            .group_affine()
            .becomes(&PASS, &["Conv", "GroupNormalization"]);
        grouped(&[0, n_groups, -1])
            .neutral(1.0, 0.0, n_groups as usize)
            .restored()
            .node("Relu", &["s"], &["y"])
            .becomes(&PASS, &["Conv", "GroupNormalization", "Relu"]);
    }
}

#[test]
fn the_shape_may_be_computed_in_another_way() {
    let network = Network::of_image(3)
        .opset(21)
        .conv("x", "w", &[6, 3, 1, 1], "b", "v")
        .integers("groups", &[0, 2, -1])
        .integers("from", &[2])
        .integers("to", &[4])
        .integers("channels", &[0, 6])
        .node("Shape", &["x"], &["all"])
        .node("Slice", &["all", "from", "to"], &["size"])
        .node("Concat", &["channels", "size"], &["shape"])
        .int("axis", 0)
        .node("Reshape", &["v", "groups"], &["r"])
        .neutral(1.0, 0.0, 2)
        .node("Reshape", &["i", "shape"], &["s"])
        .group_affine();
    network.becomes(
        &PASS,
        &["Conv", "Shape", "Slice", "Concat", "GroupNormalization"],
    );
}

#[test]
fn near_misses_are_declined_with_their_reason() {
    grouped(&[0, 2, -1])
        .opset(20)
        .neutral(1.0, 0.0, 2)
        .restored()
        .group_affine()
        .declined(
            &PASS,
            "GroupNormalization with a scale per channel needs opset 21, the model has 20",
        );
    grouped(&[0, 2, -1])
        .neutral(0.5, 0.0, 2)
        .restored()
        .group_affine()
        .declined(
            &PASS,
            "the instance normalization's `ones` is not 1 throughout",
        );
    grouped(&[0, 2, -1])
        .neutral(1.0, 0.1, 2)
        .restored()
        .group_affine()
        .declined(
            &PASS,
            "the instance normalization's `zeros` is not 0 throughout",
        );
    grouped(&[0, 4, -1])
        .neutral(1.0, 0.0, 4)
        .restored()
        .group_affine()
        .declined(
            &PASS,
            "the first Reshape does not make groups of whole channels",
        );
    grouped(&[0, 2, 3, -1])
        .neutral(1.0, 0.0, 2)
        .restored()
        .group_affine()
        .declined(
            &PASS,
            "the first Reshape does not make groups of whole channels",
        );
    grouped(&[0, 2, -1])
        .neutral(1.0, 0.0, 2)
        .integers("other", &[0, 6, -1, 8])
        .node("Reshape", &["i", "other"], &["s"])
        .group_affine()
        .declined(
            &PASS,
            "the second Reshape does not provably return to the shape of `v`",
        );
    Network::of(&[Size::Fixed(1), Size::Open(6), Size::Open(3), Size::Open(4)])
        .opset(21)
        .node("Relu", &["x"], &["v"])
        .integers("groups", &[0, 2, -1])
        .node("Reshape", &["v", "groups"], &["r"])
        .neutral(1.0, 0.0, 2)
        .restored()
        .node("Relu", &["s"], &["y"])
        .declined(&PASS, "the number of channels of `v` depends on the input");
    grouped(&[0, 2, -1])
        .output("r")
        .neutral(1.0, 0.0, 2)
        .restored()
        .group_affine()
        .declined(&PASS, "`r` is an output of the graph");
    grouped(&[0, 2, -1])
        .neutral(1.0, 0.0, 2)
        .restored()
        .node("ReduceMean", &["i"], &["mean"])
        .node("Add", &["s", "mean"], &["y"])
        .declined(&PASS, "`i` is read outside of the pattern too");
}

#[test]
fn an_instance_normalization_without_reshapes_is_left_alone() {
    Network::of_image(3)
        .opset(21)
        .positive("s", &[3])
        .random("b", &[3])
        .node("InstanceNormalization", &["x", "s", "b"], &["y"])
        .ignored(&PASS);
}
