//! Operators whose output element depends on the input elements at one position.

use super::arithmetic::{self, Binary};
use super::call::{Call, Inferred, contradiction, if_known};
use super::extent::Extent;
use super::fact::{Elements, Fact, integer_range};
use super::positions::spread;
use super::size::{broadcast, differ, fixed, show};
use super::unknowns::Unknowns;
use crate::DataType;

/// Same shape as the first input; content unknown.
pub(super) fn like_first_input(call: &Call<'_>, _: &mut Unknowns) -> Inferred {
    Ok(vec![Fact::of_dims(call.dims(0)?.to_vec())])
}

/// As [`like_first_input`], for operators with a mask or the like beside the result.
pub(super) fn every_output_like_first_input(call: &Call<'_>, _: &mut Unknowns) -> Inferred {
    let fact = Fact::of_dims(call.dims(0)?.to_vec());
    Ok(vec![fact; call.n_outputs()])
}

/// Same shape, and content where it is known and the operator is exact on it.
pub(super) fn folded_unary(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let elements = call
        .elements(0)
        .and_then(|e| arithmetic::unary(call.op(), e, unknowns));
    Ok(vec![Fact::new(call.dims(0)?.to_vec(), elements)])
}

/// `Cast`; integers that do not fit the target are dropped by the caller.
pub(super) fn cast(call: &Call<'_>, _: &mut Unknowns) -> Inferred {
    let target = call
        .node()
        .int("to")?
        .and_then(|code| DataType::from_code(i32::try_from(code).ok()?));
    let elements = call
        .elements(0)
        .zip(target)
        .and_then(|(elements, target)| convert(elements, target));
    Ok(vec![Fact::new(call.dims(0)?.to_vec(), elements)])
}

fn convert(elements: &Elements, target: DataType) -> Option<Elements> {
    match (elements, target) {
        (Elements::Numbers(v), DataType::F32) => {
            Some(Elements::Floats(v.iter().map(|&x| x as f32).collect()))
        }
        (Elements::Sizes(_), DataType::F32) => None,
        (Elements::Floats(_), DataType::F32) => Some(elements.clone()),
        (Elements::Floats(v), DataType::Bool) => Some(Elements::Numbers(
            v.iter().map(|&x| i64::from(x != 0.0)).collect(),
        )),
        (_, DataType::Bool) => {
            let truth = |e: Extent| Some(Extent::number(i64::from(e.known()? != 0)));
            let sizes = elements.sizes()?.into_iter();
            Elements::of_sizes(sizes.map(|e| e.and_then(truth)).collect())
        }
        (Elements::Floats(v), target) => {
            integer_range(target)?;
            let exact = v.iter().all(|x| x.abs() < 9.0e15);
            exact.then(|| Elements::Numbers(v.iter().map(|&x| x.trunc() as i64).collect()))
        }
        (_, target) => integer_range(target).map(|_| elements.clone()),
    }
}

/// Broadcasting of all inputs; content unknown.
pub(super) fn broadcast_all(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    Ok(vec![Fact::of_dims(broadcast_inputs(call, unknowns)?)])
}

/// Two inputs with broadcasting, folded where both are known.
pub(super) fn folded_binary(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    // Before opset 7 the right-hand side was aligned by an attribute and never grew the result.
    if call.int_or("broadcast", 0)? != 0 {
        return like_first_input(call, unknowns);
    }
    fold(call, unknowns, 2)
}

/// Any number of inputs with broadcasting, folded where all are known.
pub(super) fn folded_variadic(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    fold(call, unknowns, call.n_inputs())
}

fn fold(call: &Call<'_>, unknowns: &mut Unknowns, n_inputs: usize) -> Inferred {
    if call.n_inputs() != n_inputs || n_inputs == 0 {
        return contradiction(format!(
            "it has {} inputs instead of {}",
            call.n_inputs(),
            n_inputs.max(1)
        ));
    }
    let operator = Binary::of(call)?;
    let mut dims = call.dims(0)?.to_vec();
    let mut elements = call.elements(0).cloned();
    for slot in 1..n_inputs {
        let right = call.dims(slot)?;
        let joined = broadcast(unknowns, &dims, right)?;
        elements = elements
            .zip(call.elements(slot))
            .and_then(|(left_elements, right_elements)| {
                let to = fixed(&joined)?;
                let left = spread_to(&left_elements, &dims, &to, call)?;
                let right = spread_to(right_elements, right, &to, call)?;
                operator.apply(&left, &right, unknowns)
            });
        dims = joined;
    }
    Ok(vec![Fact::new(dims, elements)])
}

/// The elements repeated to the shape that they broadcast to.
pub(super) fn spread_to(
    elements: &Elements,
    from: &[Extent],
    to: &[usize],
    call: &Call<'_>,
) -> Option<Elements> {
    let from = fixed(from)?;
    if from == to {
        return Some(elements.clone());
    }
    elements.take(&spread(&from, to, call.max_elements())?)
}

/// `PRelu`: the slope broadcasts to the input and never grows it.
pub(super) fn prelu(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let x = call.dims(0)?;
    let slope = if_known(call.dims(1))?;
    // Opset 6 slopes of shape [C] apply to axis 1.
    if let Some(slope) = slope.filter(|slope| slope.len() != 1) {
        let joined = broadcast(unknowns, x, slope)?;
        if joined.len() != x.len() || joined.iter().zip(x).any(|(a, b)| differ(a, b)) {
            return contradiction(format!(
                "slope {} does not broadcast to {}",
                show(slope),
                show(x)
            ));
        }
    }
    like_first_input(call, unknowns)
}

/// `Where`.
pub(super) fn select(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let dims = broadcast_inputs(call, unknowns)?;
    let elements = fixed(&dims).and_then(|to| {
        let operand = |slot| spread_to(call.elements(slot)?, call.dims(slot).ok()?, &to, call);
        let (condition, yes, no) = (operand(0)?, operand(1)?, operand(2)?);
        if let (Elements::Floats(yes), Elements::Floats(no)) = (&yes, &no) {
            let pairs = condition.numbers()?.iter().zip(yes.iter().zip(no));
            let chosen = pairs.map(|(&c, (&a, &b))| if c != 0 { a } else { b });
            return Some(Elements::Floats(chosen.collect()));
        }
        if matches!(yes, Elements::Floats(_)) || matches!(no, Elements::Floats(_)) {
            return None;
        }
        let choose = |i| match condition.number_at(i)? {
            0 => no.size_at(i),
            _ => yes.size_at(i),
        };
        Elements::of_sizes((0..condition.len()).map(choose).collect())
    });
    Ok(vec![Fact::new(dims, elements)])
}

fn broadcast_inputs(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred<Vec<Extent>> {
    let mut dims = call.dims(0)?.to_vec();
    for slot in 1..call.n_inputs() {
        dims = broadcast(unknowns, &dims, call.dims(slot)?)?;
    }
    Ok(dims)
}
