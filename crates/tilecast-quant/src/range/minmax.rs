//! The exact smallest and largest value: nothing saturates, one outlier decides the step.

use super::{EstimateError, RangeEstimator, seen_range};
use crate::statistics::ValueStatistics;
use crate::types::{Range, Symmetry};

/// Keeps every observed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinMax;

impl RangeEstimator for MinMax {
    fn name(&self) -> &'static str {
        "minmax"
    }

    fn needs_bins(&self) -> bool {
        false
    }

    fn estimate(&self, seen: &ValueStatistics, _: Symmetry) -> Result<Range, EstimateError> {
        seen_range(seen.histogram())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::test_values::one_image;

    #[test]
    fn extremes_are_exact() {
        assert_eq!(
            MinMax.estimate(&one_image(&[0.1, -0.7, 1e-20, 0.3]), Symmetry::Asymmetric),
            Ok(Range::new(-0.7, 0.3).expect("test range"))
        );
    }
}
