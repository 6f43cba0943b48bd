//! Arithmetic on the extents of results. Numbers are computed in 128 bits and must be sizes that a tensor can have;
//! what depends on the size of the input and is beyond what [`Unknowns`] follows is open.

use std::fmt;

use super::MAX_ELEMENTS;
use super::call::{Halt, Inferred, contradiction};
use super::extent::Extent;
use super::unknowns::Unknowns;

/// A number as an extent.
pub(super) fn size(number: i128) -> Inferred<Extent> {
    if number < 0 {
        return contradiction(format!("an extent of {number} is not a size"));
    }
    match i64::try_from(number) {
        Ok(n) if n <= MAX_ELEMENTS as i64 => Ok(Extent::number(n)),
        _ => contradiction(format!("an extent of {number} is too large")),
    }
}

/// An integer of the graph as an extent: open where it is not known.
pub(super) fn size_of(integer: Option<Extent>, unknowns: &mut Unknowns) -> Inferred<Extent> {
    match integer {
        Some(extent) => match extent.known() {
            Some(number) => size(number.into()),
            None => Ok(extent),
        },
        None => Ok(unknowns.fresh()),
    }
}

/// An extent that the graph leaves open: the value where it is followed, otherwise one that equals nothing else.
pub(super) fn or_fresh(extent: Option<Extent>, unknowns: &mut Unknowns) -> Extent {
    extent.unwrap_or_else(|| unknowns.fresh())
}

/// `factor · x + offset`.
pub(super) fn affine(
    unknowns: &mut Unknowns,
    x: &Extent,
    factor: i128,
    offset: i128,
) -> Inferred<Extent> {
    if let Some(x) = x.known() {
        return size(i128::from(x) * factor + offset);
    }
    let followed = small(factor)
        .zip(small(offset))
        .and_then(|(factor, offset)| {
            let scaled = unknowns.scale(x, factor)?;
            unknowns.offset(&scaled, offset)
        });
    Ok(or_fresh(followed, unknowns))
}

/// `⌊(x + offset) / divisor⌋` for a positive divisor.
pub(super) fn divided(
    unknowns: &mut Unknowns,
    x: &Extent,
    offset: i128,
    divisor: i128,
) -> Inferred<Extent> {
    if let Some(x) = x.known() {
        return size((i128::from(x) + offset).div_euclid(divisor));
    }
    let followed = small(offset)
        .zip(small(divisor))
        .and_then(|(offset, divisor)| {
            let moved = unknowns.offset(x, offset)?;
            unknowns.floor_div(&moved, divisor)
        });
    Ok(or_fresh(followed, unknowns))
}

fn small(number: i128) -> Option<i64> {
    i64::try_from(number).ok()
}

/// The sum of integers.
pub(super) fn sum(unknowns: &mut Unknowns, terms: &[&Extent]) -> Inferred<Extent> {
    let numbers = terms.iter().map(|t| t.known().map(i128::from));
    if let Some(total) = numbers.sum::<Option<i128>>() {
        return size(total);
    }
    let followed = terms
        .iter()
        .try_fold(Extent::number(0), |total, term| unknowns.add(&total, term));
    Ok(or_fresh(followed, unknowns))
}

/// The product of integers.
pub(super) fn product(unknowns: &mut Unknowns, factors: &[Extent]) -> Inferred<Extent> {
    if let Some(count) = count(factors) {
        return size(count);
    }
    let followed = factors.iter().try_fold(Extent::number(1), |total, factor| {
        unknowns.mul(&total, factor)
    });
    Ok(or_fresh(followed, unknowns))
}

/// The product, where all are numbers; saturates.
pub(super) fn count(extents: &[Extent]) -> Option<i128> {
    extents
        .iter()
        .try_fold(1i128, |n, e| Some(n.saturating_mul(i128::from(e.known()?))))
}

/// Extents that are all the same numbers at every input size.
pub(super) fn fixed(dims: &[Extent]) -> Option<Vec<usize>> {
    dims.iter()
        .map(|d| usize::try_from(d.known()?).ok())
        .collect()
}

/// Number of elements, where it is a number that a tensor can have.
pub(super) fn n_elements(dims: &[Extent]) -> Option<usize> {
    usize::try_from(count(dims)?)
        .ok()
        .filter(|&n| n <= MAX_ELEMENTS)
}

/// Whether two extents are different numbers.
pub(super) fn differ(a: &Extent, b: &Extent) -> bool {
    matches!((a.known(), b.known()), (Some(a), Some(b)) if a != b)
}

/// The shape that two shapes broadcast to, aligned at the last axis.
pub(super) fn broadcast(
    unknowns: &mut Unknowns,
    a: &[Extent],
    b: &[Extent],
) -> Inferred<Vec<Extent>> {
    if a == b {
        return Ok(a.to_vec());
    }
    let rank = a.len().max(b.len());
    let one = Extent::number(1);
    let at = |dims: &[Extent], axis: usize| match (axis + dims.len()).checked_sub(rank) {
        Some(axis) => dims[axis].clone(),
        None => one.clone(),
    };
    (0..rank)
        .map(|axis| {
            let joined = unknowns.broadcast(&at(a, axis), &at(b, axis));
            joined.ok_or_else(|| {
                let (a, b) = (show(a), show(b));
                Halt::Contradiction(format!("shapes {a} and {b} do not broadcast"))
            })
        })
        .collect()
}

/// Refuses shapes whose element count overflows or exceeds what any machine holds.
pub(super) fn check_size(dims: &[Extent]) -> Inferred<()> {
    let mut product = 1i128;
    for dim in dims {
        if let Some(n) = dim.known() {
            size(n.into())?;
            // Zero extents must not hide a huge one beside them: later operators may drop the zero.
            product = product.saturating_mul(i128::from(n.max(1)));
        }
    }
    if product > MAX_ELEMENTS as i128 {
        return contradiction(format!("the shape {} is too large", show(dims)));
    }
    Ok(())
}

/// A shape for messages, with `?` for extents that depend on the size of the input.
pub(super) fn show(dims: &[Extent]) -> impl fmt::Display {
    struct Shown<'a>(&'a [Extent]);
    impl fmt::Display for Shown<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("[")?;
            for (axis, extent) in self.0.iter().enumerate() {
                f.write_str(if axis == 0 { "" } else { ", " })?;
                match extent.known() {
                    Some(n) => write!(f, "{n}")?,
                    None => f.write_str("?")?,
                }
            }
            f.write_str("]")
        }
    }
    Shown(dims)
}
