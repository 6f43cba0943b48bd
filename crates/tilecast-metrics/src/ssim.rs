//! Structural similarity with the Gaussian window of its authors.
//!
//! Wang, Bovik, Sheikh, Simoncelli, *Image Quality Assessment: From Error Visibility to Structural Similarity*,
//! IEEE Transactions on Image Processing 13 (2004), equation 13: K1 = 0.01, K2 = 0.03, an 11×11 Gaussian window
//! with σ = 1.5, population covariance. The reference implementation is `skimage.metrics.structural_similarity`
//! with `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`: it truncates the Gaussian at 3.5 σ,
//! which is radius 5, and drops a border of 5 pixels before averaging. Only windows that lie wholly inside the
//! image are left, so the treatment of the border does not matter and none is implemented here.
//!
//! The window is separable. One channel is filtered at a time, rows first; a ring of 11 filtered rows is all
//! that is kept. Variances appear only as a sum, so four filtered quantities suffice: both images, the sum of
//! their squares, and their product. All arithmetic is in `f64`, because the variances are differences of
//! nearly equal numbers.

use schemars::JsonSchema;
use serde::Serialize;

/// The side of the window, and the smallest side of an image that can be measured.
pub const SSIM_WINDOW_PX: usize = 11;

const RADIUS: usize = SSIM_WINDOW_PX / 2;
const SIGMA: f64 = 1.5;
const K1: f64 = 0.01;
const K2: f64 = 0.03;

/// The layout of an image as consecutive channels of rows, `[C, H, W]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanarShape {
    /// The number of channels, at least 1.
    pub channels: usize,
    /// The number of rows, at least [`SSIM_WINDOW_PX`].
    pub height: usize,
    /// The number of columns, at least [`SSIM_WINDOW_PX`].
    pub width: usize,
}

/// The mean SSIM of two images over all channels, in `[-1, 1]`, 1 for identical images.
///
/// Both images have layout `shape` and a signal of width `peak`. Memory is that of some 50 rows.
///
/// # Errors
/// [`MeasureSsimError`] if the shape does not describe both images, a side is shorter than the window, the peak
/// is not positive, or a value is not finite.
pub fn ssim(
    reference: &[f32],
    candidate: &[f32],
    shape: PlanarShape,
    peak: f64,
) -> Result<f64, MeasureSsimError> {
    let PlanarShape {
        channels,
        height,
        width,
    } = shape;
    if height < SSIM_WINDOW_PX || width < SSIM_WINDOW_PX {
        return Err(MeasureSsimError::TooSmall { height, width });
    }
    let plane_len = height.checked_mul(width);
    let expected = plane_len.and_then(|plane_len| plane_len.checked_mul(channels));
    for actual in [reference.len(), candidate.len()] {
        if expected != Some(actual) || channels == 0 {
            return Err(MeasureSsimError::Shape { shape, actual });
        }
    }
    if !(peak.is_finite() && peak > 0.0) {
        return Err(MeasureSsimError::Peak { peak });
    }
    if let Some(idx) = reference
        .iter()
        .zip(candidate)
        .position(|(x, y)| !x.is_finite() || !y.is_finite())
    {
        return Err(MeasureSsimError::NotFinite { idx });
    }
    let plane_len = height * width;
    let planes = reference
        .chunks_exact(plane_len)
        .zip(candidate.chunks_exact(plane_len));
    let sum: f64 = planes
        .map(|(reference, candidate)| plane_ssim(reference, candidate, width, peak))
        .sum();
    Ok(sum / channels as f64)
}

/// Weights of the window by distance from its centre.
fn half_window() -> [f64; RADIUS + 1] {
    let gaussian = |distance: usize| (-0.5 * (distance as f64 / SIGMA).powi(2)).exp();
    let total: f64 = gaussian(0) + 2.0 * (1..=RADIUS).map(gaussian).sum::<f64>();
    std::array::from_fn(|distance| gaussian(distance) / total)
}

/// One filtered row of each quantity.
#[derive(Clone)]
struct FilteredRow {
    x: Vec<f64>,
    y: Vec<f64>,
    squares: Vec<f64>,
    product: Vec<f64>,
}

impl FilteredRow {
    fn new(len: usize) -> Self {
        let zeros = vec![0.0; len];
        Self {
            x: zeros.clone(),
            y: zeros.clone(),
            squares: zeros.clone(),
            product: zeros,
        }
    }

    fn quantities_mut(&mut self) -> [&mut [f64]; 4] {
        [
            &mut self.x,
            &mut self.y,
            &mut self.squares,
            &mut self.product,
        ]
    }

    fn quantities(&self) -> [&[f64]; 4] {
        [&self.x, &self.y, &self.squares, &self.product]
    }
}

/// The mean SSIM of one channel with sides of at least the window.
fn plane_ssim(reference: &[f32], candidate: &[f32], width: usize, peak: f64) -> f64 {
    let window = half_window();
    let out_width = width - 2 * RADIUS;
    let mut unfiltered = FilteredRow::new(width);
    let mut ring = vec![FilteredRow::new(out_width); SSIM_WINDOW_PX];
    let mut local = FilteredRow::new(out_width);
    let mut sum = 0.0;
    let mut n_rows = 0_usize;
    for (row_idx, (row_x, row_y)) in reference
        .chunks_exact(width)
        .zip(candidate.chunks_exact(width))
        .enumerate()
    {
        for (column, (&x, &y)) in row_x.iter().zip(row_y).enumerate() {
            let (x, y) = (f64::from(x), f64::from(y));
            unfiltered.x[column] = x;
            unfiltered.y[column] = y;
            unfiltered.squares[column] = x * x + y * y;
            unfiltered.product[column] = x * y;
        }
        let slot = &mut ring[row_idx % SSIM_WINDOW_PX];
        for (output, input) in slot
            .quantities_mut()
            .into_iter()
            .zip(unfiltered.quantities())
        {
            filter(output, &window, |offset| &input[offset..offset + out_width]);
        }
        if row_idx + 1 < SSIM_WINDOW_PX {
            continue;
        }
        for (quantity, output) in local.quantities_mut().into_iter().enumerate() {
            // The oldest row of the ring is the one that is overwritten next.
            filter(output, &window, |offset| {
                ring[(row_idx + 1 + offset) % SSIM_WINDOW_PX].quantities()[quantity]
            });
        }
        sum += row_sum(&local, peak);
        n_rows += 1;
    }
    sum / (n_rows * out_width) as f64
}

/// Weighs the 11 inputs of each output; `tap(offset)` is the row of inputs at that offset in the window.
fn filter<'a>(output: &mut [f64], window: &[f64; RADIUS + 1], tap: impl Fn(usize) -> &'a [f64]) {
    for (value, &centre) in output.iter_mut().zip(tap(RADIUS)) {
        *value = window[0] * centre;
    }
    for (distance, &weight) in window.iter().enumerate().skip(1) {
        let (before, after) = (tap(RADIUS - distance), tap(RADIUS + distance));
        for (value, (&before, &after)) in output.iter_mut().zip(before.iter().zip(after)) {
            *value += weight * (before + after);
        }
    }
}

/// The sum of the SSIM of the windows centred on one row.
fn row_sum(local: &FilteredRow, peak: f64) -> f64 {
    let (c1, c2) = ((K1 * peak).powi(2), (K2 * peak).powi(2));
    let means = local.x.iter().zip(&local.y);
    let moments = local.squares.iter().zip(&local.product);
    means
        .zip(moments)
        .map(|((&mean_x, &mean_y), (&squares, &product))| {
            let mean_product = mean_x * mean_y;
            let mean_squares = mean_x * mean_x + mean_y * mean_y;
            let variances = squares - mean_squares;
            let covariance = product - mean_product;
            (2.0 * mean_product + c1) * (2.0 * covariance + c2)
                / ((mean_squares + c1) * (variances + c2))
        })
        .sum()
}

/// SSIM over a set of images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct SsimSummary {
    /// Mean of the images' values.
    pub mean: f64,
    /// The worst image.
    pub min: f64,
}

impl SsimSummary {
    /// Summarizes one value per image; `None` if there are no images or one of them has no SSIM.
    #[must_use]
    pub fn from_images(images: &[Option<f64>]) -> Option<Self> {
        let mut sum = 0.0;
        let mut min = f64::INFINITY;
        for image in images {
            let value = (*image)?;
            sum += value;
            min = min.min(value);
        }
        (!images.is_empty()).then(|| Self {
            mean: sum / images.len() as f64,
            min,
        })
    }
}

/// Why SSIM could not be measured.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureSsimError {
    /// A side of the image is shorter than the window.
    #[error(
        "image of {width}x{height} pixels is smaller than the 11x11 window of SSIM; use larger images"
    )]
    TooSmall {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// The shape does not describe an image.
    #[error("shape {shape:?} does not describe {actual} values; compare images of the same shape")]
    Shape {
        /// The shape that was given.
        shape: PlanarShape,
        /// The number of values of the image that does not fit.
        actual: usize,
    },
    /// The peak is not a width.
    #[error("peak {peak} is not a positive number; give the width of the output range")]
    Peak {
        /// The number that was given.
        peak: f64,
    },
    /// A value is NaN or infinite.
    #[error("value {idx} is not finite; look for the node that overflows")]
    NotFinite {
        /// Position in `[C, H, W]` order, in either image.
        idx: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: PlanarShape = PlanarShape {
        channels: 2,
        height: 11,
        width: 13,
    };

    fn ramp(slope: f32) -> Vec<f32> {
        (0_u16..2 * 11 * 13)
            .map(|idx| f32::from(idx % 13) * slope)
            .collect()
    }

    #[test]
    fn identical_images_have_similarity_one() {
        for image in [ramp(0.05), vec![0.0; 2 * 11 * 13], vec![1.0; 2 * 11 * 13]] {
            let value = ssim(&image, &image, SHAPE, 1.0).expect("valid images");
            assert!((value - 1.0).abs() < 1e-12, "{value}");
        }
    }

    /// Without structure only the means are compared, and the formula can be written by hand.
    #[test]
    fn flat_images_compare_their_means() {
        let value = ssim(&[0.25; 286], &[0.5; 286], SHAPE, 1.0).expect("valid images");
        let want = (2.0 * 0.125 + 1e-4) / (0.0625 + 0.25 + 1e-4);
        assert!((value - want).abs() < 1e-12, "{value} instead of {want}");
    }

    #[test]
    fn similarity_is_symmetric_and_scales_with_the_peak() {
        let (x, y) = (ramp(0.05), ramp(0.03));
        let value = ssim(&x, &y, SHAPE, 1.0).expect("valid images");
        assert!(value < 1.0);
        let swapped = ssim(&y, &x, SHAPE, 1.0).expect("valid images");
        assert!((value - swapped).abs() < 1e-12);
        let eightfold = |image: &[f32]| image.iter().map(|value| value * 8.0).collect::<Vec<f32>>();
        let scaled = ssim(&eightfold(&x), &eightfold(&y), SHAPE, 8.0).expect("valid images");
        assert!((value - scaled).abs() < 1e-12);
    }

    #[test]
    fn refusals_name_their_cause() {
        let image = ramp(0.05);
        let mut broken = image.clone();
        broken[7] = f32::NAN;
        let small = PlanarShape {
            height: 10,
            width: 14,
            ..SHAPE
        };
        let none = PlanarShape {
            channels: 0,
            ..SHAPE
        };
        for (got, want) in [
            (
                ssim(&image, &image[1..], SHAPE, 1.0),
                MeasureSsimError::Shape {
                    shape: SHAPE,
                    actual: 285,
                },
            ),
            (
                ssim(&[], &[], none, 1.0),
                MeasureSsimError::Shape {
                    shape: none,
                    actual: 0,
                },
            ),
            (
                ssim(&image, &image, small, 1.0),
                MeasureSsimError::TooSmall {
                    height: 10,
                    width: 14,
                },
            ),
            (
                ssim(&image, &image, SHAPE, 0.0),
                MeasureSsimError::Peak { peak: 0.0 },
            ),
            (
                ssim(&image, &broken, SHAPE, 1.0),
                MeasureSsimError::NotFinite { idx: 7 },
            ),
        ] {
            assert_eq!(got, Err(want));
        }
    }

    #[test]
    fn a_summary_needs_every_image() {
        assert_eq!(
            SsimSummary::from_images(&[Some(0.5), Some(1.0)]),
            Some(SsimSummary {
                mean: 0.75,
                min: 0.5
            })
        );
        assert_eq!(SsimSummary::from_images(&[Some(0.5), None]), None);
        assert_eq!(SsimSummary::from_images(&[]), None);
    }
}
