//! Reductions over axes.

use super::arithmetic::Binary;
use super::call::{Call, Halt, Inferred, if_known, resolve_axes, resolve_axis};
use super::extent::Extent;
use super::fact::{Elements, Fact};
use super::layout::all_open;
use super::unknowns::Unknowns;

pub(super) fn reduce(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let x = call.dims(0)?;
    let fate = Fate::of(call)?;
    let Some(named) = if_known(call.numbers_of("axes", 1))? else {
        // Some axes become 1, no telling which.
        return match fate {
            Fate::One => all_open(x.len(), unknowns),
            Fate::Dropped => Err(Halt::Unknown),
        };
    };
    let axes = match named.filter(|axes| !axes.is_empty()) {
        Some(axes) => resolve_axes(axes, x.len())?,
        None if call.int_or("noop_with_empty_axes", 0)? != 0 => {
            return Ok(vec![Fact::new(x.to_vec(), call.elements(0).cloned())]);
        }
        None => (0..x.len()).collect(),
    };
    let elements = (axes.len() == x.len())
        .then(|| fold_all(call, unknowns))
        .flatten();
    Ok(vec![Fact::new(reduced(x, &axes, fate), elements)])
}

/// The reduction of all elements, for the operators that shape arithmetic uses.
fn fold_all(call: &Call<'_>, unknowns: &mut Unknowns) -> Option<Elements> {
    let (op, neutral) = match call.op() {
        "ReduceProd" => ("Mul", Some(1)),
        "ReduceSum" => ("Sum", Some(0)),
        "ReduceMin" => ("Min", None),
        "ReduceMax" => ("Max", None),
        _ => return None,
    };
    let operator = Binary::folding(op, call);
    let mut total = neutral.map(Extent::number);
    for element in call.elements(0)?.sizes()? {
        total = Some(match total {
            Some(total) => operator.pair(&total, &element?, unknowns)?,
            None => element?,
        });
    }
    Elements::of_sizes(vec![total])
}

/// `ArgMax`, `ArgMin`.
pub(super) fn arg(call: &Call<'_>, _: &mut Unknowns) -> Inferred {
    let x = call.dims(0)?;
    let axis = resolve_axis(call.int_or("axis", 0)?, x.len())?;
    Ok(vec![Fact::of_dims(reduced(x, &[axis], Fate::of(call)?))])
}

/// What becomes of a reduced axis (`keepdims`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    One,
    Dropped,
}

impl Fate {
    fn of(call: &Call<'_>) -> Inferred<Self> {
        Ok(match call.int_or("keepdims", 1)? {
            0 => Self::Dropped,
            _ => Self::One,
        })
    }
}

fn reduced(dims: &[Extent], axes: &[usize], fate: Fate) -> Vec<Extent> {
    let mut reduced = Vec::with_capacity(dims.len());
    for (axis, extent) in dims.iter().enumerate() {
        match (axes.contains(&axis), fate) {
            (false, _) => reduced.push(extent.clone()),
            (true, Fate::One) => reduced.push(Extent::number(1)),
            (true, Fate::Dropped) => {}
        }
    }
    reduced
}
