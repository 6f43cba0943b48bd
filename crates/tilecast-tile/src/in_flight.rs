//! Tiles in flight: how many there may be, and the workers that take them in order.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tilecast_exec::Session;

use crate::{RunControl, RunTiledError, Tile, TilePlan};

/// How many tiles may be in flight at once: by default one per thread of the rayon pool that a run is called from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct InFlight {
    pub(crate) most: Option<NonZeroUsize>,
    /// What their predicted peaks may take together, bytes; one tile is let through in any case.
    pub(crate) memory_bytes: Option<u64>,
}

impl InFlight {
    /// Tiles of this plan that may be in flight, whatever they take.
    pub(crate) fn of_plan(self, plan: &TilePlan) -> usize {
        let limit = self.most.map_or(usize::MAX, NonZeroUsize::get);
        rayon::current_num_threads().min(limit).min(plan.n_tiles())
    }

    /// Tiles whose predicted peaks fit into the memory limit together, but at least one.
    fn fitting(self, session: &dyn Session) -> usize {
        self.memory_bytes.map_or(usize::MAX, |bytes| {
            let per_tile = session.peak_live_bytes().max(1) as u64;
            usize::try_from(bytes / per_tile).map_or(usize::MAX, |n| n.max(1))
        })
    }

    /// Workers for a run: by both limits, and by the caller's.
    pub(crate) fn workers(
        self,
        plan: &TilePlan,
        session: &dyn Session,
        control: &RunControl<'_>,
    ) -> usize {
        let limit = control.max_workers.map_or(usize::MAX, NonZeroUsize::get);
        let fitting = self.fitting(session);
        self.of_plan(plan).min(fitting).min(limit)
    }
}

/// One pass over all tiles of a plan.
pub(crate) struct Pass<'a> {
    pub(crate) plan: &'a TilePlan,
    pub(crate) n_workers: usize,
    pub(crate) control: &'a RunControl<'a>,
    /// Tiles of earlier passes, for progress.
    pub(crate) n_before: usize,
    /// Tiles of all passes.
    pub(crate) n_all: usize,
}

/// What the workers of a pass write.
struct Shared<S> {
    n_done: usize,
    state: S,
    /// The failure of the lowest tile so far.
    failure: Option<(usize, RunTiledError)>,
}

impl Pass<'_> {
    /// Runs every tile and takes its result into `state`, one at a time and in the order in which tiles finish. Tiles are started in
    /// their order, so the first one that must fail is started before any later one.
    ///
    /// # Errors
    /// That of the first tile that fails, or [`RunTiledError::Interrupted`].
    pub(crate) fn over<S: Send, T>(
        &self,
        state: S,
        run: impl Fn(usize, &Tile) -> Result<T, RunTiledError> + Sync,
        take: impl Fn(&mut S, usize, &Tile, T) -> Result<(), RunTiledError> + Sync,
    ) -> Result<S, RunTiledError> {
        let next_tile = AtomicUsize::new(0);
        let stopped = AtomicBool::new(false);
        let shared = Mutex::new(Shared {
            n_done: 0,
            state,
            failure: None,
        });
        let work = || {
            while !stopped.load(Ordering::Relaxed) {
                let index = next_tile.fetch_add(1, Ordering::Relaxed);
                if index >= self.plan.n_tiles() {
                    return;
                }
                let tile = self.plan.tile(index);
                let is_cancelled = self.control.cancelled.load(Ordering::Relaxed);
                let result = (!is_cancelled).then(|| run(index, &tile));
                // A worker that panicked takes the whole run with it, so what it left is never looked at.
                let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let taken = match result {
                    None => Err(RunTiledError::Interrupted {
                        n_done: self.n_before + shared.n_done,
                        n_tiles: self.n_all,
                    }),
                    Some(Err(error)) => Err(error),
                    Some(Ok(result)) => take(&mut shared.state, index, &tile, result),
                };
                match taken {
                    Ok(()) => {
                        shared.n_done += 1;
                        (self.control.progress)(self.n_before + shared.n_done, self.n_all);
                    }
                    Err(error) => {
                        stopped.store(true, Ordering::Relaxed);
                        let first = shared.failure.as_ref().map(|(first, _)| *first);
                        if first.is_none_or(|first| index < first) {
                            shared.failure = Some((index, error));
                        }
                    }
                }
            }
        };
        rayon::scope(|scope| {
            for _ in 0..self.n_workers {
                scope.spawn(|_| work());
            }
        });
        let shared = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        match shared.failure {
            Some((_, error)) => Err(error),
            None => Ok(shared.state),
        }
    }
}
