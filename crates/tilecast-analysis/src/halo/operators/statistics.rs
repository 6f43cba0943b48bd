//! Reductions and normalizations: local over channels and inside windows, statistics of the image over rows and columns.

use super::super::TilingClass;
use super::super::error::Refusal;
use super::super::layout::Layout;
use super::super::trace::{Effect, Site};
use super::arrange::without;
use super::{constant_integers, resolve, resolve_all};

pub(super) fn reduce(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let layout = site.only_layout()?;
    let rank = layout.axes.len();
    let named = constant_integers(site, "axes", 1)?.filter(|axes| !axes.is_empty());
    let axes = match named {
        Some(axes) => resolve_all(&axes, rank)?,
        None if site.node.int("noop_with_empty_axes")?.unwrap_or(0) != 0 => {
            return Ok(Effect::moves(layout));
        }
        None => (0..rank).collect(),
    };
    reduced(site, &axes)
}

pub(super) fn arg(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let axis = resolve(site.node.int("axis")?.unwrap_or(0), site.dims(0)?.len())?;
    reduced(site, &[axis])
}

pub(super) fn global_pool(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let axes: Vec<usize> = (2..site.dims(0)?.len()).collect();
    let layout = site.only_layout()?;
    let (layout, effect) = statistic(layout, &axes)?;
    Ok(Effect { layout, ..effect })
}

fn reduced(site: &Site<'_, '_>, axes: &[usize]) -> Result<Effect, Refusal> {
    let (layout, effect) = statistic(site.only_layout()?, axes)?;
    let layout = match site.node.int("keepdims")?.unwrap_or(1) {
        0 => without(&layout, axes)?,
        _ => layout,
    };
    Ok(Effect { layout, ..effect })
}

/// The layout after a reduction over these axes, which are kept with extent 1, and what the reduction reads.
fn statistic(mut layout: Layout, axes: &[usize]) -> Result<(Layout, Effect), Refusal> {
    let mut is_global = axes.iter().any(|&axis| layout.follows_image(axis));
    for side in 0..2 {
        let over_image = layout
            .digits(side)
            .any(|(axis, d)| axes.contains(&axis) && d.is_leading());
        if !over_image {
            continue;
        }
        is_global = true;
        if layout.digits(side).any(|(axis, _)| !axes.contains(&axis)) {
            return Err(Refusal::unsupported(
                "it reduces windows and keeps the positions inside them; its effect on tiles is not known",
            ));
        }
        layout.stride[side] = None;
        layout.roll[side] = None;
    }
    // The axes that the image fills are gone; what is left of the others counts whole windows.
    for &axis in axes {
        if layout.follows_image(axis) {
            layout.axes[axis].clear();
        }
    }
    let (mut layout, paths) = layout.settled(axes)?;
    for &axis in axes {
        layout.axes[axis].clear();
    }
    let effect = Effect::reads(layout.clone(), paths);
    Ok((
        layout,
        Effect {
            class: is_global.then_some(TilingClass::C),
            ..effect
        },
    ))
}

/// Same shape, with a statistic over these axes.
fn normalized(layout: Layout, axes: &[usize]) -> Effect {
    let is_global = axes.iter().any(|&axis| layout.follows_image(axis));
    let paths = if is_global {
        Default::default()
    } else {
        layout.blocks(axes)
    };
    Effect {
        class: is_global.then_some(TilingClass::C),
        ..Effect::reads(layout, paths)
    }
}

pub(super) fn softmax(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let layout = site.only_layout()?;
    let rank = layout.axes.len();
    // Before opset 13 all axes from this one on were one.
    if site.opset < 13 {
        let axis = resolve(site.node.int("axis")?.unwrap_or(1), rank)?;
        return Ok(normalized(layout, &(axis..rank).collect::<Vec<_>>()));
    }
    let axis = resolve(site.node.int("axis")?.unwrap_or(-1), rank)?;
    Ok(normalized(layout, &[axis]))
}

pub(super) fn layer_norm(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let layout = site.only_layout()?;
    let rank = layout.axes.len();
    let axis = resolve(site.node.int("axis")?.unwrap_or(-1), rank)?;
    Ok(normalized(layout, &(axis..rank).collect::<Vec<_>>()))
}

pub(super) fn mean_variance(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let layout = site.only_layout()?;
    let axes = site.node.ints("axes")?.unwrap_or(&[0, 2, 3]);
    let axes = resolve_all(axes, layout.axes.len())?;
    Ok(normalized(layout, &axes))
}

pub(super) fn lp_norm(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let layout = site.only_layout()?;
    let axis = resolve(site.node.int("axis")?.unwrap_or(-1), layout.axes.len())?;
    Ok(normalized(layout, &[axis]))
}

/// `LRN`: over neighbouring channels.
pub(super) fn local_response(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    Ok(normalized(site.only_layout()?, &[1]))
}

/// `InstanceNormalization`, and over channels of a group too, `GroupNormalization`.
pub(super) fn instance_norm(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let layout = site.only_layout()?;
    let axes: Vec<usize> = (2..layout.axes.len()).collect();
    Ok(normalized(layout, &axes))
}

/// Inference mode is an affine map; training mode takes the statistics of the tile.
pub(super) fn batch_norm(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let layout = site.only_layout()?;
    Ok(if crate::rules::is_training_batch_norm(site.node) {
        Effect::reads(layout, Default::default()).in_class(TilingClass::C)
    } else {
        Effect::moves(layout)
    })
}

pub(super) fn cumulative_sum(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let layout = site.only_layout()?;
    let axis = constant_integers(site, "axis", 1)?.unwrap_or_default();
    let axes = resolve_all(&axis, layout.axes.len())?;
    let effect = normalized(layout, &axes);
    Ok(match effect.class {
        None if !axes.is_empty() => effect,
        _ => effect.in_class(TilingClass::D),
    })
}
