//! Operators that move elements: rearrangements, parts, and tensors put together from parts.
//!
//! Where the elements are followed, [`super::elements::moved`] gives shape and elements together. Otherwise, for feature
//! maps, only the shape is worked out here.

use super::Fact;
use super::call::Call;
use super::elements::{at_least_zero, broadcast, moved, or_fresh, product};
use super::extent::{COEFFICIENT_LIMIT, Extent};
use super::unknowns::Unknowns;
use crate::simplify::arrange::{equal_parts, slice_bounds, wrap, wrap_all};

/// The facts of an operator whose elements are followed.
fn followed(call: &Call<'_, '_>) -> Option<Vec<Fact>> {
    let outputs = moved(call)?;
    Some(
        outputs
            .into_iter()
            .map(|(dims, elements)| Fact {
                dims: Some(dims.iter().map(|&d| Extent::number(d as i64)).collect()),
                elements: Some(elements),
            })
            .collect(),
    )
}

fn of_dims(dims: Vec<Extent>) -> Vec<Fact> {
    vec![Fact::of_dims(dims)]
}

pub(super) fn identity(call: &Call<'_, '_>, _: &mut Unknowns) -> Option<Vec<Fact>> {
    followed(call).or_else(|| Some(of_dims(call.dims(0)?.to_vec())))
}

pub(super) fn reshape(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    if let Some(facts) = followed(call) {
        return Some(facts);
    }
    let target = call.elements_of("shape", 1)??;
    let rank = target.len();
    let x = call.dims(0);
    let copies_zero = call.int("allowzero", 0)? == 0;
    let mut hole = None;
    let mut dims = Vec::with_capacity(target.len());
    for (axis, extent) in target.into_iter().enumerate() {
        dims.push(match extent {
            // It may turn out to be 0 or -1, which mean something else.
            None => return Some(all_open(rank, unknowns)),
            Some(e) => match e.known() {
                Some(-1) if hole.replace(axis).is_some() => return None,
                Some(-1) => Extent::number(1),
                Some(0) if copies_zero => x
                    .and_then(|x| x.get(axis).cloned())
                    .unwrap_or_else(|| unknowns.fresh()),
                Some(n) if n < 0 => return None,
                Some(_) => e,
                None if unknowns.is_positive(&e) => e,
                None => return Some(all_open(rank, unknowns)),
            },
        });
    }
    if let Some(axis) = hole {
        let others: Vec<Extent> = dims
            .iter()
            .enumerate()
            .filter(|&(a, _)| a != axis)
            .map(|(_, d)| d.clone())
            .collect();
        let quotient = x.and_then(|x| unknowns.divide_products(x, &others));
        dims[axis] = or_fresh(quotient, unknowns);
    }
    Some(of_dims(dims))
}

/// A shape of known rank and unknown extents.
fn all_open(rank: usize, unknowns: &mut Unknowns) -> Vec<Fact> {
    of_dims((0..rank).map(|_| unknowns.fresh()).collect())
}

pub(super) fn flatten(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    if let Some(facts) = followed(call) {
        return Some(facts);
    }
    let x = call.dims(0)?;
    let axis = call.int("axis", 1)?;
    let axis = match usize::try_from(axis) {
        Ok(axis) if axis <= x.len() => axis,
        _ => wrap(axis, x.len())?,
    };
    let (outer, inner) = x.split_at(axis);
    let dims = [outer, inner].map(|part| {
        let n = product(part, unknowns);
        or_fresh(n, unknowns)
    });
    Some(of_dims(dims.to_vec()))
}

pub(super) fn transpose(call: &Call<'_, '_>, _: &mut Unknowns) -> Option<Vec<Fact>> {
    if let Some(facts) = followed(call) {
        return Some(facts);
    }
    let x = call.dims(0)?;
    let perm = match call.ints("perm")? {
        Some(perm) => wrap_all(perm, x.len()).filter(|p| p.len() == x.len())?,
        None => (0..x.len()).rev().collect(),
    };
    Some(of_dims(perm.iter().map(|&axis| x[axis].clone()).collect()))
}

pub(super) fn squeeze(call: &Call<'_, '_>, _: &mut Unknowns) -> Option<Vec<Fact>> {
    if let Some(facts) = followed(call) {
        return Some(facts);
    }
    let x = call.dims(0)?;
    let dropped = match call.numbers_of("axes", 1)? {
        Some(axes) => wrap_all(&axes, x.len())?,
        // Every axis of extent 1: those that are open may be such.
        None if x.iter().all(|d| d.known().is_some()) => {
            (0..x.len()).filter(|&a| x[a].known() == Some(1)).collect()
        }
        None => return None,
    };
    let kept = (0..x.len()).filter(|axis| !dropped.contains(axis));
    Some(of_dims(kept.map(|axis| x[axis].clone()).collect()))
}

pub(super) fn unsqueeze(call: &Call<'_, '_>, _: &mut Unknowns) -> Option<Vec<Fact>> {
    if let Some(facts) = followed(call) {
        return Some(facts);
    }
    let x = call.dims(0)?;
    let axes = call.numbers_of("axes", 1)??;
    let rank = x.len() + axes.len();
    let added = wrap_all(&axes, rank)?;
    let mut kept = x.iter().cloned();
    let dims = (0..rank).map(|axis| {
        if added.contains(&axis) {
            Some(Extent::number(1))
        } else {
            kept.next()
        }
    });
    Some(of_dims(dims.collect::<Option<_>>()?))
}

pub(super) fn expand(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    if let Some(facts) = followed(call) {
        return Some(facts);
    }
    let target: Vec<Extent> = call
        .elements(1)?
        .iter()
        .map(|e| or_fresh(e.clone(), unknowns))
        .collect();
    Some(of_dims(broadcast(unknowns, call.dims(0)?, &target)?))
}

pub(super) fn tile(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    if let Some(facts) = followed(call) {
        return Some(facts);
    }
    let x = call.dims(0)?;
    let repeats = call.elements(1).filter(|r| r.len() == x.len())?;
    let dims = x.iter().zip(repeats).map(|(d, r)| {
        let extent = r.as_ref().and_then(|r| unknowns.mul(d, r));
        or_fresh(extent, unknowns)
    });
    Some(of_dims(dims.collect()))
}

pub(super) fn slice(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    if let Some(facts) = followed(call) {
        return Some(facts);
    }
    let mut dims = call.dims(0)?.to_vec();
    let Some(axes) = call.numbers_of("axes", 3) else {
        return Some(all_open(dims.len(), unknowns));
    };
    let (Some(starts), Some(ends)) = (
        call.elements_of("starts", 1).flatten(),
        call.elements_of("ends", 2).flatten(),
    ) else {
        let Some(axes) = axes else {
            return Some(all_open(dims.len(), unknowns));
        };
        for axis in wrap_all(&axes, dims.len())? {
            dims[axis] = unknowns.fresh();
        }
        return Some(of_dims(dims));
    };
    let axes = match axes {
        Some(axes) => wrap_all(&axes, dims.len())?,
        None => (0..starts.len().min(dims.len())).collect(),
    };
    if starts.len() != axes.len() || ends.len() != axes.len() {
        return None;
    }
    let steps = if call.has_input(4) {
        call.numbers(4)
    } else {
        Some(vec![1; axes.len()])
    };
    for (i, &axis) in axes.iter().enumerate() {
        let step = steps.as_ref().and_then(|s| s.get(i).copied());
        let extent = match (&starts[i], &ends[i], step) {
            (Some(start), Some(end), Some(step)) => sliced(unknowns, &dims[axis], start, end, step),
            _ => None,
        };
        dims[axis] = or_fresh(extent, unknowns);
    }
    Some(of_dims(dims))
}

/// Number of elements that a slice keeps of an axis.
fn sliced(
    unknowns: &mut Unknowns,
    extent: &Extent,
    start: &Extent,
    end: &Extent,
    step: i64,
) -> Option<Extent> {
    if let (Some(n), Some(start), Some(end)) = (extent.known(), start.known(), end.known()) {
        let (_, kept) = slice_bounds(usize::try_from(n).ok()?, start, end, step)?;
        return Some(Extent::number(kept as i64));
    }
    if step != 1 {
        return None;
    }
    let start = counted(unknowns, extent, start)?;
    let end = counted(unknowns, extent, end)?;
    let span = unknowns.sub(&end, &start)?;
    at_least_zero(unknowns, &span)
}

/// A bound of a forward slice as a position from the front, within `0..=extent`.
fn counted(unknowns: &mut Unknowns, extent: &Extent, bound: &Extent) -> Option<Extent> {
    match bound.known() {
        // Exporters write the largest and smallest integers for the ends of an axis.
        Some(n) if n >= COEFFICIENT_LIMIT => Some(extent.clone()),
        Some(n) if n <= -COEFFICIENT_LIMIT => Some(Extent::number(0)),
        Some(n) if n < 0 => {
            let from_front = unknowns.offset(extent, n)?;
            at_least_zero(unknowns, &from_front)
        }
        // An open bound that may be negative counts from either end.
        None if !unknowns.is_non_negative(bound) => None,
        _ => unknowns.minimum(bound, extent),
    }
}

pub(super) fn split(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    if let Some(facts) = followed(call) {
        return Some(facts);
    }
    let x = call.dims(0)?;
    let axis = wrap(call.int("axis", 0)?, x.len())?;
    let n_outputs = call.node.output.len();
    let parts: Vec<Extent> = match call.elements_of("split", 1) {
        Some(Some(parts)) if parts.len() == n_outputs => parts
            .into_iter()
            .map(|part| or_fresh(part, unknowns))
            .collect(),
        Some(None) => match x[axis].known() {
            Some(n) => equal_parts(usize::try_from(n).ok()?, n_outputs)?
                .into_iter()
                .map(|part| Extent::number(part as i64))
                .collect(),
            None => (0..n_outputs).map(|_| unknowns.fresh()).collect(),
        },
        _ => (0..n_outputs).map(|_| unknowns.fresh()).collect(),
    };
    let facts = parts.into_iter().map(|part| {
        let mut dims = x.to_vec();
        dims[axis] = part;
        Fact::of_dims(dims)
    });
    Some(facts.collect())
}

pub(super) fn concat(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    if let Some(facts) = followed(call) {
        return Some(facts);
    }
    if let Some(facts) = partly_followed(call) {
        return Some(facts);
    }
    let mut dims = call.dims(0)?.to_vec();
    let axis = wrap(call.int("axis", 1)?, dims.len())?;
    let mut total = Some(dims[axis].clone());
    for slot in 1..call.node.input.len() {
        let other = call.dims(slot).filter(|d| d.len() == dims.len())?;
        total = total.and_then(|total| unknowns.add(&total, &other[axis]));
        // Extents beside the axis are equal; the one that is a number says more.
        for (mine, theirs) in dims.iter_mut().zip(other) {
            if mine.known().is_none() {
                mine.clone_from(theirs);
            }
        }
    }
    dims[axis] = or_fresh(total, unknowns);
    Some(of_dims(dims))
}

/// A vector put together from parts of known lengths of which not all elements are followed.
fn partly_followed(call: &Call<'_, '_>) -> Option<Vec<Fact>> {
    wrap(call.int("axis", 1)?, 1)?;
    let mut elements = Vec::new();
    for slot in 0..call.node.input.len() {
        let [n] = call.fixed_dims(slot)?[..] else {
            return None;
        };
        if elements.len() + n > super::MAX_TRACKED_ELEMENTS {
            return None;
        }
        match call.elements(slot) {
            Some(known) => elements.extend_from_slice(known),
            None => elements.resize(elements.len() + n, None),
        }
    }
    Some(vec![Fact::of_vector(elements)])
}

pub(super) fn gather(call: &Call<'_, '_>, _: &mut Unknowns) -> Option<Vec<Fact>> {
    if let Some(facts) = followed(call) {
        return Some(facts);
    }
    let (x, indices) = (call.dims(0)?, call.dims(1)?);
    let axis = wrap(call.int("axis", 0)?, x.len())?;
    Some(of_dims([&x[..axis], indices, &x[axis + 1..]].concat()))
}

pub(super) fn pad(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    let mut dims = call.dims(0)?.to_vec();
    let (Some(Some(pads)), Some(axes)) = (
        call.elements_of("pads", 1),
        if call.has_input(3) {
            call.numbers(3).map(Some)
        } else {
            Some(None)
        },
    ) else {
        return Some(all_open(dims.len(), unknowns));
    };
    let axes = match axes {
        Some(axes) => wrap_all(&axes, dims.len())?,
        None => (0..dims.len()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return None;
    }
    for (i, &axis) in axes.iter().enumerate() {
        let padded = match (&pads[i], &pads[i + axes.len()]) {
            (Some(begin), Some(end)) => unknowns
                .add(&dims[axis], begin)
                .and_then(|sum| unknowns.add(&sum, end)),
            _ => None,
        };
        dims[axis] = or_fresh(padded, unknowns);
    }
    Some(of_dims(dims))
}

pub(super) fn depth_to_space(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    let ([n, c, h, w], block) = (call.dims(0)?, blocks(call)?) else {
        return None;
    };
    Some(of_dims(vec![
        n.clone(),
        unknowns.floor_div(c, block * block)?,
        unknowns.scale(h, block)?,
        unknowns.scale(w, block)?,
    ]))
}

pub(super) fn space_to_depth(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    let ([n, c, h, w], block) = (call.dims(0)?, blocks(call)?) else {
        return None;
    };
    Some(of_dims(vec![
        n.clone(),
        unknowns.scale(c, block * block)?,
        unknowns.floor_div(h, block)?,
        unknowns.floor_div(w, block)?,
    ]))
}

fn blocks(call: &Call<'_, '_>) -> Option<i64> {
    // Larger blocks than this are no image operation, and their square must not overflow.
    const MAX_BLOCK: i64 = 1 << 15;
    call.int("blocksize", 0)
        .filter(|block| (1..=MAX_BLOCK).contains(block))
}
