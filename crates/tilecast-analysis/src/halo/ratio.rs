//! Positive rationals: effective strides, exactly.

/// A positive rational in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ratio {
    numerator: u64,
    denominator: u64,
}

impl Ratio {
    pub(crate) const ONE: Self = Self {
        numerator: 1,
        denominator: 1,
    };

    /// `None` where a part is zero.
    pub(crate) fn new(numerator: u64, denominator: u64) -> Option<Self> {
        if numerator == 0 || denominator == 0 {
            return None;
        }
        let divisor = gcd(numerator, denominator);
        Some(Self {
            numerator: numerator / divisor,
            denominator: denominator / divisor,
        })
    }

    pub(crate) fn numerator(self) -> u64 {
        self.numerator
    }

    pub(crate) fn denominator(self) -> u64 {
        self.denominator
    }

    pub(crate) fn is_less(self, other: Self) -> bool {
        let scaled = |a: u64, b: u64| u128::from(a) * u128::from(b);
        scaled(self.numerator, other.denominator) < scaled(other.numerator, self.denominator)
    }

    pub(crate) fn inverse(self) -> Self {
        Self {
            numerator: self.denominator,
            denominator: self.numerator,
        }
    }

    /// `None` on overflow.
    pub(crate) fn times(self, other: Self) -> Option<Self> {
        Self::new(
            self.numerator.checked_mul(other.numerator)?,
            self.denominator.checked_mul(other.denominator)?,
        )
    }
}

/// Greatest common divisor; of zero and `b` it is `b`.
pub(crate) fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Least common multiple of positive numbers; `None` on overflow.
pub(crate) fn lcm(a: u64, b: u64) -> Option<u64> {
    (a / gcd(a, b)).checked_mul(b)
}
