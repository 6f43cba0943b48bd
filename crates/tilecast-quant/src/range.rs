//! Range estimators: from everything a tensor was seen to hold to the range worth quantizing.
//!
//! A struct holds the parameters of one estimator, one file per estimator. Estimators read finished
//! [`ValueStatistics`] and nothing else, so their results inherit the independence of order and sharding.

mod entropy;
mod mean_minmax;
mod minmax;
mod mse;
mod percentile;
mod profile;
#[cfg(test)]
mod test_values;

use std::fmt;

use crate::histogram::Histogram;
use crate::statistics::ValueStatistics;
use crate::types::{Range, Symmetry};

pub use entropy::Entropy;
pub use mean_minmax::MeanMinMax;
pub use minmax::MinMax;
pub use mse::Mse;
pub use percentile::Percentile;

/// Chooses the range of a tensor from what was seen of it.
pub trait RangeEstimator: fmt::Debug + Send + Sync {
    /// The name in recipes and reports.
    fn name(&self) -> &'static str;

    /// Whether it looks at bins, or its range leaves values out; [`Histogram::extremes_only`] serves where it does not.
    fn needs_bins(&self) -> bool {
        true
    }

    /// The range to quantize; within the exact extremes of the histogram. `symmetry` is that of the grid it is for.
    ///
    /// # Errors
    /// [`EstimateError`] if no finite value was seen, or bins are needed and missing.
    fn estimate(&self, seen: &ValueStatistics, symmetry: Symmetry) -> Result<Range, EstimateError>;
}

/// The names [`estimator_by_name`] knows, for messages.
const NAMES: &str = "minmax, mean-minmax, percentile, entropy, mse";

/// The estimator of a recipe name, with its default parameters.
///
/// # Errors
/// [`CreateEstimatorError`] if there is no estimator of that name.
pub fn estimator_by_name(name: &str) -> Result<Box<dyn RangeEstimator>, CreateEstimatorError> {
    match name {
        "minmax" => Ok(Box::new(MinMax)),
        "mean-minmax" => Ok(Box::new(MeanMinMax)),
        "percentile" => Ok(Box::new(Percentile::default())),
        "entropy" => Ok(Box::new(Entropy)),
        "mse" => Ok(Box::new(Mse)),
        _ => Err(CreateEstimatorError::UnknownName {
            name: name.to_owned(),
        }),
    }
}

/// The shares of values, from 0 to 1, that saturate when a range is quantized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClippedFraction {
    /// Share of values below the range.
    pub below: f64,
    /// Share of values above the range.
    pub above: f64,
}

/// Measures how much of a histogram `range` leaves out, at the resolution of its bins.
///
/// A bin is left out if it lies wholly below the lower end, or wholly at or above the upper end; a bin that
/// straddles an end counts as kept. A range that reaches an exact extreme leaves nothing out on that side.
/// An empty histogram gives 0, and so does one without bins.
#[must_use]
pub fn clipped_fraction(histogram: &Histogram, range: Range) -> ClippedFraction {
    let Some(seen) = histogram.range() else {
        return ClippedFraction {
            below: 0.0,
            above: 0.0,
        };
    };
    let (low, high) = (f64::from(range.min()), f64::from(range.max()));
    let share = |is_out: &dyn Fn(f64, f64) -> bool| {
        let out: u64 = histogram
            .bins()
            .filter(|bin| is_out(bin.low, bin.high))
            .map(|bin| bin.count)
            .sum();
        out as f64 / histogram.count() as f64
    };
    ClippedFraction {
        below: if range.min() <= seen.min() {
            0.0
        } else {
            share(&|_, bin_high| bin_high <= low)
        },
        above: if range.max() >= seen.max() {
            0.0
        } else {
            share(&|bin_low, _| bin_low >= high)
        },
    }
}

/// Why no range could be estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EstimateError {
    /// The histogram holds no finite value.
    #[error(
        "no finite value was observed ({non_finite} were NaN or infinite); check the calibration images and the model"
    )]
    NoValues {
        /// The number of NaNs and infinities.
        non_finite: u64,
    },
    /// Bins are needed, and only extremes were kept.
    #[error(
        "only extremes were kept, which is enough for `minmax` alone; calibrate without `--extremes-only`"
    )]
    NoBins,
}

/// Why there is no such estimator.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateEstimatorError {
    /// No estimator has this name.
    #[error("range estimator `{name}` is not available; use one of {NAMES}")]
    UnknownName {
        /// The name that was asked for.
        name: String,
    },
    /// A percentile outside its domain.
    #[error("percentile {value} is not above 0 and at most 100; use for instance 99.999")]
    Percentile {
        /// The number that was given.
        value: f64,
    },
}

/// The exact extremes, or the error every estimator reports when there are none; in addition the one of those that need
/// bins.
fn binned_range(histogram: &Histogram) -> Result<Range, EstimateError> {
    if histogram.has_bins() {
        seen_range(histogram)
    } else {
        Err(EstimateError::NoBins)
    }
}

/// The exact extremes, or the error every estimator reports when there are none.
fn seen_range(histogram: &Histogram) -> Result<Range, EstimateError> {
    histogram.range().ok_or(EstimateError::NoValues {
        non_finite: histogram.non_finite(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimators_are_found_by_their_own_names() {
        for name in NAMES.split(", ") {
            assert_eq!(estimator_by_name(name).expect("listed").name(), name);
        }
        let error = estimator_by_name("kl").expect_err("no name").to_string();
        assert_eq!(
            error,
            "range estimator `kl` is not available; use one of minmax, mean-minmax, percentile, entropy, mse"
        );
    }

    #[test]
    fn an_empty_histogram_is_an_error_for_every_estimator() {
        let mut histogram = Histogram::new();
        histogram.observe(&[f32::NAN]);
        for name in NAMES.split(", ") {
            let seen = ValueStatistics::of_image(histogram.clone());
            let got = estimator_by_name(name)
                .expect("listed")
                .estimate(&seen, Symmetry::Asymmetric);
            assert_eq!(
                got,
                Err(EstimateError::NoValues { non_finite: 1 }),
                "{name}"
            );
        }
    }

    #[test]
    fn without_bins_only_estimators_of_extremes_answer() {
        let mut histogram = Histogram::extremes_only();
        histogram.observe(&[-1.0, 2.0]);
        let seen = ValueStatistics::of_image(histogram);
        for name in NAMES.split(", ") {
            let estimator = estimator_by_name(name).expect("listed");
            let got = estimator.estimate(&seen, Symmetry::Asymmetric);
            let want = if estimator.needs_bins() {
                Err(EstimateError::NoBins)
            } else {
                Ok(Range::new(-1.0, 2.0).expect("test range"))
            };
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn clipped_shares_count_whole_bins() {
        let mut histogram = Histogram::new();
        // Bins are 1/4 wide.
        histogram.observe(&[-1000.0, -2.0, -1.0, 0.0, 0.25, 1.0, 3.0, 1000.0]);
        let eighths = |count: f64| count / 8.0;
        for (min, max, below, above) in [
            (-1000.0, 1000.0, 0.0, 0.0),
            (-2000.0, 2000.0, 0.0, 0.0),
            (-1.5, 1000.0, 2.0, 0.0),
            (-1000.0, 0.5, 0.0, 3.0),
            (-1000.0, 0.1, 0.0, 4.0),
            (-0.5, 3.0, 3.0, 2.0),
            (0.0, 0.0, 3.0, 5.0),
        ] {
            let range = Range::new(min, max).expect("test range");
            let want = ClippedFraction {
                below: eighths(below),
                above: eighths(above),
            };
            assert_eq!(clipped_fraction(&histogram, range), want, "[{min}, {max}]");
        }
    }
}
