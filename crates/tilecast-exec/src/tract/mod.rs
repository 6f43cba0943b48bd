//! tract as an engine: float32 kernels on the CPU, one plan per set of input shapes.
//!
//! tract computes float32 well, float16 and integer chains badly, and ignores attributes that it does not know. So a
//! model is checked against an allow-list, lowered to float32 ([`crate::lower`]), built node by node as tract's own
//! graph, and optimized for concrete shapes. Only this folder sees tract's types.

mod allow_list;
mod attributes;
mod build;
mod channel_norm;
mod kernels;
mod ops;
mod panels;
mod session;

use std::sync::Arc;

use tilecast_onnx::Model;

use crate::lower::lower;
use crate::{Engine, LoadError, Session, SessionOptions};

pub use kernels::pin_kernels;

/// Name of the engine, in reports and errors.
const NAME: &str = "tract";

/// The embedded engine. It needs no library on the machine, runs on the CPU, and computes one run on one thread: run
/// several tiles at once for more.
///
/// For a given model, shapes and machine the results are the same bit for bit, whichever thread asks for them; after
/// [`pin_kernels`] for all machines of the same instruction sets.
#[derive(Clone, Copy, Debug, Default)]
pub struct TractEngine;

impl TractEngine {
    /// The engine; it has no settings.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Engine for TractEngine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn load(&self, model: &Model, options: &SessionOptions) -> Result<Arc<dyn Session>, LoadError> {
        let fail = |reason: String| LoadError {
            engine: NAME,
            reason,
        };
        allow_list::check(model).map_err(|e| fail(e.to_string()))?;
        let lowered = lower(model, options).map_err(|e| fail(e.to_string()))?;
        let session = session::TractSession::prepare(lowered, options).map_err(fail)?;
        Ok(Arc::new(session))
    }
}
