//! Scale and zero point from a real range, bit for bit as ONNX Runtime computes them.
//!
//! Source: `compute_scale_zp` in `onnxruntime/quantization/quant_utils.py`, version 1.31.1, with the default
//! options of `quantize_static` (no minimum range, no reduced range) and `float32` range ends.

use crate::types::{QuantParams, QuantType, Range, Scale, Symmetry, ZeroPoint};

impl QuantParams {
    /// Computes the parameters that cover `range`, extended to contain 0.
    ///
    /// All arithmetic is in `f64`; the scale is rounded to `f32` at the end, and the zero point is computed
    /// from the unrounded scale. Symmetric [`QuantType::S8`] divides by 254 (integers −127..127), symmetric
    /// [`QuantType::U8`] by 255 with zero point 128. A range whose scale would be denormal gets scale 1 and
    /// zero point 0, also for `U8`.
    #[must_use]
    pub fn from_range(range: Range, quant_type: QuantType, symmetry: Symmetry) -> Self {
        // An end at zero may have either sign; nothing below depends on it.
        let (mut rmin, mut rmax) = (
            f64::from(range.min().min(0.0)),
            f64::from(range.max().max(0.0)),
        );
        if symmetry == Symmetry::Symmetric {
            rmax = rmax.max(-rmin);
            rmin = -rmax;
        }
        let (qmin, qmax) = match (quant_type, symmetry) {
            (QuantType::S8, Symmetry::Symmetric) => (-127.0, 127.0),
            _ => (f64::from(quant_type.qmin()), f64::from(quant_type.qmax())),
        };
        let wide_scale = (rmax - rmin) / (qmax - qmin);
        let (scale, zero_point) = if wide_scale < f64::from(f32::MIN_POSITIVE) {
            (Scale::ONE, 0.0)
        } else {
            let zero_point = match symmetry {
                Symmetry::Symmetric => f64::midpoint(qmin, qmax).round_ties_even(),
                Symmetry::Asymmetric => (qmin - rmin / wide_scale).round_ties_even(),
            };
            let scale = Scale::new(wide_scale as f32)
                .expect("a quotient of at least the smallest normal and at most f32::MAX / 127 stays normal");
            (scale, zero_point)
        };
        Self::new(scale, ZeroPoint::new(zero_point as i32), quant_type).expect(
            "the zero point lies between qmin and qmax because 0 lies between rmin and rmax",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(min: f32, max: f32, quant_type: QuantType, symmetry: Symmetry) -> (f32, i32) {
        let range = Range::new(min, max).expect("test range");
        let made = QuantParams::from_range(range, quant_type, symmetry);
        (made.scale().get(), made.zero_point().get())
    }

    #[test]
    fn rules_that_can_be_read_off_the_definition() {
        use {QuantType::*, Symmetry::*};
        for (name, got, want) in [
            ("unit range", params(0.0, 255.0, U8, Asymmetric), (1.0, 0)),
            (
                "zero is included below",
                params(5.0, 255.0, U8, Asymmetric),
                (1.0, 0),
            ),
            (
                "zero is included above",
                params(-255.0, -5.0, U8, Asymmetric),
                (1.0, 255),
            ),
            ("signed", params(-128.0, 127.0, S8, Asymmetric), (1.0, 0)),
            (
                "symmetric signed drops -128",
                params(-127.0, 3.0, S8, Symmetric),
                (1.0, 0),
            ),
            (
                "symmetric unsigned is centred",
                params(-127.5, 3.0, U8, Symmetric),
                (1.0, 128),
            ),
            ("empty range", params(0.0, 0.0, S8, Asymmetric), (1.0, 0)),
            (
                "empty symmetric u8 range",
                params(0.0, 0.0, U8, Symmetric),
                (1.0, 0),
            ),
            (
                "zero point ties go to even",
                params(-0.5, 254.5, U8, Asymmetric),
                (1.0, 0),
            ),
            (
                "zero point ties go to even, up",
                params(-1.5, 253.5, U8, Asymmetric),
                (1.0, 2),
            ),
        ] {
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn the_widest_range_does_not_overflow() {
        let (scale, zero_point) = params(f32::MIN, f32::MAX, QuantType::U8, Symmetry::Asymmetric);
        assert!(scale.is_finite() && scale > 1e36);
        assert_eq!(zero_point, 128);
    }
}
