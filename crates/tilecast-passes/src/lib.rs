//! Graph rewrites, and the precision plan that they carry out.
//!
//! Reading order: [`Target`] (what a runtime executes well, one file each under `targets/`) → [`PrecisionPlan`] (node →
//! precision, each with a reason) → the passes that carry it out ([`InsertQdq`], [`ConvertHalf`],
//! [`StoreFloat16`]) → [`run_pass`], which applies what a pass proposes. [`simplify()`] runs the passes that make a graph
//! smaller, from lists that say why each stands where it does; [`tilecast_onnx::Facts`] is what they know about shapes.
//! [`cut_statistics`] makes statistics of the whole image inputs and outputs, for runs in tiles; [`MITIGATIONS`] and
//! [`PoolInWindows`] change what a model computes so that tiles suit it.
//!
//! A pass proposes a patch and never touches the graph; it declines with a reason where it cannot prove that it may
//! rewrite. This crate never runs a model and reads no file.

mod cost;
mod filters;
mod mitigations;
mod names;
mod pass;
mod plan;
mod precision;
mod predict;
mod simplify;
mod statistics;
mod targets;

pub use cost::multiplications;
pub use mitigations::{
    FreezeBatchNorm, MITIGATIONS, MakeResizeExplicit, Mitigation, OpenSize, PoolInWindows,
};
pub use pass::{
    Decline, Numerics, Outcome, Pass, PassContext, PassError, PassMeta, PassReport, run_pass,
    run_pass_with,
};
pub use plan::{
    Decision, Override, OverrideError, Pins, PlanRequest, Precision, PrecisionPlan, RangeEvidence,
    RangeSource, RangeStudy, RangeTally, Reason, normalization_nodes,
};
pub use precision::{
    ConvertHalf, DynamicInt8, InsertQdq, IoTypes, KeepChannelsLast, PerChannel, RoundFilters,
    StoreFloat16, StripMetadata,
};
pub use predict::{FloatReason, Island, PredictedNode, Prediction, Runs, predict};
pub use simplify::{
    CLEANUP, ChannelNorms, DivideConvolutions, Dump, Ended, Entry, FUSIONS, FoldBatchNorm,
    FoldConstants, FoldPad, FoldScaleShift, FoldShapes, FuseGelu, FuseGroupNorm, FuseHardSwish,
    FuseLayerNorm, FusePixelShuffle, KeepImageLayout, KeepReducedAxis, MAX_ROUNDS, MergeCasts,
    MergeCommonSubexpressions, MergeDuplicateInitializers, MergeEqualSizes, MergeReshapes,
    MergeTransposes, PassDecline, RecordShapes, RemoveDeadNodes, RemoveIdentity,
    RemoveInitializerInputs, ReplaceCastLike, SimplifyOptions, SimplifyReport, SlicesToSplit,
    TransposeUpsampling, simplify,
};
pub use statistics::{SweptModel, cut_statistics};
pub use targets::{
    BiasForm, Float16, ImageLayout, Int8Costs, PerPrecision, Placement, TARGETS, Target,
    target_by_name,
};

/// Every pass, for `tilecast explain` and the generated reference.
pub const PASSES: &[&PassMeta] = &[
    &precision::INSERT_QDQ,
    &precision::DYNAMIC_INT8,
    &precision::ROUND_FILTERS,
    &precision::CONVERT_HALF,
    &precision::KEEP_CHANNELS_LAST,
    &precision::STORE_FLOAT16,
    &precision::STRIP_METADATA,
    &simplify::REMOVE_INITIALIZER_INPUTS,
    &simplify::REPLACE_CAST_LIKE,
    &simplify::FOLD_CONSTANTS,
    &simplify::FOLD_SHAPES,
    &simplify::REMOVE_DEAD_NODES,
    &simplify::MERGE_CASTS,
    &simplify::MERGE_TRANSPOSES,
    &simplify::MERGE_RESHAPES,
    &simplify::REMOVE_IDENTITY,
    &simplify::MERGE_DUPLICATE_INITIALIZERS,
    &simplify::MERGE_COMMON_SUBEXPRESSIONS,
    &simplify::MERGE_EQUAL_SIZES,
    &simplify::KEEP_REDUCED_AXIS,
    &simplify::KEEP_IMAGE_LAYOUT,
    &simplify::FOLD_PAD,
    &simplify::FOLD_BATCH_NORM,
    &simplify::FOLD_SCALE_SHIFT,
    &simplify::SLICES_TO_SPLIT,
    &simplify::DIVIDE_CONVOLUTIONS,
    &simplify::FUSE_LAYER_NORM,
    &simplify::FUSE_GROUP_NORM,
    &simplify::FUSE_GELU,
    &simplify::FUSE_HARD_SWISH,
    &simplify::FUSE_PIXEL_SHUFFLE,
    &simplify::TRANSPOSE_UPSAMPLING,
    &simplify::RECORD_SHAPES,
    &simplify::RAISE_OPSET,
    &statistics::CUT_STATISTICS,
    &mitigations::FREEZE_BATCH_NORM,
    &mitigations::MAKE_RESIZE_EXPLICIT,
    &mitigations::OPEN_SIZE,
    &mitigations::POOL_IN_WINDOWS,
];
