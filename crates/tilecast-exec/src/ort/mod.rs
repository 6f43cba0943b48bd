//! ONNX Runtime as an engine: the model as it is, on the CPU provider.
//!
//! Nothing is lowered: what runs is what a user of ONNX Runtime runs, so its speed can be measured and its figures
//! compared. Only this folder sees the types of the `ort` crate.
//!
//! Reading order: `library` (where the shared library is) → `engine` (loading it, and models) → `session` (runs) →
//! `memory` (what a run will take). `absent` stands in for `engine` in builds without the feature.

mod library;

#[cfg(not(feature = "ort"))]
mod absent;
#[cfg(feature = "ort")]
mod engine;
#[cfg(feature = "ort")]
mod memory;
#[cfg(feature = "ort")]
mod session;

use std::path::PathBuf;

#[cfg(not(feature = "ort"))]
pub use absent::OrtEngine;
#[cfg(feature = "ort")]
pub use engine::OrtEngine;
pub use library::LibrarySearch;

/// Name of the engine, in reports and errors.
#[cfg(feature = "ort")]
const NAME: &str = "onnxruntime";

/// Why there is no ONNX Runtime engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenOrtError {
    /// The engine is no part of this build.
    #[error("this build has no ONNX Runtime engine; build tilecast with `--features ort`")]
    NotBuilt,
    /// No library was found.
    #[error(
        "no ONNX Runtime library in {}; `pip install onnxruntime` into the active Python environment, or set \
         ORT_DYLIB_PATH to the library",
        places(looked_in)
    )]
    NotFound {
        /// What was looked at, in order.
        looked_in: Vec<PathBuf>,
    },
    /// The library cannot be used: it is no ONNX Runtime, too old, or broken.
    #[error("cannot use the ONNX Runtime library `{}`: {reason}", path.display())]
    Unusable {
        /// The library.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

fn places(looked_in: &[PathBuf]) -> String {
    if looked_in.is_empty() {
        return "any known place".to_owned();
    }
    let quoted: Vec<String> = looked_in
        .iter()
        .map(|place| format!("`{}`", place.display()))
        .collect();
    quoted.join(", ")
}
