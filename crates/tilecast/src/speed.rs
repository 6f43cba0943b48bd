//! How fast models are in ONNX Runtime on this machine, and how far they are from FP32 there.
//!
//! One tile of every held-out image is enough for both: the one in the middle. Runs of all models alternate, so that
//! whatever else the machine does falls on all of them alike.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use schemars::JsonSchema;
use serde::Serialize;
use tilecast_exec::{
    Engine, HostTensor, ImagePort, LibrarySearch, OrtEngine, Session, SessionOptions,
};
use tilecast_metrics::{PsnrSummary, SquaredError};
use tilecast_onnx::Model;
use tilecast_tile::crop_tile;

use crate::compare::CompareOptions;
use crate::context::{Context, Event};
use crate::feed::{Feeding, network_planes};
use crate::images::ImageFile;
use crate::{Failure, FailureKind};

/// Seconds that the timed runs of all models should take together per number of threads; large models take longer, as
/// they are run [`MIN_ROUNDS`] times in any case.
const SECONDS_PER_SETTING: f64 = 1.5;

/// Fewest timed runs per model and number of threads, and most.
const MIN_ROUNDS: usize = 5;
const MAX_ROUNDS: usize = 15;

/// What ONNX Runtime's CPU provider makes of the models, on the machine that wrote the report.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SpeedReport {
    /// `measured`; or `predicted` where nothing was run, and the precision plans are all that is known.
    pub source: &'static str,
    /// Why nothing was run; null where it was.
    pub reason: Option<String>,
    /// Version of the library.
    pub version: Option<String>,
    /// Shape of the input that the runs were timed on.
    pub input: Option<Vec<usize>>,
    /// The FP32 model.
    pub fp32: Option<ModelSpeed>,
    /// The artifacts, in the order of the report's.
    pub artifacts: Vec<ModelSpeed>,
}

/// One model in ONNX Runtime.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ModelSpeed {
    /// Name of the artifact; `fp32` for the model that all came from.
    pub name: String,
    /// Why ONNX Runtime does not run it; null where it does.
    pub error: Option<String>,
    /// Time of one run, per number of threads.
    pub latency: Vec<Latency>,
    /// PSNR against the FP32 model in ONNX Runtime, of one tile per held-out image, dB; null for that model itself, and
    /// where an output is not finite.
    pub psnr_db: Option<PsnrSummary>,
}

/// Time of one run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Latency {
    /// Threads of the session.
    pub threads: usize,
    /// Timed runs, each between two of another model.
    pub runs: usize,
    /// Median, milliseconds.
    pub median_ms: f64,
    /// Fastest run, milliseconds.
    pub min_ms: f64,
    /// Median of the FP32 model by the median of this one.
    pub speedup: f64,
}

impl SpeedReport {
    /// Nothing was run.
    #[must_use]
    pub(crate) fn predicted(reason: impl Into<String>) -> Self {
        Self {
            source: "predicted",
            reason: Some(reason.into()),
            version: None,
            input: None,
            fp32: None,
            artifacts: Vec::new(),
        }
    }
}

/// A model to measure.
pub(crate) struct Candidate<'a> {
    pub(crate) name: &'a str,
    pub(crate) model: &'a Model,
}

/// ONNX Runtime, or why there is none.
pub(crate) fn open(search: &LibrarySearch) -> Result<OrtEngine, Box<SpeedReport>> {
    OrtEngine::open(search).map_err(|error| Box::new(SpeedReport::predicted(error.to_string())))
}

/// Measures the reference and the candidates. A candidate that ONNX Runtime does not run is reported as such; where it
/// does not run the reference, nothing is measured.
///
/// # Errors
/// An image cannot be read, or the user interrupts.
pub(crate) fn measure(
    engine: &OrtEngine,
    feeding: &Feeding,
    reference: &Model,
    candidates: &[Candidate<'_>],
    images: &[ImageFile],
    options: &CompareOptions<'_>,
    cx: &Context<'_>,
) -> Result<SpeedReport, Failure> {
    let tiles = middle_tiles(
        images,
        network_planes(reference, &feeding.engine(engine)),
        options,
    )?;
    let Some(largest) = tiles.iter().max_by_key(|t| t.data().len()) else {
        return Ok(SpeedReport::predicted("no image is held out"));
    };
    let names = ["fp32"]
        .into_iter()
        .chain(candidates.iter().map(|c| c.name));
    let models: Vec<&Model> = [reference]
        .into_iter()
        .chain(candidates.iter().map(|c| c.model))
        .collect();
    let mut speeds: Vec<ModelSpeed> = names
        .map(|name| ModelSpeed {
            name: name.to_owned(),
            error: None,
            latency: Vec::new(),
            psnr_db: None,
        })
        .collect();
    let mut done = Progress { cx, done: 0 };
    for threads in thread_counts() {
        let engine = engine.clone().with_threads(threads);
        time(
            &feeding.engine(&engine),
            &models,
            largest,
            threads.get(),
            &mut speeds,
            &mut done,
        )?;
    }
    if let Some(reason) = speeds[0].error.take() {
        return Ok(SpeedReport::predicted(reason));
    }
    let peak = f64::from(feeding.value_range.width());
    score(
        &feeding.engine(engine),
        &models,
        &tiles,
        peak,
        &mut speeds,
        &mut done,
    )?;
    let mut speeds = speeds.into_iter();
    Ok(SpeedReport {
        source: "measured",
        reason: None,
        version: Some(engine.version().to_owned()),
        input: Some(largest.dims().to_vec()),
        fp32: speeds.next(),
        artifacts: speeds.collect(),
    })
}

/// One thread, and all that this process may use.
fn thread_counts() -> Vec<NonZeroUsize> {
    let all = NonZeroUsize::new(rayon::current_num_threads()).unwrap_or(NonZeroUsize::MIN);
    let mut counts = vec![NonZeroUsize::MIN, all];
    counts.dedup();
    counts
}

/// The tile in the middle of each image, as it is fed to the network.
fn middle_tiles(
    images: &[ImageFile],
    planes: Option<usize>,
    options: &CompareOptions<'_>,
) -> Result<Vec<HostTensor>, Failure> {
    images
        .iter()
        .map(|file| {
            let image = file.read()?.with_planes(planes);
            let plan = options.geometry.plan(image.size(), options.tile_px)?;
            let middle = plan.tile(plan.n_tiles() / 2);
            Ok(crop_tile(&image, &plan, &middle, options.value_range))
        })
        .collect()
}

struct Progress<'a> {
    cx: &'a Context<'a>,
    done: usize,
}

impl Progress<'_> {
    fn step(&mut self) -> Result<(), Failure> {
        self.cx.check()?;
        self.done += 1;
        self.cx.emit(&Event::Progress { done: self.done });
        Ok(())
    }
}

fn load(
    engine: &dyn Engine,
    model: &Model,
    input: &HostTensor,
) -> Result<Arc<dyn Session>, tilecast_exec::LoadError> {
    let name = ImagePort::of(model, engine).map(|port| port.name);
    let options = SessionOptions {
        input_shapes: vec![(name.unwrap_or_default(), input.dims().to_vec())],
        ..SessionOptions::default()
    };
    engine.load(model, &options)
}

/// Adds the latency at one number of threads to every model that can be run.
fn time(
    engine: &dyn Engine,
    models: &[&Model],
    input: &HostTensor,
    threads: usize,
    speeds: &mut [ModelSpeed],
    done: &mut Progress<'_>,
) -> Result<(), Failure> {
    let input = std::slice::from_ref(input);
    let mut sessions: Vec<(usize, Arc<dyn Session>)> = Vec::new();
    let mut seconds_per_round = 0.0;
    for (index, model) in models.iter().enumerate() {
        if speeds[index].error.is_some() {
            continue;
        }
        done.step()?;
        // The first run allocates; the second tells how long a round will take.
        let session = match load(engine, model, &input[0]) {
            Ok(session) => session,
            Err(error) => {
                speeds[index].error = Some(error.to_string());
                continue;
            }
        };
        match session.run(input).and_then(|_| {
            let start = Instant::now();
            session.run(input)?;
            Ok(start.elapsed().as_secs_f64())
        }) {
            Ok(seconds) => seconds_per_round += seconds,
            Err(error) => {
                speeds[index].error = Some(error.to_string());
                continue;
            }
        }
        sessions.push((index, session));
    }
    let rounds = (SECONDS_PER_SETTING / seconds_per_round.max(1e-9)) as usize;
    let rounds = rounds.clamp(MIN_ROUNDS, MAX_ROUNDS);
    let mut times = vec![Vec::with_capacity(rounds); models.len()];
    for _ in 0..rounds {
        for (index, session) in &sessions {
            done.step()?;
            let start = Instant::now();
            session.run(input)?;
            times[*index].push(1e3 * start.elapsed().as_secs_f64());
        }
    }
    let reference_ms = median(&mut times[0]);
    for (index, _) in sessions {
        let median_ms = median(&mut times[index]);
        speeds[index].latency.push(Latency {
            threads,
            runs: rounds,
            median_ms,
            min_ms: times[index].first().copied().unwrap_or(f64::NAN),
            speedup: reference_ms / median_ms,
        });
    }
    Ok(())
}

/// The middle of the sorted values, or the mean of the two in the middle; sorts them. NaN without values.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    match n {
        0 => f64::NAN,
        _ if n % 2 == 1 => values[n / 2],
        _ => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// Adds the PSNR of every candidate that can be run.
fn score(
    engine: &dyn Engine,
    models: &[&Model],
    tiles: &[HostTensor],
    peak: f64,
    speeds: &mut [ModelSpeed],
    done: &mut Progress<'_>,
) -> Result<(), Failure> {
    let mut expected: Vec<HostTensor> = Vec::new();
    for (index, model) in models.iter().enumerate() {
        if speeds[index].error.is_some() {
            continue;
        }
        let mut errors = Vec::with_capacity(tiles.len());
        let mut last: Option<(Vec<usize>, Arc<dyn Session>)> = None;
        for (position, tile) in tiles.iter().enumerate() {
            done.step()?;
            // Nearly all images have tiles of one shape.
            let session = match last.take() {
                Some((dims, session)) if dims == tile.dims() => session,
                _ => load(engine, model, tile)?,
            };
            let output = session.run(std::slice::from_ref(tile))?;
            last = Some((tile.dims().to_vec(), session));
            let output = output.into_iter().next().ok_or_else(|| {
                Failure::new(FailureKind::Model, "the model has no output to compare")
            })?;
            match expected.get(position) {
                None => expected.push(output),
                Some(expected) => {
                    let mut error = SquaredError::new();
                    error
                        .add(expected.data(), output.data())
                        .map_err(|e| Failure::new(FailureKind::Model, e.to_string()))?;
                    errors.push(error);
                }
            }
        }
        if index > 0 {
            speeds[index].psnr_db = PsnrSummary::from_images(&errors, peak);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert!(median(&mut []).is_nan());
        for (mut values, expected) in [
            (vec![3.0], 3.0),
            (vec![9.0, 1.0], 5.0),
            (vec![5.0, 100.0, 1.0], 5.0),
            (vec![4.0, 100.0, 1.0, 2.0], 3.0),
        ] {
            assert!((median(&mut values) - expected).abs() < 1e-12, "{values:?}");
        }
    }
}
