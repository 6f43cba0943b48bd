//! Convolutions, pools and pixel shuffles.

use super::super::error::Refusal;
use super::super::trace::{Effect, Motion, Site};
use super::require_nchw;
use crate::halo::axis_map::AxisMap;

/// Window attributes along one axis.
#[derive(Clone, Copy)]
struct Window {
    stride: i128,
    begin: i128,
    /// Positions from the first to the last that the window reads.
    reach: i128,
}

pub(super) fn conv(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let weight = if site.node.is("QLinearConv") { 3 } else { 1 };
    let kernel = site.dims(weight)?.get(2..).unwrap_or_default().to_vec();
    slide(site, &kernel)
}

pub(super) fn pool(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let kernel = site.node.ints("kernel_shape")?.unwrap_or_default();
    let kernel: Vec<usize> = kernel
        .iter()
        .filter_map(|&k| usize::try_from(k).ok())
        .collect();
    slide(site, &kernel)
}

fn slide(site: &Site<'_, '_>, kernel: &[usize]) -> Result<Effect, Refusal> {
    let windows = windows(site, kernel)?;
    Ok(Effect::Local(Motion {
        axes: [2, 3],
        maps: windows.map(|w| AxisMap::Window {
            stride: w.stride,
            begin: w.begin,
            reach: w.reach,
        }),
    }))
}

pub(super) fn conv_transpose(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    if site
        .node
        .ints("output_shape")?
        .is_some_and(|s| !s.is_empty())
    {
        return Err(Refusal::size_dependent(
            "`output_shape` fixes the size of its output; export it with explicit pads",
        ));
    }
    if is_same(site)? {
        return Err(Refusal::unsupported(
            "`auto_pad` is not supported here; export it with explicit pads",
        ));
    }
    let kernel = site.dims(1)?.get(2..).unwrap_or_default().to_vec();
    let windows = windows(site, &kernel)?;
    Ok(Effect::Local(Motion {
        axes: [2, 3],
        maps: windows.map(|w| AxisMap::Transposed {
            stride: w.stride,
            begin: w.begin,
            reach: w.reach,
        }),
    }))
}

fn is_same(site: &Site<'_, '_>) -> Result<bool, Refusal> {
    let mode = site.node.string("auto_pad")?.unwrap_or("NOTSET");
    Ok(mode.starts_with("SAME"))
}

fn windows(site: &Site<'_, '_>, kernel: &[usize]) -> Result<[Window; 2], Refusal> {
    require_nchw(site.only_grid()?)?;
    let list = |name: &str, axis: usize, default: i64| -> Result<i128, Refusal> {
        let values = site.node.ints(name)?.unwrap_or_default();
        Ok(values.get(axis).copied().unwrap_or(default).into())
    };
    let dims = site.dims(0)?;
    let mode = site.node.string("auto_pad")?.unwrap_or("NOTSET");
    let window = |axis: usize| -> Result<Window, Refusal> {
        let kernel = *kernel
            .get(axis)
            .ok_or_else(|| Refusal::unsupported("its kernel does not have two axes"))?;
        let stride = list("strides", axis, 1)?;
        let reach = list("dilations", axis, 1)? * (kernel as i128 - 1);
        // SAME pads an amount that depends on the size modulo the stride: a constant for the multiples required below.
        let same = (reach + 1 - stride).max(0);
        let begin = match mode {
            "SAME_UPPER" => same / 2,
            "SAME_LOWER" => same - same / 2,
            "VALID" => 0,
            _ => list("pads", axis, 0)?,
        };
        if mode.starts_with("SAME") && dims[axis + 2] as i128 % stride != 0 {
            return Err(Refusal::size_dependent(
                "with `auto_pad` its padding depends on the absolute size; export it with explicit pads",
            ));
        }
        Ok(Window {
            stride,
            begin,
            reach,
        })
    };
    Ok([window(0)?, window(1)?])
}

pub(super) fn depth_to_space(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let factor = block(site)?;
    Ok(Effect::Local(Motion {
        axes: [2, 3],
        maps: [AxisMap::Spread { factor }; 2],
    }))
}

pub(super) fn space_to_depth(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let factor = block(site)?;
    Ok(Effect::Local(Motion {
        axes: [2, 3],
        maps: [AxisMap::Gathered { factor }; 2],
    }))
}

fn block(site: &Site<'_, '_>) -> Result<i128, Refusal> {
    require_nchw(site.only_grid()?)?;
    Ok(site.node.int("blocksize")?.unwrap_or(1).max(1).into())
}
