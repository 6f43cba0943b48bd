//! What the main job would do: the stages up to the precision plans run, what follows is predicted, and nothing is written.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;
use tilecast_exec::{Engine, HostTensor, ImagePort, SessionOptions, TractEngine};
use tilecast_quant::Range;
use tilecast_tile::{Size, read_image_size};

use super::calibrate_stage::{survey, table_key};
use super::prepare_stage::PreparedJob;
use super::save_stage::artifact_file_name;
use super::{QuantizeSettings, lint_stage, load_stage, prepare_stage};
use crate::Failure;
use crate::calibrate::{CalibrateOptions, CalibrationTable};
use crate::context::Context;
use crate::geometry::observation_plan;
use crate::recipe::LoadedRecipe;
use crate::stages::StageClock;

/// What observing a run costs beside the run: histograms of every value.
const OBSERVING: f64 = 1.4;

/// The job as it would be done; the JSON document of `quantize --dry-run`.
#[derive(Clone, Debug, Serialize)]
pub struct DryRun {
    /// Format of this document.
    pub schema: &'static str,
    /// The FP32 model.
    pub model: String,
    /// Where artifacts and report would go.
    pub folder: String,
    /// Images that would be calibrated on.
    pub calibration_images: usize,
    /// Images that would be held out.
    pub holdout_images: usize,
    /// Findings of the lint by severity.
    pub lint: BTreeMap<String, usize>,
    /// Side fed to the network, pixels.
    pub tile: usize,
    /// Context per side, pixels; null without a bound.
    pub halo_px: Option<usize>,
    /// What would be written.
    pub artifacts: Vec<PredictedArtifact>,
    /// The stages ahead. Times are those of this machine, from one tile that was run.
    pub stages: Vec<PredictedStage>,
    /// Their sum, seconds.
    pub seconds: f64,
}

/// An artifact that would be written.
#[derive(Clone, Debug, Serialize)]
pub struct PredictedArtifact {
    /// Name.
    pub name: String,
    /// File, relative to the folder.
    pub path: String,
    /// Size, bytes.
    pub bytes: usize,
    /// Size over that of the FP32 model.
    pub bytes_ratio: f64,
    /// Nodes per precision. Calibration may raise some that 16 bits cannot hold.
    pub nodes: BTreeMap<&'static str, usize>,
    /// Gates that it would have to meet, by key.
    pub gates: BTreeMap<&'static str, f64>,
}

/// A stage that would be run.
#[derive(Clone, Debug, Serialize)]
pub struct PredictedStage {
    /// Stage.
    pub name: &'static str,
    /// Tiles that it would run.
    pub tiles: usize,
    /// About how long, seconds.
    pub seconds: f64,
    /// Whether its result is in the cache.
    pub reused: bool,
}

/// Finds out what [`super::quantize`] would do with these settings. Nothing is written.
///
/// # Errors
/// What would keep the job from beginning: the recipe, the model, the images or the preparation.
pub fn dry_run(settings: &QuantizeSettings, cx: &Context<'_>) -> Result<DryRun, Failure> {
    let recipe = LoadedRecipe::load(&settings.recipe, &settings.overrides)?;
    let folder = settings.folder(&recipe);
    let engine = TractEngine::new();
    let clock = &mut StageClock::default();
    let loaded = load_stage::load(recipe, clock, cx)?;
    let linted = lint_stage::lint(loaded, clock, cx)?;
    let prepared = prepare_stage::prepare(linted, &engine, clock, cx)?;
    cx.check()?;

    let linted = &prepared.linted;
    let job = &linted.job;
    let (plans, options) = survey(&prepared, cx);
    let mut artifacts = Vec::new();
    let fp32_bytes = job.model.stored_bytes() as f64;
    for ((request, gates), (index, plan)) in job.artifacts.iter().zip(plans.iter().enumerate()) {
        let model = &prepared.targets[prepared.target_of(index)].prepared.model;
        // A range is two scalars whatever they are, so that a made-up one gives the true size.
        let unit = Range::new(0.0, 1.0).expect("0 and 1 are ordered");
        let values = request.calibrated_values(model, plan).into_iter();
        let ranges = values.map(|value| (value, unit)).collect();
        let (rewritten, _) = request.rewrite(model, plan, &ranges, None)?;
        let bytes = rewritten.stored_bytes() as usize;
        artifacts.push(PredictedArtifact {
            name: request.name.clone(),
            path: artifact_file_name(&job.model, request),
            bytes,
            bytes_ratio: bytes as f64 / fp32_bytes,
            nodes: plan.counts(),
            gates: gates.limits(),
        });
    }
    let mut lint = BTreeMap::new();
    for finding in &linted.findings {
        *lint.entry(finding.severity.to_string()).or_default() += 1;
    }
    let stages = stages(settings, &prepared, &options, &engine)?;
    Ok(DryRun {
        schema: "tilecast.dry-run/1",
        model: job.model.path().display().to_string(),
        folder: folder.display().to_string(),
        calibration_images: job.images.calibration.len(),
        holdout_images: job.images.holdout.len(),
        lint,
        tile: job.tile_px(),
        halo_px: linted.geometry.analysis().halo_px,
        artifacts,
        seconds: stages.iter().map(|stage| stage.seconds).sum(),
        stages,
    })
}

/// The two stages that take long, in tiles of this model on this machine.
fn stages(
    settings: &QuantizeSettings,
    prepared: &PreparedJob,
    options: &[CalibrateOptions<'_>],
    engine: &dyn Engine,
) -> Result<Vec<PredictedStage>, Failure> {
    let linted = &prepared.linted;
    let job = &linted.job;
    let fed = job.feeding.engine(engine);
    let mut per_pixel = None;
    let mut seconds_of = |tile: Size| -> Result<f64, Failure> {
        let n_pixels = (tile.height * tile.width) as f64;
        let rate = match per_pixel {
            Some(rate) => rate,
            None => *per_pixel.insert(tile_seconds(prepared, &fed, tile)? / n_pixels),
        };
        Ok(rate * n_pixels / rayon::current_num_threads() as f64)
    };
    let mut observed = PredictedStage::new("calibrate");
    let mut n_kept = 0;
    for (target, options) in prepared.targets.iter().zip(options) {
        let kept = settings
            .cache
            .as_ref()
            .filter(|_| options.observes())
            .and_then(|cache| {
                let key = table_key(cache, &target.prepared.model, options, job);
                cache.load::<CalibrationTable>(&key)
            });
        if kept.is_some() {
            n_kept += 1;
            continue;
        }
        if !options.observes() {
            continue;
        }
        for image in &job.images.calibration {
            let size = read_image_size(&image.path)?;
            let plan = observation_plan(options.analysis, size, options.tile_px)?;
            observed.tiles += plan.n_tiles();
            observed.seconds += OBSERVING * plan.n_tiles() as f64 * seconds_of(plan.tile_size())?;
        }
    }
    observed.reused = n_kept > 0 && observed.tiles == 0;
    let mut validated = PredictedStage::new("validate");
    for image in &job.images.holdout {
        let size = read_image_size(&image.path)?;
        let plan = linted.geometry.plan(size, Some(job.tile_px()))?;
        let per_model = linted.sweeping.as_ref();
        let per_model = per_model.map_or_else(|| plan.n_tiles(), |s| s.most_tiles(&plan));
        let n_tiles = per_model * (1 + job.artifacts.len());
        validated.tiles += n_tiles;
        validated.seconds += n_tiles as f64 * seconds_of(plan.tile_size())?;
        if plan.n_tiles() > 1 {
            let whole = linted.geometry.plan(size, None)?;
            validated.tiles += 1;
            // One tile keeps one core busy.
            validated.seconds +=
                seconds_of(whole.tile_size())? * rayon::current_num_threads() as f64;
        }
    }
    Ok(vec![observed, validated])
}

impl PredictedStage {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            tiles: 0,
            seconds: 0.0,
            reused: false,
        }
    }
}

/// How long the FP32 model takes for one tile on one core; the second of two runs.
fn tile_seconds(prepared: &PreparedJob, engine: &dyn Engine, tile: Size) -> Result<f64, Failure> {
    let model = &prepared.linted.job.model;
    let port = ImagePort::of(model, engine);
    let planes = port.as_ref().and_then(ImagePort::planes).unwrap_or(3);
    let dims = vec![1, planes, tile.height, tile.width];
    let name = port.map(|port| port.name).unwrap_or_default();
    let session = engine.load(
        model,
        &SessionOptions {
            input_shapes: vec![(name, dims.clone())],
            ..SessionOptions::default()
        },
    )?;
    let grey = [HostTensor::new(
        dims.clone(),
        vec![0.5; dims.iter().product()],
    )];
    session.run(&grey)?;
    let start = Instant::now();
    session.run(&grey)?;
    Ok(start.elapsed().as_secs_f64())
}
