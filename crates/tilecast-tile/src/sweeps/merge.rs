//! From the statistics of tiles to those of the image, in float64 and in the order of the tiles.

use std::collections::BTreeMap;

use tilecast_analysis::{Merge, SweepContract};
use tilecast_exec::HostTensor;

use super::inject::whole_core;
use crate::TilePlan;

/// The statistics that one sweep gathers, of one image or of several that go through the network by the same plan.
#[derive(Debug)]
pub(crate) struct Gathered<'a> {
    contract: &'a SweepContract,
    plan: &'a TilePlan,
    /// One per image.
    mergers: Vec<Merger>,
    /// Statistics of tiles that finished before an earlier one, image by image.
    waiting: BTreeMap<usize, Vec<Vec<HostTensor>>>,
}

impl<'a> Gathered<'a> {
    pub(super) fn new(contract: &'a SweepContract, plan: &'a TilePlan, n_images: usize) -> Self {
        Self {
            contract,
            plan,
            mergers: (0..n_images).map(|_| Merger::new(contract)).collect(),
            waiting: BTreeMap::new(),
        }
    }

    /// Merges the statistics of a tile, image by image, as soon as those of all tiles before it are merged.
    pub(crate) fn take(&mut self, index: usize, statistics: Vec<Vec<HostTensor>>) {
        self.waiting.insert(index, statistics);
        let n_merged = |mergers: &[Merger]| mergers.first().map_or(0, Merger::n_merged);
        while let Some(statistics) = self.waiting.remove(&n_merged(&self.mergers)) {
            let tile = self.plan.tile(n_merged(&self.mergers));
            let core = whole_core(self.plan, &tile);
            let weight = core.height as f64 * core.width as f64;
            for (merger, statistics) in self.mergers.iter_mut().zip(&statistics) {
                merger.add(self.contract, statistics, weight);
            }
        }
    }

    /// The statistics of each image.
    pub(super) fn finish(self) -> Vec<Vec<Vec<f64>>> {
        let (padded, tile) = (self.plan.padded_px(), self.plan.tile_size());
        let ratio =
            (padded.height as f64 * padded.width as f64) / (tile.height as f64 * tile.width as f64);
        let mergers = self.mergers.into_iter();
        mergers.map(|m| m.finish(self.contract, ratio)).collect()
    }
}

/// The statistics of the tiles merged so far.
#[derive(Debug)]
pub(super) struct Merger {
    n_merged: usize,
    /// Sum of the weights of the tiles.
    weight: f64,
    /// One per statistic: weighted sums, extremes, or sums of squared differences from the mean.
    sums: Vec<Vec<f64>>,
    /// Running means of the statistics that are variances; empty for others.
    means: Vec<Vec<f64>>,
}

impl Merger {
    pub(super) fn new(contract: &SweepContract) -> Self {
        let of = |merge: Merge, n: usize| match merge {
            Merge::Maximum => vec![f64::NEG_INFINITY; n],
            Merge::Minimum => vec![f64::INFINITY; n],
            _ => vec![0.0; n],
        };
        let statistics = || contract.statistics.iter();
        let n = |dims: &[usize]| dims.iter().product::<usize>();
        Self {
            n_merged: 0,
            weight: 0.0,
            sums: statistics().map(|s| of(s.merge, n(&s.dims))).collect(),
            means: statistics()
                .map(|s| match s.merge {
                    Merge::Variance { .. } => vec![0.0; n(&s.dims)],
                    _ => Vec::new(),
                })
                .collect(),
        }
    }

    /// Number of tiles merged.
    pub(super) fn n_merged(&self) -> usize {
        self.n_merged
    }

    /// Merges one more tile, which counts `weight`.
    pub(super) fn add(&mut self, contract: &SweepContract, tile: &[HostTensor], weight: f64) {
        let total = self.weight + weight;
        for (index, statistic) in contract.statistics.iter().enumerate() {
            let values = tile[index].data().iter().map(|&v| f64::from(v));
            let sums = self.sums[index].iter_mut().zip(values);
            match statistic.merge {
                Merge::Mean | Merge::Sum => sums.for_each(|(sum, v)| *sum += weight * v),
                Merge::Norm => sums.for_each(|(sum, v)| *sum += weight * v * v),
                // Unlike `max` and `min`, these let what is not a number through.
                Merge::Maximum => sums.for_each(|(most, v)| {
                    if v > *most || v.is_nan() {
                        *most = v;
                    }
                }),
                Merge::Minimum => sums.for_each(|(least, v)| {
                    if v < *least || v.is_nan() {
                        *least = v;
                    }
                }),
                Merge::Variance { mean } => {
                    let tile_means = tile[mean].data().iter().map(|&v| f64::from(v));
                    for (((sum, variance), running), mean) in
                        sums.zip(&mut self.means[index]).zip(tile_means)
                    {
                        let difference = mean - *running;
                        *sum += weight * variance
                            + difference * difference * self.weight * weight / total;
                        *running += difference * weight / total;
                    }
                }
            }
        }
        self.weight = total;
        self.n_merged += 1;
    }

    /// The statistics of the image; `ratio` is the pixels of the padded image over those of a tile.
    pub(super) fn finish(self, contract: &SweepContract, ratio: f64) -> Vec<Vec<f64>> {
        let weight = self.weight;
        let finish = |merge: Merge, sum: f64| match merge {
            Merge::Sum => sum / weight * ratio,
            Merge::Norm => (sum / weight * ratio).sqrt(),
            Merge::Maximum | Merge::Minimum => sum,
            // A variance that rounding made negative is zero; what is not a number stays so.
            Merge::Variance { .. } if sum < 0.0 => 0.0,
            Merge::Mean | Merge::Variance { .. } => sum / weight,
        };
        let statistics = contract.statistics.iter().zip(self.sums);
        statistics
            .map(|(s, sums)| sums.into_iter().map(|v| finish(s.merge, v)).collect())
            .collect()
    }
}

/// The largest movement of a statistic that was not exact before the sweep of number `n_sweeps`, relative to its size;
/// infinite where one is not finite.
pub(super) fn movement(
    contract: &SweepContract,
    before: &[Vec<f64>],
    after: &[Vec<f64>],
    n_sweeps: usize,
) -> f64 {
    let mut most = 0.0_f64;
    for (index, statistic) in contract.statistics.iter().enumerate() {
        if statistic.level < n_sweeps {
            continue;
        }
        let differences = before[index].iter().zip(&after[index]).map(|(a, b)| b - a);
        let moved = norm(differences);
        // A mean is subtracted from values with this spread.
        let variance = Merge::Variance { mean: index };
        let size = match contract.statistics.iter().position(|s| s.merge == variance) {
            Some(variance) => norm(after[variance].iter().map(|v| v.sqrt())),
            None => norm(after[index].iter().copied()),
        };
        let relative = if moved == 0.0 { 0.0 } else { moved / size };
        if relative.is_nan() {
            return f64::INFINITY;
        }
        most = most.max(relative);
    }
    most
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use tilecast_analysis::SweptStatistic;

    use super::*;

    fn contract(merges: &[Merge]) -> SweepContract {
        SweepContract {
            switch: "switch".into(),
            weights: Vec::new(),
            statistics: merges
                .iter()
                .enumerate()
                .map(|(index, &merge)| SweptStatistic {
                    node: "node".into(),
                    input: format!("in{index}"),
                    output: format!("out{index}"),
                    dims: vec![1],
                    merge,
                    level: 1,
                })
                .collect(),
            depth: 1,
        }
    }

    /// Merged statistics of parts of a sequence, in the order of `merges`, where the parts are all of a tile of 8 pixels.
    fn merged(merges: &[Merge], parts: &[&[f64]], of: fn(Merge, &[f64]) -> f64) -> Vec<f64> {
        let contract = contract(merges);
        let mut merger = Merger::new(&contract);
        for part in parts {
            let tile: Vec<HostTensor> = merges
                .iter()
                .map(|&m| HostTensor::new(vec![1], vec![of(m, part) as f32]))
                .collect();
            merger.add(&contract, &tile, part.len() as f64);
        }
        let n: usize = parts.iter().map(|p| p.len()).sum();
        let merged = merger.finish(&contract, n as f64 / 8.0);
        merged.into_iter().map(|v| v[0]).collect()
    }

    /// What a tile of 8 pixels gives whose core has these values: sums are scaled to the tile.
    fn of_tile(merge: Merge, core: &[f64]) -> f64 {
        let n = core.len() as f64;
        let mean = core.iter().sum::<f64>() / n;
        match merge {
            Merge::Mean => mean,
            Merge::Sum => mean * 8.0,
            Merge::Norm => (core.iter().map(|v| v * v).sum::<f64>() * 8.0 / n).sqrt(),
            Merge::Maximum => core.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Merge::Minimum => core.iter().copied().fold(f64::INFINITY, f64::min),
            Merge::Variance { .. } => core.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n,
        }
    }

    #[test]
    fn parts_of_unequal_length_merge_to_the_statistics_of_the_whole() {
        let values = [1.0, 2.0, 4.0, -3.0, 0.5, 8.0, 100.0, 101.0, 99.0, 103.0];
        let merges = [
            Merge::Mean,
            Merge::Variance { mean: 0 },
            Merge::Sum,
            Merge::Norm,
            Merge::Maximum,
            Merge::Minimum,
        ];
        let parts = [&values[..3], &values[3..6], &values[6..]];
        let found = merged(&merges, &parts, of_tile);
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let expected = [
            mean,
            values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n,
            values.iter().sum(),
            values.iter().map(|v| v * v).sum::<f64>().sqrt(),
            103.0,
            -3.0,
        ];
        for ((merge, found), expected) in merges.iter().zip(found).zip(expected) {
            let error = (found - expected).abs() / expected.abs();
            assert!(error < 1e-6, "{merge:?}: {found} instead of {expected}");
        }
    }

    #[test]
    fn what_is_not_a_number_is_not_merged_away() {
        for merge in [Merge::Mean, Merge::Norm, Merge::Maximum, Merge::Minimum] {
            let parts: [&[f64]; 3] = [&[1.0], &[f64::NAN], &[2.0]];
            let found = merged(&[merge], &parts, |_, part| part[0]);
            assert!(found[0].is_nan(), "{merge:?} gave {}", found[0]);
        }
    }

    #[test]
    fn movement_is_relative_and_leaves_out_what_is_exact() {
        let contract = contract(&[Merge::Mean, Merge::Variance { mean: 0 }, Merge::Sum]);
        let before = [vec![10.0], vec![4.0], vec![8.0]];
        let after = [vec![10.5], vec![4.0], vec![8.0]];
        assert!((movement(&contract, &before, &after, 1) - 0.25).abs() < 1e-12);
        assert!(movement(&contract, &before, &after, 2) == 0.0);
        let broken = [vec![10.0], vec![4.0], vec![f64::NAN]];
        assert!(movement(&contract, &before, &broken, 1) == f64::INFINITY);
    }
}
