//! The rules, one file each, and what several of them need.

mod adaptive_pooling;
mod batch_statistics;
mod circular_padding;
mod coordinate_grid;
mod cumulative_sum;
mod data_dependent_sampling;
mod dynamic_quantization;
mod fixed_output_size;
mod fourier_transform;
mod fractional_resize;
mod frozen_resize;
mod frozen_size;
mod frozen_window_mask;
mod global_average;
mod global_extremum;
mod grid_attention;
mod group_norm;
mod half_accumulation;
mod half_constant_overflow;
mod half_epsilon_underflow;
mod half_weight_overflow;
mod image_statistics;
mod in_graph_padding;
mod instance_norm;
mod local_converter;
mod pixel_unshuffle;
mod position_embedding;
mod position_selection;
mod random_noise;
mod size_dependent_pooling;
mod size_dependent_resize;
mod size_multiple;
mod spatial_gram;
mod spatial_layer_norm;
mod spatial_softmax;
mod spatial_vector_norm;
mod tile_alignment;
mod tile_halo;
mod training_batch_norm;
mod window_attention;

pub use dynamic_quantization::dynamic_quantization;

use tilecast_onnx::proto::NodeProto;

use crate::lint::{LintContext, Rule};

/// All rules, in the order of their codes.
pub static RULES: &[&dyn Rule] = &[
    &tile_halo::TileHalo,
    &tile_alignment::TileAlignment,
    &size_dependent_pooling::SizeDependentPooling,
    &pixel_unshuffle::PixelUnshuffle,
    &fixed_output_size::FixedOutputSize,
    &fractional_resize::FractionalResize,
    &size_dependent_resize::SizeDependentResize,
    &frozen_resize::FrozenResize,
    &circular_padding::CircularPadding,
    &in_graph_padding::InGraphPadding,
    &training_batch_norm::TrainingBatchNorm,
    &instance_norm::InstanceNorm,
    &group_norm::GroupNorm,
    &spatial_layer_norm::SpatialLayerNorm,
    &global_average::GlobalAverage,
    &global_extremum::GlobalExtremum,
    &adaptive_pooling::AdaptivePooling,
    &local_converter::LocalConverter,
    &spatial_vector_norm::SpatialVectorNorm,
    &spatial_gram::SpatialGram,
    &spatial_softmax::SpatialSoftmax,
    &window_attention::WindowAttention,
    &frozen_window_mask::FrozenWindowMask,
    &grid_attention::GridAttention,
    &fourier_transform::FourierTransform,
    &position_embedding::PositionEmbedding,
    &coordinate_grid::CoordinateGrid,
    &frozen_size::FrozenSize,
    &size_multiple::SizeMultiple,
    &cumulative_sum::CumulativeSum,
    &data_dependent_sampling::DataDependentSampling,
    &position_selection::PositionSelection,
    &random_noise::RandomNoise,
    &dynamic_quantization::DynamicQuantization,
    &image_statistics::ImageStatistics,
    &batch_statistics::BatchStatistics,
    &half_weight_overflow::HalfWeightOverflow,
    &half_constant_overflow::HalfConstantOverflow,
    &half_epsilon_underflow::HalfEpsilonUnderflow,
    &half_accumulation::HalfAccumulation,
];

/// What to do about statistics that come from the tile.
const STATISTICS_HELP: &str = "share the statistics of the whole image among tiles, use tiles about as large as the \
    training crops, or run the image whole; overlap does not help";

/// Whether a `BatchNormalization` normalizes with the statistics of its input.
pub(crate) fn is_training_batch_norm(node: &NodeProto) -> bool {
    // From opset 14 on the attribute says so; before, the presence of the updated statistics among the outputs.
    let by_attribute = node.int("training_mode").ok().flatten().unwrap_or(0) != 0;
    by_attribute || (1..node.output.len()).any(|slot| node.output_name(slot).is_some())
}

/// Whether the first input has rows or columns of the image.
fn reads_positions(cx: &LintContext<'_>, node: &NodeProto) -> bool {
    node.input_name(0).is_some_and(|x| cx.has_positions(x))
}

/// Whether one of these axes, counted from the end where negative, holds rows or columns.
fn covers_positions(cx: &LintContext<'_>, value: &str, axes: &[i64]) -> bool {
    // Images have four axes; that is the guess where the shape is not known.
    let rank = cx.rank(value).unwrap_or(4) as i64;
    axes.iter().any(|&axis| {
        let axis = if axis < 0 { axis + rank } else { axis };
        usize::try_from(axis).is_ok_and(|axis| cx.is_position_axis(value, axis))
    })
}

/// Reductions over axes, and pools over all positions.
const POSITION_REDUCTIONS: &[&str] = &[
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GlobalLpPool",
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "ReduceMin",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceProd",
];

/// Axes that a reduction names, from the front; `None` where they are not known or it names none.
fn reduced_axes(cx: &LintContext<'_>, node: &NodeProto) -> Option<Vec<usize>> {
    let rank = cx.rank(node.input_name(0)?).unwrap_or(4) as i64;
    let axes = match node.input_name(1) {
        Some(axes) => cx.constant_integers(axes)?,
        None => node.ints("axes").ok()??.to_vec(),
    };
    let from_front = axes.iter().map(|&a| if a < 0 { a + rank } else { a });
    let axes: Vec<usize> = from_front.filter_map(|a| usize::try_from(a).ok()).collect();
    (!axes.is_empty()).then_some(axes)
}

/// Whether a global pool or a reduction reduces rows or columns.
fn reduces_positions(cx: &LintContext<'_>, node: &NodeProto) -> bool {
    let Some(x) = node.input_name(0) else {
        return false;
    };
    if node.op().starts_with("Global") {
        return cx.has_positions(x);
    }
    match reduced_axes(cx, node) {
        Some(axes) => axes.iter().any(|&axis| cx.is_position_axis(x, axis)),
        None if node.int("noop_with_empty_axes").ok().flatten().unwrap_or(0) != 0 => false,
        None => cx.has_positions(x),
    }
}

/// Whether a node reduces an input of the graph, and what it leaves scales or shifts that same input: an image that is
/// normalized by its own statistics.
fn normalizes_image(cx: &LintContext<'_>, node: &NodeProto) -> bool {
    let of_image = node.input_name(0).is_some_and(|x| is_image_itself(cx, x));
    let mut value = node.output_name(0);
    for _ in 0..MAX_CHAIN {
        let Some(name) = value.filter(|_| of_image) else {
            return false;
        };
        let users = cx
            .graph()
            .uses(name)
            .iter()
            .map(|used| cx.graph().node(used.node));
        let users: Vec<&NodeProto> = users.filter(|n| ELEMENTWISE.contains(&n.op())).collect();
        let meets = |n: &&NodeProto| {
            n.input
                .iter()
                .any(|x| x != name && cx.has_positions(x) && is_image_itself(cx, x))
        };
        if users.iter().any(meets) {
            return true;
        }
        value = users.first().and_then(|n| n.output_name(0));
    }
    false
}

/// Scaling, clipping, centring: what graphs do to an image before they look at it.
const ELEMENTWISE: &[&str] = &[
    "Identity",
    "Cast",
    "Mul",
    "Div",
    "Add",
    "Sub",
    "Abs",
    "Clip",
    "Pow",
    "Sqrt",
    "Reciprocal",
    "Max",
];

/// A chain of such operators is no longer than this.
const MAX_CHAIN: usize = 16;

/// Whether a value is an input of the graph, apart from such operators.
fn is_image_itself(cx: &LintContext<'_>, value: &str) -> bool {
    let mut value = Some(value);
    for _ in 0..MAX_CHAIN {
        let Some(name) = value else { return false };
        match cx.graph().producer_node(name) {
            None => return cx.graph().inputs().any(|i| i.name.as_deref() == Some(name)),
            Some(node) if ELEMENTWISE.contains(&node.op()) => {
                let mut pixels = (0..node.input.len()).filter_map(|slot| node.input_name(slot));
                value = pixels.find(|name| {
                    cx.has_positions(name) && cx.graph().constant(name).ok().flatten().is_none()
                });
            }
            Some(_) => return false,
        }
    }
    false
}

/// Whether a running sum over positions continues one along the other axis: two of them make box means.
fn is_box_mean(cx: &LintContext<'_>, node: &NodeProto) -> bool {
    let over = |node: &NodeProto| -> Option<Vec<i64>> {
        let axes = cx.constant_integers(node.input_name(1)?)?;
        covers_positions(cx, node.input_name(0)?, &axes).then_some(axes)
    };
    let before = node.input_name(0).and_then(|x| cx.graph().producer_node(x));
    match (over(node), before.filter(|n| n.is("CumSum")).and_then(over)) {
        (Some(second), Some(first)) => second != first,
        _ => false,
    }
}

/// Whether a running sum is the first of the two that make box means.
fn begins_box_mean(cx: &LintContext<'_>, node: &NodeProto) -> bool {
    let sum = node.output_name(0).and_then(|y| cx.graph().only_use(y));
    let next = sum.map(|used| cx.graph().node(used.node));
    next.is_some_and(|n| n.is("CumSum") && is_box_mean(cx, n))
}

/// Whether an `InstanceNormalization` stands between two `Reshape`s, as exporters write a group normalization.
fn is_group_norm_pattern(cx: &LintContext<'_>, node: &NodeProto) -> bool {
    let reshapes = |n: Option<&NodeProto>| n.is_some_and(|n| n.is("Reshape"));
    let before = node.input_name(0).and_then(|x| cx.graph().producer_node(x));
    let after = node
        .output_name(0)
        .and_then(|y| cx.graph().only_use(y))
        .map(|u| cx.graph().node(u.node));
    reshapes(before) && reshapes(after)
}
