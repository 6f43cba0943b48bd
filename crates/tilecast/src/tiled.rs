//! A model run over images in tiles, with the statistics of each tile or, after sweeps, of the whole image.

use schemars::JsonSchema;
use serde::Serialize;
use tilecast_analysis::TilingAnalysis;
use tilecast_exec::Engine;
use tilecast_onnx::Model;
use tilecast_passes::{Decline, SweptModel, cut_statistics};
use tilecast_tile::{
    PlanarImage, RunControl, SweepCount, SweptFacts, SweptRunner, TileObserver, TilePlan,
    TiledRunner, ValueRange,
};

use crate::recipe::Sweeps;
use crate::{Failure, FailureKind};

/// Movement of the statistics, relative to their size, below which `auto` stops: `docs/sweeps.md` has what it leaves.
pub(crate) const AUTO_TOLERANCE: f64 = 1e-4;

/// How the statistics of a model's whole image are swept.
#[derive(Clone, Debug)]
pub(crate) struct Sweeping {
    count: SweepCount,
    alignment_px: usize,
    /// What the report says of it.
    facts: SweepFacts,
}

/// What can be swept in a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SweepFacts {
    /// Statistics that are swept.
    pub statistics: usize,
    /// Sweeps after which all of them are those of the whole image, but for the one that computes with them.
    pub depth: usize,
    /// Nodes that look at the whole image and go on looking at the tile, and why.
    pub left_out: Vec<Decline>,
}

impl Sweeping {
    /// What sweeps do to a model; `None` where it takes no statistics that could be swept.
    ///
    /// # Errors
    /// The statistics cannot be cut out of it.
    pub(crate) fn of(
        model: &Model,
        analysis: &TilingAnalysis,
        sweeps: Sweeps,
    ) -> Result<Option<Self>, Failure> {
        if analysis.tiling_class.is_exact() {
            return Ok(None);
        }
        let SweptModel {
            contract,
            cut,
            declined,
            ..
        } = cut_statistics(model, analysis.alignment_px)?;
        if contract.statistics.is_empty() {
            return Ok(None);
        }
        let left_out = analysis
            .global_nodes
            .iter()
            .filter(|node| !cut.contains(*node));
        let left_out = left_out.map(|node| {
            declined
                .iter()
                .find(|d| d.node == *node)
                .cloned()
                .unwrap_or_else(|| Decline {
                    node: node.clone(),
                    reason: "statistics of tiles are not merged for this operator".to_owned(),
                })
        });
        Ok(Some(Self {
            count: match sweeps {
                Sweeps::Auto => SweepCount::Auto {
                    tolerance: AUTO_TOLERANCE,
                },
                Sweeps::Count(n) => SweepCount::Exactly(n),
            },
            alignment_px: analysis.alignment_px,
            facts: SweepFacts {
                statistics: contract.statistics.len(),
                depth: contract.depth,
                left_out: left_out.collect(),
            },
        }))
    }

    /// What can be swept.
    pub(crate) fn facts(&self) -> &SweepFacts {
        &self.facts
    }

    /// How often tiles are swept.
    pub(crate) fn count(&self) -> SweepCount {
        self.count
    }

    /// Most tiles that an image takes, over all sweeps.
    pub(crate) fn most_tiles(&self, plan: &TilePlan) -> usize {
        match plan.n_tiles() {
            1 => 1,
            _ => self.count.most_tiles(plan, self.facts.depth),
        }
    }

    /// The model with its statistics as inputs and outputs, bound to an engine, and nodes whose statistics stay those of the
    /// tile although they look sweepable.
    ///
    /// # Errors
    /// The statistics cannot be cut out of it.
    pub(crate) fn runner<'e>(
        &self,
        engine: &'e dyn Engine,
        model: &Model,
        value_range: ValueRange,
    ) -> Result<(SweptRunner<'e>, Vec<Decline>), Failure> {
        let SweptModel {
            model,
            contract,
            declined,
            ..
        } = cut_statistics(model, self.alignment_px)?;
        let runner = SweptRunner::new(engine, model, contract, value_range)
            .map_err(|e| Failure::new(FailureKind::Internal, e.to_string()))?;
        Ok((runner, declined))
    }
}

/// What tiles equal: the whole-image run, always or with swept statistics, or something near it.
pub(crate) fn equivalence(
    analysis: &TilingAnalysis,
    sweeping: Option<&Sweeping>,
    all_statistics_exact: bool,
) -> &'static str {
    let nothing_left_out = sweeping.is_some_and(|s| s.facts.left_out.is_empty());
    if analysis.tiling_class.is_exact() {
        "exact"
    } else if nothing_left_out && all_statistics_exact {
        "exact-with-sweeps"
    } else {
        "approximate"
    }
}

/// A model bound to an engine.
#[derive(Debug)]
pub(crate) struct ImageRunner<'a> {
    tiled: TiledRunner<'a>,
    swept: Option<(SweptRunner<'a>, SweepCount)>,
    declined: Vec<Decline>,
}

impl ImageRunner<'_> {
    /// Planes of an image that the network takes.
    pub(crate) fn planes(&self) -> usize {
        self.tiled.network_planes()
    }
}

/// The result of a run.
#[derive(Clone, Debug)]
pub(crate) struct TiledImage {
    pub(crate) image: PlanarImage,
    /// How often all tiles were run.
    pub(crate) swept: SweptFacts,
}

impl<'a> ImageRunner<'a> {
    /// Binds a model from one image to one; tiles in flight take no more than `memory_bytes` together, where one fits.
    ///
    /// # Errors
    /// The model has other inputs or outputs, or its statistics cannot be cut out of it.
    pub(crate) fn new(
        engine: &'a dyn Engine,
        model: &'a Model,
        sweeping: Option<&Sweeping>,
        value_range: ValueRange,
        memory_bytes: u64,
    ) -> Result<Self, Failure> {
        let tiled = TiledRunner::new(engine, model, value_range)?.with_memory_limit(memory_bytes);
        let Some(sweeping) = sweeping else {
            return Ok(Self {
                tiled,
                swept: None,
                declined: Vec::new(),
            });
        };
        let (runner, declined) = sweeping.runner(engine, model, value_range)?;
        Ok(Self {
            tiled,
            swept: Some((runner.with_memory_limit(memory_bytes), sweeping.count)),
            declined,
        })
    }

    /// Nodes whose statistics stay those of the tile although they look sweepable, and why.
    pub(crate) fn declined(&self) -> &[Decline] {
        &self.declined
    }

    /// Runs the model over an image: swept where that was asked for and the image is more than one tile. An observer sees the tiles
    /// that the result consists of.
    ///
    /// # Errors
    /// A tile cannot be run, or the run is cancelled.
    pub(crate) fn run(
        &self,
        image: &PlanarImage,
        plan: &TilePlan,
        control: &RunControl<'_>,
        observer: Option<&mut dyn TileObserver>,
    ) -> Result<TiledImage, Failure> {
        match &self.swept {
            Some((runner, count)) if plan.n_tiles() > 1 => {
                let swept = runner.run_observed(image, plan, *count, control, observer)?;
                Ok(TiledImage {
                    image: swept.image,
                    swept: swept.facts,
                })
            }
            _ => Ok(TiledImage {
                image: self.tiled.run_observed(image, plan, control, observer)?,
                swept: SweptFacts::unswept(plan),
            }),
        }
    }
}
