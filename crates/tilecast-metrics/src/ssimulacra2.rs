//! SSIMULACRA2: how different two photographs look, from structure in a perceptual colour space at six scales.
//!
//! The definition is that of its author (Jon Sneyers, Cloudinary, `libjxl`'s `ssimulacra2` 2.1); the crate `ssimulacra2` computes it. 100 is
//! no difference, 90 none that is seen side by side, 70 a little, below 50 much.
//!
//! Pixels are taken as sRGB, whatever profile an image has, as for CIEDE2000.

use ::ssimulacra2::{ColorPrimaries, Rgb, TransferCharacteristic, compute_frame_ssimulacra2};
use schemars::JsonSchema;
use serde::Serialize;

use crate::PlanarShape;

/// Pixels of the largest image that is measured. Both images, their blurred copies and products are in memory: some 200
/// bytes per pixel.
pub const SSIMULACRA2_MAX_PX: usize = 4 << 20;

/// Sides of the smallest image that is measured, pixels. The metric looks at six scales, and below this only at some of them.
const LEAST_SIDE_PX: usize = 64;

/// SSIMULACRA2 over a set of images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Ssimulacra2Summary {
    /// Mean of the images' values.
    pub mean: f64,
    /// The worst image.
    pub min: f64,
}

impl Ssimulacra2Summary {
    /// Summarizes one value per image; `None` if there are no images or one of them has no value.
    #[must_use]
    pub fn from_images(images: &[Option<f64>]) -> Option<Self> {
        let values: Vec<f64> = images.iter().copied().collect::<Option<_>>()?;
        (!values.is_empty()).then(|| Self {
            mean: values.iter().sum::<f64>() / values.len() as f64,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
        })
    }
}

/// SSIMULACRA2 of two sRGB images of this shape, values in [0, 1], those outside clamped; at most 100. `None` where they are not of
/// three planes of this shape, a side is below 64 pixels, there are more than [`SSIMULACRA2_MAX_PX`], or something is not finite.
#[must_use]
pub fn ssimulacra2(reference: &[f32], candidate: &[f32], shape: PlanarShape) -> Option<f64> {
    let PlanarShape {
        channels,
        height,
        width,
    } = shape;
    let n_pixels = height.checked_mul(width)?;
    let fits = |image: &[f32]| {
        image.len() / 3 == n_pixels
            && image.len().is_multiple_of(3)
            && image.iter().all(|value| value.is_finite())
    };
    if channels != 3
        || height.min(width) < LEAST_SIDE_PX
        || n_pixels > SSIMULACRA2_MAX_PX
        || !fits(reference)
        || !fits(candidate)
    {
        return None;
    }
    let rgb = |image: &[f32]| {
        let pixel = |px: usize| [0, 1, 2].map(|plane| image[plane * n_pixels + px].clamp(0.0, 1.0));
        Rgb::new(
            (0..n_pixels).map(pixel).collect(),
            width,
            height,
            TransferCharacteristic::SRGB,
            ColorPrimaries::BT709,
        )
    };
    compute_frame_ssimulacra2(rgb(reference).ok()?, rgb(candidate).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: PlanarShape = PlanarShape {
        channels: 3,
        height: 64,
        width: 64,
    };

    fn photo(seed: f32) -> Vec<f32> {
        let value = |i: usize| {
            let (x, y) = ((i % 64) as f32, (i / 64) as f32);
            0.5 + 0.3 * (x / 9.0 + seed).sin() * (y / 7.0).cos()
        };
        (0..3 * 64 * 64).map(value).collect()
    }

    #[test]
    fn the_same_is_100_and_more_noise_is_less() {
        let reference = photo(0.0);
        let noisy = |strength: f32| -> Vec<f32> {
            let noise = |i: usize| ((i * 7919 % 613) as f32 / 613.0 - 0.5) * strength;
            reference
                .iter()
                .enumerate()
                .map(|(i, value)| value + noise(i))
                .collect()
        };
        let score = |candidate: &[f32]| ssimulacra2(&reference, candidate, SHAPE).unwrap();
        assert!((score(&reference) - 100.0).abs() < 1e-6);
        let scores = [0.01, 0.05, 0.2].map(|strength| score(&noisy(strength)));
        assert!(
            scores.is_sorted_by(|a, b| a > b) && scores[0] < 100.0 && scores[2] < 60.0,
            "{scores:?}"
        );
    }

    #[test]
    fn what_cannot_be_measured_has_no_value() {
        let image = photo(0.0);
        let shape = |channels, height, width| PlanarShape {
            channels,
            height,
            width,
        };
        assert_eq!(ssimulacra2(&image, &image[3..], SHAPE), None);
        assert_eq!(ssimulacra2(&image, &image, shape(1, 64, 192)), None);
        assert_eq!(ssimulacra2(&image, &image, shape(3, 32, 128)), None);
        assert_eq!(ssimulacra2(&[], &[], shape(3, usize::MAX, 8)), None);
        let mut bad = image.clone();
        bad[7] = f32::NAN;
        assert_eq!(ssimulacra2(&image, &bad, SHAPE), None);
        let values = [Some(90.0), Some(80.0)];
        let summary = Ssimulacra2Summary::from_images(&values).unwrap();
        assert_eq!((summary.mean, summary.min), (85.0, 80.0));
        assert_eq!(Ssimulacra2Summary::from_images(&[None, Some(1.0)]), None);
    }
}
