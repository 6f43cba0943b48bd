//! Operators whose output element depends on the input elements at one position.

use super::arithmetic::{self, Remainder};
use super::call::{Call, Inferred, contradiction};
use super::fact::{Fact, Values};
use crate::DataType;

/// Same shape as the first input; content unknown.
pub(super) fn like_first_input(call: &Call<'_>) -> Inferred {
    Ok(vec![Fact::of_dims(call.dims(0)?.to_vec())])
}

/// As [`like_first_input`], for operators with a mask or the like beside the result.
pub(super) fn every_output_like_first_input(call: &Call<'_>) -> Inferred {
    let fact = Fact::of_dims(call.dims(0)?.to_vec());
    Ok(vec![fact; call.node().output.len()])
}

/// Same shape, and content where it is known and the operator is exact on it.
pub(super) fn folded_unary(call: &Call<'_>) -> Inferred {
    let values = call
        .values(0)
        .and_then(|v| arithmetic::unary(call.node().op(), v));
    Ok(vec![Fact::new(call.dims(0)?.to_vec(), values)])
}

/// `Cast`; integers that do not fit the target are dropped by the caller.
pub(super) fn cast(call: &Call<'_>) -> Inferred {
    let target = call
        .node()
        .int("to")?
        .and_then(|code| DataType::from_code(i32::try_from(code).ok()?));
    let values = match (call.values(0), target) {
        (Some(v), Some(target)) => convert(v, target),
        _ => None,
    };
    Ok(vec![Fact::new(call.dims(0)?.to_vec(), values)])
}

fn convert(values: &Values, target: DataType) -> Option<Values> {
    match (values, target) {
        (Values::Integers(v), DataType::F32) => {
            Some(Values::Floats(v.iter().map(|&x| x as f32).collect()))
        }
        (Values::Floats(_), DataType::F32) => Some(values.clone()),
        (_, DataType::Bool) => Some(Values::Integers(match values {
            Values::Integers(v) => v.iter().map(|&x| i64::from(x != 0)).collect(),
            Values::Floats(v) => v.iter().map(|&x| i64::from(x != 0.0)).collect(),
        })),
        (Values::Integers(_), target) => super::integer_range(target).map(|_| values.clone()),
        (Values::Floats(v), target) => {
            super::integer_range(target)?;
            let exact = v.iter().all(|x| x.abs() < 9.0e15);
            exact.then(|| Values::Integers(v.iter().map(|&x| x.trunc() as i64).collect()))
        }
    }
}

/// Broadcasting of all inputs; content unknown.
pub(super) fn broadcast(call: &Call<'_>) -> Inferred {
    Ok(vec![Fact::of_dims(broadcast_inputs(call)?)])
}

/// Two inputs with broadcasting, folded where both are known.
pub(super) fn folded_binary(call: &Call<'_>) -> Inferred {
    // Before opset 7 the right-hand side was aligned by an attribute and never grew the result.
    if call.int_or("broadcast", 0)? != 0 {
        return like_first_input(call);
    }
    fold(call, 2)
}

/// Any number of inputs with broadcasting, folded where all are known.
pub(super) fn folded_variadic(call: &Call<'_>) -> Inferred {
    fold(call, call.node().input.len())
}

fn fold(call: &Call<'_>, n_inputs: usize) -> Inferred {
    if call.node().input.len() != n_inputs || n_inputs == 0 {
        return contradiction(format!(
            "it has {} inputs instead of {}",
            call.node().input.len(),
            n_inputs.max(1)
        ));
    }
    let sign = if call.int_or("fmod", 0)? != 0 {
        Remainder::LikeDividend
    } else {
        Remainder::LikeDivisor
    };
    let mut dims = call.dims(0)?.to_vec();
    let mut values = call.values(0).cloned();
    for slot in 1..n_inputs {
        let right = call.dims(slot)?;
        let joined = broadcast_dims(&dims, right)?;
        values = match (&values, call.values(slot)) {
            (Some(a), Some(b)) => {
                arithmetic::binary(call.node().op(), sign, (a, &dims), (b, right), &joined)
            }
            _ => None,
        };
        dims = joined;
    }
    Ok(vec![Fact::new(dims, values)])
}

/// `PRelu`: the slope broadcasts to the input and never grows it.
pub(super) fn prelu(call: &Call<'_>) -> Inferred {
    let x = call.dims(0)?;
    if let Ok(slope) = call.dims(1)
        // Opset 6 slopes of shape [C] apply to axis 1.
        && slope.len() != 1
        && broadcast_dims(x, slope)? != x
    {
        return contradiction(format!("slope {slope:?} does not broadcast to {x:?}"));
    }
    like_first_input(call)
}

/// `Where`.
pub(super) fn select(call: &Call<'_>) -> Inferred {
    let dims = broadcast_inputs(call)?;
    let spread = |slot| -> Option<Values> {
        arithmetic::spread(call.values(slot)?, call.dims(slot).ok()?, &dims)
    };
    let values = match (spread(0), spread(1), spread(2)) {
        (Some(Values::Integers(c)), Some(Values::Integers(a)), Some(Values::Integers(b))) => {
            Some(Values::Integers(choose(&c, &a, &b)))
        }
        (Some(Values::Integers(c)), Some(Values::Floats(a)), Some(Values::Floats(b))) => {
            Some(Values::Floats(choose(&c, &a, &b)))
        }
        _ => None,
    };
    Ok(vec![Fact::new(dims, values)])
}

fn choose<T: Copy>(condition: &[i64], yes: &[T], no: &[T]) -> Vec<T> {
    condition
        .iter()
        .zip(yes.iter().zip(no))
        .map(|(&c, (&a, &b))| if c != 0 { a } else { b })
        .collect()
}

fn broadcast_inputs(call: &Call<'_>) -> Inferred<Vec<usize>> {
    let mut dims = call.dims(0)?.to_vec();
    for slot in 1..call.node().input.len() {
        dims = broadcast_dims(&dims, call.dims(slot)?)?;
    }
    Ok(dims)
}

/// The shape that two shapes broadcast to, aligned at the last axis.
pub(super) fn broadcast_dims(a: &[usize], b: &[usize]) -> Inferred<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], axis: usize| match (axis + dims.len()).checked_sub(rank) {
        Some(i) => dims[i],
        None => 1,
    };
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            _ => contradiction(format!("shapes {a:?} and {b:?} do not broadcast")),
        })
        .collect()
}
