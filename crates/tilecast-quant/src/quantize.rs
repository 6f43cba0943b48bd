//! Quantize, dequantize, and both at once.
//!
//! The one definition is `q = saturate(round_ties_even(x / scale) + zero_point)`: a division, not a product
//! with the reciprocal, and the clamp in float before the cast. Clamping `x / scale` to
//! `[qmin - zero_point, qmax - zero_point]` before rounding gives the same integer, because the limits are
//! integers and rounding is monotone; every function below does it in that order.
//!
//! Rounding adds and subtracts 1.5·2²³: between 2²³ and 2²⁴ the spacing of `f32` is 1, so the addition itself
//! rounds to the nearest integer, ties to even. After the clamp the operand is at most 255 in magnitude, so
//! the sum stays in that interval. Two additions vectorize on every x86-64, where `round_ties_even` is a
//! library call unless SSE4.1 is assumed.
//!
//! NaN: quantization gives `qmin`, as ONNX Runtime's kernels do on x86 (the maximum with the lower limit
//! returns the limit). Fake quantization keeps NaN, so that a broken model stays visible in its output.
//! Infinities saturate.

use tilecast_simd::{Loop, widest};

use crate::types::{QuantParams, QuantType, Scale};

/// 1.5·2²³, see the header.
const ROUND_MAGIC: f32 = 12_582_912.0;

/// The clamp limits of `x / scale`, integers in `[-255, 255]`.
struct Limits {
    low: f32,
    high: f32,
    zero_point: i32,
}

impl Limits {
    fn of(params: &QuantParams) -> Self {
        let zero_point = params.zero_point().get();
        Self {
            low: (params.quant_type().qmin() - zero_point) as f32,
            high: (params.quant_type().qmax() - zero_point) as f32,
            zero_point,
        }
    }
}

/// Rounds `value` to an integer, ties to even; needs `|value| <= 2²²`.
#[inline(always)]
fn round_small(value: f32) -> f32 {
    (value + ROUND_MAGIC) - ROUND_MAGIC
}

/// The integer of `value`; NaN gives `qmin`.
#[inline]
fn quantize_to_integer(value: f32, scale: f32, limits: &Limits) -> i32 {
    let steps = value / scale;
    // A comparison that NaN fails selects the lower limit.
    let steps = if steps > limits.low {
        steps
    } else {
        limits.low
    };
    let steps = if steps < limits.high {
        steps
    } else {
        limits.high
    };
    // The low bits of the sum hold the rounded integer; reading them is cheaper than a checked cast.
    let rounded = (steps + ROUND_MAGIC)
        .to_bits()
        .wrapping_sub(ROUND_MAGIC.to_bits());
    rounded.cast_signed().wrapping_add(limits.zero_point)
}

/// Quantizes one value; the result is within the limits of the type.
#[must_use]
pub fn quantize_value(value: f32, params: &QuantParams) -> i32 {
    quantize_to_integer(value, params.scale().get(), &Limits::of(params))
}

/// Quantizes `values` into `bytes`, replacing its content: one byte per value, two's complement for
/// [`QuantType::S8`].
pub fn quantize_slice(values: &[f32], params: &QuantParams, bytes: &mut Vec<u8>) {
    let limits = Limits::of(params);
    let scale = params.scale().get();
    bytes.clear();
    let to_byte = |&value: &f32| quantize_to_integer(value, scale, &limits) as u8;
    bytes.extend(values.iter().map(to_byte));
}

/// Appends symmetric [`QuantType::S8`] weights: zero point 0, saturation at −128 and 127.
pub(crate) fn extend_symmetric_s8(values: &[f32], scale: Scale, integers: &mut Vec<i8>) {
    let limits = Limits {
        low: -128.0,
        high: 127.0,
        zero_point: 0,
    };
    integers.extend(
        values
            .iter()
            .map(|&value| quantize_to_integer(value, scale.get(), &limits) as i8),
    );
}

/// Dequantizes bytes made by [`quantize_slice`] into `values`, replacing its content:
/// `(q - zero_point) * scale`.
pub fn dequantize_slice(bytes: &[u8], params: &QuantParams, values: &mut Vec<f32>) {
    let zero_point = params.zero_point().get();
    let scale = params.scale().get();
    values.clear();
    match params.quant_type() {
        QuantType::U8 => values.extend(
            bytes
                .iter()
                .map(|&q| (i32::from(q) - zero_point) as f32 * scale),
        ),
        QuantType::S8 => values.extend(
            bytes
                .iter()
                .map(|&q| (i32::from(q.cast_signed()) - zero_point) as f32 * scale),
        ),
    }
}

/// Replaces every value by what is left of it after quantization and dequantization.
///
/// Equal bit for bit to [`quantize_slice`] followed by [`dequantize_slice`], except that NaN stays NaN.
pub fn fake_quantize_in_place(values: &mut [f32], params: &QuantParams) {
    widest(FakeQuantize {
        values,
        limits: Limits::of(params),
        scale: params.scale().get(),
    });
}

struct FakeQuantize<'a> {
    values: &'a mut [f32],
    limits: Limits,
    scale: f32,
}

impl Loop for FakeQuantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (scale, Limits { low, high, .. }) = (self.scale, self.limits);
        for value in self.values {
            let steps = *value / scale;
            // These comparisons are the minimum and maximum instructions of SSE with NaN passed through.
            let steps = if steps < low { low } else { steps };
            let steps = if steps > high { high } else { steps };
            // The zero point cancels: `(round(steps) + zero_point) - zero_point` is exact on small integers.
            *value = round_small(steps) * scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ZeroPoint;
    use proptest::prelude::*;

    fn params(scale: f32, zero_point: i32, quant_type: QuantType) -> QuantParams {
        QuantParams::new(
            Scale::new(scale).expect("test scale"),
            ZeroPoint::new(zero_point),
            quant_type,
        )
        .expect("test zero point")
    }

    fn all_params() -> Vec<QuantParams> {
        let mut all = Vec::new();
        for scale in [
            1.0,
            0.5,
            1.0 / 255.0,
            0.1,
            3.7,
            f32::MIN_POSITIVE,
            1e-30,
            1e30,
            f32::MAX / 127.0,
        ] {
            for (quant_type, zero_points) in [
                (QuantType::U8, [0, 1, 127, 128, 255]),
                (QuantType::S8, [-128, -1, 0, 1, 127]),
            ] {
                all.extend(zero_points.map(|zero_point| params(scale, zero_point, quant_type)));
            }
        }
        all
    }

    /// The definition written literally, in `f64` after the division so that nothing can overflow.
    fn by_definition(value: f32, params: &QuantParams) -> i32 {
        let rounded = f64::from(value / params.scale().get()).round_ties_even();
        let shifted = rounded + f64::from(params.zero_point().get());
        let (qmin, qmax) = (params.quant_type().qmin(), params.quant_type().qmax());
        if shifted.is_nan() {
            qmin
        } else {
            shifted.clamp(f64::from(qmin), f64::from(qmax)) as i32
        }
    }

    fn as_integer(byte: u8, quant_type: QuantType) -> i32 {
        match quant_type {
            QuantType::U8 => i32::from(byte),
            QuantType::S8 => i32::from(byte.cast_signed()),
        }
    }

    /// Checks the slice functions against the definition on `values`.
    fn check(values: &[f32], params: &QuantParams) {
        let mut bytes = Vec::new();
        quantize_slice(values, params, &mut bytes);
        let mut restored = Vec::new();
        dequantize_slice(&bytes, params, &mut restored);
        let mut faked = values.to_vec();
        fake_quantize_in_place(&mut faked, params);
        for (idx, &value) in values.iter().enumerate() {
            let want = by_definition(value, params);
            assert_eq!(
                as_integer(bytes[idx], params.quant_type()),
                want,
                "quantize {value:e} with {params:?}"
            );
            assert_eq!(
                quantize_value(value, params),
                want,
                "quantize_value {value:e} with {params:?}"
            );
            let real = (want - params.zero_point().get()) as f32 * params.scale().get();
            assert_eq!(
                restored[idx].to_bits(),
                real.to_bits(),
                "dequantize {value:e} with {params:?}"
            );
            if value.is_nan() {
                assert!(faked[idx].is_nan(), "fake quantization hid NaN");
            } else {
                assert_eq!(
                    faked[idx].to_bits(),
                    real.to_bits(),
                    "fake quantize {value:e} with {params:?}"
                );
            }
        }
    }

    #[test]
    fn boundary_values() {
        let special = [
            0.0,
            -0.0,
            f32::MIN_POSITIVE,
            -f32::MIN_POSITIVE,
            f32::from_bits(1),
            -f32::from_bits(1),
            f32::MAX,
            f32::MIN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            3e9,
            -3e9,
            8_388_607.5,
            12_582_912.0,
            16_777_217.0,
        ];
        for params in all_params() {
            check(&special, &params);
        }
    }

    #[test]
    fn every_tie_and_its_neighbours() {
        for params in all_params() {
            let scale = params.scale().get();
            let mut values = Vec::new();
            for half_steps in -600_i32..=600 {
                let value = half_steps as f32 * 0.5 * scale;
                values.extend([
                    value,
                    value.next_up(),
                    value.next_down(),
                    value.next_up().next_up(),
                ]);
            }
            check(&values, &params);
        }
    }

    /// Every combination of sign, exponent and the upper mantissa bits, with the lower bits at both ends.
    #[test]
    fn every_float_with_a_short_mantissa() {
        for params in [
            params(1.0, 128, QuantType::U8),
            params(0.017, 3, QuantType::U8),
            params(0.3, 0, QuantType::S8),
            params(f32::MIN_POSITIVE, -128, QuantType::S8),
        ] {
            for sign_and_exponent in 0_u32..512 {
                let values: Vec<f32> = (0_u32..1024)
                    .flat_map(|mantissa| {
                        [0, 0x1fff].map(|low| {
                            f32::from_bits(sign_and_exponent << 23 | mantissa << 13 | low)
                        })
                    })
                    .collect();
                check(&values, &params);
            }
        }
    }

    #[test]
    fn every_byte_survives_a_round_trip() {
        let every_byte: Vec<u8> = (0..=255).collect();
        // The extreme scales of `all_params` overflow on dequantization; nothing can return from there.
        for params in all_params()
            .iter()
            .filter(|params| params.scale().get() <= 1e30)
        {
            let (mut values, mut bytes) = (Vec::new(), Vec::new());
            dequantize_slice(&every_byte, params, &mut values);
            quantize_slice(&values, params, &mut bytes);
            assert_eq!(bytes, every_byte, "{params:?}");
        }
    }

    proptest! {
        #[test]
        fn any_float_follows_the_definition(
            bits in any::<u32>(),
            scale in 1e-6_f32..1e6,
            zero_point in 0_i32..=255,
        ) {
            let value = f32::from_bits(bits);
            check(&[value], &params(scale, zero_point, QuantType::U8));
            check(&[value], &params(scale, zero_point - 128, QuantType::S8));
        }

        #[test]
        fn the_error_is_at_most_half_a_step_inside_the_range(value in -1.0_f32..1.0, zero_point in 100_i32..=155) {
            let params = params(0.01, zero_point, QuantType::U8);
            let mut faked = [value];
            fake_quantize_in_place(&mut faked, &params);
            prop_assert!((faked[0] - value).abs() <= 0.005 * 1.000_01);
        }
    }
}
