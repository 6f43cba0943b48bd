//! Where constants and shapes come from: `Constant`, `ConstantOfShape`, `Shape`, `Size`, `Range`.

use super::MAX_TRACKED_ELEMENTS;
use super::call::{Call, Halt, Inferred, contradiction, extent};
use super::fact::{Fact, Values};
use crate::Tensor;

pub(super) fn constant(call: &Call<'_>) -> Inferred {
    match call.node().constant_value() {
        Ok(Some(tensor)) => {
            let values = (tensor.len() <= MAX_TRACKED_ELEMENTS)
                .then(|| Values::of_tensor(&tensor))
                .flatten();
            Ok(vec![Fact::new(tensor.dims().to_vec(), values)])
        }
        Ok(None) => Err(Halt::Unknown),
        Err(error) => contradiction(error.to_string()),
    }
}

pub(super) fn constant_of_shape(call: &Call<'_>) -> Inferred {
    let dims = call
        .integers(0)?
        .iter()
        .map(|&d| extent(d.into()))
        .collect::<Inferred<Vec<_>>>()?;
    let n = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let element = match call.node().find_attribute("value") {
        // The default is a float32 zero.
        None => Some(Values::Floats(vec![0.0])),
        Some(attribute) => attribute
            .t
            .as_deref()
            .and_then(|t| Tensor::from_proto(t).ok())
            .filter(|t| t.len() == 1)
            .and_then(|t| Values::of_tensor(&t)),
    };
    let values = match n {
        Some(n) if n <= MAX_TRACKED_ELEMENTS => element.and_then(|v| v.take(&vec![0; n])),
        _ => None,
    };
    Ok(vec![Fact::new(dims, values)])
}

pub(super) fn shape(call: &Call<'_>) -> Inferred {
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
    Ok(vec![Fact::of_vector(
        dims[start..end].iter().map(|&d| d as i64).collect(),
    )])
}

pub(super) fn size(call: &Call<'_>) -> Inferred {
    let n: usize = call.dims(0)?.iter().product();
    Ok(vec![Fact::new(
        vec![],
        Some(Values::Integers(vec![n as i64])),
    )])
}

pub(super) fn range(call: &Call<'_>) -> Inferred {
    let scalar = |slot| match call.integers(slot)? {
        [one] => Ok(i128::from(*one)),
        other => contradiction(format!("input {slot} must be one number, it is {other:?}")),
    };
    let (start, limit, delta) = (scalar(0)?, scalar(1)?, scalar(2)?);
    if delta == 0 {
        return contradiction("the step is zero");
    }
    // Ceiling division; a limit on the wrong side gives an empty range.
    let span = limit - start;
    let count = (span / delta + i128::from(span % delta != 0 && (span < 0) == (delta < 0))).max(0);
    let n = extent(count)?;
    let values = (n <= MAX_TRACKED_ELEMENTS)
        .then(|| Values::Integers((0..n as i128).map(|i| (start + i * delta) as i64).collect()));
    Ok(vec![Fact::new(vec![n], values)])
}
