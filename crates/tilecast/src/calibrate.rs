//! Calibration: observing activations while the model runs over the calibration images.
//!
//! Every image is cut into tiles of the size that the release model will be fed, so that the values behind global
//! poolings are those of tiles; images, and the tiles of large ones, are shared out over all cores, each with histograms
//! of its own. Histograms depend
//! on the multiset of observed values alone, so the result is the same for any number of threads and any order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tilecast_analysis::TilingAnalysis;
use tilecast_exec::{Engine, ImagePort, Session, SessionOptions, Unseen};
use tilecast_onnx::Model;
use tilecast_passes::{RangeEvidence, RangeStudy, RangeTally};
use tilecast_quant::{
    Histogram, Range, RangeEstimator, Symmetry, ValueStatistics, clipped_fraction,
};
use tilecast_tile::{PlanarImage, Size, TilePlan, ValueRange, crop_tile, read_image_size};

use crate::context::{Context, Event};
use crate::geometry::observation_plan;
use crate::images::ImageFile;
use crate::{Failure, FailureKind};

/// Decoded images side by side may fill one part in so many of the memory.
const IMAGE_SHARE: u64 = 4;
/// Most channels of a decoded image.
const N_CHANNELS: u64 = 3;

/// What is observed, and on which tiles.
#[derive(Clone, Debug)]
pub(crate) struct CalibrateOptions<'a> {
    /// Names of the values whose histograms are wanted.
    pub(crate) values: Vec<String>,
    /// Whether values are counted in bins; without, only their extremes are kept, which takes less time.
    pub(crate) bins: bool,
    /// What else is to be seen: extremes and sums, for formats of 16 bits.
    pub(crate) study: Option<RangeStudy>,
    /// Facts about tiling the model; `None` where they are not known.
    pub(crate) analysis: Option<&'a TilingAnalysis>,
    /// Side fed to the network; `None` runs every image whole.
    pub(crate) tile_px: Option<usize>,
    /// Most bytes that the tiles in flight may take together.
    pub(crate) memory_bytes: u64,
    /// Values that stand for black and white at the network's input.
    pub(crate) value_range: ValueRange,
}

/// Statistics of every observed value, and the tally of the study.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CalibrationTable {
    /// By name of the value.
    pub(crate) statistics: BTreeMap<String, ValueStatistics>,
    tally: Option<RangeTally>,
}

impl CalibrateOptions<'_> {
    /// Whether anything is to be observed.
    #[must_use]
    pub(crate) fn observes(&self) -> bool {
        !self.values.is_empty() || self.study.is_some()
    }

    fn empty_histogram(&self) -> Histogram {
        if self.bins {
            Histogram::new()
        } else {
            Histogram::extremes_only()
        }
    }

    /// What the table saw of the study, if there was one.
    #[must_use]
    pub(crate) fn evidence(&self, table: &CalibrationTable) -> Option<RangeEvidence> {
        Some(self.study.as_ref()?.evidence(table.tally.as_ref()?))
    }
}

/// Range chosen for one value, and what it leaves out.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, JsonSchema)]
pub struct CalibratedRange {
    /// Smallest value that is represented.
    pub min: f32,
    /// Largest value that is represented.
    pub max: f32,
    /// Smallest observed value.
    pub observed_min: f32,
    /// Largest observed value.
    pub observed_max: f32,
    /// Share of observed values that saturate, 0 to 1.
    pub clipped: f64,
}

/// The range of every value by this estimator, for grids of this symmetry.
///
/// # Errors
/// A value was never finite.
pub(crate) fn ranges(
    statistics: &BTreeMap<String, ValueStatistics>,
    estimator: &dyn RangeEstimator,
    symmetry: Symmetry,
) -> Result<BTreeMap<String, CalibratedRange>, Failure> {
    let values: Vec<_> = statistics.iter().collect();
    let ranges: Vec<_> = values
        .par_iter()
        .map(|(name, seen)| Ok(((*name).clone(), range(name, seen, estimator, symmetry)?)))
        .collect();
    // Of several failures the first one is told, whichever thread met its own first.
    ranges.into_iter().collect()
}

fn range(
    name: &str,
    seen: &ValueStatistics,
    estimator: &dyn RangeEstimator,
    symmetry: Symmetry,
) -> Result<CalibratedRange, Failure> {
    let fail = |reason: String| {
        Failure::new(
            FailureKind::Model,
            format!("cannot calibrate `{name}`: {reason}"),
        )
        .with_help("check that the model runs on these images in FP32")
    };
    let histogram = seen.histogram();
    if histogram.non_finite() > 0 {
        return Err(fail(format!(
            "{} observed values are not finite",
            histogram.non_finite()
        )));
    }
    let range = estimator
        .estimate(seen, symmetry)
        .map_err(|e| fail(e.to_string()))?;
    let observed = histogram
        .range()
        .ok_or_else(|| fail("nothing was observed".to_owned()))?;
    let clipped = clipped_fraction(histogram, range);
    Ok(CalibratedRange {
        min: range.min(),
        max: range.max(),
        observed_min: observed.min(),
        observed_max: observed.max(),
        clipped: clipped.below + clipped.above,
    })
}

impl CalibrationTable {
    fn merge(&mut self, other: &Self) {
        for (name, statistics) in &other.statistics {
            self.statistics
                .entry(name.clone())
                .or_default()
                .merge(statistics);
        }
        match (&mut self.tally, &other.tally) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (mine @ None, Some(theirs)) => *mine = Some(theirs.clone()),
            (_, None) => {}
        }
    }
}

impl CalibratedRange {
    /// The range for quantization.
    ///
    /// # Panics
    /// Never: ranges come out of an estimator.
    #[must_use]
    pub(crate) fn range(&self) -> Range {
        Range::new(self.min, self.max).expect("an estimated range is finite and ordered")
    }
}

/// Number of tiles that [`calibrate`] will run, for progress.
///
/// # Errors
/// An image cannot be read or planned.
pub(crate) fn count_tiles(
    images: &[ImageFile],
    options: &CalibrateOptions<'_>,
) -> Result<usize, Failure> {
    let mut total = 0;
    for image in images {
        let size = read_image_size(&image.path)?;
        total += plan(options, size)
            .map_err(|f| f.about(image.path.display()))?
            .n_tiles();
    }
    Ok(total)
}

/// Observes the named values over all tiles of all images. `done` counts tiles, over several calls where the caller makes
/// several; without values there is nothing to run.
///
/// # Errors
/// An image cannot be read, the model cannot be run, or the user interrupts.
pub(crate) fn calibrate(
    engine: &dyn Engine,
    model: &Model,
    images: &[ImageFile],
    options: &CalibrateOptions<'_>,
    done: &AtomicUsize,
    cx: &Context<'_>,
) -> Result<CalibrationTable, Failure> {
    if !options.observes() {
        return Ok(CalibrationTable::default());
    }
    let studied = options.study.iter().flat_map(RangeStudy::values);
    let observe: Vec<String> = options.values.iter().chain(studied).cloned().collect();
    let port = ImagePort::of(model, engine);
    let planes = port.as_ref().and_then(ImagePort::planes);
    let input = port.map(|port| port.name).unwrap_or_default();
    let load = |dims: Vec<usize>| {
        engine.load(
            model,
            &SessionOptions {
                input_shapes: vec![(input.clone(), dims)],
                observe: observe.clone(),
                unseen: match options.study {
                    // It asks for all that there is.
                    Some(_) => Unseen::Skipped,
                    None => Unseen::Refused,
                },
            },
        )
    };
    // Nearly all images have tiles of one shape.
    let last = Mutex::new(None::<(Vec<usize>, Arc<dyn Session>)>);
    let session_for = |dims: Vec<usize>| -> Result<Arc<dyn Session>, Failure> {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, session)) = &*last
            && *known == dims
        {
            return Ok(Arc::clone(session));
        }
        // Room is made before another one is prepared.
        *last = None;
        let session = load(dims.clone())?;
        *last = Some((dims, Arc::clone(&session)));
        Ok(session)
    };
    let table = Mutex::new(CalibrationTable::default());
    let n_threads = rayon::current_num_threads();
    let n_readers = images_at_once(images, options, n_threads)?.min(images.len());
    let observe_next = |index: usize, file: &ImageFile| -> Result<(), Failure> {
        let image = file.read()?.with_planes(planes);
        let plan = plan(options, image.size())?;
        let tile = plan.tile_size();
        let session = session_for(vec![1, image.channels(), tile.height, tile.width])?;
        // Threads without an image of their own help with the tiles of the last ones.
        let share = n_threads.div_ceil(n_readers.min(images.len() - index));
        let per_worker = session.peak_live_bytes().max(1) as u64;
        let affordable = options.memory_bytes / per_worker / n_readers as u64;
        let n_workers = share
            .min(usize::try_from(affordable).unwrap_or(share))
            .max(1);
        let session = session.as_ref();
        let observed = observe_image(session, &image, &plan, options, n_workers, cx, done)
            .map_err(|f| f.about(file.path.display()))?;
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        table.merge(&observed);
        Ok(())
    };
    let taken = AtomicUsize::new(0);
    let failures: Vec<(usize, Failure)> = (0..n_readers)
        .into_par_iter()
        .filter_map(|_| {
            loop {
                let index = taken.fetch_add(1, Ordering::Relaxed);
                let file = images.get(index)?;
                if let Err(failure) = observe_next(index, file) {
                    taken.store(images.len(), Ordering::Relaxed);
                    return Some((index, failure));
                }
            }
        })
        .collect();
    // Images before the first one that fails were taken before it, and are seen to their end: it is the same in every run.
    if let Some((_, failure)) = failures.into_iter().min_by_key(|(index, _)| *index) {
        return Err(failure);
    }
    Ok(table.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// How many images are held and observed side by side: one per thread, if they fill no more than their share of the
/// memory.
fn images_at_once(
    images: &[ImageFile],
    options: &CalibrateOptions<'_>,
    n_threads: usize,
) -> Result<usize, Failure> {
    let mut largest: u64 = 1;
    for image in images {
        let size = read_image_size(&image.path)?;
        let n_values = (size.height as u64).saturating_mul(size.width as u64) * N_CHANNELS;
        largest = largest.max(n_values.saturating_mul(size_of::<f32>() as u64));
    }
    let affordable = options.memory_bytes / IMAGE_SHARE / largest;
    Ok(usize::try_from(affordable)
        .unwrap_or(n_threads)
        .clamp(1, n_threads))
}

fn plan(options: &CalibrateOptions<'_>, size: Size) -> Result<TilePlan, Failure> {
    observation_plan(options.analysis, size, options.tile_px)
}

/// Observes the tiles of one image, shared out over so many workers.
fn observe_image(
    session: &dyn Session,
    image: &PlanarImage,
    plan: &TilePlan,
    options: &CalibrateOptions<'_>,
    n_workers: usize,
    cx: &Context<'_>,
    done: &AtomicUsize,
) -> Result<CalibrationTable, Failure> {
    let tiles: Vec<_> = plan.tiles().collect();
    let n_chunks = n_workers.min(tiles.len());
    let chunks: Vec<Vec<_>> = (0..n_chunks)
        .map(|chunk| tiles.iter().skip(chunk).step_by(n_chunks).collect())
        .collect();
    let parts = chunks
        .par_iter()
        .map(|chunk| {
            let n_histograms = options.values.len();
            let mut histograms = vec![options.empty_histogram(); n_histograms];
            let mut studied = options.study.as_ref().map(|study| (study, study.tally()));
            for tile in chunk {
                cx.check()?;
                let input = crop_tile(image, plan, tile, options.value_range);
                session.run_observed(&[input], &mut |index, dims, values| {
                    if let Some(histogram) = histograms.get_mut(index) {
                        histogram.observe(values);
                    } else if let Some((study, tally)) = &mut studied {
                        study.observe(tally, index - n_histograms, dims, values);
                    }
                })?;
                cx.emit(&Event::Progress {
                    done: done.fetch_add(1, Ordering::Relaxed) + 1,
                });
            }
            Ok((histograms, studied.map(|(_, tally)| tally)))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let mut whole = vec![options.empty_histogram(); options.values.len()];
    let mut table = CalibrationTable::default();
    for (histograms, tally) in parts {
        for (histogram, part) in whole.iter_mut().zip(&histograms) {
            histogram.merge(part);
        }
        table.merge(&CalibrationTable {
            statistics: BTreeMap::new(),
            tally,
        });
    }
    let statistics = whole.into_iter().map(ValueStatistics::of_image);
    table.statistics = options.values.iter().cloned().zip(statistics).collect();
    Ok(table)
}
