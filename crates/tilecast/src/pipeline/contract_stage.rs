//! Stage 10: beside every artifact a document that says how to run it in tiles, and where statistics of the whole image are swept, a
//! file with them as inputs and outputs.

use std::path::Path;

use tilecast_exec::{Engine, SessionOptions};
use tilecast_onnx::{Model, write_atomically};
use tilecast_passes::cut_statistics;
use tilecast_tile::{Size, SweptRunner, TileMemory, TilePlan, draft_halo_px};

use super::lint_stage::LintedJob;
use super::save_stage::SavedArtifact;
use super::speed_stage::TimedJob;
use crate::compare::ImageComparison;
use crate::context::{Context, Event};
use crate::identity::model_sha256;
use crate::report::{FileFacts, TilingError};
use crate::stages::StageClock;
use crate::tiled::AUTO_TOLERANCE;
use crate::tiling_contract::{
    ContractError, ContractPadding, Equivalence, ImagePort, SweptArtifact, TILING_SCHEMA, TilePeak,
    TilingContract,
};
use crate::{Failure, FailureKind};

/// Sides whose peaks are predicted, pixels, before they are aligned.
const SIDES_PX: [usize; 4] = [128, 256, 512, 1024];

/// A job whose artifacts say how they are run.
pub(super) struct DescribedJob {
    pub(super) timed: TimedJob,
}

pub(super) fn describe(
    timed: TimedJob,
    folder: &Path,
    engine: &dyn Engine,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<DescribedJob, Failure> {
    let validated = &timed.mixed.validated;
    let files = &validated.saved.files;
    clock.run(cx, "describe", "artifacts", files.len(), || {
        for (index, file) in files.iter().enumerate() {
            cx.check()?;
            let images = validated.fixed[index].as_ref();
            let images = images.unwrap_or(&validated.images);
            let linted = &validated.saved.rewritten.calibrated.prepared.linted;
            let contract = contract(linted, index, file, images, folder, engine)?;
            let json = serde_json::to_string_pretty(&contract).map_err(|e| {
                Failure::new(
                    FailureKind::Internal,
                    format!("cannot encode the tiling contract: {e}"),
                )
            })?;
            let path = folder.join(&file.contract_name);
            write_atomically(&path, json.as_bytes()).map_err(|e| {
                Failure::new(
                    FailureKind::Io,
                    format!("cannot write `{}`: {e}", path.display()),
                )
            })?;
            cx.emit(&Event::Progress { done: index + 1 });
        }
        Ok::<_, Failure>(())
    })?;
    Ok(DescribedJob { timed })
}

fn contract(
    linted: &LintedJob,
    index: usize,
    file: &SavedArtifact,
    images: &[ImageComparison],
    folder: &Path,
    engine: &dyn Engine,
) -> Result<TilingContract, Failure> {
    let job = &linted.job;
    let geometry = &linted.geometry;
    let analysis = geometry.analysis();
    let fixed = job.artifacts[index].0.shape.or(geometry.fixed_tile());
    let minimum_tile_px = analysis
        .halo_px
        .map(|halo| 2 * halo + analysis.alignment_px);
    let sizes = sizes(fixed, analysis.alignment_px, minimum_tile_px);
    let preprocess = &job.recipe.recipe.preprocess;
    let [input, output] = ImagePort::of(&file.model, sizes[0], preprocess);
    let planes = input.channels.unwrap_or(3);
    let peak_bytes = peaks(&sizes, |size| {
        let dims = vec![1, planes, size.height, size.width];
        let options = SessionOptions {
            input_shapes: vec![(input.name.clone(), dims)],
            ..SessionOptions::default()
        };
        let session = engine.load(&file.model, &options).ok()?;
        Some(session.peak_live_bytes() as u64)
    });
    let sweeps = match &linted.sweeping {
        Some(sweeping) => Some(swept(
            linted,
            file,
            &sweeping.facts().left_out,
            &sizes,
            planes,
            folder,
            engine,
        )?),
        None => None,
    };
    let equivalence = match &sweeps {
        _ if linted.windowed.is_some() => Equivalence::Approximate,
        _ if analysis.tiling_class.is_exact() => Equivalence::Exact,
        Some(sweeps) if sweeps.left_out.is_empty() => Equivalence::ExactWithSweeps,
        _ => Equivalence::Approximate,
    };
    let validated = Size {
        height: job.tile_px(),
        width: job.tile_px(),
    };
    let swept = || images.iter().map(|image| &image.swept);
    let n_sweeps = swept().map(|s| s.n_sweeps).max().unwrap_or(0);
    let n_drafts = swept().map(|s| s.n_drafts).max().unwrap_or(0);
    let error = TilingError::of(images)
        .map(|error| ContractError::of(&error, fixed.unwrap_or(validated), n_sweeps, n_drafts));
    let fits = |peak: &&TilePeak| peak.bytes <= job.memory_bytes();
    let recommended = peak_bytes.iter().rev().find(fits).map(|peak| Size {
        height: peak.height,
        width: peak.width,
    });
    Ok(TilingContract {
        schema: TILING_SCHEMA.to_owned(),
        model: FileFacts {
            name: file.file_name.clone(),
            sha256: file.sha256.clone(),
        },
        made_from: FileFacts {
            name: job
                .model
                .path()
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default(),
            sha256: job.model_sha256.clone(),
        },
        input,
        output,
        other_inputs: preprocess.inputs.clone(),
        scale: geometry.scale(),
        tiling_class: analysis.tiling_class.to_string(),
        equivalence,
        error,
        alignment_px: analysis.alignment_px,
        halo_px: analysis.halo_px,
        reach_px: analysis.reach.map(Into::into),
        minimum_tile_px,
        recommended_tile_px: fixed.or(recommended).unwrap_or(sizes[0]).into(),
        fixed_tile_px: fixed.map(Into::into),
        padding: ContractPadding::of(geometry),
        peak_bytes,
        local_window_px: linted.windowed.as_ref().map(|w| w.facts.window_px),
        sweeps,
    })
}

/// Sizes of tiles whose peaks are stated, smallest first.
fn sizes(fixed: Option<Size>, alignment_px: usize, minimum_px: Option<usize>) -> Vec<Size> {
    if let Some(fixed) = fixed {
        return vec![fixed];
    }
    let mut sides: Vec<usize> = SIDES_PX
        .into_iter()
        .map(|side| {
            side.next_multiple_of(alignment_px)
                .max(minimum_px.unwrap_or(0))
        })
        .collect();
    sides.dedup();
    sides
        .into_iter()
        .map(|side| Size {
            height: side,
            width: side,
        })
        .collect()
}

/// Peaks of the engine at these sizes: planned for the two smallest, and on the line through both for others, because activations are
/// proportional to pixels. Nothing where the engine does not plan the model.
fn peaks(sizes: &[Size], planned: impl Fn(Size) -> Option<u64>) -> Vec<TilePeak> {
    let known: Option<Vec<u64>> = sizes.iter().take(2).map(|&size| planned(size)).collect();
    let Some(known) = known else {
        return Vec::new();
    };
    let line = match (sizes, known.as_slice()) {
        ([small, large, ..], [a, b]) => TileMemory::through((*small, *a), (*large, *b)),
        _ => TileMemory::Unknown,
    };
    let bytes = |index: usize, size: Size| match known.get(index) {
        Some(&bytes) => Some(bytes),
        None => line.bytes(size),
    };
    sizes
        .iter()
        .enumerate()
        .filter_map(|(index, &size)| {
            Some(TilePeak {
                width: size.width,
                height: size.height,
                bytes: bytes(index, size)?,
            })
        })
        .collect()
}

/// Writes the artifact with statistics as inputs and outputs, and says what they are.
fn swept(
    linted: &LintedJob,
    file: &SavedArtifact,
    left_out: &[tilecast_passes::Decline],
    sizes: &[Size],
    planes: usize,
    folder: &Path,
    engine: &dyn Engine,
) -> Result<SweptArtifact, Failure> {
    let geometry = &linted.geometry;
    let analysis = geometry.analysis();
    let cut = cut_statistics(&file.model, analysis.alignment_px)?;
    let path = folder.join(&file.swept_name);
    cut.model.save(&path)?;
    let model = Model::load(&path)?;
    let sha256 = model_sha256(&model);
    let runner = SweptRunner::new(
        engine,
        model,
        cut.contract.clone(),
        linted.job.feeding.value_range,
    )
    .map_err(|e| Failure::new(FailureKind::Internal, e.to_string()))?;
    let peak_bytes = peaks(sizes, |size| {
        let plan = TilePlan::new(&geometry.request(size, None)).ok()?;
        let session = runner.session(&plan, planes).ok()?;
        Some(session.peak_live_bytes() as u64)
    });
    let mut all_left_out = left_out.to_vec();
    for decline in cut.declined {
        if all_left_out.iter().all(|known| known.node != decline.node) {
            all_left_out.push(decline);
        }
    }
    Ok(SweptArtifact {
        model: FileFacts {
            name: file.swept_name.clone(),
            sha256,
        },
        exact_after: cut.contract.depth + 1,
        draft_halo_px: analysis
            .halo_px
            .and_then(|halo| draft_halo_px(halo, analysis.alignment_px, cut.contract.depth)),
        contract: cut.contract,
        tolerance: AUTO_TOLERANCE,
        left_out: all_left_out,
        peak_bytes,
    })
}
