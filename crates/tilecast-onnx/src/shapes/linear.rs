//! Matrix products.

use super::call::{Call, Inferred, contradiction};
use super::elementwise::broadcast_dims;
use super::fact::Fact;

pub(super) fn mat_mul(call: &Call<'_>) -> Inferred {
    product(call.dims(0)?, call.dims(1)?)
}

/// `QLinearMatMul`: the right-hand side is input 3.
pub(super) fn qlinear_mat_mul(call: &Call<'_>) -> Inferred {
    product(call.dims(0)?, call.dims(3)?)
}

/// numpy's `matmul`: vectors are rows on the left and columns on the right, and lose that axis again.
fn product(left: &[usize], right: &[usize]) -> Inferred {
    if left.is_empty() || right.is_empty() {
        return contradiction("a scalar has no matrix product");
    }
    let a = if left.len() == 1 {
        vec![1, left[0]]
    } else {
        left.to_vec()
    };
    let b = if right.len() == 1 {
        vec![right[0], 1]
    } else {
        right.to_vec()
    };
    let (a_outer, a_inner) = a.split_at(a.len() - 2);
    let (b_outer, b_inner) = b.split_at(b.len() - 2);
    if a_inner[1] != b_inner[0] {
        return contradiction(format!("{left:?} and {right:?} have no matrix product"));
    }
    let mut dims = broadcast_dims(a_outer, b_outer)?;
    if left.len() > 1 {
        dims.push(a_inner[0]);
    }
    if right.len() > 1 {
        dims.push(b_inner[1]);
    }
    Ok(vec![Fact::of_dims(dims)])
}

pub(super) fn gemm(call: &Call<'_>) -> Inferred {
    let (a, b) = (call.dims(0)?, call.dims(1)?);
    let ([a0, a1], [b0, b1]) = (a, b) else {
        return contradiction(format!("{a:?} and {b:?} are not two matrices"));
    };
    let (rows, inner) = if call.int_or("transA", 0)? != 0 {
        (a1, a0)
    } else {
        (a0, a1)
    };
    let (inner_b, columns) = if call.int_or("transB", 0)? != 0 {
        (b1, b0)
    } else {
        (b0, b1)
    };
    if inner != inner_b {
        return contradiction(format!("{a:?} and {b:?} have no matrix product"));
    }
    Ok(vec![Fact::of_dims(vec![*rows, *columns])])
}
