//! Peak signal-to-noise ratio: `10 * log10(peak^2 / MSE)`.
//!
//! The mean squared error is taken in `f64` over all pixels and channels of an image. `peak` is the width of
//! the output range of the model, 1 for `[0, 1]`. Models are compared with each other on unclamped values
//! ([`SquaredError::add`]), with ground truth on values clamped to the range but not rounded
//! ([`SquaredError::add_clamped`]).

use schemars::JsonSchema;
use serde::Serialize;

/// What a PSNR of identical images reads, and the ceiling of every other one.
///
/// Differences below it are far under the rounding of `f32`; the ceiling keeps identical images the best ones.
pub const PSNR_IDENTICAL_DB: f64 = 200.0;

/// The interval of meaningful output values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutputRange {
    low: f32,
    high: f32,
}

impl OutputRange {
    /// Values from 0 to 1.
    pub const UNIT: Self = Self {
        low: 0.0,
        high: 1.0,
    };

    /// Checks that both ends are finite and that `low < high`.
    ///
    /// # Errors
    /// [`OutputRangeError`] otherwise.
    pub fn new(low: f32, high: f32) -> Result<Self, OutputRangeError> {
        if low.is_finite() && high.is_finite() && low < high {
            Ok(Self { low, high })
        } else {
            Err(OutputRangeError { low, high })
        }
    }

    /// The lower end.
    #[must_use]
    pub const fn low(self) -> f32 {
        self.low
    }

    /// The upper end.
    #[must_use]
    pub const fn high(self) -> f32 {
        self.high
    }

    /// The width, which PSNR and SSIM take as the peak.
    #[must_use]
    pub fn peak(self) -> f64 {
        f64::from(self.high) - f64::from(self.low)
    }
}

/// The running error between one image and its reference.
///
/// Adding an image in pieces gives the same bits as adding it at once, in the same order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SquaredError {
    sum: f64,
    count: u64,
    max_abs: f64,
    non_finite: u64,
}

impl Default for SquaredError {
    fn default() -> Self {
        Self::new()
    }
}

impl SquaredError {
    /// An error over no values.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            sum: 0.0,
            count: 0,
            max_abs: 0.0,
            non_finite: 0,
        }
    }

    /// Adds the differences of two runs of values, taken as they are.
    ///
    /// # Errors
    /// [`CompareError`] if the lengths differ; nothing is added then.
    pub fn add(&mut self, reference: &[f32], candidate: &[f32]) -> Result<(), CompareError> {
        self.add_mapped(reference, candidate, f64::from)
    }

    /// Adds the differences after clamping both sides to `range`. A value that is not finite counts as such
    /// and is not clamped.
    ///
    /// # Errors
    /// [`CompareError`] if the lengths differ; nothing is added then.
    pub fn add_clamped(
        &mut self,
        reference: &[f32],
        candidate: &[f32],
        range: OutputRange,
    ) -> Result<(), CompareError> {
        self.add_mapped(reference, candidate, |value| {
            value.clamp(range.low, range.high).into()
        })
    }

    fn add_mapped(
        &mut self,
        reference: &[f32],
        candidate: &[f32],
        map: impl Fn(f32) -> f64,
    ) -> Result<(), CompareError> {
        if reference.len() != candidate.len() {
            return Err(CompareError {
                reference: reference.len(),
                candidate: candidate.len(),
            });
        }
        for (&expected, &actual) in reference.iter().zip(candidate) {
            if expected.is_finite() && actual.is_finite() {
                let difference = map(actual) - map(expected);
                self.sum += difference * difference;
                self.max_abs = self.max_abs.max(difference.abs());
            } else {
                self.non_finite += 1;
            }
        }
        self.count += reference.len() as u64;
        Ok(())
    }

    /// Adds another error. Float sums depend on their order: merge in the order of the images.
    pub fn merge(&mut self, other: &Self) {
        self.sum += other.sum;
        self.count += other.count;
        self.max_abs = self.max_abs.max(other.max_abs);
        self.non_finite += other.non_finite;
    }

    /// The number of compared pairs, also those that are not finite.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The number of pairs with a value that is not finite on either side.
    #[must_use]
    pub const fn non_finite(&self) -> u64 {
        self.non_finite
    }

    /// The mean squared error; `None` without values or with one that is not finite.
    #[must_use]
    pub fn mse(&self) -> Option<f64> {
        (self.is_measurable()).then(|| self.sum / self.count as f64)
    }

    /// The largest absolute difference; `None` without values or with one that is not finite.
    #[must_use]
    pub fn max_abs(&self) -> Option<f64> {
        (self.is_measurable()).then_some(self.max_abs)
    }

    /// The PSNR in dB for a signal of width `peak`; `None` where [`mse`](Self::mse) is.
    #[must_use]
    pub fn psnr_db(&self, peak: f64) -> Option<f64> {
        self.mse().and_then(|mse| psnr_db(mse, peak))
    }

    const fn is_measurable(&self) -> bool {
        self.non_finite == 0 && self.count > 0
    }
}

/// The PSNR in dB of a mean squared error, at most [`PSNR_IDENTICAL_DB`], which is also the value at error 0.
///
/// `None` if the error is not finite or negative, or `peak` is not finite and positive.
#[must_use]
pub fn psnr_db(mse: f64, peak: f64) -> Option<f64> {
    let is_valid = mse.is_finite() && mse >= 0.0 && peak.is_finite() && peak > 0.0;
    // The logarithm of the quotient as a difference, because the quotient itself can overflow.
    is_valid.then(|| (20.0 * peak.log10() - 10.0 * mse.log10()).min(PSNR_IDENTICAL_DB))
}

/// PSNR over a set of images, in dB.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct PsnrSummary {
    /// Mean of the images' values.
    pub mean: f64,
    /// The worst image.
    pub min: f64,
    /// From the mean squared error over all values of all images, so large images weigh more.
    pub pooled: f64,
}

impl PsnrSummary {
    /// Summarizes one error per image, in the order given; `None` if there are no images or one of them has no
    /// PSNR.
    #[must_use]
    pub fn from_images(images: &[SquaredError], peak: f64) -> Option<Self> {
        let mut all = SquaredError::new();
        let mut sum = 0.0;
        let mut min = f64::INFINITY;
        for image in images {
            let image_db = image.psnr_db(peak)?;
            all.merge(image);
            sum += image_db;
            min = min.min(image_db);
        }
        let pooled = all.psnr_db(peak)?;
        Some(Self {
            mean: sum / images.len() as f64,
            min,
            pooled,
        })
    }
}

/// Two images that do not have the same number of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "reference has {reference} values, candidate has {candidate}; compare images of the same shape"
)]
pub struct CompareError {
    reference: usize,
    candidate: usize,
}

/// An output range without a positive finite width.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("output range [{low}, {high}] is not finite and increasing; give for instance [0, 1]")]
pub struct OutputRangeError {
    low: f32,
    high: f32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(reference: &[f32], candidate: &[f32]) -> SquaredError {
        let mut error = SquaredError::new();
        error.add(reference, candidate).expect("same length");
        error
    }

    fn assert_close(got: Option<f64>, want: Option<f64>, name: &str) {
        let close = match (got, want) {
            (Some(got), Some(want)) => (got - want).abs() < 1e-9,
            (None, None) => true,
            _ => false,
        };
        assert!(close, "{name}: {got:?} instead of {want:?}");
    }

    #[test]
    fn decibels_of_known_errors() {
        for (name, mse, peak, want) in [
            ("one hundredth", 0.01, 1.0, Some(20.0)),
            ("8-bit peak", 1.0, 255.0, Some(48.130_803_608_679_1)),
            ("identical", 0.0, 1.0, Some(200.0)),
            ("identical, 8 bits", 0.0, 255.0, Some(200.0)),
            ("better than the ceiling", 1e-30, 1.0, Some(200.0)),
            ("worse than the signal", 100.0, 1.0, Some(-20.0)),
            ("huge", 1e308, 1e-200, Some(-7080.0)),
            ("not a number", f64::NAN, 1.0, None),
            ("infinite", f64::INFINITY, 1.0, None),
            ("negative", -1.0, 1.0, None),
            ("no peak", 0.1, 0.0, None),
        ] {
            assert_close(psnr_db(mse, peak), want, name);
        }
    }

    #[test]
    fn an_error_knows_its_worst_value() {
        let error = error(&[0.0, 1.0, 0.25, 0.5], &[0.5, 1.0, 0.0, 0.5]);
        assert_eq!(error.mse(), Some((0.25 + 0.0625) / 4.0));
        assert_eq!(error.max_abs(), Some(0.5));
        assert_eq!((error.count(), error.non_finite()), (4, 0));
    }

    #[test]
    fn values_that_are_not_finite_leave_no_number() {
        for (reference, candidate) in [
            (0.0, f32::NAN),
            (f32::NAN, 0.0),
            (f32::INFINITY, f32::INFINITY),
        ] {
            let mut clamped = SquaredError::new();
            clamped
                .add_clamped(&[reference, 0.0], &[candidate, 0.0], OutputRange::UNIT)
                .expect("same length");
            for error in [error(&[reference, 0.0], &[candidate, 0.0]), clamped] {
                assert_eq!(
                    (error.mse(), error.max_abs(), error.psnr_db(1.0)),
                    (None, None, None)
                );
                assert_eq!((error.count(), error.non_finite()), (2, 1));
            }
        }
        assert_eq!(SquaredError::new().psnr_db(1.0), None, "no values at all");
    }

    #[test]
    fn clamping_applies_to_both_sides() {
        let mut error = SquaredError::new();
        let range = OutputRange::new(-1.0, 1.0).expect("valid range");
        error
            .add_clamped(&[1.5, -2.0, 0.5], &[1.0, 0.0, 3.0], range)
            .expect("same length");
        assert_eq!(error.mse(), Some((0.0 + 1.0 + 0.25) / 3.0));
        assert!((range.peak() - 2.0).abs() < f64::EPSILON);
        for (low, high) in [
            (1.0, 0.0),
            (0.0, 0.0),
            (f32::NAN, 1.0),
            (0.0, f32::INFINITY),
        ] {
            assert!(
                OutputRange::new(low, high).is_err(),
                "[{low}, {high}] was accepted"
            );
        }
    }

    #[test]
    fn lengths_must_agree() {
        let mut error = SquaredError::new();
        let message = error
            .add(&[0.0], &[0.0, 1.0])
            .expect_err("lengths differ")
            .to_string();
        assert_eq!(
            message,
            "reference has 1 values, candidate has 2; compare images of the same shape"
        );
        assert_eq!(error, SquaredError::new());
    }

    #[test]
    fn a_summary_tells_mean_worst_and_pooled() {
        // 20 dB over one value, 40 dB over three.
        let images = [error(&[0.0], &[0.1]), error(&[0.0; 3], &[0.01; 3])];
        let summary = PsnrSummary::from_images(&images, 1.0).expect("finite");
        let pooled = -10.0 * ((0.01_f64 + 3.0 * 0.0001) / 4.0).log10();
        for (name, got, want) in [
            ("mean", summary.mean, 30.0),
            ("min", summary.min, 20.0),
            ("pooled", summary.pooled, pooled),
        ] {
            assert!((got - want).abs() < 1e-5, "{name}: {got} instead of {want}");
        }
        assert_eq!(
            PsnrSummary::from_images(&[images[0], error(&[0.0], &[f32::NAN])], 1.0),
            None
        );
        assert_eq!(PsnrSummary::from_images(&[], 1.0), None);
        let json = serde_json::to_string(&PsnrSummary {
            mean: 2.0,
            min: 1.0,
            pooled: 1.5,
        })
        .expect("serializes");
        assert_eq!(json, r#"{"mean":2.0,"min":1.0,"pooled":1.5}"#);
    }

    proptest! {
        #[test]
        fn pieces_add_up_to_the_same_bits(
            pairs in prop::collection::vec((-2.0_f32..2.0, -2.0_f32..2.0), 1..100),
            piece_len in 1_usize..20,
        ) {
            let (reference, candidate): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let mut pieces = SquaredError::new();
            for (reference, candidate) in reference.chunks(piece_len).zip(candidate.chunks(piece_len)) {
                pieces.add(reference, candidate).expect("same length");
            }
            prop_assert_eq!(pieces, error(&reference, &candidate));
        }
    }
}
