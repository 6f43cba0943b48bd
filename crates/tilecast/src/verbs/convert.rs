//! `convert`: one conversion without a recipe.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;

use serde::Serialize;
use tilecast_analysis::analyze;
use tilecast_exec::TractEngine;
use tilecast_onnx::Model;
use tilecast_passes::{PassReport, Precision, SimplifyOptions, TARGETS, Target, target_by_name};
use tilecast_quant::estimator_by_name;
use tilecast_tile::ValueRange;

use crate::calibrate::{CalibrateOptions, calibrate, count_tiles};
use crate::context::Context;
use crate::geometry::Geometry;
use crate::images::find_images;
use crate::pipeline::default_artifact;
use crate::prepare::prepare;
use crate::report::PrepareFacts;
use crate::stages::StageClock;
use crate::{Failure, FailureKind};

/// What to convert, and to what.
#[derive(Clone, Debug)]
pub struct ConvertSettings {
    /// FP32 model file.
    pub model: PathBuf,
    /// Precision of the nodes that nothing pins.
    pub to: Precision,
    /// Where to write.
    pub output: PathBuf,
    /// Folder of images to calibrate on; INT8 needs one.
    pub calibration: Option<PathBuf>,
    /// Target runtime, by name.
    pub target: String,
    /// Side fed to the network while calibrating, pixels.
    pub tile_px: usize,
    /// Most bytes that tiles in flight may take together.
    pub memory_bytes: u64,
    /// Whether the model is simplified for the target first, as the main job does.
    pub simplify: bool,
}

/// What was written; the JSON document of `convert`.
#[derive(Clone, Debug, Serialize)]
pub struct ConvertOutcome {
    /// Format of this document.
    pub schema: &'static str,
    /// File written.
    pub path: String,
    /// Its size.
    pub bytes: usize,
    /// Its size over that of the input.
    pub bytes_ratio: f64,
    /// Number of nodes per precision, of those that compute with floats.
    pub nodes: BTreeMap<&'static str, usize>,
    /// How the model was simplified first; null where that was not wanted.
    pub prepare: Option<PrepareFacts>,
    /// What the passes that change precision did.
    pub passes: Vec<PassReport>,
}

/// Converts a model file.
///
/// # Errors
/// A file cannot be read or written, the model cannot be run to check that simplifying it changed nothing, INT8 lacks
/// images, or a pass cannot do its work.
pub fn convert(settings: &ConvertSettings, cx: &Context<'_>) -> Result<ConvertOutcome, Failure> {
    let target = find_target(&settings.target)?;
    check_output_folder(&settings.output)?;
    let original = Model::load(&settings.model)?;
    let original_bytes = original.stored_bytes();
    let engine = TractEngine::new();
    let mut clock = StageClock::default();
    let (model, prepare) = if settings.simplify {
        let options = SimplifyOptions::for_target(target);
        let prepared = clock
            .run(cx, "prepare", "targets", 0, || {
                prepare(&original, options, &engine)
            })
            .map_err(|failure| match (failure.kind(), failure.help()) {
                (FailureKind::Model, None) => {
                    failure.with_help("`--no-simplify` converts the model as it is")
                }
                _ => failure,
            })?;
        let facts = PrepareFacts {
            target: target.name,
            passes: prepared.report,
            checks: prepared.checks,
        };
        (prepared.model, Some(facts))
    } else {
        (original, None)
    };
    cx.check()?;
    let request = default_artifact(settings.to, target);
    let plan = request.plan(&model);
    let values = request.calibrated_values(&model, &plan);
    let ranges = match (&settings.calibration, values.is_empty()) {
        (_, true) => BTreeMap::new(),
        (None, false) => {
            return Err(
                Failure::new(FailureKind::Usage, "INT8 needs images to calibrate on")
                    .with_help("name a folder of typical inputs with --calibration DIR"),
            );
        }
        (Some(folder), false) => {
            let images = find_images(folder, None)?;
            let geometry = Geometry::new(analyze(&model)?)?;
            let options = CalibrateOptions {
                values,
                geometry: &geometry,
                tile_px: Some(settings.tile_px),
                memory_bytes: settings.memory_bytes,
                value_range: ValueRange::UNIT,
            };
            let total = count_tiles(&images, &options)?;
            let table = clock.run(cx, "calibrate", "tiles", total, || {
                calibrate(&engine, &model, &images, &options, &AtomicUsize::new(0), cx)
            })?;
            let estimator = estimator_by_name("percentile")
                .map_err(|e| Failure::new(FailureKind::Internal, e.to_string()))?;
            table
                .ranges(estimator.as_ref())?
                .into_iter()
                .map(|(name, r)| (name, r.range()))
                .collect()
        }
    };
    let (converted, passes) = request.rewrite(&model, &plan, &ranges)?;
    cx.check()?;
    converted.save(&settings.output)?;
    Ok(ConvertOutcome {
        schema: "tilecast.convert/1",
        path: settings.output.display().to_string(),
        bytes: converted.stored_bytes() as usize,
        bytes_ratio: converted.stored_bytes() as f64 / original_bytes as f64,
        nodes: plan.counts(),
        prepare,
        passes,
    })
}

/// The target of this name.
pub(super) fn find_target(name: &str) -> Result<&'static Target, Failure> {
    target_by_name(name).ok_or_else(|| {
        let known: Vec<_> = TARGETS.iter().map(|t| t.name).collect();
        Failure::new(FailureKind::Usage, format!("there is no target `{name}`"))
            .with_help(format!("known: {}", known.join(", ")))
    })
}

/// Finds out before the work that the folder of an output is missing.
pub(super) fn check_output_folder(output: &Path) -> Result<(), Failure> {
    match output.parent().filter(|f| !f.as_os_str().is_empty()) {
        Some(missing) if !missing.is_dir() => Err(Failure::new(
            FailureKind::Io,
            format!(
                "cannot write `{}`: there is no folder `{}`",
                output.display(),
                missing.display()
            ),
        )
        .with_help("create it first")),
        _ => Ok(()),
    }
}
