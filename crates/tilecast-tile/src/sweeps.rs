//! Running a model over an image in tiles that share statistics of the whole image.
//!
//! All tiles are run, the statistics of their cores are merged, and all tiles are run again with the merged ones, as
//! [`tilecast_analysis::SweepContract`] says. Beside what a single run in tiles holds, there are the statistics of the image, of the
//! tiles in flight, and of those that finished before an earlier one did.
//!
//! Tiles are merged in their order, in float64, so the number of threads leaves no trace in the result.

mod merge;

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tilecast_analysis::{SweepContract, WeightMap};
use tilecast_exec::{Engine, HostTensor, Session, SessionOptions};
use tilecast_onnx::Model;

use crate::crop::crop_tile;
use crate::in_flight::{InFlight, Pass};
use crate::pixels::Pixels;
use crate::session_cache::{InputDims, SessionCache};
use crate::{PlanarImage, Rect, RunControl, RunTiledError, Size, Tile, TilePlan, ValueRange};

use merge::{Merger, movement};

/// How often all tiles are run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SweepCount {
    /// This often, or as often as changes anything.
    Exactly(NonZeroU32),
    /// Until no statistic moved by more than this in two successive sweeps, relative to its size (a mean that goes with a
    /// variance: relative to the spread), or as often as changes anything. One sweep that changes little is not
    /// enough: what the first levels still move may reach the last ones later.
    Auto {
        /// The largest movement, at least 0.
        tolerance: f64,
    },
}

/// The result of a run with swept statistics.
#[derive(Clone, Debug)]
pub struct SweptImage {
    /// The image.
    pub image: PlanarImage,
    /// Sweeps over all tiles.
    pub n_sweeps: usize,
    /// For each sweep from the second on: the largest movement of a statistic, relative to its size.
    pub movements: Vec<f64>,
    /// Whether every statistic was that of the whole image in the last sweep, up to rounding.
    pub is_exact: bool,
}

/// A model whose inputs and outputs are not those of its contract.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the model does not have the {what} that its sweep contract says; cut the statistics of the model anew"
)]
pub struct ContractError {
    what: &'static str,
}

/// A model with swept statistics, bound to an engine. Keeps the sessions of the last few tile shapes.
#[derive(Debug)]
pub struct SweptRunner<'a> {
    engine: &'a dyn Engine,
    model: Model,
    contract: SweepContract,
    image_input: String,
    value_range: ValueRange,
    in_flight: InFlight,
    sessions: Mutex<SessionCache>,
}

impl<'a> SweptRunner<'a> {
    /// Binds a model that takes one `[1, C, H, W]` image with values in `value_range`, returns one, and has beside them the
    /// inputs and outputs of `contract`.
    ///
    /// # Errors
    /// It does not.
    pub fn new(
        engine: &'a dyn Engine,
        model: Model,
        contract: SweepContract,
        value_range: ValueRange,
    ) -> Result<Self, ContractError> {
        let inputs: Vec<String> = model
            .graph()
            .inputs()
            .map(|v| v.name.clone().unwrap_or_default())
            .filter(|name| !engine.supplies(name))
            .collect();
        let added = std::iter::once(&contract.switch)
            .chain(contract.weights.iter().map(|map| &map.input))
            .chain(contract.statistics.iter().map(|s| &s.input));
        let image_input = match inputs.split_first() {
            Some((image, others)) if others.iter().eq(added) => image.clone(),
            _ => return Err(ContractError { what: "inputs" }),
        };
        let outputs = model.graph_proto().output.iter().skip(1);
        let outputs = outputs.map(|v| v.name.as_deref().unwrap_or_default());
        if !outputs.eq(contract.statistics.iter().map(|s| s.output.as_str())) {
            return Err(ContractError { what: "outputs" });
        }
        Ok(Self {
            engine,
            model,
            contract,
            image_input,
            value_range,
            in_flight: InFlight::default(),
            sessions: Mutex::default(),
        })
    }

    /// The same runner with at most this many tiles in flight; otherwise one per thread of the rayon pool that it is called
    /// from.
    #[must_use]
    pub fn with_max_workers(mut self, max_workers: NonZeroUsize) -> Self {
        self.in_flight.most = Some(max_workers);
        self
    }

    /// The same runner with no more tiles in flight than their predicted peaks fit into this many bytes, but always one.
    #[must_use]
    pub fn with_memory_limit(mut self, bytes: u64) -> Self {
        self.in_flight.memory_bytes = Some(bytes);
        self
    }

    /// The inputs and outputs of the model beside its image.
    #[must_use]
    pub fn contract(&self) -> &SweepContract {
        &self.contract
    }

    /// The session that runs this plan's tiles on images of `channels` planes; kept for the run.
    ///
    /// # Errors
    /// [`RunTiledError::Load`].
    pub fn session(
        &self,
        plan: &TilePlan,
        channels: usize,
    ) -> Result<Arc<dyn Session>, RunTiledError> {
        let tile_px = plan.tile_size();
        let dims: InputDims = [1, channels, tile_px.height, tile_px.width];
        let mut input_shapes = vec![
            (self.image_input.clone(), dims.to_vec()),
            (self.contract.switch.clone(), vec![1]),
        ];
        for map in &self.contract.weights {
            let [height, width] = map_size(map, tile_px);
            input_shapes.push((map.input.clone(), vec![1, 1, height, width]));
        }
        for statistic in &self.contract.statistics {
            input_shapes.push((statistic.input.clone(), statistic.dims.clone()));
        }
        let options = SessionOptions {
            input_shapes,
            ..SessionOptions::default()
        };
        lock(&self.sessions)
            .get_or_load(dims, || self.engine.load(&self.model, &options))
            .map_err(|source| RunTiledError::Load { tile_px, source })
    }

    /// Runs the model over the image, `count` times over all tiles. Values of the result are not clamped. The same image, plan
    /// and engine give the same bits on any number of threads.
    ///
    /// The sides of the plan's tiles must be multiples of the model's alignment period, which a plan of several tiles sees to;
    /// an image that is a single tile needs no sweeps.
    ///
    /// # Errors
    /// See [`RunTiledError`]; of several failing tiles the first is reported.
    pub fn run(
        &self,
        image: &PlanarImage,
        plan: &TilePlan,
        count: SweepCount,
        control: &RunControl<'_>,
    ) -> Result<SweptImage, RunTiledError> {
        self.run_sweeps(image, plan, count, control, None)
    }

    /// As [`SweptRunner::run`], and shows the image after each sweep, with the number of that sweep.
    ///
    /// # Errors
    /// As [`SweptRunner::run`].
    pub fn run_shown(
        &self,
        image: &PlanarImage,
        plan: &TilePlan,
        count: SweepCount,
        control: &RunControl<'_>,
        show: &mut ShowSweep<'_>,
    ) -> Result<SweptImage, RunTiledError> {
        self.run_sweeps(image, plan, count, control, Some(show))
    }

    fn run_sweeps(
        &self,
        image: &PlanarImage,
        plan: &TilePlan,
        count: SweepCount,
        control: &RunControl<'_>,
        mut show: Option<&mut ShowSweep<'_>>,
    ) -> Result<SweptImage, RunTiledError> {
        let planned = plan.request().image_px;
        if planned != image.size() {
            return Err(RunTiledError::WrongImage {
                planned,
                found: image.size(),
            });
        }
        let session = self.session(plan, image.channels())?;
        let depth = self.contract.depth;
        let limit = match count {
            SweepCount::Exactly(n) => (n.get() as usize).min(depth + 1),
            SweepCount::Auto { .. } => depth + 1,
        };
        let mut known = Known::none(&self.contract);
        let mut pixels = Pixels::default();
        let mut movements: Vec<f64> = Vec::new();
        let mut n_sweeps = 0;
        while n_sweeps < limit {
            let may_be_last = match count {
                SweepCount::Exactly(_) => n_sweeps + 1 == limit,
                SweepCount::Auto { .. } => n_sweeps >= FEWEST_FOR_AUTO - 1 || n_sweeps + 1 == limit,
            };
            let sweep = Sweep {
                runner: self,
                session: &*session,
                image,
                plan,
                known: &known,
                places_pixels: may_be_last || show.is_some(),
            };
            let pass = Pass {
                plan,
                n_workers: self.in_flight.workers(plan, &*session, control),
                control,
                n_before: n_sweeps * plan.n_tiles(),
                n_all: limit * plan.n_tiles(),
            };
            let state = SweepState {
                merger: Merger::new(&self.contract),
                waiting: BTreeMap::new(),
                pixels: std::mem::take(&mut pixels),
            };
            let state = pass.over(
                state,
                |index, tile| sweep.run_tile(index, tile),
                |state, index, tile, outputs| sweep.take(state, index, tile, outputs),
            )?;
            pixels = state.pixels;
            n_sweeps += 1;
            let fresh = state.merger.finish(&self.contract, padding_ratio(plan));
            if n_sweeps > 1 {
                movements.push(movement(&self.contract, &known.values, &fresh, n_sweeps));
            }
            known.update(&self.contract, fresh, n_sweeps);
            if let Some(show) = &mut show {
                show(n_sweeps, &pixels.clone().into_image(image, plan));
            }
            if let SweepCount::Auto { tolerance } = count
                && let [.., before, last] = movements[..]
                && before <= tolerance
                && last <= tolerance
            {
                break;
            }
        }
        Ok(SweptImage {
            image: pixels.into_image(image, plan),
            n_sweeps,
            movements,
            is_exact: n_sweeps > depth,
        })
    }
}

/// Sweeps after which two movements are known.
const FEWEST_FOR_AUTO: usize = 3;

/// Pixels of the padded image over those of a tile.
fn padding_ratio(plan: &TilePlan) -> f64 {
    let (padded, tile) = (plan.padded_px(), plan.tile_size());
    (padded.height as f64 * padded.width as f64) / (tile.height as f64 * tile.width as f64)
}

/// What is known of the statistics of the image.
struct Known {
    /// In float64, in the order of the contract.
    values: Vec<Vec<f64>>,
    /// The inputs of the model behind its weight maps.
    tensors: Vec<HostTensor>,
    /// 0 before the first sweep, 1 after it.
    switch: HostTensor,
}

impl Known {
    fn none(contract: &SweepContract) -> Self {
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

    /// Takes over what the sweep of this number merged, apart from what was exact before it.
    fn update(&mut self, contract: &SweepContract, fresh: Vec<Vec<f64>>, n_sweeps: usize) {
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

/// Sees the image after a sweep of this number, which counts from 1.
pub type ShowSweep<'a> = dyn FnMut(usize, &PlanarImage) + 'a;

/// What the workers of one sweep share.
struct Sweep<'a> {
    runner: &'a SweptRunner<'a>,
    session: &'a dyn Session,
    image: &'a PlanarImage,
    plan: &'a TilePlan,
    known: &'a Known,
    places_pixels: bool,
}

/// What the workers of one sweep write.
struct SweepState {
    merger: Merger,
    /// Statistics of tiles that finished before an earlier one.
    waiting: BTreeMap<usize, Vec<HostTensor>>,
    pixels: Pixels,
}

impl Sweep<'_> {
    fn run_tile(&self, index: usize, tile: &Tile) -> Result<Vec<HostTensor>, RunTiledError> {
        let contract = &self.runner.contract;
        let image = crop_tile(self.image, self.plan, tile, self.runner.value_range);
        let core = self.whole_core(tile);
        let mut inputs = vec![image, self.known.switch.clone()];
        inputs.extend(contract.weights.iter().map(|map| weights(map, tile, core)));
        inputs.extend(self.known.tensors.iter().cloned());
        self.session
            .run(&inputs)
            .map_err(|source| RunTiledError::Tile {
                index,
                input: tile.input,
                source,
            })
    }

    /// The core with the padding behind it: the whole-image run takes statistics of that too.
    fn whole_core(&self, tile: &Tile) -> Rect {
        let (image, padded) = (self.image.size(), self.plan.padded_px());
        let mut core = tile.core;
        if core.bottom() == image.height {
            core.height = padded.height - core.top;
        }
        if core.right() == image.width {
            core.width = padded.width - core.left;
        }
        core
    }

    /// Merges the statistics of a tile, as soon as those of all tiles before it are merged, and keeps its pixels.
    fn take(
        &self,
        state: &mut SweepState,
        index: usize,
        tile: &Tile,
        mut outputs: Vec<HostTensor>,
    ) -> Result<(), RunTiledError> {
        let statistics = outputs.split_off(1);
        if self.places_pixels {
            let (plan, range) = (self.plan, self.runner.value_range);
            let planes = self.image.channels();
            state.pixels.place(plan, planes, tile, &outputs[0], range)?;
        }
        state.waiting.insert(index, statistics);
        while let Some(statistics) = state.waiting.remove(&state.merger.n_merged()) {
            let core = self.whole_core(&self.plan.tile(state.merger.n_merged()));
            let weight = core.height as f64 * core.width as f64;
            let contract = &self.runner.contract;
            state.merger.add(contract, &statistics, weight);
        }
        Ok(())
    }
}

/// Rows and columns of a weight map for a tile of this size.
fn map_size(map: &WeightMap, tile: Size) -> [usize; 2] {
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

/// The state behind a lock; a worker that panicked takes the whole run with it, so what it left is never looked at.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
