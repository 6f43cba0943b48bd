//! The range whose 8-bit grid loses least information: the smallest Kullback-Leibler divergence.
//!
//! For a candidate range, `p` is the histogram inside it, with everything outside added to its two end bins, and `q` is the
//! same histogram without what is outside, after quantization: the values of each level are spread evenly over those of its
//! bins that hold any. Minimized is `KL(p ‖ q) = Σ p_i ln(p_i / q_i)`, both normalized. A narrow grid tells values apart and
//! makes `q` like `p` inside; clipping makes the end bins of `p` tower over those of `q`.
//! Source: Migacz, *8-bit inference with TensorRT* (GTC 2017). Ours, because the original was made for one-sided grids of
//! 128 levels: bins belong to the level that they round to, so that 256 asymmetric levels and 255 symmetric ones both are
//! what will be executed; both ends are searched; exact zeros are left out, as every grid holds them; and no end may be
//! moved so far that more than 0.1 % of the other values saturate, because on a coarse histogram the divergence alone has
//! spurious minima at absurdly small ranges.
//!
//! One candidate costs a logarithm per level: with `C` values inside, `N` in all and `c'_i` the counts of `p`,
//! `N·KL = Σ c'_i ln c'_i − Σ_levels c'_level ln(c_level / filled_level) + N ln(C / N)`, all of them differences of running sums.

use super::profile::{Ends, Profile};
use super::{EstimateError, RangeEstimator, binned_range};
use crate::statistics::ValueStatistics;
use crate::types::{Range, Symmetry};

/// Share of the values other than 0 that may saturate.
const MOST_CLIPPED: f64 = 1e-3;

/// Keeps the most information.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entropy;

impl RangeEstimator for Entropy {
    fn name(&self) -> &'static str {
        "entropy"
    }

    fn estimate(&self, seen: &ValueStatistics, symmetry: Symmetry) -> Result<Range, EstimateError> {
        let extremes = binned_range(seen.histogram())?;
        let Some(profile) = Profile::of(seen.histogram()) else {
            return Ok(extremes);
        };
        let sums = Sums::of(&profile);
        let steps = match symmetry {
            Symmetry::Asymmetric => 255.0,
            Symmetry::Symmetric => 254.0,
        };
        Ok(profile.cheapest(symmetry, |ends| {
            let step = f64::from(ends.high - ends.low) / steps;
            sums.divergence(ends, step).unwrap_or(f64::INFINITY)
        }))
    }
}

/// Running sums over the bins; position `i` is in front of bin `first + i`.
struct Sums {
    first: i32,
    total: u64,
    /// Values.
    values: Vec<u64>,
    /// Bins that hold values.
    filled: Vec<u32>,
    /// `c ln c` of the counts.
    logs: Vec<f64>,
    counts: Vec<u64>,
    /// The first bin at or behind each position that holds values.
    next_filled: Vec<usize>,
}

impl Sums {
    fn of(profile: &Profile) -> Self {
        let counts = profile.counts().to_vec();
        let (mut values, mut filled, mut logs) = (vec![0], vec![0], vec![0.0]);
        let (mut n_values, mut n_filled, mut log_sum) = (0, 0, 0.0);
        for &count in &counts {
            n_values += count;
            n_filled += u32::from(count > 0);
            log_sum += weighted_log(count as f64, count as f64);
            values.push(n_values);
            filled.push(n_filled);
            logs.push(log_sum);
        }
        let mut next_filled = vec![counts.len(); counts.len() + 1];
        for (idx, &count) in counts.iter().enumerate().rev() {
            next_filled[idx] = if count > 0 { idx } else { next_filled[idx + 1] };
        }
        Self {
            first: profile.first(),
            total: profile.total(),
            values,
            filled,
            logs,
            counts,
            next_filled,
        }
    }

    /// `N` times the divergence of the grid between these ends; `None` where too many values saturate.
    fn divergence(&self, ends: Ends, step: f64) -> Option<f64> {
        let place = |edge: i32| (edge - self.first).clamp(0, self.counts.len() as i32) as usize;
        // From the first bin inside that holds values to the last.
        let begin = self.next_filled[place(ends.low)];
        let end = self.last_filled(place(ends.high));
        if begin >= end {
            return None;
        }
        let below = self.values[begin];
        let above = self.total - self.values[end];
        if (below + above) as f64 > MOST_CLIPPED * self.total as f64 {
            return None;
        }
        let inside = (self.values[end] - self.values[begin]) as f64;
        let (below, above) = (below as f64, above as f64);
        let mut own = self.logs[end] - self.logs[begin];
        for (bin, more) in end_bins(begin, end - 1, below, above) {
            let count = self.counts[bin] as f64;
            own += weighted_log(count + more, count + more) - weighted_log(count, count);
        }
        let mut quantized = 0.0;
        let mut level = self.level(begin, step);
        let mut from = begin;
        while from < end {
            let until = self.level_end(level, step).clamp(from, end);
            let count = (self.values[until] - self.values[from]) as f64;
            if count > 0.0 {
                let filled = f64::from(self.filled[until] - self.filled[from]);
                let outside = if from == begin { below } else { 0.0 }
                    + if until == end { above } else { 0.0 };
                quantized += (count + outside) * (count / filled).ln();
            }
            from = until;
            level += 1.0;
        }
        let total = self.total as f64;
        Some(own - quantized + total * (inside / total).ln())
    }

    /// Position behind the last bin in front of `end` that holds values.
    fn last_filled(&self, end: usize) -> usize {
        let wanted = self.filled[end];
        // `filled` grows by one behind each such bin.
        self.filled[..=end].partition_point(|&n| n < wanted)
    }

    /// The level that the center of a bin rounds to.
    fn level(&self, bin: usize, step: f64) -> f64 {
        ((f64::from(self.first) + bin as f64 + 0.5) / step).round()
    }

    /// Position of the first bin whose center rounds to a level above this one.
    fn level_end(&self, level: f64, step: f64) -> usize {
        let edge = (level + 0.5) * step - 0.5 - f64::from(self.first);
        edge.ceil().max(0.0) as usize
    }
}

/// The bins that take in what is outside, each with how much.
fn end_bins(first: usize, last: usize, below: f64, above: f64) -> Vec<(usize, f64)> {
    if first == last {
        vec![(first, below + above)]
    } else {
        vec![(first, below), (last, above)]
    }
}

/// `a ln b`, 0 where `a` is.
fn weighted_log(a: f64, b: f64) -> f64 {
    if a > 0.0 { a * b.ln() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::clipped_fraction;
    use crate::range::test_values::{laplace, one_image, relu, uniform};

    /// The divergence by its definition, from the distributions written out.
    fn by_definition(profile: &Profile, ends: Ends, step: f64) -> Option<f64> {
        let counts = profile.counts();
        let bin = |idx: usize| profile.first() + idx as i32;
        let filled: Vec<usize> = (0..counts.len())
            .filter(|&idx| counts[idx] > 0 && ends.low <= bin(idx) && bin(idx) < ends.high)
            .collect();
        let (&first, &last) = (filled.first()?, filled.last()?);
        let mut p = vec![0.0; counts.len()];
        for (idx, &count) in counts.iter().enumerate() {
            p[idx.clamp(first, last)] += count as f64;
        }
        let level = |idx: usize| ((f64::from(bin(idx)) + 0.5) / step).round() as i64;
        let mut q = vec![0.0; counts.len()];
        for &idx in &filled {
            let same: Vec<usize> = filled
                .iter()
                .copied()
                .filter(|&other| level(other) == level(idx))
                .collect();
            let sum: u64 = same.iter().map(|&other| counts[other]).sum();
            q[idx] = sum as f64 / same.len() as f64;
        }
        let (p_sum, q_sum) = (p.iter().sum::<f64>(), q.iter().sum::<f64>());
        let terms = filled.iter().map(|&idx| {
            let (p, q) = (p[idx] / p_sum, q[idx] / q_sum);
            p * (p / q).ln()
        });
        Some(terms.sum::<f64>() * profile.total() as f64)
    }

    #[test]
    fn running_sums_give_the_divergence_of_the_definition() {
        for values in [laplace(30_000), relu(30_000), uniform(500)] {
            let seen = one_image(&values);
            let profile = Profile::of(seen.histogram()).expect("there are values");
            let sums = Sums::of(&profile);
            let reach = (-profile.first()).max(profile.first() + profile.counts().len() as i32);
            for share in [0.55, 0.7, 0.85, 0.95, 1.0] {
                let high = (f64::from(reach) * share) as i32;
                for low in [0, -high, -high / 2] {
                    let ends = Ends { low, high };
                    let step = f64::from(high - low) / 255.0;
                    let Some(found) = sums.divergence(ends, step) else {
                        continue;
                    };
                    let expected = by_definition(&profile, ends, step).expect("bins inside");
                    assert!(
                        (found - expected).abs() < 1e-6 * (1.0 + expected.abs()),
                        "{ends:?}: {found} against {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn long_tails_are_cut_and_short_ones_are_kept() {
        for symmetry in [Symmetry::Asymmetric, Symmetry::Symmetric] {
            let mut values = laplace(400_000);
            values.extend([90.0, -70.0]);
            let seen = one_image(&values);
            let range = Entropy.estimate(&seen, symmetry).expect("there are values");
            assert!(
                range.max() < 45.0 && range.min() > -45.0,
                "{symmetry:?}: {range:?} keeps outliers that are six times as far out as everything else"
            );
            let clipped = clipped_fraction(seen.histogram(), range);
            assert!(clipped.below + clipped.above <= MOST_CLIPPED, "{clipped:?}");

            let seen = one_image(&uniform(400_000));
            let range = Entropy.estimate(&seen, symmetry).expect("there are values");
            assert!(
                range.min() < -0.99 && range.max() > 0.99,
                "{symmetry:?}: {range:?}"
            );
        }
    }

    #[test]
    fn zeros_do_not_narrow_the_range() {
        let mut values = relu(100_000);
        let before = Entropy.estimate(&one_image(&values), Symmetry::Asymmetric);
        values.resize(1_000_000, 0.0);
        let after = Entropy.estimate(&one_image(&values), Symmetry::Asymmetric);
        assert_eq!(before, after);
    }
}
