//! One image: its tiles, a preview where one is wanted, and the run from file to file.
//!
//! A run that fails for want of memory, or whose first tile takes far longer than it should, as when a system swaps, is
//! begun again with smaller tiles. Nothing of the first try is left: its output never had its name.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tilecast_tile::{
    ChosenTiles, ImageReader, ImageTarget, Metadata, ReadLimits, ReducedRows, RowSource,
    RunControl, RunRowsError, RunTiledError, Size, SweptFacts, SweptRunner, TilePlan, TiledRunner,
    Wiring, WriteImageError, format_in_file, resident_rows_bytes, write_rows,
    writer_resident_bytes,
};

use super::adaptive::{self, free_bytes};
use super::measured;
use super::{RunImage, RunSettings, TileMode, TileSelection};
use crate::context::{Context, Event};
use crate::geometry::Geometry;
use crate::tiled::Sweeping;
use crate::tiles::{ImageMemory, Tiler};
use crate::{Failure, FailureKind};

/// How long a first tile may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// So many times what the study of the model lets expect, and
    pub(super) factor: f64,
    /// this much besides: reading the first rows, and other work of the machine.
    pub(super) slack: Duration,
}

impl Default for Patience {
    /// A system that swaps is slower than this by far, one that does other work is not.
    fn default() -> Self {
        Self {
            factor: 16.0,
            slack: Duration::from_secs(5),
        }
    }
}

/// One image to run.
pub(super) struct Job<'a> {
    pub(super) settings: &'a RunSettings,
    pub(super) geometry: &'a Geometry,
    pub(super) tiler: &'a Tiler<'a>,
    pub(super) runner: &'a TiledRunner<'a>,
    /// How images of several tiles are run, where statistics of the whole image are swept.
    pub(super) swept: Option<&'a Swept<'a>>,
    pub(super) input: &'a Path,
    pub(super) patience: Patience,
}

/// A network with swept statistics.
pub(super) struct Swept<'a> {
    pub(super) sweeping: &'a Sweeping,
    pub(super) runner: SweptRunner<'a>,
}

/// What one try needs to know.
struct Try<'a> {
    job: &'a Job<'a>,
    tiler: Tiler<'a>,
    output: &'a Path,
    /// 1 for the image itself, more for a preview.
    reduction: usize,
    memory_bytes: u64,
}

/// What became of a try that failed so that smaller tiles may help.
enum Trouble {
    Memory(Failure),
    Slow,
}

impl Job<'_> {
    /// Runs the image, after its preview.
    pub(super) fn run(&self, output: &Path, cx: &Context<'_>) -> Result<RunImage, Failure> {
        let start = Instant::now();
        let memory_bytes = match self.settings.tiles {
            TileSelection::Adaptive(_) => free_bytes(),
            _ => self.settings.memory_bytes,
        };
        let preview = match self.settings.preview {
            Some(reduction) => Some(self.preview(output, reduction.get(), memory_bytes, cx)?),
            None => None,
        };
        let (measured, geometry) = match self.settings.mode {
            TileMode::Exact => (None, None),
            TileMode::Measured { tolerance } => {
                let limits = limits(memory_bytes);
                let mut reader = ImageReader::open(self.input, &limits)?;
                let measured =
                    measured::measure(self.runner, self.geometry, &mut reader, tolerance, cx)
                        .map_err(|failure| failure.about(self.input.display()))?;
                let geometry = measured
                    .as_ref()
                    .map(|m| self.geometry.with_halo(m.halo_px()));
                (measured, geometry)
            }
        };
        let tiler = match (&measured, &geometry) {
            (Some(measured), Some(geometry)) => self.tiler.with_context(geometry, measured.ramp_px),
            _ => *self.tiler,
        };
        let image = Try {
            job: self,
            tiler,
            output,
            reduction: 1,
            memory_bytes,
        };
        let mut done = image.until_it_fits(cx)?;
        if let Some(measured) = measured.filter(|_| done.tiles > 1) {
            done.decisions.insert(0, measured.sentence());
            done.measured = Some(measured);
        }
        done.preview = preview.map(|path| path.display().to_string());
        done.seconds = start.elapsed().as_secs_f64();
        Ok(done)
    }

    /// Writes a smaller image beside the output.
    fn preview(
        &self,
        output: &Path,
        reduction: usize,
        memory_bytes: u64,
        cx: &Context<'_>,
    ) -> Result<PathBuf, Failure> {
        let path = preview_path(output);
        let preview = Try {
            job: self,
            tiler: *self.tiler,
            output: &path,
            reduction,
            memory_bytes,
        };
        preview.until_it_fits(cx)?;
        Ok(path)
    }
}

/// `out.png` becomes `out-preview.png`.
fn preview_path(output: &Path) -> PathBuf {
    let mut name = output.file_stem().map(OsString::from).unwrap_or_default();
    name.push("-preview");
    if let Some(extension) = output.extension() {
        name.push(".");
        name.push(extension);
    }
    output.with_file_name(name)
}

fn limits(memory_bytes: u64) -> ReadLimits {
    ReadLimits {
        max_bytes: memory_bytes,
        ..ReadLimits::default()
    }
}

/// What is known of an image that is open.
struct Opened {
    source: Box<dyn RowSource>,
    metadata: Metadata,
    /// Bytes that reading holds.
    resident_bytes: u64,
    wiring: Wiring,
}

impl Try<'_> {
    fn about(&self, failure: Failure) -> Failure {
        failure.about(self.job.input.display())
    }

    /// Runs the image with smaller and smaller tiles until one run comes to its end.
    fn until_it_fits(&self, cx: &Context<'_>) -> Result<RunImage, Failure> {
        let mut smaller: Option<(usize, Vec<String>)> = None;
        loop {
            let reader = ImageReader::open(self.job.input, &limits(self.memory_bytes))?;
            if smaller.is_none() && self.reduction == 1 {
                for note in reader.notes() {
                    let note = format!("{}: {note}", self.job.input.display());
                    cx.emit(&Event::Warning(&note));
                }
            }
            let opened = self.open(reader)?;
            let (chosen, decisions) = match &smaller {
                None => self.choose(&opened)?,
                Some((side, decisions)) => {
                    let plan = self.tiler.plan(opened.source.size(), Some(*side));
                    let plan = plan.map_err(|e| self.about(e))?;
                    let chosen = self.predict(&opened, plan)?;
                    // One at a time: what two take may be what did not fit.
                    let chosen = ChosenTiles {
                        n_workers: 1,
                        ..chosen
                    };
                    (chosen, decisions.clone())
                }
            };
            let trouble = match self.attempt(opened, &chosen, decisions, smaller.is_none(), cx)? {
                Ok(done) => return Ok(done),
                Err(trouble) => trouble,
            };
            let reason = match &trouble {
                Trouble::Memory(failure) => format!("memory did not suffice ({failure})"),
                Trouble::Slow => "the first tile took far longer than a tile should".to_owned(),
            };
            let tried = chosen.plan.tile_size();
            let side = match (self.smaller_side(tried), trouble) {
                (Some(side), _) => side,
                (None, Trouble::Memory(failure)) => return Err(failure),
                (None, Trouble::Slow) => {
                    unreachable!("slow tiles are given up only for smaller ones")
                }
            };
            let sentence = format!("{reason} with tiles of {tried} px: tiles of {side} px");
            let warning = format!("{}: {sentence}", self.job.input.display());
            cx.emit(&Event::Warning(&warning));
            let mut sentences = smaller.map_or_else(Vec::new, |(_, sentences)| sentences);
            sentences.push(sentence);
            smaller = Some((side, sentences));
        }
    }

    fn open(&self, reader: ImageReader) -> Result<Opened, Failure> {
        let (metadata, resident_bytes) = (reader.metadata().clone(), reader.resident_bytes());
        let wiring = self.wiring(&reader).map_err(|e| self.about(e))?;
        Ok(Opened {
            source: self.rows(reader),
            metadata,
            resident_bytes,
            wiring,
        })
    }

    fn rows(&self, reader: ImageReader) -> Box<dyn RowSource> {
        match self.reduction {
            1 => Box::new(reader),
            reduction => Box::new(ReducedRows::new(reader, reduction)),
        }
    }

    /// How the planes of the image go through the network, and what the output file makes of the result.
    fn wiring(&self, reader: &ImageReader) -> Result<Wiring, Failure> {
        // How many planes the network gives does not depend on the size of the tile.
        let geometry = self.job.geometry;
        let wiring =
            self.job
                .runner
                .wiring(geometry.smallest_tile(), geometry.scale(), reader.format())?;
        let output = format_in_file(self.output, wiring.output())?;
        Ok(wiring.with_output(output))
    }

    fn image_memory(&self, opened: &Opened) -> Result<ImageMemory, Failure> {
        let scale = self.job.geometry.scale();
        let size = opened.source.size();
        let output_px = Size {
            height: size.height.saturating_mul(scale),
            width: size.width.saturating_mul(scale),
        };
        let output = opened.wiring.output();
        Ok(ImageMemory {
            planes_in_flight: opened.wiring.planes_in_flight(),
            files_bytes: opened.resident_bytes.saturating_add(writer_resident_bytes(
                self.output,
                output_px,
                output,
            )?),
        })
    }

    fn predict(&self, opened: &Opened, plan: TilePlan) -> Result<ChosenTiles, Failure> {
        let (input, output) = (opened.source.format(), opened.wiring.output());
        let rows = |plan: &TilePlan| resident_rows_bytes(plan, input, output) as u64;
        let image = self.image_memory(opened)?;
        Ok(self.tiler.predict(plan, image, self.memory_bytes, &rows))
    }

    fn choose(&self, opened: &Opened) -> Result<(ChosenTiles, Vec<String>), Failure> {
        let (input, output) = (opened.source.format(), opened.wiring.output());
        let rows = |plan: &TilePlan| resident_rows_bytes(plan, input, output) as u64;
        let image = self.image_memory(opened)?;
        let (size, budget) = (opened.source.size(), self.memory_bytes);
        let chosen = match self.job.settings.tiles {
            // A network that takes one size has the tiles of that size, whatever is asked for.
            _ if self.job.geometry.fixed_tile().is_some() => self
                .tiler
                .plan(size, Some(1))
                .map(|plan| (self.tiler.predict(plan, image, budget, &rows), Vec::new())),
            TileSelection::Fitting => self
                .tiler
                .choose(size, image, budget, &rows)
                .map(|chosen| (chosen, Vec::new())),
            TileSelection::Side(side) => self
                .tiler
                .plan(size, Some(side))
                .map(|plan| (self.tiler.predict(plan, image, budget, &rows), Vec::new())),
            TileSelection::Adaptive(levels) => {
                let predict = |plan| self.tiler.predict(plan, image, budget, &rows);
                adaptive::choose(&self.tiler, levels, budget, size, &predict)
                    .map(|adapted| (adapted.chosen, adapted.decisions))
            }
        };
        chosen.map_err(|e| self.about(e))
    }

    /// One run. `warns` says whether it is the first with this image.
    fn attempt(
        &self,
        mut opened: Opened,
        chosen: &ChosenTiles,
        mut decisions: Vec<String>,
        warns: bool,
        cx: &Context<'_>,
    ) -> Result<Result<RunImage, Trouble>, Failure> {
        let (job, plan) = (self.job, &chosen.plan);
        let n_tiles = plan.n_tiles();
        let swept = job.swept.filter(|_| n_tiles > 1);
        if n_tiles > 1 && warns && self.reduction == 1 {
            self.warn_of_global_nodes(n_tiles, cx);
        }
        let verb = if self.reduction == 1 {
            "run"
        } else {
            "preview"
        };
        let name = job.input.file_name().unwrap_or_default().display();
        let stage = format!("{verb} {name}");
        cx.emit(&Event::Started {
            stage: &stage,
            unit: "tiles",
            total: swept.map_or(n_tiles, |swept| swept.sweeping.most_tiles(plan)),
        });
        let start = Instant::now();
        let watch = Watch {
            cancelled: cx.cancelled(),
            stopped: AtomicBool::new(cx.cancelled().load(Ordering::Relaxed)),
            is_slow: AtomicBool::new(false),
            limit: self.slowest_first_tile(plan),
            begun: Mutex::new(Some(start)),
        };
        let progress = |done: usize, _: usize| {
            watch.tile_done();
            cx.emit(&Event::Progress { done });
        };
        let control = RunControl {
            cancelled: &watch.stopped,
            progress: &progress,
            max_workers: NonZeroUsize::new(chosen.n_workers),
        };
        let target = ImageTarget {
            path: self.output,
            size: plan.output_px(),
            format: opened.wiring.output(),
            metadata: &opened.metadata,
        };
        let result = if let Some(swept) = swept {
            self.sweep(
                opened.source,
                &opened.wiring,
                &target,
                swept,
                plan,
                &control,
            )
        } else {
            let run = write_rows(&target, |sink| {
                let source = &mut *opened.source;
                job.runner
                    .run_rows(source, sink, plan, &opened.wiring, &control)
            });
            run.map(|()| SweptFacts::unswept(plan)).map_err(Stop::Rows)
        };
        let facts = match result {
            Ok(facts) => facts,
            Err(Stop::Rows(RunRowsError::Run(RunTiledError::Interrupted { .. })))
                if watch.gave_up() =>
            {
                return Ok(Err(Trouble::Slow));
            }
            Err(Stop::Rows(RunRowsError::Run(error))) if is_out_of_memory(&error) => {
                return Ok(Err(Trouble::Memory(self.about(error.into()))));
            }
            Err(Stop::Rows(RunRowsError::Run(error))) => return Err(self.about(error.into())),
            // These name the file themselves.
            Err(Stop::Rows(other)) => return Err(other.into()),
            Err(Stop::NotLast) => unreachable!("a sweep that was not the last has one behind it"),
            Err(Stop::Changed) => {
                let failure = Failure::new(FailureKind::Io, "the file changed while it was read");
                return Err(self.about(failure));
            }
        };
        let seconds = start.elapsed().as_secs_f64();
        cx.emit(&Event::Finished {
            stage: &stage,
            seconds,
        });
        decisions.extend(self.tiler.decisions(chosen));
        let (size, tile) = (plan.output_px(), plan.tile_size());
        Ok(Ok(RunImage {
            input: job.input.display().to_string(),
            output: self.output.display().to_string(),
            width: size.width,
            height: size.height,
            tile: plan.tile_px(),
            tile_width: tile.width,
            tile_height: tile.height,
            tiles: n_tiles,
            measured: None,
            preview: None,
            sweeps: facts.n_sweeps,
            drafts: facts.n_drafts,
            statistics_exact: facts.is_exact,
            workers: Some(chosen.n_workers),
            peak_bytes: Some(chosen.peak_bytes),
            decisions,
            seconds,
        }))
    }

    /// Sweeps over the image, which is read anew for each of them, and written by those that may be the last. Only the last
    /// one's file gets its name.
    fn sweep(
        &self,
        first: Box<dyn RowSource>,
        wiring: &Wiring,
        target: &ImageTarget<'_>,
        swept: &Swept<'_>,
        plan: &TilePlan,
        control: &RunControl<'_>,
    ) -> Result<SweptFacts, Stop> {
        let (size, format) = (first.size(), first.format());
        let mut first = Some(first);
        let mut run = swept
            .runner
            .begin_rows(plan, wiring, swept.sweeping.count());
        while let Some(next) = run.next_sweep() {
            let mut source = if let Some(first) = first.take() {
                first
            } else {
                let again = ImageReader::open(self.job.input, &limits(self.memory_bytes));
                self.rows(again.map_err(RunRowsError::Read)?)
            };
            if (source.size(), source.format()) != (size, format) {
                return Err(Stop::Changed);
            }
            if !next.may_be_last {
                run.sweep_rows(&mut *source, None, wiring, control)?;
                continue;
            }
            let written = write_rows(target, |sink| {
                run.sweep_rows(&mut *source, Some(sink), wiring, control)?;
                if run.is_done() {
                    Ok(())
                } else {
                    Err(Stop::NotLast)
                }
            });
            match written {
                Ok(()) | Err(Stop::NotLast) => {}
                Err(stop) => return Err(stop),
            }
        }
        Ok(run.facts())
    }

    /// Says that tiles differ from the whole-image run, where they do.
    fn warn_of_global_nodes(&self, n_tiles: usize, cx: &Context<'_>) {
        let analysis = self.job.geometry.analysis();
        let (n_nodes, which) = match self.job.swept {
            Some(swept) => (
                swept.sweeping.facts().left_out.len(),
                " and cannot be swept",
            ),
            None => (analysis.global_nodes.len(), ""),
        };
        if n_nodes > 0 && !analysis.tiling_class.is_exact() {
            cx.emit(&Event::Warning(&format!(
                "{}: {n_nodes} node(s) look at the whole image{which}, so its {n_tiles} tiles differ from a whole-image run; \
                 `tilecast lint` says where",
                self.job.input.display(),
            )));
        }
    }

    /// Side of a square of a quarter of the pixels, or of the smallest that is worth running; `None` where a tile has no
    /// more already.
    fn smaller_side(&self, tile: Size) -> Option<usize> {
        let n_pixels = tile.height * tile.width;
        let side = (n_pixels.isqrt() / 2).max(self.tiler.smallest_side());
        (side * side < n_pixels).then_some(side)
    }

    /// Time after which a first tile is given up for a smaller one; `None` where there is no smaller one, or the user said
    /// which tile it is to be.
    fn slowest_first_tile(&self, plan: &TilePlan) -> Option<Duration> {
        let tile = plan.tile_size();
        let is_free = !matches!(self.job.settings.tiles, TileSelection::Side(_));
        let may_shrink = self.smaller_side(tile).is_some();
        let expected = Duration::try_from_secs_f64(self.tiler.expected_seconds(tile)).ok()?;
        let Patience { factor, slack } = self.job.patience;
        (is_free && may_shrink).then(|| expected.mul_f64(factor) + slack)
    }
}

/// Why a run gave no file.
enum Stop {
    Rows(RunRowsError),
    /// The image has other pixels than before.
    Changed,
    /// The sweep was not the last one, so its file is not wanted.
    NotLast,
}

impl From<RunRowsError> for Stop {
    fn from(error: RunRowsError) -> Self {
        Self::Rows(error)
    }
}

impl From<WriteImageError> for Stop {
    fn from(error: WriteImageError) -> Self {
        Self::Rows(error.into())
    }
}

/// Looks at the first tile, and passes the user's wish to stop on.
struct Watch<'a> {
    cancelled: &'a AtomicBool,
    stopped: AtomicBool,
    is_slow: AtomicBool,
    limit: Option<Duration>,
    /// When the first tile was begun; nothing once it is done.
    begun: Mutex<Option<Instant>>,
}

impl Watch<'_> {
    fn tile_done(&self) {
        let begun = self.begun.lock().ok().and_then(|mut begun| begun.take());
        if let Some((begun, limit)) = begun.zip(self.limit)
            && begun.elapsed() > limit
        {
            self.is_slow.store(true, Ordering::Relaxed);
            self.stopped.store(true, Ordering::Relaxed);
        }
        if self.cancelled.load(Ordering::Relaxed) {
            self.stopped.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the run was stopped for its slowness, and not by the user.
    fn gave_up(&self) -> bool {
        self.is_slow.load(Ordering::Relaxed) && !self.cancelled.load(Ordering::Relaxed)
    }
}

/// Whether an engine failed for want of memory, as far as its words tell.
fn is_out_of_memory(error: &RunTiledError) -> bool {
    let reason = match error {
        RunTiledError::Load { source, .. } => &source.reason,
        RunTiledError::Tile { source, .. } => &source.reason,
        _ => return false,
    };
    let reason = reason.to_ascii_lowercase();
    OUT_OF_MEMORY.iter().any(|words| reason.contains(words))
}

/// What runtimes and allocators say, in lower case.
const OUT_OF_MEMORY: [&str; 6] = [
    "out of memory",
    "out_of_memory",
    "failed to allocate",
    "bad_alloc",
    "bad allocation",
    "not enough memory",
];
