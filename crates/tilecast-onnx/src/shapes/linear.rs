//! Matrix products.

use super::call::{Call, Halt, Inferred, contradiction};
use super::extent::Extent;
use super::fact::Fact;
use super::size::{broadcast, differ, show};
use super::unknowns::Unknowns;

pub(super) fn mat_mul(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    product(call.dims(0)?, call.dims(1)?, unknowns)
}

/// `QLinearMatMul`: the right-hand side is input 3.
pub(super) fn qlinear_mat_mul(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    product(call.dims(0)?, call.dims(3)?, unknowns)
}

/// numpy's `matmul`: vectors are rows on the left and columns on the right, and lose that axis again.
fn product(left: &[Extent], right: &[Extent], unknowns: &mut Unknowns) -> Inferred {
    let (a_outer, a_matrix) = left.split_at(left.len().saturating_sub(2));
    let (b_outer, b_matrix) = right.split_at(right.len().saturating_sub(2));
    let (rows, inner) = match a_matrix {
        [inner] => (None, inner),
        [rows, inner] => (Some(rows), inner),
        _ => return contradiction("a scalar has no matrix product"),
    };
    let (inner_b, columns) = match b_matrix {
        [inner] => (inner, None),
        [inner, columns] => (inner, Some(columns)),
        _ => return contradiction("a scalar has no matrix product"),
    };
    check_inner(inner, inner_b, left, right)?;
    let mut dims = broadcast(unknowns, a_outer, b_outer)?;
    dims.extend(rows.into_iter().chain(columns).cloned());
    Ok(vec![Fact::of_dims(dims)])
}

fn check_inner(a: &Extent, b: &Extent, left: &[Extent], right: &[Extent]) -> Inferred<()> {
    if differ(a, b) {
        let (left, right) = (show(left), show(right));
        return contradiction(format!("{left} and {right} have no matrix product"));
    }
    Ok(())
}

/// `Einsum` with an explicit result and without ellipses: each letter has one extent.
pub(super) fn einsum(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let equation = call.node().string("equation")?.unwrap_or_default();
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let is_plain = |c: char| c.is_ascii_alphabetic() || c == ',';
    let (operands, result) = equation.split_once("->").ok_or(Halt::Unknown)?;
    if !operands.chars().all(is_plain) {
        return Err(Halt::Unknown);
    }
    let mut extents: Vec<(char, Extent)> = Vec::new();
    for (slot, term) in operands.split(',').enumerate() {
        let dims = call.dims(slot)?;
        if dims.len() != term.chars().count() {
            let dims = show(dims);
            return contradiction(format!("`{term}` of its equation does not fit {dims}"));
        }
        for (letter, extent) in term.chars().zip(dims) {
            match extents.iter_mut().find(|(known, _)| *known == letter) {
                None => extents.push((letter, extent.clone())),
                // An extent of 1 stands for any.
                Some((_, known)) => {
                    let joined = broadcast(
                        unknowns,
                        std::slice::from_ref(known),
                        std::slice::from_ref(extent),
                    )?;
                    *known = joined.into_iter().next().ok_or(Halt::Unknown)?;
                }
            }
        }
    }
    let dims = result.chars().map(|letter| {
        let extent = extents.iter().find(|(known, _)| *known == letter);
        extent
            .map(|(_, extent)| extent.clone())
            .ok_or(Halt::Unknown)
    });
    Ok(vec![Fact::of_dims(dims.collect::<Result<_, _>>()?)])
}

pub(super) fn gemm(call: &Call<'_>, _: &mut Unknowns) -> Inferred {
    let (a, b) = (call.dims(0)?, call.dims(1)?);
    let ([a0, a1], [b0, b1]) = (a, b) else {
        let (a, b) = (show(a), show(b));
        return contradiction(format!("{a} and {b} are not two matrices"));
    };
    let (rows, inner) = match call.int_or("transA", 0)? {
        0 => (a0, a1),
        _ => (a1, a0),
    };
    let (inner_b, columns) = match call.int_or("transB", 0)? {
        0 => (b0, b1),
        _ => (b1, b0),
    };
    check_inner(inner, inner_b, a, b)?;
    Ok(vec![Fact::of_dims(vec![rows.clone(), columns.clone()])])
}
