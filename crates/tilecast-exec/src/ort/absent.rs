//! The engine in builds without the feature `ort`: a type without values, so that callers need no conditions.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::Arc;

use tilecast_onnx::Model;

use super::{LibrarySearch, OpenOrtError};
use crate::{Engine, LoadError, Session, SessionOptions};

/// ONNX Runtime's CPU provider; this build has none.
#[derive(Clone, Debug)]
pub struct OrtEngine {
    never: Infallible,
}

impl OrtEngine {
    /// Loads the library.
    ///
    /// # Errors
    /// Always [`OpenOrtError::NotBuilt`].
    pub fn open(_: &LibrarySearch) -> Result<Self, OpenOrtError> {
        Err(OpenOrtError::NotBuilt)
    }

    /// The same engine with sessions of this many threads.
    #[must_use]
    pub fn with_threads(self, _: NonZeroUsize) -> Self {
        match self.never {}
    }

    /// The same engine with sessions that compute every node as it is written.
    #[must_use]
    pub fn without_optimization(self) -> Self {
        match self.never {}
    }

    /// The library's version.
    #[must_use]
    pub fn version(&self) -> &str {
        match self.never {}
    }
}

impl Engine for OrtEngine {
    fn name(&self) -> &'static str {
        match self.never {}
    }

    fn load(&self, _: &Model, _: &SessionOptions) -> Result<Arc<dyn Session>, LoadError> {
        match self.never {}
    }
}
