//! Stage 11: the report is put together, judged by the gates and the baseline, and written as JSON, Markdown and a page.

use std::path::Path;

use tilecast_onnx::write_atomically;

use super::QuantizeSettings;
use super::contract_stage::DescribedJob;
use super::load_stage::LoadedJob;
use super::mix_stage::MixedJob;
use super::prepare_stage::{PreparedJob, PreparedTarget};
use super::save_stage::SavedArtifact;
use super::speed_stage::TimedJob;
use super::validate_stage::ValidatedJob;
use crate::baseline::Baseline;
use crate::context::Context;
use crate::geometry::Geometry;
use crate::identity::{file_facts, sha256};
use crate::images::ImageFile;
use crate::report::{
    ArtifactReport, CalibrationFacts, FileFacts, MemoryFacts, ModelFacts, PlannedNode,
    PredictionFacts, PrepareFacts, Quality, REPORT_FILES, REPORT_SCHEMA, Report, RequestFacts,
    TilingFacts, Tool, report_to_junit, report_to_summary, to_html, to_markdown,
};
use crate::stages::StageClock;
use crate::sums::write_sums;
use crate::verbs::inspect::{TILE_SIDES, count_parameters, fitting_tiers, predict_peaks};
use crate::{Failure, FailureKind};

pub(super) fn report(
    described: DescribedJob,
    folder: &Path,
    settings: &QuantizeSettings,
    baseline: Option<&Baseline>,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<Report, Failure> {
    cx.check()?;
    let TimedJob { mixed, speed } = described.timed;
    let MixedJob {
        validated,
        mut mixtures,
    } = mixed;
    let ValidatedJob {
        saved,
        images,
        fixed,
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

    let (memory, peaks) = clock.run(cx, "predict memory", "models", 0, || {
        predict_memory(&job, &linted.geometry, &saved.files, cx)
    })?;
    let swept_names: Vec<String> = saved.files.iter().map(|f| f.swept_name.clone()).collect();
    let mut artifacts = Vec::new();
    let plans = calibrated.plans.iter().zip(rewritten.models);
    for (index, (((request, gates), file), (plan, (model, passes)))) in
        job.artifacts.iter().zip(saved.files).zip(plans).enumerate()
    {
        let bytes = file.model.stored_bytes() as usize;
        let prediction = PredictionFacts::of(&model, request.target);
        let in_int8 = prediction.as_ref();
        let in_int8 = in_int8.map_or(0.0, |p| p.int8 as f64 / p.nodes.len().max(1) as f64);
        artifacts.push(ArtifactReport {
            name: request.name.clone(),
            precision: request.precision.to_string(),
            target: request.target.name.to_owned(),
            path: file.file_name,
            tiling_contract: file.contract_name,
            shape: request.shape.map(|shape| shape.to_string()),
            sha256: file.sha256,
            bytes,
            bytes_ratio: bytes as f64 / fp32_bytes as f64,
            peak_bytes: peaks[index],
            int8_share: in_int8,
            nodes: plan.counts(),
            plan: PlannedNode::of_plan(plan),
            prediction,
            passes,
            finite: non_finite[index].clone(),
            mixture: mixtures[index].take(),
            on_front: false,
            quality: match &fixed[index] {
                Some(own) => Quality::new(own, 0, gates),
                None => Quality::new(&images, index, gates),
            },
        });
    }
    ArtifactReport::mark_front(&mut artifacts, &speed);
    let compared = baseline.map(|baseline| baseline.judge_artifacts(&mut artifacts, cx));
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
        fixes: linted.fixes,
        lint: linted.findings,
        prepare,
        tiling: TilingFacts::new(
            linted.geometry.analysis(),
            job.tile_px(),
            linted.sweeping.as_ref(),
            linted.windowed.as_ref().map(|w| &w.facts),
            &images,
        ),
        calibration: CalibrationFacts {
            range: job.recipe.recipe.calibration.range.name().to_owned(),
            images: facts(&job.images.calibration)?,
            holdout: facts(&job.images.holdout)?,
            ranges,
        },
        passed: artifacts.iter().all(|a| a.quality.passed)
            && compared.as_ref().is_none_or(|b| b.passed),
        artifacts,
        memory,
        onnxruntime: speed,
        baseline: compared,
        request: RequestFacts {
            recipe: job.recipe.text.clone(),
            overrides: settings.overrides.clone(),
        },
        stages: Vec::new(),
    };
    report.stages = clock.costs().to_vec();
    let json = serde_json::to_string_pretty(&report).map_err(|e| {
        Failure::new(
            FailureKind::Internal,
            format!("cannot encode the report: {e}"),
        )
    })?;
    let page = to_html(&report, &images);
    for (name, text) in REPORT_FILES
        .into_iter()
        .zip([json, to_markdown(&report), page])
    {
        let path = folder.join(name);
        write_atomically(&path, text.as_bytes()).map_err(|e| {
            Failure::new(
                FailureKind::Io,
                format!("cannot write `{}`: {e}", path.display()),
            )
        })?;
    }
    settings
        .judging
        .write(|| report_to_junit(&report), || report_to_summary(&report))?;
    let artifacts = report.artifacts.iter();
    let artifacts = artifacts.flat_map(|a| [a.path.as_str(), a.tiling_contract.as_str()]);
    let swept = swept_names.iter().map(String::as_str);
    let swept = swept.filter(|name| folder.join(name).is_file());
    write_sums(folder, artifacts.chain(swept).chain(REPORT_FILES))?;
    Ok(report)
}

/// What tiles of the FP32 model take, and one validation tile of every artifact.
fn predict_memory(
    job: &LoadedJob,
    geometry: &Geometry,
    files: &[SavedArtifact],
    cx: &Context<'_>,
) -> Result<(MemoryFacts, Vec<Option<usize>>), Failure> {
    let alignment_px = geometry.analysis().alignment_px.max(1);
    let cx = &cx.silent();
    let peaks = predict_peaks(&job.model, &TILE_SIDES, alignment_px, cx)?;
    let tile_px = job.tile_px();
    let of_artifacts = files.iter().map(|file| {
        let peaks = predict_peaks(&file.model, &[tile_px], alignment_px, cx)?;
        Ok(peaks.get(&tile_px).copied())
    });
    let of_artifacts = of_artifacts.collect::<Result<_, Failure>>()?;
    let memory = MemoryFacts {
        fits: fitting_tiers(&peaks),
        peak_bytes: peaks
            .into_iter()
            .map(|(side, bytes)| (side.to_string(), bytes))
            .collect(),
        limit_bytes: job.memory_bytes(),
    };
    Ok((memory, of_artifacts))
}
