//! The walk over a graph that shape inference is: one pass over the nodes in graph order, each by the rule of its operator.

use std::collections::HashMap;

use super::call::{Call, Halt};
use super::extent::Extent;
use super::fact::Fact;
use super::size::{check_size, n_elements};
use super::unknowns::Unknowns;
use super::{InferShapesError, MAX_RANK, MAX_TRACKED_ELEMENTS, operators};
use crate::proto::{DimValue, NodeProto, TensorProto, TypeValue, ValueInfoProto};
use crate::{Graph, Tensor, TypeMap, infer_types};

/// What to make of a node whose inputs contradict its operator.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Contradictions {
    /// An error.
    Refused,
    /// Its outputs are unknown, as those of an operator without a rule.
    Unknown,
}

/// What is known so far of the values of a graph.
pub(super) struct Walk<'a, 'g> {
    pub(super) graph: &'a Graph<'g>,
    pub(super) types: TypeMap<'g>,
    pub(super) facts: HashMap<String, Fact>,
    pub(super) unknowns: Unknowns,
    contradictions: Contradictions,
}

impl<'a, 'g> Walk<'a, 'g> {
    pub(super) fn new(graph: &'a Graph<'g>, contradictions: Contradictions) -> Self {
        Self {
            graph,
            types: infer_types(graph),
            facts: HashMap::with_capacity(graph.proto().node.len() * 2),
            unknowns: Unknowns::default(),
            contradictions,
        }
    }

    /// Takes these initializers for constants.
    pub(super) fn initializers(
        &mut self,
        is_constant: impl Fn(&str) -> bool,
    ) -> Result<(), InferShapesError> {
        for tensor in &self.graph.proto().initializer {
            let name = tensor.name.as_deref().unwrap_or_default();
            if !is_constant(name) {
                continue;
            }
            match initializer(tensor) {
                Ok(fact) => {
                    self.facts.insert(name.to_owned(), fact);
                }
                Err(halt) => self.halted(halt, || format!("initializer `{name}`"))?,
            }
        }
        Ok(())
    }

    /// Binds a graph input, the `index`th of the list in the file; open extents become unknowns.
    pub(super) fn bind(
        &mut self,
        index: usize,
        name: &str,
        extents: &[Option<usize>],
    ) -> Result<(), InferShapesError> {
        let dims: Vec<Extent> = extents
            .iter()
            .enumerate()
            .map(|(axis, extent)| match extent {
                Some(n) => Extent::number(i64::try_from(*n).unwrap_or(i64::MAX)),
                None => self.unknowns.input(index, axis),
            })
            .collect();
        match check_size(&dims) {
            Ok(()) => {
                self.facts.insert(name.to_owned(), Fact::of_dims(dims));
                Ok(())
            }
            Err(halt) => self.halted(halt, || format!("input `{name}`")),
        }
    }

    /// Infers all nodes.
    pub(super) fn nodes(&mut self) -> Result<(), InferShapesError> {
        let graph = self.graph;
        for (id, node) in graph.nodes() {
            if let Err(halt) = self.node(node) {
                self.halted(halt, || graph.path(id))?;
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &NodeProto) -> Result<(), Halt> {
        if !node.domain_name().is_empty() {
            return Err(Halt::Unknown);
        }
        let rule = operators::rule(node.op()).ok_or(Halt::Unknown)?;
        let inputs = (0..node.input.len())
            .map(|slot| self.facts.get(node.input_name(slot)?))
            .collect();
        let result_type = node.output_name(0).and_then(|y| self.types.get(y)).copied();
        let call = Call::new(node, inputs, result_type);
        let outputs = rule(&call, &mut self.unknowns)?;
        for fact in &outputs {
            if let Some(dims) = &fact.dims {
                check_size(dims)?;
            }
        }
        for (slot, fact) in outputs.into_iter().enumerate() {
            if let Some(name) = node.output_name(slot) {
                let fact = self.tracked(fact, name);
                self.facts.insert(name.to_owned(), fact);
            }
        }
        Ok(())
    }

    /// Drops elements that are too many or that the value's type does not hold, and shapes of an absurd rank.
    fn tracked(&self, fact: Fact, name: &str) -> Fact {
        let Some(dims) = fact.dims.filter(|dims| dims.len() <= MAX_RANK) else {
            return Fact::default();
        };
        let n = n_elements(&dims).filter(|&n| n <= MAX_TRACKED_ELEMENTS);
        let elements = fact.elements.filter(|e| Some(e.len()) == n);
        let elements = match self.types.get(name) {
            Some(data_type) => elements.and_then(|e| e.represented(*data_type)),
            None => None,
        };
        Fact::new(dims, elements)
    }

    fn halted(&self, halt: Halt, path: impl Fn() -> String) -> Result<(), InferShapesError> {
        match halt {
            Halt::Contradiction(reason) if self.contradictions == Contradictions::Refused => {
                Err(InferShapesError {
                    path: path(),
                    reason,
                })
            }
            Halt::Contradiction(_) | Halt::Unknown => Ok(()),
        }
    }
}

fn initializer(proto: &TensorProto) -> Result<Fact, Halt> {
    if let Some(negative) = proto.dims.iter().find(|&&d| d < 0) {
        return Err(Halt::Contradiction(format!(
            "negative extent {negative} in its shape"
        )));
    }
    let dims: Vec<Extent> = proto.dims.iter().map(|&d| Extent::number(d)).collect();
    check_size(&dims)?;
    let small = n_elements(&dims).is_some_and(|n| n <= MAX_TRACKED_ELEMENTS);
    if let (true, Ok(tensor)) = (small, Tensor::from_proto(proto)) {
        return Ok(Fact::of_tensor(&tensor));
    }
    Ok(Fact::of_dims(dims))
}

/// Extents that a value declares, `None` for those that are no number; `None` where it declares no shape.
#[must_use]
pub fn declared_extents(value: &ValueInfoProto) -> Option<Vec<Option<usize>>> {
    let Some(TypeValue::Tensor(tensor)) = value.r#type.as_ref()?.value.as_ref() else {
        return None;
    };
    let extent = |value: &Option<DimValue>| match value {
        Some(DimValue::DimValue(n)) => usize::try_from(*n).ok(),
        _ => None,
    };
    let dims = &tensor.shape.as_ref()?.dim;
    Some(dims.iter().map(|d| extent(&d.value)).collect())
}
