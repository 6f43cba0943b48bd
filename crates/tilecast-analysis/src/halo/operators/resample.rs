//! `Resize` and `Upsample`.

use super::super::TilingClass;
use super::super::error::Refusal;
use super::super::trace::{Effect, Site};
use super::{as_grid, resampled};
use crate::halo::axis_map::{AxisMap, Coordinates, Resampling, Taps};
use crate::halo::ratio::Ratio;

pub(super) fn resize(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let (layout, axes, paths) = as_grid(site)?;
    let ratios = ratios(site, axes)?;
    // Before opset 11 there was one coordinate rule, and nearest meant the position to the left.
    let is_legacy = site.node.is("Upsample") || site.node.input.len() <= 2;
    let rule = |name, modern, legacy| -> Result<&str, Refusal> {
        let default = if is_legacy { legacy } else { modern };
        Ok(site.node.string(name)?.unwrap_or(default))
    };
    let mut class = None;
    let coordinates = match rule("coordinate_transformation_mode", "half_pixel", "asymmetric")? {
        "asymmetric" => Coordinates::Asymmetric,
        // The two differ for outputs of one pixel only.
        "half_pixel" | "pytorch_half_pixel" => Coordinates::HalfPixel,
        "tf_half_pixel_for_nn" => Coordinates::TfHalfPixel,
        // Coordinates that are computed from the length of the axis, which is the tile's.
        "align_corners" | "half_pixel_symmetric" | "tf_crop_and_resize" => {
            class = Some(TilingClass::D);
            Coordinates::HalfPixel
        }
        other => {
            return Err(Refusal::unsupported(format!(
                "unknown coordinate_transformation_mode `{other}`"
            )));
        }
    };
    let mode = rule("mode", "nearest", "nearest")?;
    let taps = match mode {
        "linear" | "bilinear" => Taps::Linear,
        "cubic" => Taps::Cubic,
        _ => match rule("nearest_mode", "round_prefer_floor", "floor")? {
            "floor" => Taps::Floor,
            "ceil" => Taps::Ceil,
            "round_prefer_ceil" => Taps::RoundHalfUp,
            _ => Taps::RoundHalfDown,
        },
    };
    let is_smoothed = site.node.int("antialias")?.unwrap_or(0) != 0;
    let maps = ratios.map(|(input, output)| {
        if input == output && class.is_none() {
            return AxisMap::Same;
        }
        // A filter that shrinks is stretched by as much.
        let support = match taps {
            Taps::Linear => 1,
            Taps::Cubic => 2,
            _ => 0,
        };
        let taps = if is_smoothed && input > output && support > 0 {
            Taps::Within((support * input + output - 1) / output)
        } else {
            taps
        };
        AxisMap::Resampled(Resampling {
            input_step: input,
            output_step: output,
            coordinates,
            taps,
        })
    });
    let effect = resampled(layout, axes, maps, paths)?;
    Ok(Effect { class, ..effect })
}

/// Input and output positions per period, along rows and columns, in lowest terms.
fn ratios(site: &Site<'_, '_>, axes: [usize; 2]) -> Result<[(i128, i128); 2], Refusal> {
    let (input, output) = (site.input_extents(0)?, site.output_extents(0)?);
    let along = |axis: usize| {
        let ([i0, i1], [o0, o1]) = (input[axis], output[axis]);
        let ratio = Ratio::new(i0 as u64, o0 as u64);
        let exact = i0 as u128 * o1 as u128 == i1 as u128 * o0 as u128;
        match ratio.filter(|_| exact) {
            Some(ratio) => Ok((ratio.numerator().into(), ratio.denominator().into())),
            None => Err(Refusal::size_dependent(format!(
                "it resizes {i0} to {o0} and {i1} to {o1} positions, which is not the same factor"
            ))),
        }
    };
    Ok([along(axes[0])?, along(axes[1])?])
}
