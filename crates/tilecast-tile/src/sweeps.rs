//! Running a model over an image in tiles that share statistics of the whole image.
//!
//! All tiles are run, the statistics of their cores are merged, and all tiles are run again with the merged ones, as
//! [`tilecast_analysis::SweepContract`] says. Beside what a single run in tiles holds, there are the statistics of the image, of the
//! tiles in flight, and of those that finished before an earlier one did.
//!
//! Where the halo makes most of a tile, the first sweeps are drafts: tiles with little halo, so fewer of them or smaller ones.
//! Their statistics are a little off at the borders of tiles, by far less than what the first sweeps are off by anyway.
//!
//! Tiles are merged in their order, in float64, so the number of threads leaves no trace in the result.
//!
//! Reading order: [`SweptRunner`] (a model, bound) → [`SweepRun`] (sweep after sweep, over an image in memory or over rows) →
//! `inject` (what a tile is fed beside its pixels) → `merge` (what its statistics become).

mod inject;
mod merge;

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tilecast_analysis::SweepContract;
use tilecast_exec::{Engine, HostTensor, Session, SessionOptions};
use tilecast_onnx::Model;

use crate::crop::crop_tile;
use crate::image_file::{RowSink, RowSource};
use crate::in_flight::{InFlight, Pass};
use crate::measure::{StudiedModel, TileStudy};
use crate::pixels::Pixels;
use crate::session_cache::{InputDims, SessionCache};
use crate::stream::{RowPass, RunRowsError, Wiring};
use crate::{
    PlanarImage, RunControl, RunTiledError, Size, TileObserver, TilePlan, TileRequest, ValueRange,
};

pub(crate) use inject::{Known, added_inputs};
pub(crate) use merge::Gathered;

use inject::map_size;
use merge::movement;

/// How often all tiles are run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SweepCount {
    /// This often, or as often as changes anything; after one draft, where that is cheaper and the count leaves something
    /// to gain.
    Exactly(NonZeroU32),
    /// Drafts, where they are cheaper, until they move little; then until no statistic moved by more than this in two
    /// successive sweeps, relative to its size (a mean that goes with a variance: relative to the spread), or as often as
    /// changes anything. One sweep that changes little is not enough: what the first levels still move may reach the last
    /// ones later.
    Auto {
        /// The largest movement, at least 0.
        tolerance: f64,
    },
}

impl SweepCount {
    /// Most tiles that a run takes with statistics of so many levels, drafts among them.
    #[must_use]
    pub fn most_tiles(self, plan: &TilePlan, depth: usize) -> usize {
        SweepSchedule::new(plan, self, depth).most_tiles()
    }
}

/// The result of a run with swept statistics.
#[derive(Clone, Debug)]
pub struct SweptImage {
    /// The image.
    pub image: PlanarImage,
    /// How it came about.
    pub facts: SweptFacts,
}

/// How often tiles were run, and what that came to.
#[derive(Clone, Debug, PartialEq)]
pub struct SweptFacts {
    /// Sweeps over all tiles with little halo, before the others.
    pub n_drafts: usize,
    /// Sweeps over all tiles with the whole halo.
    pub n_sweeps: usize,
    /// Tiles that were run in all of them.
    pub n_tiles_run: usize,
    /// Pixels that these tiles were fed.
    pub pixels_fed: u64,
    /// For each sweep from the second on, drafts among them: the largest movement of a statistic, relative to its size.
    pub movements: Vec<f64>,
    /// Whether every statistic was that of the whole image in the last sweep, up to rounding.
    pub is_exact: bool,
}

impl SweptFacts {
    /// Those of one run of all tiles with statistics of their own.
    #[must_use]
    pub fn unswept(plan: &TilePlan) -> Self {
        Self {
            n_drafts: 0,
            n_sweeps: 1,
            n_tiles_run: plan.n_tiles(),
            pixels_fed: plan.pixels_fed(),
            movements: Vec::new(),
            is_exact: plan.n_tiles() == 1,
        }
    }
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
        lock(&self.sessions)
            .get_or_load(dims, || {
                let options = self.session_options(tile_px, channels);
                self.engine.load(&self.model, &options)
            })
            .map_err(|source| RunTiledError::Load { tile_px, source })
    }

    fn session_options(&self, tile_px: Size, channels: usize) -> SessionOptions {
        let Size { height, width } = tile_px;
        let mut input_shapes = vec![
            (self.image_input.clone(), vec![1, channels, height, width]),
            (self.contract.switch.clone(), vec![1]),
        ];
        for map in &self.contract.weights {
            let [rows, columns] = map_size(map, tile_px);
            input_shapes.push((map.input.clone(), vec![1, 1, rows, columns]));
        }
        for statistic in &self.contract.statistics {
            input_shapes.push((statistic.input.clone(), statistic.dims.clone()));
        }
        SessionOptions {
            input_shapes,
            ..SessionOptions::default()
        }
    }

    /// Prepares tiles of two sizes, both multiples of the model's alignment, and runs the larger one. `channels` is how many
    /// planes the network takes.
    ///
    /// # Errors
    /// The engine cannot prepare or run the model.
    pub fn study_tiles(
        &self,
        small: Size,
        large: Size,
        channels: usize,
    ) -> Result<TileStudy, RunTiledError> {
        let studied = StudiedModel {
            load: &|tile_px| {
                let options = self.session_options(tile_px, channels);
                let loaded = self.engine.load(&self.model, &options);
                loaded.map_err(|source| RunTiledError::Load { tile_px, source })
            },
            inputs: &|tile_px| {
                let shapes = self.session_options(tile_px, channels).input_shapes;
                let tensors = shapes.into_iter().map(|(_, dims)| {
                    let n = dims.iter().product();
                    HostTensor::new(dims, vec![0.5; n])
                });
                tensors.collect()
            },
            stored_bytes: self.model.stored_bytes(),
        };
        studied.study(small, large)
    }

    /// Begins a run of `n_images` images that are fed by one plan: one, or as many as [`Wiring`] makes of a file.
    ///
    /// The sides of the plan's tiles must be multiples of the model's alignment period, which a plan of several tiles sees to;
    /// an image that is a single tile needs no sweeps.
    fn begin(&self, plan: &TilePlan, n_images: usize, count: SweepCount) -> SweepRun<'_> {
        SweepRun {
            runner: self,
            schedule: SweepSchedule::new(plan, count, self.contract.depth),
            known: (0..n_images).map(|_| Known::none(&self.contract)).collect(),
            n_tiles_run: 0,
            pixels_fed: 0,
        }
    }

    /// Begins a run over the rows of an image; see [`SweepRun::sweep_rows`].
    #[must_use]
    pub fn begin_rows(&self, plan: &TilePlan, wiring: &Wiring, count: SweepCount) -> SweepRun<'_> {
        self.begin(plan, wiring.n_runs(), count)
    }

    /// Runs the model over the image, `count` times over all tiles. Values of the result are not clamped. The same image, plan
    /// and engine give the same bits on any number of threads.
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
        self.run_observed(image, plan, count, control, None)
    }

    /// As [`SweptRunner::run`]; an observer sees the tiles of every sweep that may be the last.
    ///
    /// # Errors
    /// As [`SweptRunner::run`].
    pub fn run_observed(
        &self,
        image: &PlanarImage,
        plan: &TilePlan,
        count: SweepCount,
        control: &RunControl<'_>,
        mut observer: Option<&mut dyn TileObserver>,
    ) -> Result<SweptImage, RunTiledError> {
        let planned = plan.request().image_px;
        if planned != image.size() {
            return Err(RunTiledError::WrongImage {
                planned,
                found: image.size(),
            });
        }
        let mut run = self.begin(plan, 1, count);
        let mut pixels = Pixels::default();
        while let Some(next) = run.next_sweep() {
            let seen = observer.as_mut().map(|o| &mut **o as &mut dyn TileObserver);
            pixels = run.sweep_image(image, &next, pixels, control, seen)?;
        }
        Ok(SweptImage {
            image: pixels.into_image(image, plan),
            facts: run.facts(),
        })
    }
}

/// A run in the making, sweep after sweep.
#[derive(Debug)]
pub struct SweepRun<'a> {
    runner: &'a SweptRunner<'a>,
    schedule: SweepSchedule,
    /// One per image.
    known: Vec<Known>,
    n_tiles_run: usize,
    pixels_fed: u64,
}

/// What the next sweep is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NextSweep {
    /// Its tiles.
    pub plan: TilePlan,
    /// Whether its tiles have little halo, so that what they give is no image.
    pub is_draft: bool,
    /// Whether it can turn out to be the last, whose pixels are the result. [`SweepRun::is_done`] tells afterwards.
    pub may_be_last: bool,
}

impl SweepRun<'_> {
    /// The next sweep, until the run is done.
    #[must_use]
    pub fn next_sweep(&self) -> Option<NextSweep> {
        self.schedule.next()
    }

    /// Whether the last sweep was the last one.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.schedule.next().is_none()
    }

    /// What was done so far.
    #[must_use]
    pub fn facts(&self) -> SweptFacts {
        let SweepSchedule {
            n_drafts, n_sweeps, ..
        } = self.schedule;
        SweptFacts {
            n_drafts,
            n_sweeps,
            n_tiles_run: self.n_tiles_run,
            pixels_fed: self.pixels_fed,
            movements: self.schedule.movements.clone(),
            is_exact: n_sweeps > self.schedule.depth,
        }
    }

    /// One sweep over the rows of `source`, from the first on, with as many tiles at the same time as the control allows.
    /// Rows of the result go to `sink`; without one the sweep takes statistics only. Results have the bits that
    /// [`SweptRunner::run`] gives for the same plan.
    ///
    /// # Errors
    /// See [`RunRowsError`]; of several failures that of the first tile is reported.
    ///
    /// # Panics
    /// The run is done.
    pub fn sweep_rows(
        &mut self,
        source: &mut dyn RowSource,
        sink: Option<&mut dyn RowSink>,
        wiring: &Wiring,
        control: &RunControl<'_>,
    ) -> Result<(), RunRowsError> {
        let next = self.next_sweep().expect("the run is not done");
        let runner = self.runner;
        let session = runner.session(&next.plan, wiring.fed())?;
        let pass = RowPass {
            n_workers: runner.in_flight.workers(&next.plan, &*session, control),
            session,
            plan: &next.plan,
            wiring,
            value_range: runner.value_range,
            contract: Some(&runner.contract),
            known: &self.known,
            n_before: self.n_tiles_run,
            n_all: self.schedule.most_tiles(),
        };
        let mut gathered = Gathered::new(&runner.contract, &next.plan, self.known.len());
        let sink = sink.map(|sink| sink as &mut dyn RowSink);
        pass.over(source, sink, Some(&mut gathered), control)?;
        self.absorb(&next, gathered.finish());
        Ok(())
    }

    /// One sweep over an image in memory.
    fn sweep_image(
        &mut self,
        image: &PlanarImage,
        next: &NextSweep,
        pixels: Pixels,
        control: &RunControl<'_>,
        mut observer: Option<&mut dyn TileObserver>,
    ) -> Result<Pixels, RunTiledError> {
        let (runner, plan, known) = (self.runner, &next.plan, &self.known[0]);
        let (contract, range) = (&runner.contract, runner.value_range);
        let session = runner.session(plan, image.channels())?;
        let pass = Pass {
            plan,
            n_workers: runner.in_flight.workers(plan, &*session, control),
            control,
            n_before: self.n_tiles_run,
            n_all: self.schedule.most_tiles(),
        };
        if let Some(observer) = &mut observer {
            observer.begin();
        }
        let state = (Gathered::new(contract, plan, 1), pixels, observer);
        let (gathered, pixels, _) = pass.over(
            state,
            |index, tile| {
                let mut inputs = vec![crop_tile(image, plan, tile, range)];
                inputs.extend(added_inputs(contract, plan, tile, known));
                session.run(&inputs).map_err(|source| RunTiledError::Tile {
                    index,
                    input: tile.input,
                    source,
                })
            },
            |(gathered, pixels, observer), index, tile, mut outputs| {
                let statistics = outputs.split_off(1);
                if next.may_be_last {
                    pixels.place(plan, image.channels(), tile, &outputs[0], range)?;
                    if let Some(observer) = observer {
                        observer.tile(index, tile, &outputs[0]);
                    }
                }
                gathered.take(index, vec![statistics]);
                Ok(())
            },
        )?;
        self.absorb(next, gathered.finish());
        Ok(pixels)
    }

    /// Takes over the statistics, image by image, that a sweep gathered.
    fn absorb(&mut self, next: &NextSweep, fresh: Vec<Vec<Vec<f64>>>) {
        let contract = &self.runner.contract;
        // What is exact before it, if it has the whole halo.
        let n_sweeps = self.schedule.n_sweeps + usize::from(!next.is_draft);
        let moved = self.known.iter().zip(&fresh);
        let moved = moved.map(|(known, fresh)| movement(contract, &known.values, fresh, n_sweeps));
        self.schedule.advance(next, moved.fold(0.0, f64::max));
        self.n_tiles_run += next.plan.n_tiles();
        self.pixels_fed += next.plan.pixels_fed();
        for (known, fresh) in self.known.iter_mut().zip(fresh) {
            known.update(contract, fresh, n_sweeps);
        }
        // A session that is not used again would make the peak that of two.
        let tile_px = |next: &NextSweep| next.plan.tile_size();
        if let Some(after) = self.next_sweep()
            && tile_px(&after) != tile_px(next)
        {
            lock(&self.runner.sessions).clear();
        }
    }
}

/// Which sweeps are made.
#[derive(Clone, Debug)]
struct SweepSchedule {
    plan: TilePlan,
    /// Tiles with little halo, where they are by far less work.
    draft: Option<TilePlan>,
    count: SweepCount,
    depth: usize,
    n_drafts: usize,
    n_sweeps: usize,
    movements: Vec<f64>,
}

/// The halo of drafts, as a share of the whole one.
const DRAFT_HALO: usize = 6;

/// Drafts are made where they feed no more than this share of the pixels.
const DRAFT_SHARE: (u64, u64) = (3, 4);

/// Statistics with fewer levels are exact after as many sweeps as drafts would save.
const LEAST_DEPTH_FOR_DRAFTS: usize = 3;

/// `Auto` ends drafts at so many times its tolerance: what is left is for the whole halo.
const DRAFT_TOLERANCE: f64 = 10.0;

impl SweepSchedule {
    fn new(plan: &TilePlan, count: SweepCount, depth: usize) -> Self {
        let gains = match count {
            SweepCount::Exactly(n) => (2..=depth).contains(&(n.get() as usize)),
            SweepCount::Auto { .. } => true,
        };
        let draft = if gains { draft_plan(plan, depth) } else { None };
        Self {
            plan: *plan,
            draft,
            count,
            depth,
            n_drafts: 0,
            n_sweeps: 0,
            movements: Vec::new(),
        }
    }

    /// Most drafts and most sweeps.
    fn limits(&self) -> (usize, usize) {
        let (drafts, sweeps) = match self.count {
            SweepCount::Exactly(n) => (1, (n.get() as usize).min(self.depth + 1)),
            // At worst all sweeps are needed after the drafts.
            SweepCount::Auto { .. } => (self.depth / 2, self.depth + 1),
        };
        (if self.draft.is_some() { drafts } else { 0 }, sweeps)
    }

    fn most_tiles(&self) -> usize {
        let (drafts, sweeps) = self.limits();
        let of_draft = self.draft.map_or(0, |draft| draft.n_tiles());
        drafts * of_draft + sweeps * self.plan.n_tiles()
    }

    fn next(&self) -> Option<NextSweep> {
        let (most_drafts, most_sweeps) = self.limits();
        if let Some(plan) = self.draft
            && self.n_sweeps == 0
            && self.n_drafts < most_drafts
            && self.drafts_pay()
        {
            return Some(NextSweep {
                plan,
                is_draft: true,
                may_be_last: false,
            });
        }
        let is_quiet = |movement: Option<&f64>| match self.count {
            SweepCount::Exactly(_) => false,
            SweepCount::Auto { tolerance } => movement.is_some_and(|m| *m <= tolerance),
        };
        let mut latest = self.movements.iter().rev();
        let (last, before) = (latest.next(), latest.next());
        let has_settled = self.n_sweeps >= 2 && is_quiet(last) && is_quiet(before);
        (self.n_sweeps < most_sweeps && !has_settled).then(|| NextSweep {
            plan: self.plan,
            is_draft: false,
            may_be_last: self.n_sweeps + 1 == most_sweeps || (self.n_sweeps >= 1 && is_quiet(last)),
        })
    }

    /// Whether one more draft comes nearer: not once they move little, or move more than before.
    fn drafts_pay(&self) -> bool {
        let enough = match self.count {
            SweepCount::Exactly(_) => 0.0,
            SweepCount::Auto { tolerance } => DRAFT_TOLERANCE * tolerance,
        };
        match self.movements[..] {
            [] => true,
            [last] => last > enough,
            [.., before, last] => last > enough && last < before,
        }
    }

    fn advance(&mut self, next: &NextSweep, movement: f64) {
        if self.n_drafts + self.n_sweeps > 0 {
            self.movements.push(movement);
        }
        if next.is_draft {
            self.n_drafts += 1;
        } else {
            self.n_sweeps += 1;
        }
    }
}

/// Halo of the drafts for tiles with a halo of `halo_px`, pixels; `None` for statistics of so few levels that drafts save
/// nothing.
#[must_use]
pub fn draft_halo_px(halo_px: usize, alignment_px: usize, depth: usize) -> Option<usize> {
    let halo_px = halo_px
        .div_ceil(DRAFT_HALO)
        .checked_next_multiple_of(alignment_px.max(1))?;
    (depth >= LEAST_DEPTH_FOR_DRAFTS).then_some(halo_px)
}

/// The plan of drafts for an image, where they are worth it: in fewer tiles of the same size, whose session is that of the
/// sweeps; or else in smaller tiles.
fn draft_plan(plan: &TilePlan, depth: usize) -> Option<TilePlan> {
    let request = *plan.request();
    let halo_px = draft_halo_px(request.halo_px?, request.alignment_px, depth)?;
    let request = TileRequest {
        halo_px: Some(halo_px),
        ..request
    };
    let (part, of) = DRAFT_SHARE;
    let most = plan.pixels_fed().saturating_mul(part);
    let pays = |draft: &TilePlan| draft.pixels_fed().saturating_mul(of) <= most;
    let fewer = TilePlan::with_tile_size(&request, Some(plan.tile_size())).ok()?;
    if fewer.tile_size() == plan.tile_size() && pays(&fewer) {
        return Some(fewer);
    }
    if plan.is_fixed() {
        return None;
    }
    let smaller = TilePlan::with_tile_size(&request, Some(fewer.smallest_tile())).ok()?;
    pays(&smaller).then_some(smaller)
}

/// The state behind a lock; a worker that panicked takes the whole run with it, so what it left is never looked at.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
