//! Binding: numbers in the place of the symbolic dimensions of a model.

use std::collections::BTreeMap;

use crate::proto::{
    DimValue, Dimension, DimensionFields, TensorShapeFields, TensorShapeProto, TypeValue,
    ValueInfoProto,
};
use crate::{Facts, Graph, InferShapesError, InputExtents, Model};

/// Names that symbolic dimensions of a model's inputs go by, without repetitions and in their order: each as the model
/// writes it, and where that is `8*h`, also `h`.
#[must_use]
pub fn dimension_names<'a>(graph: &Graph<'a>) -> Vec<&'a str> {
    let mut names = Vec::new();
    for dimension in graph.inputs().flat_map(dimensions) {
        if let Some(DimValue::DimParam(whole)) = &dimension.value {
            let symbol = multiple(whole).map(|(_, symbol)| symbol);
            names.extend([Some(whole.as_str()), symbol].into_iter().flatten());
        }
    }
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(*name));
    names
}

/// Number or name of every dimension that a value declares; `None` where one has neither, or no shape is declared.
#[must_use]
pub fn declared_dimensions(value: &ValueInfoProto) -> Option<Vec<DimValue>> {
    let Some(TypeValue::Tensor(tensor)) = value.r#type.as_ref()?.value.as_ref() else {
        return None;
    };
    let dimensions = &tensor.shape.as_ref()?.dim;
    dimensions.iter().map(|d| d.value.clone()).collect()
}

/// Extents of an input for these values of symbolic dimensions; `None` for those that stay open. `None` where the input
/// declares no shape.
///
/// A value may be given for the whole of what the model writes, `8*h`, or for the symbol in it.
#[must_use]
pub fn bound_extents(
    input: &ValueInfoProto,
    values: &BTreeMap<String, usize>,
) -> Option<Vec<Option<usize>>> {
    let Some(TypeValue::Tensor(tensor)) = input.r#type.as_ref()?.value.as_ref() else {
        return None;
    };
    let dimensions = &tensor.shape.as_ref()?.dim;
    let extents = dimensions.iter().map(|dimension| match &dimension.value {
        Some(DimValue::DimValue(n)) => usize::try_from(*n).ok(),
        Some(DimValue::DimParam(name)) => value_of(name, values),
        None => None,
    });
    Some(extents.collect())
}

/// Writes what follows from these extents of the inputs into the declared shapes of a model: of its inputs, its outputs and
/// recorded values. What is not fixed by them keeps its symbol, unless that is among `values`.
///
/// # Errors
/// A node cannot run at these extents, with its path; the model is unchanged.
pub fn bind(
    model: &mut Model,
    inputs: &InputExtents,
    values: &BTreeMap<String, usize>,
) -> Result<(), InferShapesError> {
    let ir_version = model.proto().ir_version.unwrap_or_default();
    let facts = Facts::checked(&model.graph(), ir_version, inputs)?;
    let Some(graph) = model.proto_mut().graph.as_mut() else {
        return Ok(());
    };
    let graph = &mut graph.fields;
    let ends = graph.input.iter_mut().chain(&mut graph.output);
    for value in ends.chain(&mut graph.value_info) {
        declare(value, &facts, values);
    }
    Ok(())
}

fn declare(value: &mut ValueInfoProto, facts: &Facts, values: &BTreeMap<String, usize>) {
    let name = value.name.clone().unwrap_or_default();
    let Some(TypeValue::Tensor(tensor)) = value.r#type.as_mut().and_then(|t| t.value.as_mut())
    else {
        return;
    };
    let rank = facts.rank(&name);
    if tensor.shape.is_none() {
        let dim = vec![Dimension::from(DimensionFields::default()); rank.unwrap_or_default()];
        tensor.shape = rank.map(|_| TensorShapeProto::from(TensorShapeFields { dim }));
    }
    let Some(shape) = tensor.shape.as_mut() else {
        return;
    };
    let agrees = rank == Some(shape.dim.len());
    for (axis, dimension) in shape.dim.iter_mut().enumerate() {
        let proved = facts.extent(&name, axis).filter(|_| agrees);
        let extent = proved.or_else(|| match &dimension.value {
            Some(DimValue::DimParam(name)) => value_of(name, values),
            _ => None,
        });
        if let Some(extent) = extent.and_then(|n| i64::try_from(n).ok()) {
            dimension.value = Some(DimValue::DimValue(extent));
        }
    }
}

fn dimensions(value: &ValueInfoProto) -> impl Iterator<Item = &Dimension> {
    let shape = match value.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(TypeValue::Tensor(tensor)) => tensor.shape.as_ref(),
        _ => None,
    };
    shape.into_iter().flat_map(|shape| &shape.dim)
}

fn value_of(dimension: &str, values: &BTreeMap<String, usize>) -> Option<usize> {
    if let Some(extent) = values.get(dimension) {
        return Some(*extent);
    }
    let (factor, symbol) = multiple(dimension)?;
    values.get(symbol)?.checked_mul(factor)
}

/// Factor and symbol of `8*h`, as the dynamo exporter writes what a model rounds to a multiple. Longer expressions are not
/// taken apart: where they depend on the inputs, their value is inferred.
fn multiple(dimension: &str) -> Option<(usize, &str)> {
    let (factor, symbol) = dimension.split_once('*')?;
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let symbol = symbol.trim();
    let plain = !symbol.is_empty() && symbol.chars().all(is_name);
    Some((factor.trim().parse().ok()?, symbol)).filter(|_| plain)
}
