//! Running a model over an image that is never in memory as a whole.
//!
//! Rows come from a [`RowSource`] and go to a [`RowSink`]. In memory are the rows that one row of tiles is fed from, the
//! rows that it gives, and the tiles in flight; how high the image is does not matter.
//!
//! Workers take tiles in order. Taking one copies its pixels, so rows can go as soon as the last tile that needs them is
//! taken, however long it runs. Results are placed in the order of rows of tiles: a worker that is early waits until the
//! row above is written. Tiles take equal time, so it rarely does. Where tiles fade into each other, results are added up
//! tile by tile in their order, so that threads leave no trace in the sums.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tilecast_analysis::SweepContract;
use tilecast_exec::{HostTensor, ImagePort, Session};
use tilecast_onnx::infer_shapes;

use crate::band::Band;
use crate::crop::crop;
use crate::image_file::{
    Alpha, Colour, PixelFormat, ReadImageError, RowSink, RowSource, WriteImageError,
};
use crate::strip::Strip;
use crate::sweeps::{Gathered, Known, added_inputs};
use crate::{RunControl, RunTiledError, Size, Tile, TilePlan, TiledRunner, ValueRange};

/// Why a run over rows did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunRowsError {
    /// The network.
    #[error(transparent)]
    Run(#[from] RunTiledError),
    /// The image that is read.
    #[error(transparent)]
    Read(#[from] ReadImageError),
    /// The image that is written.
    #[error(transparent)]
    Write(#[from] WriteImageError),
}

/// Which planes of an image a network is fed, and what becomes of the planes that it gives.
///
/// A network takes one plane or three. One that takes three sees a grey image three times, and gives the mean of its
/// planes; one that takes one sees each plane of an RGB image in turn. Alpha is carried over where the image keeps its
/// size, as it is no measurement that a network could better; otherwise the network scales it as it would a grey image,
/// in the same tiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wiring {
    input: PixelFormat,
    output: PixelFormat,
    /// Planes of one run's input.
    fed: usize,
    /// Planes of one run's output.
    given: usize,
    runs: Vec<WiredRun>,
    alpha_is_carried: bool,
}

/// One run of the network over one tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WiredRun {
    from: Feed,
    /// First plane of the output image that it fills.
    to: usize,
    /// Whether it fills one plane with the mean of what it gives.
    is_mean: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feed {
    /// All planes of colour.
    Colour,
    /// One plane of the image, as often as the network wants it.
    Plane(usize),
}

impl Wiring {
    /// What pixels of the result consist of. The file that they are written to may want others: then
    /// [`Wiring::with_output`].
    #[must_use]
    pub fn output(&self) -> PixelFormat {
        self.output
    }

    /// The same wiring for a file that stores samples or alpha in another way.
    ///
    /// # Panics
    /// `output` has other planes.
    #[must_use]
    pub fn with_output(self, output: PixelFormat) -> Self {
        assert_eq!(
            self.output.planes(),
            output.planes(),
            "planes of the result"
        );
        Self { output, ..self }
    }

    /// Planes that one tile holds at a time while it runs, of its input and of its output.
    #[must_use]
    pub fn planes_in_flight(&self) -> (usize, usize) {
        (self.input.planes(), self.given * self.runs.len())
    }

    /// Planes that one run of the network takes.
    pub(crate) fn fed(&self) -> usize {
        self.fed
    }

    /// How often the network is run per tile.
    pub(crate) fn n_runs(&self) -> usize {
        self.runs.len()
    }

    fn new(
        input: PixelFormat,
        fed: usize,
        given: usize,
        scale: usize,
    ) -> Result<Self, RunTiledError> {
        let run = |from, to, is_mean| WiredRun { from, to, is_mean };
        let (colour, mut runs) = match (input.colour, fed, given) {
            (Colour::Rgb, 3, 3) => (Colour::Rgb, vec![run(Feed::Colour, 0, false)]),
            (Colour::Rgb, 3, 1) => (Colour::Grey, vec![run(Feed::Colour, 0, false)]),
            (Colour::Rgb, 1, 1) => (
                Colour::Rgb,
                (0..3).map(|c| run(Feed::Plane(c), c, false)).collect(),
            ),
            (Colour::Grey, 3, 1 | 3) => (Colour::Grey, vec![run(Feed::Plane(0), 0, true)]),
            (Colour::Grey, 1, 1) => (Colour::Grey, vec![run(Feed::Plane(0), 0, false)]),
            (Colour::Grey, 1, 3) => (Colour::Rgb, vec![run(Feed::Plane(0), 0, false)]),
            (colour, _, _) => return Err(RunTiledError::Planes { colour, fed, given }),
        };
        let output = PixelFormat { colour, ..input };
        let alpha_is_carried = input.has_alpha() && scale == 1;
        if input.has_alpha() && !alpha_is_carried {
            runs.push(run(
                Feed::Plane(input.colour_planes()),
                output.colour_planes(),
                true,
            ));
        }
        Ok(Self {
            input,
            output,
            fed,
            given,
            runs,
            alpha_is_carried,
        })
    }
}

/// Bytes of image rows that a run over rows holds at a time: those that a row of tiles is fed from and those it gives.
#[must_use]
pub fn resident_rows_bytes(plan: &TilePlan, input: PixelFormat, output: PixelFormat) -> usize {
    let n = plan.n_tile_rows();
    // Rows of tiles are alike but for the first two and the last two.
    let some = || {
        [0, 1, n.saturating_sub(2), n - 1]
            .into_iter()
            .filter(|row| *row < n)
    };
    let fed = some()
        .map(|row| plan.rows_fed(row).len())
        .max()
        .unwrap_or(0);
    let kept = some()
        .map(|row| plan.rows_given(row).len())
        .max()
        .unwrap_or(0)
        + plan.ramp_px();
    let bytes = |rows: usize, width: usize, planes: usize| {
        rows.saturating_mul(width)
            .saturating_mul(planes * size_of::<f32>())
    };
    let scale = plan.request().scale;
    // One more row on each side, pixel by pixel.
    bytes(fed + 1, plan.request().image_px.width, input.planes()).saturating_add(bytes(
        kept * scale + 1,
        plan.output_px().width,
        output.planes(),
    ))
}

impl TiledRunner<'_> {
    /// How images with such pixels are run by a network that makes an image `scale` times as large. `tile_px` is a tile
    /// that it takes; how many planes it gives does not depend on it.
    ///
    /// # Errors
    /// The network takes or gives planes that images do not have, or another scale, or it cannot be prepared.
    pub fn wiring(
        &self,
        tile_px: Size,
        scale: usize,
        input: PixelFormat,
    ) -> Result<Wiring, RunTiledError> {
        let fed = self.network_planes();
        let given = self.given_planes(tile_px, scale, fed)?;
        Wiring::new(input, fed, given, scale)
    }

    /// Planes of the output for `fed` planes of input.
    fn given_planes(
        &self,
        tile_px: Size,
        scale: usize,
        fed: usize,
    ) -> Result<usize, RunTiledError> {
        let Size { height, width } = tile_px;
        let dims = vec![1, fed, height, width];
        let inferred = ImagePort::of(self.model, self.engine)
            // An image that is fed in another order of axes is one of these dimensions to the engine only.
            .filter(|port| !port.axes.is_some_and(|axes| axes.channels_last))
            .and_then(|_| {
                infer_shapes(&self.model.graph(), &[(&self.input_name, dims.clone())]).ok()
            })
            .and_then(|shapes| shapes.shape(&self.output_name).map(<[usize]>::to_vec));
        let found = if let Some(found) = inferred {
            found
        } else {
            // An operator that hides shapes: a run shows them.
            let zeros = HostTensor::new(dims.clone(), vec![0.0; dims.iter().product()]);
            let outputs = self.load_apart(tile_px)?.run(&[zeros]);
            let outputs = outputs.map_err(|source| RunTiledError::of_probe(tile_px, source))?;
            outputs.first().map_or_else(Vec::new, |o| o.dims().to_vec())
        };
        match found[..] {
            [1, given, h, w] if [h, w] == [height * scale, width * scale] => Ok(given),
            _ => Err(RunTiledError::OutputShape {
                fed: [1, fed, height, width],
                found,
                scale,
            }),
        }
    }

    /// Runs the model over the rows of `source` and writes the rows of the result to `sink`. The result depends on
    /// neither the number of threads nor on how rows are cut into bands: it is what [`TiledRunner::run`] gives for the
    /// same plan.
    ///
    /// # Errors
    /// See [`RunRowsError`]; of several failures that of the first tile is reported.
    pub fn run_rows(
        &self,
        source: &mut dyn RowSource,
        sink: &mut dyn RowSink,
        plan: &TilePlan,
        wiring: &Wiring,
        control: &RunControl<'_>,
    ) -> Result<(), RunRowsError> {
        let session = self.session(plan, wiring.fed)?;
        let pass = RowPass {
            n_workers: self.workers(plan, session.as_ref(), control),
            session,
            plan,
            wiring,
            value_range: self.value_range,
            contract: None,
            known: &[],
            n_before: 0,
            n_all: plan.n_tiles(),
        };
        pass.over(source, Some(sink), None, control)
    }
}

/// One pass over all tiles of a plan, from rows to rows.
pub(crate) struct RowPass<'a> {
    pub(crate) session: Arc<dyn Session>,
    pub(crate) plan: &'a TilePlan,
    pub(crate) wiring: &'a Wiring,
    pub(crate) value_range: ValueRange,
    /// Tiles at the same time.
    pub(crate) n_workers: usize,
    /// What the network takes and gives beside the image, where its statistics are swept.
    pub(crate) contract: Option<&'a SweepContract>,
    /// What is known of the statistics, for each run of the wiring.
    pub(crate) known: &'a [Known],
    /// Tiles of earlier passes, for progress.
    pub(crate) n_before: usize,
    /// Tiles of all passes.
    pub(crate) n_all: usize,
}

impl RowPass<'_> {
    /// Feeds every tile from `source`. What they give goes to `sink`, if there is one, and their statistics to `gathered`.
    ///
    /// # Errors
    /// See [`RunRowsError`]; of several failures that of the first tile is reported.
    pub(crate) fn over(
        &self,
        source: &mut dyn RowSource,
        sink: Option<&mut dyn RowSink>,
        gathered: Option<&mut Gathered<'_>>,
        control: &RunControl<'_>,
    ) -> Result<(), RunRowsError> {
        let (planned, found) = (self.plan.request().image_px, source.size());
        if planned != found {
            return Err(RunTiledError::WrongImage { planned, found }.into());
        }
        let plan = self.plan;
        let stream = Stream {
            pass: self,
            gives_pixels: sink.is_some(),
            input: Mutex::new(Input {
                band: Band::new(source),
                source,
                next_tile: 0,
            }),
            output: Mutex::new(Output {
                sink: sink.map(|sink| sink as &mut dyn RowSink),
                gathered,
                strip: Strip::new(plan.output_px().width, self.wiring.output.planes()),
                pixels: Vec::new(),
                tile_row: 0,
                next_tile: 0,
                n_left: plan.n_columns(),
                n_done: 0,
                failure: None,
            }),
            row_written: Condvar::new(),
            stopped: AtomicBool::new(false),
        };
        // Threads of their own: one that waits for its turn must not be one that the engine borrows meanwhile.
        std::thread::scope(|scope| {
            for _ in 1..self.n_workers {
                scope.spawn(|| stream.work(control));
            }
            stream.work(control);
        });
        let output = stream.output.into_inner();
        match output.unwrap_or_else(PoisonError::into_inner).failure {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}

/// What the workers of one run share.
struct Stream<'a, 'g> {
    pass: &'a RowPass<'a>,
    gives_pixels: bool,
    input: Mutex<Input<'a>>,
    output: Mutex<Output<'a, 'g>>,
    /// A row of tiles has been written, or the run is over.
    row_written: Condvar,
    stopped: AtomicBool,
}

struct Input<'a> {
    source: &'a mut dyn RowSource,
    band: Band,
    next_tile: usize,
}

struct Output<'a, 'g> {
    sink: Option<&'a mut dyn RowSink>,
    gathered: Option<&'a mut Gathered<'g>>,
    /// What the current row of tiles gives.
    strip: Strip,
    /// One row of it, pixel after pixel.
    pixels: Vec<f32>,
    tile_row: usize,
    /// The first tile that is not placed yet, where they are placed in their order.
    next_tile: usize,
    /// Tiles that are missing in the strip.
    n_left: usize,
    n_done: usize,
    /// The failure of the lowest tile so far.
    failure: Option<(usize, RunRowsError)>,
}

/// What a tile gives.
struct Placed {
    /// One output per run.
    outputs: Vec<HostTensor>,
    /// Alpha of the whole input tile, where it is carried over.
    alpha: Option<Vec<f32>>,
    /// Statistics of each run; empty where none are swept.
    statistics: Vec<Vec<HostTensor>>,
}

impl Stream<'_, '_> {
    /// Takes tiles until none is left or the run is stopped.
    fn work(&self, control: &RunControl<'_>) {
        while !self.stopped.load(Ordering::Relaxed) {
            let (index, taken) = {
                let mut input = lock(&self.input);
                let index = input.next_tile;
                if index >= self.pass.plan.n_tiles() {
                    return;
                }
                input.next_tile += 1;
                if control.cancelled.load(Ordering::Relaxed) {
                    (index, None)
                } else {
                    (index, Some(self.take(&mut input, index)))
                }
            };
            let result = taken.map(|taken| {
                taken
                    .map_err(RunRowsError::from)
                    .and_then(|planes| Ok(self.run_tile(index, planes)?))
            });
            self.deliver(index, result, control);
        }
    }

    /// The pixels of a tile, `[planes, H, W]`. Reads on where they are not in memory yet.
    fn take(&self, input: &mut Input<'_>, index: usize) -> Result<Vec<f32>, ReadImageError> {
        let tile_row = index / self.pass.plan.n_columns();
        let needed = self.pass.plan.rows_fed(tile_row);
        // The last row of tiles may reach further up than the one before: its padding mirrors rows.
        let last = self.pass.plan.rows_fed(self.pass.plan.n_tile_rows() - 1);
        let keep_from = needed.start.min(last.start);
        let Input { source, band, .. } = input;
        band.advance(&mut **source, keep_from, needed.end)?;
        let rect = self.pass.plan.tile(index).input;
        Ok(crop(
            band,
            &rect,
            self.pass.plan.request().fill,
            self.pass.value_range,
        ))
    }

    fn run_tile(&self, index: usize, mut planes: Vec<f32>) -> Result<Placed, RunTiledError> {
        let tile = self.pass.plan.tile(index);
        let input = tile.input;
        let n_pixels = input.height * input.width;
        let wiring = self.pass.wiring;
        let dims = vec![1, wiring.fed, input.height, input.width];
        let n_colours = wiring.input.colour_planes() * n_pixels;
        let alpha = wiring.alpha_is_carried.then(|| planes.split_off(n_colours));
        let mut outputs = Vec::with_capacity(wiring.runs.len());
        let mut statistics = Vec::new();
        for (position, run) in wiring.runs.iter().enumerate() {
            let is_last = position + 1 == wiring.runs.len();
            let fed = match run.from {
                Feed::Colour if is_last => std::mem::take(&mut planes),
                Feed::Colour => planes[..n_colours].to_vec(),
                Feed::Plane(plane) => {
                    planes[plane * n_pixels..(plane + 1) * n_pixels].repeat(wiring.fed)
                }
            };
            let mut inputs = vec![HostTensor::new(dims.clone(), fed)];
            if let Some(contract) = self.pass.contract {
                let known = &self.pass.known[position];
                inputs.extend(added_inputs(contract, self.pass.plan, &tile, known));
            }
            let result = self.pass.session.run(&inputs);
            let mut given = result
                .map_err(|source| RunTiledError::Tile {
                    index,
                    input,
                    source,
                })?
                .into_iter();
            let output = given
                .next()
                .expect("a session returns a tensor per graph output, and the runner has seen one");
            if self.pass.contract.is_some() {
                statistics.push(given.collect());
            }
            let scale = self.pass.plan.request().scale;
            let expected = [1, wiring.given, input.height * scale, input.width * scale];
            if output.dims() != expected {
                return Err(RunTiledError::OutputShape {
                    fed: [1, wiring.fed, input.height, input.width],
                    found: output.dims().to_vec(),
                    scale,
                });
            }
            if self.gives_pixels {
                outputs.push(output);
            }
        }
        Ok(Placed {
            outputs,
            alpha,
            statistics,
        })
    }

    /// Places what a tile gave, once its row of tiles has its turn, and writes the row when it is complete.
    fn deliver(
        &self,
        index: usize,
        result: Option<Result<Placed, RunRowsError>>,
        control: &RunControl<'_>,
    ) {
        let (n_before, n_tiles) = (self.pass.n_before, self.pass.n_all);
        let mut output = lock(&self.output);
        let placed = match result {
            None => Err(RunTiledError::Interrupted {
                n_done: n_before + output.n_done,
                n_tiles,
            }
            .into()),
            Some(Err(error)) => Err(error),
            Some(Ok(mut placed)) => {
                if let Some(gathered) = &mut output.gathered {
                    gathered.take(index, std::mem::take(&mut placed.statistics));
                }
                if !self.gives_pixels {
                    output.n_done += 1;
                    (control.progress)(n_before + output.n_done, n_tiles);
                    return;
                }
                let tile_row = index / self.pass.plan.n_columns();
                let is_early = |output: &Output<'_, '_>| {
                    output.tile_row < tile_row
                        || (self.pass.plan.ramp_px() > 0 && output.next_tile < index)
                };
                while is_early(&output) {
                    if self.stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    output = self
                        .row_written
                        .wait(output)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                self.place(&mut output, index, &placed);
                output.next_tile = index + 1;
                output.n_done += 1;
                output.n_left -= 1;
                if self.pass.plan.ramp_px() > 0 {
                    self.row_written.notify_all();
                }
                (control.progress)(n_before + output.n_done, n_tiles);
                if output.n_left == 0 {
                    self.write_strip(&mut output)
                } else {
                    Ok(())
                }
            }
        };
        if let Err(error) = placed {
            self.stopped.store(true, Ordering::Relaxed);
            self.row_written.notify_all();
            let is_first = output
                .failure
                .as_ref()
                .is_none_or(|(first, _)| index < *first);
            if is_first {
                output.failure = Some((index, error));
            }
        }
    }

    /// Puts what a tile gives to its place in the strip.
    fn place(&self, output: &mut Output<'_, '_>, index: usize, placed: &Placed) {
        let (plan, range) = (self.pass.plan, self.pass.value_range);
        let scale = plan.request().scale;
        let (tile_row, column) = (index / plan.n_columns(), index % plan.n_columns());
        let (rows, columns) = (plan.rows_given(tile_row), plan.columns_given(column));
        let strip = &mut output.strip;
        if output.n_left == plan.n_columns() {
            strip.extend_to(rows.end * scale);
        }
        let Tile { input, .. } = plan.tile(index);
        let tile_width = input.width * scale;
        let tile_pixels = input.height * scale * tile_width;
        let (left, width) = (columns.start * scale, columns.len() * scale);
        let column_shares: Option<Vec<f32>> = (plan.ramp_px() > 0).then(|| {
            let shares = (0..width).map(|x| plan.column_weight(column, x));
            shares.collect()
        });
        for y in 0..rows.len() * scale {
            let row = rows.start * scale + y;
            let from = ((rows.start - input.top) * scale + y) * tile_width
                + (columns.start - input.left) * scale;
            let shares = column_shares
                .as_deref()
                .map(|shares| (shares, plan.row_weight(tile_row, y)));
            for (run, tensor) in self.pass.wiring.runs.iter().zip(&placed.outputs) {
                let given = |plane: usize| {
                    let start = plane * tile_pixels + from;
                    &tensor.data()[start..start + width]
                };
                if run.is_mean {
                    let means = (0..width).map(|x| {
                        let planes = 0..self.pass.wiring.given;
                        let sum: f32 = planes.map(|plane| range.to_image(given(plane)[x])).sum();
                        sum / self.pass.wiring.given as f32
                    });
                    put(strip.row_mut(run.to, row, left), means, shares);
                    continue;
                }
                for plane in 0..self.pass.wiring.given {
                    let values = given(plane).iter().map(|v| range.to_image(*v));
                    put(strip.row_mut(run.to + plane, row, left), values, shares);
                }
            }
            if let Some(carried) = &placed.alpha {
                let plane = self.pass.wiring.output.colour_planes();
                let values = carried[from..from + width].iter();
                let values = values.map(|v| range.to_image(*v));
                put(strip.row_mut(plane, row, left), values, shares);
            }
        }
    }

    /// Writes the rows that a row of tiles has completed, and lets the next one begin.
    fn write_strip(&self, output: &mut Output<'_, '_>) -> Result<(), RunRowsError> {
        let format = self.pass.wiring.output;
        let complete =
            self.pass.plan.rows_complete(output.tile_row) * self.pass.plan.request().scale;
        output
            .pixels
            .resize(self.pass.plan.output_px().width * format.planes(), 0.0);
        for row in output.strip.first_row()..complete {
            output.strip.copy_pixels(row, &mut output.pixels);
            if format.alpha == Alpha::Straight {
                output
                    .pixels
                    .chunks_exact_mut(format.planes())
                    .for_each(divide);
            }
            if let Some(sink) = &mut output.sink {
                sink.write_row(&output.pixels)?;
            }
        }
        output.strip.drop_to(complete);
        output.tile_row += 1;
        output.n_left = self.pass.plan.n_columns();
        self.row_written.notify_all();
        Ok(())
    }
}

/// Puts values into a row: in the place of what is there where tiles meet at a line; added to it, with the share of each
/// column times that of the row, where they fade into each other.
fn put(row: &mut [f32], values: impl Iterator<Item = f32>, shares: Option<(&[f32], f32)>) {
    match shares {
        None => {
            for (place, value) in row.iter_mut().zip(values) {
                *place = value;
            }
        }
        Some((columns, of_row)) => {
            for ((place, value), of_column) in row.iter_mut().zip(values).zip(columns) {
                *place += value * (of_column * of_row);
            }
        }
    }
}

/// Takes the factor alpha, the last plane, out of the colours of a pixel again. What is invisible becomes black.
fn divide(pixel: &mut [f32]) {
    if let Some((alpha, colours)) = pixel.split_last_mut() {
        for colour in colours {
            *colour = if *alpha > 0.0 { *colour / *alpha } else { 0.0 };
        }
    }
}

/// The state behind a lock; a worker that panicked takes the whole run with it, so what it left is never looked at.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
