//! Operators that keep the elements and change their arrangement.

use super::call::{
    Call, Halt, Inferred, contradiction, extent, require_rank, resolve_axes, resolve_axis,
};
use super::elementwise::broadcast_dims;
use super::fact::{Fact, ravel, rearrange};

/// Same elements in the same order, other dimensions.
fn reinterpreted(call: &Call<'_>, dims: Vec<usize>) -> Vec<Fact> {
    vec![Fact::new(dims, call.values(0).cloned())]
}

fn count(dims: &[usize]) -> i128 {
    dims.iter().map(|&d| d as i128).product()
}

pub(super) fn reshape(call: &Call<'_>) -> Inferred {
    let x = call.dims(0)?;
    let Some(target) = call.integers_of("shape", 1)? else {
        return contradiction("it has no target shape");
    };
    let zero_is_zero = call.int_or("allowzero", 0)? != 0;
    let mut dims = Vec::with_capacity(target.len());
    let mut hole = None;
    for (axis, &d) in target.iter().enumerate() {
        dims.push(match d {
            -1 if hole.replace(axis).is_some() => {
                return contradiction(format!("target shape {target:?} leaves two extents open"));
            }
            -1 => 1,
            0 if !zero_is_zero => match x.get(axis) {
                Some(&d) => d,
                None => {
                    return contradiction(format!(
                        "target shape {target:?} copies axis {axis}, which {x:?} does not have"
                    ));
                }
            },
            d => extent(d.into())?,
        });
    }
    super::check_size(&dims).map_err(Halt::Contradiction)?;
    let (have, want) = (count(x), count(&dims));
    if let Some(axis) = hole {
        if want == 0 || have % want != 0 {
            return contradiction(format!("cannot reshape {x:?} to {target:?}"));
        }
        dims[axis] = extent(have / want)?;
    } else if have != want {
        return contradiction(format!("cannot reshape {x:?} to {target:?}"));
    }
    Ok(reinterpreted(call, dims))
}

pub(super) fn flatten(call: &Call<'_>) -> Inferred {
    let x = call.dims(0)?;
    let axis = call.int_or("axis", 1)?;
    // The axis may equal the rank, one past the last.
    let axis = if axis == x.len() as i64 {
        x.len()
    } else {
        resolve_axis(axis, x.len())?
    };
    let dims = vec![extent(count(&x[..axis]))?, extent(count(&x[axis..]))?];
    Ok(reinterpreted(call, dims))
}

pub(super) fn transpose(call: &Call<'_>) -> Inferred {
    let x = call.dims(0)?;
    let order = match call.node().ints("perm")? {
        Some(perm) if perm.len() == x.len() => resolve_axes(perm, x.len())?,
        Some(perm) => return contradiction(format!("perm {perm:?} does not fit {x:?}")),
        None => (0..x.len()).rev().collect(),
    };
    let dims: Vec<usize> = order.iter().map(|&axis| x[axis]).collect();
    let values = call.values(0).and_then(|v| {
        let mut source = vec![0; x.len()];
        rearrange(v, &dims, |c| {
            for (&axis, &c) in order.iter().zip(c) {
                source[axis] = c;
            }
            ravel(&source, x)
        })
    });
    Ok(vec![Fact::new(dims, values)])
}

pub(super) fn squeeze(call: &Call<'_>) -> Inferred {
    let x = call.dims(0)?;
    let dropped = match call.integers_of("axes", 1)? {
        Some(axes) => resolve_axes(axes, x.len())?,
        None => (0..x.len()).filter(|&axis| x[axis] == 1).collect(),
    };
    if let Some(&axis) = dropped.iter().find(|&&axis| x[axis] != 1) {
        return contradiction(format!(
            "axis {axis} of {x:?} is not 1 and cannot be dropped"
        ));
    }
    let dims = (0..x.len())
        .filter(|axis| !dropped.contains(axis))
        .map(|axis| x[axis])
        .collect();
    Ok(reinterpreted(call, dims))
}

pub(super) fn unsqueeze(call: &Call<'_>) -> Inferred {
    let x = call.dims(0)?;
    let Some(axes) = call.integers_of("axes", 1)? else {
        return contradiction("it has no axes");
    };
    let rank = x.len() + axes.len();
    let added = resolve_axes(axes, rank)?;
    let mut kept = x.iter();
    let dims = (0..rank)
        .map(|axis| {
            if added.contains(&axis) {
                1
            } else {
                // As many axes are kept as the input has: `resolve_axes` refuses repeated ones.
                kept.next().copied().unwrap_or(1)
            }
        })
        .collect();
    Ok(reinterpreted(call, dims))
}

pub(super) fn expand(call: &Call<'_>) -> Inferred {
    let x = call.dims(0)?;
    let target = call
        .integers(1)?
        .iter()
        .map(|&d| extent(d.into()))
        .collect::<Inferred<Vec<_>>>()?;
    let dims = broadcast_dims(x, &target)?;
    let values = call
        .values(0)
        .and_then(|v| super::arithmetic::spread(v, x, &dims));
    Ok(vec![Fact::new(dims, values)])
}

pub(super) fn tile(call: &Call<'_>) -> Inferred {
    let x = call.dims(0)?;
    let repeats = call.integers(1)?;
    if repeats.len() != x.len() {
        return contradiction(format!("repeats {repeats:?} do not fit {x:?}"));
    }
    let dims = x
        .iter()
        .zip(repeats)
        .map(|(&d, &r)| extent(d as i128 * i128::from(r)))
        .collect::<Inferred<Vec<_>>>()?;
    let values = call.values(0).and_then(|v| {
        rearrange(v, &dims, |c| {
            let source: Vec<usize> = c.iter().zip(x).map(|(&c, &d)| c % d.max(1)).collect();
            ravel(&source, x)
        })
    });
    Ok(vec![Fact::new(dims, values)])
}

pub(super) fn depth_to_space(call: &Call<'_>) -> Inferred {
    let (x, block) = blocks(call)?;
    let depth = x[1] as i128;
    if depth % (block * block) != 0 {
        return contradiction(format!(
            "{depth} channels do not divide into blocks of {block}×{block}"
        ));
    }
    Ok(vec![Fact::of_dims(vec![
        x[0],
        extent(depth / (block * block))?,
        extent(x[2] as i128 * block)?,
        extent(x[3] as i128 * block)?,
    ])])
}

pub(super) fn space_to_depth(call: &Call<'_>) -> Inferred {
    let (x, block) = blocks(call)?;
    let (height, width) = (x[2] as i128, x[3] as i128);
    if height % block != 0 || width % block != 0 {
        return contradiction(format!(
            "an image of {width}×{height} does not divide into blocks of {block}×{block}"
        ));
    }
    Ok(vec![Fact::of_dims(vec![
        x[0],
        extent(x[1] as i128 * block * block)?,
        extent(height / block)?,
        extent(width / block)?,
    ])])
}

fn blocks<'a>(call: &Call<'a>) -> Inferred<(&'a [usize], i128)> {
    let x = call.dims(0)?;
    require_rank(x, 4)?;
    let block = call.int_or("blocksize", 0)?;
    // Larger blocks than any extent are meaningless, and their square must not overflow.
    if block < 1 || block > i64::from(u32::MAX) || x.len() != 4 {
        return contradiction(format!("blocks of size {block} do not fit {x:?}"));
    }
    Ok((x, block.into()))
}
