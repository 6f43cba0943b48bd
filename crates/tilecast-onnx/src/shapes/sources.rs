//! Where constants and shapes come from: `Constant`, `ConstantOfShape`, `Shape`, `Size`, `Range`.

use super::call::{Call, Halt, Inferred, contradiction};
use super::extent::Extent;
use super::fact::{Elements, Fact};
use super::size::{n_elements, or_fresh, size, size_of};
use super::unknowns::Unknowns;
use crate::Tensor;

pub(super) fn constant(call: &Call<'_>, _: &mut Unknowns) -> Inferred {
    match call.node().constant_value() {
        Ok(Some(tensor)) => Ok(vec![Fact::of_tensor(&tensor)]),
        Ok(None) => Err(Halt::Unknown),
        Err(error) => contradiction(error.to_string()),
    }
}

pub(super) fn constant_of_shape(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let dims = call
        .sizes(0)?
        .into_iter()
        .map(|extent| size_of(extent, unknowns))
        .collect::<Inferred<Vec<_>>>()?;
    let element = match call.node().find_attribute("value") {
        // The default is a float32 zero.
        None => Some(Elements::Floats(vec![0.0])),
        Some(attribute) => attribute
            .t
            .as_deref()
            .and_then(|t| Tensor::from_proto(t).ok())
            .filter(|t| t.len() == 1)
            .and_then(|t| Elements::of_tensor(&t)),
    };
    let elements = match n_elements(&dims) {
        Some(n) if n <= call.max_elements() => element.and_then(|e| e.take(&vec![0; n])),
        _ => None,
    };
    Ok(vec![Fact::new(dims, elements)])
}

pub(super) fn shape(call: &Call<'_>, _: &mut Unknowns) -> Inferred {
    let dims = call.dims(0)?;
    let rank = dims.len() as i64;
    let bound = |value: i64| {
        let counted = if value < 0 {
            value.saturating_add(rank)
        } else {
            value
        };
        counted.clamp(0, rank) as usize
    };
    let start = bound(call.int_or("start", 0)?);
    let end = bound(call.int_or("end", rank)?).max(start);
    let extents = &dims[start..end];
    let elements = Elements::of_sizes(extents.iter().cloned().map(Some).collect());
    let length = Extent::number(extents.len() as i64);
    Ok(vec![Fact::new(vec![length], elements)])
}

pub(super) fn element_count(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let count = call
        .dims(0)?
        .iter()
        .try_fold(Extent::number(1), |n, extent| unknowns.mul(&n, extent));
    Ok(vec![Fact::new(vec![], Elements::of_sizes(vec![count]))])
}

pub(super) fn range(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let one = |slot| -> Inferred<Option<Extent>> {
        // Floats are not followed; a scalar of unknown content has no number of elements to tell.
        match call.elements(slot).and_then(Elements::sizes) {
            Some(sizes) => match <[_; 1]>::try_from(sizes) {
                Ok([only]) => Ok(only),
                Err(other) => contradiction(format!(
                    "input {slot} must be one number, it has {}",
                    other.len()
                )),
            },
            None => Ok(None),
        }
    };
    let (start, limit, step) = (one(0)?, one(1)?, one(2)?);
    let step = step.and_then(|step| step.known());
    if step == Some(0) {
        return contradiction("the step is zero");
    }
    let length = match (&start, &limit, step) {
        (Some(start), Some(limit), Some(step)) => match (start.known(), limit.known()) {
            (Some(start), Some(limit)) => {
                // Ceiling division; a limit on the wrong side gives an empty range.
                let (span, step) = (i128::from(limit) - i128::from(start), i128::from(step));
                Some(size(((span + step - step.signum()) / step).max(0))?)
            }
            _ if step == 1 => unknowns
                .sub(limit, start)
                .and_then(|span| unknowns.maximum(&span, &Extent::number(0))),
            _ => None,
        },
        _ => None,
    };
    let n = length.as_ref().and_then(Extent::known);
    let followed = n.filter(|&n| n <= call.max_elements() as i64);
    let elements = followed
        .zip(start)
        .zip(step)
        .and_then(|((n, start), step)| {
            let element = |i: i64| unknowns.offset(&start, step.checked_mul(i)?);
            Elements::of_sizes((0..n).map(element).collect())
        });
    Ok(vec![Fact::new(vec![or_fresh(length, unknowns)], elements)])
}
