//! What extents are made of, and arithmetic on extents; the normal form is described in [`super::extent`].

use std::collections::HashMap;

use super::extent::{COEFFICIENT_LIMIT, Extent, UnknownId, gcd};

/// An operation whose result is only known to be the same for the same operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Opaque {
    /// Product of two or more extents.
    Product,
    /// The smaller one.
    Minimum,
    /// The larger one.
    Maximum,
    /// What two extents broadcast to.
    Broadcast,
    /// Division towards zero, where a floor division would need the signs.
    Quotient,
}

/// What an unknown stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Unknown {
    /// Extent of an axis of a graph input.
    Input {
        input: usize,
        axis: usize,
    },
    /// An extent about which nothing is known.
    Fresh,
    /// `⌊numerator / denominator⌋`, coefficients of the numerator in `0..denominator`.
    Floor {
        numerator: Extent,
        denominator: i64,
    },
    /// `dividend mod divisor`, coefficients of the dividend in `0..divisor`.
    Remainder {
        dividend: Extent,
        divisor: i64,
    },
    Opaque(Opaque, Vec<Extent>),
}

/// The unknowns of one graph.
#[derive(Debug, Default)]
pub(super) struct Unknowns {
    known: Vec<Entry>,
    ids: HashMap<Unknown, UnknownId>,
}

#[derive(Debug)]
struct Entry {
    unknown: Unknown,
    // Decided once: operands are shared, and walking them again from each use would take exponential time.
    is_non_negative: bool,
    is_positive: bool,
}

impl Unknowns {
    fn intern(&mut self, unknown: Unknown) -> Extent {
        let next = UnknownId(self.known.len());
        let id = *self.ids.entry(unknown.clone()).or_insert(next);
        if id == next {
            let is_non_negative = match &unknown {
                Unknown::Input { .. } | Unknown::Fresh | Unknown::Remainder { .. } => true,
                Unknown::Floor { numerator, .. } => self.is_non_negative(numerator),
                Unknown::Opaque(Opaque::Maximum, operands) => {
                    operands.iter().any(|e| self.is_non_negative(e))
                }
                Unknown::Opaque(_, operands) => operands.iter().all(|e| self.is_non_negative(e)),
            };
            let is_positive = match &unknown {
                Unknown::Input { .. } => true,
                Unknown::Opaque(Opaque::Maximum, operands) => {
                    operands.iter().any(|e| self.is_positive(e))
                }
                Unknown::Opaque(Opaque::Quotient, _)
                | Unknown::Fresh
                | Unknown::Floor { .. }
                | Unknown::Remainder { .. } => false,
                Unknown::Opaque(_, operands) => operands.iter().all(|e| self.is_positive(e)),
            };
            self.known.push(Entry {
                unknown,
                is_non_negative,
                is_positive,
            });
        }
        Extent::unknown(id)
    }

    pub(super) fn add(&mut self, a: &Extent, b: &Extent) -> Option<Extent> {
        self.reduced(&a.plus(b)?)
    }

    pub(super) fn sub(&mut self, a: &Extent, b: &Extent) -> Option<Extent> {
        self.reduced(&a.minus(b)?)
    }

    /// The sum with a number.
    pub(super) fn offset(&mut self, a: &Extent, number: i64) -> Option<Extent> {
        self.add(a, &Extent::number(number))
    }

    pub(super) fn scale(&mut self, a: &Extent, factor: i64) -> Option<Extent> {
        self.reduced(&a.scale(factor)?)
    }

    pub(super) fn input(&mut self, input: usize, axis: usize) -> Extent {
        self.intern(Unknown::Input { input, axis })
    }

    /// An extent that is equal to nothing but itself.
    pub(super) fn fresh(&mut self) -> Extent {
        let id = UnknownId(self.known.len());
        self.known.push(Entry {
            unknown: Unknown::Fresh,
            is_non_negative: true,
            is_positive: false,
        });
        Extent::unknown(id)
    }

    /// An opaque operation on operands whose order does not matter.
    pub(super) fn commutative(&mut self, op: Opaque, mut operands: Vec<Extent>) -> Extent {
        operands.sort_unstable();
        self.intern(Unknown::Opaque(op, operands))
    }

    /// Whether this is at least zero at every input size, as far as signs alone tell.
    pub(super) fn is_non_negative(&self, extent: &Extent) -> bool {
        extent.constant >= 0
            && extent
                .terms
                .iter()
                .all(|&(id, c)| c > 0 && self.known[id.0].is_non_negative)
    }

    /// Whether this is above zero wherever the extents of the inputs are.
    pub(super) fn is_positive(&self, extent: &Extent) -> bool {
        extent
            .minus(&Extent::number(1))
            .is_some_and(|e| self.is_non_negative(&e))
            || (self.is_non_negative(extent)
                && extent
                    .terms
                    .iter()
                    .any(|&(id, _)| self.known[id.0].is_positive))
    }

    pub(super) fn mul(&mut self, a: &Extent, b: &Extent) -> Option<Extent> {
        match (a.known(), b.known()) {
            (Some(factor), _) => return self.scale(b, factor),
            (_, Some(factor)) => return self.scale(a, factor),
            (None, None) => {}
        }
        let (number_a, mut factors) = self.factors(a)?;
        let (number_b, factors_b) = self.factors(b)?;
        factors.extend(factors_b);
        self.commutative(Opaque::Product, factors)
            .scale(number_a.checked_mul(number_b)?)
    }

    /// A number and the extents that it is to be multiplied with; the number is what all coefficients share.
    fn factors(&self, extent: &Extent) -> Option<(i64, Vec<Extent>)> {
        let content = extent.content().max(1);
        if extent.terms.is_empty() {
            return Some((extent.constant, Vec::new()));
        }
        let rest = extent.map(|c| Some(c / content))?;
        let nested = rest
            .sole_unknown()
            .and_then(|id| match &self.known[id.0].unknown {
                Unknown::Opaque(Opaque::Product, factors) => Some(factors.clone()),
                _ => None,
            });
        Some((content, nested.unwrap_or_else(|| vec![rest])))
    }

    /// The quotient of two products of which the second is known to divide the first.
    pub(super) fn divide_products(&mut self, over: &[Extent], under: &[Extent]) -> Option<Extent> {
        let collect = |extents: &[Extent]| -> Option<(i64, Vec<Extent>)> {
            let (mut number, mut factors) = (1i64, Vec::new());
            for extent in extents {
                let (n, more) = self.factors(extent)?;
                number = number.checked_mul(n)?;
                factors.extend(more);
            }
            Some((number, factors))
        };
        let (number, mut factors) = collect(over)?;
        let (divisor, under) = collect(under)?;
        for factor in under {
            let at = factors.iter().position(|f| *f == factor)?;
            factors.swap_remove(at);
        }
        if divisor <= 0 {
            return None;
        }
        let g = gcd(number, divisor).max(1);
        let mut product = Extent::number(number / g);
        for factor in &factors {
            product = self.mul(&product, factor)?;
        }
        self.floor_div(&product, divisor / g)
    }

    /// `⌊x / n⌋` for a positive `n`.
    pub(super) fn floor_div(&mut self, x: &Extent, n: i64) -> Option<Extent> {
        if n <= 0 {
            return None;
        }
        if let Some(number) = x.known() {
            return Some(Extent::number(number.div_euclid(n)));
        }
        let whole = x.map(|c| Some(c.div_euclid(n)))?;
        let mut inside = x.map(|c| Some(c.rem_euclid(n)))?;
        if inside.known().is_some() {
            return Some(whole);
        }
        let mut denominator = n;
        if let [(id, 1)] = inside.terms.as_slice()
            && let Unknown::Floor {
                numerator,
                denominator: inner,
            } = &self.known[id.0].unknown
        {
            let shift = inside.constant.checked_mul(*inner)?;
            denominator = denominator
                .checked_mul(*inner)
                .filter(|&d| d <= COEFFICIENT_LIMIT)?;
            inside = numerator.plus(&Extent::number(shift))?;
            let quotient = self.floor_div(&inside, denominator)?;
            return self.reduced(&quotient.plus(&whole)?);
        }
        let floor = self.intern(Unknown::Floor {
            numerator: inside,
            denominator,
        });
        self.reduced(&floor.plus(&whole)?)
    }

    /// The sum with `c·⌊x/n⌋` reduced where `n` divides `x`.
    pub(super) fn reduced(&mut self, extent: &Extent) -> Option<Extent> {
        for &(id, c) in &extent.terms {
            let Unknown::Floor {
                numerator,
                denominator,
            } = self.known[id.0].unknown.clone()
            else {
                continue;
            };
            let g = gcd(c, denominator);
            let divides = |form: Extent| form.is_zero();
            if g > 1
                && self
                    .remainder_form(&numerator, denominator)
                    .is_some_and(divides)
            {
                let rest = extent.minus(&Extent::unknown(id).scale(c)?)?;
                let term = self.floor_div(&numerator, denominator / g)?.scale(c / g)?;
                let sum = rest.plus(&term)?;
                return self.reduced(&sum);
            }
        }
        Some(extent.clone())
    }

    /// `x mod n` for a positive `n`, with the sign of `n`.
    pub(super) fn remainder(&mut self, x: &Extent, n: i64) -> Option<Extent> {
        if n <= 0 {
            return None;
        }
        let dividend = self.remainder_form(x, n)?;
        if dividend.known().is_some() {
            return Some(dividend);
        }
        Some(self.intern(Unknown::Remainder {
            dividend,
            divisor: n,
        }))
    }

    /// Something congruent to `x` modulo `n`, with constant and coefficients in `0..n`.
    fn remainder_form(&self, x: &Extent, n: i64) -> Option<Extent> {
        let mut form = x.map(|c| Some(c.rem_euclid(n)))?;
        // A remainder's operands have lower numbers, so going from the top each remainder is replaced once.
        while let Some((id, c, inner)) =
            form.terms
                .iter()
                .rev()
                .find_map(|&(id, c)| match &self.known[id.0].unknown {
                    Unknown::Remainder { dividend, divisor } if divisor % n == 0 => {
                        Some((id, c, dividend.clone()))
                    }
                    _ => None,
                })
        {
            form = form
                .minus(&Extent::unknown(id).scale(c)?)?
                .plus(&inner.scale(c)?)?
                .map(|c| Some(c.rem_euclid(n)))?;
        }
        Some(form)
    }

    /// Integer division as ONNX defines it: towards zero.
    pub(super) fn truncated_div(&mut self, a: &Extent, b: &Extent) -> Option<Extent> {
        match (a.known(), b.known()) {
            (Some(a), Some(b)) => a.checked_div(b).map(Extent::number),
            (None, Some(n)) if n > 0 && self.is_non_negative(a) => self.floor_div(a, n),
            (_, Some(0)) => None,
            _ => Some(self.intern(Unknown::Opaque(
                Opaque::Quotient,
                vec![a.clone(), b.clone()],
            ))),
        }
    }

    /// The smaller of two.
    pub(super) fn minimum(&mut self, a: &Extent, b: &Extent) -> Option<Extent> {
        self.ordered(a, b).map_or_else(
            || Some(self.commutative(Opaque::Minimum, vec![a.clone(), b.clone()])),
            |(low, _)| Some(low),
        )
    }

    /// The larger of two.
    pub(super) fn maximum(&mut self, a: &Extent, b: &Extent) -> Option<Extent> {
        self.ordered(a, b).map_or_else(
            || Some(self.commutative(Opaque::Maximum, vec![a.clone(), b.clone()])),
            |(_, high)| Some(high),
        )
    }

    /// The two in ascending order, where it is the same at every input size.
    fn ordered(&self, a: &Extent, b: &Extent) -> Option<(Extent, Extent)> {
        if let (Some(x), Some(y)) = (a.known(), b.known()) {
            return Some(if x <= y {
                (a.clone(), b.clone())
            } else {
                (b.clone(), a.clone())
            });
        }
        if self.is_non_negative(&b.minus(a)?) {
            Some((a.clone(), b.clone()))
        } else if self.is_non_negative(&a.minus(b)?) {
            Some((b.clone(), a.clone()))
        } else {
            None
        }
    }

    /// What two extents broadcast to; `None` where they cannot.
    pub(super) fn broadcast(&mut self, a: &Extent, b: &Extent) -> Option<Extent> {
        match (a.known(), b.known()) {
            _ if a == b => Some(a.clone()),
            (Some(1), _) => Some(b.clone()),
            (Some(_), Some(n)) if n != 1 => None,
            // Of a number and an open extent, the open one must be the same number or 1.
            (Some(_), _) | (_, Some(1)) => Some(a.clone()),
            (None, Some(_)) => Some(b.clone()),
            (None, None) => Some(self.commutative(Opaque::Broadcast, vec![a.clone(), b.clone()])),
        }
    }
}

#[cfg(test)]
mod tests;
