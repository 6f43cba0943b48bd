//! tilecast: FP32 ONNX image models to verified release models.
//!
//! Reading order: [`recipe`] (what the user asks for) → [`quantize`] (the main job, stage by stage) → the other verbs
//! ([`init`], [`inspect`], [`lint`], [`calibrate`], [`convert`], [`sensitivity`], [`plan`], [`run`], [`verify`], [`explain`]) → [`report`] (what
//! comes out).
//!
//! Everything that takes time gets a [`Context`]: events go to its listener, and its flag ends the work. This crate
//! prints nothing and reads no environment.

pub mod recipe;
pub mod report;

mod artifact;
mod baseline;
mod bind;
mod cache;
mod calibrate;
mod calibration_file;
mod compare;
mod context;
mod engines;
mod failure;
mod feed;
mod finite;
mod front;
mod geometry;
mod identity;
mod images;
mod judging;
mod pictures;
mod pipeline;
mod prepare;
mod probe;
mod provenance;
mod recognize;
mod relative;
mod seams;
mod sensitivity;
mod speed;
mod stages;
mod sums;
mod tiled;
mod tiles;
mod tiling_contract;
mod verbs;
mod windows;

pub use cache::StageCache;
pub use context::{Context, Event, Reporter, Silent};
pub use engines::EngineChoice;
pub use failure::{Failure, FailureKind};
pub use finite::{FiniteCheck, NonFiniteNode};
pub use judging::Judging;
pub use pipeline::{
    DryRun, PredictedArtifact, PredictedStage, QuantizeSettings, Quantized, dry_run, quantize,
};
pub use prepare::EqualityCheck;
pub use probe::ProbeCheck;
pub use report::PlannedNode;
pub use sensitivity::{Mixture, MixturePoint, NodeSensitivity};
pub use stages::StageCost;
pub use tilecast_analysis::{RuleMeta, Severity as LintSeverity, rules as lint_rules};
pub use tilecast_exec::{LibrarySearch, pin_kernels};
pub use tilecast_passes::{Precision as ConvertPrecision, RangeSource};
pub use tiled::SweepFacts;
pub use tiling_contract::{
    ContractError, ContractPadding, Equivalence, ImagePort, PixelSize, ReachPx, SweptArtifact,
    TILING_SCHEMA, TilePeak, TilingContract,
};
pub use verbs::calibrate::{
    CalibrateOutcome, CalibrateSettings, MergeSettings, Shard, calibrate, merge_calibrations,
};
pub use verbs::convert::{
    Check as ConvertCheck, ConvertOutcome, ConvertSettings, Int8Extent, convert,
};
pub use verbs::explain::explain;
pub use verbs::init::{InitOutcome, InitSettings, SCHEMA_FILE, init};
pub use verbs::inspect::{Inspection, inspect};
pub use verbs::lint::{LintOutcome, Probing, lint};
pub use verbs::plan::{PlanOutcome, PlanSettings, PlannedMemory, plan};
pub use verbs::run::{
    FreeMemoryLevels, MeasuredContext, RunImage, RunOutcome, RunSettings, TileMode, TileSelection,
    run,
};
pub use verbs::sensitivity::{SensitivityOutcome, SensitivitySettings, TimedMixture, sensitivity};
pub use verbs::simplify::{SimplifyOutcome, SimplifySettings, simplify};
pub use verbs::verify::{Verification, VerifySettings, verify};
pub use windows::WindowFacts;
