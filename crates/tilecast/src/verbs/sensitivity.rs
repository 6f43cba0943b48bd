//! `sensitivity`: what INT8 costs in each place.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;

use serde::Serialize;
use tilecast_analysis::analyze;
use tilecast_exec::{Engine, LibrarySearch, TractEngine};
use tilecast_onnx::{Model, write_atomically};
use tilecast_passes::{Precision, PrecisionPlan, SimplifyOptions};
use tilecast_quant::{Range, estimator_by_name};

use super::convert::{check_output_folder, find_target};
use crate::artifact::ArtifactRequest;
use crate::calibrate::{CalibrateOptions, calibrate, count_tiles, ranges};
use crate::compare::CompareOptions;
use crate::context::{Context, Event};
use crate::feed::Feeding;
use crate::geometry::Geometry;
use crate::images::{ImageFile, ImageSet, find_images, split};
use crate::pipeline::default_artifact;
use crate::prepare::prepare;
use crate::recipe::Preprocess;
use crate::report::Gates;
use crate::sensitivity::{MixturePoint, NodeSensitivity, Probe};
use crate::speed::{Candidate, Latency, SpeedReport, measure as measure_speed, open};
use crate::stages::{StageClock, StageCost};
use crate::{Failure, FailureKind};

/// What to measure, and on what.
#[derive(Clone, Debug)]
pub struct SensitivitySettings {
    /// FP32 model file.
    pub model: PathBuf,
    /// Folder of images: some are calibrated on, the middle tiles of the others are measured on.
    pub images: PathBuf,
    /// Share of the images that is held out for measuring, 0 to 1.
    pub holdout: f64,
    /// Target runtime, by name.
    pub target: String,
    /// Side fed to the network, pixels.
    pub tile_px: usize,
    /// Most bytes that tiles in flight may take together.
    pub memory_bytes: u64,
    /// How pixels and other inputs reach the model; `None` for images in [0, 1] and the layout that the model declares.
    pub preprocess: Option<Preprocess>,
    /// Where the document is kept, beside being printed.
    pub output: Option<PathBuf>,
    /// Where ONNX Runtime may be, in which mixtures are timed.
    pub onnxruntime: LibrarySearch,
}

/// The candidates, the most costly for what they save first; the JSON document of `sensitivity`.
#[derive(Clone, Debug, Serialize)]
pub struct SensitivityOutcome {
    /// Format of this document.
    pub schema: &'static str,
    /// Model file.
    pub model: String,
    /// Target runtime.
    pub target: &'static str,
    /// Side of the measured tiles, pixels.
    pub tile: usize,
    /// Images that ranges were taken from.
    pub calibrated_on: Vec<String>,
    /// Images that were measured on.
    pub measured_on: Vec<String>,
    /// Mean PSNR against FP32 with every candidate in INT8, dB; null where the output is not finite.
    pub all_int8_db: Option<f64>,
    /// One entry per candidate.
    pub nodes: Vec<NodeSensitivity>,
    /// Artifacts with none, one, two, four and so on of the nodes from the head of the list in a wider precision.
    pub mixtures: Vec<TimedMixture>,
    /// Where the times of mixtures are from; `predicted`, with the reason, where there are none.
    pub onnxruntime: SpeedReport,
    /// Time and memory per stage.
    pub stages: Vec<StageCost>,
}

/// A mixture, and its speed in ONNX Runtime where that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct TimedMixture {
    /// What is in it.
    #[serde(flatten)]
    pub point: MixturePoint,
    /// Time of one run, per number of threads; empty where nothing was timed.
    pub latency: Vec<Latency>,
}

/// Measures what INT8 costs in each place where the target would run it, all else in FP32.
///
/// # Errors
/// A file cannot be read or written, the model cannot be run or tiled, or the user interrupts.
pub fn sensitivity(
    settings: &SensitivitySettings,
    cx: &Context<'_>,
) -> Result<SensitivityOutcome, Failure> {
    let target = find_target(&settings.target)?;
    if let Some(output) = &settings.output {
        check_output_folder(output)?;
    }
    let original = Model::load(&settings.model)?;
    let images = split(find_images(&settings.images, None)?, settings.holdout)?;
    let geometry = Geometry::new(analyze(&original)?)?;
    let request = default_artifact(Precision::Int8, target);
    let engine = TractEngine::new();
    let feeding = Feeding::new(settings.preprocess.as_ref(), &original)?;
    let fed = feeding.engine(&engine);
    let clock = &mut StageClock::default();
    let model = clock
        .run(cx, "prepare", "targets", 0, || {
            prepare(
                &original,
                SimplifyOptions::for_target(target),
                request.opset(&original),
                &engine,
            )
        })?
        .model;
    let plan = request.plan(&model, settings.tile_px);
    let ranges = calibrated(
        settings, &model, &request, &plan, &images, &geometry, &feeding, &fed, clock, cx,
    )?;
    let samples = images.holdout.iter().map(|file| {
        let sample = file.read_both()?.middle(settings.tile_px, geometry.scale());
        sample.map_err(|f| f.about(file.path.display()))
    });
    let samples = samples.collect::<Result<Vec<_>, _>>()?;
    let probe = Probe {
        engine: &fed,
        model: &model,
        request: &request,
        plan: &plan,
        ranges: &ranges,
        evidence: None,
        samples: &samples,
        options: CompareOptions {
            geometry: &geometry,
            tile_px: None,
            memory_bytes: settings.memory_bytes,
            sweeping: None,
            value_range: feeding.value_range,
            looks: None,
            whole_reference: None,
        },
    };
    let nodes = clock.run(cx, "rank nodes", "nodes", probe.n_candidates(), || {
        probe.rank(cx)
    })?;
    let (points, speed) = front(
        &probe, &nodes, settings, &feeding, &original, &images, clock, cx,
    )?;
    let all_int8_db = points.first().and_then(|p| p.psnr_db);
    let mixtures = points
        .into_iter()
        .enumerate()
        .map(|(index, point)| TimedMixture {
            point,
            latency: speed
                .artifacts
                .get(index)
                .map_or_else(Vec::new, |s| s.latency.clone()),
        })
        .collect();
    let names = |files: &[ImageFile]| files.iter().map(ImageFile::name).collect();
    let outcome = SensitivityOutcome {
        schema: "tilecast.sensitivity/1",
        model: settings.model.display().to_string(),
        target: target.name,
        tile: settings.tile_px,
        calibrated_on: names(&images.calibration),
        measured_on: names(&images.holdout),
        all_int8_db,
        nodes,
        mixtures,
        onnxruntime: speed,
        stages: clock.costs().to_vec(),
    };
    if let Some(output) = &settings.output {
        save(&outcome, output)?;
    }
    Ok(outcome)
}

#[expect(
    clippy::too_many_arguments,
    reason = "all of it is what a measurement is"
)]
/// Mixtures along the ranking, measured and, where the machine has ONNX Runtime, timed against the FP32 model.
fn front(
    probe: &Probe<'_>,
    nodes: &[NodeSensitivity],
    settings: &SensitivitySettings,
    feeding: &Feeding,
    original: &Model,
    images: &ImageSet,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<(Vec<MixturePoint>, SpeedReport), Failure> {
    let doubling = std::iter::successors(Some(1), |kept| Some(kept * 2));
    let counts: Vec<usize> = [0]
        .into_iter()
        .chain(doubling)
        .take_while(|&kept| kept < nodes.len().max(1))
        .collect();
    let points = clock.run(cx, "mix precisions", "mixtures", counts.len(), || {
        let mut points = Vec::new();
        for &kept in &counts {
            let (point, _) = probe.measure(&nodes[..kept], &Gates::default(), cx)?;
            points.push(point);
            cx.emit(&Event::Progress { done: points.len() });
        }
        MixturePoint::mark_front(&mut points);
        Ok::<_, Failure>(points)
    })?;
    let engine = match open(&settings.onnxruntime) {
        Ok(engine) => engine,
        Err(speed) => return Ok((points, *speed)),
    };
    let speed = clock.run(cx, "time", "runs", 0, || {
        let models = counts
            .iter()
            .map(|&kept| probe.mixed(&nodes[..kept]))
            .collect::<Result<Vec<_>, _>>()?;
        let names: Vec<String> = counts.iter().map(usize::to_string).collect();
        let candidates: Vec<Candidate<'_>> = names
            .iter()
            .zip(&models)
            .map(|(name, model)| Candidate { name, model })
            .collect();
        let options = CompareOptions {
            tile_px: Some(settings.tile_px),
            ..probe.options
        };
        measure_speed(
            &engine,
            feeding,
            original,
            &candidates,
            &images.holdout,
            &options,
            cx,
        )
    })?;
    Ok((points, speed))
}

/// Ranges of the activations that the plan quantizes.
#[expect(
    clippy::too_many_arguments,
    reason = "all of it is what a calibration is"
)]
fn calibrated(
    settings: &SensitivitySettings,
    model: &Model,
    request: &ArtifactRequest,
    plan: &PrecisionPlan,
    images: &ImageSet,
    geometry: &Geometry,
    feeding: &Feeding,
    engine: &dyn Engine,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<BTreeMap<String, Range>, Failure> {
    let options = CalibrateOptions {
        values: request.calibrated_values(model, plan),
        bins: true,
        study: None,
        analysis: Some(geometry.analysis()),
        tile_px: Some(settings.tile_px),
        memory_bytes: settings.memory_bytes,
        value_range: feeding.value_range,
    };
    let total = count_tiles(&images.calibration, &options)?;
    let table = clock.run(cx, "calibrate", "tiles", total, || {
        calibrate(
            engine,
            model,
            &images.calibration,
            &options,
            &AtomicUsize::new(0),
            cx,
        )
    })?;
    let estimator = estimator_by_name("percentile")
        .map_err(|e| Failure::new(FailureKind::Internal, e.to_string()))?;
    let symmetry = request.target.activation_symmetry;
    let ranges = ranges(&table.statistics, estimator.as_ref(), symmetry)?;
    Ok(ranges
        .into_iter()
        .map(|(name, r)| (name, r.range()))
        .collect())
}

fn save(outcome: &SensitivityOutcome, path: &std::path::Path) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(outcome)
        .map_err(|e| Failure::new(FailureKind::Internal, format!("cannot encode JSON: {e}")))?;
    write_atomically(path, text.as_bytes()).map_err(|e| {
        Failure::new(
            FailureKind::Io,
            format!("cannot write `{}`: {e}", path.display()),
        )
    })
}
