//! The range that keeps a given share of the values, cutting both tails alike.
//!
//! A percentile `p` allows `(100 - p) / 200` of the values to be cut on each side, rounded down to whole
//! values. Whole bins are cut from the outside as long as the allowance holds; there is no interpolation
//! inside a bin. The result is the outer edges of the bins that remain, clamped to the exact extremes, so it
//! keeps at least the requested share and is never wider than min-max.

use super::{CreateEstimatorError, EstimateError, RangeEstimator, binned_range};
use crate::histogram::Bin;
use crate::statistics::ValueStatistics;
use crate::types::{Range, Symmetry};

/// Cuts the outermost values on both sides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percentile {
    percentile: f64,
}

impl Percentile {
    /// Keeps at least `percentile` percent of the values, in `(0, 100]`. The default is 99.999.
    ///
    /// # Errors
    /// [`CreateEstimatorError::Percentile`] outside that interval.
    pub fn new(percentile: f64) -> Result<Self, CreateEstimatorError> {
        if percentile > 0.0 && percentile <= 100.0 {
            Ok(Self { percentile })
        } else {
            Err(CreateEstimatorError::Percentile { value: percentile })
        }
    }
}

impl Default for Percentile {
    fn default() -> Self {
        Self { percentile: 99.999 }
    }
}

impl RangeEstimator for Percentile {
    fn name(&self) -> &'static str {
        "percentile"
    }

    fn estimate(&self, seen: &ValueStatistics, _: Symmetry) -> Result<Range, EstimateError> {
        let histogram = seen.histogram();
        let seen = binned_range(histogram)?;
        let allowance = ((100.0 - self.percentile) / 200.0 * histogram.count() as f64) as u64;
        let first =
            first_kept(histogram.bins(), allowance).map_or(f64::NEG_INFINITY, |bin| bin.low);
        let last =
            first_kept(histogram.bins().rev(), allowance).map_or(f64::INFINITY, |bin| bin.high);
        // Edges have at most 13 significant bits, so only the one beyond f32::MAX needs the clamp in f64.
        let min = first.max(seen.min().into()) as f32;
        let max = last.min(seen.max().into()) as f32;
        Ok(Range::new(min, max)
            .expect("both tails together are less than everything, so the edges stay ordered"))
    }
}

/// The first bin that cannot be cut without exceeding the allowance.
fn first_kept(mut bins: impl Iterator<Item = Bin>, allowance: u64) -> Option<Bin> {
    let mut cut = 0_u64;
    bins.find(|bin| {
        cut = cut.saturating_add(bin.count);
        cut > allowance
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::clipped_fraction;
    use crate::range::test_values::one_image;
    use proptest::prelude::*;

    fn estimate(percentile: f64, values: &[f32]) -> (f32, f32) {
        let estimator = Percentile::new(percentile).expect("test percentile");
        let range = estimator
            .estimate(&one_image(values), Symmetry::Asymmetric)
            .expect("there are values");
        (range.min(), range.max())
    }

    #[test]
    fn tails_are_cut_at_bin_edges() {
        // 0 to 1023 in bins of width 1/4, one value each.
        let ramp: Vec<f32> = (0_i16..1024).map(f32::from).collect();
        for (percentile, want) in [
            (100.0, (0.0, 1023.0)),
            // 5.12 values on each side: 5 whole ones may go.
            (99.0, (5.0, 1018.25)),
            // Less than one value on each side: none may go.
            (99.9, (0.0, 1023.0)),
            (50.0, (256.0, 767.25)),
        ] {
            assert_eq!(estimate(percentile, &ramp), want, "{percentile}");
        }
    }

    #[test]
    fn an_outlier_is_cut_and_a_constant_is_kept() {
        let mut values = vec![0.5; 10_000];
        assert_eq!(estimate(99.9, &values), (0.5, 0.5));
        values.push(-800.0);
        values.push(900.0);
        // The bins are 1/4 wide, so the kept bin is [0.5, 0.75).
        assert_eq!(estimate(99.9, &values), (0.5, 0.75));
        assert_eq!(estimate(99.999, &values), (-800.0, 900.0));
    }

    #[test]
    fn the_widest_values_do_not_overflow() {
        assert_eq!(
            estimate(99.999, &[f32::MIN, f32::MAX]),
            (f32::MIN, f32::MAX)
        );
    }

    #[test]
    fn the_domain_is_checked() {
        for bad in [0.0, -1.0, 100.1, f64::NAN] {
            assert!(Percentile::new(bad).is_err(), "{bad} was accepted");
        }
    }

    proptest! {
        #[test]
        fn at_least_the_requested_share_is_kept(
            values in prop::collection::vec(-1e3_f32..1e3, 1..400),
            percentile in 1.0_f64..=100.0,
        ) {
            let seen = one_image(&values);
            let estimator = Percentile::new(percentile).expect("in domain");
            let range = estimator.estimate(&seen, Symmetry::Asymmetric).expect("values");
            let kept = values.iter().filter(|value| (range.min()..=range.max()).contains(value)).count();
            prop_assert!(kept as f64 >= percentile / 100.0 * values.len() as f64 - 1e-9);
            let clipped = clipped_fraction(seen.histogram(), range);
            prop_assert!(clipped.below.max(clipped.above) <= (100.0 - percentile) / 200.0 + 1e-12);
        }
    }
}
