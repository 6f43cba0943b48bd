//! A sum of `f32` numbers that is never rounded, so that the order and the grouping of its terms leave no trace.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Words of 64 bits. A finite number is a whole number of units below 2²⁷⁷; the rest is room for 2⁴² terms and a sign.
const N_WORDS: usize = 5;

/// Every finite `f32` is a whole number of these: the smallest denormal one, 2⁻¹⁴⁹.
const UNIT_LOG2: i32 = -149;

/// A sum of finite `f32` numbers: two's complement, in units of 2⁻¹⁴⁹, the lowest word first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ExactSum {
    words: [u64; N_WORDS],
}

impl ExactSum {
    /// Adds a finite number.
    pub(crate) fn add(&mut self, value: f32) {
        debug_assert!(value.is_finite());
        let bits = value.to_bits();
        let exponent = (bits >> 23) & 0xff;
        let fraction = u64::from(bits & 0x7f_ffff);
        // Denormal numbers have no implicit bit and the exponent of the smallest normal ones.
        let significand = fraction | (u64::from(exponent > 0) << 23);
        let shift = exponent.max(1) as usize - 1;
        let mut term = Self::default();
        let wide = u128::from(significand) << (shift % 64);
        term.words[shift / 64] = wide as u64;
        term.words[shift / 64 + 1] = (wide >> 64) as u64;
        self.merge(&if value < 0.0 { term.negated() } else { term });
    }

    /// Adds another sum.
    pub(crate) fn merge(&mut self, other: &Self) {
        let mut carry = false;
        for (mine, theirs) in self.words.iter_mut().zip(other.words) {
            let (sum, first) = mine.overflowing_add(theirs);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            *mine = sum;
            carry = first | second;
        }
    }

    /// The sum over `count`, rounded to an `f64` a few times on the way.
    pub(crate) fn mean(&self, count: u64) -> f64 {
        let magnitude = if self.is_negative() {
            self.negated()
        } else {
            *self
        };
        let units = magnitude
            .words
            .iter()
            .rev()
            .fold(0.0, |units, &word| units * 2_f64.powi(64) + word as f64);
        let mean = units * 2_f64.powi(UNIT_LOG2) / count as f64;
        if self.is_negative() { -mean } else { mean }
    }

    fn is_negative(&self) -> bool {
        self.words[N_WORDS - 1] >> 63 == 1
    }

    fn negated(&self) -> Self {
        let mut negative = Self {
            words: self.words.map(|word| !word),
        };
        let mut one = Self::default();
        one.words[0] = 1;
        negative.merge(&one);
        negative
    }
}

impl Serialize for ExactSum {
    /// All words in hexadecimal, the highest first: no reader of JSON rounds a text.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits = self.words.iter().rev().map(|word| format!("{word:016x}"));
        serializer.serialize_str(&digits.collect::<String>())
    }
}

impl<'de> Deserialize<'de> for ExactSum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_complete =
            text.len() == 16 * N_WORDS && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let mut sum = Self::default();
        for (idx, word) in sum.words.iter_mut().rev().enumerate() {
            let digits = text.get(16 * idx..16 * (idx + 1)).filter(|_| is_complete);
            *word = digits
                .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                .ok_or_else(|| {
                    de::Error::custom(format!(
                        "an exact sum has {} hexadecimal digits",
                        16 * N_WORDS
                    ))
                })?;
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(values: &[f32]) -> ExactSum {
        let mut sum = ExactSum::default();
        for &value in values {
            sum.add(value);
        }
        sum
    }

    #[test]
    fn one_term_comes_back_exactly() {
        for value in [
            0.0,
            1.0,
            -1.0,
            0.1,
            f32::MAX,
            f32::MIN,
            f32::MIN_POSITIVE,
            f32::from_bits(1),
            -f32::from_bits(0x7f_ffff),
            -3.7e20,
        ] {
            let mean = sum(&[value]).mean(1) as f32;
            assert_eq!(mean.to_bits(), value.to_bits(), "{value:e}");
        }
    }

    #[test]
    fn small_terms_survive_beside_large_ones() {
        let tiny = f32::from_bits(1);
        let total = sum(&[f32::MAX, tiny, 1.0, -f32::MAX, -1.0]);
        assert_eq!(total, sum(&[tiny]));
        assert_eq!(
            (sum(&[f32::MAX; 1000]).mean(1000) as f32).to_bits(),
            f32::MAX.to_bits(),
            "far beyond the range of one number"
        );
        assert_eq!(sum(&[0.5, -0.25]).mean(4).to_bits(), 0.0625_f64.to_bits());
    }

    #[test]
    fn the_written_form_is_checked() {
        let text = serde_json::to_string(&sum(&[-1.0])).expect("serializes");
        assert_eq!(
            text,
            format!("\"{}fffffffffff00000{}\"", "f".repeat(32), "0".repeat(32))
                .replace("fffffffffff00000", "ffffffffffe00000")
        );
        for bad in ["\"\"", "\"12\"", &text.replace('e', "x"), "3"] {
            assert!(serde_json::from_str::<ExactSum>(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn order_and_grouping_leave_no_trace(
            (values, shuffled) in prop::collection::vec(
                any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |value| value.is_finite()),
                0..60,
            ).prop_flat_map(|values| (Just(values.clone()), Just(values).prop_shuffle())),
            cut in 0_usize..60,
        ) {
            let whole = sum(&values);
            let (left, right) = shuffled.split_at(cut.min(shuffled.len()));
            let mut merged = sum(right);
            merged.merge(&sum(left));
            prop_assert_eq!(merged, whole);
            let text = serde_json::to_string(&whole).expect("serializes");
            prop_assert_eq!(serde_json::from_str::<ExactSum>(&text).expect("reads back"), whole);
        }

        #[test]
        fn the_mean_is_that_of_wide_arithmetic(values in prop::collection::vec(-1e3_f32..1e3, 1..50)) {
            let wide = values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64;
            let mean = sum(&values).mean(values.len() as u64);
            prop_assert!((mean - wide).abs() <= 1e-10 * (1.0 + wide.abs()), "{} against {}", mean, wide);
        }
    }
}
