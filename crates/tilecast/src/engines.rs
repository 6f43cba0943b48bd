//! Which engine runs a model.

use tilecast_exec::{Engine, LibrarySearch, OrtEngine, TractEngine};

use crate::Failure;

/// The engine that a verb runs models with.
#[derive(Clone, Debug, Default)]
pub enum EngineChoice {
    /// The embedded engine.
    #[default]
    Tract,
    /// ONNX Runtime's CPU provider, with the library that is found so.
    Ort(LibrarySearch),
}

impl EngineChoice {
    /// The name on the command line and in JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tract => "tract",
            Self::Ort(_) => "ort",
        }
    }

    /// The engine, ready to load models.
    ///
    /// # Errors
    /// ONNX Runtime is no part of this build, or its library is not found or cannot be used.
    pub(crate) fn open(&self) -> Result<Box<dyn Engine>, Failure> {
        Ok(match self {
            Self::Tract => Box::new(TractEngine::new()),
            Self::Ort(search) => Box::new(OrtEngine::open(search)?),
        })
    }
}
