//! What holds for the values of a graph at every input size: element types, shapes, and the integers of shape arithmetic.
//!
//! An extent is a number where the graph fixes it (channels come from weights) and otherwise an expression in the
//! extents of the inputs ([`Extent`]). Nothing is sampled: each operator's rule is an identity over all sizes, so that a
//! number found here is a proof. What has no rule is unknown, and so is all that depends on it.
//!
//! Taken as given: extents that the graph declares for its inputs as numbers (unless [`InputExtents`] says otherwise) are
//! what a caller feeds, the model runs without a shape error, and no extent reaches 2³¹. Recorded `value_info` is not
//! taken for shapes: exporters write the sizes of the traced example there.

mod call;
mod elements;
mod extent;
mod layout;
mod rules;
mod unknowns;
mod window;

use std::collections::{BTreeMap, HashMap};

pub use extent::Extent;

use call::Call;
use tilecast_onnx::proto::{DimValue, NodeProto, TensorProto, TypeValue, ValueInfoProto};
use tilecast_onnx::{DataType, Graph, Tensor, infer_types};
use unknowns::Unknowns;

use crate::pass::is_default_only;

/// Elements of tensors with more than this many are not followed; shape arithmetic needs far fewer.
const MAX_TRACKED_ELEMENTS: usize = 64;

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

/// What is known of one value.
#[derive(Clone, Debug, Default)]
struct Fact {
    dims: Option<Vec<Extent>>,
    /// Elements of a small integer or boolean tensor (0 and 1), row-major, each known or not.
    elements: Option<Vec<Option<Extent>>>,
}

impl Fact {
    fn of_dims(dims: Vec<Extent>) -> Self {
        Self {
            dims: Some(dims),
            elements: None,
        }
    }

    fn of_vector(elements: Vec<Option<Extent>>) -> Self {
        Self {
            dims: Some(vec![Extent::number(elements.len() as i64)]),
            elements: Some(elements),
        }
    }
}

/// Shapes, element types and shape arithmetic of one graph.
#[derive(Debug)]
pub struct Facts {
    values: HashMap<String, Fact>,
    types: HashMap<String, DataType>,
}

impl Facts {
    pub(crate) fn of(graph: &Graph<'_>, ir_version: i64, inputs: &InputExtents) -> Self {
        Self::infer(graph, ir_version, inputs).0
    }

    /// The facts, and what their extents are made of.
    fn infer(graph: &Graph<'_>, ir_version: i64, inputs: &InputExtents) -> (Self, Unknowns) {
        let types = infer_types(graph)
            .into_iter()
            .map(|(name, data_type)| (name.to_owned(), data_type))
            .collect();
        let mut inference = Inference {
            graph,
            ir_version,
            facts: Self {
                values: HashMap::with_capacity(graph.proto().node.len() * 2),
                types,
            },
            unknowns: Unknowns::default(),
        };
        inference.inputs(inputs);
        for tensor in &graph.proto().initializer {
            inference.initializer(tensor);
        }
        for (_, node) in graph.nodes() {
            inference.node(node);
        }
        (inference.facts, inference.unknowns)
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
    pub fn integers(&self, value: &str) -> Option<Vec<i64>> {
        numbers(self.values.get(value)?.elements.as_deref()?)
    }

    /// Elements of a small integer tensor as expressions in the extents of the inputs, where all are known.
    #[must_use]
    pub fn sizes(&self, value: &str) -> Option<Vec<Extent>> {
        let elements = self.values.get(value)?.elements.as_deref()?;
        elements.iter().cloned().collect()
    }

    /// Element type.
    #[must_use]
    pub fn data_type(&self, value: &str) -> Option<DataType> {
        self.types.get(value).copied()
    }
}

fn fixed(dims: &[Extent]) -> Option<Vec<usize>> {
    dims.iter()
        .map(|d| usize::try_from(d.known()?).ok())
        .collect()
}

fn numbers(elements: &[Option<Extent>]) -> Option<Vec<i64>> {
    elements.iter().map(|e| e.as_ref()?.known()).collect()
}

/// The walk over the graph.
struct Inference<'a, 'g> {
    graph: &'a Graph<'g>,
    ir_version: i64,
    facts: Facts,
    unknowns: Unknowns,
}

impl Inference<'_, '_> {
    fn inputs(&mut self, bound: &InputExtents) {
        for (index, input) in self.graph.proto().input.iter().enumerate() {
            let name = input.name.as_deref().unwrap_or_default();
            let extents = bound.by_name.get(name).cloned();
            let Some(extents) = extents.or_else(|| declared(input)) else {
                continue;
            };
            let dims = extents
                .iter()
                .enumerate()
                .map(|(axis, extent)| match extent {
                    Some(n) => Extent::number(*n as i64),
                    None => self.unknowns.input(index, axis),
                })
                .collect();
            self.facts
                .values
                .insert(name.to_owned(), Fact::of_dims(dims));
        }
    }

    fn initializer(&mut self, tensor: &TensorProto) {
        let name = tensor.name.as_deref().unwrap_or_default();
        if is_default_only(self.graph, name, self.ir_version) {
            return;
        }
        let dims: Vec<Extent> = tensor.dims.iter().map(|&d| Extent::number(d)).collect();
        let elements = fixed(&dims)
            .and_then(|dims| super::arrange::count(&dims))
            .filter(|&n| n <= MAX_TRACKED_ELEMENTS)
            .and_then(|_| integers_of(&Tensor::from_proto(tensor).ok()?));
        let fact = Fact {
            dims: Some(dims),
            elements,
        };
        self.facts.values.insert(name.to_owned(), fact);
    }

    fn node(&mut self, node: &NodeProto) {
        let Some(rule) = rules::rule(node) else {
            return;
        };
        let call = Call {
            graph: self.graph,
            ir_version: self.ir_version,
            node,
            facts: &self.facts,
        };
        let results = rule(&call, &mut self.unknowns);
        for (slot, mut fact) in results.into_iter().flatten().enumerate() {
            let Some(name) = node.output_name(slot) else {
                continue;
            };
            let n_elements = fact
                .dims
                .as_deref()
                .and_then(fixed)
                .and_then(|dims| super::arrange::count(&dims));
            let data_type = self.facts.types.get(name).copied();
            fact.elements = fact
                .elements
                .filter(|e| Some(e.len()) == n_elements && e.len() <= MAX_TRACKED_ELEMENTS)
                .and_then(|e| elements::representable(e, data_type?));
            self.facts.values.insert(name.to_owned(), fact);
        }
    }
}

/// Extents that a graph input declares; `None` where it declares no shape.
fn declared(input: &ValueInfoProto) -> Option<Vec<Option<usize>>> {
    let Some(TypeValue::Tensor(tensor)) = input.r#type.as_ref()?.value.as_ref() else {
        return None;
    };
    let extent = |value: &Option<DimValue>| match value {
        Some(DimValue::DimValue(n)) => usize::try_from(*n).ok(),
        _ => None,
    };
    let dims = &tensor.shape.as_ref()?.dim;
    Some(dims.iter().map(|d| extent(&d.value)).collect())
}

/// The elements of a small tensor of a type that is followed.
fn integers_of(tensor: &Tensor) -> Option<Vec<Option<Extent>>> {
    if tensor.len() > MAX_TRACKED_ELEMENTS {
        return None;
    }
    let elements = tensor
        .to_i64_vec()?
        .into_iter()
        .map(|n| Some(Extent::number(n)))
        .collect();
    elements::representable(elements, tensor.data_type())
}

#[cfg(test)]
mod tests;
