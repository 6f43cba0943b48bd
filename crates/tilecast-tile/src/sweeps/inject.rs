//! What a tile is fed beside its pixels: which of them count, and what is known of the image.

use tilecast_analysis::{SweepContract, WeightMap};
use tilecast_exec::HostTensor;

use crate::{Rect, Size, Tile, TilePlan};

/// What is known of the statistics of an image.
#[derive(Debug)]
pub(crate) struct Known {
    /// In float64, in the order of the contract.
    pub(super) values: Vec<Vec<f64>>,
    /// The inputs of the model behind its weight maps.
    tensors: Vec<HostTensor>,
    /// 0 before the first sweep, 1 after it.
    switch: HostTensor,
}

impl Known {
    /// Nothing: tiles take their own.
    pub(super) fn none(contract: &SweepContract) -> Self {
        let values: Vec<Vec<f64>> = contract
            .statistics
            .iter()
            .map(|s| vec![0.0; s.dims.iter().product()])
            .collect();
        Self {
            tensors: tensors(contract, &values),
            values,
            switch: HostTensor::new(vec![1], vec![0.0]),
        }
    }

    /// Takes over what a sweep merged, apart from what so many sweeps with the whole halo, this one among them, knew exactly
    /// before it.
    pub(super) fn update(
        &mut self,
        contract: &SweepContract,
        fresh: Vec<Vec<f64>>,
        n_sweeps: usize,
    ) {
        for ((known, fresh), statistic) in
            self.values.iter_mut().zip(fresh).zip(&contract.statistics)
        {
            if statistic.level >= n_sweeps {
                *known = fresh;
            }
        }
        self.tensors = tensors(contract, &self.values);
        self.switch = HostTensor::new(vec![1], vec![1.0]);
    }
}

fn tensors(contract: &SweepContract, values: &[Vec<f64>]) -> Vec<HostTensor> {
    contract
        .statistics
        .iter()
        .zip(values)
        .map(|(s, v)| HostTensor::new(s.dims.clone(), v.iter().map(|&v| v as f32).collect()))
        .collect()
}

/// All inputs of the model for a tile of `plan` but its pixels.
pub(crate) fn added_inputs(
    contract: &SweepContract,
    plan: &TilePlan,
    tile: &Tile,
    known: &Known,
) -> Vec<HostTensor> {
    let core = whole_core(plan, tile);
    let mut inputs = vec![known.switch.clone()];
    inputs.extend(contract.weights.iter().map(|map| weights(map, tile, core)));
    inputs.extend(known.tensors.iter().cloned());
    inputs
}

/// The core with the padding behind it: the whole-image run takes statistics of that too.
pub(super) fn whole_core(plan: &TilePlan, tile: &Tile) -> Rect {
    let (image, padded) = (plan.request().image_px, plan.padded_px());
    let mut core = tile.core;
    if core.bottom() == image.height {
        core.height = padded.height - core.top;
    }
    if core.right() == image.width {
        core.width = padded.width - core.left;
    }
    core
}

/// Rows and columns of a weight map for a tile of this size.
pub(super) fn map_size(map: &WeightMap, tile: Size) -> [usize; 2] {
    let along = |side: usize, length: usize| length * map.positions[side] / map.pixels[side];
    [along(0, tile.height), along(1, tile.width)]
}

/// The weight map of a tile: positions outside of the core count nothing, and the mean over all is 1.
fn weights(map: &WeightMap, tile: &Tile, core: Rect) -> HostTensor {
    let Rect { height, width, .. } = tile.input;
    let [n_rows, n_columns] = map_size(map, Size { height, width });
    let at = |side: usize, pixel: usize| pixel * map.positions[side] / map.pixels[side];
    let top = at(0, core.top - tile.input.top);
    let bottom = at(0, core.bottom() - tile.input.top);
    let left = at(1, core.left - tile.input.left);
    let right = at(1, core.right() - tile.input.left);
    let inside = (bottom - top) * (right - left);
    let weight = (n_rows * n_columns) as f32 / inside.max(1) as f32;
    let mut values = vec![0.0; n_rows * n_columns];
    for row in top..bottom {
        values[row * n_columns + left..row * n_columns + right].fill(weight);
    }
    HostTensor::new(vec![1, 1, n_rows, n_columns], values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_zero_outside_of_the_core_and_one_in_the_mean() {
        let tile = Tile {
            input: Rect {
                top: 64,
                left: 0,
                height: 32,
                width: 48,
            },
            core: Rect {
                top: 72,
                left: 0,
                height: 8,
                width: 40,
            },
        };
        for (positions, pixels, n) in [
            ([1, 1], [1, 1], 1),
            ([1, 1], [8, 8], 8),
            ([2, 2], [1, 1], 1),
        ] {
            let map = WeightMap {
                input: "w".into(),
                positions,
                pixels,
            };
            let made = weights(&map, &tile, tile.core);
            let [rows, columns] = [32 * positions[0] / n, 48 * positions[0] / n];
            assert_eq!(made.dims(), [1, 1, rows, columns]);
            let n_inside = made.data().iter().filter(|&&v| v > 0.0).count();
            assert_eq!(n_inside, rows / 4 * (columns * 5 / 6));
            let mean =
                made.data().iter().map(|&v| f64::from(v)).sum::<f64>() / made.data().len() as f64;
            assert!((mean - 1.0).abs() < 1e-6, "{mean}");
        }
    }
}
