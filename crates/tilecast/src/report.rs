//! What comes out of the main job and of `verify`: documented JSON, and Markdown for people.
//!
//! The keys named in the command-line contract are stable; more may be added.

mod checks;
mod html;
mod junit;
mod markdown;
mod prediction;
mod schema;
mod summary;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tilecast_analysis::{Finding, TilingAnalysis};
use tilecast_metrics::{
    DeltaESummary, OutputRange, PsnrSummary, SquaredError, SsimSummary, Ssimulacra2Summary,
};
use tilecast_passes::{PassReport, PrecisionPlan, SimplifyReport};

use crate::compare::{ImageComparison, summarize, truth_psnr};
use crate::finite::FiniteCheck;
use crate::front::on_front;
use crate::prepare::EqualityCheck;
use crate::sensitivity::Mixture;
use crate::stages::StageCost;
use crate::tiled::{SweepFacts, Sweeping, equivalence};
use crate::windows::WindowFacts;

pub use crate::baseline::{BaselineCheck, BaselineReport, BaselineSettings, Tolerances};
pub use crate::calibrate::CalibratedRange;
pub use crate::compare::TruthSummary;
pub use crate::seams::{SeamSummary, Seams};
pub use crate::speed::{Latency, ModelSpeed, SpeedReport};
pub(crate) use html::to_html;
pub use junit::{report_to_junit, verification_to_junit};
pub use markdown::to_markdown;
pub use prediction::{IslandFacts, PredictedNodeFacts, PredictionFacts};
pub use schema::{report_schema, verification_schema};
pub use summary::{report_to_summary, verification_to_summary};

/// File names of the report, as JSON, as Markdown and as a page with pictures.
pub(crate) const REPORT_FILES: [&str; 3] = ["report.json", "report.md", "report.html"];

/// Version of the report's format.
pub const REPORT_SCHEMA: &str = "tilecast.report/1";

/// The main job's report: `report.json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Report {
    /// [`REPORT_SCHEMA`].
    pub schema: &'static str,
    /// What made it.
    pub tool: Tool,
    /// The recipe.
    pub recipe: FileFacts,
    /// The FP32 model.
    pub model: ModelFacts,
    /// Repairs that the recipe asked for, made before anything else.
    pub fixes: Vec<PassReport>,
    /// Tiling and precision hazards.
    pub lint: Vec<Finding>,
    /// How the model was simplified for each target before anything else was done to it.
    pub prepare: Vec<PrepareFacts>,
    /// How images were tiled for validation, and what tiling alone costs.
    pub tiling: TilingFacts,
    /// What ranges were taken from.
    pub calibration: CalibrationFacts,
    /// One entry per artifact, in the order of the recipe.
    pub artifacts: Vec<ArtifactReport>,
    /// Memory that tiles take.
    pub memory: MemoryFacts,
    /// Speed and quality in ONNX Runtime, where the machine has it.
    pub onnxruntime: SpeedReport,
    /// Comparison with an earlier report; null where none was given.
    pub baseline: Option<BaselineReport>,
    /// Time and memory per stage.
    pub stages: Vec<StageCost>,
    /// What it was asked to do, word for word.
    pub request: RequestFacts,
    /// Whether every gate passed and nothing is worse than the baseline.
    pub passed: bool,
}

/// What the main job was asked to do.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RequestFacts {
    /// The recipe as it was read.
    pub recipe: String,
    /// Changes to it, as given after `--set`.
    pub overrides: Vec<String>,
}

/// Memory that tiles of the FP32 model take, as the embedded engine's plan predicts.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MemoryFacts {
    /// Predicted peak of one tile, bytes, by tile side in pixels; a side that the engine cannot prepare is left out.
    pub peak_bytes: BTreeMap<String, usize>,
    /// Largest of those sides that fits so much memory, by tier; null where none does.
    pub fits: BTreeMap<String, Option<usize>>,
    /// The recipe's limit, bytes.
    pub limit_bytes: u64,
}

/// Name and version of the program.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Tool {
    /// Always `tilecast`.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
}

impl Default for Tool {
    fn default() -> Self {
        Self {
            name: "tilecast",
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// A file by name and content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileFacts {
    /// File name.
    pub name: String,
    /// SHA-256 of its content, hexadecimal.
    pub sha256: String,
}

/// The model that everything started from.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ModelFacts {
    /// File name.
    pub name: String,
    /// SHA-256 of its content, hexadecimal.
    pub sha256: String,
    /// File size, bytes.
    pub bytes: usize,
    /// Number of float weights.
    pub parameters: usize,
    /// Number of nodes.
    pub nodes: usize,
    /// Opset version of the default domain.
    pub opset: i64,
}

/// What was done to the model before its precision was changed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PrepareFacts {
    /// Target that it was simplified for.
    pub target: &'static str,
    /// The applied passes, and the places left alone.
    pub passes: SimplifyReport,
    /// Runs before and after on the same input.
    pub checks: Vec<EqualityCheck>,
}

/// How images were tiled.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TilingFacts {
    /// Side fed to the network, pixels.
    pub tile: usize,
    /// Context per side that the graph's local operators need, pixels; null without a bound.
    pub halo_px: Option<usize>,
    /// Kept side of a tile with neighbours all around, pixels.
    pub core_px: Option<usize>,
    /// Tile origins are multiples of this, pixels.
    pub alignment_px: usize,
    /// Class A to E of the hazard catalogue.
    pub tiling_class: String,
    /// Halo rule: `exact` takes it from the graph.
    pub mode: &'static str,
    /// `exact`, `exact-with-sweeps` or `approximate`: what tiles equal.
    pub equivalence: &'static str,
    /// Statistics of the whole image that are swept; null where each tile has its own.
    pub sweeps: Option<SweepReport>,
    /// What looks at a window instead of the whole image; null where nothing was asked to.
    pub local_window: Option<WindowFacts>,
    /// The FP32 model tiled against the FP32 model run whole, over the images of more than one tile.
    pub error: Option<TilingError>,
}

impl TilingFacts {
    /// The facts for tiles of `tile_px`.
    #[must_use]
    pub(crate) fn new(
        analysis: &TilingAnalysis,
        tile_px: usize,
        sweeping: Option<&Sweeping>,
        window: Option<&WindowFacts>,
        images: &[ImageComparison],
    ) -> Self {
        let exact = images.iter().all(|i| i.swept.is_exact);
        Self {
            tile: tile_px,
            halo_px: analysis.halo_px,
            core_px: analysis
                .halo_px
                .and_then(|halo| tile_px.checked_sub(2 * halo)),
            alignment_px: analysis.alignment_px,
            tiling_class: analysis.tiling_class.to_string(),
            mode: "exact",
            // Another network than the one whose whole-image run counts.
            equivalence: match window {
                Some(_) => "approximate",
                None => equivalence(analysis, sweeping, exact),
            },
            local_window: window.cloned(),
            sweeps: sweeping.map(|sweeping| SweepReport {
                most: images.iter().map(|i| i.swept.n_sweeps).max().unwrap_or(0),
                most_drafts: images.iter().map(|i| i.swept.n_drafts).max().unwrap_or(0),
                facts: sweeping.facts().clone(),
            }),
            error: TilingError::of(images),
        }
    }
}

/// How statistics of the whole image were swept.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SweepReport {
    /// Most sweeps over all tiles that the FP32 model took on an image.
    pub most: usize,
    /// Most sweeps with little halo before them.
    pub most_drafts: usize,
    /// What is swept.
    #[serde(flatten)]
    pub facts: SweepFacts,
}

/// Error of tiling alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TilingError {
    /// PSNR over the images of more than one tile, dB; null where an output is not finite.
    pub psnr_db: Option<PsnrSummary>,
    /// Largest absolute difference.
    pub max_abs: Option<f64>,
    /// How many images are more than one tile.
    pub images: usize,
}

impl TilingError {
    /// The error over the images whose tiles and whole-image run differ; `None` without any.
    pub(crate) fn of(images: &[ImageComparison]) -> Option<Self> {
        let tiled: Vec<SquaredError> = images.iter().filter_map(|i| i.tiling).collect();
        (!tiled.is_empty()).then(|| Self {
            psnr_db: PsnrSummary::from_images(&tiled, OutputRange::UNIT.peak()),
            max_abs: largest(tiled.iter()),
            images: tiled.len(),
        })
    }
}

/// What ranges were taken from.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CalibrationFacts {
    /// Range estimator.
    pub range: String,
    /// Images calibrated on.
    pub images: Vec<FileFacts>,
    /// Images held out.
    pub holdout: Vec<FileFacts>,
    /// Range per activation of the simplified model, per target.
    pub ranges: BTreeMap<&'static str, BTreeMap<String, CalibratedRange>>,
}

/// One artifact.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ArtifactReport {
    /// Name, unique in the report.
    pub name: String,
    /// Precision asked for.
    pub precision: String,
    /// Target runtime.
    pub target: String,
    /// File, relative to the report.
    pub path: String,
    /// File that says how to run it in tiles, relative to the report.
    pub tiling_contract: String,
    /// Width and height of the images that it takes, such as `512x512`; null for any.
    pub shape: Option<String>,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// File size.
    pub bytes: usize,
    /// File size over that of the FP32 model.
    pub bytes_ratio: f64,
    /// Predicted peak of one validation tile in the embedded engine, bytes; null where it cannot prepare it.
    pub peak_bytes: Option<usize>,
    /// Share of the nodes of the file that the target's runtime computes in INT8, 0 to 1.
    pub int8_share: f64,
    /// Number of nodes per precision, of those that compute with floats.
    pub nodes: BTreeMap<&'static str, usize>,
    /// Precision of every node that computes with floats, with the reason.
    pub plan: Vec<PlannedNode>,
    /// What the target will compute in INT8, and what not; null where nothing is in INT8.
    pub prediction: Option<PredictionFacts>,
    /// What the passes did.
    pub passes: Vec<PassReport>,
    /// Where the artifact stopped being finite; null where its outputs are.
    pub finite: Option<FiniteCheck>,
    /// How INT8 was mixed with wider nodes to meet the gates; null where INT8 alone met them.
    pub mixture: Option<Mixture>,
    /// Whether no other artifact is at least as good in mean PSNR, size and, where measured, speed, and better in one of
    /// them.
    pub on_front: bool,
    /// Quality against FP32 and the ground truth.
    #[serde(flatten)]
    pub quality: Quality,
}

impl ArtifactReport {
    /// Marks those that no other one makes pointless: the Pareto front.
    pub(crate) fn mark_front(artifacts: &mut [Self], speed: &SpeedReport) {
        let coordinates: Vec<Vec<f64>> = artifacts
            .iter()
            .enumerate()
            .map(|(index, artifact)| {
                let psnr_db = artifact.quality.psnr_db.map_or(f64::NAN, |p| p.mean);
                let latency = speed.artifacts.get(index).into_iter();
                let speedups = latency.flat_map(|s| s.latency.iter().map(|l| l.speedup));
                [psnr_db, -(artifact.bytes as f64)]
                    .into_iter()
                    .chain(speedups)
                    .collect()
            })
            .collect();
        for (artifact, on_front) in artifacts.iter_mut().zip(on_front(&coordinates)) {
            artifact.on_front = on_front;
        }
    }
}

/// One node of the precision plan.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlannedNode {
    /// Node name, or its first output where it has none.
    pub node: String,
    /// Operator.
    pub op: String,
    /// Precision.
    pub precision: &'static str,
    /// Why.
    pub reason: String,
}

impl PlannedNode {
    /// Every node of a plan, in graph order.
    pub(crate) fn of_plan(plan: &PrecisionPlan) -> Vec<Self> {
        plan.decisions()
            .iter()
            .map(|d| Self {
                node: d.label().to_owned(),
                op: d.op.clone(),
                precision: d.precision.name(),
                reason: d.reason.to_string(),
            })
            .collect()
    }
}

/// How close a candidate is to its reference; the same keys for artifacts and `verify`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Quality {
    /// PSNR against the reference, unclamped, dB; null where an output is not finite.
    pub psnr_db: Option<PsnrSummary>,
    /// SSIM against the reference.
    pub ssim: Option<SsimSummary>,
    /// SSIMULACRA2 against the reference, 100 where they are the same; null where an image is not RGB, not finite, has a side
    /// below 8 pixels or more than 4 megapixels.
    pub ssimulacra2: Option<Ssimulacra2Summary>,
    /// Largest absolute difference over all images.
    pub max_abs: Option<f64>,
    /// CIEDE2000 against the reference: the mean of the images' means, and the worst pixel of all; null where an image is
    /// not RGB or not finite.
    pub delta_e: Option<DeltaESummary>,
    /// How visible tile lines are; null where every image is a single tile.
    pub seams: Option<SeamSummary>,
    /// Quality against the ground truth; null without one.
    pub truth: Option<TruthSummary>,
    /// The reference tiled against the reference run whole; null where every image is a single tile.
    pub tiling_error: Option<TilingError>,
    /// The same per image.
    pub images: Vec<ImageQuality>,
    /// Every gate and its verdict.
    pub gates: Vec<GateVerdict>,
    /// Whether the output is finite, every gate passed and nothing is worse than the baseline.
    pub passed: bool,
}

/// One candidate on one image.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ImageQuality {
    /// File name.
    pub name: String,
    /// Height, pixels.
    pub height: usize,
    /// Width, pixels.
    pub width: usize,
    /// Number of tiles.
    pub tiles: usize,
    /// PSNR against the reference, dB.
    pub psnr_db: Option<f64>,
    /// SSIM against the reference; null for images smaller than its window.
    pub ssim: Option<f64>,
    /// SSIMULACRA2 against the reference; null as for all images.
    pub ssimulacra2: Option<f64>,
    /// Largest absolute difference.
    pub max_abs: Option<f64>,
    /// CIEDE2000 against the reference: mean over pixels, and the worst pixel; null where the image is not RGB.
    pub delta_e: Option<DeltaESummary>,
    /// How visible tile lines are; null where the image is a single tile.
    pub seams: Option<Seams>,
    /// Against the ground truth.
    pub truth: Option<ImageTruth>,
    /// The reference tiled against the reference run whole, dB; null where the image is a single tile.
    pub tiling_psnr_db: Option<f64>,
}

/// One candidate against the ground truth of one image.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct ImageTruth {
    /// PSNR of the candidate, dB.
    pub psnr_db: f64,
    /// What it loses against the reference, dB.
    pub drop_db: f64,
}

/// A gate and what it found.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct GateVerdict {
    /// Key in the recipe.
    pub gate: &'static str,
    /// The limit.
    pub limit: f64,
    /// The measured value; null where it could not be measured, which fails.
    pub value: Option<f64>,
    /// Whether it passed.
    pub passed: bool,
}

/// Limits that a candidate must meet; `None` does not limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gates {
    /// Least mean PSNR against the reference, dB.
    pub min_psnr_db: Option<f64>,
    /// Least PSNR on any image, dB.
    pub min_worst_psnr_db: Option<f64>,
    /// Least mean SSIM.
    pub min_ssim: Option<f64>,
    /// Most that may be lost against the ground truth, mean over images, dB.
    pub max_drop_db: Option<f64>,
    /// Most that may be lost on any image, dB.
    pub max_worst_drop_db: Option<f64>,
}

impl Gates {
    /// Whether anything is limited.
    pub(crate) fn any(&self) -> bool {
        *self != Self::default()
    }

    /// The limits that are set, by their keys in the recipe.
    pub(crate) fn limits(&self) -> BTreeMap<&'static str, f64> {
        [
            ("min_psnr_db", self.min_psnr_db),
            ("min_worst_psnr_db", self.min_worst_psnr_db),
            ("min_ssim", self.min_ssim),
            ("max_drop_db", self.max_drop_db),
            ("max_worst_drop_db", self.max_worst_drop_db),
        ]
        .into_iter()
        .filter_map(|(key, limit)| Some((key, limit?)))
        .collect()
    }

    /// The limits that a small sample must meet for the whole to meet these: both were measured on the same artifact, and
    /// what they differ by is taken to stay.
    pub(crate) fn on_sample(&self, whole: &Quality, sample: &Quality) -> Self {
        let value = |quality: &Quality, gate: &str| {
            let verdict = quality.gates.iter().find(|v| v.gate == gate);
            verdict.and_then(|v| v.value)
        };
        let shifted = |gate: &str, limit: Option<f64>| {
            let difference = value(sample, gate).zip(value(whole, gate));
            limit.map(|limit| limit + difference.map_or(0.0, |(sample, whole)| sample - whole))
        };
        Self {
            min_psnr_db: shifted("min_psnr_db", self.min_psnr_db),
            min_worst_psnr_db: shifted("min_worst_psnr_db", self.min_worst_psnr_db),
            min_ssim: shifted("min_ssim", self.min_ssim),
            max_drop_db: shifted("max_drop_db", self.max_drop_db),
            max_worst_drop_db: shifted("max_worst_drop_db", self.max_worst_drop_db),
        }
    }
}

impl Quality {
    /// Quality of candidate `index`, judged by `gates`.
    #[must_use]
    pub(crate) fn new(images: &[ImageComparison], index: usize, gates: &Gates) -> Self {
        let (psnr, ssim, truth) = summarize(images, index);
        let at_least = |gate, limit: Option<f64>, value: Option<f64>| {
            limit.map(|limit| GateVerdict {
                gate,
                limit,
                value,
                passed: value.is_some_and(|v| v >= limit),
            })
        };
        let at_most = |gate, limit: Option<f64>, value: Option<f64>| {
            limit.map(|limit| GateVerdict {
                gate,
                limit,
                value,
                passed: value.is_some_and(|v| v <= limit),
            })
        };
        let verdicts: Vec<GateVerdict> = [
            at_least("min_psnr_db", gates.min_psnr_db, psnr.map(|p| p.mean)),
            at_least(
                "min_worst_psnr_db",
                gates.min_worst_psnr_db,
                psnr.map(|p| p.min),
            ),
            at_least("min_ssim", gates.min_ssim, ssim.map(|s| s.mean)),
            at_most("max_drop_db", gates.max_drop_db, truth.map(|t| t.drop_db)),
            at_most(
                "max_worst_drop_db",
                gates.max_worst_drop_db,
                truth.map(|t| t.worst_drop_db),
            ),
        ]
        .into_iter()
        .flatten()
        .collect();
        Self {
            psnr_db: psnr,
            ssim,
            ssimulacra2: Ssimulacra2Summary::from_images(
                &images
                    .iter()
                    .map(|i| i.scores[index].ssimulacra2)
                    .collect::<Vec<_>>(),
            ),
            max_abs: largest(images.iter().map(|i| &i.scores[index].difference)),
            delta_e: summarize_delta_e(images, index),
            seams: SeamSummary::of(images.iter().filter_map(|i| i.scores[index].seams.as_ref())),
            truth,
            tiling_error: TilingError::of(images),
            images: images.iter().map(|i| ImageQuality::new(i, index)).collect(),
            passed: psnr.is_some() && verdicts.iter().all(|v| v.passed),
            gates: verdicts,
        }
    }
}

impl ImageQuality {
    fn new(image: &ImageComparison, index: usize) -> Self {
        let score = &image.scores[index];
        let peak = OutputRange::UNIT.peak();
        Self {
            name: image.name.clone(),
            height: image.size_px[0],
            width: image.size_px[1],
            tiles: image.n_tiles,
            psnr_db: score.difference.psnr_db(peak),
            ssim: score.ssim,
            ssimulacra2: score.ssimulacra2,
            max_abs: score.difference.max_abs(),
            delta_e: score.delta_e,
            seams: score.seams,
            truth: truth_psnr(score).map(|(reference, candidate)| ImageTruth {
                psnr_db: candidate,
                drop_db: reference - candidate,
            }),
            tiling_psnr_db: image.tiling.and_then(|t| t.psnr_db(peak)),
        }
    }
}

/// Colour differences over all images, if every one has one.
fn summarize_delta_e(images: &[ImageComparison], index: usize) -> Option<DeltaESummary> {
    let mut summary = DeltaESummary::default();
    for image in images {
        let found = image.scores[index].delta_e?;
        summary.mean += found.mean / images.len() as f64;
        summary.p99 = summary.p99.max(found.p99);
        summary.max = summary.max.max(found.max);
    }
    (!images.is_empty()).then_some(summary)
}

fn largest<'a>(errors: impl Iterator<Item = &'a SquaredError>) -> Option<f64> {
    errors
        .map(SquaredError::max_abs)
        .try_fold(0.0, |acc: f64, value| value.map(|v| acc.max(v)))
}
