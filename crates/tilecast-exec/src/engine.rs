//! What an engine can do, apart from which one does it.

use std::fmt;
use std::sync::Arc;

use tilecast_onnx::Model;

/// A dense float32 tensor in host memory, row-major; images are `[N, C, H, W]`.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    dims: Vec<usize>,
    data: Vec<f32>,
}

impl HostTensor {
    /// A tensor from its elements.
    ///
    /// # Panics
    /// `data` does not have as many elements as `dims` says.
    #[must_use]
    pub fn new(dims: Vec<usize>, data: Vec<f32>) -> Self {
        assert_eq!(
            dims.iter().product::<usize>(),
            data.len(),
            "elements of {dims:?}"
        );
        Self { dims, data }
    }

    /// Dimensions.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Elements, row-major.
    #[must_use]
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The elements, without a copy.
    #[must_use]
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }
}

/// How a model is to be run.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// Concrete shape of each graph input, by name. Inputs that are absent must have a concrete shape in the model.
    pub input_shapes: Vec<(String, Vec<usize>)>,
    /// Names of the values to be shown to the observer of [`Session::run_observed`].
    pub observe: Vec<String>,
    /// What becomes of a name in `observe` whose value is not computed: a constant, or one that no output depends on.
    pub unseen: Unseen,
}

/// What becomes of a value that is to be observed and is not computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unseen {
    /// The model is refused, with the name.
    #[default]
    Refused,
    /// The observer is not called for it.
    Skipped,
}

/// Sees values while they are computed: position in [`SessionOptions::observe`], dims, elements.
pub type Observer<'a> = dyn FnMut(usize, &[usize], &[f32]) + 'a;

/// Prepares models for running.
pub trait Engine: fmt::Debug + Send + Sync {
    /// Stable lower-case name.
    fn name(&self) -> &'static str;

    /// Prepares a model for one concrete set of input shapes.
    ///
    /// # Errors
    /// The model uses what the engine does not support (named by node), or its shapes contradict each other.
    fn load(&self, model: &Model, options: &SessionOptions) -> Result<Arc<dyn Session>, LoadError>;

    /// Whether the engine itself gives a value to the graph input of this name, so that runs are not fed one.
    fn supplies(&self, _input: &str) -> bool {
        false
    }
}

/// A model prepared for one concrete set of input shapes; shared by threads, each run has its own state.
pub trait Session: fmt::Debug + Send + Sync {
    /// Runs the model: one tensor per graph input in graph order, one per graph output back.
    ///
    /// # Errors
    /// An input of the wrong shape, or a failure inside the engine (named by node where it is known).
    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>, RunError>;

    /// Runs the model and shows the values named in [`SessionOptions::observe`] while they are computed, each once per
    /// run, in an order that is fixed for the session. Nothing is kept after the observer returns.
    ///
    /// # Errors
    /// As [`Session::run`].
    fn run_observed(
        &self,
        inputs: &[HostTensor],
        observer: &mut Observer<'_>,
    ) -> Result<Vec<HostTensor>, RunError>;

    /// Predicted peak of live tensors during one run, bytes: activations and weights, without the scratch of kernels.
    fn peak_live_bytes(&self) -> usize;
}

/// A model that the engine cannot prepare.
#[derive(Debug, thiserror::Error)]
#[error("{engine} cannot run this model: {reason}")]
pub struct LoadError {
    /// Name of the engine.
    pub engine: &'static str,
    /// Why, with the node's path where one is to blame.
    pub reason: String,
}

/// A run that failed.
#[derive(Debug, thiserror::Error)]
#[error("{engine} failed while running: {reason}")]
pub struct RunError {
    /// Name of the engine.
    pub engine: &'static str,
    /// Why.
    pub reason: String,
}
