//! The one table from operator name to its effect on pixels (default domain). What is not in it is refused by name.

mod arrange;
mod contraction;
mod pointwise;
mod resample;
mod statistics;
mod window;

use super::TilingClass;
use super::axis_map::{AxisMap, Path};
use super::error::Refusal;
use super::layout::{Digit, Factor, Layout};
use super::ratio::Ratio;
use super::trace::{Effect, Site};

/// What a node does to the pixels among its inputs.
pub(super) fn effect(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    if !site.node.domain_name().is_empty() {
        return refuse();
    }
    match site.node.op() {
        "Conv" | "ConvInteger" | "QLinearConv" => window::conv(site),
        "ConvTranspose" => window::conv_transpose(site),
        "MaxPool" | "AveragePool" | "LpPool" => window::pool(site),

        "DepthToSpace" => window::depth_to_space(site),
        "SpaceToDepth" => window::space_to_depth(site),
        "Resize" | "Upsample" => resample::resize(site),
        // Where they read is decided by data, or what they give by chance.
        "GridSample" | "DeformConv" | "RandomNormalLike" | "RandomUniformLike" | "Bernoulli" => {
            Ok(Effect::moves(site.layout(0)?).in_class(TilingClass::E))
        }

        "Pad" => window::pad(site),
        "Slice" => window::slice(site),
        "Split" => arrange::along_channels(site, 0),
        "TopK" => arrange::along_channels(site, -1),
        "Concat" => arrange::concat(site),
        "Transpose" => arrange::transpose(site),
        "Squeeze" => arrange::squeeze(site),
        "Unsqueeze" => arrange::unsqueeze(site),
        "Reshape" | "Flatten" => arrange::reshape(site),
        "Expand" => arrange::expand(site),
        "Tile" => arrange::tile(site),
        "Gather" => arrange::gather(site),

        "MatMul" => contraction::mat_mul(site),
        "Gemm" => contraction::gemm(site),
        "Einsum" => contraction::einsum(site),

        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => statistics::global_pool(site),
        "ReduceMean" | "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp"
        | "ReduceSumSquare" | "ReduceSum" | "ReduceProd" | "ReduceMin" | "ReduceMax" => {
            statistics::reduce(site)
        }
        "ArgMax" | "ArgMin" => statistics::arg(site),
        "Softmax" | "LogSoftmax" | "Hardmax" => statistics::softmax(site),
        "LayerNormalization" | "RMSNormalization" => statistics::layer_norm(site),
        "MeanVarianceNormalization" => statistics::mean_variance(site),
        "LpNormalization" => statistics::lp_norm(site),
        "LRN" => statistics::local_response(site),
        "BatchNormalization" => statistics::batch_norm(site),
        "InstanceNormalization" | "GroupNormalization" => statistics::instance_norm(site),
        "DynamicQuantizeLinear" => {
            Ok(Effect::reads(site.only_layout()?, Default::default()).in_class(TilingClass::C))
        }
        "CumSum" => statistics::cumulative_sum(site),
        "Dropout" => pointwise::dropout(site),
        op if pointwise::is_pointwise(op) => pointwise::broadcast(site),
        _ => refuse(),
    }
}

fn refuse<T>() -> Result<T, Refusal> {
    // The path that the error starts with names the operator.
    Err(Refusal::unsupported(
        "the effect of this operator on tiles is not known; run the model on whole images, or replace the operator",
    ))
}

/// The operand with rows and columns on one axis each and channels without positions, and its row and column axis; the
/// paths lead from there to the operand as it is.
fn as_grid(site: &Site<'_, '_>) -> Result<(Layout, [usize; 2], [Path; 2]), Refusal> {
    let layout = site.only_layout()?;
    let other = |axis: &usize| {
        !(0..2).any(|side| {
            layout
                .digits(side)
                .any(|(a, d)| a == *axis && d.is_leading())
        })
    };
    let channels: Vec<usize> = (0..layout.axes.len()).filter(other).collect();
    let (layout, paths) = layout.settled(&channels)?;
    let axes = layout.grid_axes().ok_or_else(|| {
        Refusal::unsupported(
            "rows and columns are not one axis each here, and its effect on tiles is not known for other layouts",
        )
    })?;
    Ok((layout, axes, paths))
}

/// As [`as_grid`], in the axis order [N, C, rows, columns], which windows and the like are defined on.
fn as_nchw(site: &Site<'_, '_>) -> Result<(Layout, [Path; 2]), Refusal> {
    let (layout, axes, paths) = as_grid(site)?;
    if axes == [2, 3] && layout.axes.len() == 4 {
        return Ok((layout, paths));
    }
    Err(Refusal::unsupported(format!(
        "rows and columns are its axes {} and {}; only [N, C, rows, columns] is supported here",
        axes[0], axes[1]
    )))
}

/// The effect of these maps on a grid of rows and columns.
fn resampled(
    mut layout: Layout,
    axes: [usize; 2],
    maps: [AxisMap; 2],
    inner: [Path; 2],
) -> Result<Effect, Refusal> {
    let mut paths = inner;
    for side in 0..2 {
        let stride = maps[side].stride().zip(layout.stride[side]);
        let stride = stride.and_then(|(a, b): (Ratio, Ratio)| a.times(b));
        layout.stride[side] =
            Some(stride.ok_or_else(|| Refusal::unsupported("its stride is too large"))?);
        // The extent is that of the shape, which the walk fills in.
        let extent = layout.axes[axes[side]]
            .first()
            .map_or([0, 1], |f| f.extent());
        layout.axes[axes[side]] = vec![Factor::Digit(Digit {
            side,
            unit: 1,
            extent,
        })];
        paths[side] = Path::from(maps[side]).followed_by(std::mem::take(&mut paths[side]));
    }
    Ok(Effect::reads(layout, paths))
}

/// An axis counted from the end where negative.
fn resolve(axis: i64, rank: usize) -> Result<usize, Refusal> {
    let resolved = if axis < 0 {
        axis.checked_add(rank as i64)
    } else {
        Some(axis)
    };
    resolved
        .and_then(|a| usize::try_from(a).ok())
        .filter(|&a| a < rank)
        .ok_or_else(|| Refusal::unsupported(format!("its axis {axis} is out of range")))
}

fn resolve_all(axes: &[i64], rank: usize) -> Result<Vec<usize>, Refusal> {
    axes.iter().map(|&axis| resolve(axis, rank)).collect()
}

/// Integers from an attribute, or from an input that does not depend on the image.
fn constant_integers(
    site: &Site<'_, '_>,
    attribute: &str,
    slot: usize,
) -> Result<Option<Vec<i64>>, Refusal> {
    match site.node.input_name(slot) {
        None => Ok(site.node.ints(attribute)?.map(<[i64]>::to_vec)),
        Some(name) => match site.probes.constant_integers(name) {
            Some(integers) => Ok(Some(integers.to_vec())),
            None => Err(Refusal::size_dependent(format!(
                "its input {slot} (`{attribute}`) is unknown or depends on the size of the image"
            ))),
        },
    }
}
