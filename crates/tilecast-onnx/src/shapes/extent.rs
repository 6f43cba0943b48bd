//! Integers that a graph computes from the sizes of its inputs, in a normal form: two that are equal in it are equal for
//! every size.
//!
//! An [`Extent`] is `constant + Σ coefficient · unknown`. An unknown is an input's extent, a floor division, a remainder,
//! or an operation that is not looked into (a product, a minimum, …) applied to extents; [`super::unknowns::Unknowns`] numbers each
//! distinct one once, so comparing two extents compares small vectors.
//!
//! Rules beyond those of a vector space, each valid for all integers and positive `n`, `m`:
//! - `⌊(x + k·n)/n⌋ = ⌊x/n⌋ + k` and `(x + k·n) mod n = x mod n`, so what is left inside has coefficients in `0..n`;
//! - `⌊(⌊x/m⌋ + k)/n⌋ = ⌊(x + k·m)/(m·n)⌋`;
//! - `x mod m` stands for `x` under `mod n` where `n` divides `m`;
//! - `c·⌊x/n⌋ = (c/g)·⌊x/(n/g)⌋` for `g = gcd(c, n)` where `n` divides `x`. This is how a decoder finds the extents of its
//!   encoder again behind a padding to a multiple of the total stride.
//!
//! The graph computes in 64 bits and this module over all integers. They agree as long as extents stay below 2³¹
//! ([`COEFFICIENT_LIMIT`]), which every runtime needs anyway; coefficients beyond it make the result unknown.

/// Largest coefficient, constant beside an unknown, or extent that is reasoned about.
pub(super) const COEFFICIENT_LIMIT: i64 = 1 << 31;

/// More terms than this are not followed; extents of image networks have one or two.
const MAX_TERMS: usize = 8;

/// Number of an unknown of one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct UnknownId(pub(super) usize);

/// An integer: a constant plus multiples of unknowns. Equal extents of one [`super::Facts`] are equal at every input size.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Extent {
    pub(super) constant: i64,
    /// Ascending by unknown, no coefficient zero.
    pub(super) terms: Vec<(UnknownId, i64)>,
}

impl Extent {
    /// A number.
    pub(super) fn number(constant: i64) -> Self {
        Self {
            constant,
            terms: Vec::new(),
        }
    }

    /// The number that this is at every input size, if it is one.
    #[must_use]
    pub fn known(&self) -> Option<i64> {
        self.terms.is_empty().then_some(self.constant)
    }

    pub(super) fn is_zero(&self) -> bool {
        self.known() == Some(0)
    }

    /// The greatest number that divides the constant and every coefficient; 0 for zero.
    pub(super) fn content(&self) -> i64 {
        self.terms
            .iter()
            .fold(gcd(self.constant, 0), |g, t| gcd(g, t.1))
    }

    pub(super) fn unknown(id: UnknownId) -> Self {
        Self {
            constant: 0,
            terms: vec![(id, 1)],
        }
    }

    /// The unknown that this is, where it is one and nothing else.
    pub(super) fn sole_unknown(&self) -> Option<UnknownId> {
        match self.terms.as_slice() {
            [(id, 1)] if self.constant == 0 => Some(*id),
            _ => None,
        }
    }

    pub(super) fn map(&self, f: impl Fn(i64) -> Option<i64>) -> Option<Self> {
        let mut terms = Vec::with_capacity(self.terms.len());
        for &(id, c) in &self.terms {
            match f(c)? {
                0 => {}
                c => terms.push((id, c)),
            }
        }
        within_limits(Self {
            constant: f(self.constant)?,
            terms,
        })
    }

    /// `factor` times this extent; `None` where that is beyond the limits.
    #[must_use]
    pub fn scale(&self, factor: i64) -> Option<Self> {
        self.map(|c| c.checked_mul(factor))
    }

    pub(super) fn plus(&self, other: &Self) -> Option<Self> {
        let mut terms: Vec<(UnknownId, i64)> =
            Vec::with_capacity(self.terms.len() + other.terms.len());
        let (mut left, mut right) = (self.terms.iter().peekable(), other.terms.iter().peekable());
        loop {
            let term = match (left.peek(), right.peek()) {
                (Some(&&(l, a)), Some(&&(r, b))) if l == r => {
                    left.next();
                    right.next();
                    (l, a.checked_add(b)?)
                }
                (Some(&&l), Some(&&r)) if l.0 < r.0 => {
                    left.next();
                    l
                }
                (_, Some(&&r)) => {
                    right.next();
                    r
                }
                (Some(&&l), None) => {
                    left.next();
                    l
                }
                (None, None) => break,
            };
            if term.1 != 0 {
                terms.push(term);
            }
        }
        within_limits(Self {
            constant: self.constant.checked_add(other.constant)?,
            terms,
        })
    }

    pub(super) fn minus(&self, other: &Self) -> Option<Self> {
        self.plus(&other.scale(-1)?)
    }
}

/// Plain numbers are exact 64-bit integers; beside an unknown they must leave room for it.
fn within_limits(extent: Extent) -> Option<Extent> {
    let small = |c: i64| c.abs() <= COEFFICIENT_LIMIT;
    let fits = extent.terms.is_empty()
        || (extent.terms.len() <= MAX_TERMS
            && extent.constant != i64::MIN
            && small(extent.constant)
            && extent.terms.iter().all(|t| t.1 != i64::MIN && small(t.1)));
    fits.then_some(extent)
}

pub(super) fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    i64::try_from(a).unwrap_or(1)
}
