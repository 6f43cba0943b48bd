//! Stage 10: the report is put together, judged by the gates and written as JSON and Markdown.

use std::path::Path;

use tilecast_onnx::write_atomically;

use super::mix_stage::MixedJob;
use super::prepare_stage::{PreparedJob, PreparedTarget};
use super::speed_stage::TimedJob;
use super::validate_stage::ValidatedJob;
use crate::context::Context;
use crate::identity::{file_facts, sha256};
use crate::images::ImageFile;
use crate::report::{
    ArtifactReport, CalibrationFacts, FileFacts, ModelFacts, PlannedNode, PredictionFacts,
    PrepareFacts, Quality, REPORT_FILES, REPORT_SCHEMA, Report, TilingFacts, Tool, to_markdown,
};
use crate::stages::StageClock;
use crate::sums::write_sums;
use crate::verbs::inspect::count_parameters;
use crate::{Failure, FailureKind};

pub(super) fn report(
    timed: TimedJob,
    folder: &Path,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<Report, Failure> {
    cx.check()?;
    let TimedJob { mixed, speed } = timed;
    let MixedJob {
        validated,
        mut mixtures,
    } = mixed;
    let ValidatedJob {
        saved,
        images,
        non_finite,
    } = validated;
    let rewritten = saved.rewritten;
    let calibrated = rewritten.calibrated;
    let PreparedJob { linted, targets } = calibrated.prepared;
    let ranges = targets
        .iter()
        .zip(calibrated.ranges)
        .filter(|(_, ranges)| !ranges.is_empty())
        .map(|(target, ranges)| (target.target.name, ranges))
        .collect();
    let prepare = targets
        .into_iter()
        .map(
            |PreparedTarget {
                 target, prepared, ..
             }| PrepareFacts {
                target: target.name,
                passes: prepared.report,
                checks: prepared.checks,
            },
        )
        .collect();
    let job = linted.job;
    let fp32_bytes = job.model.stored_bytes() as usize;

    let mut artifacts = Vec::new();
    let plans = calibrated.plans.iter().zip(rewritten.models);
    for (index, (((request, gates), file), (plan, (model, passes)))) in
        job.artifacts.iter().zip(saved.files).zip(plans).enumerate()
    {
        let bytes = file.model.stored_bytes() as usize;
        artifacts.push(ArtifactReport {
            name: request.name.clone(),
            precision: request.precision.to_string(),
            target: request.target.name.to_owned(),
            path: file.file_name,
            sha256: file.sha256,
            bytes,
            bytes_ratio: bytes as f64 / fp32_bytes as f64,
            nodes: plan.counts(),
            plan: PlannedNode::of_plan(plan),
            prediction: PredictionFacts::of(&model, request.target),
            passes,
            finite: non_finite[index].clone(),
            mixture: mixtures[index].take(),
            on_front: false,
            quality: Quality::new(&images, index, gates),
        });
    }
    ArtifactReport::mark_front(&mut artifacts, &speed);
    let facts = |files: &[ImageFile]| -> Result<Vec<FileFacts>, Failure> {
        files.iter().map(|f| file_facts(&f.path)).collect()
    };
    let mut report = Report {
        schema: REPORT_SCHEMA,
        tool: Tool::default(),
        recipe: FileFacts {
            name: job.recipe.name.clone(),
            sha256: sha256(job.recipe.text.as_bytes()),
        },
        model: ModelFacts {
            name: job
                .model
                .path()
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default(),
            sha256: job.model_sha256.clone(),
            bytes: fp32_bytes,
            parameters: count_parameters(&job.model),
            nodes: job.model.graph_proto().node.len(),
            opset: job.model.opset(),
        },
        lint: linted.findings,
        prepare,
        tiling: TilingFacts::new(
            linted.geometry.analysis(),
            job.tile_px(),
            linted.sweeping.as_ref(),
            &images,
        ),
        calibration: CalibrationFacts {
            range: job.recipe.recipe.calibration.range.name().to_owned(),
            images: facts(&job.images.calibration)?,
            holdout: facts(&job.images.holdout)?,
            ranges,
        },
        passed: artifacts.iter().all(|a| a.quality.passed),
        artifacts,
        onnxruntime: speed,
        stages: Vec::new(),
    };
    report.stages = clock.costs().to_vec();
    let json = serde_json::to_string_pretty(&report).map_err(|e| {
        Failure::new(
            FailureKind::Internal,
            format!("cannot encode the report: {e}"),
        )
    })?;
    for (name, text) in REPORT_FILES.into_iter().zip([json, to_markdown(&report)]) {
        let path = folder.join(name);
        write_atomically(&path, text.as_bytes()).map_err(|e| {
            Failure::new(
                FailureKind::Io,
                format!("cannot write `{}`: {e}", path.display()),
            )
        })?;
    }
    let artifacts = report.artifacts.iter().map(|a| a.path.as_str());
    write_sums(folder, artifacts.chain(REPORT_FILES))?;
    Ok(report)
}
