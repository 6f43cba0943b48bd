//! Element arithmetic on followed values, with the semantics that ONNX gives the operators.
//!
//! An operation that overflows, divides by zero or mixes types has no result: the element becomes unknown, the shape stays.

use super::call::{Call, Inferred};
use super::extent::Extent;
use super::fact::Elements;
use super::unknowns::Unknowns;

/// Applies a unary operator to every element.
pub(super) fn unary(op: &str, elements: &Elements, unknowns: &mut Unknowns) -> Option<Elements> {
    if let Elements::Floats(v) = elements {
        let f: fn(f32) -> f32 = match op {
            "Identity" => |x| x,
            "Neg" => |x| -x,
            "Abs" => f32::abs,
            "Floor" => f32::floor,
            "Ceil" => f32::ceil,
            "Round" => f32::round_ties_even,
            "Sqrt" => f32::sqrt,
            _ => return None,
        };
        return Some(Elements::Floats(v.iter().map(|&x| f(x)).collect()));
    }
    let results = elements.sizes()?.into_iter().map(|x| {
        let x = x?;
        match (op, x.known()) {
            ("Identity", _) => Some(x),
            ("Neg", None) => unknowns.scale(&x, -1),
            ("Abs", None) => unknowns.is_non_negative(&x).then_some(x),
            ("Neg", Some(n)) => n.checked_neg().map(Extent::number),
            ("Abs", Some(n)) => n.checked_abs().map(Extent::number),
            ("Sign", Some(n)) => Some(Extent::number(n.signum())),
            ("Not", Some(n)) => Some(truth(n == 0)),
            _ => None,
        }
    });
    Elements::of_sizes(results.collect())
}

/// Which sign the remainder takes (`fmod` attribute of `Mod`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remainder {
    /// The divisor's, as in Python.
    LikeDivisor,
    /// The dividend's, as in C.
    LikeDividend,
}

/// A binary operator on elements.
#[derive(Clone, Copy)]
pub(super) struct Binary<'a> {
    op: &'a str,
    sign: Remainder,
    is_64_bit: bool,
}

impl<'a> Binary<'a> {
    pub(super) fn of(call: &Call<'a>) -> Inferred<Self> {
        Ok(Self {
            op: call.op(),
            sign: if call.int_or("fmod", 0)? != 0 {
                Remainder::LikeDividend
            } else {
                Remainder::LikeDivisor
            },
            is_64_bit: call.is_64_bit(),
        })
    }

    /// The same on the elements of one tensor (`ReduceSum` and the like).
    pub(super) fn folding(op: &'a str, call: &Call<'a>) -> Self {
        Self {
            op,
            sign: Remainder::LikeDivisor,
            is_64_bit: call.is_64_bit(),
        }
    }

    /// Applies the operator to elements at the same positions.
    pub(super) fn apply(
        self,
        left: &Elements,
        right: &Elements,
        unknowns: &mut Unknowns,
    ) -> Option<Elements> {
        match (left, right) {
            (Elements::Floats(a), Elements::Floats(b)) => self.floats(a, b),
            (Elements::Floats(_), _) | (_, Elements::Floats(_)) => None,
            _ => {
                let one = |i| match (left.number_at(i), right.number_at(i)) {
                    (Some(a), Some(b)) => {
                        integer_result(self.op, self.sign, a, b).map(Extent::number)
                    }
                    _ => self.sizes(&left.size_at(i)?, &right.size_at(i)?, unknowns),
                };
                Elements::of_sizes((0..left.len().min(right.len())).map(one).collect())
            }
        }
    }

    /// Applies the operator to one pair.
    pub(super) fn pair(self, a: &Extent, b: &Extent, unknowns: &mut Unknowns) -> Option<Extent> {
        match (a.known(), b.known()) {
            (Some(a), Some(b)) => integer_result(self.op, self.sign, a, b).map(Extent::number),
            _ => self.sizes(a, b, unknowns),
        }
    }

    fn floats(self, a: &[f32], b: &[f32]) -> Option<Elements> {
        let pairs = || a.iter().zip(b);
        if let Some(holds) = comparison::<f32>(self.op) {
            let numbers = pairs().map(|(a, b)| i64::from(holds(a, b)));
            return Some(Elements::Numbers(numbers.collect()));
        }
        let f: fn(f32, f32) -> f32 = match self.op {
            "Add" | "Sum" => |a, b| a + b,
            "Sub" => |a, b| a - b,
            "Mul" => |a, b| a * b,
            "Div" => |a, b| a / b,
            "Min" => f32::min,
            "Max" => f32::max,
            _ => return None,
        };
        Some(Elements::Floats(pairs().map(|(&a, &b)| f(a, b)).collect()))
    }

    /// The result for integers of which at least one depends on the size of the input.
    fn sizes(self, a: &Extent, b: &Extent, unknowns: &mut Unknowns) -> Option<Extent> {
        match self.op {
            "Add" | "Sum" => unknowns.add(a, b),
            "Sub" => unknowns.sub(a, b),
            // The product of two extents may pass 2³¹ although no extent does.
            "Mul" if a.known().or(b.known()).is_none() && !self.is_64_bit => None,
            "Mul" => unknowns.mul(a, b),
            "Div" => unknowns.truncated_div(a, b),
            "Mod" if self.sign == Remainder::LikeDividend && !unknowns.is_non_negative(a) => None,
            "Mod" => unknowns.remainder(a, b.known()?),
            "Min" => unknowns.minimum(a, b),
            "Max" => unknowns.maximum(a, b),
            "Equal" => (a == b).then(|| truth(true)),
            _ => None,
        }
    }
}

fn truth(holds: bool) -> Extent {
    Extent::number(i64::from(holds))
}

/// The test behind an operator that compares two numbers; of floats, none holds for what is not a number.
#[must_use]
pub fn comparison<T: PartialOrd>(op: &str) -> Option<fn(&T, &T) -> bool> {
    Some(match op {
        "Equal" => T::eq,
        "Less" => T::lt,
        "LessOrEqual" => T::le,
        "Greater" => T::gt,
        "GreaterOrEqual" => T::ge,
        _ => return None,
    })
}

/// Integer arithmetic of a binary operator; `None` for other operators, on overflow, and on division by zero, which
/// runtimes treat differently.
#[must_use]
pub fn integer_arithmetic(op: &str, sign: Remainder, a: i64, b: i64) -> Option<i64> {
    match op {
        "Add" | "Sum" => a.checked_add(b),
        "Sub" => a.checked_sub(b),
        "Mul" => a.checked_mul(b),
        // ONNX divides integers towards zero.
        "Div" => a.checked_div(b),
        "Mod" => {
            let truncated = a.checked_rem(b)?;
            let crosses = truncated != 0 && (truncated < 0) != (b < 0);
            Some(match sign {
                Remainder::LikeDivisor if crosses => truncated + b,
                _ => truncated,
            })
        }
        "Min" => Some(a.min(b)),
        "Max" => Some(a.max(b)),
        _ => None,
    }
}

/// What a binary operator makes of two integers, booleans being 0 and 1.
fn integer_result(op: &str, sign: Remainder, a: i64, b: i64) -> Option<i64> {
    if let Some(holds) = comparison::<i64>(op) {
        return Some(i64::from(holds(&a, &b)));
    }
    match op {
        "Pow" => a.checked_pow(u32::try_from(b).ok()?),
        "And" => Some(i64::from(a != 0 && b != 0)),
        "Or" => Some(i64::from(a != 0 || b != 0)),
        "Xor" => Some(i64::from((a != 0) != (b != 0))),
        _ => integer_arithmetic(op, sign, a, b),
    }
}
