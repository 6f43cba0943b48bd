//! A histogram as estimators that search read it: dense, in units of bins, without the exact zeros.
//!
//! Every grid represents 0 exactly, so zeros cost nothing wherever the range ends. Leaving them out also keeps the spike
//! that `Relu` makes from dominating a divergence.

use crate::binning::MAX_BINS_PER_SIDE;
use crate::histogram::Histogram;
use crate::types::{Range, Symmetry};

/// The first grid of the search has this many steps on each axis.
const COARSE_STEPS: usize = 32;

/// Positions of the ends of a range among the edges of the bins: `low <= 0 <= high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) low: i32,
    pub(super) high: i32,
}

/// Counts of the values other than 0 per bin.
pub(super) struct Profile {
    /// Index `k` of the bin at the front of `counts`.
    first: i32,
    counts: Vec<u64>,
    seen: Range,
    width: f64,
    total: u64,
}

impl Profile {
    /// The profile of a histogram; `None` if it holds nothing but zeros.
    pub(super) fn of(histogram: &Histogram) -> Option<Self> {
        let (seen, width) = (histogram.range()?, histogram.bin_width()?);
        let mut counts = histogram.counts.clone();
        counts[MAX_BINS_PER_SIDE] -= histogram.zeros;
        let begin = counts.iter().position(|&count| count > 0)?;
        let end = counts.iter().rposition(|&count| count > 0)? + 1;
        Some(Self {
            first: begin as i32 - MAX_BINS_PER_SIDE as i32,
            total: histogram.count - histogram.zeros,
            counts: counts[begin..end].to_vec(),
            seen,
            width,
        })
    }

    /// Index of the first bin that holds values other than 0.
    pub(super) fn first(&self) -> i32 {
        self.first
    }

    /// Counts from the first bin that holds values other than 0 to the last.
    pub(super) fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The number of values other than 0.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The range with the smallest cost, looked for from the extremes inwards; of equal ones, the widest that is found.
    ///
    /// Symmetric ranges have `low == -high`. A grid of coarse steps is searched in full, then the neighbourhood of the
    /// best in steps of half the size, down to single bins: costs of this kind have one broad valley.
    pub(super) fn cheapest(&self, symmetry: Symmetry, cost: impl Fn(Ends) -> f64) -> Range {
        let below = (-self.first).max(0) as usize;
        let above = (self.first + self.counts.len() as i32).max(0) as usize;
        let ends = |cuts: [usize; 2]| match symmetry {
            Symmetry::Asymmetric => Ends {
                low: cuts[0] as i32 - below as i32,
                high: above as i32 - cuts[1] as i32,
            },
            Symmetry::Symmetric => {
                let high = (below.max(above) - cuts[1]) as i32;
                Ends { low: -high, high }
            }
        };
        let most_cuts = match symmetry {
            Symmetry::Asymmetric => [below, above],
            Symmetry::Symmetric => [0, below.max(above)],
        };
        let cuts = minimize(most_cuts, |cuts| cost(ends(cuts)));
        self.range(ends(cuts))
    }

    /// The range between two ends, within the exact extremes.
    fn range(&self, ends: Ends) -> Range {
        // Edges have few significant bits, so only one beyond f32::MAX is rounded, to infinity, and clamped.
        let edge = |end: i32| (f64::from(end) * self.width) as f32;
        let min = edge(ends.low).max(self.seen.min());
        let max = edge(ends.high).min(self.seen.max());
        // All values may lie on one side of an end that was moved to 0.
        Range::new(min, max).unwrap_or(self.seen)
    }
}

/// The cheapest pair of numbers of bins to cut, from none to `most`; of equal ones, the first.
fn minimize(most: [usize; 2], cost: impl Fn([usize; 2]) -> f64) -> [usize; 2] {
    let mut step = (most[0].max(most[1]) / COARSE_STEPS)
        .max(1)
        .next_power_of_two();
    let mut best = ([0, 0], cost([0, 0]));
    let mut search = |axes: [Vec<usize>; 2]| {
        for &first in &axes[0] {
            for &second in &axes[1] {
                let found = cost([first, second]);
                if found < best.1 {
                    best = ([first, second], found);
                }
            }
        }
        best.0
    };
    let mut center = search(most.map(|most| (0..=most).step_by(step).collect()));
    while step > 1 {
        step /= 2;
        let near = |axis: usize| {
            let reach = center[axis].saturating_sub(2 * step)..=center[axis] + 2 * step;
            let inside = |&cut: &usize| cut <= most[axis];
            reach.step_by(step).filter(inside).collect()
        };
        center = search([near(0), near(1)]);
    }
    center
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_finds_the_bottom_of_a_valley() {
        for bottom in [[0, 0], [1, 4095], [1000, 3], [37, 2048], [4096, 4096]] {
            let cost = |cuts: [usize; 2]| {
                let along = |axis: usize| (cuts[axis] as f64 - f64::from(bottom[axis])).powi(2);
                along(0) + 3.0 * along(1)
            };
            let found = minimize([4096, 4096], cost);
            assert_eq!(found, bottom.map(|cut: i32| cut as usize));
        }
        assert_eq!(
            minimize([4096, 10], |_| 1.0),
            [0, 0],
            "nothing is cut for nothing"
        );
        assert_eq!(minimize([0, 0], |_| f64::INFINITY), [0, 0]);
    }

    #[test]
    fn zeros_are_left_out_and_the_uncut_range_is_exact() {
        let mut histogram = Histogram::new();
        histogram.observe(&[0.0, -0.0, 0.3]);
        let profile = Profile::of(&histogram).expect("there is a value");
        assert_eq!((profile.total(), profile.counts()), (1, &[1][..]));
        for symmetry in [Symmetry::Asymmetric, Symmetry::Symmetric] {
            let range = profile.cheapest(symmetry, |ends| -f64::from(ends.high));
            assert_eq!(range, Range::new(0.0, 0.3).expect("test range"));
        }
        histogram = Histogram::new();
        histogram.observe(&[0.0]);
        assert!(Profile::of(&histogram).is_none());
    }
}
