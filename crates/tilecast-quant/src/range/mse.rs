//! The range with the smallest expected squared error of the 8-bit grid that follows from it.
//!
//! For a grid of levels `k·s`, `k` from `l` to `l + 255` (symmetric: −127 to 127), the error is
//! `Σ_k ∫ (x − k·s)² p(x) dx`, each integral over the values that round to level `k`; those of the first and the last level
//! reach to infinity, which is the error of clipping. `p` is the histogram, uniform inside each bin, so that every integral
//! is a difference of three running moments. Both ends are searched, from the extremes inwards to 0.
//! Source of the criterion: Sung, Shin, Hwang, *Resiliency of deep neural networks under quantization* (2015), and the
//! histogram observers of PyTorch; the exact moments and the search are ours.

use super::profile::{Ends, Profile};
use super::{EstimateError, RangeEstimator, binned_range};
use crate::statistics::ValueStatistics;
use crate::types::{Range, Symmetry};

/// Weighs rounding against clipping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mse;

impl RangeEstimator for Mse {
    fn name(&self) -> &'static str {
        "mse"
    }

    fn estimate(&self, seen: &ValueStatistics, symmetry: Symmetry) -> Result<Range, EstimateError> {
        let extremes = binned_range(seen.histogram())?;
        let Some(profile) = Profile::of(seen.histogram()) else {
            return Ok(extremes);
        };
        let moments = Moments::of(&profile);
        Ok(profile.cheapest(symmetry, |ends| moments.error(ends, symmetry)))
    }
}

/// Running sums over the bins of 1, `x` and `x²`, in units of bins.
struct Moments {
    first: i32,
    counts: Vec<f64>,
    /// Sums over all bins in front of each, and over all bins at the end.
    before: Vec<[f64; 3]>,
}

impl Moments {
    fn of(profile: &Profile) -> Self {
        let first = profile.first();
        let counts: Vec<f64> = profile.counts().iter().map(|&count| count as f64).collect();
        let mut before = vec![[0.0; 3]];
        let mut sums = [0.0; 3];
        for (idx, &count) in counts.iter().enumerate() {
            let low = f64::from(first) + idx as f64;
            add(&mut sums, &part(low, low + 1.0, count));
            before.push(sums);
        }
        Self {
            first,
            counts,
            before,
        }
    }

    /// The moments of everything below `x`.
    fn below(&self, x: f64) -> [f64; 3] {
        let place = (x - f64::from(self.first)).clamp(0.0, self.counts.len() as f64);
        let idx = place as usize;
        let mut sums = self.before[idx];
        if let Some(&count) = self.counts.get(idx) {
            let low = f64::from(self.first) + idx as f64;
            add(&mut sums, &part(low, low + place - idx as f64, count));
        }
        sums
    }

    /// The squared error of all values on the grid between these ends.
    fn error(&self, ends: Ends, symmetry: Symmetry) -> f64 {
        let span = f64::from(ends.high - ends.low);
        if span <= 0.0 {
            return self.before[self.counts.len()][2];
        }
        let (step, lowest, n_levels) = match symmetry {
            Symmetry::Asymmetric => {
                let step = span / 255.0;
                (step, (f64::from(ends.low) / step).round_ties_even(), 256)
            }
            Symmetry::Symmetric => (span / 254.0, -127.0, 255),
        };
        let mut error = 0.0;
        let mut below = [0.0; 3];
        for idx in 0..n_levels {
            let level = lowest + f64::from(idx);
            let until = if idx + 1 == n_levels {
                f64::INFINITY
            } else {
                (level + 0.5) * step
            };
            let sums = self.below(until);
            let [n, x, xx] = [0, 1, 2].map(|moment| sums[moment] - below[moment]);
            let center = level * step;
            error += xx - 2.0 * center * x + center * center * n;
            below = sums;
        }
        error
    }
}

/// The moments of a stretch of one bin with `count` values per unit of length.
fn part(low: f64, high: f64, count: f64) -> [f64; 3] {
    [
        count * (high - low),
        count * (high * high - low * low) / 2.0,
        count * (high * high * high - low * low * low) / 3.0,
    ]
}

fn add(sums: &mut [f64; 3], more: &[f64; 3]) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::fake_quantize_in_place;
    use crate::range::test_values::{laplace, one_image, relu, uniform};
    use crate::types::{QuantParams, QuantType};

    /// The error of a grid, by quantizing.
    fn true_error(values: &[f32], range: Range, symmetry: Symmetry) -> f64 {
        let quant_type = match symmetry {
            Symmetry::Asymmetric => QuantType::U8,
            Symmetry::Symmetric => QuantType::S8,
        };
        let params = QuantParams::from_range(range, quant_type, symmetry);
        let mut quantized = values.to_vec();
        fake_quantize_in_place(&mut quantized, &params);
        let squares = values.iter().zip(&quantized);
        squares.map(|(a, b)| f64::from(a - b).powi(2)).sum()
    }

    #[test]
    fn no_other_range_has_a_smaller_error_when_it_is_applied() {
        for (name, values) in [
            ("laplace", laplace(40_000)),
            ("uniform", uniform(40_000)),
            ("relu", relu(40_000)),
        ] {
            for symmetry in [Symmetry::Asymmetric, Symmetry::Symmetric] {
                let seen = one_image(&values);
                let range = Mse.estimate(&seen, symmetry).expect("there are values");
                let best = true_error(&values, range, symmetry);
                let whole = seen.histogram().range().expect("there are values");
                for low in [0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0] {
                    for high in [0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0] {
                        let other =
                            Range::new(low * whole.min(), high * whole.max()).expect("ordered");
                        let error = true_error(&values, other, symmetry);
                        assert!(
                            best <= 1.01 * error,
                            "{name} {symmetry:?}: {range:?} has {best}, {other:?} has {error}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_expected_error_is_the_true_one() {
        let values = laplace(40_000);
        let seen = one_image(&values);
        let profile = Profile::of(seen.histogram()).expect("there are values");
        let moments = Moments::of(&profile);
        let width = seen.histogram().bin_width().expect("there are values");
        for symmetry in [Symmetry::Asymmetric, Symmetry::Symmetric] {
            for high in [40, 200, 900, 2500] {
                let ends = Ends { low: -high, high };
                let expected = moments.error(ends, symmetry) * width * width;
                let end = (f64::from(high) * width) as f32;
                let range = Range::new(-end, end).expect("ordered");
                let found = true_error(&values, range, symmetry);
                assert!(
                    (expected / found - 1.0).abs() < 0.02,
                    "{symmetry:?} {high}: {expected} against {found}"
                );
            }
        }
    }

    #[test]
    fn a_rare_outlier_is_cut_and_constants_are_kept() {
        let mut values = uniform(1_000_000);
        values.push(40.0);
        let range = Mse
            .estimate(&one_image(&values), Symmetry::Asymmetric)
            .expect("there are values");
        // The sum of (40 - b)² and 10⁶ ((b + 1) / 255)² / 12 is smallest at b = 17.
        assert!((16.0..18.0).contains(&range.max()), "{range:?}");
        assert!(range.min() < -0.9, "{range:?}");
        for constant in [0.0, 0.5, -3.0] {
            let range = Mse.estimate(&one_image(&[constant; 9]), Symmetry::Asymmetric);
            assert_eq!(
                range,
                Ok(Range::new(constant, constant).expect("test range"))
            );
        }
    }
}
