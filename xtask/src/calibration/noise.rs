//! Noise of a camera: a part that does not depend on brightness, and one whose variance grows with it.

use image::RgbImage;

use super::plan::Pair;
use super::random::{Purpose, Random};

/// Variance added per unit of brightness, both in [0, 1].
///
/// Small enough that the deviation at mid-grey stays what the file's name says: 5.3 of 255 for σ 5.
pub(super) const GAIN: f64 = 0.0001;

/// `clean` with Gaussian noise of variance (sigma / 255)² + [`GAIN`]·x at a sample x, clamped to [0, 1] and
/// rounded to 8 bits.
pub(super) fn add(clean: &RgbImage, pair: &Pair) -> RgbImage {
    let mut random = Random::new(pair.number, Purpose::Noise);
    let sigma = f64::from(pair.sigma) / 255.0;
    let mut noisy = clean.clone();
    for sample in noisy.iter_mut() {
        let x = f64::from(*sample) / 255.0;
        let value = x + random.normal() * (sigma * sigma + GAIN * x).sqrt();
        *sample = (value.clamp(0.0, 1.0) * 255.0).round() as u8;
    }
    noisy
}
