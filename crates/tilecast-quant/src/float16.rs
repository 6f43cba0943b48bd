//! IEEE half precision: rounding, packing, and what is lost on the way.
//!
//! Conversion rounds to nearest, ties to even; magnitudes from 65520 become infinite, magnitudes up to 2⁻²⁵
//! become zero, and NaN stays NaN. These are the rules of IEEE 754 and of the ONNX `Cast` operator. The `half`
//! crate does the work, with the F16C instructions where the processor has them.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// The largest finite half-precision number, 65504.
pub const F16_MAX: f32 = 65504.0;

/// The smallest normal half-precision number, 2⁻¹⁴.
const F16_MIN_NORMAL: f32 = 6.103_515_6e-5;

/// Values converted at a time; the intermediate halves stay on the stack.
const CHUNK_LEN: usize = 512;

/// How many values half precision cannot hold well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct F16Loss {
    /// Finite values that become infinite.
    pub overflowed: u64,
    /// Nonzero values that become zero.
    pub flushed: u64,
    /// Nonzero values that stay nonzero but become denormal, with fewer significant bits.
    pub denormal: u64,
}

/// Replaces every value by its nearest half-precision number.
pub fn round_to_f16_in_place(values: &mut [f32]) {
    let mut halves = [f16::ZERO; CHUNK_LEN];
    for chunk in values.chunks_mut(CHUNK_LEN) {
        let halves = &mut halves[..chunk.len()];
        halves.convert_from_f32_slice(chunk);
        halves.convert_to_f32_slice(chunk);
    }
}

/// Converts to half precision, two little-endian bytes per value, as ONNX `raw_data` stores it.
#[must_use]
pub fn f32_to_f16_bytes(values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2 * values.len());
    let mut halves = [f16::ZERO; CHUNK_LEN];
    for chunk in values.chunks(CHUNK_LEN) {
        let halves = &mut halves[..chunk.len()];
        halves.convert_from_f32_slice(chunk);
        bytes.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
    }
    bytes
}

/// Counts what conversion to half precision would lose; NaN and infinities are not losses.
#[must_use]
pub fn f16_loss(values: &[f32]) -> F16Loss {
    let mut loss = F16Loss::default();
    let mut rounded = [0.0_f32; CHUNK_LEN];
    for chunk in values.chunks(CHUNK_LEN) {
        let rounded = &mut rounded[..chunk.len()];
        rounded.copy_from_slice(chunk);
        round_to_f16_in_place(rounded);
        for (&before, &after) in chunk.iter().zip(rounded.iter()) {
            loss.overflowed += u64::from(before.is_finite() && after.is_infinite());
            loss.flushed += u64::from(before != 0.0 && after == 0.0);
            loss.denormal += u64::from(after != 0.0 && after.abs() < F16_MIN_NORMAL);
        }
    }
    loss
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_follows_ieee_754() {
        let below_overflow = 65520.0_f32.next_down();
        for (value, want) in [
            (0.0, 0.0),
            (-0.0, -0.0),
            (1.0, 1.0),
            (F16_MAX, F16_MAX),
            (below_overflow, F16_MAX),
            (65520.0, f32::INFINITY),
            (-1e30, f32::NEG_INFINITY),
            (f32::INFINITY, f32::INFINITY),
            // Halfway between 2048 and 2050, and between 2050 and 2052: both go to the even mantissa.
            (2049.0, 2048.0),
            (2051.0, 2052.0),
            (F16_MIN_NORMAL, F16_MIN_NORMAL),
            // The smallest denormal is 2^-24; half of it is a tie that goes to zero.
            (2_f32.powi(-24), 2_f32.powi(-24)),
            (2_f32.powi(-25), 0.0),
            (-(2_f32.powi(-25)), -0.0),
            (2_f32.powi(-25).next_up(), 2_f32.powi(-24)),
            (f32::from_bits(1), 0.0),
        ] {
            let mut got = [value];
            round_to_f16_in_place(&mut got);
            assert_eq!(
                got[0].to_bits(),
                f32::to_bits(want),
                "{value:e} became {:e}",
                got[0]
            );
        }
        let mut nan = [f32::NAN];
        round_to_f16_in_place(&mut nan);
        assert!(nan[0].is_nan());
    }

    /// The slice conversion may use other instructions than the scalar one; both must agree everywhere.
    #[test]
    fn every_half_and_every_midpoint_round_alike_in_slices_and_alone() {
        let mut values = Vec::new();
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits);
            let next = f16::from_bits(bits.wrapping_add(1));
            if half.is_nan() || next.is_nan() {
                continue;
            }
            let midpoint = f32::midpoint(half.to_f32(), next.to_f32());
            values.extend([
                half.to_f32(),
                midpoint,
                midpoint.next_up(),
                midpoint.next_down(),
            ]);
        }
        let bytes = f32_to_f16_bytes(&values);
        let mut rounded = values.clone();
        round_to_f16_in_place(&mut rounded);
        assert_eq!(bytes.len(), 2 * values.len());
        for (idx, &value) in values.iter().enumerate() {
            let want = f16::from_f32_const(value);
            if want.is_nan() {
                assert!(rounded[idx].is_nan());
                continue;
            }
            assert_eq!(bytes[2 * idx..2 * idx + 2], want.to_le_bytes(), "{value:e}");
            assert_eq!(
                rounded[idx].to_bits(),
                want.to_f32_const().to_bits(),
                "{value:e}"
            );
        }
    }

    #[test]
    fn losses_are_counted_once_each() {
        let values = [
            0.0,
            1.0,
            1e5,
            -7e4,
            65519.0,
            1e-9,
            -1e-8,
            1e-6,
            F16_MIN_NORMAL,
            f32::INFINITY,
            f32::NAN,
        ];
        assert_eq!(
            f16_loss(&values),
            F16Loss {
                overflowed: 2,
                flushed: 2,
                denormal: 1
            }
        );
        let many: Vec<f32> = values
            .iter()
            .copied()
            .cycle()
            .take(values.len() * 300)
            .collect();
        assert_eq!(
            f16_loss(&many),
            F16Loss {
                overflowed: 600,
                flushed: 600,
                denormal: 300
            }
        );
    }
}
