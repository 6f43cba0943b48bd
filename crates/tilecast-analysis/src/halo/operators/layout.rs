//! Padding, slicing, joining and moving axes.

use super::super::TilingClass;
use super::super::error::Refusal;
use super::super::trace::{Effect, Grid, Motion, Site};
use super::{constant_integers, resolve, stay};
use crate::halo::axis_map::AxisMap;

pub(super) fn pad(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let grid = site.only_grid()?;
    let rank = site.dims(0)?.len();
    let pads = constant_integers(site, "pads", 1)?
        .ok_or_else(|| Refusal::unsupported("its pads are unknown"))?;
    let axes = match constant_integers(site, "axes", 3)? {
        Some(axes) => axes
            .iter()
            .map(|&a| resolve(a, rank))
            .collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    let begin = |axis: usize| -> i128 {
        let position = axes.iter().position(|&a| a == axis);
        position.and_then(|p| pads.get(p)).map_or(0, |&p| p.into())
    };
    let motion = Motion {
        axes: grid.axes,
        maps: grid.axes.map(|axis| shifted(-begin(axis), 1)),
    };
    Ok(match site.node.string("mode")?.unwrap_or("constant") {
        // The opposite border of the image is not in the tile.
        "wrap" => Effect::Unbounded(TilingClass::D, motion),
        _ => Effect::Local(motion),
    })
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
    let grid = site.only_grid()?;
    let rank = site.dims(0)?.len();
    let starts = constant_integers(site, "starts", 1)?
        .ok_or_else(|| Refusal::unsupported("its starts are unknown"))?;
    let axes = match constant_integers(site, "axes", 3)? {
        Some(axes) => axes
            .iter()
            .map(|&a| resolve(a, rank))
            .collect::<Result<Vec<_>, _>>()?,
        None => (0..starts.len()).collect(),
    };
    let steps = constant_integers(site, "steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    let along = |axis: usize| -> Result<AxisMap, Refusal> {
        let Some(position) = axes.iter().position(|&a| a == axis) else {
            return Ok(AxisMap::Same);
        };
        match (starts.get(position), steps.get(position)) {
            (Some(&start), Some(&step)) if start >= 0 && step > 0 => {
                Ok(shifted(start.into(), step.into()))
            }
            _ => Err(Refusal::size_dependent(
                "it reverses rows or columns, or counts them from the far border",
            )),
        }
    };
    Ok(Effect::Local(Motion {
        axes: grid.axes,
        maps: [along(grid.axes[0])?, along(grid.axes[1])?],
    }))
}

/// Operators that work along one axis, which must be neither rows nor columns.
pub(super) fn along_other_axis(site: &Site<'_, '_>, default: i64) -> Result<Effect, Refusal> {
    let grid = site.only_grid()?;
    let axis = site.node.int("axis")?.unwrap_or(default);
    let axis = resolve(axis, site.dims(0)?.len())?;
    refuse_spatial(grid, &[axis])?;
    Ok(Effect::Local(stay(grid)))
}

pub(super) fn concat(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let mut grids = (0..site.node.input.len()).filter_map(|slot| site.grid(slot));
    let grid = grids
        .next()
        .ok_or_else(|| Refusal::unsupported("none of its inputs carries pixels"))?;
    if grids.any(|other| other.axes != grid.axes) {
        return Err(Refusal::unsupported(
            "its inputs have rows and columns on different axes",
        ));
    }
    let axis = site.node.int("axis")?.unwrap_or(1);
    let axis = resolve(axis, site.dims(0)?.len())?;
    refuse_spatial(grid, &[axis])?;
    Ok(Effect::Local(stay(grid)))
}

pub(super) fn transpose(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let grid = site.only_grid()?;
    let rank = site.dims(0)?.len();
    let order: Vec<usize> = match site.node.ints("perm")? {
        Some(perm) => perm
            .iter()
            .map(|&a| resolve(a, rank))
            .collect::<Result<_, _>>()?,
        None => (0..rank).rev().collect(),
    };
    let moved = |axis: usize| {
        order
            .iter()
            .position(|&a| a == axis)
            .ok_or_else(|| Refusal::unsupported("its perm leaves out an axis"))
    };
    Ok(Effect::Local(Motion {
        axes: [moved(grid.axes[0])?, moved(grid.axes[1])?],
        maps: [AxisMap::Same; 2],
    }))
}

pub(super) fn squeeze(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let grid = site.only_grid()?;
    let dims = site.dims(0)?;
    let dropped = match constant_integers(site, "axes", 1)? {
        Some(axes) => axes
            .iter()
            .map(|&a| resolve(a, dims.len()))
            .collect::<Result<Vec<_>, _>>()?,
        None => (0..dims.len()).filter(|&a| dims[a] == 1).collect(),
    };
    without(grid, &dropped)
}

/// Positions stay; the axes in front of rows and columns that are dropped renumber them.
pub(super) fn without(grid: Grid, dropped: &[usize]) -> Result<Effect, Refusal> {
    refuse_spatial(grid, dropped)?;
    let axes = grid
        .axes
        .map(|axis| axis - dropped.iter().filter(|&&d| d < axis).count());
    Ok(Effect::Local(Motion {
        axes,
        maps: [AxisMap::Same; 2],
    }))
}

pub(super) fn unsqueeze(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let grid = site.only_grid()?;
    let added = constant_integers(site, "axes", 1)?
        .ok_or_else(|| Refusal::unsupported("its axes are unknown"))?;
    let rank = site.dims(0)?.len() + added.len();
    let added = added
        .iter()
        .map(|&a| resolve(a, rank))
        .collect::<Result<Vec<_>, _>>()?;
    let kept: Vec<usize> = (0..rank).filter(|a| !added.contains(a)).collect();
    let moved = |axis: usize| {
        kept.get(axis)
            .copied()
            .ok_or_else(|| Refusal::unsupported("its axes are named twice"))
    };
    Ok(Effect::Local(Motion {
        axes: [moved(grid.axes[0])?, moved(grid.axes[1])?],
        maps: [AxisMap::Same; 2],
    }))
}

pub(super) fn gather(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let grid = site.only_grid()?;
    let axis = site.node.int("axis")?.unwrap_or(0);
    let axis = resolve(axis, site.dims(0)?.len())?;
    refuse_spatial(grid, &[axis])?;
    let n_index_axes = site.dims(1)?.len();
    let axes = grid
        .axes
        .map(|a| if a > axis { a + n_index_axes - 1 } else { a });
    Ok(Effect::Local(Motion {
        axes,
        maps: [AxisMap::Same; 2],
    }))
}

pub(super) fn refuse_spatial(grid: Grid, axes: &[usize]) -> Result<(), Refusal> {
    match axes.iter().find(|axis| grid.axes.contains(axis)) {
        Some(axis) => Err(Refusal::unsupported(format!(
            "it works along axis {axis}, which holds rows or columns; its effect on tiles is not known"
        ))),
        None => Ok(()),
    }
}
