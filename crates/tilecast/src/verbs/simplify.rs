//! `simplify`: the prepare passes alone.

use std::path::PathBuf;

use serde::Serialize;
use tilecast_exec::TractEngine;
use tilecast_onnx::Model;
use tilecast_passes::{SimplifyOptions, SimplifyReport};

use super::convert::{check_output_folder, find_target};
use crate::bind::bind;
use crate::context::Context;
use crate::prepare::{EqualityCheck, check_unchanged, rewrite};
use crate::stages::StageClock;
use crate::{Failure, FailureKind};

/// What to simplify, and how far.
#[derive(Clone, Debug)]
pub struct SimplifySettings {
    /// Model file.
    pub model: PathBuf,
    /// Where to write.
    pub output: PathBuf,
    /// Target runtime, by name.
    pub target: String,
    /// Sizes of the inputs, each `NAME=N`, `INPUT:AXIS=N` or `INPUT=1x3x256x256`; others stay as the model declares them.
    pub bind: Vec<String>,
    /// Up to where the opset is raised if a fusion needs it; `None` keeps the model's own.
    pub max_opset: Option<i64>,
    /// Ends after this many rewrites, to find the one that does harm.
    pub stop_after: Option<usize>,
    /// Folder that gets the model after each rewrite.
    pub dump: Option<PathBuf>,
}

/// What was written; the JSON document of `simplify`.
#[derive(Clone, Debug, Serialize)]
pub struct SimplifyOutcome {
    /// Format of this document.
    pub schema: &'static str,
    /// File written.
    pub path: String,
    /// File sizes before and after.
    pub bytes: [usize; 2],
    /// Opset of the default domain before and after.
    pub opset: [i64; 2],
    /// What was done, and what was left alone.
    #[serde(flatten)]
    pub report: SimplifyReport,
    /// Runs before and after on the same input.
    pub checks: Vec<EqualityCheck>,
}

/// Simplifies a model file, for the bound sizes where there are any, and checks that its outputs are unchanged.
///
/// # Errors
/// A file cannot be read or written, the model's opset is above the limit, the model cannot take a bound size or be run for the
/// check, or an output changed.
pub fn simplify(settings: &SimplifySettings, cx: &Context<'_>) -> Result<SimplifyOutcome, Failure> {
    let target = find_target(&settings.target)?;
    check_output_folder(&settings.output)?;
    let mut model = Model::load(&settings.model)?;
    let bytes = model.stored_bytes();
    bind(&mut model, &settings.bind)?;
    if let Some(max) = settings.max_opset.filter(|&max| max < model.opset()) {
        return Err(Failure::new(
            FailureKind::Usage,
            format!(
                "`{}` has opset {}, and an opset cannot be lowered to {max}",
                settings.model.display(),
                model.opset()
            ),
        )
        .with_help("--opset is the newest opset that the written model may have"));
    }
    let mut failed_dump = None;
    let mut dump = |step: usize, pass: &'static str, model: &Model| {
        if let (Some(folder), None) = (&settings.dump, &failed_dump) {
            failed_dump = model
                .save(&folder.join(format!("{step:03}-{pass}.onnx")))
                .err();
        }
    };
    let mut options = SimplifyOptions::for_target(target);
    options.max_opset = settings.max_opset;
    options.stop_after = settings.stop_after;
    options.dump = Some(&mut dump);
    let mut clock = StageClock::default();
    let (simplified, report) = clock.run(cx, "simplify", "passes", 0, || {
        rewrite(&model, options, model.opset())
    })?;
    if let Some(error) = failed_dump {
        return Err(error.into());
    }
    cx.check()?;
    let checks = clock.run(cx, "compare", "sizes", 0, || {
        check_unchanged(&model, &simplified, &report, &TractEngine::new())
    })?;
    cx.check()?;
    simplified.save(&settings.output)?;
    Ok(SimplifyOutcome {
        schema: "tilecast.simplify/1",
        path: settings.output.display().to_string(),
        bytes: [bytes, simplified.stored_bytes()].map(|b| b as usize),
        opset: [model.opset(), simplified.opset()],
        report,
        checks,
    })
}
