//! Running a graph: the [`Engine`] and [`Session`] traits and the tract engine.
//!
//! Engines get a [`tilecast_onnx::Model`] and concrete shapes; they never rewrite the model that a user gets.
//!
//! Reading order: `engine` (the traits) → `lower` (our graph, with half precision and quantization turned into float32
//! and explicit rounding) → `tract` (lowered nodes to an optimized plan, and running it).

mod engine;
mod lower;
mod tract;

pub use engine::{
    Engine, HostTensor, LoadError, Observer, RunError, Session, SessionOptions, Unseen,
};
pub use tract::TractEngine;
