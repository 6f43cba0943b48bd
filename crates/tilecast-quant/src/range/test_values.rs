//! Distributions for tests of estimators.

use crate::histogram::Histogram;
use crate::statistics::ValueStatistics;

/// The statistics of one image with these values.
pub(super) fn one_image(values: &[f32]) -> ValueStatistics {
    let mut histogram = Histogram::new();
    histogram.observe(values);
    ValueStatistics::of_image(histogram)
}

/// Evenly spread over (−1, 1), in no order.
pub(super) fn uniform(n: usize) -> Vec<f32> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Laplace distribution of scale 1: long tails on both sides.
pub(super) fn laplace(n: usize) -> Vec<f32> {
    let from_uniform = |u: f32| -u.signum() * (1.0 - u.abs().min(1.0 - f32::EPSILON)).ln();
    uniform(n).into_iter().map(from_uniform).collect()
}

/// What `Relu` leaves of it: half zeros, half a long tail.
pub(super) fn relu(n: usize) -> Vec<f32> {
    laplace(n).into_iter().map(|value| value.max(0.0)).collect()
}
