//! What holds for every range estimator: the range lies within what was seen, and neither the order of the images nor how
//! they are shared out changes a bit of the table or of the range.

use proptest::prelude::*;
use tilecast_quant::{Histogram, Symmetry, ValueStatistics, estimator_by_name};

const NAMES: [&str; 5] = ["minmax", "mean-minmax", "percentile", "entropy", "mse"];

/// Images of bell-shaped values of any size and place, some with zeros, outliers, and values that are not finite.
fn images() -> impl Strategy<Value = Vec<Vec<f32>>> {
    let bell = prop::collection::vec(-1.0_f32..1.0, 4).prop_map(|parts| parts.iter().sum::<f32>());
    let odd = prop::sample::select(vec![0.0, -0.0, 50.0, -20.0, f32::NAN, f32::INFINITY, 1e-30]);
    let value = prop_oneof![8 => bell, 1 => odd];
    let image = (
        prop::collection::vec(value, 0..120),
        prop::sample::select(vec![1e-6_f32, 0.01, 1.0, 300.0]),
        prop::sample::select(vec![0.0_f32, 0.5, -2.0]),
    )
        .prop_map(|(values, scale, offset)| {
            values.into_iter().map(|v| v * scale + offset).collect()
        });
    prop::collection::vec(image, 1..7)
}

/// The statistics of an image whose values arrive in runs of this length.
fn image(values: &[f32], run: usize) -> ValueStatistics {
    let mut histogram = Histogram::new();
    for values in values.chunks(run) {
        histogram.observe(values);
    }
    ValueStatistics::of_image(histogram)
}

fn all(images: &[Vec<f32>]) -> ValueStatistics {
    let mut seen = ValueStatistics::default();
    for values in images {
        seen.merge(&image(values, values.len().max(1)));
    }
    seen
}

fn table(seen: &ValueStatistics) -> String {
    serde_json::to_string(seen).expect("serializes")
}

/// The bits of the range of every estimator on both grids; nothing where nothing was seen.
fn ranges(seen: &ValueStatistics) -> Vec<Option<[u32; 2]>> {
    let mut ranges = Vec::new();
    for name in NAMES {
        for symmetry in [Symmetry::Asymmetric, Symmetry::Symmetric] {
            let estimator = estimator_by_name(name).expect("listed");
            let range = estimator.estimate(seen, symmetry).ok();
            ranges.push(range.map(|range| [range.min().to_bits(), range.max().to_bits()]));
        }
    }
    ranges
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn order_and_shares_leave_no_trace(
        (original, shuffled) in images().prop_flat_map(|images| (Just(images.clone()), Just(images).prop_shuffle())),
        n_shards in 1_usize..4,
        run in 1_usize..50,
        assignment in any::<u64>(),
    ) {
        let whole = all(&original);
        let mut shards = vec![ValueStatistics::default(); n_shards];
        for (idx, values) in shuffled.iter().enumerate() {
            let shard = (assignment.rotate_left(7 * idx as u32) as usize) % n_shards;
            shards[shard].merge(&image(values, run));
        }
        // Shards travel as files.
        let read = |shard: &ValueStatistics| -> ValueStatistics {
            serde_json::from_str(&table(shard)).expect("reads back")
        };
        let (mut forwards, mut backwards) = (ValueStatistics::default(), ValueStatistics::default());
        for shard in &shards {
            forwards.merge(&read(shard));
        }
        for shard in shards.iter().rev() {
            backwards.merge(&read(shard));
        }
        prop_assert_eq!(table(&forwards), table(&whole));
        prop_assert_eq!(table(&backwards), table(&whole));
        prop_assert_eq!(ranges(&forwards), ranges(&whole));
    }

    #[test]
    fn ranges_lie_within_what_was_seen(images in images()) {
        let seen = all(&images);
        let Some(extremes) = seen.histogram().range() else { return Ok(()) };
        for name in NAMES {
            for symmetry in [Symmetry::Asymmetric, Symmetry::Symmetric] {
                let range = estimator_by_name(name).expect("listed").estimate(&seen, symmetry).expect("seen");
                prop_assert!(
                    extremes.min() <= range.min() && range.max() <= extremes.max(),
                    "{} {:?}: {:?} of {:?}", name, symmetry, range, extremes
                );
            }
        }
    }
}

/// Constants, tiny, huge and one-sided tensors have ranges, and those of a constant are exact.
#[test]
fn degenerate_tensors_have_ranges() {
    let cases: [&[f32]; 9] = [
        &[0.0],
        &[-0.0, 0.0],
        &[5.0],
        &[-1e-40],
        &[1e-40, 3e-40],
        &[f32::MAX],
        &[f32::MIN, f32::MAX],
        &[100.0, 100.5, 101.0],
        &[-7.0, -6.5],
    ];
    for values in cases {
        let seen = image(values, 1);
        for name in NAMES {
            for symmetry in [Symmetry::Asymmetric, Symmetry::Symmetric] {
                let estimator = estimator_by_name(name).expect("listed");
                let range = estimator
                    .estimate(&seen, symmetry)
                    .expect("there are values");
                if let &[value] = values {
                    assert_eq!(
                        (range.min(), range.max()),
                        (value, value),
                        "{name} {symmetry:?}"
                    );
                }
            }
        }
    }
}
