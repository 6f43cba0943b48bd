//! Arithmetic on the integers of shape computations.

use tilecast_onnx::DataType;
use tilecast_onnx::proto::NodeProto;

use super::MAX_TRACKED_ELEMENTS;
use super::call::Call;
use super::extent::Extent;
use super::unknowns::Unknowns;
use crate::simplify::arrange::{self, Operands};

/// Elements as an output of this type holds them: numbers that it would wrap, and types that are not followed, are
/// dropped.
pub(super) fn representable(
    elements: Vec<Option<Extent>>,
    data_type: DataType,
) -> Option<Vec<Option<Extent>>> {
    let (low, high) = match data_type {
        DataType::I64 => (i64::MIN, i64::MAX),
        DataType::I32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::Bool => (0, 1),
        _ => return None,
    };
    let holds = |e: &Extent| match e.known() {
        Some(n) => (low..=high).contains(&n),
        None => data_type != DataType::Bool,
    };
    Some(elements.into_iter().map(|e| e.filter(holds)).collect())
}

/// Dimensions and elements of a tensor.
pub(super) type Followed = (Vec<usize>, Vec<Option<Extent>>);

/// The elements of each output of an operator that only moves them; `None` where they are not followed.
pub(super) fn moved(call: &Call<'_, '_>) -> Option<Vec<Followed>> {
    let n_data = arrange::n_data_inputs(call.node)?;
    let mut pool: Vec<Option<Extent>> = Vec::new();
    for slot in 0..n_data {
        pool.extend_from_slice(call.elements(slot)?);
    }
    let arrangements = arrange::arrange(&Operands {
        node: call.node,
        dims: &|slot| call.fixed_dims(slot),
        numbers: &|slot| call.numbers(slot),
        max_elements: MAX_TRACKED_ELEMENTS,
    })?;
    arrangements
        .into_iter()
        .map(|a| {
            let elements = a
                .source
                .iter()
                .map(|&p| pool.get(p).cloned())
                .collect::<Option<_>>()?;
            Some((a.dims, elements))
        })
        .collect()
}

/// The elements of an input spread to the shape of the output.
fn spread(call: &Call<'_, '_>, slot: usize, dims: &[usize]) -> Option<Vec<Option<Extent>>> {
    let elements = call.elements(slot)?;
    arrange::spread(&call.fixed_dims(slot)?, dims, MAX_TRACKED_ELEMENTS)?
        .iter()
        .map(|&p| elements.get(p).cloned())
        .collect()
}

/// The elements of an element-wise operator's output; `None` where they are not followed.
pub(super) fn elementwise(
    call: &Call<'_, '_>,
    unknowns: &mut Unknowns,
    dims: &[usize],
) -> Option<Vec<Option<Extent>>> {
    let node = call.node;
    // Before opset 7 the right-hand side was aligned by an attribute.
    if call.int("broadcast", 0)? != 0 {
        return None;
    }
    let operands = (0..node.input.len())
        .map(|slot| spread(call, slot, dims))
        .collect::<Option<Vec<_>>>()?;
    let n = operands.first()?.len();
    Some(
        (0..n)
            .map(|i| {
                let at = |slot: usize| operands.get(slot).and_then(|o| o[i].as_ref());
                if node.op() == "Where" {
                    return match at(0)?.known()? {
                        0 => at(2).cloned(),
                        _ => at(1).cloned(),
                    };
                }
                let first = at(0)?.clone();
                match operands.len() {
                    1 => unary(node, unknowns, &first),
                    n_operands => (1..n_operands)
                        .try_fold(first, |acc, slot| binary(call, unknowns, &acc, at(slot)?)),
                }
            })
            .collect(),
    )
}

fn unary(node: &NodeProto, unknowns: &mut Unknowns, x: &Extent) -> Option<Extent> {
    match node.op() {
        "Neg" => unknowns.scale(x, -1),
        "Abs" if unknowns.is_non_negative(x) => Some(x.clone()),
        "Abs" => x.known()?.checked_abs().map(Extent::number),
        "Not" => Some(Extent::number(i64::from(x.known()? == 0))),
        "Min" | "Max" | "Sum" => Some(x.clone()),
        "Cast" => match node
            .int("to")
            .ok()?
            .and_then(|code| i32::try_from(code).ok())?
        {
            code if code == DataType::Bool.code() => {
                Some(Extent::number(i64::from(x.known()? != 0)))
            }
            // The caller drops what the target type does not hold.
            _ => Some(x.clone()),
        },
        _ => None,
    }
}

fn binary(call: &Call<'_, '_>, unknowns: &mut Unknowns, a: &Extent, b: &Extent) -> Option<Extent> {
    let both = || Some((a.known()?, b.known()?));
    let truth = |t: bool| Some(Extent::number(i64::from(t)));
    match call.node.op() {
        "Add" | "Sum" => unknowns.add(a, b),
        "Sub" => unknowns.sub(a, b),
        // The product of two extents may pass 2³¹ although no extent does.
        "Mul" if a.known().or(b.known()).is_none() && !call.is_64_bit() => None,
        "Mul" => unknowns.mul(a, b),
        "Div" => unknowns.truncated_div(a, b),
        "Mod" => remainder(unknowns, a, b, call.int("fmod", 0)? != 0),
        "Min" => unknowns.minimum(a, b),
        "Max" => unknowns.maximum(a, b),
        "Equal" if a == b => truth(true),
        "Equal" => both().and_then(|(a, b)| truth(a == b)),
        "Less" => both().and_then(|(a, b)| truth(a < b)),
        "LessOrEqual" => both().and_then(|(a, b)| truth(a <= b)),
        "Greater" => both().and_then(|(a, b)| truth(a > b)),
        "GreaterOrEqual" => both().and_then(|(a, b)| truth(a >= b)),
        "And" => both().and_then(|(a, b)| truth(a != 0 && b != 0)),
        "Or" => both().and_then(|(a, b)| truth(a != 0 || b != 0)),
        "Xor" => both().and_then(|(a, b)| truth((a != 0) != (b != 0))),
        _ => None,
    }
}

/// `Mod`: the sign of the divisor as in Python, or with `fmod` of the dividend as in C.
fn remainder(unknowns: &mut Unknowns, a: &Extent, b: &Extent, like_c: bool) -> Option<Extent> {
    if let (true, Some(a), Some(b)) = (like_c, a.known(), b.known()) {
        return a.checked_rem(b).map(Extent::number);
    }
    if like_c && !unknowns.is_non_negative(a) {
        return None;
    }
    unknowns.remainder(a, b.known()?)
}

/// The product of elements.
pub(super) fn product(elements: &[Extent], unknowns: &mut Unknowns) -> Option<Extent> {
    elements
        .iter()
        .try_fold(Extent::number(1), |acc, e| unknowns.mul(&acc, e))
}

/// An extent that the graph leaves open: the value where it is known, otherwise one that equals nothing else.
pub(super) fn or_fresh(extent: Option<Extent>, unknowns: &mut Unknowns) -> Extent {
    extent.unwrap_or_else(|| unknowns.fresh())
}

/// What two shapes broadcast to.
pub(super) fn broadcast(
    unknowns: &mut Unknowns,
    a: &[Extent],
    b: &[Extent],
) -> Option<Vec<Extent>> {
    let rank = a.len().max(b.len());
    let one = Extent::number(1);
    let at = |dims: &[Extent], axis: usize| -> Extent {
        (axis + dims.len())
            .checked_sub(rank)
            .map_or_else(|| one.clone(), |axis| dims[axis].clone())
    };
    (0..rank)
        .map(|axis| unknowns.broadcast(&at(a, axis), &at(b, axis)))
        .collect()
}

/// The extent that the larger of zero and this is.
pub(super) fn at_least_zero(unknowns: &mut Unknowns, extent: &Extent) -> Option<Extent> {
    unknowns.maximum(extent, &Extent::number(0))
}
