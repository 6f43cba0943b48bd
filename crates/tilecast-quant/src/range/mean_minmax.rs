//! The mean over the calibration images of each one's smallest and largest value.
//!
//! One unusual image moves the range by its share only. Values beyond the mean saturate. The same rule is the default of
//! NNCF for activations (`mean` aggregation of `min` and `max` per sample), and of ONNX Runtime's `MinMaxCalibrater` with
//! `moving_average=True`.

use super::{EstimateError, RangeEstimator, binned_range};
use crate::statistics::ValueStatistics;
use crate::types::{Range, Symmetry};

/// Averages the extremes of the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeanMinMax;

impl RangeEstimator for MeanMinMax {
    fn name(&self) -> &'static str {
        "mean-minmax"
    }

    fn estimate(&self, seen: &ValueStatistics, _: Symmetry) -> Result<Range, EstimateError> {
        let extremes = binned_range(seen.histogram())?;
        Ok(seen.mean_extremes().unwrap_or(extremes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Histogram;

    #[test]
    fn one_bright_image_among_many_counts_as_one() {
        let mut seen = ValueStatistics::default();
        for brightness in [1.0, 1.0, 1.0, 9.0] {
            let mut histogram = Histogram::new();
            histogram.observe(&[0.0, brightness]);
            seen.merge(&ValueStatistics::of_image(histogram));
        }
        assert_eq!(
            MeanMinMax.estimate(&seen, Symmetry::Asymmetric),
            Ok(Range::new(0.0, 3.0).expect("test range"))
        );
    }
}
