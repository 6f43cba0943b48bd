//! The rules, one file each, and what several of them need.

mod circular_padding;
mod cumulative_sum;
mod data_dependent_sampling;
mod dynamic_quantization;
mod global_average;
mod global_extremum;
mod group_norm;
mod half_accumulation;
mod half_constant_overflow;
mod half_epsilon_underflow;
mod half_weight_overflow;
mod in_graph_padding;
mod instance_norm;
mod random_noise;
mod size_dependent_resize;
mod spatial_layer_norm;
mod spatial_softmax;
mod spatial_vector_norm;
mod tile_alignment;
mod tile_halo;
mod training_batch_norm;

pub use dynamic_quantization::dynamic_quantization;

use tilecast_onnx::proto::NodeProto;

use crate::lint::{LintContext, Rule};

/// All rules, in the order of their codes.
pub static RULES: &[&dyn Rule] = &[
    &tile_halo::TileHalo,
    &tile_alignment::TileAlignment,
    &size_dependent_resize::SizeDependentResize,
    &circular_padding::CircularPadding,
    &in_graph_padding::InGraphPadding,
    &training_batch_norm::TrainingBatchNorm,
    &instance_norm::InstanceNorm,
    &group_norm::GroupNorm,
    &spatial_layer_norm::SpatialLayerNorm,
    &global_average::GlobalAverage,
    &global_extremum::GlobalExtremum,
    &spatial_vector_norm::SpatialVectorNorm,
    &spatial_softmax::SpatialSoftmax,
    &cumulative_sum::CumulativeSum,
    &data_dependent_sampling::DataDependentSampling,
    &random_noise::RandomNoise,
    &dynamic_quantization::DynamicQuantization,
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

/// Whether a global pool or a reduction reduces rows or columns.
fn reduces_positions(cx: &LintContext<'_>, node: &NodeProto) -> bool {
    let Some(x) = node.input_name(0) else {
        return false;
    };
    if node.op().starts_with("Global") {
        return cx.has_positions(x);
    }
    let axes = match node.input_name(1) {
        Some(axes) => cx.constant_integers(axes),
        None => node.ints("axes").ok().flatten().map(<[i64]>::to_vec),
    };
    match axes.filter(|axes| !axes.is_empty()) {
        Some(axes) => covers_positions(cx, x, &axes),
        None if node.int("noop_with_empty_axes").ok().flatten().unwrap_or(0) != 0 => false,
        None => cx.has_positions(x),
    }
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
