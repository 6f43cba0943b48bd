//! Tiles for an image: of a given side, or those of least work within a memory limit.

use std::time::Instant;

use tilecast_tile::{
    ChosenTiles, ProcessMemory, RunTiledError, Size, TileChoice, TileMemory, TilePlan, TileStudy,
};

use crate::Failure;
use crate::context::{Context, Event};
use crate::geometry::Geometry;
use crate::verbs::plan::PlannedMemory;

/// Sides of the two tiles from which all others are predicted, pixels, before they are aligned.
const STUDIED_PX: [usize; 2] = [128, 256];

/// Tiles are chosen for this share of the memory: predictions are within a tenth, and the limit is to hold.
const USED_SHARE: (u64, u64) = (9, 10);

/// No tile is smaller than this for the sake of memory, pixels.
const SMALLEST_PX: usize = 128;

/// What the process takes where the system does not tell, bytes.
const ASSUMED_PROCESS_BYTES: u64 = 48 << 20;

/// What a model's tiles take, and how an image may be cut.
#[derive(Clone, Copy)]
pub(crate) struct Tiler<'a> {
    geometry: &'a Geometry,
    /// See [`TilePlan::with_ramp`].
    ramp_px: usize,
    study: TileStudy,
    /// Bytes of the process before any image.
    process_bytes: u64,
}

/// What one image takes apart from the tiles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImageMemory {
    /// Planes of the image that a tile in flight holds, of its input and of its output.
    pub(crate) planes_in_flight: (usize, usize),
    /// Bytes that reading and writing hold.
    pub(crate) files_bytes: u64,
}

impl<'a> Tiler<'a> {
    /// Studies a model by tiles of two sizes; runs the second.
    ///
    /// # Errors
    /// The engine cannot prepare or run the model.
    pub(crate) fn new(
        study: impl FnOnce(Size, Size) -> Result<TileStudy, RunTiledError>,
        geometry: &'a Geometry,
        cx: &Context<'_>,
    ) -> Result<Self, Failure> {
        let start = Instant::now();
        let stage = "study memory";
        cx.emit(&Event::Started {
            stage,
            unit: "",
            total: 0,
        });
        let resident = ProcessMemory::now().map(|memory| memory.resident_bytes);
        let alignment = geometry.analysis().alignment_px.max(1);
        let [small, large] = STUDIED_PX.map(|side| {
            let side = side.next_multiple_of(alignment);
            Size {
                height: side,
                width: side,
            }
        });
        let large = if large == small {
            Size {
                height: 2 * small.height,
                width: 2 * small.width,
            }
        } else {
            large
        };
        let (small, large) = match geometry.fixed_tile() {
            Some(fixed_px) => (fixed_px, fixed_px),
            None => (small, large),
        };
        let study = study(small, large)?;
        cx.emit(&Event::Finished {
            stage,
            seconds: start.elapsed().as_secs_f64(),
        });
        Ok(Self {
            geometry,
            ramp_px: 0,
            study,
            process_bytes: study
                .process_bytes
                .or(resident)
                .unwrap_or(ASSUMED_PROCESS_BYTES),
        })
    }

    /// The same for tiles with another context, which fade into each other across `ramp_px`.
    pub(crate) fn with_context<'g>(&self, geometry: &'g Geometry, ramp_px: usize) -> Tiler<'g> {
        Tiler {
            geometry,
            ramp_px,
            study: self.study,
            process_bytes: self.process_bytes,
        }
    }

    /// The plan for squares of this side, pixels; `None` runs an image whole.
    ///
    /// # Errors
    /// The tile is too small, or the image cannot be cut.
    pub(crate) fn plan(&self, image_px: Size, tile_px: Option<usize>) -> Result<TilePlan, Failure> {
        Ok(self
            .geometry
            .plan(image_px, tile_px)?
            .with_ramp(self.ramp_px)?)
    }

    /// Side of the smallest tile that is worth running, pixels: a third of it or more is kept on each axis, and so is the
    /// band in which tiles fade into each other.
    pub(crate) fn smallest_side(&self) -> usize {
        let analysis = self.geometry.analysis();
        let halo = analysis.halo_px.unwrap_or(0);
        let core = halo.max(self.ramp_px).max(1);
        (2 * halo + core)
            .max(SMALLEST_PX)
            .next_multiple_of(analysis.alignment_px.max(1))
    }

    /// What one worker takes for a tile of this size by what the study showed, seconds.
    pub(crate) fn expected_seconds(&self, tile: Size) -> f64 {
        self.study.seconds_per_px * (tile.height as f64 * tile.width as f64)
    }

    /// What the prediction for chosen tiles consists of.
    pub(crate) fn memory(
        &self,
        chosen: &ChosenTiles,
        image: ImageMemory,
        rows: &dyn Fn(&TilePlan) -> u64,
    ) -> PlannedMemory {
        let plan = chosen.plan;
        let choice = self.choice(plan.request().image_px, image, u64::MAX, rows);
        PlannedMemory {
            process_bytes: self.process_bytes,
            weights_bytes: self.study.weights_bytes,
            rows_bytes: rows(&plan),
            tile_bytes: choice.tile.bytes(plan.tile_size()),
            scratch: self.study.scratch,
        }
    }

    /// Why tiles are as they are, one sentence each.
    pub(crate) fn decisions(&self, chosen: &ChosenTiles) -> Vec<String> {
        decisions(chosen, &self.study, rayon::current_num_threads())
    }

    /// The tiles of least work, for 90 % of `budget_bytes`.
    ///
    /// # Errors
    /// Nothing fits, or the image cannot be cut.
    pub(crate) fn choose(
        &self,
        image_px: Size,
        image: ImageMemory,
        budget_bytes: u64,
        rows: &dyn Fn(&TilePlan) -> u64,
    ) -> Result<ChosenTiles, Failure> {
        let usable_bytes = budget_bytes / USED_SHARE.1 * USED_SHARE.0;
        let chosen = self.choice(image_px, image, usable_bytes, rows).choose()?;
        self.geometry.check(&chosen.plan)?;
        Ok(chosen)
    }

    /// What given tiles take, with as many at the same time as fit into `budget_bytes`, at least one.
    pub(crate) fn predict(
        &self,
        plan: TilePlan,
        image: ImageMemory,
        budget_bytes: u64,
        rows: &dyn Fn(&TilePlan) -> u64,
    ) -> ChosenTiles {
        let image_px = plan.request().image_px;
        self.choice(image_px, image, budget_bytes, rows)
            .predict(plan)
    }

    fn choice<'r>(
        &self,
        image_px: Size,
        image: ImageMemory,
        budget_bytes: u64,
        rows: &'r dyn Fn(&TilePlan) -> u64,
    ) -> TileChoice<'r> {
        let request = self.geometry.request(image_px, None);
        let (planes_in, planes_out) = image.planes_in_flight;
        let scale = self.geometry.scale();
        // The tile that was cut out, and what it gave until it is placed.
        let copies = (planes_in + planes_out * scale * scale) * size_of::<f32>();
        let tile = match self.study.tile {
            TileMemory::PerPixel {
                bytes_per_px,
                fixed_bytes,
            } => TileMemory::PerPixel {
                bytes_per_px: bytes_per_px + copies as f64,
                fixed_bytes,
            },
            TileMemory::Unknown => TileMemory::Unknown,
        };
        TileChoice {
            request,
            budget_bytes,
            fixed_bytes: self.process_bytes + self.study.weights_bytes + image.files_bytes,
            tile,
            ramp_px: self.ramp_px,
            rows,
            max_workers: rayon::current_num_threads(),
        }
    }
}

/// Why tiles are as they are, one sentence each, for people.
fn decisions(chosen: &ChosenTiles, study: &TileStudy, max_workers: usize) -> Vec<String> {
    let plan = &chosen.plan;
    let mut decisions = Vec::new();
    if chosen.is_fallback {
        decisions.push(
            "the engine cannot tell what a tile takes: the side is sqrt(memory / (64 * 2 * 8)), from 128 to 1024"
                .to_owned(),
        );
    } else {
        let origin = if study.is_measured {
            "measured on one tile"
        } else {
            "assumed"
        };
        decisions.push(format!(
            "live tensors of a tile come from the graph, times {:.2} for the engine's scratch ({origin})",
            study.scratch
        ));
    }
    let tile = plan.tile_size();
    decisions.push(match (plan.n_tile_rows(), plan.n_columns()) {
        (1, 1) => "the image runs whole: cutting it would save nothing that is needed".to_owned(),
        (_, 1) => format!(
            "strips of the full width, {} px high: they have the halo on one axis only",
            tile.height
        ),
        (down, across) => format!("{down} rows of {across} tiles of {tile} px"),
    });
    if chosen.work_ratio > 1.005 {
        decisions.push(format!(
            "halos add {:.0} % of pixels to compute",
            100.0 * (chosen.work_ratio - 1.0)
        ));
    }
    let possible = max_workers.min(plan.n_tiles());
    if chosen.n_workers < possible {
        decisions.push(format!(
            "{} of {possible} possible tiles at the same time: more would be smaller, and cost more halo",
            chosen.n_workers
        ));
    }
    decisions
}
