//! Operators that keep the elements and change their arrangement.

use super::MAX_RANK;
use super::call::{
    Call, Halt, Inferred, contradiction, if_known, require_rank, resolve_axes, resolve_axis,
};
use super::elementwise::spread_to;
use super::extent::Extent;
use super::fact::Fact;
use super::positions::{in_order, moved};
use super::size::{
    affine, broadcast, check_size, count, differ, divided, fixed, or_fresh, product, show, size,
    size_of,
};
use super::unknowns::Unknowns;

/// A shape of known rank and unknown extents.
pub(super) fn all_open(rank: usize, unknowns: &mut Unknowns) -> Inferred {
    if rank > MAX_RANK {
        return Err(Halt::Unknown);
    }
    let dims = (0..rank).map(|_| unknowns.fresh());
    Ok(vec![Fact::of_dims(dims.collect())])
}

pub(super) fn reshape(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let x = if_known(call.dims(0))?;
    let Some(target) = call.sizes_of("shape", 1)? else {
        return contradiction("it has no target shape");
    };
    let zero_is_zero = call.int_or("allowzero", 0)? != 0;
    let mut dims = Vec::with_capacity(target.len());
    let (mut hole, mut uncertain, mut may_be_empty) = (None, None, false);
    for (axis, extent) in target.iter().enumerate() {
        dims.push(match extent.as_ref().map(|e| (e, e.known())) {
            Some((_, Some(-1))) if hole.replace(axis).is_some() => {
                return contradiction(format!(
                    "target shape {} leaves two extents open",
                    numbers(&target)
                ));
            }
            Some((_, Some(-1))) => Extent::number(1),
            Some((_, Some(0))) if !zero_is_zero => match x {
                Some(x) => match x.get(axis) {
                    Some(extent) => {
                        may_be_empty |= !unknowns.is_positive(extent);
                        extent.clone()
                    }
                    None => {
                        return contradiction(format!(
                            "target shape {} copies axis {axis}, which {} does not have",
                            numbers(&target),
                            show(x)
                        ));
                    }
                },
                None => unknowns.fresh(),
            },
            Some((_, Some(number))) => {
                may_be_empty |= number == 0;
                size(number.into())?
            }
            Some((extent, None)) if unknowns.is_positive(extent) => extent.clone(),
            // A zero is the extent, or has no axis that it could copy.
            Some((extent, None)) if unknowns.is_non_negative(extent) && zero_is_zero => {
                may_be_empty = true;
                extent.clone()
            }
            Some((extent, None))
                if unknowns.is_non_negative(extent) && x.is_some_and(|x| axis >= x.len()) =>
            {
                extent.clone()
            }
            // What may turn out to be 0 or -1 means something else then. Where there is one such integer, the number of
            // elements decides.
            _ if uncertain.replace(axis).is_none() => Extent::number(1),
            _ => return all_open(target.len(), unknowns),
        });
    }
    if uncertain.is_some() && (hole.is_some() || may_be_empty) {
        return all_open(target.len(), unknowns);
    }
    let hole = hole.or(uncertain);
    check_size(&dims)?;
    let (have, want) = (x.and_then(count), count(&dims));
    let whole = match (have, want) {
        (Some(have), Some(want)) if hole.is_some() => want != 0 && have % want == 0,
        (Some(have), Some(want)) => have == want,
        _ => true,
    };
    if let (false, Some(x)) = (whole, x) {
        let target = numbers(&target);
        return contradiction(format!("cannot reshape {} to {target}", show(x)));
    }
    if let Some(axis) = hole {
        dims[axis] = if let (Some(have), Some(want)) = (have, want) {
            size(have / want)?
        } else {
            // The 1 in the place of the hole changes nothing.
            let quotient = x.and_then(|x| unknowns.divide_products(x, &dims));
            or_fresh(quotient, unknowns)
        };
    }
    Ok(vec![in_order(call, dims)])
}

/// A target shape for messages; unlike [`show`], of integers that need not be known.
fn numbers(integers: &[Option<Extent>]) -> String {
    let known: Vec<String> = integers
        .iter()
        .map(|e| match e.as_ref().and_then(Extent::known) {
            Some(n) => n.to_string(),
            None => "?".into(),
        })
        .collect();
    format!("[{}]", known.join(", "))
}

pub(super) fn flatten(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let x = call.dims(0)?;
    let axis = call.int_or("axis", 1)?;
    // The axis may equal the rank, one past the last.
    let axis = if axis == x.len() as i64 {
        x.len()
    } else {
        resolve_axis(axis, x.len())?
    };
    let (outer, inner) = x.split_at(axis);
    let dims = vec![product(unknowns, outer)?, product(unknowns, inner)?];
    Ok(vec![in_order(call, dims)])
}

pub(super) fn transpose(call: &Call<'_>, _: &mut Unknowns) -> Inferred {
    let x = call.dims(0)?;
    let order = match call.node().ints("perm")? {
        Some(perm) if perm.len() == x.len() => resolve_axes(perm, x.len())?,
        Some(perm) => return contradiction(format!("perm {perm:?} does not fit {}", show(x))),
        None => (0..x.len()).rev().collect(),
    };
    let dims = order.iter().map(|&axis| x[axis].clone()).collect();
    Ok(vec![moved(call, dims, |to, from| {
        for (&axis, &c) in order.iter().zip(to) {
            from[axis] = c;
        }
    })])
}

pub(super) fn squeeze(call: &Call<'_>, _: &mut Unknowns) -> Inferred {
    let x = call.dims(0)?;
    let one = Extent::number(1);
    let dropped = match call.numbers_of("axes", 1)? {
        Some(axes) => resolve_axes(axes, x.len())?,
        // Every axis of extent 1: those that are open may be such.
        None if x.iter().any(|d| d.known().is_none()) => return Err(Halt::Unknown),
        None => (0..x.len()).filter(|&axis| x[axis] == one).collect(),
    };
    if let Some(&axis) = dropped.iter().find(|&&axis| differ(&x[axis], &one)) {
        return contradiction(format!(
            "axis {axis} of {} is not 1 and cannot be dropped",
            show(x)
        ));
    }
    let kept = (0..x.len()).filter(|axis| !dropped.contains(axis));
    let dims = kept.map(|axis| x[axis].clone()).collect();
    Ok(vec![in_order(call, dims)])
}

pub(super) fn unsqueeze(call: &Call<'_>, _: &mut Unknowns) -> Inferred {
    let x = call.dims(0)?;
    let Some(axes) = call.numbers_of("axes", 1)? else {
        return contradiction("it has no axes");
    };
    let rank = x.len() + axes.len();
    let added = resolve_axes(axes, rank)?;
    let mut kept = x.iter();
    let dims = (0..rank).map(|axis| {
        // As many axes are kept as the input has: `resolve_axes` refuses repeated ones.
        let kept = if added.contains(&axis) {
            None
        } else {
            kept.next()
        };
        kept.cloned().unwrap_or_else(|| Extent::number(1))
    });
    Ok(vec![in_order(call, dims.collect())])
}

pub(super) fn expand(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let x = call.dims(0)?;
    let target = call
        .sizes(1)?
        .into_iter()
        .map(|extent| size_of(extent, unknowns))
        .collect::<Inferred<Vec<_>>>()?;
    let dims = broadcast(unknowns, x, &target)?;
    let elements = call
        .elements(0)
        .and_then(|elements| spread_to(elements, x, &fixed(&dims)?, call));
    Ok(vec![Fact::new(dims, elements)])
}

pub(super) fn tile(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let x = call.dims(0)?;
    let Some(repeats) = if_known(call.sizes(1))? else {
        return all_open(x.len(), unknowns);
    };
    if repeats.len() != x.len() {
        return contradiction(format!(
            "repeats {} do not fit {}",
            numbers(&repeats),
            show(x)
        ));
    }
    let mut dims = Vec::with_capacity(x.len());
    for (extent, repeat) in x.iter().zip(repeats) {
        dims.push(match repeat {
            Some(repeat) => product(unknowns, &[extent.clone(), repeat])?,
            None => unknowns.fresh(),
        });
    }
    let source = call.fixed_dims(0).unwrap_or_default();
    Ok(vec![moved(call, dims, |to, from| {
        for ((f, &t), &d) in from.iter_mut().zip(to).zip(&source) {
            *f = t % d.max(1);
        }
    })])
}

pub(super) fn depth_to_space(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let ([n, c, h, w], block) = blocks(call)?;
    if let Some(depth) = c.known()
        && i128::from(depth) % (block * block) != 0
    {
        return contradiction(format!(
            "{depth} channels do not divide into blocks of {block}×{block}"
        ));
    }
    Ok(vec![Fact::of_dims(vec![
        n.clone(),
        divided(unknowns, c, 0, block * block)?,
        affine(unknowns, h, block, 0)?,
        affine(unknowns, w, block, 0)?,
    ])])
}

pub(super) fn space_to_depth(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let ([n, c, h, w], block) = blocks(call)?;
    let remains = |extent: &Extent| extent.known().is_some_and(|n| i128::from(n) % block != 0);
    if remains(h) || remains(w) {
        let image = show(&[h.clone(), w.clone()]).to_string();
        return contradiction(format!(
            "height and width {image} do not divide into blocks of {block}×{block}"
        ));
    }
    Ok(vec![Fact::of_dims(vec![
        n.clone(),
        affine(unknowns, c, block * block, 0)?,
        divided(unknowns, h, 0, block)?,
        divided(unknowns, w, 0, block)?,
    ])])
}

fn blocks<'a>(call: &Call<'a>) -> Inferred<(&'a [Extent; 4], i128)> {
    let x = call.dims(0)?;
    require_rank(x, 4)?;
    let block = call.int_or("blocksize", 0)?;
    match <&[Extent; 4]>::try_from(x) {
        // Larger blocks than any extent are meaningless, and their square must not overflow.
        Ok(x) if (1..=i64::from(u32::MAX)).contains(&block) => Ok((x, block.into())),
        _ => contradiction(format!("blocks of size {block} do not fit {}", show(x))),
    }
}
