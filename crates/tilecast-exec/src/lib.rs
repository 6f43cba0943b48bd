//! Running a graph: the [`Engine`] and [`Session`] traits, the tract engine, and the ONNX Runtime engine.
//!
//! Engines get a [`tilecast_onnx::Model`] and concrete shapes; they never rewrite the model that a user gets.
//!
//! Reading order: `engine` (the traits) → `fed` (models of other interfaces) → `border` (inputs and outputs, for every engine) → `lower` (our graph, with half
//! precision and quantization turned into float32 and explicit rounding) → `tract` (lowered nodes to an optimized plan,
//! and running it) → `ort` (the model as it is, run by ONNX Runtime).
//!
//! Feature `ort`: the ONNX Runtime engine. Its library is no part of the build; it is looked for when the engine is opened.
//! Without the feature [`OrtEngine::open`] refuses, so that callers are the same with and without it.

mod border;
mod engine;
mod fed;
mod guard;
mod lower;
mod ort;
mod tract;

pub use self::ort::{LibrarySearch, OpenOrtError, OrtEngine};
pub use engine::{
    Engine, HostTensor, LoadError, Observer, RunError, Session, SessionOptions, Unseen,
};
pub use fed::{FedEngine, ImagePort, PlaneMap};
pub use tract::{TractEngine, pin_kernels};
