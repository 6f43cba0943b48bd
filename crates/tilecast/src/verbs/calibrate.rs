//! `calibrate`: a table of what activations hold, for conversions to take ranges from.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::AtomicUsize;

use serde::Serialize;
use tilecast_analysis::analyze;
use tilecast_exec::TractEngine;
use tilecast_onnx::Model;
use tilecast_passes::{Pins, Precision, SimplifyOptions};

use super::convert::{check_output_folder, find_target};
use crate::calibrate::{CalibrateOptions, calibrate as observe, count_tiles};
use crate::calibration_file::{CalibrationFile, Origin, Part};
use crate::context::Context;
use crate::feed::Feeding;
use crate::identity::{file_facts, sha256};
use crate::images::{ImageFile, find_images};
use crate::pipeline::default_artifact;
use crate::prepare::rewrite;
use crate::recipe::Preprocess;
use crate::stages::StageClock;
use crate::{Failure, FailureKind};

/// What to observe, on what.
#[derive(Clone, Debug)]
pub struct CalibrateSettings {
    /// FP32 model file.
    pub model: PathBuf,
    /// Folder of images.
    pub images: PathBuf,
    /// Where to write the table.
    pub output: PathBuf,
    /// Target runtime, by name: the model is simplified for it, and it decides which values it may want.
    pub target: String,
    /// Side fed to the network, pixels.
    pub tile_px: usize,
    /// Most bytes that tiles in flight may take together.
    pub memory_bytes: u64,
    /// Whether the model is simplified for the target first, as conversions do.
    pub simplify: bool,
    /// Whether values are counted in bins; without, the table serves min-max ranges alone.
    pub bins: bool,
    /// How pixels and other inputs reach the model; `None` for images in [0, 1] and the layout that the model declares.
    pub preprocess: Option<Preprocess>,
    /// The share of the images to observe; without it all of them.
    pub shard: Option<Shard>,
}

/// One of several shares of the images of a folder: every `of`-th, from the `index`-th on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    of: usize,
}

impl Shard {
    fn images(self, all: Vec<ImageFile>) -> Vec<ImageFile> {
        all.into_iter()
            .skip(self.index - 1)
            .step_by(self.of)
            .collect()
    }
}

impl FromStr for Shard {
    type Err = String;

    /// Reads `i/n`, `i` from 1 to `n`.
    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text
            .split_once('/')
            .and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((index, of)) if (1..=of).contains(&index) => Ok(Self { index, of }),
            _ => Err(format!(
                "`{text}` is no shard; write for instance 1/3, 2/3 and 3/3"
            )),
        }
    }
}

/// Which tables to put together.
#[derive(Clone, Debug)]
pub struct MergeSettings {
    /// The parts, in any order.
    pub tables: Vec<PathBuf>,
    /// Where to write the complete table.
    pub output: PathBuf,
}

/// What was written; the JSON document of `calibrate`.
#[derive(Clone, Debug, Serialize)]
pub struct CalibrateOutcome {
    /// Format of this document.
    pub schema: &'static str,
    /// File written.
    pub path: String,
    /// Its size.
    pub bytes: usize,
    /// Number of images observed.
    pub images: usize,
    /// Number of values observed.
    pub values: usize,
    /// Whether the table is complete, not a part.
    pub complete: bool,
}

/// Observes every value that an INT8 artifact for the target may quantize, whether or not it pins its ends; normalizations
/// are never INT8.
///
/// # Errors
/// A file cannot be read or written, the model cannot be run, there are fewer images than shards, or nothing of the model
/// can be INT8.
pub fn calibrate(
    settings: &CalibrateSettings,
    cx: &Context<'_>,
) -> Result<CalibrateOutcome, Failure> {
    let target = find_target(&settings.target)?;
    check_output_folder(&settings.output)?;
    let original = Model::load(&settings.model)?;
    let all = find_images(&settings.images, None)?;
    let part = settings.shard.filter(|shard| shard.of > 1).map(|shard| {
        let names: String = all.iter().map(|image| image.name() + "\n").collect();
        Part {
            index: shard.index,
            of: shard.of,
            folder_sha256: sha256(names.as_bytes()),
        }
    });
    let n_all = all.len();
    let images = settings
        .shard
        .map_or_else(|| all.clone(), |shard| shard.images(all.clone()));
    if images.is_empty() {
        return Err(Failure::new(
            FailureKind::Usage,
            format!(
                "`{}` has {n_all} images, fewer than shards",
                settings.images.display()
            ),
        )
        .with_help("use as many shards as there are images, or fewer"));
    }
    let engine = TractEngine::new();
    let mut clock = StageClock::default();
    let mut request = default_artifact(Precision::Int8, target);
    request.pins = Pins {
        first_conv: Precision::Int8,
        last_conv: Precision::Int8,
        ..request.pins
    };
    let model = if settings.simplify {
        let options = SimplifyOptions::for_target(target);
        // Conversions prove by running that simplifying changed nothing; here it would take longer than calibrating.
        rewrite(&original, options, request.opset(&original))?.0
    } else {
        original.clone()
    };
    let plan = request.plan_everywhere(&model);
    let values = request.calibrated_values(&model, &plan);
    if values.is_empty() {
        return Err(Failure::new(
            FailureKind::Model,
            format!(
                "`{}` has no node that target `{}` runs in INT8",
                settings.model.display(),
                target.name
            ),
        )
        .with_help("there is nothing to calibrate"));
    }
    let analysis = analyze(&model).ok();
    let feeding = Feeding::new(settings.preprocess.as_ref(), &original)?;
    let options = CalibrateOptions {
        values,
        bins: settings.bins,
        study: None,
        analysis: analysis.as_ref(),
        tile_px: Some(settings.tile_px),
        memory_bytes: settings.memory_bytes,
        value_range: feeding.value_range,
    };
    let total = count_tiles(&images, &options)?;
    let table = clock.run(cx, "calibrate", "tiles", total, || {
        let fed = feeding.engine(&engine);
        observe(&fed, &model, &images, &options, &AtomicUsize::new(0), cx)
    })?;
    let facts = images
        .iter()
        .map(|image| file_facts(&image.path))
        .collect::<Result<_, Failure>>()?;
    let origin = Origin::new(
        &original,
        target.name,
        settings.simplify,
        settings.preprocess.as_ref(),
        settings.tile_px,
    );
    let file = CalibrationFile::new(origin, part, facts, table.statistics);
    outcome(
        &file,
        &settings.output,
        settings.shard.is_none_or(|s| s.of == 1),
    )
}

/// Puts the parts of a calibration together, to the bytes that a calibration in one piece gives.
///
/// # Errors
/// A table cannot be read or written, or the parts are not those of one calibration.
pub fn merge_calibrations(settings: &MergeSettings) -> Result<CalibrateOutcome, Failure> {
    check_output_folder(&settings.output)?;
    let names: Vec<String> = settings
        .tables
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let parts = settings
        .tables
        .iter()
        .map(|path| CalibrationFile::read(path))
        .collect::<Result<_, Failure>>()?;
    outcome(
        &CalibrationFile::merge(parts, &names)?,
        &settings.output,
        true,
    )
}

fn outcome(
    file: &CalibrationFile,
    output: &std::path::Path,
    complete: bool,
) -> Result<CalibrateOutcome, Failure> {
    Ok(CalibrateOutcome {
        schema: "tilecast.calibrate/1",
        path: output.display().to_string(),
        bytes: file.write(output)?,
        images: file.n_images(),
        values: file.n_values(),
        complete,
    })
}
