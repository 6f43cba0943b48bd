//! From values to bins of a power-of-two width: the width that fits, and the bin of each value.
//!
//! Binning is exact in `f32`. The product with the reciprocal of a power of two is exact unless it underflows;
//! rounding it to the nearest integer `n` by the addition of 1.5·2²³ leaves `floor` at `n` or `n - 1`, and the
//! comparison of `n * 2^e`, again exact, with the value itself decides, whether or not the product underflowed.

use tilecast_simd::{Loop, widest};

/// The number of bins on each side of zero; the whole range is resolved into at least half as many.
pub const MAX_BINS_PER_SIDE: usize = 4096;

/// `log2` of [`MAX_BINS_PER_SIDE`].
const SIDE_LOG2: i32 = MAX_BINS_PER_SIDE.ilog2() as i32;
pub(crate) const N_BINS: usize = 2 * MAX_BINS_PER_SIDE;

/// The smallest bin width is the smallest normal number, so that widths and their reciprocals are normal.
/// Denormal values share the two bins around zero.
pub(crate) const MIN_EXPONENT: i32 = -126;

/// Bin indices are computed for this many values at a time, apart from the counting, which cannot vectorize.
const INDEX_LEN: usize = 256;
/// Independent accumulators of the scan, because a float minimum cannot be reordered by the compiler.
const N_LANES: usize = 16;

/// 1.5·2²³: adding it rounds a small float to an integer, which its low bits then hold.
const ROUND_MAGIC: f32 = 12_582_912.0;

/// The smallest exponent for which `min` and `max` fall into the bins on their side of zero.
pub(crate) fn required_exponent(min: f32, max: f32) -> i32 {
    // The last bin ends before 4096 widths above zero, but begins at 4096 widths below.
    let above = if max > 0.0 {
        floor_log2(max) + 1
    } else {
        i32::MIN
    };
    let below = match -min {
        magnitude if magnitude <= 0.0 => i32::MIN,
        magnitude if is_power_of_two(magnitude) => floor_log2(magnitude),
        magnitude => floor_log2(magnitude) + 1,
    };
    above.max(below).max(MIN_EXPONENT + SIDE_LOG2) - SIDE_LOG2
}

/// `floor(log2(value))` of a positive normal float; −127 for a denormal one, which is small enough.
fn floor_log2(value: f32) -> i32 {
    (value.to_bits() >> 23) as i32 - 127
}

fn is_power_of_two(positive: f32) -> bool {
    positive.to_bits().trailing_zeros() >= 23
}

/// `2^exponent` for an exponent of a normal float.
pub(crate) fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

/// What the first pass over a block finds.
pub(crate) struct Scan {
    pub(crate) min: f32,
    pub(crate) max: f32,
    pub(crate) zeros: u32,
    pub(crate) non_finite: u32,
}

/// Finds extremes and counts; the extremes are meaningful only if `non_finite` is 0.
pub(crate) fn scan(block: &[f32]) -> Scan {
    widest(ScanLoop(block))
}

struct ScanLoop<'a>(&'a [f32]);

impl Loop for ScanLoop<'_> {
    type Output = Scan;

    #[inline(always)]
    fn run(self) -> Scan {
        let block = self.0;
        let mut min = [f32::INFINITY; N_LANES];
        let mut max = [f32::NEG_INFINITY; N_LANES];
        let mut zeros = [0_u32; N_LANES];
        let mut non_finite = [0_u32; N_LANES];
        let mut take = |lane: usize, value: f32| {
            min[lane] = if value < min[lane] { value } else { min[lane] };
            max[lane] = if value > max[lane] { value } else { max[lane] };
            zeros[lane] += u32::from(value == 0.0);
            non_finite[lane] += u32::from(!value.is_finite());
        };
        let (groups, rest) = block.as_chunks::<N_LANES>();
        for group in groups {
            for (lane, &value) in group.iter().enumerate() {
                take(lane, value);
            }
        }
        for (lane, &value) in rest.iter().enumerate() {
            take(lane, value);
        }
        Scan {
            min: min.into_iter().fold(f32::INFINITY, f32::min),
            max: max.into_iter().fold(f32::NEG_INFINITY, f32::max),
            zeros: zeros.iter().sum(),
            non_finite: non_finite.iter().sum(),
        }
    }
}

/// Smallest and largest value of a block; `None` if some value is not finite. Less than half the work of [`scan`].
pub(crate) fn extremes(block: &[f32]) -> Option<(f32, f32)> {
    widest(ExtremesLoop(block))
}

struct ExtremesLoop<'a>(&'a [f32]);

impl Loop for ExtremesLoop<'_> {
    type Output = Option<(f32, f32)>;

    #[inline(always)]
    fn run(self) -> Option<(f32, f32)> {
        let block = self.0;
        let mut min = [f32::INFINITY; N_LANES];
        let mut max = [f32::NEG_INFINITY; N_LANES];
        // What is not finite makes a sum so; large values may, too.
        let mut sum = [0.0_f32; N_LANES];
        let mut take = |lane: usize, value: f32| {
            min[lane] = if value < min[lane] { value } else { min[lane] };
            max[lane] = if value > max[lane] { value } else { max[lane] };
            sum[lane] += value;
        };
        let (groups, rest) = block.as_chunks::<N_LANES>();
        for group in groups {
            for (lane, &value) in group.iter().enumerate() {
                take(lane, value);
            }
        }
        for (lane, &value) in rest.iter().enumerate() {
            take(lane, value);
        }
        let is_finite =
            sum.iter().all(|sum| sum.is_finite()) || block.iter().all(|v| v.is_finite());
        is_finite.then(|| {
            (
                min.into_iter().fold(f32::INFINITY, f32::min),
                max.into_iter().fold(f32::NEG_INFINITY, f32::max),
            )
        })
    }
}

/// The constants that take a value to its bin.
pub(crate) struct Binning {
    width: f32,
    inv_width: f32,
}

impl Binning {
    pub(crate) fn of(exponent: i32) -> Self {
        Self {
            width: power_of_two(exponent),
            inv_width: power_of_two(-exponent),
        }
    }

    /// The position of the bin of `value`, which must lie in the range the exponent was chosen for.
    #[inline(always)]
    fn index(&self, value: f32) -> u32 {
        let shifted = value * self.inv_width + ROUND_MAGIC;
        let nearest = shifted.to_bits().wrapping_sub(ROUND_MAGIC.to_bits());
        let is_above = (shifted - ROUND_MAGIC) * self.width > value;
        nearest
            .wrapping_add(MAX_BINS_PER_SIDE as u32)
            .wrapping_sub(u32::from(is_above))
    }

    /// Calls `consume` with the positions of all values, in order, some at a time. They are as wide as the values because
    /// every x86-64 can compute so, and few can narrow them in a vector.
    pub(crate) fn indices(&self, block: &[f32], mut consume: impl FnMut(&[u32])) {
        let mut buffer = [0_u32; INDEX_LEN];
        for values in block.chunks(INDEX_LEN) {
            let indices = &mut buffer[..values.len()];
            widest(IndexLoop {
                binning: self,
                values,
                indices,
            });
            consume(indices);
        }
    }
}

struct IndexLoop<'a> {
    binning: &'a Binning,
    values: &'a [f32],
    indices: &'a mut [u32],
}

impl Loop for IndexLoop<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (idx, &value) in self.indices.iter_mut().zip(self.values) {
            *idx = self.binning.index(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The floor by definition, in `f64`, where the quotient is exact.
    fn bin_by_definition(value: f32, exponent: i32) -> u32 {
        let bin = (f64::from(value) / f64::from(power_of_two(exponent))).floor();
        (bin + MAX_BINS_PER_SIDE as f64) as u32
    }

    #[test]
    fn the_width_is_the_smallest_that_fits() {
        let mut values = vec![
            f32::MAX,
            f32::MIN_POSITIVE,
            f32::from_bits(1),
            1.0,
            4096.0,
            0.3,
        ];
        values.extend((MIN_EXPONENT..128).map(power_of_two));
        values.extend(
            values
                .clone()
                .iter()
                .flat_map(|value| [value.next_down(), value.next_up()]),
        );
        values.retain(|value| value.is_finite() && *value > 0.0);
        for value in values {
            for (min, max) in [(0.0, value), (-value, 0.0), (-value, value)] {
                let fits = |exponent: i32| {
                    let bins = MAX_BINS_PER_SIDE as f64 * 2_f64.powi(exponent);
                    f64::from(max) < bins && f64::from(min) >= -bins
                };
                let exponent = required_exponent(min, max);
                assert!(
                    fits(exponent),
                    "[{min:e}, {max:e}] does not fit 2^{exponent}"
                );
                assert!(
                    exponent == MIN_EXPONENT || !fits(exponent - 1),
                    "[{min:e}, {max:e}] fits below 2^{exponent}"
                );
            }
        }
    }

    #[test]
    fn the_fast_index_is_the_floor() {
        for exponent in [MIN_EXPONENT, -100, -12, 0, 5, 23, 64, 116, 117] {
            let width = power_of_two(exponent);
            let binning = Binning::of(exponent);
            let mut values = vec![
                0.0,
                -0.0,
                f32::from_bits(1),
                -f32::from_bits(1),
                -f32::MIN_POSITIVE,
            ];
            for bin in -4096_i32..4096 {
                let edge = bin as f32 * width;
                values.extend([
                    edge,
                    edge.next_up(),
                    edge.next_down(),
                    edge + 0.5 * width,
                    edge + 0.75 * width,
                ]);
            }
            let fits = |value: &f32| {
                value.is_finite() && required_exponent(value.min(0.0), value.max(0.0)) <= exponent
            };
            for value in values.into_iter().filter(fits) {
                let want = bin_by_definition(value, exponent);
                assert_eq!(
                    binning.index(value),
                    want,
                    "{value:e} in bins of 2^{exponent}"
                );
            }
        }
    }
}
