//! A histogram that does not depend on the order, grouping or sharding of what it saw.
//!
//! The bin width is a power of two, `2^e`, and bins are aligned at zero: bin `k` covers `[k * 2^e, (k + 1) * 2^e)`
//! for `k` in `-4096..4096`. The exponent is the smallest one, not below −126, for which all finite values fit;
//! that is a function of the smallest and the largest value alone. Doubling the width merges the pairs of bins
//! `2k` and `2k + 1` and puts every value where it would have landed directly, because
//! `floor(floor(x / w) / 2) = floor(x / 2w)`. The state after any sequence of observations and merges is
//! therefore a function of the multiset of values, bit for bit.

use crate::binning::{
    Binning, MAX_BINS_PER_SIDE, MIN_EXPONENT, N_BINS, extremes, power_of_two, required_exponent,
    scan,
};
use crate::types::Range;

/// Values are scanned and binned in blocks that stay in the cache between the two passes.
const BLOCK_LEN: usize = 1 << 16;
/// Neighbouring values often share a bin. Counting them in different tables keeps one increment from waiting for
/// the previous one.
const N_TABLES: usize = 2;
/// Values between two additions of the tables to the counts: fewer than a 32-bit counter holds.
const STRETCH_LEN: usize = 1 << 30;

/// Counts of `f32` values in bins of a power-of-two width.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// `log2` of the bin width; [`MIN_EXPONENT`] while there is no value.
    pub(crate) exponent: i32,
    /// Bin `k` is at `k + 4096`; no elements while there is no value.
    pub(crate) counts: Vec<u64>,
    /// Whether values are counted in bins at all.
    pub(crate) has_bins: bool,
    /// Exact extremes with zeros made positive; infinities of the wrong sign while there is no value.
    pub(crate) min: f32,
    pub(crate) max: f32,
    pub(crate) count: u64,
    pub(crate) zeros: u64,
    pub(crate) non_finite: u64,
}

/// One bin that holds values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// The lower edge, included.
    pub low: f64,
    /// The upper edge, excluded.
    pub high: f64,
    /// The number of values, at least 1.
    pub count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// A histogram that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            exponent: MIN_EXPONENT,
            counts: Vec::new(),
            has_bins: true,
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            count: 0,
            zeros: 0,
            non_finite: 0,
        }
    }

    /// One without bins: it keeps count and extremes, for estimators that look at nothing else. It costs a fraction of the time.
    #[must_use]
    pub const fn extremes_only() -> Self {
        let mut histogram = Self::new();
        histogram.has_bins = false;
        histogram
    }

    /// Whether values are counted in bins. What was merged with an [`extremes_only`](Self::extremes_only) one has none.
    #[must_use]
    pub const fn has_bins(&self) -> bool {
        self.has_bins
    }

    /// Counts every value. NaN and infinities are only counted as such; −0 is 0.
    pub fn observe(&mut self, values: &[f32]) {
        if !self.has_bins {
            return values
                .chunks(BLOCK_LEN)
                .for_each(|block| self.observe_extremes(block));
        }
        for stretch in values.chunks(STRETCH_LEN) {
            // For few values, clearing and adding up tables would cost more than it saves.
            let mut tables = (stretch.len() >= N_BINS).then(Tables::new);
            for block in stretch.chunks(BLOCK_LEN) {
                self.observe_block(block, tables.as_mut());
            }
            if let Some(tables) = &mut tables {
                tables.move_to(&mut self.counts);
            }
        }
    }

    /// Adds what another histogram has seen.
    pub fn merge(&mut self, other: &Self) {
        self.non_finite = self.non_finite.saturating_add(other.non_finite);
        if self.has_bins && !other.has_bins {
            self.has_bins = false;
            self.zeros = 0;
            self.counts = Vec::new();
        }
        if other.count == 0 {
            return;
        }
        self.extend_range(other.min, other.max);
        self.count = self.count.saturating_add(other.count);
        if !self.has_bins {
            return;
        }
        self.zeros = self.zeros.saturating_add(other.zeros);
        let shift = self.exponent - other.exponent;
        for (idx, &count) in other.counts.iter().enumerate() {
            let merged = &mut self.counts[shifted_index(idx, shift)];
            *merged = merged.saturating_add(count);
        }
    }

    /// The number of finite values.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The number of zeros of either sign, a part of [`count`](Self::count); 0 where there are no bins.
    #[must_use]
    pub const fn zeros(&self) -> u64 {
        self.zeros
    }

    /// The number of NaNs and infinities, no part of [`count`](Self::count).
    #[must_use]
    pub const fn non_finite(&self) -> u64 {
        self.non_finite
    }

    /// The exact smallest and largest finite value; `None` before the first one.
    #[must_use]
    pub fn range(&self) -> Option<Range> {
        Range::new(self.min, self.max).ok()
    }

    /// The width of every bin, a power of two; `None` before the first finite value.
    #[must_use]
    pub fn bin_width(&self) -> Option<f64> {
        (self.count > 0).then(|| power_of_two(self.exponent).into())
    }

    /// The bins that hold values, in increasing order, with exact edges; none where there are no bins.
    #[must_use]
    pub fn bins(&self) -> impl DoubleEndedIterator<Item = Bin> + '_ {
        let width = f64::from(power_of_two(self.exponent));
        self.counts
            .iter()
            .enumerate()
            .filter(|&(_, &count)| count > 0)
            .map(move |(idx, &count)| {
                let low = (idx as f64 - MAX_BINS_PER_SIDE as f64) * width;
                Bin {
                    low,
                    high: low + width,
                    count,
                }
            })
    }

    /// As [`observe_block`](Self::observe_block), where there are no bins.
    fn observe_extremes(&mut self, block: &[f32]) {
        let Some((min, max)) = extremes(block) else {
            let is_finite = |value: &f32| value.is_finite();
            let finite: Vec<f32> = block.iter().copied().filter(is_finite).collect();
            let rest = (block.len() - finite.len()) as u64;
            self.non_finite = self.non_finite.saturating_add(rest);
            return self.observe_extremes(&finite);
        };
        if !block.is_empty() {
            self.count = self.count.saturating_add(block.len() as u64);
            self.extend_range(min, max);
        }
    }

    fn observe_block(&mut self, block: &[f32], tables: Option<&mut Tables>) {
        let scan = scan(block);
        if scan.non_finite > 0 {
            self.non_finite = self.non_finite.saturating_add(scan.non_finite.into());
            let finite: Vec<f32> = block
                .iter()
                .copied()
                .filter(|value| value.is_finite())
                .collect();
            return self.observe_block(&finite, tables);
        }
        if block.is_empty() {
            return;
        }
        self.count = self.count.saturating_add(block.len() as u64);
        self.zeros = self.zeros.saturating_add(scan.zeros.into());
        let Some(tables) = tables else {
            self.extend_range(scan.min, scan.max);
            Binning::of(self.exponent).indices(block, |indices| {
                for &idx in indices {
                    self.counts[idx as usize] += 1;
                }
            });
            return;
        };
        if self.exponent_with(scan.min, scan.max) != self.exponent {
            tables.move_to(&mut self.counts);
        }
        self.extend_range(scan.min, scan.max);
        Binning::of(self.exponent).indices(block, |indices| tables.count(indices));
    }

    /// The exponent once these extremes are taken in.
    fn exponent_with(&self, min: f32, max: f32) -> i32 {
        required_exponent(self.min.min(min), self.max.max(max))
    }

    /// Takes in new extremes and widens the bins until both fit.
    fn extend_range(&mut self, min: f32, max: f32) {
        if self.has_bins && self.counts.is_empty() {
            self.counts.resize(N_BINS, 0);
        }
        // The addition turns −0 into +0, so that the extremes do not depend on which zero came first.
        let exponent = self.exponent_with(min, max);
        self.min = self.min.min(min) + 0.0;
        self.max = self.max.max(max) + 0.0;
        let shift = exponent - self.exponent;
        if shift > 0 && self.has_bins {
            let mut merged = vec![0; N_BINS];
            for (idx, &count) in self.counts.iter().enumerate() {
                let target: &mut u64 = &mut merged[shifted_index(idx, shift)];
                *target = target.saturating_add(count);
            }
            self.counts = merged;
        }
        self.exponent = exponent;
    }
}

/// Counts in bins of one width that are still to be added to those of a histogram: several tables in a row.
struct Tables(Vec<u32>);

impl Tables {
    fn new() -> Self {
        Self(vec![0; N_TABLES * N_BINS])
    }

    fn count(&mut self, indices: &[u32]) {
        let (tables, _) = self.0.as_chunks_mut::<N_BINS>();
        let (groups, rest) = indices.as_chunks::<N_TABLES>();
        for group in groups {
            for (table, &idx) in tables.iter_mut().zip(group) {
                table[idx as usize % N_BINS] += 1;
            }
        }
        for &idx in rest {
            tables[0][idx as usize % N_BINS] += 1;
        }
    }

    /// Adds the counts to those of the histogram, which has no elements where nothing was counted, and starts anew.
    fn move_to(&mut self, counts: &mut [u64]) {
        for table in self.0.chunks(N_BINS) {
            for (count, &more) in counts.iter_mut().zip(table) {
                *count += u64::from(more);
            }
        }
        self.0.fill(0);
    }
}

/// The place of a bin after `shift` doublings of the width.
fn shifted_index(idx: usize, shift: i32) -> usize {
    let bin = idx as i32 - MAX_BINS_PER_SIDE as i32;
    // Beyond 31 doublings only the sign is left, as after 31.
    ((bin >> shift.min(31)) + MAX_BINS_PER_SIDE as i32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_extremes_are_exact() {
        let mut histogram = Histogram::new();
        assert_eq!(
            (
                histogram.range(),
                histogram.bin_width(),
                histogram.bins().count()
            ),
            (None, None, 0)
        );
        histogram.observe(&[f32::NAN, f32::INFINITY]);
        assert_eq!(
            (histogram.range(), histogram.count(), histogram.non_finite()),
            (None, 0, 2)
        );

        histogram.observe(&[0.0, -0.0, 1.5, -3.0, f32::NEG_INFINITY, 1.5]);
        assert_eq!(
            (histogram.count(), histogram.zeros(), histogram.non_finite()),
            (5, 2, 3)
        );
        assert_eq!(histogram.range(), Range::new(-3.0, 1.5).ok());
        let width = 4.0 / 4096.0;
        assert_eq!(histogram.bin_width(), Some(width));
        let bins: Vec<Bin> = histogram.bins().collect();
        let bin = |low: f64, count| Bin {
            low,
            high: low + width,
            count,
        };
        assert_eq!(bins, [bin(-3.0, 1), bin(0.0, 2), bin(1.5, 2)]);
    }

    #[test]
    fn the_sign_of_zero_leaves_no_trace() {
        let (mut positive, mut negative) = (Histogram::new(), Histogram::new());
        positive.observe(&[0.0, -0.0]);
        negative.observe(&[-0.0]);
        negative.observe(&[0.0]);
        assert_eq!(positive, negative);
        assert_eq!(negative.min.to_bits(), 0);
        assert_eq!(negative.max.to_bits(), 0);
    }

    /// Extremes and counts are those of a histogram with bins, and what has met one without bins has none left.
    #[test]
    fn without_bins_the_extremes_stay() {
        let values = [0.0, -0.0, 1.5, -3.0, f32::NAN, 1e-30];
        let (mut full, mut bare) = (Histogram::new(), Histogram::extremes_only());
        full.observe(&values);
        bare.observe(&values);
        let facts = |h: &Histogram| (h.range(), h.count(), h.non_finite(), h.bin_width());
        assert_eq!(facts(&bare), facts(&full));
        assert_eq!(bare.range(), Range::new(-3.0, 1.5).ok());
        assert_eq!((bare.has_bins(), bare.bins().count()), (false, 0));

        let (mut one, mut other) = (full.clone(), bare.clone());
        one.merge(&bare);
        other.merge(&full);
        assert_eq!(one, other);
        let mut from_nothing = Histogram::new();
        from_nothing.merge(&bare);
        assert_eq!(from_nothing, bare);
    }

    /// A tiny negative value is in the bin below zero however wide the bins are when it arrives.
    #[test]
    fn underflow_does_not_move_a_value_across_zero() {
        for tiny in [-f32::from_bits(1), -f32::MIN_POSITIVE, -1e-30] {
            let (mut before, mut after, mut together) =
                (Histogram::new(), Histogram::new(), Histogram::new());
            before.observe(&[tiny]);
            before.observe(&[f32::MAX]);
            after.observe(&[f32::MAX]);
            after.observe(&[tiny]);
            together.observe(&[tiny, f32::MAX]);
            assert_eq!(before, after, "{tiny:e}");
            assert_eq!(before, together, "{tiny:e}");
            assert_eq!(before.counts[MAX_BINS_PER_SIDE - 1], 1, "{tiny:e}");
        }
    }
}
