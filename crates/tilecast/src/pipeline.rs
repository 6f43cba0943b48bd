//! The main job, stage by stage: recipe → load → lint → prepare → plan → calibrate → rewrite → save → validate → time → describe → report and gate.
//!
//! One file per stage under `pipeline/`, one type at each boundary, so that a stage cannot be skipped by accident.

mod calibrate_stage;
mod contract_stage;
mod dry_run;
mod lint_stage;
mod load_stage;
mod mix_stage;
mod prepare_stage;
mod report_stage;
mod rewrite_stage;
mod save_stage;
mod settings;
mod speed_stage;
mod validate_stage;

use std::path::{Path, PathBuf};

use tilecast_exec::{LibrarySearch, TractEngine};

use crate::Failure;
use crate::cache::StageCache;
use crate::context::Context;
use crate::judging::Judging;
use crate::recipe::LoadedRecipe;
use crate::report::Report;
use crate::stages::StageClock;

pub use dry_run::{DryRun, PredictedArtifact, PredictedStage, dry_run};
pub(crate) use settings::{default_artifact, default_artifacts};

/// What the main job is asked to do.
#[derive(Clone, Debug)]
pub struct QuantizeSettings {
    /// Recipe file.
    pub recipe: PathBuf,
    /// Where artifacts and report go; `dist/<recipe name>` by default.
    pub out: Option<PathBuf>,
    /// `key=value` changes to the recipe.
    pub overrides: Vec<String>,
    /// Where ONNX Runtime may be, in which the artifacts are timed.
    pub onnxruntime: LibrarySearch,
    /// What the result is compared with, and files for the verdict.
    pub judging: Judging,
    /// Where what calibration saw is kept for the next run; `None` computes everything anew.
    pub cache: Option<StageCache>,
}

impl QuantizeSettings {
    /// Where artifacts and report go.
    fn folder(&self, recipe: &LoadedRecipe) -> PathBuf {
        let default = || Path::new("dist").join(&recipe.name);
        self.out.clone().unwrap_or_else(default)
    }
}

/// What the main job made, and where.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// The report, as written to `report.json`.
    pub report: Report,
    /// Folder of artifacts and report.
    pub folder: PathBuf,
}

/// Turns the recipe's FP32 model into release models, measures them and writes a report.
///
/// # Errors
/// Anything that keeps an artifact or the report from being made. A missed gate is no error here: the report is written
/// and says so in [`Report::passed`].
pub fn quantize(settings: &QuantizeSettings, cx: &Context<'_>) -> Result<Quantized, Failure> {
    let baseline = settings.judging.begin()?;
    let recipe = LoadedRecipe::load(&settings.recipe, &settings.overrides)?;
    let folder = settings.folder(&recipe);
    let engine = TractEngine::new();
    let clock = &mut StageClock::default();

    let loaded = load_stage::load(recipe, clock, cx)?;
    let feeding = loaded.feeding.clone();
    let fed = &feeding.engine(&engine);
    let linted = lint_stage::lint(loaded, clock, cx)?;
    let prepared = prepare_stage::prepare(linted, &engine, clock, cx)?;
    let calibrated = calibrate_stage::calibrate(prepared, fed, settings.cache.as_ref(), clock, cx)?;
    let rewritten = rewrite_stage::rewrite(calibrated, clock, cx)?;
    let saved = save_stage::save(rewritten, &folder, clock, cx)?;
    let validated = validate_stage::validate(saved, fed, clock, cx)?;
    let mixed = mix_stage::mix(validated, &folder, fed, clock, cx)?;
    let timed = speed_stage::time(mixed, &settings.onnxruntime, clock, cx)?;
    let described = contract_stage::describe(timed, &folder, fed, clock, cx)?;
    let report = report_stage::report(described, &folder, settings, baseline.as_ref(), clock, cx)?;
    Ok(Quantized { report, folder })
}
