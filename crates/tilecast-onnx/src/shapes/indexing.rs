//! Parts of tensors, and tensors put together from parts.

use super::call::{Call, Halt, Inferred, contradiction, extent, resolve_axes, resolve_axis};
use super::fact::{Fact, Values, ravel, rearrange};

pub(super) fn gather(call: &Call<'_>) -> Inferred {
    let (x, indices) = (call.dims(0)?, call.dims(1)?);
    let axis = resolve_axis(call.int_or("axis", 0)?, x.len())?;
    let dims = [&x[..axis], indices, &x[axis + 1..]].concat();
    let wanted = call.known_integers(1);
    if let Some(bad) = wanted.and_then(|w| w.iter().find(|&&i| wrap(i, x[axis]).is_none())) {
        return contradiction(format!(
            "index {bad} is out of range for axis {axis} of {x:?}"
        ));
    }
    let values = call.values(0).zip(wanted).and_then(|(v, wanted)| {
        rearrange(v, &dims, |c| {
            let (outer, rest) = c.split_at(axis);
            let (index, inner) = rest.split_at(indices.len());
            // Every index was checked above.
            let index = wrap(wanted[ravel(index, indices)], x[axis]).unwrap_or(0);
            ravel(&[outer, &[index], inner].concat(), x)
        })
    });
    Ok(vec![Fact::new(dims, values)])
}

pub(super) fn gather_elements(call: &Call<'_>) -> Inferred {
    Ok(vec![Fact::of_dims(call.dims(1)?.to_vec())])
}

/// An index counted from the end where negative; `None` out of range.
fn wrap(index: i64, n: usize) -> Option<usize> {
    let wrapped = if index < 0 {
        index.checked_add(n as i64)?
    } else {
        index
    };
    usize::try_from(wrapped).ok().filter(|&i| i < n)
}

/// Start, step and element count of a slice along one axis of `n` elements, clamped as ONNX defines.
fn slice_axis(n: usize, start: i64, end: i64, step: i64) -> Inferred<(i128, i128, i128)> {
    let (n, step) = (n as i128, i128::from(step));
    if step == 0 {
        return contradiction("a step of zero");
    }
    if n == 0 {
        return Ok((0, step, 0));
    }
    let counted = |v: i64| if v < 0 { i128::from(v) + n } else { v.into() };
    // A backward slice may end before the first element, a forward one after the last.
    let (high, end_low) = if step > 0 { (n, 0) } else { (n - 1, -1) };
    let start = counted(start).clamp(0, high);
    let end = counted(end).clamp(end_low, high);
    let count = ((end - start + step - step.signum()) / step).max(0);
    Ok((start, step, count))
}

pub(super) fn slice(call: &Call<'_>) -> Inferred {
    let x = call.dims(0)?;
    let (Some(starts), Some(ends)) = (call.integers_of("starts", 1)?, call.integers_of("ends", 2)?)
    else {
        return contradiction("it has no starts or no ends");
    };
    let axes = match call.integers_of("axes", 3)? {
        Some(axes) => resolve_axes(axes, x.len())?,
        None => (0..starts.len()).collect(),
    };
    let steps = if call.has_input(4) {
        call.integers(4)?.to_vec()
    } else {
        vec![1; starts.len()]
    };
    let n = starts.len();
    if ends.len() != n || axes.len() != n || steps.len() != n || n > x.len() {
        return contradiction(format!(
            "starts {starts:?}, ends {ends:?}, axes {axes:?} and steps {steps:?} do not fit {x:?}"
        ));
    }
    let mut dims = x.to_vec();
    let mut origin = vec![(0i128, 1i128); x.len()];
    for (i, &axis) in axes.iter().enumerate() {
        let (start, step, count) = slice_axis(x[axis], starts[i], ends[i], steps[i])?;
        dims[axis] = extent(count)?;
        origin[axis] = (start, step);
    }
    let values = call.values(0).and_then(|v| {
        rearrange(v, &dims, |c| {
            let source: Vec<usize> = c
                .iter()
                .zip(&origin)
                .map(|(&c, &(start, step))| (start + step * c as i128) as usize)
                .collect();
            ravel(&source, x)
        })
    });
    Ok(vec![Fact::new(dims, values)])
}

pub(super) fn split(call: &Call<'_>) -> Inferred {
    let x = call.dims(0)?;
    let axis = resolve_axis(call.int_or("axis", 0)?, x.len())?;
    let n_outputs = call.node().output.len();
    let parts = match call.integers_of("split", 1)? {
        Some(parts) => parts
            .iter()
            .map(|&p| extent(p.into()))
            .collect::<Inferred<Vec<_>>>()?,
        None => equal_parts(
            x[axis],
            call.int_or("num_outputs", n_outputs as i64)?,
            n_outputs,
        )?,
    };
    if parts.iter().map(|&p| p as i128).sum::<i128>() != x[axis] as i128 || parts.len() != n_outputs
    {
        return contradiction(format!(
            "{n_outputs} parts of sizes {parts:?} do not make up axis {axis} of {x:?}"
        ));
    }
    let mut offset = 0;
    let mut facts = Vec::with_capacity(n_outputs);
    for part in parts {
        let mut dims = x.to_vec();
        dims[axis] = part;
        let values = call.values(0).and_then(|v| {
            rearrange(v, &dims, |c| {
                let mut source = c.to_vec();
                source[axis] += offset;
                ravel(&source, x)
            })
        });
        facts.push(Fact::new(dims, values));
        offset += part;
    }
    Ok(facts)
}

/// `n` equal parts, the last one smaller where they do not divide.
fn equal_parts(total: usize, n: i64, n_outputs: usize) -> Inferred<Vec<usize>> {
    if usize::try_from(n).ok() != Some(n_outputs) || n_outputs == 0 {
        return contradiction(format!(
            "it splits into {n} parts and has {n_outputs} outputs"
        ));
    }
    let part = total.div_ceil(n_outputs);
    if total > 0 && part * (n_outputs - 1) >= total {
        return contradiction(format!(
            "{n_outputs} parts of {part} leave nothing for the last of {total}"
        ));
    }
    Ok((0..n_outputs)
        .map(|i| total.saturating_sub(i * part).min(part))
        .collect())
}

pub(super) fn concat(call: &Call<'_>) -> Inferred {
    let first = call.dims(0)?;
    let axis = resolve_axis(call.int_or("axis", 1)?, first.len())?;
    let n_inputs = call.node().input.len();
    let mut total = 0i128;
    for slot in 0..n_inputs {
        let other = call.dims(slot)?;
        let fits = other.len() == first.len()
            && (0..first.len()).all(|a| a == axis || other[a] == first[a]);
        if !fits {
            return contradiction(format!(
                "inputs {first:?} and {other:?} cannot be joined along axis {axis}"
            ));
        }
        total += other[axis] as i128;
    }
    let mut dims = first.to_vec();
    dims[axis] = extent(total)?;
    Ok(vec![Fact::new(dims, joined(call, axis))])
}

/// The joined elements: outer block by outer block, each input's run in turn.
fn joined(call: &Call<'_>, axis: usize) -> Option<Values> {
    let parts: Vec<(&Values, usize, usize)> = (0..call.node().input.len())
        .map(|slot| {
            let dims = call.dims(slot).ok()?;
            let outer = dims[..axis].iter().product();
            let run = dims[axis..].iter().product();
            Some((call.values(slot)?, outer, run))
        })
        .collect::<Option<_>>()?;
    let outer = parts.first()?.1;
    let runs = || {
        (0..outer).flat_map(|block| {
            parts
                .iter()
                .map(move |&(values, _, run)| (values, block * run..(block + 1) * run))
        })
    };
    if parts.iter().all(|(v, ..)| matches!(v, Values::Integers(_))) {
        let mut all = Vec::new();
        for (values, range) in runs() {
            if let Values::Integers(v) = values {
                all.extend_from_slice(v.get(range)?);
            }
        }
        return Some(Values::Integers(all));
    }
    let mut all = Vec::new();
    for (values, range) in runs() {
        match values {
            Values::Floats(v) => all.extend_from_slice(v.get(range)?),
            Values::Integers(_) => return None,
        }
    }
    Some(Values::Floats(all))
}

pub(super) fn pad(call: &Call<'_>) -> Inferred {
    let x = call.dims(0)?;
    let Some(pads) = call.integers_of("pads", 1)? else {
        // Opset 1 called the attribute otherwise.
        return Err(Halt::Unknown);
    };
    let axes = if call.has_input(3) {
        resolve_axes(call.integers(3)?, x.len())?
    } else {
        (0..x.len()).collect()
    };
    if pads.len() != 2 * axes.len() {
        return contradiction(format!(
            "{} pads for {} axes of {x:?}; there must be two for each",
            pads.len(),
            axes.len()
        ));
    }
    let mut dims = x.to_vec();
    for (i, &axis) in axes.iter().enumerate() {
        let (begin, end) = (pads[i], pads[i + axes.len()]);
        dims[axis] = extent(x[axis] as i128 + i128::from(begin) + i128::from(end))?;
    }
    let values = call
        .values(0)
        .filter(|_| pads.iter().all(|&p| p == 0))
        .cloned();
    Ok(vec![Fact::new(dims, values)])
}

pub(super) fn top_k(call: &Call<'_>) -> Inferred {
    let x = call.dims(0)?;
    let axis = resolve_axis(call.int_or("axis", -1)?, x.len())?;
    let k = match (call.node().int("k")?, call.has_input(1)) {
        (Some(k), false) => k,
        _ => match call.integers(1)? {
            [k] => *k,
            other => return contradiction(format!("k must be one number, it is {other:?}")),
        },
    };
    let mut dims = x.to_vec();
    dims[axis] = extent(k.into())?;
    if dims[axis] > x[axis] {
        return contradiction(format!("the {k} largest of axis {axis} of {x:?}"));
    }
    Ok(vec![Fact::of_dims(dims.clone()), Fact::of_dims(dims)])
}
