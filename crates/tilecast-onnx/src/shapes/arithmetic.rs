//! Element arithmetic on tracked values, with the semantics that ONNX gives the operators.
//!
//! An operation that overflows, divides by zero or mixes types has no result: the value becomes unknown, the shape stays.

use super::fact::{Values, ravel, rearrange};

/// One element of either kind.
#[derive(Clone, Copy)]
enum Pair {
    Integers(i64, i64),
    Floats(f32, f32),
}

/// Applies a unary operator to every element.
pub(super) fn unary(op: &str, values: &Values) -> Option<Values> {
    match values {
        Values::Integers(v) => v
            .iter()
            .map(|&x| match op {
                "Identity" => Some(x),
                "Neg" => x.checked_neg(),
                "Abs" => x.checked_abs(),
                "Sign" => Some(x.signum()),
                "Not" => Some(i64::from(x == 0)),
                _ => None,
            })
            .collect::<Option<_>>()
            .map(Values::Integers),
        Values::Floats(v) => v
            .iter()
            .map(|&x| match op {
                "Identity" => Some(x),
                "Neg" => Some(-x),
                "Abs" => Some(x.abs()),
                "Floor" => Some(x.floor()),
                "Ceil" => Some(x.ceil()),
                "Round" => Some(x.round_ties_even()),
                "Sqrt" => Some(x.sqrt()),
                _ => None,
            })
            .collect::<Option<_>>()
            .map(Values::Floats),
    }
}

/// Applies a binary operator with broadcasting to `dims`, which both inputs are known to broadcast to.
pub(super) fn binary(
    op: &str,
    fmod: Remainder,
    left: (&Values, &[usize]),
    right: (&Values, &[usize]),
    dims: &[usize],
) -> Option<Values> {
    let left = spread(left.0, left.1, dims)?;
    let right = spread(right.0, right.1, dims)?;
    let pairs: Vec<Pair> = match (&left, &right) {
        (Values::Integers(a), Values::Integers(b)) => a
            .iter()
            .zip(b)
            .map(|(&a, &b)| Pair::Integers(a, b))
            .collect(),
        (Values::Floats(a), Values::Floats(b)) => {
            a.iter().zip(b).map(|(&a, &b)| Pair::Floats(a, b)).collect()
        }
        _ => return None,
    };
    let float_result = matches!(left, Values::Floats(_))
        && matches!(op, "Add" | "Sub" | "Mul" | "Div" | "Min" | "Max" | "Sum");
    if float_result {
        return pairs
            .iter()
            .map(|&p| float(op, p))
            .collect::<Option<_>>()
            .map(Values::Floats);
    }
    pairs
        .iter()
        .map(|&p| integer(op, fmod, p))
        .collect::<Option<_>>()
        .map(Values::Integers)
}

/// Which sign the remainder takes (`fmod` attribute of `Mod`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Remainder {
    /// The divisor's, as in Python.
    LikeDivisor,
    /// The dividend's, as in C.
    LikeDividend,
}

fn float(op: &str, pair: Pair) -> Option<f32> {
    let Pair::Floats(a, b) = pair else {
        return None;
    };
    Some(match op {
        "Add" | "Sum" => a + b,
        "Sub" => a - b,
        "Mul" => a * b,
        "Div" => a / b,
        "Min" => a.min(b),
        "Max" => a.max(b),
        _ => return None,
    })
}

fn integer(op: &str, fmod: Remainder, pair: Pair) -> Option<i64> {
    let ordering = match pair {
        Pair::Integers(a, b) => Some(a.cmp(&b)),
        Pair::Floats(a, b) => a.partial_cmp(&b),
    };
    let compared = match op {
        "Equal" => Some(ordering.is_some_and(std::cmp::Ordering::is_eq)),
        "Less" => Some(ordering.is_some_and(std::cmp::Ordering::is_lt)),
        "LessOrEqual" => Some(ordering.is_some_and(std::cmp::Ordering::is_le)),
        "Greater" => Some(ordering.is_some_and(std::cmp::Ordering::is_gt)),
        "GreaterOrEqual" => Some(ordering.is_some_and(std::cmp::Ordering::is_ge)),
        _ => None,
    };
    if let Some(truth) = compared {
        return Some(i64::from(truth));
    }
    let Pair::Integers(a, b) = pair else {
        return None;
    };
    match op {
        "Add" | "Sum" => a.checked_add(b),
        "Sub" => a.checked_sub(b),
        "Mul" => a.checked_mul(b),
        // ONNX divides integers towards zero.
        "Div" => a.checked_div(b),
        "Mod" => modulo(a, b, fmod),
        "Pow" => a.checked_pow(u32::try_from(b).ok()?),
        "Min" => Some(a.min(b)),
        "Max" => Some(a.max(b)),
        "And" => Some(i64::from(a != 0 && b != 0)),
        "Or" => Some(i64::from(a != 0 || b != 0)),
        "Xor" => Some(i64::from((a != 0) != (b != 0))),
        _ => None,
    }
}

fn modulo(a: i64, b: i64, sign: Remainder) -> Option<i64> {
    let truncated = a.checked_rem(b)?;
    let crosses = truncated != 0 && (truncated < 0) != (b < 0);
    Some(match sign {
        Remainder::LikeDivisor if crosses => truncated + b,
        _ => truncated,
    })
}

/// The values repeated to the shape they broadcast to.
pub(super) fn spread(values: &Values, from: &[usize], to: &[usize]) -> Option<Values> {
    let lead = to.len().checked_sub(from.len())?;
    rearrange(values, to, |c| {
        let mine: Vec<usize> = c[lead..]
            .iter()
            .zip(from)
            .map(|(&c, &d)| if d == 1 { 0 } else { c })
            .collect();
        ravel(&mine, from)
    })
}
