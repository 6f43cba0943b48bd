//! Reductions over axes.

use super::call::{Call, Inferred, resolve_axes, resolve_axis};
use super::fact::{Fact, Values};

pub(super) fn reduce(call: &Call<'_>) -> Inferred {
    let x = call.dims(0)?;
    let named = call.integers_of("axes", 1)?.filter(|a| !a.is_empty());
    let axes = match named {
        Some(axes) => resolve_axes(axes, x.len())?,
        None if call.int_or("noop_with_empty_axes", 0)? != 0 => {
            return Ok(vec![Fact::new(x.to_vec(), call.values(0).cloned())]);
        }
        None => (0..x.len()).collect(),
    };
    let dims = reduced(x, &axes, keepdims(call)?);
    let values = (axes.len() == x.len())
        .then(|| call.known_integers(0))
        .flatten()
        .and_then(|v| fold_all(call.node().op(), v))
        .map(|v| Values::Integers(vec![v]));
    Ok(vec![Fact::new(dims, values)])
}

/// The reduction of all elements, for the operators that shape arithmetic uses.
fn fold_all(op: &str, values: &[i64]) -> Option<i64> {
    match op {
        "ReduceProd" => values.iter().try_fold(1i64, |a, &b| a.checked_mul(b)),
        "ReduceSum" => values.iter().try_fold(0i64, |a, &b| a.checked_add(b)),
        "ReduceMin" => values.iter().copied().min(),
        "ReduceMax" => values.iter().copied().max(),
        _ => None,
    }
}

/// `ArgMax`, `ArgMin`.
pub(super) fn arg(call: &Call<'_>) -> Inferred {
    let x = call.dims(0)?;
    let axis = resolve_axis(call.int_or("axis", 0)?, x.len())?;
    let dims = reduced(x, &[axis], keepdims(call)?);
    Ok(vec![Fact::of_dims(dims)])
}

/// What becomes of a reduced axis (`keepdims`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reduced {
    One,
    Dropped,
}

fn keepdims(call: &Call<'_>) -> Inferred<Reduced> {
    Ok(match call.int_or("keepdims", 1)? {
        0 => Reduced::Dropped,
        _ => Reduced::One,
    })
}

fn reduced(dims: &[usize], axes: &[usize], fate: Reduced) -> Vec<usize> {
    dims.iter()
        .enumerate()
        .filter_map(|(axis, &d)| match (axes.contains(&axis), fate) {
            (false, _) => Some(d),
            (true, Reduced::One) => Some(1),
            (true, Reduced::Dropped) => None,
        })
        .collect()
}
