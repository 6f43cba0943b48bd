//! The two 16-bit float formats: rounding, packing, and what is lost on the way.
//!
//! IEEE half precision (float16) has 11 significant bits and ends at 65504; bfloat16 has 8 and nearly the range of float32.
//! Conversion rounds to nearest, ties to even; what lies beyond the largest number by half a step becomes infinite, what
//! lies below half the smallest one becomes zero, and NaN stays NaN. These are the rules of IEEE 754 and of the ONNX
//! `Cast` operator. The `half` crate does the work, with the F16C instructions where the processor has them.

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};

/// Values converted at a time; the intermediate halves stay on the stack.
const CHUNK_LEN: usize = 512;

/// A 16-bit float format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HalfFormat {
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a float32.
    BF16,
}

/// How many values a 16-bit format cannot hold well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HalfLoss {
    /// Finite values that become infinite.
    pub overflowed: u64,
    /// Nonzero values that become zero.
    pub flushed: u64,
    /// Nonzero values that stay nonzero but become subnormal, with fewer significant bits.
    pub subnormal: u64,
}

impl HalfFormat {
    /// The largest finite number: 65504 for float16, about 3.39e38 for bfloat16.
    #[must_use]
    pub fn largest(self) -> f32 {
        match self {
            Self::F16 => f16::MAX.to_f32_const(),
            Self::BF16 => bf16::MAX.to_f32_const(),
        }
    }

    /// The smallest number with all significant bits: 2⁻¹⁴ for float16, 2⁻¹²⁶ for bfloat16.
    #[must_use]
    pub fn smallest_normal(self) -> f32 {
        match self {
            Self::F16 => f16::MIN_POSITIVE.to_f32_const(),
            Self::BF16 => bf16::MIN_POSITIVE.to_f32_const(),
        }
    }

    /// Replaces every value by the nearest number of the format.
    pub fn round_in_place(self, values: &mut [f32]) {
        let mut halves = [0_u16; CHUNK_LEN];
        for chunk in values.chunks_mut(CHUNK_LEN) {
            let halves = &mut halves[..chunk.len()];
            self.narrow(chunk, halves);
            match self {
                Self::F16 => as_f16(halves).convert_to_f32_slice(chunk),
                Self::BF16 => as_bf16(halves).convert_to_f32_slice(chunk),
            }
        }
    }

    /// Converts to the format, two little-endian bytes per value, as ONNX `raw_data` stores it.
    #[must_use]
    pub fn to_bytes(self, values: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(2 * values.len());
        let mut halves = [0_u16; CHUNK_LEN];
        for chunk in values.chunks(CHUNK_LEN) {
            let halves = &mut halves[..chunk.len()];
            self.narrow(chunk, halves);
            bytes.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
        }
        bytes
    }

    /// Counts what conversion would lose; NaN and infinities are not losses.
    #[must_use]
    pub fn loss(self, values: &[f32]) -> HalfLoss {
        let mut loss = HalfLoss::default();
        let mut rounded = [0.0_f32; CHUNK_LEN];
        for chunk in values.chunks(CHUNK_LEN) {
            let rounded = &mut rounded[..chunk.len()];
            rounded.copy_from_slice(chunk);
            self.round_in_place(rounded);
            for (&before, &after) in chunk.iter().zip(rounded.iter()) {
                loss.overflowed += u64::from(before.is_finite() && after.is_infinite());
                loss.flushed += u64::from(before != 0.0 && after == 0.0);
                loss.subnormal += u64::from(after != 0.0 && after.abs() < self.smallest_normal());
            }
        }
        loss
    }

    /// Bits of the nearest number of the format, as many as there are values.
    fn narrow(self, values: &[f32], halves: &mut [u16]) {
        match self {
            Self::F16 => as_f16_mut(halves).convert_from_f32_slice(values),
            Self::BF16 => as_bf16_mut(halves).convert_from_f32_slice(values),
        }
    }
}

fn as_f16(bits: &[u16]) -> &[f16] {
    bits.reinterpret_cast()
}

fn as_bf16(bits: &[u16]) -> &[bf16] {
    bits.reinterpret_cast()
}

fn as_f16_mut(bits: &mut [u16]) -> &mut [f16] {
    bits.reinterpret_cast_mut()
}

fn as_bf16_mut(bits: &mut [u16]) -> &mut [bf16] {
    bits.reinterpret_cast_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: f32 = 65504.0;
    const MIN_NORMAL: f32 = 6.103_515_6e-5;

    #[test]
    fn rounding_follows_ieee_754() {
        let below_overflow = 65520.0_f32.next_down();
        for (value, want) in [
            (0.0, 0.0),
            (-0.0, -0.0),
            (1.0, 1.0),
            (MAX, MAX),
            (below_overflow, MAX),
            (65520.0, f32::INFINITY),
            (-1e30, f32::NEG_INFINITY),
            (f32::INFINITY, f32::INFINITY),
            // Halfway between 2048 and 2050, and between 2050 and 2052: both go to the even mantissa.
            (2049.0, 2048.0),
            (2051.0, 2052.0),
            (MIN_NORMAL, MIN_NORMAL),
            // The smallest denormal is 2^-24; half of it is a tie that goes to zero.
            (2_f32.powi(-24), 2_f32.powi(-24)),
            (2_f32.powi(-25), 0.0),
            (-(2_f32.powi(-25)), -0.0),
            (2_f32.powi(-25).next_up(), 2_f32.powi(-24)),
            (f32::from_bits(1), 0.0),
        ] {
            let mut got = [value];
            HalfFormat::F16.round_in_place(&mut got);
            assert_eq!(
                got[0].to_bits(),
                f32::to_bits(want),
                "{value:e} became {:e}",
                got[0]
            );
        }
        let mut nan = [f32::NAN];
        HalfFormat::F16.round_in_place(&mut nan);
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
        let bytes = HalfFormat::F16.to_bytes(&values);
        let mut rounded = values.clone();
        HalfFormat::F16.round_in_place(&mut rounded);
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
            MIN_NORMAL,
            f32::INFINITY,
            f32::NAN,
        ];
        assert_eq!(
            HalfFormat::F16.loss(&values),
            HalfLoss {
                overflowed: 2,
                flushed: 2,
                subnormal: 1
            }
        );
        let many: Vec<f32> = values
            .iter()
            .copied()
            .cycle()
            .take(values.len() * 300)
            .collect();
        assert_eq!(
            HalfFormat::F16.loss(&many),
            HalfLoss {
                overflowed: 600,
                flushed: 600,
                subnormal: 300
            }
        );
    }

    #[test]
    fn bfloat16_keeps_the_range_and_rounds_to_eight_bits() {
        let largest = HalfFormat::BF16.largest();
        for (value, want) in [
            (1.0, 1.0),
            (65504.0, 65536.0),
            (1e-8, 1.001_171_8e-8),
            // Halfway between 1 and the next number, and between that and the one behind it: both go to the even one.
            (1.003_906_2, 1.0),
            (1.011_718_8, 1.015_625),
            (largest, largest),
            (3.39e38, largest),
            // The lowest float32 lies more than half a step beyond the lowest bfloat16.
            (f32::MIN, f32::NEG_INFINITY),
            (f32::NEG_INFINITY, f32::NEG_INFINITY),
        ] {
            let mut got = [value];
            HalfFormat::BF16.round_in_place(&mut got);
            assert_eq!(
                got[0].to_bits(),
                f32::to_bits(want),
                "{value:e} became {:e}",
                got[0]
            );
        }
        let mut nan = [f32::NAN];
        HalfFormat::BF16.round_in_place(&mut nan);
        assert!(nan[0].is_nan());
        assert_eq!(
            HalfFormat::BF16.to_bytes(&[1.0, -2.0]),
            [0x80, 0x3f, 0x00, 0xc0]
        );
        assert_eq!(
            HalfFormat::BF16.loss(&[f32::MAX, 1e-8, 1e30]),
            HalfLoss {
                overflowed: 1,
                ..HalfLoss::default()
            }
        );
    }
}
