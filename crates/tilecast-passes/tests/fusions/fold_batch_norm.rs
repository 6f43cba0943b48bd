//! Batch normalization into the convolution before it.

use crate::common::Network;
use tilecast_onnx::{DataType, Tensor};
use tilecast_passes::FoldBatchNorm;

const PASS: FoldBatchNorm = FoldBatchNorm;

impl Network {
    /// `BatchNormalization` of `input` with random parameters of `channels`.
    fn batch_norm(self, input: &str, channels: usize, outputs: &[&str]) -> Self {
        self.random("scale", &[channels])
            .random("shift", &[channels])
            .random("mean", &[channels])
            .positive("var", &[channels])
            .node(
                "BatchNormalization",
                &[input, "scale", "shift", "mean", "var"],
                outputs,
            )
    }
}

#[test]
fn conv_with_and_without_bias_and_with_groups() {
    for (dims, group, bias) in [
        (vec![4, 6, 3, 3], 1, "b"),
        (vec![4, 6, 3, 3], 1, ""),
        (vec![6, 1, 3, 3], 6, "b"),
        (vec![4, 3, 1, 1], 2, ""),
    ] {
        let network = Network::of_image(6)
            .conv("x", "w", &dims, bias, "c")
            .int("group", group)
            .ints("pads", &[1, 2, 0, 1])
            .batch_norm("c", dims[0], &["y"])
            .float("epsilon", 1e-3);
        network.becomes(&PASS, &["Conv"]);
    }
}

#[test]
fn transposed_convolution_scales_its_second_axis_group_by_group() {
    for (dims, group, channels) in [
        ([6, 4, 2, 2], 1, 4),
        ([6, 2, 3, 3], 3, 6),
        ([6, 1, 2, 2], 6, 6),
    ] {
        let network = Network::of_image(6)
            .random("w", &dims)
            .node("ConvTranspose", &["x", "w"], &["c"])
            .int("group", group)
            .ints("strides", &[2, 2])
            .batch_norm("c", channels, &["y"]);
        network.becomes(&PASS, &["ConvTranspose"]);
    }
}

#[test]
fn shared_weights_are_copied_and_others_replaced_in_their_place() {
    let shared = Network::of_image(4)
        .conv("x", "w", &[4, 4, 1, 1], "b", "c")
        .batch_norm("c", 4, &["d"])
        .node("Conv", &["d", "w", "b"], &["y"]);
    let after = shared.becomes(&PASS, &["Conv", "Conv"]);
    let graph = after.graph();
    assert!(graph.initializer("w").is_some() && graph.initializer("w_folded").is_some());
    let alone = Network::of_image(4)
        .conv("x", "w", &[4, 4, 1, 1], "b", "c")
        .batch_norm("c", 4, &["y"]);
    let after = alone.becomes(&PASS, &["Conv"]);
    let names: Vec<_> = after
        .graph_proto()
        .initializer
        .iter()
        .map(|t| t.name.as_deref().unwrap())
        .collect();
    assert_eq!(names, ["w", "b"]);
}

#[test]
fn before_opset_14_one_output_means_inference() {
    let network = |outputs: &[&str]| {
        Network::of_image(2)
            .opset(9)
            .conv("x", "w", &[3, 2, 3, 3], "b", "c")
            .batch_norm("c", 3, outputs)
    };
    network(&["y"]).becomes(&PASS, &["Conv"]);
    network(&["y", "m", "v"]).declined(
        &PASS,
        "it is in training mode: its statistics come from the input",
    );
}

#[test]
fn normalization_without_a_convolution_before_it_stays() {
    Network::of_image(3)
        .batch_norm("x", 3, &["n"])
        .conv("n", "w", &[3, 3, 3, 3], "b", "y")
        .ignored(&PASS);
}

#[test]
fn near_misses_are_declined_with_their_reason() {
    let conv = || Network::of_image(2).conv("x", "w", &[3, 2, 3, 3], "b", "c");
    conv()
        .batch_norm("c", 3, &["y"])
        .int("training_mode", 1)
        .declined(
            &PASS,
            "it is in training mode: its statistics come from the input",
        );
    conv()
        .opset(7)
        .batch_norm("c", 3, &["y"])
        .int("spatial", 0)
        .declined(&PASS, "it has statistics per position, not per channel");
    conv()
        .opset(6)
        .batch_norm("c", 3, &["y"])
        .declined(&PASS, "opset 6 defines it differently; opset 7 is needed");
    conv()
        .batch_norm("c", 3, &["n"])
        .node("Add", &["n", "c"], &["y"])
        .declined(&PASS, "`c` is read by other nodes too");
    conv()
        .output("c")
        .batch_norm("c", 3, &["y"])
        .declined(&PASS, "`c` is an output of the graph");
    conv()
        .random("other", &[3])
        .random("shift", &[3])
        .random("mean", &[3])
        .positive("var", &[3])
        .node("Relu", &["other"], &["scale"])
        .node(
            "BatchNormalization",
            &["c", "scale", "shift", "mean", "var"],
            &["y"],
        )
        .declined(&PASS, "its scale `scale` is not a float32 constant");
    conv()
        .batch_norm("c", 2, &["y"])
        .declined(&PASS, "its scale `scale` has 2 elements for 3 channels");
    conv()
        .random("scale", &[3])
        .random("shift", &[3])
        .random("mean", &[3])
        .floats("var", &[3], &[1.0, -2.0, 1.0])
        .node(
            "BatchNormalization",
            &["c", "scale", "shift", "mean", "var"],
            &["y"],
        )
        .declined(
            &PASS,
            "channel 1 has no finite scale: check its variance and epsilon",
        );
}

#[test]
fn convolutions_that_cannot_take_it_are_named() {
    Network::of_image(2)
        .random("v", &[3, 2, 3, 3])
        .node("Relu", &["v"], &["w"])
        .node("Conv", &["x", "w"], &["c"])
        .batch_norm("c", 3, &["y"])
        .declined(&PASS, "`w` of the convolution is not constant");
    let half = Tensor::from_raw(DataType::F16, vec![3, 2, 1, 1], vec![0; 12].into()).unwrap();
    Network::of_image(2)
        .tensor("w", half)
        .node("Conv", &["x", "w"], &["c"])
        .batch_norm("c", 3, &["y"])
        .declined(&PASS, "`w` of the convolution is float16, not float32");
    Network::of_image(2)
        .conv("x", "w", &[3, 2, 3, 3], "b", "c")
        .int("group", 2)
        .batch_norm("c", 3, &["y"])
        .declined(
            &PASS,
            "the shape of the weights contradicts the number of groups",
        );
    Network::of_image(2)
        .random("w", &[3, 2, 3, 3])
        .random("b", &[2])
        .node("Conv", &["x", "w", "b"], &["c"])
        .batch_norm("c", 3, &["y"])
        .declined(&PASS, "the bias has not one element per output channel");
    Network::of_image(1)
        .floats("w", &[1, 1, 1, 1], &[1e38])
        .node("Conv", &["x", "w"], &["c"])
        .floats("scale", &[1], &[100.0])
        .random("shift", &[1])
        .random("mean", &[1])
        .positive("var", &[1])
        .node(
            "BatchNormalization",
            &["c", "scale", "shift", "mean", "var"],
            &["y"],
        )
        .declined(&PASS, "a folded weight would not be finite");
}
