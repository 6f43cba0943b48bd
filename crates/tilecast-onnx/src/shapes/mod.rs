//! Concrete shapes and shape-valued integers of a graph, for given input shapes.
//!
//! One pass over the nodes in graph order. Each operator has a rule in the file of its family; [`operators`] is the table
//! from operator name to rule. Small integer tensors (and float32 ones, because `Resize` takes float scales) are computed
//! along with the shapes, so that the shape arithmetic that exporters write (`Shape` → `Gather` → `Mod` → `Concat` → …)
//! resolves to numbers.
//!
//! What is not known stays unknown and spreads no further than it must; what is contradictory is an error. Sizes come
//! from untrusted files: every extent is computed in 128 bits and checked against [`MAX_ELEMENTS`], and no value is
//! materialized above [`MAX_TRACKED_ELEMENTS`].

mod arithmetic;
mod call;
mod elementwise;
mod fact;
mod indexing;
mod layout;
mod linear;
mod normalize;
mod operators;
mod reduce;
mod resample;
mod sources;
mod window;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use call::{Call, Halt};
use fact::{Fact, Values};

use crate::proto::{DimValue, NodeProto, TensorProto, TypeValue, ValueInfoProto};
use crate::{DataType, Graph, Tensor, TypeMap, infer_types};

/// Tensors with more elements than this are refused: no machine holds them, and products of their extents overflow.
const MAX_ELEMENTS: usize = 1 << 40;

/// Values of tensors with more elements than this are not followed; shape arithmetic needs far fewer.
const MAX_TRACKED_ELEMENTS: usize = 4096;

/// What is known of each value once the graph's inputs have concrete shapes.
#[derive(Clone, Debug, Default)]
pub struct ShapeMap {
    facts: HashMap<String, Fact>,
}

/// A node whose inputs contradict its operator, or an input shape that contradicts the graph.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct InferShapesError {
    path: String,
    reason: String,
}

impl ShapeMap {
    /// Dimensions of a value; `None` where an unknown operator hides them.
    #[must_use]
    pub fn shape(&self, value: &str) -> Option<&[usize]> {
        self.facts.get(value)?.dims.as_deref()
    }

    /// Elements (row-major; booleans as 0 and 1) of a small integer tensor whose value is fixed once the input shapes
    /// are.
    #[must_use]
    pub fn integers(&self, value: &str) -> Option<&[i64]> {
        match self.facts.get(value)?.values.as_ref()? {
            Values::Integers(integers) => Some(integers),
            Values::Floats(_) => None,
        }
    }
}

/// Propagates input shapes through the graph. Linear in the graph; weights are not read.
///
/// Inputs that are not named keep the shape that the graph declares for them, if it is complete. A fixed extent that the
/// graph declares for a *named* input does not bind: exporters freeze sizes that the graph itself does not need, and
/// where it does need them a node contradicts. The rank does bind.
///
/// # Errors
/// An operator's inputs contradict each other, or a shape is negative or too large, with the node's path; a name in
/// `inputs` is no graph input or has another rank there.
pub fn infer_shapes(
    graph: &Graph<'_>,
    inputs: &[(&str, Vec<usize>)],
) -> Result<ShapeMap, InferShapesError> {
    let types = infer_types(graph);
    let mut facts = HashMap::with_capacity(graph.proto().node.len() * 2);
    for tensor in &graph.proto().initializer {
        let name = tensor.name.clone().unwrap_or_default();
        let fact = initializer(tensor).map_err(|reason| InferShapesError {
            path: format!("initializer `{name}`"),
            reason,
        })?;
        facts.insert(name, fact);
    }
    for input in graph.inputs() {
        let name = input.name.as_deref().unwrap_or_default();
        if let Some(dims) = declared_dims(input).and_then(|d| d.into_iter().collect()) {
            facts.insert(name.to_owned(), Fact::of_dims(dims));
        }
    }
    for (name, dims) in inputs {
        let fail = |reason: String| InferShapesError {
            path: format!("input `{name}`"),
            reason,
        };
        let declared = graph
            .inputs()
            .find(|v| v.name.as_deref() == Some(*name))
            .ok_or_else(|| fail("the graph has no such input; check the name".into()))?;
        if let Some(rank) = declared_dims(declared).map(|d| d.len())
            && rank != dims.len()
        {
            return Err(fail(format!(
                "the graph declares {rank} dimensions, {dims:?} was given"
            )));
        }
        check_size(dims).map_err(fail)?;
        facts.insert((*name).to_owned(), Fact::of_dims(dims.clone()));
    }
    for (id, node) in graph.nodes() {
        let fail = |reason| InferShapesError {
            path: graph.path(id),
            reason,
        };
        let outputs = match infer_node(node, &facts) {
            Ok(outputs) => outputs,
            Err(Halt::Unknown) => continue,
            Err(Halt::Contradiction(reason)) => return Err(fail(reason)),
        };
        for (slot, fact) in outputs.into_iter().enumerate() {
            let Some(name) = node.output_name(slot) else {
                continue;
            };
            if let Some(dims) = &fact.dims {
                check_size(dims).map_err(fail)?;
            }
            facts.insert(name.to_owned(), tracked(fact, name, &types));
        }
    }
    Ok(ShapeMap { facts })
}

fn infer_node(node: &NodeProto, facts: &HashMap<String, Fact>) -> Result<Vec<Fact>, Halt> {
    if !node.domain_name().is_empty() {
        return Err(Halt::Unknown);
    }
    let rule = operators::rule(node.op()).ok_or(Halt::Unknown)?;
    rule(&Call::new(node, facts))
}

/// Extents that a graph input declares, `None` for symbolic ones; `None` where it declares no shape at all.
fn declared_dims(input: &ValueInfoProto) -> Option<Vec<Option<usize>>> {
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

fn initializer(proto: &TensorProto) -> Result<Fact, String> {
    let dims = proto
        .dims
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| format!("negative extent in {:?}", proto.dims)))
        .collect::<Result<Vec<_>, _>>()?;
    check_size(&dims)?;
    let n: usize = dims.iter().product();
    let values = (n <= MAX_TRACKED_ELEMENTS)
        .then(|| Tensor::from_proto(proto).ok())
        .flatten()
        .and_then(|tensor| Values::of_tensor(&tensor));
    Ok(Fact {
        dims: Some(dims),
        values,
    })
}

/// Refuses shapes whose element count overflows or exceeds what any machine holds.
fn check_size(dims: &[usize]) -> Result<(), String> {
    // Zero extents must not hide a huge one beside them: later operators may drop the zero.
    let product = dims
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d.max(1)));
    match product {
        Some(n) if n <= MAX_ELEMENTS => Ok(()),
        _ => Err(format!("the shape {dims:?} is too large")),
    }
}

/// Drops values that are too many, or that the output's element type would wrap or round.
fn tracked(fact: Fact, name: &str, types: &TypeMap<'_>) -> Fact {
    let n_elements = fact.dims.as_ref().map(|d| d.iter().product::<usize>());
    let fits = |values: &Values| {
        let consistent = n_elements == Some(values.len());
        let representable = match (values, types.get(name)) {
            (_, None) => true,
            (Values::Floats(_), Some(t)) => *t == DataType::F32,
            (Values::Integers(v), Some(t)) => integer_range(*t)
                .is_some_and(|(low, high)| v.iter().all(|&x| (low..=high).contains(&x))),
        };
        values.len() <= MAX_TRACKED_ELEMENTS && consistent && representable
    };
    Fact {
        dims: fact.dims,
        values: fact.values.filter(fits),
    }
}

/// The range of an integer element type within i64.
fn integer_range(data_type: DataType) -> Option<(i64, i64)> {
    Some(match data_type {
        DataType::I64 => (i64::MIN, i64::MAX),
        DataType::U64 => (0, i64::MAX),
        DataType::I32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::U32 => (0, u32::MAX.into()),
        DataType::I16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::U16 => (0, u16::MAX.into()),
        DataType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::U8 => (0, u8::MAX.into()),
        DataType::Bool => (0, 1),
        _ => return None,
    })
}
