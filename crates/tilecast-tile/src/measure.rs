//! What a tile in flight takes, from the engine's plan and one tile that is run.
//!
//! The engine's plan gives the live tensors of a tile. They are proportional to its pixels, so the plans of two small
//! tiles give them for every size. What kernels allocate besides is in no plan: the larger of the two tiles is run, and what the
//! allocator handed out meanwhile gives the factor.

use std::sync::Arc;
use std::time::Instant;

use tilecast_exec::{HostTensor, Session, SessionOptions};

use crate::process_memory::ProcessMemory;
use crate::{RunTiledError, Size, TileMemory, TiledRunner};

/// Live tensors are multiplied by this where memory cannot be measured.
const ASSUMED_SCRATCH: f64 = 1.25;

/// Measured factors are kept within these bounds. What is above is a disturbance, not the engine; what is a little below
/// are tensors that share memory.
const SCRATCH_BOUNDS: (f64, f64) = (1.0, 4.0);

/// Below this a measurement has missed the tile.
const LEAST_SCRATCH: f64 = 0.5;

/// What tiles of a model take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TileStudy {
    /// A tile in flight, with what kernels allocate. Weights are not among it.
    pub tile: TileMemory,
    /// Weights and the engine's plan, once for all tiles, bytes.
    pub weights_bytes: u64,
    /// What kernels allocate, as a factor on live tensors.
    pub scratch: f64,
    /// Whether `scratch` was measured.
    pub is_measured: bool,
    /// What one worker takes for a pixel that is fed, seconds.
    pub seconds_per_px: f64,
    /// Bytes of the process when the model was ready to run, weights not included; `None` where the system does not tell.
    pub process_bytes: Option<u64>,
}

/// A model of which tiles are studied.
pub(crate) struct StudiedModel<'a> {
    /// A session for tiles of a size.
    pub(crate) load: &'a dyn Fn(Size) -> Result<Arc<dyn Session>, RunTiledError>,
    /// What a tile of a size can be fed.
    pub(crate) inputs: &'a dyn Fn(Size) -> Vec<HostTensor>,
    /// Bytes of its initializers.
    pub(crate) stored_bytes: u64,
}

impl StudiedModel<'_> {
    /// Prepares tiles of two sizes, both multiples of the model's alignment, and runs the larger one.
    ///
    /// # Errors
    /// The engine cannot prepare or run the model.
    pub(crate) fn study(&self, small: Size, large: Size) -> Result<TileStudy, RunTiledError> {
        let small_bytes = (self.load)(small)?.peak_live_bytes() as u64;
        let session = (self.load)(large)?;
        let n_pixels = large.height as f64 * large.width as f64;
        let live = TileMemory::through(
            (small, small_bytes),
            (large, session.peak_live_bytes() as u64),
        );
        let TileMemory::PerPixel {
            bytes_per_px,
            fixed_bytes,
        } = live
        else {
            return Ok(TileStudy {
                tile: TileMemory::Unknown,
                weights_bytes: self.stored_bytes,
                scratch: ASSUMED_SCRATCH,
                is_measured: false,
                seconds_per_px: self.run_twice(session.as_ref(), large)?.seconds / n_pixels,
                process_bytes: None,
            });
        };
        let ready = ProcessMemory::now();
        let runs = self.run_twice(session.as_ref(), large)?;
        let measured = runs
            .growth_bytes
            .map(|growth| growth as f64 / (bytes_per_px * n_pixels))
            .filter(|factor| *factor >= LEAST_SCRATCH);
        let (least, most) = SCRATCH_BOUNDS;
        let scratch = measured.map_or(ASSUMED_SCRATCH, |factor| factor.clamp(least, most));
        Ok(TileStudy {
            tile: TileMemory::PerPixel {
                bytes_per_px: bytes_per_px * scratch,
                fixed_bytes: 0.0,
            },
            weights_bytes: fixed_bytes as u64,
            scratch,
            is_measured: measured.is_some(),
            seconds_per_px: runs.seconds / n_pixels,
            process_bytes: ready
                .map(|memory| memory.resident_bytes.saturating_sub(fixed_bytes as u64)),
        })
    }

    /// Runs one tile twice: the second run has warm caches.
    fn run_twice(&self, session: &dyn Session, tile_px: Size) -> Result<TwoRuns, RunTiledError> {
        let inputs = (self.inputs)(tile_px);
        tilecast_alloc::begin_peak();
        let before = tilecast_alloc::usage().live_bytes;
        let mut seconds = 0.0;
        for _ in 0..2 {
            let start = Instant::now();
            session
                .run(&inputs)
                .map_err(|source| RunTiledError::of_probe(tile_px, source))?;
            seconds = start.elapsed().as_secs_f64();
        }
        let growth = tilecast_alloc::usage().peak_bytes.saturating_sub(before);
        Ok(TwoRuns {
            growth_bytes: (growth > 0).then_some(growth as u64),
            seconds,
        })
    }
}

impl TiledRunner<'_> {
    /// Prepares tiles of two sizes, both multiples of the model's alignment, and runs the larger one.
    ///
    /// # Errors
    /// The engine cannot prepare or run the model.
    pub fn study_tiles(&self, small: Size, large: Size) -> Result<TileStudy, RunTiledError> {
        let studied = StudiedModel {
            load: &|tile_px| self.load_apart(tile_px),
            inputs: &|tile_px| {
                let dims = self.tile_dims(tile_px);
                let n = dims.iter().product();
                vec![HostTensor::new(dims, vec![0.5; n])]
            },
            stored_bytes: self.model.stored_bytes(),
        };
        studied.study(small, large)
    }

    /// A session that is not kept.
    pub(crate) fn load_apart(&self, tile_px: Size) -> Result<Arc<dyn Session>, RunTiledError> {
        let dims = self.tile_dims(tile_px);
        let options = SessionOptions {
            input_shapes: vec![(self.input_name.clone(), dims)],
            ..SessionOptions::default()
        };
        self.engine
            .load(self.model, &options)
            .map_err(|source| RunTiledError::Load { tile_px, source })
    }

    fn tile_dims(&self, tile_px: Size) -> Vec<usize> {
        vec![1, self.network_planes(), tile_px.height, tile_px.width]
    }
}

/// What two runs of one tile showed.
struct TwoRuns {
    /// Bytes that a run allocates; `None` where the program has another allocator.
    growth_bytes: Option<u64>,
    /// Time of the second.
    seconds: f64,
}
