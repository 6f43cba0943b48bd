//! Facts about a graph: halo, alignment period, tiling hazards (the lint rules).
//!
//! Reading order: [`analyze`] (what a tiler must know of a model, as one [`TilingAnalysis`]) → [`lint`] (what makes tiles
//! differ from the whole image, as [`Finding`]s with the node and the way out) → [`explain`] (the page behind a code).
//!
//! Everything is derived from the graph by running its shapes and intervals of pixels through it; no tensor is computed.
//!
//! ```
//! use std::path::Path;
//! use tilecast_analysis::{TilingClass, analyze, lint};
//! use tilecast_onnx::Model;
//!
//! # let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
//! let model = Model::load(&models.join("srvgg-x2.onnx"))?;
//! let facts = analyze(&model)?;
//! assert_eq!(facts.tiling_class, TilingClass::A);
//! assert_eq!((facts.halo_px, facts.alignment_px), (Some(12), 1));
//! assert_eq!(facts.scale.as_integer(), Some(2));
//! assert_eq!(lint(&model)[0].code, "H01");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod half;
mod halo;
mod lint;
mod rules;
mod sweep_contract;

pub use halo::{
    AnalyzeError, AnalyzeErrorKind, PadFill, Reach, Scale, TilingAnalysis, TilingClass, analyze,
};
pub use lint::{Finding, LintContext, Rule, RuleMeta, Severity, explain, lint, rules};
pub use rules::{RULES, dynamic_quantization};
pub use sweep_contract::{Merge, SweepContract, SweptStatistic, WeightMap};
