//! A histogram is a function of the multiset of values it saw: order, chunks and shards leave no trace.

use proptest::prelude::*;
use tilecast_quant::Histogram;

/// Values from a distribution, every bit pattern, and the edges where bins and widths change.
fn value() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => -4.0_f32..4.0,
        2 => any::<u32>().prop_map(f32::from_bits),
        1 => (-126_i32..128, prop::bool::ANY).prop_map(|(exponent, negative)| {
            let power = 2_f32.powi(exponent);
            if negative { -power } else { power }
        }),
        1 => prop::sample::select(vec![0.0, -0.0, f32::MAX, f32::MIN, f32::from_bits(1), -f32::from_bits(1)]),
    ]
}

fn values() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(value(), 0..300)
}

fn observed(values: &[f32]) -> Histogram {
    let mut histogram = Histogram::new();
    histogram.observe(values);
    histogram
}

/// Equality that also tells zeros apart, through the serialized form.
fn assert_identical(left: &Histogram, right: &Histogram) {
    assert_eq!(left, right);
    let text = |histogram| serde_json::to_string(histogram).expect("serializes");
    assert_eq!(text(left), text(right));
}

proptest! {
    #[test]
    fn order_leaves_no_trace((original, shuffled) in values().prop_flat_map(|values| {
        (Just(values.clone()), Just(values).prop_shuffle())
    })) {
        assert_identical(&observed(&original), &observed(&shuffled));
    }

    #[test]
    fn chunks_leave_no_trace(values in values(), chunk_len in 1_usize..40) {
        let mut chunked = Histogram::new();
        for chunk in values.chunks(chunk_len) {
            chunked.observe(chunk);
        }
        assert_identical(&chunked, &observed(&values));
    }

    #[test]
    fn shards_leave_no_trace(values in values(), n_shards in 1_usize..5, assignment in any::<u64>()) {
        let mut shards = vec![Histogram::new(); n_shards];
        for (idx, &value) in values.iter().enumerate() {
            let shard = (assignment.rotate_left(idx as u32) as usize) % n_shards;
            shards[shard].observe(&[value]);
        }
        let (mut forwards, mut backwards) = (Histogram::new(), Histogram::new());
        for shard in &shards {
            forwards.merge(shard);
        }
        for shard in shards.iter().rev() {
            backwards.merge(shard);
        }
        assert_identical(&forwards, &observed(&values));
        assert_identical(&backwards, &forwards);
    }

    #[test]
    fn bins_hold_exactly_the_finite_values(values in values()) {
        let histogram = observed(&values);
        let finite: Vec<f64> = values.iter().filter(|value| value.is_finite()).map(|&value| value.into()).collect();
        prop_assert_eq!(histogram.count(), finite.len() as u64);
        prop_assert_eq!(histogram.non_finite(), (values.len() - finite.len()) as u64);
        prop_assert_eq!(histogram.zeros(), values.iter().filter(|value| **value == 0.0).count() as u64);
        let mut total = 0;
        for bin in histogram.bins() {
            let inside = finite.iter().filter(|&&value| bin.low <= value && value < bin.high).count();
            prop_assert_eq!(bin.count, inside as u64);
            total += bin.count;
        }
        prop_assert_eq!(total, histogram.count());
    }

    #[test]
    fn serialization_is_lossless(values in values()) {
        let histogram = observed(&values);
        let text = serde_json::to_string(&histogram).expect("serializes");
        assert_identical(&serde_json::from_str(&text).expect("reads back"), &histogram);
    }
}

/// Blocks long enough for the counting tables, with a remainder and values that are not finite.
#[test]
fn long_slices_count_like_short_ones() {
    let mut state = 1_u32;
    let values: Vec<f32> = (0..100_003)
        .map(|idx| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let uniform = (state >> 8) as f32 / 16_777_216.0 - 0.3;
            if idx % 40_009 == 7 {
                f32::NAN
            } else {
                uniform * 1.0001_f32.powi(idx / 10)
            }
        })
        .collect();
    let mut short = Histogram::new();
    for chunk in values.chunks(1000) {
        short.observe(chunk);
    }
    let long = observed(&values);
    assert_eq!(long.non_finite(), 3);
    assert_identical(&long, &short);
}
