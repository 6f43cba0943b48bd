//! How much quality INT8 costs in each place, and which places to leave in FP16 so that a gate is met.
//!
//! Every candidate is measured alone: all else computes in FP32, so that the figure is that node's own. Errors of single nodes
//! add up nearly as if they were independent, which is what makes a ranking useful; whether a mixture meets a gate is never
//! taken from the ranking, but measured.

use std::collections::BTreeMap;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use schemars::JsonSchema;
use serde::Serialize;
use tilecast_exec::Engine;
use tilecast_metrics::{OutputRange, SquaredError};
use tilecast_onnx::Model;
use tilecast_passes::{Precision, PrecisionPlan, RangeEvidence, Reason, multiplications};
use tilecast_quant::Range;

use crate::Failure;
use crate::artifact::ArtifactRequest;
use crate::compare::{CompareOptions, ImageComparison, compare_whole};
use crate::context::{Context, Event};
use crate::front::on_front;
use crate::images::Sample;
use crate::prepare::tile_shapes;
use crate::report::{Gates, Quality};

/// Candidates that are measured together, each with a session of its own: the reference runs once for all of them.
const BATCH: usize = 8;

/// What INT8 in one place costs and saves.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct NodeSensitivity {
    /// Node name, or its first output where it has none.
    pub node: String,
    /// First output, the node's key in plans.
    pub value: String,
    /// Operator.
    pub op: String,
    /// Pooled PSNR against FP32 with this node alone in INT8, dB; null where the output is not finite.
    pub psnr_db: Option<f64>,
    /// The squared error behind it, mean over all elements of all tiles.
    pub mse: Option<f64>,
    /// Its share of the multiplications of all candidates, 0 to 1: what INT8 makes faster.
    pub work: f64,
}

/// What is measured, and on what.
pub(crate) struct Probe<'a> {
    pub(crate) engine: &'a dyn Engine,
    /// The prepared FP32 model.
    pub(crate) model: &'a Model,
    pub(crate) request: &'a ArtifactRequest,
    /// The plan with every candidate in INT8.
    pub(crate) plan: &'a PrecisionPlan,
    pub(crate) ranges: &'a BTreeMap<String, Range>,
    pub(crate) evidence: Option<&'a RangeEvidence>,
    /// Tiles, each run whole.
    pub(crate) samples: &'a [Sample],
    pub(crate) options: CompareOptions<'a>,
}

/// One mixture that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct MixturePoint {
    /// Number of candidates that are not INT8.
    pub kept: usize,
    /// Mean PSNR against FP32 on the probed tiles, dB.
    pub psnr_db: Option<f64>,
    /// File size.
    pub bytes: usize,
    /// Share of the candidates' multiplications that are in INT8, 0 to 1.
    pub work_int8: f64,
    /// Whether no other mixture here is at least as good in PSNR, size and work in INT8, and better in one of them.
    pub on_front: bool,
}

impl MixturePoint {
    /// Marks those that no other one makes pointless.
    pub(crate) fn mark_front(points: &mut [Self]) {
        let coordinates: Vec<Vec<f64>> = points
            .iter()
            .map(|p| {
                vec![
                    p.psnr_db.unwrap_or(f64::NAN),
                    -(p.bytes as f64),
                    p.work_int8,
                ]
            })
            .collect();
        for (point, on_front) in points.iter_mut().zip(on_front(&coordinates)) {
            point.on_front = on_front;
        }
    }
}

/// How an INT8 artifact was mixed with wider nodes to meet its gates.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Mixture {
    /// Tiles that were probed.
    pub tiles: usize,
    /// Candidates, the most costly for what it saves first.
    pub ranking: Vec<NodeSensitivity>,
    /// Number of nodes from the head of the ranking that are not INT8; 0 where no number meets the gates.
    pub kept: usize,
    /// Every mixture that was measured, fewest kept first.
    pub points: Vec<MixturePoint>,
}

impl Probe<'_> {
    /// First outputs of the nodes with weights that the plan gives INT8; the others have it for their sake.
    fn candidates(&self) -> Vec<&str> {
        let graph = self.model.graph();
        self.plan.int8_with_weights(&graph, self.request.target)
    }

    /// How many there are.
    pub(crate) fn n_candidates(&self) -> usize {
        self.candidates().len()
    }

    /// Measures every candidate alone, which are the units of progress.
    ///
    /// # Errors
    /// A model cannot be made or run, or the user interrupts.
    pub(crate) fn rank(&self, cx: &Context<'_>) -> Result<Vec<NodeSensitivity>, Failure> {
        let candidates = self.candidates();
        let work = self.work(&candidates);
        let mut ranking = Vec::new();
        for batch in candidates.chunks(BATCH) {
            let models = batch
                .par_iter()
                .map(|value| self.alone(value))
                .collect::<Result<Vec<_>, Failure>>()?;
            let images = self.compare(&models, cx)?;
            for (index, value) in batch.iter().enumerate() {
                let mut error = SquaredError::default();
                for image in &images {
                    error.merge(&image.scores[index].difference);
                }
                let decision = self.plan.decision(value).expect("it is a candidate");
                ranking.push(NodeSensitivity {
                    node: decision.label().to_owned(),
                    value: decision.value.clone(),
                    op: decision.op.clone(),
                    psnr_db: error.psnr_db(OutputRange::UNIT.peak()),
                    mse: error.mse(),
                    work: work.get(*value).copied().unwrap_or_default(),
                });
            }
            cx.emit(&Event::Progress {
                done: ranking.len(),
            });
        }
        ranking.sort_by(|a, b| {
            let by_cost = b.cost().total_cmp(&a.cost());
            by_cost.then_with(|| a.value.cmp(&b.value))
        });
        Ok(ranking)
    }

    /// Finds the smallest number of nodes, above `more_than` and in the order of the ranking, without which the artifact meets
    /// the gates. What is measured on the way is added to `points`.
    ///
    /// # Errors
    /// As [`Probe::rank`].
    pub(crate) fn fewest_kept(
        &self,
        ranking: &[NodeSensitivity],
        more_than: usize,
        gates: &Gates,
        points: &mut Vec<MixturePoint>,
        cx: &Context<'_>,
    ) -> Result<Option<usize>, Failure> {
        // Quality rises with every node that is kept but for the luck of rounding, so the smallest number is found by halving.
        let (mut fails, mut passes) = (more_than, ranking.len() + 1);
        while passes - fails > 1 {
            let kept = usize::midpoint(fails, passes);
            let (point, quality) = self.measure(&ranking[..kept], gates, cx)?;
            if quality.passed {
                passes = kept;
            } else {
                fails = kept;
            }
            points.push(point);
        }
        Ok((passes <= ranking.len()).then_some(passes))
    }

    /// The plan with these nodes not in INT8.
    pub(crate) fn keeping(&self, kept: &[NodeSensitivity]) -> PrecisionPlan {
        let graph = self.model.graph();
        let mut plan = self.plan.clone();
        for node in kept {
            let psnr_db = node.psnr_db.unwrap_or(f64::NEG_INFINITY);
            let reason = Reason::Sensitive { psnr_db };
            plan.leave_int8(&node.value, &reason, &graph, self.request.target);
        }
        plan.settle_int8(&graph, self.request.target);
        if self.request.computes_in_half() {
            plan.keep_in_range(self.model, self.evidence);
        }
        plan
    }

    /// The artifact with these nodes not in INT8.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn mixed(&self, kept: &[NodeSensitivity]) -> Result<Model, Failure> {
        let plan = self.keeping(kept);
        let rewritten = self
            .request
            .rewrite(self.model, &plan, self.ranges, self.evidence)?;
        Ok(rewritten.0)
    }

    /// Measures the artifact with these nodes not in INT8.
    ///
    /// # Errors
    /// As [`Probe::rank`].
    pub(crate) fn measure(
        &self,
        kept: &[NodeSensitivity],
        gates: &Gates,
        cx: &Context<'_>,
    ) -> Result<(MixturePoint, Quality), Failure> {
        cx.check()?;
        let model = self.mixed(kept)?;
        let bytes = model.stored_bytes() as usize;
        let images = self.compare(&[model], cx)?;
        let quality = Quality::new(&images, 0, gates);
        let point = MixturePoint {
            kept: kept.len(),
            psnr_db: quality.psnr_db.map(|p| p.mean),
            bytes,
            work_int8: 1.0 - kept.iter().map(|n| n.work).sum::<f64>(),
            on_front: false,
        };
        Ok((point, quality))
    }

    /// The prepared model with one candidate in INT8 and everything else in FP32.
    fn alone(&self, value: &str) -> Result<Model, Failure> {
        let mut plan = self.plan.clone();
        for decision in self.plan.decisions() {
            if decision.value != value {
                plan.change(&decision.value, Precision::Fp32, Reason::Probe);
            }
        }
        let (model, _) = self.request.rewrite(self.model, &plan, self.ranges, None)?;
        Ok(model)
    }

    fn compare(&self, models: &[Model], cx: &Context<'_>) -> Result<Vec<ImageComparison>, Failure> {
        let Self {
            engine,
            model,
            samples,
            options,
            ..
        } = self;
        compare_whole(*engine, model, models, samples, options, cx)
    }

    /// Share of each candidate in the multiplications of all; empty where shapes are not known.
    fn work(&self, candidates: &[&str]) -> BTreeMap<String, f64> {
        let side_px = self.samples.first().map_or(0, |s| s.image.size().height);
        let Some(shapes) = tile_shapes(self.model, side_px) else {
            return BTreeMap::new();
        };
        let counts = multiplications(&self.model.graph(), &shapes);
        let count = |value: &str| counts.get(value).copied().unwrap_or_default() as f64;
        let total: f64 = candidates.iter().map(|value| count(value)).sum();
        let share = |value: &&str| ((*value).to_owned(), count(value) / total.max(1.0));
        candidates.iter().map(share).collect()
    }
}

impl NodeSensitivity {
    /// Error per work saved: what is left out of INT8 first has the largest. Without a finite output it is infinite.
    fn cost(&self) -> f64 {
        let least_work = 1e-6;
        self.mse
            .map_or(f64::INFINITY, |mse| mse / self.work.max(least_work))
    }
}
