//! Parts of tensors, and tensors put together from parts.

use super::call::{
    Call, Halt, Inferred, axis_from_front, contradiction, if_known, resolve_axes, resolve_axis,
};
use super::extent::{COEFFICIENT_LIMIT, Extent};
use super::fact::{Elements, Fact};
use super::layout::all_open;
use super::positions::moved;
use super::size::{differ, fixed, n_elements, or_fresh, show, size, size_of, sum};
use super::unknowns::Unknowns;

pub(super) fn gather(call: &Call<'_>, _: &mut Unknowns) -> Inferred {
    let (x, indices) = (call.dims(0)?, call.dims(1)?);
    let axis = resolve_axis(call.int_or("axis", 0)?, x.len())?;
    let dims = [&x[..axis], indices, &x[axis + 1..]].concat();
    let extent = x[axis].known().and_then(|n| usize::try_from(n).ok());
    let (Some(wanted), Some(extent)) = (call.numbers(1), extent) else {
        return Ok(vec![Fact::of_dims(dims)]);
    };
    let mut positions = Vec::with_capacity(wanted.len());
    for &index in wanted {
        match axis_from_front(index, extent) {
            Some(position) => positions.push(position),
            None => {
                return contradiction(format!(
                    "index {index} is out of range for axis {axis} of {}",
                    show(x)
                ));
            }
        }
    }
    let index_dims = fixed(indices).unwrap_or_default();
    let rank = index_dims.len();
    Ok(vec![moved(call, dims, |to, from| {
        let (outer, rest) = to.split_at(axis);
        let (index, inner) = rest.split_at(rank);
        let at = index
            .iter()
            .zip(&index_dims)
            .fold(0, |p, (&c, &d)| p * d + c);
        from[..axis].copy_from_slice(outer);
        from[axis] = positions.get(at).copied().unwrap_or_default();
        from[axis + 1..].copy_from_slice(inner);
    })])
}

pub(super) fn gather_elements(call: &Call<'_>, _: &mut Unknowns) -> Inferred {
    Ok(vec![Fact::of_dims(call.dims(1)?.to_vec())])
}

pub(super) fn slice(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let x = call.dims(0)?;
    let Some(axes) = if_known(call.numbers_of("axes", 3))? else {
        return all_open(x.len(), unknowns);
    };
    let starts = if_known(call.sizes_of("starts", 1))?;
    let ends = if_known(call.sizes_of("ends", 2))?;
    if starts == Some(None) || ends == Some(None) {
        return contradiction("it has no starts or no ends");
    }
    let (Some(starts), Some(ends)) = (starts.flatten(), ends.flatten()) else {
        // Which axes are cut is known at best, not how many elements of them remain.
        let Some(axes) = axes else {
            return all_open(x.len(), unknowns);
        };
        let mut dims = x.to_vec();
        for axis in resolve_axes(axes, x.len())? {
            dims[axis] = unknowns.fresh();
        }
        return Ok(vec![Fact::of_dims(dims)]);
    };
    let n = starts.len();
    let axes = match axes {
        Some(axes) => resolve_axes(axes, x.len())?,
        None => (0..n).collect(),
    };
    let steps = if call.has_input(4) {
        if_known(call.sizes(4))?.unwrap_or_else(|| vec![None; n])
    } else {
        vec![Some(Extent::number(1)); n]
    };
    if ends.len() != n || axes.len() != n || steps.len() != n || n > x.len() {
        return contradiction(format!(
            "{n} starts, {} ends, {} axes and {} steps do not fit {}",
            ends.len(),
            axes.len(),
            steps.len(),
            show(x)
        ));
    }
    let mut dims = x.to_vec();
    let mut origin = vec![Some((0, 1)); x.len()];
    for (i, &axis) in axes.iter().enumerate() {
        let number = |e: &Option<Extent>| e.as_ref()?.known();
        let step = number(&steps[i]);
        if step == Some(0) {
            return contradiction("a step of zero");
        }
        let bounds = number(&starts[i]).zip(number(&ends[i])).zip(step);
        origin[axis] = None;
        dims[axis] = match (x[axis].known(), bounds, &starts[i], &ends[i]) {
            (Some(n), Some(((start, end), step)), ..) => {
                let (first, kept) = slice_axis(n, start, end, step);
                origin[axis] = Some((first, step));
                size(kept)?
            }
            (_, _, Some(start), Some(end)) if step == Some(1) => {
                let span = open_span(unknowns, &x[axis], start, end);
                or_fresh(span, unknowns)
            }
            _ => unknowns.fresh(),
        };
    }
    let Some(origin) = origin.into_iter().collect::<Option<Vec<_>>>() else {
        return Ok(vec![Fact::of_dims(dims)]);
    };
    Ok(vec![moved(call, dims, |to, from| {
        for ((f, &t), &(first, step)) in from.iter_mut().zip(to).zip(&origin) {
            *f = (i128::from(first) + i128::from(step) * t as i128) as usize;
        }
    })])
}

/// First position and number of kept elements along an axis of `n`, clamped as ONNX defines it.
fn slice_axis(n: i64, start: i64, end: i64, step: i64) -> (i64, i128) {
    if n == 0 {
        return (0, 0);
    }
    let counted = |v: i64| if v < 0 { v.saturating_add(n) } else { v };
    // A backward slice may end before the first element, a forward one after the last.
    let (high, end_low) = if step > 0 { (n, 0) } else { (n - 1, -1) };
    let start = counted(start).clamp(0, high);
    let end = counted(end).clamp(end_low, high);
    let (span, step) = (i128::from(end) - i128::from(start), i128::from(step));
    (start, ((span + step - step.signum()) / step).max(0))
}

/// Number of elements that a slice of step 1 keeps of an axis, where not all is known in numbers.
fn open_span(
    unknowns: &mut Unknowns,
    extent: &Extent,
    start: &Extent,
    end: &Extent,
) -> Option<Extent> {
    let start = counted(unknowns, extent, start)?;
    let end = counted(unknowns, extent, end)?;
    let span = unknowns.sub(&end, &start)?;
    unknowns.maximum(&span, &Extent::number(0))
}

/// A bound of a forward slice as a position from the front, within `0..=extent`.
fn counted(unknowns: &mut Unknowns, extent: &Extent, bound: &Extent) -> Option<Extent> {
    match bound.known() {
        // Exporters write the largest and smallest integers for the ends of an axis.
        Some(n) if n >= COEFFICIENT_LIMIT => Some(extent.clone()),
        Some(n) if n <= -COEFFICIENT_LIMIT => Some(Extent::number(0)),
        Some(n) if n < 0 => {
            let from_front = unknowns.offset(extent, n)?;
            unknowns.maximum(&from_front, &Extent::number(0))
        }
        // An open bound that may be negative counts from either end.
        None if !unknowns.is_non_negative(bound) => None,
        _ => unknowns.minimum(bound, extent),
    }
}

pub(super) fn split(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let x = call.dims(0)?;
    let axis = resolve_axis(call.int_or("axis", 0)?, x.len())?;
    let n_outputs = call.n_outputs();
    let parts = match if_known(call.sizes_of("split", 1))? {
        Some(Some(parts)) => parts
            .into_iter()
            .map(|part| size_of(part, unknowns))
            .collect::<Inferred<Vec<_>>>()?,
        Some(None) => equal_parts(call, &x[axis], unknowns)?,
        None => (0..n_outputs).map(|_| unknowns.fresh()).collect(),
    };
    let total = sum(unknowns, &parts.iter().collect::<Vec<_>>())?;
    if differ(&total, &x[axis]) || parts.len() != n_outputs {
        return contradiction(format!(
            "{n_outputs} parts of sizes {} do not make up axis {axis} of {}",
            show(&parts),
            show(x)
        ));
    }
    let mut offset = Some(0);
    let mut facts = Vec::with_capacity(n_outputs);
    for part in parts {
        let begin = offset;
        offset = begin
            .zip(part.known())
            .and_then(|(begin, n)| Some(begin + usize::try_from(n).ok()?));
        let mut dims = x.to_vec();
        dims[axis] = part;
        facts.push(match begin {
            Some(begin) => moved(call, dims, |to, from| {
                from.copy_from_slice(to);
                from[axis] += begin;
            }),
            None => Fact::of_dims(dims),
        });
    }
    Ok(facts)
}

/// As many equal parts as there are outputs, the last one smaller where they do not divide.
fn equal_parts(call: &Call<'_>, total: &Extent, unknowns: &mut Unknowns) -> Inferred<Vec<Extent>> {
    let n_outputs = call.n_outputs();
    let n = call.int_or("num_outputs", n_outputs as i64)?;
    if n != n_outputs as i64 || n == 0 {
        return contradiction(format!(
            "it splits into {n} parts and has {n_outputs} outputs"
        ));
    }
    let Some(total) = total.known() else {
        return Ok((0..n).map(|_| unknowns.fresh()).collect());
    };
    let part = total / n + i64::from(total % n != 0);
    if total > 0 && part * (n - 1) >= total {
        return contradiction(format!(
            "{n} parts of {part} leave nothing for the last of {total}"
        ));
    }
    Ok((0..n)
        .map(|i| Extent::number((total - i * part).clamp(0, part)))
        .collect())
}

pub(super) fn concat(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let mut dims = call.dims(0)?.to_vec();
    let axis = resolve_axis(call.int_or("axis", 1)?, dims.len())?;
    for slot in 1..call.n_inputs() {
        let other = call.dims(slot)?;
        let conflicts = |a: usize| a != axis && differ(&dims[a], &other[a]);
        if other.len() != dims.len() || (0..dims.len()).any(conflicts) {
            return contradiction(format!(
                "inputs {} and {} cannot be joined along axis {axis}",
                show(&dims),
                show(other)
            ));
        }
        for (a, (mine, theirs)) in dims.iter_mut().zip(other).enumerate() {
            if a == axis {
                *mine = sum(unknowns, &[mine, theirs])?;
            } else if mine.known().is_none() {
                // They are equal; the one that is a number says more.
                mine.clone_from(theirs);
            }
        }
    }
    let elements = joined(call, &dims, axis);
    Ok(vec![Fact::new(dims, elements)])
}

/// The joined elements: outer block by outer block, each input's run in turn.
fn joined(call: &Call<'_>, dims: &[Extent], axis: usize) -> Option<Elements> {
    n_elements(dims).filter(|&n| n <= call.max_elements())?;
    let outer: usize = fixed(&dims[..axis])?.iter().product();
    let slots = || 0..call.n_inputs();
    // Feature maps end here.
    slots().find_map(|slot| call.elements(slot))?;
    let runs = slots()
        .map(|slot| Some(call.fixed_dims(slot)?[axis..].iter().product()))
        .collect::<Option<Vec<usize>>>()?;
    let parts = |block: usize| {
        slots()
            .zip(&runs)
            .map(move |(slot, &run)| (call.elements(slot), block * run..(block + 1) * run))
    };
    let all_of = |kind: fn(&Elements) -> bool| slots().all(|s| call.elements(s).is_some_and(kind));
    if all_of(|e| matches!(e, Elements::Numbers(_))) {
        let mut all = Vec::new();
        for (elements, run) in (0..outer).flat_map(parts) {
            all.extend_from_slice(elements?.numbers()?.get(run)?);
        }
        return Some(Elements::Numbers(all));
    }
    if all_of(|e| matches!(e, Elements::Floats(_))) {
        let mut all = Vec::new();
        for (elements, run) in (0..outer).flat_map(parts) {
            if let Elements::Floats(v) = elements? {
                all.extend_from_slice(v.get(run)?);
            }
        }
        return Some(Elements::Floats(all));
    }
    let mut all = Vec::new();
    for (elements, run) in (0..outer).flat_map(parts) {
        if let Some(Elements::Floats(_)) = elements {
            return None;
        }
        all.extend(run.map(|position| elements?.size_at(position)));
    }
    Elements::of_sizes(all)
}

pub(super) fn pad(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let x = call.dims(0)?;
    let axes = if call.has_input(3) {
        match call.numbers(3) {
            Some(axes) => resolve_axes(axes, x.len())?,
            None => return all_open(x.len(), unknowns),
        }
    } else {
        (0..x.len()).collect()
    };
    let pads = match if_known(call.sizes_of("pads", 1))? {
        Some(Some(pads)) => pads,
        // Opset 1 called the attribute otherwise.
        Some(None) => return Err(Halt::Unknown),
        None => return all_open(x.len(), unknowns),
    };
    if pads.len() != 2 * axes.len() {
        return contradiction(format!(
            "{} pads for {} axes of {}; there must be two for each",
            pads.len(),
            axes.len(),
            show(x)
        ));
    }
    let mut dims = x.to_vec();
    for (i, &axis) in axes.iter().enumerate() {
        dims[axis] = match (&pads[i], &pads[i + axes.len()]) {
            (Some(begin), Some(end)) => sum(unknowns, &[&x[axis], begin, end])?,
            _ => unknowns.fresh(),
        };
    }
    let zero = Some(Extent::number(0));
    let elements = call.elements(0).filter(|_| pads.iter().all(|p| *p == zero));
    Ok(vec![Fact::new(dims, elements.cloned())])
}

pub(super) fn top_k(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let x = call.dims(0)?;
    let axis = resolve_axis(call.int_or("axis", -1)?, x.len())?;
    let k = match (call.node().int("k")?, call.has_input(1)) {
        (Some(k), false) => Some(Extent::number(k)),
        _ => match if_known(call.sizes(1))?.as_deref() {
            Some([k]) => k.clone(),
            Some(other) => {
                return contradiction(format!("k must be one number, it has {}", other.len()));
            }
            None => None,
        },
    };
    let k = size_of(k, unknowns)?;
    if let (Some(k), Some(n)) = (k.known(), x[axis].known())
        && k > n
    {
        return contradiction(format!("the {k} largest of axis {axis} of {}", show(x)));
    }
    let mut dims = x.to_vec();
    dims[axis] = k;
    Ok(vec![Fact::of_dims(dims.clone()), Fact::of_dims(dims)])
}
