//! The one table from operator name to its effect on pixels (default domain). What is not in it is refused by name.

mod layout;
mod pointwise;
mod resample;
mod statistics;
mod window;

use super::TilingClass;
use super::axis_map::AxisMap;
use super::error::Refusal;
use super::trace::{Effect, Grid, Motion, Site};

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
            unbounded(site, TilingClass::E)
        }

        "Pad" => layout::pad(site),
        "Slice" => layout::slice(site),
        "Split" => layout::along_other_axis(site, 0),
        "TopK" => layout::along_other_axis(site, -1),
        "Concat" => layout::concat(site),
        "Transpose" => layout::transpose(site),
        "Squeeze" => layout::squeeze(site),
        "Unsqueeze" => layout::unsqueeze(site),
        "Gather" => layout::gather(site),
        "MatMul" => pointwise::mat_mul(site),

        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => Ok(Effect::Reduction),
        "ReduceMean" | "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp"
        | "ReduceSumSquare" | "ReduceSum" | "ReduceProd" | "ReduceMin" | "ReduceMax" => {
            statistics::reduce(site)
        }
        "ArgMax" | "ArgMin" => statistics::arg(site),
        "Softmax" | "LogSoftmax" | "Hardmax" => statistics::softmax(site),
        "LayerNormalization" | "RMSNormalization" => statistics::layer_norm(site),
        "MeanVarianceNormalization" => statistics::mean_variance(site),
        "LpNormalization" => statistics::lp_norm(site),
        "LRN" => layout::along_other_axis(site, 1),
        "BatchNormalization" => statistics::batch_norm(site),
        "InstanceNormalization" | "GroupNormalization" | "DynamicQuantizeLinear" => {
            Ok(Effect::WithStatistics(stay(site.only_grid()?)))
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

/// Positions stay where they are.
fn stay(grid: Grid) -> Motion {
    Motion {
        axes: grid.axes,
        maps: [AxisMap::Same; 2],
    }
}

/// An operator that reads pixels from anywhere.
fn unbounded(site: &Site<'_, '_>, class: TilingClass) -> Result<Effect, Refusal> {
    let grid = site
        .grid(0)
        .ok_or_else(|| Refusal::unsupported("its input 0 carries no pixels"))?;
    Ok(Effect::Unbounded(class, stay(grid)))
}

/// Requires the axis order [N, C, rows, columns], which windows and the like are defined on.
fn require_nchw(grid: Grid) -> Result<(), Refusal> {
    if grid.axes == [2, 3] {
        return Ok(());
    }
    Err(Refusal::unsupported(format!(
        "rows and columns are its axes {} and {}; only [N, C, rows, columns] is supported here",
        grid.axes[0], grid.axes[1]
    )))
}

/// An axis counted from the end where negative.
fn resolve(axis: i64, rank: usize) -> Result<usize, Refusal> {
    let resolved = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(resolved)
        .ok()
        .filter(|&a| a < rank)
        .ok_or_else(|| Refusal::unsupported(format!("its axis {axis} is out of range")))
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
