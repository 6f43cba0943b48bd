//! The exact smallest and largest value: nothing saturates, one outlier decides the step.

use super::{RangeEstimator, seen_range};
use crate::histogram::Histogram;
use crate::range::EstimateError;
use crate::types::Range;

/// Keeps every observed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinMax;

impl RangeEstimator for MinMax {
    fn name(&self) -> &'static str {
        "minmax"
    }

    fn estimate(&self, histogram: &Histogram) -> Result<Range, EstimateError> {
        seen_range(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_are_exact() {
        let mut histogram = Histogram::new();
        histogram.observe(&[0.1, -0.7, 1e-20, 0.3]);
        assert_eq!(
            MinMax.estimate(&histogram),
            Ok(Range::new(-0.7, 0.3).expect("test range"))
        );
    }
}
