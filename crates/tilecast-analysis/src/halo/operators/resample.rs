//! `Resize` and `Upsample`.

use super::super::TilingClass;
use super::super::error::Refusal;
use super::super::trace::{Effect, Grid, Motion, Site};
use super::stay;
use crate::halo::axis_map::{AxisMap, Coordinates, Resampling, Taps};

pub(super) fn resize(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let grid = site.only_grid()?;
    let ratios = ratios(site, grid)?;
    // Before opset 11 there was one coordinate rule, and nearest meant the position to the left.
    let is_legacy = site.node.is("Upsample") || site.node.input.len() <= 2;
    let rule = |name, modern, legacy| -> Result<&str, Refusal> {
        let default = if is_legacy { legacy } else { modern };
        Ok(site.node.string(name)?.unwrap_or(default))
    };
    let coordinates = match rule("coordinate_transformation_mode", "half_pixel", "asymmetric")? {
        "asymmetric" => Coordinates::Asymmetric,
        // The two differ for outputs of one pixel only.
        "half_pixel" | "pytorch_half_pixel" => Coordinates::HalfPixel,
        // Coordinates that are computed from the length of the axis, which is the tile's.
        "align_corners"
        | "half_pixel_symmetric"
        | "tf_crop_and_resize"
        | "tf_half_pixel_for_nn" => {
            let mut motion = stay(grid);
            motion.maps =
                ratios.map(|ratio| resampled(ratio, Coordinates::HalfPixel, Taps::Linear));
            return Ok(Effect::Unbounded(TilingClass::D, motion));
        }
        other => {
            return Err(Refusal::unsupported(format!(
                "unknown coordinate_transformation_mode `{other}`"
            )));
        }
    };
    let taps = match rule("mode", "nearest", "nearest")? {
        "linear" | "bilinear" => Taps::Linear,
        "cubic" => Taps::Cubic,
        _ => match rule("nearest_mode", "round_prefer_floor", "floor")? {
            "floor" => Taps::Floor,
            "ceil" => Taps::Ceil,
            "round_prefer_ceil" => Taps::RoundHalfUp,
            _ => Taps::RoundHalfDown,
        },
    };
    let shrinks = ratios.iter().any(|&(input, output)| input > output);
    if shrinks && site.node.int("antialias")?.unwrap_or(0) != 0 {
        return Err(Refusal::unsupported(
            "downscaling with `antialias` is not supported",
        ));
    }
    Ok(Effect::Local(Motion {
        axes: grid.axes,
        maps: ratios.map(|ratio| resampled(ratio, coordinates, taps)),
    }))
}

fn resampled((input, output): (i128, i128), coordinates: Coordinates, taps: Taps) -> AxisMap {
    if input == output {
        return AxisMap::Same;
    }
    AxisMap::Resampled(Resampling {
        input_step: input,
        output_step: output,
        coordinates,
        taps,
    })
}

/// Input and output positions per period, along rows and columns: one of the two is 1.
fn ratios(site: &Site<'_, '_>, grid: Grid) -> Result<[(i128, i128); 2], Refusal> {
    let name = |slot: Option<&str>| slot.unwrap_or_default().to_owned();
    let (input, output) = (
        name(site.node.input_name(0)),
        name(site.node.output_name(0)),
    );
    let shapes = |map: &tilecast_onnx::ShapeMap| -> Option<(Vec<usize>, Vec<usize>)> {
        Some((map.shape(&input)?.to_vec(), map.shape(&output)?.to_vec()))
    };
    let (Some(small), Some(large)) = (shapes(&site.probes.small), shapes(&site.probes.large))
    else {
        return Err(Refusal::size_dependent(
            "the size that it resizes to is unknown",
        ));
    };
    let along = |axis: usize| {
        let at = |(i, o): &(Vec<usize>, Vec<usize>)| (i[axis] as i128, o[axis] as i128);
        let ((i0, o0), (i1, o1)) = (at(&small), at(&large));
        let (ratio, exact) = if o0 >= i0 {
            let up = o0 / i0.max(1);
            ((1, up), i0 * up == o0 && i1 * up == o1)
        } else {
            let down = i0 / o0.max(1);
            ((down, 1), o0 * down == i0 && o1 * down == i1)
        };
        if exact && i0 > 0 && o0 > 0 {
            return Ok(ratio);
        }
        Err(Refusal::size_dependent(format!(
            "it resizes {i0} to {o0} and {i1} to {o1} positions; only whole factors can be tiled"
        )))
    };
    Ok([along(grid.axes[0])?, along(grid.axes[1])?])
}
