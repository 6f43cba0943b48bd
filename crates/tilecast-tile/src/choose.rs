//! The tiles of least work that fit into memory.
//!
//! One search covers every shape: for each number of tiles down and across, the smallest tile that gives it. One across
//! is full-width strips, which pay the halo on one axis only; one of each is the whole image. What a choice costs is the
//! pixels that are fed, halos included, shared by the tiles that run at the same time.
//!
//! What it takes is known before it runs: the process and the weights, the rows in memory (those a row of tiles is fed
//! from and those it gives), and per tile in flight its live tensors, from the engine's plan. Where the engine has none,
//! a rule of thumb gives the side, and says so.

use crate::{PlanError, Size, TilePlan, TileRequest};

/// Tiles that no image needs: more across than this are not considered.
const MAX_TILES_PER_AXIS: usize = 256;

/// Choices whose cost differs by less than this share count as equal; then the one that takes less memory is better.
const EQUAL_COST: f64 = 0.01;

/// What starting one more tile costs, in pixels of a tile: copying it in and out, and the starts of its operators.
const TILE_OVERHEAD_PX: usize = 2048;

/// Bytes that a tile in flight takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TileMemory {
    /// So much per pixel of the tile, and so much besides.
    PerPixel {
        /// Bytes per pixel that is fed.
        bytes_per_px: f64,
        /// Bytes whatever the size.
        fixed_bytes: f64,
    },
    /// The engine cannot tell.
    Unknown,
}

impl TileMemory {
    /// What a tile of this size takes; `None` where it is not known. Saturates.
    #[must_use]
    pub fn bytes(self, tile: Size) -> Option<u64> {
        match self {
            Self::PerPixel {
                bytes_per_px,
                fixed_bytes,
            } => {
                Some((bytes_per_px * (tile.height as f64 * tile.width as f64) + fixed_bytes) as u64)
            }
            Self::Unknown => None,
        }
    }

    /// The line through what two tiles take. Activations are proportional to the pixels of a tile, so two points tell all.
    #[must_use]
    pub fn through(small: (Size, u64), large: (Size, u64)) -> Self {
        let px = |size: Size| size.height as f64 * size.width as f64;
        let run = px(large.0) - px(small.0);
        if run <= 0.0 || large.1 <= small.1 {
            return Self::Unknown;
        }
        let bytes_per_px = (large.1 - small.1) as f64 / run;
        Self::PerPixel {
            bytes_per_px,
            fixed_bytes: (small.1 as f64 - bytes_per_px * px(small.0)).max(0.0),
        }
    }
}

/// What tiles are chosen for.
pub struct TileChoice<'a> {
    /// Image and geometry; [`TileRequest::tile_px`] does not count.
    pub request: TileRequest,
    /// Bytes that the process may take.
    pub budget_bytes: u64,
    /// Bytes that it takes whatever the tiles: itself, the weights, what reading and writing the image holds.
    pub fixed_bytes: u64,
    /// Bytes of a tile in flight.
    pub tile: TileMemory,
    /// See [`TilePlan::with_ramp`].
    pub ramp_px: usize,
    /// Bytes of image rows in memory with a plan.
    pub rows: &'a dyn Fn(&TilePlan) -> u64,
    /// Most tiles at the same time.
    pub max_workers: usize,
}

/// Tiles, how many run at the same time, and what that takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChosenTiles {
    /// Where they lie.
    pub plan: TilePlan,
    /// Tiles at the same time.
    pub n_workers: usize,
    /// Predicted peak of the process, bytes.
    pub peak_bytes: u64,
    /// Pixels that are fed per pixel of the image: 1 without any halo.
    pub work_ratio: f64,
    /// Whether a rule of thumb chose them, because the engine cannot tell what a tile takes.
    pub is_fallback: bool,
}

/// Why no tiles were chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChooseTilesError {
    /// The image cannot be cut as requested.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Not even the smallest tile fits.
    #[error(
        "nothing fits into {budget_bytes} bytes: the choice that takes least, tiles of {tile_px} px one at a time, takes \
         {least_bytes} bytes; allow at least so much"
    )]
    TooLittleMemory {
        /// Bytes that were allowed.
        budget_bytes: u64,
        /// What the smallest choice takes.
        least_bytes: u64,
        /// Its tiles.
        tile_px: Size,
    },
}

impl TileChoice<'_> {
    /// The tiles of least work that fit.
    ///
    /// # Errors
    /// Nothing fits, or the image cannot be cut at all.
    pub fn choose(&self) -> Result<ChosenTiles, ChooseTilesError> {
        if self.tile == TileMemory::Unknown {
            return self.fallback();
        }
        let whole = TilePlan::with_tile_size(&self.request, None)?;
        let mut least = self.weigh(whole, 1);
        let mut fitting: Vec<ChosenTiles> = Vec::new();
        for n_down in 1..=MAX_TILES_PER_AXIS {
            for n_across in 1..=MAX_TILES_PER_AXIS {
                let Some(plan) = self.plan_of(n_down, n_across) else {
                    break;
                };
                for n_workers in 1..=self.max_workers.clamp(1, plan.n_tiles()) {
                    let choice = self.weigh(plan, n_workers);
                    if choice.peak_bytes < least.peak_bytes {
                        least = choice;
                    }
                    if choice.peak_bytes <= self.budget_bytes {
                        fitting.push(choice);
                    }
                }
            }
        }
        let lowest_cost = fitting.iter().map(cost).fold(f64::INFINITY, f64::min);
        fitting
            .into_iter()
            .filter(|choice| cost(choice) <= lowest_cost * (1.0 + EQUAL_COST))
            .min_by_key(|choice| choice.peak_bytes)
            .ok_or(ChooseTilesError::TooLittleMemory {
                budget_bytes: self.budget_bytes,
                least_bytes: least.peak_bytes,
                tile_px: least.plan.tile_size(),
            })
    }

    /// Predicts what given tiles take, with as many at the same time as fit, at least one.
    #[must_use]
    pub fn predict(&self, plan: TilePlan) -> ChosenTiles {
        (1..=self.max_workers.clamp(1, plan.n_tiles()))
            .rev()
            .map(|n_workers| self.weigh(plan, n_workers))
            .find(|choice| choice.n_workers == 1 || choice.peak_bytes <= self.budget_bytes)
            .unwrap_or_else(|| self.weigh(plan, 1))
    }

    /// The smallest tile that cuts the image into so many; `None` where there is no such tile.
    fn plan_of(&self, n_down: usize, n_across: usize) -> Option<TilePlan> {
        let image = self.request.image_px;
        let tile = Size {
            height: self.side_of(image.height, n_down)?,
            width: self.side_of(image.width, n_across)?,
        };
        let plan = TilePlan::with_tile_size(&self.request, Some(tile))
            .and_then(|plan| plan.with_ramp(self.ramp_px))
            .ok()?;
        (plan.n_tile_rows() == n_down && plan.n_columns() == n_across).then_some(plan)
    }

    /// The side of the smallest tile that cuts `length` into `n`.
    fn side_of(&self, length: usize, n: usize) -> Option<usize> {
        let alignment = self.request.alignment_px.max(1);
        let padded = length.checked_next_multiple_of(alignment)?;
        if n == 1 {
            return Some(padded);
        }
        let halos = self.request.halo_px?.checked_mul(2)?;
        let core = padded
            .checked_sub(halos)?
            .div_ceil(n)
            .checked_next_multiple_of(alignment)?;
        Some(core + halos)
    }

    fn weigh(&self, plan: TilePlan, n_workers: usize) -> ChosenTiles {
        let tile = plan.tile_size();
        let in_flight = self
            .tile
            .bytes(tile)
            .unwrap_or(0)
            .saturating_mul(n_workers as u64);
        let image = self.request.image_px;
        let fed_px = plan.n_tiles() as f64 * tile.height as f64 * tile.width as f64;
        ChosenTiles {
            plan,
            n_workers,
            peak_bytes: self
                .fixed_bytes
                .saturating_add((self.rows)(&plan))
                .saturating_add(in_flight),
            work_ratio: fed_px / (image.height as f64 * image.width as f64),
            is_fallback: self.tile == TileMemory::Unknown,
        }
    }

    /// The field's rule of thumb: 64 channels of 8 tensors in two copies.
    fn fallback(&self) -> Result<ChosenTiles, ChooseTilesError> {
        let n_workers = self.max_workers.max(1);
        let side = fallback_side(self.budget_bytes / n_workers as u64);
        let core = self.request.alignment_px.max(self.ramp_px);
        let minimum = 2 * self.request.halo_px.unwrap_or(0) + core;
        let tile = Size {
            height: side.max(minimum),
            width: side.max(minimum),
        };
        let plan = TilePlan::with_tile_size(&self.request, Some(tile))?.with_ramp(self.ramp_px)?;
        Ok(self.weigh(plan, n_workers.min(plan.n_tiles())))
    }
}

/// Side of a tile, pixels, for models of which nothing is known: sqrt(budget / (64 · 2 · 8)) within 128 and 1024, a
/// multiple of 32.
#[must_use]
pub fn fallback_side(budget_bytes: u64) -> usize {
    let side = (budget_bytes / (64 * 2 * 8)).isqrt() as usize;
    side.clamp(128, 1024) / 32 * 32
}

/// Time of a choice, in pixels that one worker is fed.
fn cost(choice: &ChosenTiles) -> f64 {
    let tile = choice.plan.tile_size();
    let rounds = choice.plan.n_tiles().div_ceil(choice.n_workers);
    rounds as f64 * (tile.height as f64 * tile.width as f64 + TILE_OVERHEAD_PX as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fill, UnalignedSizes};

    const MIB: u64 = 1 << 20;

    fn request(height: usize, width: usize) -> TileRequest {
        TileRequest {
            image_px: Size { height, width },
            tile_px: None,
            halo_px: Some(32),
            alignment_px: 16,
            scale: 1,
            fill: Fill::Zero,
            unaligned: UnalignedSizes::Accepted,
        }
    }

    fn choose(
        request: TileRequest,
        budget_bytes: u64,
        max_workers: usize,
    ) -> Result<ChosenTiles, ChooseTilesError> {
        let rows = |plan: &TilePlan| {
            let fed = plan.rows_fed(0).len() + plan.rows_kept(0).len();
            (fed * plan.request().image_px.width * 12) as u64
        };
        TileChoice {
            request,
            budget_bytes,
            fixed_bytes: 40 * MIB,
            tile: TileMemory::PerPixel {
                bytes_per_px: 500.0,
                fixed_bytes: 0.0,
            },
            ramp_px: 0,
            rows: &rows,
            max_workers,
        }
        .choose()
    }

    #[test]
    fn what_fits_whole_is_not_cut_when_one_worker_has_it() {
        let chosen = choose(request(500, 500), 512 * MIB, 1).unwrap();
        assert_eq!(chosen.plan.n_tiles(), 1);
        let shared = choose(request(500, 500), 512 * MIB, 2).unwrap();
        assert_eq!((shared.plan.n_tiles(), shared.n_workers), (2, 2));
    }

    #[test]
    fn tiles_fit_and_shrink_with_the_budget() {
        let image = request(8000, 12_000);
        let mut last = f64::INFINITY;
        for budget in [128, 192, 256, 512, 1024, 4096] {
            let chosen = choose(image, budget * MIB, 2).unwrap();
            assert!(chosen.peak_bytes <= budget * MIB, "{chosen:?}");
            let cost = cost(&chosen);
            assert!(
                cost <= last * (1.0 + EQUAL_COST),
                "{budget} MiB: {chosen:?}"
            );
            last = cost;
        }
    }

    #[test]
    fn narrow_images_are_cut_into_strips() {
        let chosen = choose(request(8000, 300), 200 * MIB, 2).unwrap();
        assert_eq!(chosen.plan.n_columns(), 1);
        assert!(chosen.plan.n_tile_rows() > 1);
    }

    #[test]
    fn too_little_memory_names_what_is_needed() {
        let error = choose(request(8000, 12_000), 41 * MIB, 2).unwrap_err();
        let ChooseTilesError::TooLittleMemory { least_bytes, .. } = error else {
            panic!("{error}");
        };
        assert!(choose(request(8000, 12_000), least_bytes, 2).is_ok());
        assert!(choose(request(8000, 12_000), least_bytes - 1, 2).is_err());
    }

    #[test]
    fn without_a_bound_of_the_halo_only_the_whole_image_is_left() {
        let global = TileRequest {
            halo_px: None,
            ..request(1000, 1000)
        };
        assert_eq!(choose(global, 1024 * MIB, 2).unwrap().plan.n_tiles(), 1);
        assert!(choose(global, 256 * MIB, 2).is_err());
    }

    #[test]
    fn the_rule_of_thumb_has_its_bounds() {
        for (mib, side) in [(1, 128), (64, 256), (512, 704), (8192, 1024)] {
            assert_eq!(fallback_side(mib * MIB), side, "{mib} MiB");
        }
        let rows = |_: &TilePlan| 0;
        let choice = TileChoice {
            request: request(4000, 4000),
            budget_bytes: 512 * MIB,
            fixed_bytes: 0,
            tile: TileMemory::Unknown,
            ramp_px: 0,
            rows: &rows,
            max_workers: 1,
        };
        let chosen = choice.choose().unwrap();
        assert!(chosen.is_fallback);
        assert_eq!(chosen.plan.tile_px(), 704);
    }

    #[test]
    fn two_tiles_give_the_line() {
        let square = |side| Size {
            height: side,
            width: side,
        };
        let tile = TileMemory::through((square(10), 1500), (square(20), 4500));
        assert_eq!(
            tile,
            TileMemory::PerPixel {
                bytes_per_px: 10.0,
                fixed_bytes: 500.0
            }
        );
        assert_eq!(tile.bytes(square(100)), Some(100_500));
        let flat = TileMemory::through((square(10), 1500), (square(20), 1500));
        assert_eq!(flat, TileMemory::Unknown);
    }
}
