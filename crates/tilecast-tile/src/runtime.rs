//! Running a model over an image, tile by tile.
//!
//! Memory is bounded by construction: as many tasks as workers take tiles in order, each holds one tile's input and
//! output at a time, and the only other large buffer is the output image. The image is never copied as a whole, padded
//! or otherwise.
//!
//! Cores do not overlap, so the order in which tiles finish leaves no trace in the result. It leaves none in errors
//! either: tiles are taken in order, so the first one that must fail has been taken before any later one was.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tilecast_exec::{Engine, HostTensor, ImagePort, LoadError, RunError, Session, SessionOptions};
use tilecast_onnx::Model;
use tilecast_onnx::proto::ValueInfoProto;

use crate::crop::crop_tile;
use crate::in_flight::{InFlight, Pass};
use crate::pixels::Pixels;
use crate::session_cache::{InputDims, SessionCache};
use crate::{Colour, PlanarImage, Rect, Size, Tile, TilePlan, ValueRange};

/// Planes of an RGB image.
const RGB_PLANES: usize = 3;

/// How the caller follows a run and ends it early.
#[derive(Clone, Copy)]
pub struct RunControl<'a> {
    /// Once true, no further tile is started; read before every tile.
    pub cancelled: &'a AtomicBool,
    /// Told the number of finished tiles and of all tiles after each tile, from one worker at a time, in order.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
    /// Most tiles at the same time in this run; `None` leaves it to the runner.
    pub max_workers: Option<NonZeroUsize>,
}

impl Default for RunControl<'_> {
    /// Runs to the end and tells nobody.
    fn default() -> Self {
        static NEVER: AtomicBool = AtomicBool::new(false);
        Self {
            cancelled: &NEVER,
            progress: &|_, _| {},
            max_workers: None,
        }
    }
}

/// Sees what the tiles of an image give, halos included, one at a time and in the order in which they finish.
pub trait TileObserver: Send {
    /// All tiles are about to be run. What was seen before was of a sweep that turned out not to be the last.
    fn begin(&mut self);

    /// What a tile gave: `[1, C, H, W]` in the network's value range.
    fn tile(&mut self, index: usize, tile: &Tile, output: &HostTensor);
}

/// Why a model cannot be run on images.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model has {n} {what}s ({names}); only models from one image to one image can be tiled", n = names.len(), names = quote(names))]
pub struct CreateRunnerError {
    what: &'static str,
    names: Vec<String>,
}

/// Why a tiled run gave no image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunTiledError {
    /// The plan was made for another image.
    #[error("the plan is for an image of {planned} px, this one has {found} px; plan again")]
    WrongImage {
        /// Size that the plan was made for.
        planned: Size,
        /// Size of the image.
        found: Size,
    },
    /// The engine cannot run the model at the size of the tiles.
    #[error("cannot prepare the model for tiles of {} px", tile_px)]
    Load {
        /// Size fed to the network.
        tile_px: Size,
        /// What the engine says.
        source: LoadError,
    },
    /// The engine failed on a tile.
    #[error("tile {index} ({input}) failed")]
    Tile {
        /// Which tile, counted row by row.
        index: usize,
        /// Where it lies.
        input: Rect,
        /// What the engine says.
        source: RunError,
    },
    /// The network's output is not `scale` times its input.
    #[error(
        "the network made {found:?} out of a tile of {fed:?}; at scale {scale} [1, C, {}, {}] was expected: correct \
         the scale, or feed another tile size", fed[2] * scale, fed[3] * scale
    )]
    OutputShape {
        /// Dimensions of the input tile.
        fed: [usize; 4],
        /// Dimensions of the output.
        found: Vec<usize>,
        /// Scale of the plan.
        scale: usize,
    },
    /// The network is no map from images to images.
    #[error(
        "the network makes {given} planes out of {fed}, and the image is {colour}: it must take one plane or three, and \
         give one or three"
    )]
    Planes {
        /// Colour of the image.
        colour: Colour,
        /// Planes of its input.
        fed: usize,
        /// Planes of its output.
        given: usize,
    },
    /// The run was cancelled.
    #[error("interrupted after {n_done} of {n_tiles} tiles")]
    Interrupted {
        /// Finished tiles.
        n_done: usize,
        /// All tiles.
        n_tiles: usize,
    },
}

impl RunTiledError {
    /// The engine failed on a tile of no image, which was to show something about the model.
    pub(crate) fn of_probe(tile_px: Size, source: RunError) -> Self {
        let input = Rect {
            top: 0,
            left: 0,
            height: tile_px.height,
            width: tile_px.width,
        };
        Self::Tile {
            index: 0,
            input,
            source,
        }
    }
}

/// A model, bound to an engine, that runs over images in tiles. Keeps the sessions of the last few tile shapes.
#[derive(Debug)]
pub struct TiledRunner<'a> {
    pub(crate) engine: &'a dyn Engine,
    pub(crate) model: &'a Model,
    pub(crate) input_name: String,
    pub(crate) output_name: String,
    pub(crate) value_range: ValueRange,
    in_flight: InFlight,
    sessions: Mutex<SessionCache>,
}

impl<'a> TiledRunner<'a> {
    /// Binds a model that takes one `[1, C, H, W]` image with values in `value_range` and returns one.
    ///
    /// # Errors
    /// The model does not have exactly one input and one output.
    pub fn new(
        engine: &'a dyn Engine,
        model: &'a Model,
        value_range: ValueRange,
    ) -> Result<Self, CreateRunnerError> {
        let name = |input: &ValueInfoProto| input.name.clone().unwrap_or_default();
        let graph = model.graph();
        let fed = graph
            .inputs()
            .filter(|input| !engine.supplies(&name(input)));
        let input_name = only("input", fed)?;
        let output_name = only("output", model.graph_proto().output.iter())?;
        Ok(Self {
            engine,
            model,
            input_name,
            output_name,
            value_range,
            in_flight: InFlight::default(),
            sessions: Mutex::default(),
        })
    }

    /// The same runner with at most this many tiles in flight, for a memory budget; otherwise one per thread of the
    /// rayon pool that it is called from.
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

    /// Tiles of this plan that will be in flight at once when called from the current rayon pool.
    #[must_use]
    pub fn n_workers(&self, plan: &TilePlan) -> usize {
        self.in_flight.of_plan(plan)
    }

    /// Tiles in flight of a run of this plan: by the runner's limits and by the caller's.
    pub(crate) fn workers(
        &self,
        plan: &TilePlan,
        session: &dyn Session,
        control: &RunControl<'_>,
    ) -> usize {
        self.in_flight.workers(plan, session, control)
    }

    /// Planes of an image that the network takes: what the model says, 3 where it says nothing.
    #[must_use]
    pub fn network_planes(&self) -> usize {
        ImagePort::of(self.model, self.engine)
            .and_then(|port| port.planes())
            .unwrap_or(RGB_PLANES)
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
        let options = SessionOptions {
            input_shapes: vec![(self.input_name.clone(), dims.to_vec())],
            observe: Vec::new(),
            ..SessionOptions::default()
        };
        // Held while a session is prepared: two callers with the same shape must not both prepare it.
        lock(&self.sessions)
            .get_or_load(dims, || self.engine.load(self.model, &options))
            .map_err(|source| RunTiledError::Load { tile_px, source })
    }

    /// Runs the model over the image. Values of the result are not clamped; its bit depth and colour profile are the
    /// image's. The same image, plan and engine give the same bits on any number of threads.
    ///
    /// # Errors
    /// See [`RunTiledError`]; of several failing tiles the first is reported.
    pub fn run(
        &self,
        image: &PlanarImage,
        plan: &TilePlan,
        control: &RunControl<'_>,
    ) -> Result<PlanarImage, RunTiledError> {
        self.run_observed(image, plan, control, None)
    }

    /// As [`TiledRunner::run`]; an observer sees every tile.
    ///
    /// # Errors
    /// As [`TiledRunner::run`].
    pub fn run_observed(
        &self,
        image: &PlanarImage,
        plan: &TilePlan,
        control: &RunControl<'_>,
        mut observer: Option<&mut dyn TileObserver>,
    ) -> Result<PlanarImage, RunTiledError> {
        let planned = plan.request().image_px;
        if planned != image.size() {
            return Err(RunTiledError::WrongImage {
                planned,
                found: image.size(),
            });
        }
        let session = self.session(plan, image.channels())?;
        let pass = Pass {
            plan,
            n_workers: self.workers(plan, session.as_ref(), control),
            control,
            n_before: 0,
            n_all: plan.n_tiles(),
        };
        let run_tile = |index: usize, tile: &Tile| {
            let input = crop_tile(image, plan, tile, self.value_range);
            let outputs = session
                .run(&[input])
                .map_err(|source| RunTiledError::Tile {
                    index,
                    input: tile.input,
                    source,
                })?;
            Ok(outputs.into_iter().next().expect(
                "a session returns a tensor per graph output, and the runner has seen one output",
            ))
        };
        if let Some(observer) = &mut observer {
            observer.begin();
        }
        let (pixels, _) = pass.over(
            (Pixels::default(), observer),
            run_tile,
            |(pixels, observer), index, tile, output| {
                pixels.place(plan, image.channels(), tile, &output, self.value_range)?;
                if let Some(observer) = observer {
                    observer.tile(index, tile, &output);
                }
                Ok(())
            },
        )?;
        Ok(pixels.into_image(image, plan))
    }
}

/// The state behind a lock; a worker that panicked takes the whole run with it, so what it left is never looked at.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of the only value of a list.
fn only<'v>(
    what: &'static str,
    values: impl Iterator<Item = &'v ValueInfoProto>,
) -> Result<String, CreateRunnerError> {
    let mut names: Vec<String> = values.map(|v| v.name.clone().unwrap_or_default()).collect();
    match names.pop() {
        Some(name) if names.is_empty() => Ok(name),
        last => {
            names.extend(last);
            Err(CreateRunnerError { what, names })
        }
    }
}

fn quote(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        _ => format!("`{}`", names.join("`, `")),
    }
}
