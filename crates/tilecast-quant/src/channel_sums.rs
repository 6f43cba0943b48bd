//! The mean of every channel of a tensor over all that calibration shows of it: what a convolution must answer to stay
//! unbiased when its weights are rounded.
//!
//! Float addition depends on the order of its terms, and calibration has none: tiles are shared out over threads and
//! machines. So each tensor is summed in float64 in a fixed order, and these sums are kept as integers, whose addition
//! commutes.

use serde::{Deserialize, Serialize};

use crate::magnitude::kept_axis_sums;

/// Steps of a kept sum per unit, as a power of two: `2⁻⁵⁶` is far below the rounding of what is summed.
const FRACTION_BITS: i32 = 56;

/// Sums of single tensors above this are not kept: two million tensors of it still fit the integer.
const LARGEST_SUM: f64 = 1e15;

/// What was observed of the channels of one value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelSums {
    /// Elements seen per channel.
    count: u64,
    /// Per channel, in steps of `2^-FRACTION_BITS`.
    sums: Vec<i128>,
    /// Whether something was seen that has no mean: other numbers of channels, or elements that are not finite.
    unclear: bool,
}

impl ChannelSums {
    /// Adds the elements of one tensor whose channels lie along `axis`.
    ///
    /// # Panics
    /// `values` does not have as many elements as `dims` says, or `dims` has no such axis.
    pub fn observe(&mut self, values: &[f32], dims: &[usize], axis: usize) {
        let n_channels = dims[axis];
        if values.is_empty() {
            return;
        }
        let sums = kept_axis_sums(values, dims, axis);
        let unit = 2_f64.powi(FRACTION_BITS);
        let sums = sums.into_iter().map(|sum| {
            // NaN is no number at most this large either.
            let known = sum.abs() <= LARGEST_SUM;
            known.then(|| (sum * unit).round_ties_even() as i128)
        });
        let (count, unclear) = ((values.len() / n_channels) as u64, false);
        match sums.collect() {
            Some(sums) => self.merge(&Self {
                count,
                sums,
                unclear,
            }),
            None => self.unclear = true,
        }
    }

    /// What both have seen together.
    pub fn merge(&mut self, other: &Self) {
        self.unclear |= other.unclear;
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            self.sums.clone_from(&other.sums);
        } else if self.sums.len() == other.sums.len() {
            for (mine, theirs) in self.sums.iter_mut().zip(&other.sums) {
                *mine = mine.wrapping_add(*theirs);
            }
        } else {
            self.unclear = true;
        }
        self.count += other.count;
    }

    /// The mean of each channel; `None` where nothing was seen or where it is not known.
    #[must_use]
    pub fn means(&self) -> Option<Vec<f64>> {
        if self.count == 0 || self.unclear {
            return None;
        }
        let step = 2_f64.powi(-FRACTION_BITS) / self.count as f64;
        Some(self.sums.iter().map(|&sum| sum as f64 * step).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(tensors: &[&[f32]]) -> ChannelSums {
        let mut sums = ChannelSums::default();
        for tensor in tensors {
            sums.observe(tensor, &[1, 2, tensor.len() / 2], 1);
        }
        sums
    }

    #[test]
    fn means_are_those_of_all_elements_of_a_channel() {
        let sums = seen(&[&[1.0, 2.0, 3.0, 10.0, 20.0, 30.0], &[-1.0, 0.5]]);
        assert_eq!(sums.means(), Some(vec![5.0 / 4.0, 60.5 / 4.0]));
        let mut rows = ChannelSums::default();
        rows.observe(&[1.0, 10.0, 3.0, 30.0], &[2, 2], 1);
        assert_eq!(rows.means(), Some(vec![2.0, 20.0]));
        assert_eq!(ChannelSums::default().means(), None);
    }

    #[test]
    fn neither_order_nor_sharing_shows() {
        let tensors: Vec<Vec<f32>> = (0..7)
            .map(|i| {
                (0..12)
                    .map(|j| ((i * 12 + j) as f32 * 0.737).sin() * 10_f32.powi(i - 3))
                    .collect()
            })
            .collect();
        let refs: Vec<&[f32]> = tensors.iter().map(Vec::as_slice).collect();
        let whole = seen(&refs);
        let backwards: Vec<&[f32]> = refs.iter().rev().copied().collect();
        assert_eq!(seen(&backwards), whole);
        for split in 0..=refs.len() {
            let mut merged = seen(&refs[split..]);
            merged.merge(&seen(&refs[..split]));
            assert_eq!(merged, whole, "split at {split}");
        }
    }

    #[test]
    fn what_has_no_mean_has_none() {
        for bad in [f32::NAN, f32::INFINITY, 1e30] {
            let sums = seen(&[&[1.0, 2.0], &[bad, 2.0]]);
            assert_eq!(sums.means(), None, "{bad}");
        }
        let mut sums = seen(&[&[1.0, 2.0]]);
        sums.observe(&[1.0, 2.0, 3.0], &[1, 3], 1);
        assert_eq!(sums.means(), None);
    }
}
