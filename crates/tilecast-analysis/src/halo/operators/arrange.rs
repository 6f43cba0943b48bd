//! Operators that move elements and compute nothing.

use super::super::axis_map::Path;
use super::super::error::Refusal;
use super::super::layout::{Factor, Layout, join_operands, plain};
use super::super::trace::{Effect, Mixing, Site};
use super::{constant_integers, resolve, resolve_all};

/// Operators that work along one axis, which must have no positions.
pub(super) fn along_channels(site: &Site<'_, '_>, default: i64) -> Result<Effect, Refusal> {
    let axis = site.node.int("axis")?.unwrap_or(default);
    let axis = resolve(axis, site.dims(0)?.len())?;
    channels(site, axis)
}

/// What works along these channels, whose number the shapes tell.
pub(super) fn channels(site: &Site<'_, '_>, axis: usize) -> Result<Effect, Refusal> {
    let layout = site.only_layout()?;
    if layout.follows_image(axis) {
        return Err(along_positions(axis));
    }
    let (layout, paths) = layout.settled(&[axis])?;
    let is_still = paths.iter().all(Path::is_shift);
    let mut effect = Effect::reads(layout, paths);
    if is_still && !site.node.is("TopK") {
        effect.mixing = Mixing::None;
    }
    Ok(effect)
}

fn along_positions(axis: usize) -> Refusal {
    Refusal::unsupported(format!(
        "it works along axis {axis}, which holds rows or columns; its effect on tiles is not known"
    ))
}

pub(super) fn concat(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let rank = site.output_extents(0)?.len();
    let axis = resolve(site.node.int("axis")?.unwrap_or(1), rank)?;
    let mut joined: Option<(Layout, _)> = None;
    for slot in 0..site.node.input.len() {
        let layout = site.layout(slot)?;
        if layout.axes.len() != rank {
            return Err(Refusal::unsupported(
                "its inputs differ in their number of axes",
            ));
        }
        if layout.follows_image(axis) {
            return Err(along_positions(axis));
        }
        let (mut layout, paths) = layout.settled(&[axis])?;
        // The shapes tell how many channels there are.
        layout.axes[axis].clear();
        joined = Some(match joined {
            None => (layout, paths),
            Some((other, other_paths)) => {
                let has_paths = other.has_positions() && layout.has_positions();
                if has_paths && other_paths != paths {
                    return Err(Refusal::unsupported(
                        "it joins channels that were gathered from different neighbourhoods",
                    ));
                }
                let paths = if layout.has_positions() {
                    paths
                } else {
                    other_paths
                };
                (merged(other, &layout)?, paths)
            }
        });
    }
    let (layout, paths) = joined.ok_or_else(|| Refusal::unsupported("it has no inputs"))?;
    let mut effect = Effect::reads(layout, paths);
    effect.mixing = Mixing::None;
    Ok(effect)
}

/// One layout of operands that have the same axes.
pub(super) fn merged(mut a: Layout, b: &Layout) -> Result<Layout, Refusal> {
    for side in 0..2 {
        let (fine, coarse) = (a.stride[side], b.stride[side]);
        if fine.is_some() && coarse.is_some() && fine != coarse {
            return Err(Refusal::unsupported(
                "its inputs have different strides relative to the image",
            ));
        }
        a.stride[side] = fine.or(coarse);
        a.roll[side] = a.roll[side].or(b.roll[side]);
    }
    if a.pairs == super::super::layout::Pairs::None {
        a.pairs = b.pairs;
    }
    for (axis, other) in a.axes.iter_mut().zip(&b.axes) {
        *axis = join_operands(axis, other).ok_or_else(|| {
            Refusal::unsupported("its inputs have rows and columns on different axes")
        })?;
    }
    Ok(a)
}

pub(super) fn transpose(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let layout = site.only_layout()?;
    let rank = layout.axes.len();
    let order: Vec<usize> = match site.node.ints("perm")? {
        Some(perm) => resolve_all(perm, rank)?,
        None => (0..rank).rev().collect(),
    };
    let axes = order
        .iter()
        .map(|&axis| layout.axes[axis].clone())
        .collect();
    Ok(Effect::moves(Layout { axes, ..layout }))
}

pub(super) fn squeeze(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let layout = site.only_layout()?;
    let dims = site.dims(0)?;
    let dropped = match constant_integers(site, "axes", 1)? {
        Some(axes) => resolve_all(&axes, dims.len())?,
        None => (0..dims.len()).filter(|&a| dims[a] == 1).collect(),
    };
    without(&layout, &dropped).map(Effect::moves)
}

/// The layout without axes that have no positions.
pub(super) fn without(layout: &Layout, dropped: &[usize]) -> Result<Layout, Refusal> {
    if let Some(&axis) = dropped.iter().find(|&&axis| layout.follows_image(axis)) {
        return Err(along_positions(axis));
    }
    let axes = layout.axes.iter().enumerate();
    let axes = axes.filter(|(axis, _)| !dropped.contains(axis));
    let axes = axes.map(|(_, factors)| factors.clone()).collect();
    Ok(Layout {
        axes,
        ..layout.clone()
    })
}

pub(super) fn unsqueeze(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let layout = site.only_layout()?;
    let added = constant_integers(site, "axes", 1)?
        .ok_or_else(|| Refusal::unsupported("its axes are unknown"))?;
    let rank = layout.axes.len() + added.len();
    let added = resolve_all(&added, rank)?;
    let mut rest = layout.axes.iter();
    let axes = (0..rank).map(|axis| {
        if added.contains(&axis) {
            Vec::new()
        } else {
            rest.next().cloned().unwrap_or_default()
        }
    });
    let axes = axes.collect();
    Ok(Effect::moves(Layout { axes, ..layout }))
}

pub(super) fn reshape(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let layout = site.only_layout()?.reshaped(&site.output_extents(0)?)?;
    let (mut layout, mut paths) = layout.joined()?;
    // Channels that hold the pixels of a block are channels from here on: a pixel unshuffle ends so.
    for axis in 0..layout.axes.len() {
        let factors = &layout.axes[axis];
        let has = |is: fn(&Factor) -> bool| factors.iter().any(is);
        let are_channels = has(|f| matches!(f, Factor::Plain(_)))
            && has(|f| matches!(f, Factor::Digit(_)))
            && !layout.follows_image(axis);
        if !are_channels {
            continue;
        }
        if let Ok((settled, inner)) = layout.clone().settled(&[axis]) {
            layout = settled;
            for (path, inner) in paths.iter_mut().zip(inner) {
                *path = inner.followed_by(std::mem::take(path));
            }
        }
    }
    let mut effect = Effect::reads(layout, paths);
    effect.mixing = Mixing::None;
    Ok(effect)
}

/// Copies along axes of extent 1; what follows the image there is no position.
pub(super) fn expand(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let mut layout = site.only_layout()?;
    let to = site.output_extents(0)?;
    let lead = to.len().saturating_sub(layout.axes.len());
    for (axis, &extent) in to.iter().enumerate() {
        if axis < lead {
            layout.axes.insert(axis, plain(extent));
        } else if layout.axes[axis].is_empty() {
            layout.axes[axis] = plain(extent);
        }
    }
    Ok(Effect::moves(layout))
}

/// Copies one behind the other: more channels, where the axis has no positions.
pub(super) fn tile(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let layout = site.only_layout()?;
    let (from, to) = (site.dims(0)?, site.output_extents(0)?);
    let mut grown =
        (0..from.len()).filter(|&axis| to.get(axis).is_some_and(|e| e[0] != from[axis]));
    let axis = grown.next();
    if grown.next().is_some() {
        return Err(Refusal::unsupported("it repeats along more than one axis"));
    }
    let Some(axis) = axis else {
        return Ok(Effect::moves(layout));
    };
    let has_digits = |f: &Factor| !matches!(f, Factor::Plain(_));
    if layout.axes[axis].iter().any(has_digits) {
        return Err(along_positions(axis));
    }
    let mut layout = layout;
    layout.axes[axis] = plain(to[axis]);
    Ok(Effect::moves(layout))
}

pub(super) fn gather(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let axis = site.node.int("axis")?.unwrap_or(0);
    let axis = resolve(axis, site.dims(0)?.len())?;
    let mut effect = channels(site, axis)?;
    let indices = site.layout(1)?.axes;
    effect.layout.axes.splice(axis..=axis, indices);
    Ok(effect)
}
