//! `convert`: one conversion without a recipe.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;

use serde::Serialize;
use tilecast_analysis::{TilingAnalysis, analyze};
use tilecast_exec::{Engine, TractEngine};
use tilecast_onnx::Model;
use tilecast_passes::{
    IoTypes, PassReport, Precision, PrecisionPlan, RangeEvidence, RangeSource, RangeStudy, Reason,
    SimplifyOptions, TARGETS, Target, target_by_name,
};
use tilecast_quant::{EstimateError, RangeEstimator, ValueStatistics, estimator_by_name};

use crate::artifact::{ArtifactRequest, fold_shapes};
use crate::bind::bind;
use crate::calibrate::{CalibrateOptions, calibrate, count_tiles, ranges};
use crate::calibration_file::CalibrationFile;
use crate::context::{Context, Event};
use crate::feed::Feeding;
use crate::finite::{FiniteCheck, observe_all};
use crate::images::{ImageFile, find_images};
use crate::pipeline::default_artifact;
use crate::prepare::{prepare, raise_opset};
use crate::recipe::Preprocess;
use crate::report::{PlannedNode, PredictionFacts, PrepareFacts};
use crate::stages::StageClock;
use crate::{Failure, FailureKind};

/// What to convert, and to what.
#[derive(Clone, Debug)]
pub struct ConvertSettings {
    /// FP32 model file.
    pub model: PathBuf,
    /// Precision of the nodes that nothing pins.
    pub to: Precision,
    /// Where the ranges of INT8 come from.
    pub range_source: RangeSource,
    /// Where to write.
    pub output: PathBuf,
    /// Folder of images to calibrate on. INT8 needs one; FP16 and BF16 find out on them which nodes the format can hold.
    pub calibration: Option<PathBuf>,
    /// Table of `calibrate` to take ranges from, instead of observing them on images.
    pub table: Option<PathBuf>,
    /// How ranges are chosen, by name.
    pub range: String,
    /// Target runtime, by name.
    pub target: String,
    /// Side fed to the network while calibrating, pixels.
    pub tile_px: usize,
    /// Most bytes that tiles in flight may take together.
    pub memory_bytes: u64,
    /// How pixels and other inputs reach the model; `None` for images in [0, 1] and the layout that the model declares.
    pub preprocess: Option<Preprocess>,
    /// Whether the model is simplified for the target first, as the main job does.
    pub simplify: bool,
    /// Whether inputs and outputs get the precision too, all but those named in `keep_io`.
    pub convert_io: bool,
    /// Names of inputs and outputs that keep float32.
    pub keep_io: Vec<String>,
    /// Whether documentation strings, metadata and recorded shapes are left out.
    pub strip_metadata: bool,
    /// Where INT8 goes.
    pub int8: Int8Extent,
    /// What is done about the converted model not being finite.
    pub check: Check,
    /// Sizes that the converted model is bound to, as the user writes them.
    pub bind: Vec<String>,
}

/// Where an INT8 model computes in INT8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Int8Extent {
    /// Where the target is faster with it, as far as that is known.
    Worthwhile,
    /// Wherever the target has it.
    Everywhere,
}

/// Whether the converted model is run before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// A model whose outputs are not finite is not written.
    Refuse,
    /// It is written with a warning.
    Warn,
    /// The model is not run.
    Skip,
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
    /// Precision of every node that computes with floats, with the reason.
    pub plan: Vec<PlannedNode>,
    /// What the target will compute in INT8, and what not; null where nothing is in INT8.
    pub prediction: Option<PredictionFacts>,
    /// What to do instead, and why, where INT8 was asked for and no node has it; null otherwise.
    pub advice: Option<String>,
    /// Whether the converted model stayed finite; null where it was not run.
    pub finite: Option<FiniteCheck>,
    /// How the model was simplified first; null where that was not wanted.
    pub prepare: Option<PrepareFacts>,
    /// What the passes that change precision did.
    pub passes: Vec<PassReport>,
}

/// Converts a model file.
///
/// # Errors
/// A file cannot be read or written, the model cannot be run to check that simplifying it changed nothing, INT8 lacks
/// images, a pass cannot do its work, or the converted model gives outputs that are not finite.
pub fn convert(settings: &ConvertSettings, cx: &Context<'_>) -> Result<ConvertOutcome, Failure> {
    let target = find_target(&settings.target)?;
    let estimator = estimator_by_name(&settings.range)
        .map_err(|e| Failure::new(FailureKind::Usage, e.to_string()))?;
    check_output_folder(&settings.output)?;
    let original = Model::load(&settings.model)?;
    let original_bytes = original.stored_bytes();
    // What cannot be bound is found out before anything is done.
    bind(&mut original.clone(), &settings.bind)?;
    let table = known_statistics(settings, estimator.as_ref(), &original)?;
    let mut request = default_artifact(settings.to, target);
    request.range_source = settings.range_source;
    request.io = io_types(settings, &original)?;
    request.strip_metadata = settings.strip_metadata;
    let engine = TractEngine::new();
    let feeding = Feeding::new(settings.preprocess.as_ref(), &original)?;
    let fed = feeding.engine(&engine);
    let mut clock = StageClock::default();
    let (model, prepare) = prepared(settings, original, &request, &engine, &mut clock, cx)?;
    cx.check()?;
    let mut plan = match settings.int8 {
        Int8Extent::Worthwhile => request.plan(&model, settings.tile_px),
        Int8Extent::Everywhere => request.plan_everywhere(&model),
    };
    let values = request.calibrated_values(&model, &plan);
    let (known, needed) = match &table {
        Some(table) => (table.statistics_of(&values)?, Vec::new()),
        None => (BTreeMap::new(), values),
    };
    let mut seen = observe(
        settings,
        &model,
        request.computes_in_half(),
        needed,
        &feeding,
        &fed,
        &mut clock,
        cx,
    )?;
    seen.statistics.extend(known);
    let ranges = ranges(
        &seen.statistics,
        estimator.as_ref(),
        target.activation_symmetry,
    )?
    .into_iter()
    .map(|(name, r)| (name, r.range()))
    .collect();
    if request.computes_in_half() {
        plan.keep_in_range(&model, seen.evidence.as_ref());
    }
    let (converted, passes) = request.rewrite(&model, &plan, &ranges, seen.evidence.as_ref())?;
    cx.check()?;
    let finite = match settings.check {
        Check::Skip => None,
        _ if !request.computes_in_half() => None,
        _ => check_finite(
            settings, &model, &converted, &seen, &feeding, &engine, &mut clock, cx,
        )?,
    };
    // Last: what comes before runs tiles of any size.
    let mut converted = converted;
    if !settings.bind.is_empty() {
        bind(&mut converted, &settings.bind)?;
        fold_shapes(&mut converted)?;
    }
    converted.save(&settings.output)?;
    Ok(ConvertOutcome {
        schema: "tilecast.convert/1",
        path: settings.output.display().to_string(),
        bytes: converted.stored_bytes() as usize,
        bytes_ratio: converted.stored_bytes() as f64 / original_bytes as f64,
        nodes: plan.counts(),
        plan: PlannedNode::of_plan(&plan),
        prediction: PredictionFacts::of(&converted, target),
        advice: advice(settings, &plan),
        finite,
        prepare,
        passes,
    })
}

/// What to say of an INT8 model without a node in INT8.
fn advice(settings: &ConvertSettings, plan: &PrecisionPlan) -> Option<String> {
    let decisions = plan.decisions();
    if settings.to != Precision::Int8 || decisions.iter().any(|d| d.precision == Precision::Int8) {
        return None;
    }
    let slower = decisions.iter().filter(|d| d.reason == Reason::NoFaster);
    Some(match slower.count() {
        0 => format!(
            "target `{}` runs no node of this model in INT8; ship FP16",
            settings.target
        ),
        n => format!(
            "INT8 is no faster on target `{}` in any of the {n} places that have it there, because of narrow or depthwise \
             convolutions and conversions around them; ship FP16",
            settings.target
        ),
    })
}

/// Which inputs and outputs keep float32; a name that the model does not have is a typing error.
fn io_types(settings: &ConvertSettings, model: &Model) -> Result<IoTypes, Failure> {
    let graph = model.graph();
    let outputs = graph.proto().output.iter();
    let names: Vec<&str> = graph
        .inputs()
        .chain(outputs)
        .filter_map(|v| v.name.as_deref())
        .collect();
    if let Some(unknown) = settings
        .keep_io
        .iter()
        .find(|n| !names.contains(&n.as_str()))
    {
        return Err(Failure::new(
            FailureKind::Usage,
            format!("the model has no input or output `{unknown}`"),
        )
        .with_help(format!("it has {}", names.join(", "))));
    }
    let format = settings.to.half_format();
    if settings.convert_io && format.is_none() {
        return Err(Failure::new(
            FailureKind::Usage,
            "inputs and outputs can become FP16 or BF16 only",
        )
        .with_help("leave out `--convert-io`, or convert to fp16 or bf16"));
    }
    Ok(IoTypes {
        converted: format.filter(|_| settings.convert_io),
        kept: settings.keep_io.iter().cloned().collect(),
    })
}

/// The model in the form that is converted, and how it got there.
fn prepared(
    settings: &ConvertSettings,
    original: Model,
    request: &ArtifactRequest,
    engine: &dyn Engine,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<(Model, Option<PrepareFacts>), Failure> {
    if !settings.simplify {
        let mut model = original;
        let opset = request.opset(&model);
        raise_opset(&mut model, opset)?;
        return Ok((model, None));
    }
    let options = SimplifyOptions::for_target(request.target);
    let prepared = clock
        .run(cx, "prepare", "targets", 0, || {
            prepare(&original, options, request.opset(&original), engine)
        })
        .map_err(|failure| match (failure.kind(), failure.help()) {
            (FailureKind::Model, None) => {
                failure.with_help("`--no-simplify` converts the model as it is")
            }
            _ => failure,
        })?;
    let facts = PrepareFacts {
        target: request.target.name,
        passes: prepared.report,
        checks: prepared.checks,
    };
    Ok((prepared.model, Some(facts)))
}

/// What the calibration images showed.
#[derive(Default)]
struct Seen {
    images: Vec<ImageFile>,
    statistics: BTreeMap<String, ValueStatistics>,
    evidence: Option<RangeEvidence>,
}

#[expect(
    clippy::too_many_arguments,
    reason = "all of it is what a calibration is"
)]
fn observe(
    settings: &ConvertSettings,
    model: &Model,
    computes_in_half: bool,
    values: Vec<String>,
    feeding: &Feeding,
    engine: &dyn Engine,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<Seen, Failure> {
    let Some(folder) = &settings.calibration else {
        if !values.is_empty() {
            return Err(
                Failure::new(FailureKind::Usage, "INT8 needs images to calibrate on")
                    .with_help("name a folder of typical inputs with --calibration DIR, or what `calibrate` made of one with --calibration-table TABLE"),
            );
        }
        if computes_in_half {
            cx.emit(&Event::Warning(
                "no calibration images: every operator that can overflow in 16 bits stays in FP32; with --calibration DIR only \
                 those do that come near the end of the format",
            ));
        }
        return Ok(Seen::default());
    };
    let images = find_images(folder, None)?;
    let analysis = analyze(model).ok();
    let study = computes_in_half.then(|| RangeStudy::of(model));
    let options = CalibrateOptions {
        values,
        study,
        ..calibrate_options(settings, feeding, analysis.as_ref())
    };
    let total = count_tiles(&images, &options)?;
    let table = clock.run(cx, "calibrate", "tiles", total, || {
        calibrate(engine, model, &images, &options, &AtomicUsize::new(0), cx)
    })?;
    Ok(Seen {
        evidence: options.evidence(&table),
        statistics: table.statistics,
        images,
    })
}

/// The table that was asked for, if it was made from this model and for this target.
fn known_statistics(
    settings: &ConvertSettings,
    estimator: &dyn RangeEstimator,
    original: &Model,
) -> Result<Option<CalibrationFile>, Failure> {
    let Some(path) = &settings.table else {
        return Ok(None);
    };
    if settings.to != Precision::Int8 || settings.range_source == RangeSource::Dynamic {
        return Err(Failure::new(
            FailureKind::Usage,
            "`--calibration-table` serves static INT8 only: it says nothing of the values that 16 bits may not hold",
        )
        .with_help("name a folder of images with --calibration DIR"));
    }
    let table = CalibrationFile::read(path)?;
    table.check_made_for(
        original,
        &settings.target,
        settings.simplify,
        settings.preprocess.as_ref(),
    )?;
    if estimator.needs_bins() && !table.has_bins() {
        return Err(Failure::new(
            FailureKind::Usage,
            format!("`{}`: {}", path.display(), EstimateError::NoBins),
        )
        .with_help("or convert with `--range minmax`"));
    }
    Ok(Some(table))
}

fn calibrate_options<'a>(
    settings: &ConvertSettings,
    feeding: &Feeding,
    analysis: Option<&'a TilingAnalysis>,
) -> CalibrateOptions<'a> {
    CalibrateOptions {
        values: Vec::new(),
        bins: estimator_by_name(&settings.range).is_ok_and(|estimator| estimator.needs_bins()),
        study: None,
        analysis,
        tile_px: Some(settings.tile_px),
        memory_bytes: settings.memory_bytes,
        value_range: feeding.value_range,
    }
}

#[expect(clippy::too_many_arguments, reason = "all of it is what a check is")]
/// Runs the converted model on what it was calibrated on, or on noise, and looks at every node.
fn check_finite(
    settings: &ConvertSettings,
    model: &Model,
    converted: &Model,
    seen: &Seen,
    feeding: &Feeding,
    engine: &dyn Engine,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<Option<FiniteCheck>, Failure> {
    let check = match &seen.evidence {
        Some(before) => {
            let analysis = analyze(model).ok();
            let options = calibrate_options(settings, feeding, analysis.as_ref());
            let total = count_tiles(&seen.images, &options)?;
            let found = clock.run(cx, "check", "tiles", total, || {
                let done = AtomicUsize::new(0);
                let fed = feeding.engine(engine);
                observe_all(&fed, converted, &seen.images, &options, &done, cx)
            })?;
            FiniteCheck::new("calibration images", converted, &found, before)
        }
        None => match FiniteCheck::on_noise(engine, model, converted) {
            Ok(check) => check,
            Err(failure) if failure.kind() == FailureKind::Model => {
                cx.emit(&Event::Warning(&format!(
                    "the converted model was not checked by running it: {failure}"
                )));
                return Ok(None);
            }
            Err(failure) => return Err(failure),
        },
    };
    let blame = check.blame();
    if check.in_outputs > 0 {
        let message = format!(
            "`{}` as {} gives {} NaN or infinite output elements on {}{blame}",
            settings.model.display(),
            settings.to,
            check.in_outputs,
            check.on
        );
        if settings.check == Check::Refuse {
            return Err(Failure::new(FailureKind::Gate, message).with_help(
                "nothing was written; calibrate on images like these, or write it all the same with --force",
            ));
        }
        cx.emit(&Event::Warning(&message));
    } else if !check.nodes.is_empty() {
        cx.emit(&Event::Warning(&format!(
            "{} node(s) give NaN or infinite values that do not reach an output{blame}",
            check.nodes.len()
        )));
    }
    Ok(Some(check))
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
