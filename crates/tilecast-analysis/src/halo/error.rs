//! Why a graph could not be analyzed.

use tilecast_onnx::{AttributeError, Graph, InferShapesError, NodeId};

/// Categories of [`AnalyzeError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnalyzeErrorKind {
    /// An operator, or a way of using it, whose effect on tiles is not known.
    Unsupported,
    /// Part of the graph depends on the absolute size of the image, or fails at other sizes.
    SizeDependent,
}

/// What a rule of the lint must know of the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Rows or columns are cut into a fixed number of parts.
    Grid,
    Other,
}

/// Why a graph could not be analyzed: the node and the reason.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct AnalyzeError {
    kind: AnalyzeErrorKind,
    path: String,
    reason: String,
    node: Option<NodeId>,
    cause: Cause,
}

impl AnalyzeError {
    /// The category.
    #[must_use]
    pub fn kind(&self) -> AnalyzeErrorKind {
        self.kind
    }

    pub(crate) fn unsupported(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            kind: AnalyzeErrorKind::Unsupported,
            path: path.into(),
            reason: reason.into(),
            node: None,
            cause: Cause::Other,
        }
    }

    pub(crate) fn cause(&self) -> Cause {
        self.cause
    }

    /// The node that is to blame, where the walk over the graph came to it.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.node
    }

    pub(crate) fn size_dependent(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            kind: AnalyzeErrorKind::SizeDependent,
            path: path.into(),
            reason: reason.into(),
            node: None,
            cause: Cause::Other,
        }
    }

    pub(crate) fn of_shapes(error: &InferShapesError, height: usize, width: usize) -> Self {
        Self::size_dependent(
            error.to_string(),
            format!(
                "so the graph does not accept an image of {width}x{height}; export it with dynamic height and width"
            ),
        )
    }
}

/// Why a single node has no known effect; its path is added by the caller.
#[derive(Debug)]
pub(crate) struct Refusal {
    kind: AnalyzeErrorKind,
    reason: String,
    cause: Cause,
}

impl Refusal {
    pub(crate) fn unsupported(reason: impl Into<String>) -> Self {
        Self {
            kind: AnalyzeErrorKind::Unsupported,
            reason: reason.into(),
            cause: Cause::Other,
        }
    }

    pub(crate) fn size_dependent(reason: impl Into<String>) -> Self {
        Self {
            kind: AnalyzeErrorKind::SizeDependent,
            reason: reason.into(),
            cause: Cause::Other,
        }
    }

    pub(crate) fn because(self, cause: Cause) -> Self {
        Self { cause, ..self }
    }

    pub(crate) fn at(self, graph: &Graph<'_>, node: NodeId) -> AnalyzeError {
        AnalyzeError {
            kind: self.kind,
            path: graph.path(node),
            reason: self.reason,
            node: Some(node),
            cause: self.cause,
        }
    }
}

impl From<AttributeError> for Refusal {
    fn from(error: AttributeError) -> Self {
        Self::unsupported(error.to_string())
    }
}
