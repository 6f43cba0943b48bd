//! Convolutions, pools and pixel shuffles; padding and slicing.

use tilecast_onnx::ShapeMap;

use super::super::TilingClass;
use super::super::error::Refusal;
use super::super::layout::Layout;
use super::super::trace::{Effect, Mixing, Site};
use super::{arrange, as_nchw, constant_integers, resampled, resolve_all};
use crate::halo::axis_map::{AxisMap, Path};

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
    // One position at a time: in any layout, of tokens too.
    let all = |name: &str, value: i64| -> Result<bool, Refusal> {
        Ok(site
            .node
            .ints(name)?
            .unwrap_or_default()
            .iter()
            .all(|&v| v == value))
    };
    if kernel.iter().all(|&k| k == 1) && all("strides", 1)? && all("pads", 0)? {
        let mut effect = arrange::channels(site, 1)?;
        effect.mixing = Mixing::Any;
        return Ok(effect);
    }
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
    let (layout, paths) = as_nchw(site)?;
    let maps = windows(site, kernel)?.map(|w| AxisMap::Window {
        stride: w.stride,
        begin: w.begin,
        reach: w.reach,
    });
    resampled(layout, [2, 3], maps, paths)
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
    let (layout, paths) = as_nchw(site)?;
    let maps = windows(site, &kernel)?.map(|w| AxisMap::Transposed {
        stride: w.stride,
        begin: w.begin,
        reach: w.reach,
    });
    resampled(layout, [2, 3], maps, paths)
}

fn is_same(site: &Site<'_, '_>) -> Result<bool, Refusal> {
    let mode = site.node.string("auto_pad")?.unwrap_or("NOTSET");
    Ok(mode.starts_with("SAME"))
}

fn windows(site: &Site<'_, '_>, kernel: &[usize]) -> Result<[Window; 2], Refusal> {
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
    let (layout, paths) = as_nchw(site)?;
    let factor = block(site)?;
    resampled(layout, [2, 3], [AxisMap::Spread { factor }; 2], paths)
}

pub(super) fn space_to_depth(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let (layout, paths) = as_nchw(site)?;
    let factor = block(site)?;
    resampled(layout, [2, 3], [AxisMap::Gathered { factor }; 2], paths)
}

fn block(site: &Site<'_, '_>) -> Result<i128, Refusal> {
    Ok(site.node.int("blocksize")?.unwrap_or(1).max(1).into())
}

pub(super) fn pad(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let rank = site.dims(0)?.len();
    let pads = constant_integers(site, "pads", 1)?
        .ok_or_else(|| Refusal::unsupported("its pads are unknown"))?;
    let axes = match constant_integers(site, "axes", 3)? {
        Some(axes) => resolve_all(&axes, rank)?,
        None => (0..rank).collect(),
    };
    let padded = |axis: usize| -> Option<(i64, i64)> {
        let position = axes.iter().position(|&a| a == axis)?;
        let end = pads.get(position + axes.len())?;
        Some((*pads.get(position)?, *end)).filter(|&p| p != (0, 0))
    };
    let moved: Vec<(usize, AxisMap)> = (0..rank)
        .filter_map(|axis| Some((axis, shifted(-i128::from(padded(axis)?.0), 1))))
        .collect();
    let mut effect = along_axes(site, &moved)?;
    // The opposite border of the image is not in the tile.
    let is_wrapped = site.node.string("mode")? == Some("wrap");
    let layout = site.only_layout()?;
    if is_wrapped && moved.iter().any(|&(axis, _)| layout.follows_image(axis)) {
        effect.class = Some(TilingClass::D);
    }
    // What is read beyond the border is no pixel of the image, and so no shift.
    effect.mixing = Mixing::Any;
    Ok(effect)
}

fn shifted(start: i128, step: i128) -> AxisMap {
    if (start, step) == (0, 1) {
        AxisMap::Same
    } else {
        AxisMap::Strided { start, step }
    }
}

/// Slices of rows and columns must start at the same position for every size; where they end is checked by the growth of
/// the output.
pub(super) fn slice(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let layout = site.only_layout()?;
    let rank = layout.axes.len();
    let unknown = |what: &str| Refusal::size_dependent(format!("its {what} are unknown"));
    let small = bounds(site, &site.probes.small).ok_or_else(|| unknown("starts or steps"))?;
    let large = bounds(site, &site.probes.large).ok_or_else(|| unknown("starts or steps"))?;
    let axes = match constant_integers(site, "axes", 3)? {
        Some(axes) => resolve_all(&axes, rank)?,
        None => (0..small.0.len().min(rank)).collect(),
    };
    let start_of = |starts: &[i64], position: usize, length: usize| -> Option<i128> {
        let start = i128::from(*starts.get(position)?);
        let length = length as i128;
        let from_front = if start < 0 { start + length } else { start };
        Some(from_front.clamp(0, length))
    };
    let (input, output) = (site.input_extents(0)?, site.output_extents(0)?);
    let mut moved = Vec::new();
    for (position, &axis) in axes.iter().enumerate() {
        if !layout.follows_image(axis) {
            if input.get(axis) != output.get(axis) || small.1.get(position) != Some(&1) {
                moved.push((axis, AxisMap::Same));
            }
            continue;
        }
        let [length, longer] = input[axis];
        let start = start_of(&small.0, position, length);
        let step = small.1.get(position).copied().unwrap_or(1);
        if start.is_none() || start != start_of(&large.0, position, longer) || step <= 0 {
            return Err(Refusal::size_dependent(
                "it reverses rows or columns, or counts them from the far border",
            ));
        }
        let map = shifted(start.unwrap_or(0), step.into());
        if map != AxisMap::Same {
            moved.push((axis, map));
        }
    }
    along_axes(site, &moved)
}

/// Starts and steps.
fn bounds(site: &Site<'_, '_>, shapes: &ShapeMap) -> Option<(Vec<i64>, Vec<i64>)> {
    let starts = match site.node.input_name(1) {
        Some(name) => shapes.integers(name)?.to_vec(),
        None => site.node.ints("starts").ok()??.to_vec(),
    };
    let steps = match site.node.input_name(4) {
        Some(name) => shapes.integers(name)?.to_vec(),
        None => vec![1; starts.len()],
    };
    Some((starts, steps))
}

/// The effect of maps along single axes: rows and columns must be one axis each, and other axes lose their positions.
fn along_axes(site: &Site<'_, '_>, moved: &[(usize, AxisMap)]) -> Result<Effect, Refusal> {
    let layout = site.only_layout()?;
    let is_channels = |axis: &usize| !layout.follows_image(*axis);
    let channels: Vec<usize> = moved
        .iter()
        .map(|&(axis, _)| axis)
        .filter(is_channels)
        .collect();
    let (mut layout, mut paths): (Layout, [Path; 2]) = layout.settled(&channels)?;
    for &(axis, map) in moved.iter().filter(|(axis, _)| !channels.contains(axis)) {
        let alone = |side: &usize| {
            let digits: Vec<_> = layout.digits(*side).collect();
            matches!(digits.as_slice(), [(a, d)] if *a == axis && d.unit == 1)
                && layout.axes[axis].len() == 1
        };
        let side = [0, 1].into_iter().find(alone).ok_or_else(|| {
            Refusal::size_dependent(format!(
                "it cuts or extends its axis {axis}, which holds rows or columns in windows or as tokens"
            ))
        })?;
        let stride = map.stride().zip(layout.stride[side]);
        layout.stride[side] = stride.and_then(|(a, b)| a.times(b));
        if layout.stride[side].is_none() {
            return Err(Refusal::unsupported("its stride is too large"));
        }
        paths[side] = Path::from(map).followed_by(std::mem::take(&mut paths[side]));
    }
    let mut effect = Effect::reads(layout, paths);
    effect.mixing = Mixing::None;
    Ok(effect)
}
