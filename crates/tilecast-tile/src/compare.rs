//! What one image differs from another by.

use tilecast_metrics::{OutputRange, PlanarShape, SquaredError, ssim};

use crate::{PlanarImage, Size};

/// Which values of the images are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// As they are: model against model.
    Unclamped,
    /// Clamped to [0, 1], not rounded: against ground truth, which cannot lie outside.
    Clamped,
}

/// The difference of two images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Squared error over all pixels and channels; the peak of images is 1.
    pub error: SquaredError,
    /// Mean structural similarity; `None` where a value is not finite or a side is shorter than its window.
    pub ssim: Option<f64>,
}

impl Comparison {
    /// PSNR in dB; `None` where a value is not finite.
    #[must_use]
    pub fn psnr_db(&self) -> Option<f64> {
        self.error.psnr_db(OutputRange::UNIT.peak())
    }
}

/// Two images of different shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the reference has {} channels of {} px, the candidate {} of {} px; compare images of the same shape",
    reference.0, reference.1, candidate.0, candidate.1
)]
pub struct CompareImagesError {
    reference: (usize, Size),
    candidate: (usize, Size),
}

/// Compares an image with its reference.
///
/// # Errors
/// They have different shapes.
pub fn compare_images(
    reference: &PlanarImage,
    candidate: &PlanarImage,
    values: Values,
) -> Result<Comparison, CompareImagesError> {
    let shapes = CompareImagesError {
        reference: (reference.channels(), reference.size()),
        candidate: (candidate.channels(), candidate.size()),
    };
    let Size { height, width } = reference.size();
    if shapes.reference != shapes.candidate {
        return Err(shapes);
    }
    let mut error = SquaredError::new();
    let added = match values {
        Values::Unclamped => error.add(reference.data(), candidate.data()),
        Values::Clamped => error.add_clamped(reference.data(), candidate.data(), OutputRange::UNIT),
    };
    added.map_err(|_| shapes)?;
    let shape = PlanarShape {
        channels: reference.channels(),
        height,
        width,
    };
    let measure = |a: &[f32], b: &[f32]| ssim(a, b, shape, OutputRange::UNIT.peak()).ok();
    let ssim = match values {
        // Clamping would hide infinities from the measurement.
        _ if error.non_finite() > 0 => None,
        Values::Unclamped => measure(reference.data(), candidate.data()),
        Values::Clamped => measure(&clamped(reference), &clamped(candidate)),
    };
    Ok(Comparison { error, ssim })
}

fn clamped(image: &PlanarImage) -> Vec<f32> {
    let values = image.data().iter();
    values.map(|value| value.clamp(0.0, 1.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BitDepth;

    const SIZE: Size = Size {
        height: 12,
        width: 16,
    };

    fn image(value: impl Fn(usize) -> f32) -> PlanarImage {
        let data = (0..SIZE.height * SIZE.width).map(value).collect();
        PlanarImage::new(1, SIZE, data, BitDepth::Eight)
    }

    fn wave(i: usize) -> f32 {
        (i % 7) as f32 / 6.0
    }

    #[test]
    fn values_outside_the_range_count_only_unclamped() {
        let reference = image(wave);
        let overshooting = image(|i| if wave(i) >= 1.0 { 1.5 } else { wave(i) });
        let clamped = compare_images(&reference, &overshooting, Values::Clamped).unwrap();
        assert_eq!(
            (clamped.psnr_db(), clamped.error.max_abs()),
            (Some(200.0), Some(0.0))
        );
        assert!((clamped.ssim.unwrap() - 1.0).abs() < 1e-12);
        let unclamped = compare_images(&reference, &overshooting, Values::Unclamped).unwrap();
        assert_eq!(unclamped.error.max_abs(), Some(0.5));
        assert!(unclamped.psnr_db().unwrap() < 20.0 && unclamped.ssim.unwrap() < 0.99);
    }

    #[test]
    fn what_is_not_finite_has_no_quality() {
        for bad in [f32::NAN, f32::INFINITY] {
            let broken = image(|i| if i == 40 { bad } else { wave(i) });
            for values in [Values::Clamped, Values::Unclamped] {
                let comparison = compare_images(&image(wave), &broken, values).unwrap();
                assert_eq!(
                    (comparison.psnr_db(), comparison.ssim),
                    (None, None),
                    "{bad} {values:?}"
                );
            }
        }
    }

    #[test]
    fn small_images_have_psnr_alone_and_shapes_must_agree() {
        let small = PlanarImage::new(
            1,
            Size {
                height: 1,
                width: 2,
            },
            vec![0.0, 1.0],
            BitDepth::Eight,
        );
        let same = compare_images(&small, &small, Values::Unclamped).unwrap();
        assert_eq!((same.psnr_db(), same.ssim), (Some(200.0), None));
        let error = compare_images(&image(wave), &small, Values::Unclamped).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("16x12 px, the candidate 1 of 2x1 px"),
            "{error}"
        );
    }
}
