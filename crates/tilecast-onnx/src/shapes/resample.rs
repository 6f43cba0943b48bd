//! Operators that sample their input on another grid.

use super::call::{Call, Inferred, contradiction, if_known, resolve_axes};
use super::extent::Extent;
use super::fact::Fact;
use super::layout::all_open;
use super::size::{differ, fixed, or_fresh, show, size, size_of};
use super::unknowns::Unknowns;

pub(super) fn resize(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let x = call.dims(0)?;
    // Opset 10 has (X, scales); from 11 on (X, roi, scales, sizes).
    let scales_slot = if call.n_inputs() <= 2 { 1 } else { 2 };
    let axes = match call.node().ints("axes")? {
        Some(axes) => resolve_axes(axes, x.len())?,
        None => (0..x.len()).collect(),
    };
    let mut dims = x.to_vec();
    if call.has_input(3) {
        let sizes = if_known(call.sizes(3))?.unwrap_or_else(|| vec![None; axes.len()]);
        check_len(sizes.len(), axes.len(), x)?;
        let sizes = fitted(call, x, &axes, sizes)?;
        for (&axis, size) in axes.iter().zip(sizes) {
            dims[axis] = size_of(size, unknowns)?;
        }
    } else if let Some(scales) = call.floats(scales_slot) {
        check_len(scales.len(), axes.len(), x)?;
        for (&axis, &scale) in axes.iter().zip(scales) {
            dims[axis] = scaled(&x[axis], scale, unknowns)?;
        }
    } else {
        for axis in axes {
            dims[axis] = unknowns.fresh();
        }
    }
    Ok(vec![Fact::of_dims(dims)])
}

/// The requested sizes, or the ones that keep the aspect ratio within or around them.
fn fitted(
    call: &Call<'_>,
    x: &[Extent],
    axes: &[usize],
    sizes: Vec<Option<Extent>>,
) -> Inferred<Vec<Option<Extent>>> {
    let policy = call.string_or("keep_aspect_ratio_policy", "stretch")?;
    if !matches!(policy, "not_larger" | "not_smaller") {
        return Ok(sizes);
    }
    let wanted: Option<Vec<i64>> = sizes.iter().map(|s| s.as_ref()?.known()).collect();
    let (Some(wanted), Some(x)) = (wanted, fixed(x)) else {
        return Ok(vec![None; sizes.len()]);
    };
    let ratios = axes
        .iter()
        .zip(&wanted)
        .map(|(&axis, &size)| size as f64 / x[axis].max(1) as f64);
    let ratio = if policy == "not_larger" {
        ratios.fold(f64::INFINITY, f64::min)
    } else {
        ratios.fold(0.0, f64::max)
    };
    axes.iter()
        .map(|&axis| size((x[axis] as f64 * ratio).round() as i128).map(Some))
        .collect()
}

pub(super) fn upsample(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let x = call.dims(0)?;
    let scales = match call.node().floats("scales")? {
        Some(scales) => Some(scales),
        None => call.floats(1),
    };
    let Some(scales) = scales else {
        return all_open(x.len(), unknowns);
    };
    check_len(scales.len(), x.len(), x)?;
    let dims = x
        .iter()
        .zip(scales)
        .map(|(extent, &scale)| scaled(extent, scale, unknowns))
        .collect::<Inferred<_>>()?;
    Ok(vec![Fact::of_dims(dims)])
}

/// `⌊extent × scale⌋`: of a number in f32, as ONNX Runtime computes it; of an expression for scales by which float
/// arithmetic is exact, which are whole numbers and powers of two.
fn scaled(extent: &Extent, scale: f32, unknowns: &mut Unknowns) -> Inferred<Extent> {
    const MAX_SCALE: f32 = 1024.0;
    if !(scale > 0.0 && scale.is_finite()) {
        return contradiction(format!("a scale of {scale}"));
    }
    if let Some(n) = extent.known() {
        return size((n as f32 * scale).floor() as i128);
    }
    let whole = |x: f32| (x.fract() == 0.0 && (1.0..=MAX_SCALE).contains(&x)).then_some(x as i64);
    let followed = match whole(scale) {
        Some(factor) => unknowns.scale(extent, factor),
        None => whole(scale.recip())
            .filter(|divisor| divisor.count_ones() == 1)
            .and_then(|divisor| unknowns.floor_div(extent, divisor)),
    };
    Ok(or_fresh(followed, unknowns))
}

fn check_len(have: usize, want: usize, x: &[Extent]) -> Inferred<()> {
    if have != want {
        return contradiction(format!(
            "{have} scales or sizes for {want} axes of {}",
            show(x)
        ));
    }
    Ok(())
}

pub(super) fn grid_sample(call: &Call<'_>, _: &mut Unknowns) -> Inferred {
    let (x, grid) = (call.dims(0)?, call.dims(1)?);
    if x.len() < 3 || grid.len() != x.len() || differ(&x[0], &grid[0]) {
        let (grid, x) = (show(grid), show(x));
        return contradiction(format!("grid {grid} does not fit input {x}"));
    }
    let dims = [&x[..2], &grid[1..grid.len() - 1]].concat();
    Ok(vec![Fact::of_dims(dims)])
}
