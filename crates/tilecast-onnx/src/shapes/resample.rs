//! Operators that sample their input on another grid.

use super::call::{Call, Inferred, contradiction, extent, resolve_axes};
use super::fact::Fact;

pub(super) fn resize(call: &Call<'_>) -> Inferred {
    let x = call.dims(0)?;
    // Opset 10 has (X, scales); from 11 on (X, roi, scales, sizes).
    let scales_slot = if call.node().input.len() <= 2 { 1 } else { 2 };
    let axes = match call.node().ints("axes")? {
        Some(axes) => resolve_axes(axes, x.len())?,
        None => (0..x.len()).collect(),
    };
    let use_sizes = call.has_input(3);
    let mut dims = x.to_vec();
    if use_sizes {
        let sizes = call.integers(3)?;
        check_len(sizes.len(), axes.len(), x)?;
        for (axis, size) in axes.iter().zip(fitted(call, x, &axes, sizes)?) {
            dims[*axis] = size;
        }
    } else {
        let scales = call.floats(scales_slot)?;
        check_len(scales.len(), axes.len(), x)?;
        for (&axis, &scale) in axes.iter().zip(scales) {
            dims[axis] = scaled(x[axis], scale)?;
        }
    }
    Ok(vec![Fact::of_dims(dims)])
}

/// The requested sizes, or the ones that keep the aspect ratio within or around them.
fn fitted(call: &Call<'_>, x: &[usize], axes: &[usize], sizes: &[i64]) -> Inferred<Vec<usize>> {
    let ratios = || {
        axes.iter()
            .zip(sizes)
            .map(|(&axis, &size)| size as f64 / x[axis].max(1) as f64)
    };
    let ratio = match call.string_or("keep_aspect_ratio_policy", "stretch")? {
        "not_larger" => ratios().fold(f64::INFINITY, f64::min),
        "not_smaller" => ratios().fold(0.0, f64::max),
        _ => return sizes.iter().map(|&s| extent(s.into())).collect(),
    };
    axes.iter()
        .map(|&axis| extent((x[axis] as f64 * ratio).round() as i128))
        .collect()
}

pub(super) fn upsample(call: &Call<'_>) -> Inferred {
    let x = call.dims(0)?;
    let scales = match call.node().floats("scales")? {
        Some(scales) => scales,
        None => call.floats(1)?,
    };
    check_len(scales.len(), x.len(), x)?;
    let dims = x
        .iter()
        .zip(scales)
        .map(|(&d, &scale)| scaled(d, scale))
        .collect::<Inferred<_>>()?;
    Ok(vec![Fact::of_dims(dims)])
}

/// `floor(extent × scale)` in f32, as ONNX Runtime computes it.
fn scaled(n: usize, scale: f32) -> Inferred<usize> {
    if !(scale > 0.0 && scale.is_finite()) {
        return contradiction(format!("a scale of {scale}"));
    }
    extent((n as f32 * scale).floor() as i128)
}

fn check_len(have: usize, want: usize, x: &[usize]) -> Inferred<()> {
    if have != want {
        return contradiction(format!("{have} scales or sizes for {want} axes of {x:?}"));
    }
    Ok(())
}

pub(super) fn grid_sample(call: &Call<'_>) -> Inferred {
    let (x, grid) = (call.dims(0)?, call.dims(1)?);
    if x.len() < 3 || grid.len() != x.len() || x[0] != grid[0] {
        return contradiction(format!("grid {grid:?} does not fit input {x:?}"));
    }
    let dims = [&x[..2], &grid[1..grid.len() - 1]].concat();
    Ok(vec![Fact::of_dims(dims)])
}
