//! Which operators, attributes and attribute values tract computes as ONNX defines them.
//!
//! tract silently ignores an attribute that it does not read. So an operator is listed with the attributes that tract
//! reads, or that cannot change a result, and everything else is refused by name.

use std::borrow::Cow;

use tilecast_onnx::proto::{AttributeProto, NodeProto};
use tilecast_onnx::{Graph, Model};

use crate::lower::{PrepareError, is_along_one_axis};

mod rules;

use rules::Allowed::{self, Integer, Word};
use rules::RULES;

/// The newest opset whose definitions the table was compared with.
const NEWEST_OPSET: i64 = 28;
/// The oldest: before it, arithmetic broadcasts by attributes.
const OLDEST_OPSET: i64 = 7;

/// Checks every node of a model against the table.
pub(super) fn check(model: &Model) -> Result<(), PrepareError> {
    let opset = model.opset();
    if !(OLDEST_OPSET..=NEWEST_OPSET).contains(&opset) {
        return Err(PrepareError::new(
            "model",
            format!(
                "it uses opset {opset}; {OLDEST_OPSET} to {NEWEST_OPSET} are supported here, convert it to one of them"
            ),
        ));
    }
    let graph = model.graph();
    for (id, node) in graph.nodes() {
        check_node(model, &graph, node)
            .map_err(|reason| PrepareError::new(graph.path(id), reason))?;
    }
    Ok(())
}

fn check_node(model: &Model, graph: &Graph<'_>, node: &NodeProto) -> Result<(), String> {
    let (domain, op) = (node.domain_name(), node.op());
    let is_function = |f: &&tilecast_onnx::proto::FunctionProto| {
        f.domain.as_deref().unwrap_or_default() == domain && f.name.as_deref() == Some(op)
    };
    if model.proto().functions.iter().any(|f| is_function(&f)) {
        return Err("it calls a function of the model, which is not supported here; inline the functions first".into());
    }
    if !domain.is_empty() {
        return Err(format!(
            "domain `{domain}` is not supported here; export the model with standard operators"
        ));
    }
    if node
        .attribute
        .iter()
        .any(|a| a.g.is_some() || !a.graphs.is_empty())
    {
        return Err(
            "it holds a subgraph, and control flow is not supported here; fold or unroll it first"
                .into(),
        );
    }
    let rule = RULES.binary_search_by_key(&op, |rule| rule.0);
    let (_, since, attributes) = RULES[rule.map_err(|_| {
        format!("operator {op} is not supported here; replace it with supported ones or use another engine")
    })?];
    if model.opset() < since {
        return Err(format!(
            "operator {op} needs opset {since}, the model has {}",
            model.opset()
        ));
    }
    for attribute in &node.attribute {
        check_attribute(op, attributes, attribute)?;
    }
    check_operands(model, graph, node)
}

fn check_attribute(
    op: &str,
    allowed: &[(&str, Allowed)],
    attribute: &AttributeProto,
) -> Result<(), String> {
    let name = attribute.name.as_deref().unwrap_or_default();
    if attribute
        .ref_attr_name
        .as_deref()
        .is_some_and(|r| !r.is_empty())
    {
        return Err(format!(
            "attribute `{name}` refers to an attribute of a function; inline the functions first"
        ));
    }
    let Some((_, allowed)) = allowed.iter().find(|(known, _)| *known == name) else {
        return Err(format!(
            "attribute `{name}` of {op} is not supported here and would be ignored; remove it if it does nothing, or use another engine"
        ));
    };
    let found = match allowed {
        Allowed::Anything => return Ok(()),
        Integer(only) if attribute.i == Some(*only) => return Ok(()),
        Integer(_) => attribute.i.map(|i| i.to_string()),
        Word(words) => {
            let word = attribute.s.as_deref().map(String::from_utf8_lossy);
            if word
                .as_ref()
                .is_some_and(|word| words.contains(&word.as_ref()))
            {
                return Ok(());
            }
            word.map(Cow::into_owned)
        }
    };
    let supported = match allowed {
        Allowed::Anything => String::new(),
        Integer(only) => only.to_string(),
        Word(words) => words.join(", "),
    };
    Err(format!(
        "attribute `{name}` of {op} is {}; supported here: {supported}",
        found.as_deref().unwrap_or("of another type")
    ))
}

/// What an operator's inputs, outputs and attributes may not be together.
fn check_operands(model: &Model, graph: &Graph<'_>, node: &NodeProto) -> Result<(), String> {
    match node.op() {
        "GridSample" if is_bicubic_to_the_border(node) => Err(
            "tract computes bicubic sampling with border padding otherwise than other runtimes; use another mode, padding or engine"
                .into(),
        ),
        "LogSoftmax" if !is_along_one_axis(model.opset(), node) => Err(
            "before opset 13 it works along all axes from the given one on, which is not supported here; convert the model to opset 13"
                .into(),
        ),
        "BatchNormalization"
            if (1..node.output.len()).any(|slot| node.output_name(slot).is_some()) =>
        {
            Err("it has training outputs; export the model for inference".into())
        }
        "Dropout" => {
            let Some(training) = node.input_name(2) else {
                return Ok(());
            };
            let training = graph.constant(training).map_err(|e| e.to_string())?;
            match training.and_then(|t| t.to_i64_vec()).as_deref() {
                Some([0]) => Ok(()),
                _ => Err(
                    "its training mode is not constantly off; export the model for inference"
                        .into(),
                ),
            }
        }
        _ => Ok(()),
    }
}

fn is_bicubic_to_the_border(node: &NodeProto) -> bool {
    matches!(node.string("mode"), Ok(Some("cubic" | "bicubic")))
        && matches!(node.string("padding_mode"), Ok(Some("border")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_searched_and_tract_has_every_operator() {
        assert!(RULES.is_sorted_by_key(|rule| rule.0));
        let onnx = tract_onnx::onnx();
        for (op, ..) in RULES {
            assert!(onnx.op_register.0.contains_key(*op), "{op}");
        }
    }
}
