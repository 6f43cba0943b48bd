//! Reductions and normalizations: local over channels, statistics of the image over rows and columns.

use super::super::TilingClass;
use super::super::error::Refusal;
use super::super::trace::{Effect, Grid, Site};
use super::layout::without;
use super::{constant_integers, resolve, stay};

pub(super) fn reduce(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let grid = site.only_grid()?;
    let rank = site.dims(0)?.len();
    let named = constant_integers(site, "axes", 1)?.filter(|axes| !axes.is_empty());
    let axes = match named {
        Some(axes) => resolve_all(&axes, rank)?,
        None if site.node.int("noop_with_empty_axes")?.unwrap_or(0) != 0 => {
            return Ok(Effect::Local(stay(grid)));
        }
        None => (0..rank).collect(),
    };
    reduced(site, grid, &axes)
}

pub(super) fn arg(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let grid = site.only_grid()?;
    let axis = resolve(site.node.int("axis")?.unwrap_or(0), site.dims(0)?.len())?;
    reduced(site, grid, &[axis])
}

fn reduced(site: &Site<'_, '_>, grid: Grid, axes: &[usize]) -> Result<Effect, Refusal> {
    match grid.axes.map(|axis| axes.contains(&axis)) {
        [true, true] => Ok(Effect::Reduction),
        [false, false] if site.node.int("keepdims")?.unwrap_or(1) != 0 => {
            Ok(Effect::Local(stay(grid)))
        }
        [false, false] => without(grid, axes),
        _ => Err(Refusal::unsupported(
            "it reduces rows or columns and not both; its effect on tiles is not known",
        )),
    }
}

fn resolve_all(axes: &[i64], rank: usize) -> Result<Vec<usize>, Refusal> {
    axes.iter().map(|&axis| resolve(axis, rank)).collect()
}

/// Same shape, with a statistic over these axes.
fn normalized(grid: Grid, mut axes: impl Iterator<Item = usize>) -> Effect {
    if axes.any(|axis| grid.axes.contains(&axis)) {
        Effect::WithStatistics(stay(grid))
    } else {
        Effect::Local(stay(grid))
    }
}

pub(super) fn softmax(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let grid = site.only_grid()?;
    let rank = site.dims(0)?.len();
    // Before opset 13 all axes from this one on were one.
    if site.opset < 13 {
        let axis = resolve(site.node.int("axis")?.unwrap_or(1), rank)?;
        return Ok(normalized(grid, axis..rank));
    }
    let axis = resolve(site.node.int("axis")?.unwrap_or(-1), rank)?;
    Ok(normalized(grid, std::iter::once(axis)))
}

pub(super) fn layer_norm(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let grid = site.only_grid()?;
    let rank = site.dims(0)?.len();
    let axis = resolve(site.node.int("axis")?.unwrap_or(-1), rank)?;
    Ok(normalized(grid, axis..rank))
}

pub(super) fn mean_variance(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let grid = site.only_grid()?;
    let axes = site.node.ints("axes")?.unwrap_or(&[0, 2, 3]);
    let axes = resolve_all(axes, site.dims(0)?.len())?;
    Ok(normalized(grid, axes.into_iter()))
}

pub(super) fn lp_norm(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let grid = site.only_grid()?;
    let axis = resolve(site.node.int("axis")?.unwrap_or(-1), site.dims(0)?.len())?;
    Ok(normalized(grid, std::iter::once(axis)))
}

/// Inference mode is an affine map; training mode takes the statistics of the tile.
pub(super) fn batch_norm(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let motion = stay(site.only_grid()?);
    Ok(if crate::rules::is_training_batch_norm(site.node) {
        Effect::WithStatistics(motion)
    } else {
        Effect::Local(motion)
    })
}

pub(super) fn cumulative_sum(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let grid = site.only_grid()?;
    let axis = constant_integers(site, "axis", 1)?.unwrap_or_default();
    let axes = resolve_all(&axis, site.dims(0)?.len())?;
    let over_positions = axes.iter().any(|axis| grid.axes.contains(axis));
    Ok(if over_positions || axes.is_empty() {
        Effect::Unbounded(TilingClass::D, stay(grid))
    } else {
        Effect::Local(stay(grid))
    })
}
