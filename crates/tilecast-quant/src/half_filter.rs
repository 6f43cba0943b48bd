//! Rounding the weights of a filter to 16 bits without moving its mean answer.
//!
//! Rounding each weight to the nearest number leaves an error `Σ (w − ŵ) · x`. Its part that is the same everywhere,
//! `Σ (w − ŵ) · E[x]`, is what shifts colours: later layers and averages keep it where they cancel the rest. It is known
//! from the means of the inputs. The bias takes it up, rounded in turn, and what that rounding leaves is cancelled by a few
//! weights that are rounded to their other neighbour instead of the nearer one. The idea of the first half is bias
//! correction: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019, section 4.2.

use half::{bf16, f16};

use crate::HalfFormat;

/// Most weights of a filter that go to the neighbour that is not the nearest: few, because each of them adds to the part of
/// the error that is not the same everywhere.
const MAX_MOVED: usize = 4;

impl HalfFormat {
    /// Rounds the weights of one filter, and its bias if it has one, so that the answer to `means`, one per weight, changes
    /// as little as possible. Everything comes back as a number of the format. A filter that does not stay finite is rounded
    /// to nearest.
    ///
    /// # Panics
    /// There are not as many means as weights.
    pub fn round_filter(self, weights: &mut [f32], means: &[f64], bias: Option<&mut f32>) {
        assert_eq!(weights.len(), means.len());
        let exact = weights.to_vec();
        self.round_in_place(weights);
        let lost = |rounded: &[f32]| -> f64 {
            let terms = exact.iter().zip(rounded).zip(means);
            terms
                .map(|((&w, &r), &mean)| (f64::from(w) - f64::from(r)) * mean)
                .sum()
        };
        let mut missing = lost(weights);
        if let Some(bias) = bias {
            let nearest = self.nearest(*bias);
            if !missing.is_finite() || !nearest.is_finite() {
                *bias = nearest;
                return;
            }
            let wanted = f64::from(*bias) + missing;
            let rounded = self.nearest(wanted as f32);
            *bias = if rounded.is_finite() {
                rounded
            } else {
                nearest
            };
            missing = wanted - f64::from(*bias);
        }
        let mut moved = [usize::MAX; MAX_MOVED];
        for turn in 0..MAX_MOVED {
            let mut best = None;
            let mut smallest = missing.abs();
            for (index, &mean) in means.iter().enumerate() {
                if moved.contains(&index) {
                    continue;
                }
                let other = self.other_neighbour(exact[index], weights[index]);
                let change = (f64::from(other) - f64::from(weights[index])) * mean;
                if (missing - change).abs() < smallest {
                    smallest = (missing - change).abs();
                    best = Some((index, other, change));
                }
            }
            let Some((index, other, change)) = best else {
                return;
            };
            moved[turn] = index;
            weights[index] = other;
            missing -= change;
        }
    }

    /// The nearest number of the format.
    fn nearest(self, value: f32) -> f32 {
        match self {
            Self::F16 => f16::from_f32_const(value).to_f32_const(),
            Self::BF16 => bf16::from_f32_const(value).to_f32_const(),
        }
    }

    /// The number of the format on the other side of `exact`, seen from `rounded`; `rounded` itself where the two are equal
    /// or the other one is infinite.
    fn other_neighbour(self, exact: f32, rounded: f32) -> f32 {
        if exact.to_bits() == rounded.to_bits() || !rounded.is_finite() {
            return rounded;
        }
        let upwards = exact > rounded;
        // Zero rounded from a negative number is negative zero, so the sign of the result is that of `exact`.
        let away_from_zero = upwards == exact.is_sign_positive();
        let step = |bits: u16| {
            if away_from_zero {
                bits.wrapping_add(1)
            } else {
                bits.wrapping_sub(1)
            }
        };
        let other = match self {
            Self::F16 => {
                f16::from_bits(step(f16::from_f32_const(rounded).to_bits())).to_f32_const()
            }
            Self::BF16 => {
                bf16::from_bits(step(bf16::from_f32_const(rounded).to_bits())).to_f32_const()
            }
        };
        if other.is_finite() { other } else { rounded }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "numbers of the formats are exact")]
mod tests {
    use super::*;

    const FORMATS: [HalfFormat; 2] = [HalfFormat::F16, HalfFormat::BF16];

    fn answer(weights: &[f32], means: &[f64], bias: f32) -> f64 {
        let products = weights.iter().zip(means).map(|(&w, m)| f64::from(w) * m);
        products.sum::<f64>() + f64::from(bias)
    }

    /// Weights without a pattern, in both signs and several sizes.
    fn filter(seed: usize, len: usize) -> (Vec<f32>, Vec<f64>) {
        let wave = |i: usize, step: f64| ((seed * 131 + i) as f64 * step).sin();
        let weights = (0..len).map(|i| (wave(i, 1.7) * 0.3) as f32).collect();
        let means = (0..len).map(|i| wave(i, 0.9) * 2.0 + 0.4).collect();
        (weights, means)
    }

    #[test]
    fn the_mean_answer_stays_and_each_weight_is_a_neighbour() {
        for format in FORMATS {
            let mut sums = [0.0; 2];
            for seed in 0..50 {
                let (exact, means) = filter(seed, 36);
                let exact_bias = (seed as f32 * 0.61).cos();
                let before = answer(&exact, &means, exact_bias);
                let mut nearest = exact.clone();
                format.round_in_place(&mut nearest);
                for has_bias in [true, false] {
                    let (mut weights, mut bias) = (exact.clone(), exact_bias);
                    format.round_filter(&mut weights, &means, has_bias.then_some(&mut bias));
                    let plain_bias = if has_bias {
                        format.nearest(exact_bias)
                    } else {
                        exact_bias
                    };
                    let plain = (answer(&nearest, &means, plain_bias) - before).abs();
                    let kept = (answer(&weights, &means, bias) - before).abs();
                    assert!(kept <= plain, "{format:?} {seed}: {kept:e} {plain:e}");
                    sums[0] += kept;
                    sums[1] += plain;
                    let moved = weights.iter().zip(&nearest).filter(|(w, n)| w != n).count();
                    assert!(moved <= MAX_MOVED);
                    for (&w, &e) in weights.iter().zip(&exact) {
                        assert_eq!(format.nearest(w).to_bits(), w.to_bits());
                        let near = format.nearest(e);
                        assert!(w == near || w == format.other_neighbour(e, near));
                    }
                }
            }
            // The choice is greedy, so that a single filter has no bound but the one above.
            let [kept, plain] = sums;
            assert!(kept < 0.02 * plain, "{format:?}: {kept:e} of {plain:e}");
        }
    }

    #[test]
    fn neighbours_enclose_the_exact_value() {
        for format in FORMATS {
            for exact in [
                0.1_f32,
                -0.1,
                1.0001,
                -1.0001,
                3e-5,
                -3e-8,
                1e-10,
                -1e-10,
                2.0_f32.powi(-14) * 0.999_9,
            ] {
                let near = format.nearest(exact);
                let other = format.other_neighbour(exact, near);
                assert!(
                    near.min(other) < exact && exact < near.max(other),
                    "{exact:e}"
                );
                let between = f32::midpoint(near, other);
                let found = format.nearest(between);
                assert!(
                    found == near || found == other,
                    "a number lies between: {exact:e}"
                );
            }
            assert_eq!(format.other_neighbour(0.5, 0.5), 0.5);
            let largest = format.largest();
            assert_eq!(format.other_neighbour(largest.next_up(), largest), largest);
        }
    }

    #[test]
    fn what_overflows_is_rounded_to_nearest() {
        let mut weights = [1e6, 0.1];
        let mut bias = 0.1;
        HalfFormat::F16.round_filter(&mut weights, &[1.0, 1.0], Some(&mut bias));
        assert_eq!(weights, [f32::INFINITY, HalfFormat::F16.nearest(0.1)]);
        assert_eq!(bias, HalfFormat::F16.nearest(0.1));
        let (mut weights, mut bias) = ([0.1], 65504.0);
        HalfFormat::F16.round_filter(&mut weights, &[1e9], Some(&mut bias));
        assert!(bias.is_finite() && weights[0].is_finite());
    }
}
