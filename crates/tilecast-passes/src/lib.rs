//! Graph rewrites, and the precision plan that they carry out.
//!
//! Reading order: [`Target`] (what a runtime executes well, one file each under `targets/`) → [`PrecisionPlan`] (node →
//! precision, each with a reason) → the passes that carry it out ([`InsertQdq`], [`ConvertFloat16`],
//! [`StoreFloat16`]) → [`run_pass`], the driver that applies what a pass proposes.
//!
//! A pass proposes a patch and never touches the graph; it declines with a reason where it cannot prove that it may
//! rewrite. This crate never runs a model and reads no file.

mod names;
mod pass;
mod plan;
mod precision;
mod targets;

pub use pass::{
    Decline, Numerics, Outcome, Pass, PassContext, PassError, PassMeta, PassReport, run_pass,
};
pub use plan::{
    Decision, Override, OverrideError, Pins, PlanRequest, Precision, PrecisionPlan, Reason,
    normalization_nodes,
};
pub use precision::{ConvertFloat16, InsertQdq, PerChannel, StoreFloat16};
pub use targets::{Float16, TARGETS, Target, target_by_name};

/// Every pass, for `tilecast explain` and the generated reference.
pub const PASSES: &[&PassMeta] = &[
    &precision::INSERT_QDQ,
    &precision::CONVERT_FLOAT16,
    &precision::STORE_FLOAT16,
];
