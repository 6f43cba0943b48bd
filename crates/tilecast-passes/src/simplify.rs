//! Simplification: the list of passes that make a graph smaller without changing what it computes, and the driver that
//! runs them to a fixpoint.
//!
//! Reading order: [`CLEANUP`] and [`FUSIONS`] (the passes and why each stands where it does) → [`simplify`] →
//! [`tilecast_onnx::Facts`] (what is proved of shapes, on which the passes rest).
//!
//! Cleanup runs until nothing changes, then each fusion once, and so on until no fusion finds anything: fusions look for
//! patterns, which stray casts, copies and computed constants hide. Where nothing is found any more, the opset is raised
//! if a fusion needs that and it was asked for (`raise_opset`), and it begins again. Passes are run in the order of the lists and give
//! the same result for the same model.

mod convolution;
mod divide_convolutions;
mod evaluate;
mod fold_batch_norm;
mod fold_constants;
mod fold_pad;
mod fold_scale_shift;
mod fold_shapes;
mod fuse_gelu;
mod fuse_group_norm;
mod fuse_hard_swish;
mod fuse_layer_norm;
mod fuse_pixel_shuffle;
mod keep_image_layout;
mod keep_reduced_axis;
mod merge_casts;
mod merge_common_subexpressions;
mod merge_duplicate_initializers;
mod merge_equal_sizes;
mod merge_reshapes;
mod merge_transposes;
mod raise_opset;
mod record_shapes;
mod remove_dead_nodes;
mod remove_identity;
mod remove_initializer_inputs;
mod replace_cast_like;
mod rewrite;
mod site;
mod slices_to_split;
mod substitute;
mod transpose_upsampling;
mod widening;

use std::fmt;

use schemars::JsonSchema;
use tilecast_onnx::{InputExtents, Model};

pub use divide_convolutions::DivideConvolutions;
pub use fold_batch_norm::FoldBatchNorm;
pub use fold_constants::FoldConstants;
pub use fold_pad::FoldPad;
pub use fold_scale_shift::FoldScaleShift;
pub use fold_shapes::FoldShapes;
pub use fuse_gelu::FuseGelu;
pub use fuse_group_norm::FuseGroupNorm;
pub use fuse_hard_swish::FuseHardSwish;
pub use fuse_layer_norm::{ChannelNorms, FuseLayerNorm};
pub use fuse_pixel_shuffle::FusePixelShuffle;
pub use keep_image_layout::KeepImageLayout;
pub use keep_reduced_axis::KeepReducedAxis;
pub use merge_casts::MergeCasts;
pub use merge_common_subexpressions::MergeCommonSubexpressions;
pub use merge_duplicate_initializers::MergeDuplicateInitializers;
pub use merge_equal_sizes::MergeEqualSizes;
pub use merge_reshapes::MergeReshapes;
pub use merge_transposes::MergeTransposes;
pub use record_shapes::RecordShapes;
pub use remove_dead_nodes::RemoveDeadNodes;
pub use remove_identity::RemoveIdentity;
pub use remove_initializer_inputs::RemoveInitializerInputs;
pub use replace_cast_like::ReplaceCastLike;
pub use slices_to_split::SlicesToSplit;
pub use transpose_upsampling::TransposeUpsampling;

pub(crate) use divide_convolutions::META as DIVIDE_CONVOLUTIONS;
pub(crate) use fold_batch_norm::META as FOLD_BATCH_NORM;
pub(crate) use fold_constants::META as FOLD_CONSTANTS;
pub(crate) use fold_pad::META as FOLD_PAD;
pub(crate) use fold_scale_shift::META as FOLD_SCALE_SHIFT;
pub(crate) use fold_shapes::META as FOLD_SHAPES;
pub(crate) use fuse_gelu::META as FUSE_GELU;
pub(crate) use fuse_group_norm::META as FUSE_GROUP_NORM;
pub(crate) use fuse_hard_swish::META as FUSE_HARD_SWISH;
pub(crate) use fuse_layer_norm::META as FUSE_LAYER_NORM;
pub(crate) use fuse_pixel_shuffle::META as FUSE_PIXEL_SHUFFLE;
pub(crate) use keep_image_layout::META as KEEP_IMAGE_LAYOUT;
pub(crate) use keep_reduced_axis::META as KEEP_REDUCED_AXIS;
pub(crate) use merge_casts::META as MERGE_CASTS;
pub(crate) use merge_common_subexpressions::META as MERGE_COMMON_SUBEXPRESSIONS;
pub(crate) use merge_duplicate_initializers::META as MERGE_DUPLICATE_INITIALIZERS;
pub(crate) use merge_equal_sizes::META as MERGE_EQUAL_SIZES;
pub(crate) use merge_reshapes::META as MERGE_RESHAPES;
pub(crate) use merge_transposes::META as MERGE_TRANSPOSES;
pub(crate) use raise_opset::META as RAISE_OPSET;
pub(crate) use record_shapes::META as RECORD_SHAPES;
pub(crate) use remove_dead_nodes::META as REMOVE_DEAD_NODES;
pub(crate) use remove_identity::META as REMOVE_IDENTITY;
pub(crate) use remove_initializer_inputs::META as REMOVE_INITIALIZER_INPUTS;
pub(crate) use replace_cast_like::META as REPLACE_CAST_LIKE;
pub(crate) use slices_to_split::META as SLICES_TO_SPLIT;
pub(crate) use transpose_upsampling::META as TRANSPOSE_UPSAMPLING;

use crate::pass::run_pass_with;
use crate::{Decline, ImageLayout, Pass, PassError, PassReport, Target};

/// Rounds over the lists before the driver gives up on a fixpoint. Each round but the last removes something, and chains
/// are followed within a round, so that models need a handful.
pub const MAX_ROUNDS: usize = 64;

/// A pass and its place in the pipeline.
#[derive(Debug)]
pub struct Entry {
    /// Makes the pass for a target; `None` where it does not pay there.
    pub pass: fn(&'static Target) -> Option<Box<dyn Pass>>,
    /// Why it stands where it does.
    pub reason: &'static str,
}

/// Passes that only take away, in order; run until none of them changes anything.
pub const CLEANUP: &[Entry] = &[
    Entry {
        pass: |_| Some(Box::new(RemoveInitializerInputs)),
        reason: "first: nothing listed as an input counts as a constant, and new constants need not be listed then",
    },
    Entry {
        pass: |_| Some(Box::new(ReplaceCastLike)),
        reason: "before constants are folded: casts of constants read an activation until then",
    },
    Entry {
        pass: |_| Some(Box::new(FoldConstants)),
        reason: "before all that asks whether a value is constant",
    },
    Entry {
        pass: |_| Some(Box::new(FoldShapes)),
        reason: "behind the folding of constants, which computes the float scales of Resize that shapes depend on",
    },
    Entry {
        pass: |_| Some(Box::new(RemoveDeadNodes)),
        reason: "so that what folding left behind is not looked at again, and does not count as a reader",
    },
    Entry {
        pass: |_| Some(Box::new(MergeCasts)),
        reason: "before identities are removed: a cast there and back becomes one to its own type",
    },
    Entry {
        pass: |_| Some(Box::new(MergeTransposes)),
        reason: "before identities are removed: two that cancel become one that keeps the order",
    },
    Entry {
        pass: |_| Some(Box::new(MergeReshapes)),
        reason: "before identities are removed: a reshape there and back becomes one to its own shape",
    },
    Entry {
        pass: |_| Some(Box::new(RemoveIdentity)),
        reason: "before subexpressions are compared, which copies keep apart",
    },
    Entry {
        pass: |_| Some(Box::new(MergeDuplicateInitializers)),
        reason: "before subexpressions are compared: equal constants become equal names",
    },
    Entry {
        pass: |_| Some(Box::new(MergeCommonSubexpressions)),
        reason: "behind all that makes nodes alike",
    },
    Entry {
        pass: |_| Some(Box::new(MergeEqualSizes)),
        reason: "behind the merging of equal nodes, which needs no proof and leaves it less to do",
    },
];

/// Passes that put one node in the place of several, in order; each runs once on a graph that is clean.
pub const FUSIONS: &[Entry] = &[
    Entry {
        pass: |_| Some(Box::new(KeepReducedAxis)),
        reason: "first: the patterns of the others have reductions that keep their axis",
    },
    Entry {
        pass: |target| {
            let pass: Box<dyn Pass> = Box::new(KeepImageLayout);
            (target.image_layout == ImageLayout::Blocked).then_some(pass)
        },
        reason: "before the others, which then find normalizations, scales and convolutions next to each other",
    },
    Entry {
        pass: |_| Some(Box::new(FoldPad)),
        reason: "before the folding of scales, which asks what a convolution pads",
    },
    Entry {
        pass: |_| Some(Box::new(FoldBatchNorm)),
        reason: "before the folding of scales: what follows a normalization then follows its convolution",
    },
    Entry {
        pass: |_| Some(Box::new(FoldScaleShift)),
        reason: "before normalizations are fused: a convolution takes their scale and shift for nothing",
    },
    Entry {
        pass: |_| Some(Box::new(SlicesToSplit)),
        reason: "behind the folding of shapes, which makes the bounds of slices constant",
    },
    Entry {
        pass: |target| {
            let pass: Box<dyn Pass> = Box::new(DivideConvolutions);
            (target.image_layout == ImageLayout::Blocked).then_some(pass)
        },
        reason: "behind the merging of slices into the Splits that it looks for",
    },
    Entry {
        pass: |target| {
            Some(Box::new(FuseLayerNorm {
                over_channels: target.channel_norms,
            }))
        },
        reason: "behind the folding of scales, which leaves it less to take",
    },
    Entry {
        pass: |_| Some(Box::new(FuseGroupNorm)),
        reason: "behind the folding of scales, for the same reason",
    },
    Entry {
        pass: |_| Some(Box::new(FuseGelu)),
        reason: "independent of the others",
    },
    Entry {
        pass: |_| Some(Box::new(FuseHardSwish)),
        reason: "independent of the others",
    },
    Entry {
        pass: |_| Some(Box::new(FusePixelShuffle)),
        reason: "behind the merging of reshapes and transposes, which removes what is between its three nodes",
    },
    Entry {
        pass: |target| {
            let pass: Box<dyn Pass> = Box::new(TransposeUpsampling);
            (target.image_layout == ImageLayout::Blocked).then_some(pass)
        },
        reason: "behind the passes that find pixel shuffles and fold into the convolutions before them",
    },
    Entry {
        pass: |target| {
            let pass: Box<dyn Pass> = Box::new(RecordShapes);
            (target.image_layout == ImageLayout::Blocked).then_some(pass)
        },
        reason: "last: it records what the others leave",
    },
];

/// Sees the model after each applied rewrite: number of the step from 1, id of the pass, the model.
pub type Dump<'a> = dyn FnMut(usize, &'static str, &Model) + 'a;

/// How far to simplify, and for what.
pub struct SimplifyOptions<'a> {
    /// What the model is to run on; some fusions pay on one target only.
    pub target: &'static Target,
    /// Input extents in the place of those that the graph declares.
    pub inputs: InputExtents,
    /// Up to where the opset is raised if a fusion needs it. `None` keeps the model's own.
    pub max_opset: Option<i64>,
    /// Ends after this many applied rewrites; a rewrite is what one pass does to the graph in one run.
    pub stop_after: Option<usize>,
    /// Is shown the model after each of them.
    pub dump: Option<&'a mut Dump<'a>>,
}

impl SimplifyOptions<'_> {
    /// Everything that pays on this target, to a fixpoint, with input extents as the graph declares them.
    #[must_use]
    pub fn for_target(target: &'static Target) -> Self {
        Self {
            target,
            inputs: InputExtents::default(),
            max_opset: None,
            stop_after: None,
            dump: None,
        }
    }
}

impl fmt::Debug for SimplifyOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimplifyOptions")
            .field("target", &self.target.name)
            .field("inputs", &self.inputs)
            .field("max_opset", &self.max_opset)
            .field("stop_after", &self.stop_after)
            .finish_non_exhaustive()
    }
}

/// Why the driver ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// No pass finds anything more.
    Fixpoint,
    /// As many rewrites were applied as were asked for; there may be more to do.
    Stopped,
    /// [`MAX_ROUNDS`] rounds did not reach a fixpoint. The model is valid, and two passes probably undo each other.
    RoundLimit,
}

/// A place that a pass left alone when it last looked at the graph.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, JsonSchema)]
pub struct PassDecline {
    /// Id of the pass.
    pub pass: &'static str,
    /// Where, and why.
    #[serde(flatten)]
    pub decline: Decline,
}

/// What was done to a model.
#[derive(Clone, Debug, serde::Serialize, JsonSchema)]
pub struct SimplifyReport {
    /// The applied rewrites, in order.
    pub steps: Vec<PassReport>,
    /// Places left alone in the final graph, by pass in the order of the pipeline.
    pub declined: Vec<PassDecline>,
    /// Nodes before and after.
    pub nodes: [usize; 2],
    /// Why it ended.
    pub ended: Ended,
}

impl SimplifyReport {
    /// Whether no pass finds anything more.
    #[must_use]
    pub fn reached_fixpoint(&self) -> bool {
        self.ended == Ended::Fixpoint
    }
}

/// Simplifies a model in place. Computes the same, as the numerics of the applied passes say; graph inputs and outputs keep
/// their names and shapes. The opset stays, unless a fusion needs a newer one and may have it.
///
/// # Errors
/// A pass failed. The model is left as the steps before it made it, which is valid.
pub fn simplify(
    model: &mut Model,
    options: SimplifyOptions<'_>,
) -> Result<SimplifyReport, PassError> {
    let before = model.graph_proto().node.len();
    let target = options.target;
    let mut driver = Driver {
        model,
        options,
        steps: Vec::new(),
        unraised: Vec::new(),
    };
    let mut cleanup = Stage::new(CLEANUP, target);
    let mut fusions = Stage::new(FUSIONS, target);
    let ended = driver.run(&mut cleanup, &mut fusions)?;
    let Driver {
        steps, unraised, ..
    } = driver;
    let unraised = unraised.into_iter().map(|decline| PassDecline {
        pass: RAISE_OPSET.id,
        decline,
    });
    let declined = cleanup.declined().chain(fusions.declined());
    Ok(SimplifyReport {
        steps,
        declined: declined.chain(unraised).collect(),
        nodes: [before, model.graph_proto().node.len()],
        ended,
    })
}

/// The passes of one list, with what each said last.
struct Stage {
    passes: Vec<Scheduled>,
}

struct Scheduled {
    pass: Box<dyn Pass>,
    /// Number of steps after which it last found nothing to do.
    clean_at: Option<usize>,
    declined: Vec<Decline>,
}

impl Stage {
    fn new(entries: &[Entry], target: &'static Target) -> Self {
        let passes = entries.iter().filter_map(|entry| (entry.pass)(target));
        Self {
            passes: passes
                .map(|pass| Scheduled {
                    pass,
                    clean_at: None,
                    declined: Vec::new(),
                })
                .collect(),
        }
    }

    fn declined(self) -> impl Iterator<Item = PassDecline> {
        self.passes.into_iter().flat_map(|scheduled| {
            let pass = scheduled.pass.meta().id;
            scheduled
                .declined
                .into_iter()
                .map(move |decline| PassDecline { pass, decline })
        })
    }
}

/// What one round over a list came to.
enum Round {
    Changed,
    Unchanged,
    Stopped,
}

struct Driver<'m, 'o> {
    model: &'m mut Model,
    options: SimplifyOptions<'o>,
    steps: Vec<PassReport>,
    /// Why the opset was not raised when that was last considered.
    unraised: Vec<Decline>,
}

impl Driver<'_, '_> {
    fn run(&mut self, cleanup: &mut Stage, fusions: &mut Stage) -> Result<Ended, PassError> {
        for _ in 0..MAX_ROUNDS {
            match self.round(cleanup)? {
                Round::Changed => continue,
                Round::Stopped => return Ok(Ended::Stopped),
                Round::Unchanged => {}
            }
            match self.round(fusions)? {
                Round::Changed => {}
                Round::Stopped => return Ok(Ended::Stopped),
                Round::Unchanged => match self.raise_opset(fusions)? {
                    Round::Changed => {}
                    Round::Stopped => return Ok(Ended::Stopped),
                    Round::Unchanged => return Ok(Ended::Fixpoint),
                },
            }
        }
        Ok(Ended::RoundLimit)
    }

    fn round(&mut self, stage: &mut Stage) -> Result<Round, PassError> {
        let mut result = Round::Unchanged;
        for scheduled in &mut stage.passes {
            if scheduled.clean_at == Some(self.steps.len()) {
                continue;
            }
            if self.is_to_stop() {
                return Ok(Round::Stopped);
            }
            let report = run_pass_with(scheduled.pass.as_ref(), self.model, &self.options.inputs)?;
            scheduled.declined.clone_from(&report.declined);
            if !report.changed {
                scheduled.clean_at = Some(self.steps.len());
                continue;
            }
            self.record(report);
            result = Round::Changed;
        }
        Ok(result)
    }

    /// Raises the opset where a fusion then finds something.
    fn raise_opset(&mut self, fusions: &Stage) -> Result<Round, PassError> {
        if self.is_to_stop() {
            return Ok(Round::Stopped);
        }
        // A fusion that met its pattern in too old an opset has declined it.
        let declined = |id: &str| {
            let mut passes = fusions.passes.iter();
            let found = passes.find(|s| s.pass.meta().id == id && !s.declined.is_empty());
            found.map(|s| s.pass.as_ref())
        };
        let Some(max_opset) = self.options.max_opset else {
            return Ok(Round::Unchanged);
        };
        let raised =
            raise_opset::raise_opset(self.model, declined, max_opset, &self.options.inputs)?;
        self.unraised = raised.declined;
        Ok(match raised.report {
            Some(report) => {
                self.record(report);
                Round::Changed
            }
            None => Round::Unchanged,
        })
    }

    fn is_to_stop(&self) -> bool {
        self.options
            .stop_after
            .is_some_and(|n| self.steps.len() >= n)
    }

    fn record(&mut self, step: PassReport) {
        let pass = step.pass;
        self.steps.push(step);
        if let Some(dump) = self.options.dump.as_mut() {
            dump(self.steps.len(), pass, self.model);
        }
    }
}
