//! Passes that change what a model computes, on purpose: what they rewrite, what it is then, and what they decline.

use crate::common::{Network, Size, ops, run};
use tilecast_onnx::Model;
use tilecast_passes::{FreezeBatchNorm, MakeResizeExplicit, Pass, PoolInWindows, run_pass};

/// The model after a pass that declines nothing.
#[track_caller]
fn rewritten(network: &Network, pass: &dyn Pass) -> Model {
    let mut model = network.build();
    let report = run_pass(pass, &mut model).unwrap();
    assert_eq!(report.declined, []);
    assert!(report.changed);
    let again = run_pass(pass, &mut model.clone()).unwrap();
    assert!(!again.changed, "a second run changed something");
    model
}

fn windows(window_px: usize) -> PoolInWindows {
    PoolInWindows {
        window_px,
        alignment_px: 1,
    }
}

/// Channel attention: `y = x * sigmoid(w p)` with the mean `p` of `x`.
fn attention(op: &str) -> Network {
    let network = Network::of_image(3);
    let network = if op == "ReduceMean" {
        network.node(op, &["x"], &["p"]).ints("axes", &[2, 3])
    } else {
        network.node(op, &["x"], &["p"])
    };
    network
        .conv("p", "w", &[3, 3, 1, 1], "b", "q")
        .node("Sigmoid", &["q"], &["s"])
        .node("Mul", &["x", "s"], &["y"])
}

#[test]
fn a_mean_over_the_image_becomes_one_over_a_window() {
    for op in ["GlobalAveragePool", "ReduceMean"] {
        let after = rewritten(&attention(op), &windows(4));
        assert_eq!(
            ops(&after),
            ["AveragePool", "AveragePool", "Conv", "Sigmoid", "Mul"]
        );
    }
}

#[test]
fn windows_are_cut_off_at_the_border_and_mean_what_is_inside() {
    let network = Network::of_image(1)
        .node("GlobalAveragePool", &["x"], &["p"])
        .scalar("one", 1.0)
        .node("Mul", &["p", "one"], &["q"])
        .node("Sub", &["x", "q"], &["y"]);
    let (n_rows, n_columns) = (7, 10);
    let dims = [1, 1, n_rows, n_columns];
    let identity = Network::of_image(1).node("Identity", &["x"], &["y"]);
    let x = run(&identity.build(), &dims).remove(0).into_data();
    for window in [1, 2, 3, 6, 50] {
        let after = rewritten(&network, &windows(window));
        let y = run(&after, &dims).remove(0).into_data();
        let (before, behind) = ((window - 1) / 2, window / 2);
        for row in 0..n_rows {
            for column in 0..n_columns {
                let rows = row.saturating_sub(before)..(row + behind + 1).min(n_rows);
                let mut sum = 0.0;
                let mut n = 0.0;
                for r in rows {
                    for c in column.saturating_sub(before)..(column + behind + 1).min(n_columns) {
                        sum += f64::from(x[r * n_columns + c]);
                        n += 1.0;
                    }
                }
                let at = row * n_columns + column;
                let expected = f64::from(x[at]) - sum / n;
                let difference = (f64::from(y[at]) - expected).abs();
                assert!(
                    difference < 1e-5,
                    "window {window} at ({row}, {column}): {} instead of {expected}",
                    y[at]
                );
            }
        }
    }
}

#[test]
fn a_window_has_as_many_positions_as_the_resolution_leaves_it() {
    let network = Network::of_image(3)
        .conv("x", "v", &[4, 3, 2, 2], "", "h")
        .ints("strides", &[2, 2])
        .node("GlobalAveragePool", &["h"], &["p"])
        .node("Mul", &["h", "p"], &["y"]);
    let pass = PoolInWindows {
        window_px: 12,
        alignment_px: 2,
    };
    let after = rewritten(&network, &pass);
    let pools = after.graph_proto().node.iter();
    let pools = pools.filter(|n| n.is("AveragePool"));
    let kernels: Vec<_> = pools
        .map(|n| n.ints("kernel_shape").unwrap().unwrap().to_vec())
        .collect();
    assert_eq!(kernels, [[6, 1], [1, 6]]);
}

#[test]
fn a_mean_that_is_read_as_one_value_stays_one() {
    let flattened = Network::of_image(3)
        .node("GlobalAveragePool", &["x"], &["p"])
        .node("Flatten", &["p"], &["y"]);
    flattened.declined(
        &windows(4),
        "g/node \"n1\" (Flatten) takes one value for the whole image, and no value per position",
    );
    let output = Network::of_image(3).node("GlobalAveragePool", &["x"], &["y"]);
    output.declined(&windows(4), "`y` is an output of the graph");
    let no_axes = Network::of_image(3)
        .node("ReduceMean", &["x"], &["p"])
        .ints("axes", &[2, 3])
        .int("keepdims", 0)
        .node("Relu", &["p"], &["y"]);
    no_axes.declined(
        &windows(4),
        "its result `p` has no axes for rows and columns, or no channels of their own",
    );
    // Means over channels are nobody's business here.
    let channels = Network::of_image(3)
        .node("ReduceMean", &["x"], &["m"])
        .ints("axes", &[1])
        .node("Sub", &["x", "m"], &["y"]);
    channels.ignored(&windows(4));
}

/// Batch normalization in training mode of an image with three channels.
fn trained(mean: &[f32; 3], variance: &[f32; 3]) -> Network {
    Network::of_image(3)
        .random("scale", &[3])
        .random("shift", &[3])
        .floats("mean", &[3], mean)
        .floats("var", &[3], variance)
        .node(
            "BatchNormalization",
            &["x", "scale", "shift", "mean", "var"],
            &["y", "new_mean", "new_var"],
        )
        .int("training_mode", 1)
}

#[test]
fn measured_statistics_take_the_place_of_those_of_the_input() {
    let after = rewritten(
        &trained(&[0.1, -0.2, 0.3], &[0.5, 1.5, 0.8]),
        &FreezeBatchNorm,
    );
    let expected = Network::of_image(3)
        .random("scale", &[3])
        .random("shift", &[3])
        .floats("mean", &[3], &[0.1, -0.2, 0.3])
        .floats("var", &[3], &[0.5, 1.5, 0.8])
        .node(
            "BatchNormalization",
            &["x", "scale", "shift", "mean", "var"],
            &["y"],
        );
    let dims = [1, 3, 7, 10];
    assert_eq!(run(&after, &dims), run(&expected.build(), &dims));
}

#[test]
fn batch_norms_without_measured_statistics_are_left_in_training_mode() {
    trained(&[0.0; 3], &[1.0; 3]).declined(
        &FreezeBatchNorm,
        "its running mean is 0 and its running variance 1 everywhere: they were never measured, and nothing but its input \
         tells the statistics",
    );
    trained(&[0.0, f32::NAN, 0.0], &[1.0; 3])
        .declined(&FreezeBatchNorm, "its running statistics are not finite");
    trained(&[0.1; 3], &[1.0; 3])
        .node("Neg", &["new_mean"], &["z"])
        .output("z")
        .declined(
            &FreezeBatchNorm,
            "its updated statistics `new_mean` are read",
        );
    let inference = Network::of_image(3)
        .random("scale", &[3])
        .random("shift", &[3])
        .random("mean", &[3])
        .positive("var", &[3])
        .node(
            "BatchNormalization",
            &["x", "scale", "shift", "mean", "var"],
            &["y"],
        );
    inference.ignored(&FreezeBatchNorm);
}

/// `Resize` with `align_corners` from `[1, 2, 5, 6]` by these factors.
fn aligned(height: Size, scales: [f32; 2], mode: &str) -> Network {
    Network::of(&[Size::Fixed(1), Size::Fixed(2), height, Size::Fixed(6)])
        .floats("scales", &[4], &[1.0, 1.0, scales[0], scales[1]])
        .node("Resize", &["x", "", "scales"], &["y"])
        .string("mode", mode)
        .string("coordinate_transformation_mode", "align_corners")
}

#[test]
fn aligned_corners_are_two_products_in_a_model_of_fixed_size() {
    for (scales, operators) in [
        ([2.0, 2.0], vec!["MatMul", "MatMul"]),
        ([3.0, 1.0], vec!["MatMul"]),
        ([1.0, 1.5], vec!["MatMul"]),
        ([0.4, 0.5], vec!["MatMul", "MatMul"]),
        ([1.0, 1.0], vec!["Identity"]),
    ] {
        aligned(Size::Fixed(5), scales, "linear").becomes(&MakeResizeExplicit, &operators);
    }
}

#[test]
fn aligned_corners_of_a_model_of_open_size_are_left_alone() {
    aligned(Size::Open(5), [2.0, 2.0], "linear").declined(
        &MakeResizeExplicit,
        "its sampling points depend on the size of the image, which the model leaves open: bind the model to a size first",
    );
    aligned(Size::Fixed(5), [2.0, 2.0], "cubic").declined(
        &MakeResizeExplicit,
        "it interpolates by `cubic`, not linearly",
    );
    let half_pixel = Network::of_image(2)
        .floats("scales", &[4], &[1.0, 1.0, 2.0, 2.0])
        .node("Resize", &["x", "", "scales"], &["y"])
        .string("mode", "linear");
    half_pixel.ignored(&MakeResizeExplicit);
}
