//! What holds for the values of a graph at every input size: element types, shapes, and the integers of shape arithmetic.
//!
//! An extent is a number where the graph fixes it (channels come from weights) and otherwise an expression in the
//! extents of the inputs ([`Extent`]). Nothing is sampled: each operator's rule is an identity over all sizes, so that a
//! number found here is a proof. What has no rule is unknown, and so is all that depends on it.
//!
//! Taken as given: extents that the graph declares for its inputs as numbers (unless [`InputExtents`] says otherwise) are
//! what a caller feeds, the model runs without a shape error, and no extent reaches 2³¹. Recorded `value_info` is not
//! taken for shapes: exporters write the sizes of the traced example there.

use std::collections::{BTreeMap, HashMap};

use super::InferShapesError;
use super::extent::Extent;
use super::fact::Fact;
use super::size::fixed;
use super::unknowns::Unknowns;
use super::walk::{Contradictions, Walk, declared_extents};
use crate::{DataType, Graph};

/// Extents of graph inputs that take the place of the declared ones: a number binds an axis, `None` leaves it open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputExtents {
    by_name: BTreeMap<String, Vec<Option<usize>>>,
}

impl InputExtents {
    /// These extents for one more input; a name that the graph does not have is without effect.
    #[must_use]
    pub fn with(mut self, input: &str, extents: Vec<Option<usize>>) -> Self {
        self.by_name.insert(input.to_owned(), extents);
        self
    }
}

/// Shapes, element types and shape arithmetic of one graph.
#[derive(Debug, Default)]
pub struct Facts {
    values: HashMap<String, Fact>,
    types: HashMap<String, DataType>,
}

impl Facts {
    /// What holds for a graph of a model of this IR version. The outputs of a node that contradicts its inputs are unknown.
    #[must_use]
    pub fn of(graph: &Graph<'_>, ir_version: i64, inputs: &InputExtents) -> Self {
        Self::infer(graph, ir_version, inputs, Contradictions::Unknown)
            .map(|(facts, _)| facts)
            .unwrap_or_default()
    }

    /// As [`Facts::of`].
    ///
    /// # Errors
    /// A node's inputs contradict each other at every input size, with its path.
    pub fn checked(
        graph: &Graph<'_>,
        ir_version: i64,
        inputs: &InputExtents,
    ) -> Result<Self, InferShapesError> {
        Self::infer(graph, ir_version, inputs, Contradictions::Refused).map(|(facts, _)| facts)
    }

    /// The facts, and what their extents are made of.
    pub(super) fn infer(
        graph: &Graph<'_>,
        ir_version: i64,
        inputs: &InputExtents,
        contradictions: Contradictions,
    ) -> Result<(Self, Unknowns), InferShapesError> {
        let mut walk = Walk::new(graph, contradictions);
        for (index, input) in graph.proto().input.iter().enumerate() {
            let name = input.name.as_deref().unwrap_or_default();
            let bound = inputs.by_name.get(name).cloned();
            if let Some(extents) = bound.or_else(|| declared_extents(input)) {
                walk.bind(index, name, &extents)?;
            }
        }
        walk.initializers(|name| !graph.is_default_only(name, ir_version))?;
        walk.nodes()?;
        let types = walk.types.into_iter();
        let facts = Self {
            values: walk.facts,
            types: types.map(|(name, t)| (name.to_owned(), t)).collect(),
        };
        Ok((facts, walk.unknowns))
    }

    /// Extents of a value; `None` where its rank is not known.
    #[must_use]
    pub fn dims(&self, value: &str) -> Option<&[Extent]> {
        self.values.get(value)?.dims.as_deref()
    }

    /// Number of dimensions.
    #[must_use]
    pub fn rank(&self, value: &str) -> Option<usize> {
        self.dims(value).map(<[Extent]>::len)
    }

    /// Extent along one axis, where it is the same number at every input size.
    #[must_use]
    pub fn extent(&self, value: &str, axis: usize) -> Option<usize> {
        let known = self.dims(value)?.get(axis)?.known()?;
        usize::try_from(known).ok()
    }

    /// Dimensions, where all are the same numbers at every input size.
    #[must_use]
    pub fn fixed_dims(&self, value: &str) -> Option<Vec<usize>> {
        fixed(self.dims(value)?)
    }

    /// Whether two values have the same shape at every input size.
    #[must_use]
    pub fn same_shape(&self, a: &str, b: &str) -> bool {
        matches!((self.dims(a), self.dims(b)), (Some(a), Some(b)) if a == b)
    }

    /// Elements (row-major; booleans as 0 and 1) of a small integer tensor that are the same numbers at every input size.
    #[must_use]
    pub fn integers(&self, value: &str) -> Option<&[i64]> {
        self.values.get(value)?.elements.as_ref()?.numbers()
    }

    /// Elements of a small integer tensor as expressions in the extents of the inputs, where all are known.
    #[must_use]
    pub fn sizes(&self, value: &str) -> Option<Vec<Extent>> {
        let elements = self.values.get(value)?.elements.as_ref()?;
        elements.sizes()?.into_iter().collect()
    }

    /// Elements of a small integer tensor, each known or not.
    #[cfg(test)]
    pub(super) fn elements(&self, value: &str) -> Option<Vec<Option<Extent>>> {
        self.values.get(value)?.elements.as_ref()?.sizes()
    }

    /// Element type.
    #[must_use]
    pub fn data_type(&self, value: &str) -> Option<DataType> {
        self.types.get(value).copied()
    }
}
