//! How large and how small the values of a tensor get, and how large the sums over them: what decides whether a 16-bit
//! float format can hold them.
//!
//! Everything here is a maximum, a minimum or a count over the observed tensors, so that it does not depend on the order
//! in which they were seen or on how they were shared out.

use serde::{Deserialize, Serialize};
use tilecast_simd::{Loop, widest};

/// The extremes of what was observed of a value.
///
/// Serialized as the bits of its numbers: text formats have no infinity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(u32, u32, u64)", into = "(u32, u32, u64)")]
pub struct Magnitude {
    /// Largest finite absolute value; 0 where none was seen.
    pub largest: f32,
    /// Smallest absolute value above zero; infinite where none was seen.
    pub smallest: f32,
    /// Number of values that are NaN or infinite.
    pub non_finite: u64,
}

impl From<(u32, u32, u64)> for Magnitude {
    fn from((largest, smallest, non_finite): (u32, u32, u64)) -> Self {
        Self {
            largest: f32::from_bits(largest),
            smallest: f32::from_bits(smallest),
            non_finite,
        }
    }
}

impl From<Magnitude> for (u32, u32, u64) {
    fn from(magnitude: Magnitude) -> Self {
        let bits = [magnitude.largest, magnitude.smallest].map(f32::to_bits);
        (bits[0], bits[1], magnitude.non_finite)
    }
}

impl Default for Magnitude {
    fn default() -> Self {
        Self {
            largest: 0.0,
            smallest: f32::INFINITY,
            non_finite: 0,
        }
    }
}

impl Magnitude {
    /// Adds the elements of one tensor.
    pub fn observe(&mut self, values: &[f32]) {
        const BLOCK: usize = 1 << 12;
        for block in values.chunks(BLOCK) {
            let (largest, smallest) = bit_extremes(block);
            if largest < f32::INFINITY.to_bits() as i32 {
                self.largest = self.largest.max(f32::from_bits(largest as u32));
            } else {
                for value in block {
                    if value.is_finite() {
                        self.largest = self.largest.max(value.abs());
                    } else {
                        self.non_finite += 1;
                    }
                }
            }
            if smallest < f32::INFINITY.to_bits() as i32 {
                self.smallest = self.smallest.min(f32::from_bits(smallest as u32));
            }
        }
    }

    /// What both have seen together.
    pub fn merge(&mut self, other: &Self) {
        self.largest = self.largest.max(other.largest);
        self.smallest = self.smallest.min(other.smallest);
        self.non_finite += other.non_finite;
    }
}

/// The bits of the largest magnitude, and of the smallest above zero; `i32::MAX` where all are zero. Magnitudes order like
/// their bits, and integer comparisons need no care for NaN, so that the loop becomes vector code.
fn bit_extremes(values: &[f32]) -> (i32, i32) {
    widest(BitExtremes(values))
}

struct BitExtremes<'a>(&'a [f32]);

impl Loop for BitExtremes<'_> {
    type Output = (i32, i32);

    #[inline(always)]
    fn run(self) -> (i32, i32) {
        const LANES: usize = 16;
        let values = self.0;
        let (lanes, rest) = values.as_chunks::<LANES>();
        let mut largest = [0_i32; LANES];
        let mut smallest = [i32::MAX; LANES];
        let mut add = |lane: &[f32; LANES]| {
            for i in 0..LANES {
                let bits = (lane[i].to_bits() & 0x7fff_ffff) as i32;
                let above_zero = if bits == 0 { i32::MAX } else { bits };
                largest[i] = if bits > largest[i] { bits } else { largest[i] };
                smallest[i] = if above_zero < smallest[i] {
                    above_zero
                } else {
                    smallest[i]
                };
            }
        };
        lanes.iter().for_each(&mut add);
        let mut last = [0.0; LANES];
        last[..rest.len()].copy_from_slice(rest);
        add(&last);
        (
            largest.into_iter().fold(0, i32::max),
            smallest.into_iter().fold(i32::MAX, i32::min),
        )
    }
}

/// What is summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Terms {
    /// `|x|`: bounds every partial sum of `x`, in any order.
    Magnitudes,
    /// `x²`.
    Squares,
    /// `(x − mean)²`, with the mean of the same elements: what a variance sums.
    CenteredSquares,
}

/// The largest sum over the axes marked in `reduced`, of all positions along the other axes. Infinite where an element is
/// not finite; 0 for an empty tensor. Summed in float64.
///
/// # Panics
/// `values` does not have as many elements as `dims` says, or `reduced` is shorter than `dims`.
#[must_use]
pub fn largest_sum(values: &[f32], dims: &[usize], reduced: &[bool], terms: Terms) -> f64 {
    assert_eq!(dims.iter().product::<usize>(), values.len());
    assert!(reduced.len() >= dims.len());
    if values.is_empty() {
        return 0.0;
    }
    // Neighbouring axes of one kind are one axis.
    let mut axes: Vec<(usize, bool)> = Vec::new();
    for (&extent, &reduced) in dims.iter().zip(reduced) {
        match axes.last_mut() {
            Some((last, kind)) if *kind == reduced => *last *= extent,
            _ => axes.push((extent, reduced)),
        }
    }
    let n_kept: usize = axes.iter().filter(|a| !a.1).map(|a| a.0).product();
    let n_summed = (values.len() / n_kept) as f64;
    let mut sums = vec![0.0_f64; n_kept];
    match terms {
        Terms::Magnitudes => add(values, &axes, &mut sums, &|x| x.abs()),
        Terms::Squares | Terms::CenteredSquares => add(values, &axes, &mut sums, &|x| x * x),
    }
    if terms == Terms::CenteredSquares {
        let mut plain = vec![0.0_f64; n_kept];
        add(values, &axes, &mut plain, &|x| x);
        for (sum, plain) in sums.iter_mut().zip(plain) {
            // Rounding may leave a negative trace of a zero; what is not a number stays so.
            let centered = *sum - plain * plain / n_summed;
            *sum = if centered < 0.0 { 0.0 } else { centered };
        }
    }
    let larger = |a: f64, b: f64| if b > a || b.is_nan() { b } else { a };
    let largest = sums.into_iter().fold(0.0, larger);
    if largest.is_nan() {
        f64::INFINITY
    } else {
        largest
    }
}

/// Plain sums over all axes but one, per position along that one; in float64, in an order that the shape fixes.
///
/// # Panics
/// `values` does not have as many elements as `dims` says, or there is no such axis.
pub(crate) fn kept_axis_sums(values: &[f32], dims: &[usize], axis: usize) -> Vec<f64> {
    assert_eq!(dims.iter().product::<usize>(), values.len());
    let outer = dims[..axis].iter().product();
    let inner = dims[axis + 1..].iter().product();
    let mut sums = vec![0.0; dims[axis]];
    let axes = [(outer, true), (dims[axis], false), (inner, true)];
    // An innermost axis of one element would be walked element by element.
    let n_axes = if inner == 1 { 2 } else { 3 };
    add(values, &axes[..n_axes], &mut sums, &|x| x);
    sums
}

fn add(values: &[f32], axes: &[(usize, bool)], sums: &mut [f64], term: &impl Fn(f64) -> f64) {
    match axes {
        [] => sums[0] += term(f64::from(values[0])),
        [(_, true)] => sums[0] += sum_of(values, term),
        [(_, false)] => {
            for (sum, &x) in sums.iter_mut().zip(values) {
                *sum += term(f64::from(x));
            }
        }
        [(extent, reduced), inner @ ..] => {
            let n_values = values.len() / extent;
            let n_sums = if *reduced {
                sums.len()
            } else {
                sums.len() / extent
            };
            for (index, part) in values.chunks(n_values).enumerate() {
                let start = if *reduced { 0 } else { index * n_sums };
                add(part, inner, &mut sums[start..start + n_sums], term);
            }
        }
    }
}

/// A sum in lanes, whose order is fixed by the length alone.
fn sum_of(values: &[f32], term: &impl Fn(f64) -> f64) -> f64 {
    const LANES: usize = 8;
    let (lanes, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0_f64; LANES];
    for lane in lanes {
        for (sum, &x) in sums.iter_mut().zip(lane) {
            *sum += term(f64::from(x));
        }
    }
    let rest: f64 = rest.iter().map(|&x| term(f64::from(x))).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_are_those_of_all_tensors_in_any_order() {
        let values = [0.0, -0.0, 3.0, -7.5, 1e-9, f32::NAN, f32::INFINITY, 0.25];
        let mut whole = Magnitude::default();
        whole.observe(&values);
        assert_eq!(
            (whole.largest, whole.smallest, whole.non_finite),
            (7.5, 1e-9, 2)
        );
        for split in 0..values.len() {
            let (left, right) = values.split_at(split);
            let mut parts = [Magnitude::default(); 2];
            parts[0].observe(right);
            parts[1].observe(left);
            let [mut merged, other] = parts;
            merged.merge(&other);
            assert_eq!(merged, whole, "split at {split}");
        }
        let many: Vec<f32> = values.iter().copied().cycle().take(1 << 12).collect();
        let mut repeated = Magnitude::default();
        repeated.observe(&many);
        assert_eq!(
            (repeated.largest, repeated.smallest, repeated.non_finite),
            (7.5, 1e-9, 1024)
        );
    }

    #[test]
    fn sums_are_taken_over_the_marked_axes() {
        let values: Vec<f32> = (0..24_u8).map(|i| f32::from(i) - 11.0).collect();
        let dims = [2, 3, 4];
        for mask in 0..8_usize {
            let reduced = [mask & 1 != 0, mask & 2 != 0, mask & 4 != 0];
            for terms in [Terms::Magnitudes, Terms::Squares, Terms::CenteredSquares] {
                let expected = slowly(&values, dims, reduced, terms);
                let got = largest_sum(&values, &dims, &reduced, terms);
                assert!(
                    (got - expected).abs() < 1e-9,
                    "{reduced:?} {terms:?}: {got} {expected}"
                );
            }
        }
        assert_eq!(
            largest_sum(&[], &[0, 3], &[true, false], Terms::Squares).to_bits(),
            0
        );
        assert!(largest_sum(&[1.0, f32::NAN], &[2], &[true], Terms::Magnitudes).is_infinite());
        assert!(
            largest_sum(&[f32::INFINITY, 1.0], &[2], &[true], Terms::CenteredSquares).is_infinite()
        );
        assert!(largest_sum(&[f32::NAN, 1.0], &[2], &[false], Terms::Magnitudes).is_infinite());
    }

    fn slowly(values: &[f32], dims: [usize; 3], reduced: [bool; 3], terms: Terms) -> f64 {
        let mut groups: std::collections::BTreeMap<[usize; 3], Vec<f64>> =
            std::collections::BTreeMap::default();
        for (index, &value) in values.iter().enumerate() {
            let at = [
                index / (dims[1] * dims[2]),
                index / dims[2] % dims[1],
                index % dims[2],
            ];
            let key: Vec<usize> = at
                .iter()
                .zip(reduced)
                .map(|(&i, r)| if r { 0 } else { i })
                .collect();
            groups
                .entry([key[0], key[1], key[2]])
                .or_default()
                .push(value.into());
        }
        let sum = |group: &Vec<f64>| -> f64 {
            let mean = group.iter().sum::<f64>() / group.len() as f64;
            let term = |x: &f64| match terms {
                Terms::Magnitudes => x.abs(),
                Terms::Squares => x * x,
                Terms::CenteredSquares => (x - mean) * (x - mean),
            };
            group.iter().map(term).sum()
        };
        groups.values().map(sum).fold(0.0, f64::max)
    }
}
