//! Weight scales at which sums of two products of 8-bit numbers fit 16 bits.
//!
//! x86-64 processors without VNNI (Intel before 2019, AMD before Zen 4) multiply unsigned activations with signed weights by an
//! instruction, `pmaddubsw`, that adds two neighbouring products into 16 bits and saturates: `255 · 127 · 2` is twice what
//! fits. ONNX Runtime uses it there, and models come out several decibels worse than they are. Its own remedy halves the
//! range of all weights (`reduce_range`), or uses slower kernels (`session.x64quantprecision`). But only a pair of one sign can
//! overflow, and only when both are large, so that few filters need a larger scale, and none needs more than twice its own.

use crate::types::Scale;

/// Largest sum of the magnitudes of two weights of one sign: `255 · 128` fits 15 bits.
const LARGEST_PAIR: f32 = 128.0;

/// The scale of one filter raised, where that is needed, so that no two neighbouring integers of one sign add up to more than 128
/// in magnitude. `weights` are those of the filter in the order in which they are multiplied; the first and the second are
/// neighbours, the third and the fourth, and so on.
///
/// `None` where no float32 scale is large enough.
#[must_use]
pub fn raise_scale_for_pairs(weights: &[f32], scale: Scale) -> Option<Scale> {
    let pairs = weights.as_chunks::<2>().0;
    let of_one_sign = |[a, b]: &&[f32; 2]| (*a > 0.0) == (*b > 0.0);
    let integer = |weight: f32| (weight / scale.get()).abs().round_ties_even();
    let overflows = |[a, b]: &[f32; 2]| integer(*a) + integer(*b) > LARGEST_PAIR;
    if !pairs.iter().filter(of_one_sign).any(overflows) {
        return Some(scale);
    }
    let sums = pairs
        .iter()
        .filter(of_one_sign)
        .map(|[a, b]| a.abs() + b.abs());
    // Rounding adds at most a half to each.
    let wanted = sums.fold(0.0, f32::max) / (LARGEST_PAIR - 1.0);
    Scale::new(wanted.next_up()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scale(value: f32) -> Scale {
        Scale::new(value).expect("test scale")
    }

    #[test]
    fn only_large_pairs_of_one_sign_raise_the_scale() {
        let unit = scale(1.0);
        for harmless in [
            vec![127.0, 1.0],
            vec![127.0, -127.0],
            vec![-64.0, -64.0],
            vec![1.0, 127.0, 127.0, 1.0],
            vec![0.0, 127.0, 3.0],
            vec![127.0],
        ] {
            assert_eq!(
                raise_scale_for_pairs(&harmless, unit),
                Some(unit),
                "{harmless:?}"
            );
        }
        let raised = raise_scale_for_pairs(&[100.0, 100.0], unit).expect("it fits");
        assert!((raised.get() - 200.0 / 127.0).abs() < 1e-5);
        assert!(raise_scale_for_pairs(&[-127.0, -2.0], unit).expect("it fits") > unit);
        assert_eq!(
            raise_scale_for_pairs(&[f32::MAX, f32::MAX], scale(1e36)),
            None
        );
    }

    proptest! {
        #[test]
        fn no_pair_overflows_and_no_scale_doubles(
            weights in proptest::collection::vec(-1.0_f32..1.0, 1..40),
        ) {
            let largest = weights.iter().fold(1e-6_f32, |a, w| a.max(w.abs()));
            let before = scale(largest / 127.0);
            let after = raise_scale_for_pairs(&weights, before).expect("it fits").get();
            prop_assert!(after >= before.get() && after <= 2.0 * before.get().next_up());
            for [a, b] in weights.as_chunks::<2>().0 {
                let integer = |w: f32| (w / after).round_ties_even() as i32;
                let (a, b) = (integer(*a), integer(*b));
                for (x, y) in [(255, 255), (255, 0), (0, 255)] {
                    let sum = a * x + b * y;
                    prop_assert_eq!(sum.clamp(-32768, 32767), sum);
                }
            }
        }
    }
}
