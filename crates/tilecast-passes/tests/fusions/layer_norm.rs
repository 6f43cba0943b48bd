//! Layer normalization, over tokens and over channels.

use crate::common::{Network, Size, ops};
use tilecast_passes::{ChannelNorms, FuseLayerNorm, normalization_nodes, run_pass};

const TOKENS: FuseLayerNorm = FuseLayerNorm {
    over_channels: ChannelNorms::Decomposed,
};
const CONVOLVED: FuseLayerNorm = FuseLayerNorm {
    over_channels: ChannelNorms::Convolved {
        fewest_transposed: 64,
    },
};

fn tokens() -> Network {
    Network::of(&[Size::Fixed(1), Size::Open(11), Size::Fixed(6)])
        .scalar("eps", 1e-5)
        .scalar("two", 2.0)
}

fn image() -> Network {
    image_of(6)
}

fn image_of(channels: usize) -> Network {
    Network::of_image(3)
        .scalar("eps", 1e-6)
        .scalar("two", 2.0)
        .conv("x", "w", &[channels, 3, 3, 3], "b", "v")
}

impl Network {
    /// The normalization of `v` to `n` over `axis`.
    fn layer_norm(self, v: &str, axis: i64) -> Self {
        self.node("ReduceMean", &[v], &["mean"])
            .ints("axes", &[axis])
            .node("Sub", &[v, "mean"], &["d"])
            .node("Pow", &["d", "two"], &["q"])
            .node("ReduceMean", &["q"], &["var"])
            .ints("axes", &[axis])
            .root_and_quotient()
    }

    fn root_and_quotient(self) -> Self {
        self.node("Add", &["var", "eps"], &["e"])
            .node("Sqrt", &["e"], &["s"])
            .node("Div", &["d", "s"], &["n"])
    }

    fn affine(self, dims: &[usize]) -> Self {
        self.random("gamma", dims)
            .random("beta", dims)
            .node("Mul", &["n", "gamma"], &["g"])
            .node("Add", &["beta", "g"], &["y"])
    }
}

#[test]
fn over_tokens_with_and_without_scale_and_shift() {
    for axis in [-1, 2] {
        tokens()
            .layer_norm("x", axis)
            .affine(&[6])
            .becomes(&TOKENS, &["LayerNormalization"]);
        tokens()
            .layer_norm("x", axis)
            .node("Relu", &["n"], &["y"])
            .becomes(&TOKENS, &["LayerNormalization", "Relu"]);
    }
}

#[test]
fn the_variance_may_have_a_mean_and_a_square_of_its_own() {
    tokens()
        .node("ReduceMean", &["x"], &["mean"])
        .ints("axes", &[-1])
        .node("Sub", &["x", "mean"], &["d"])
        .node("ReduceMean", &["x"], &["mean2"])
        .ints("axes", &[-1])
        .node("Sub", &["x", "mean2"], &["d2"])
        .node("Mul", &["d2", "d2"], &["q"])
        .node("ReduceMean", &["q"], &["var"])
        .ints("axes", &[-1])
        .root_and_quotient()
        .affine(&[6])
        .without_unread()
        .becomes(&TOKENS, &["LayerNormalization"]);
}

#[test]
fn axes_are_an_input_from_opset_18_on() {
    tokens()
        .opset(18)
        .integers("axes", &[-1])
        .node("ReduceMean", &["x", "axes"], &["mean"])
        .node("Sub", &["x", "mean"], &["d"])
        .node("Pow", &["d", "two"], &["q"])
        .node("ReduceMean", &["q", "axes"], &["var"])
        .root_and_quotient()
        .affine(&[6])
        .becomes(&TOKENS, &["LayerNormalization"]);
}

#[test]
fn over_channels_convolutions_average_where_asked_for() {
    let variance = ["Mul", "Conv", "Sqrt"];
    let (divided, spread) = (["Div"].as_slice(), ["Reciprocal", "Conv", "Mul"].as_slice());
    let affine = ["Mul", "Add"];
    let few = [&["Conv", "Conv"], &variance[..], spread, &affine].concat();
    let odd = [&["Conv", "Conv"], &variance[..], divided, &affine].concat();
    let many = [
        &["Conv", "Conv", "Conv", "Add"],
        &variance[..],
        spread,
        &affine,
    ]
    .concat();
    let many_odd = [&["Conv", "Conv", "Sub"], &variance[..], divided, &affine].concat();
    let transposed = [
        "Conv",
        "Transpose",
        "LayerNormalization",
        "Transpose",
        "Mul",
        "Add",
    ];
    for axis in [1, -3] {
        for (channels, expected) in [
            (16, few.as_slice()),
            (20, &odd),
            (32, &few),
            (33, &many_odd),
            (48, &many),
            (63, &many_odd),
            (64, &transposed),
        ] {
            let after = image_of(channels)
                .layer_norm("v", axis)
                .affine(&[1, channels, 1, 1])
                .becomes(&CONVOLVED, expected);
            // All but the convolution in front, or the operator alone.
            let is_operator = expected.contains(&"LayerNormalization");
            let n_pinned = if is_operator { 1 } else { expected.len() - 1 };
            let found = normalization_nodes(&after.graph());
            assert_eq!(found.len(), n_pinned, "{channels} channels");
        }
    }
    image_of(64)
        .opset(16)
        .layer_norm("v", 1)
        .affine(&[64, 1, 1])
        .becomes(&CONVOLVED, &many);
    image_of(16)
        .opset(16)
        .layer_norm("v", 1)
        .affine(&[16, 1, 1])
        .becomes(&CONVOLVED, &few);
    image()
        .layer_norm("v", 1)
        .affine(&[6, 1, 1])
        .declined(&CONVOLVED, "convolutions are no faster over 6 channels");
    image().layer_norm("v", 1).affine(&[6, 1, 1]).declined(
        &TOKENS,
        "over channels it stays taken apart for this target",
    );
}

#[test]
fn what_is_not_one_constant_per_element_stays_behind() {
    let network = tokens()
        .layer_norm("x", -1)
        .node("Relu", &["x"], &["r"])
        .node("Mul", &["n", "r"], &["y"]);
    network.becomes(&TOKENS, &["LayerNormalization", "Relu", "Mul"]);
    let mut model = tokens().layer_norm("x", -1).affine(&[11, 6]).build();
    assert!(run_pass(&TOKENS, &mut model).unwrap().changed);
    assert_eq!(ops(&model), ["LayerNormalization", "Mul", "Add"]);
}

/// The variance `var` of tokens, computed without keeping the axis.
fn with_dropped_axis() -> Network {
    tokens()
        .node("ReduceMean", &["x"], &["mean"])
        .ints("axes", &[-1])
        .node("Sub", &["x", "mean"], &["d"])
        .node("Mul", &["d", "d"], &["q"])
        .node("ReduceMean", &["q"], &["dropped"])
        .ints("axes", &[2])
        .int("keepdims", 0)
}

#[test]
fn the_variance_may_get_its_axis_back_behind_its_mean() {
    with_dropped_axis()
        .integers("one", &[1])
        .node("Shape", &["dropped"], &["shape"])
        .node("Concat", &["shape", "one"], &["kept"])
        .int("axis", 0)
        .node("Reshape", &["dropped", "kept"], &["wide"])
        .node("Expand", &["wide", "kept"], &["var"])
        .root_and_quotient()
        .affine(&[6])
        .without_unread()
        .becomes(&TOKENS, &["LayerNormalization"]);
    with_dropped_axis()
        .integers("last", &[-1])
        .node("Unsqueeze", &["dropped", "last"], &["var"])
        .root_and_quotient()
        .affine(&[6])
        .without_unread()
        .becomes(&TOKENS, &["LayerNormalization"]);
    with_dropped_axis()
        .integers("other", &[11, 1, 1])
        .node("Reshape", &["dropped", "other"], &["var"])
        .root_and_quotient()
        .affine(&[6])
        .declined(&TOKENS, "its variance does not provably get its axis back");
}

#[test]
fn near_misses_are_declined_with_their_reason() {
    tokens()
        .opset(16)
        .layer_norm("x", -1)
        .affine(&[6])
        .declined(
            &TOKENS,
            "LayerNormalization needs opset 17, the model has 16",
        );
    tokens().layer_norm("x", 1).affine(&[6]).declined(
        &TOKENS,
        "it goes over axis 1 of 3, neither the last nor the channels of an image",
    );
    Network::of(&[Size::Fixed(1), Size::Fixed(4), Size::Open(6)])
        .scalar("eps", 1e-5)
        .scalar("two", 2.0)
        .layer_norm("x", -1)
        .node("Relu", &["n"], &["y"])
        .declined(&TOKENS, "the length of axis 2 of `x` depends on the input");
    tokens()
        .layer_norm("x", -1)
        .node("Add", &["n", "d"], &["y"])
        .declined(&TOKENS, "`d` is read outside of the pattern too");
    tokens()
        .output("s")
        .layer_norm("x", -1)
        .affine(&[6])
        .declined(&TOKENS, "`s` is an output of the graph");
    let means = |first: &[i64], second: &[i64], keep: i64| {
        tokens()
            .node("ReduceMean", &["x"], &["mean"])
            .ints("axes", first)
            .int("keepdims", keep)
            .node("Sub", &["x", "mean"], &["d"])
            .node("Pow", &["d", "two"], &["q"])
            .node("ReduceMean", &["q"], &["var"])
            .ints("axes", second)
            .root_and_quotient()
            .affine(&[6])
    };
    means(&[-1], &[1], 1).declined(&TOKENS, "its means go over different axes");
    means(&[1, 2], &[1, 2], 1).declined(&TOKENS, "its means do not go over one constant axis");
    means(&[-1], &[-1], 0).declined(&TOKENS, "its means drop the axis");
    Network::of(&[Size::Fixed(1), Size::Open(11), Size::Fixed(6)])
        .scalar("two", 2.0)
        .scalar("raw", 1e-5)
        .node("Relu", &["raw"], &["eps"])
        .layer_norm("x", -1)
        .affine(&[6])
        .declined(&TOKENS, "`eps` under its root is not a scalar constant");
}

#[test]
fn a_quotient_that_is_not_centered_is_no_layer_norm() {
    tokens()
        .node("ReduceMean", &["x"], &["mean"])
        .ints("axes", &[-1])
        .node("Sub", &["x", "mean"], &["d0"])
        .node("Pow", &["d0", "two"], &["q"])
        .node("ReduceMean", &["q"], &["var"])
        .ints("axes", &[-1])
        .node("Add", &["var", "eps"], &["e"])
        .node("Sqrt", &["e"], &["s"])
        .node("Div", &["x", "s"], &["y"])
        .ignored(&TOKENS);
}
