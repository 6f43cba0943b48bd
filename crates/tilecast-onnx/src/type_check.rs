//! Float operands that the specification does not let stand together.

use crate::graph::{MAX_NAME_CHARS, node_path, shortened, subgraphs};
use crate::proto::{GraphProto, ModelProto, NodeProto};
use crate::types::OuterTypes;
use crate::{DataType, Graph, Signature, TypeMap, Violation, infer_body_types, infer_types};

/// Nodes whose float operands contradict the operator's type constraints: two types where one is asked for, or a type that
/// the operator does not take. Subgraphs included. Operators of other domains, and values of unknown type, are passed over.
///
/// What a runtime finds when it loads a model ("Type parameter (T) bound to different types"). Linear in the model.
#[must_use]
pub fn mixed_float_operands(model: &ModelProto, opset: i64) -> Vec<Violation> {
    let mut found = Vec::new();
    if let Some(graph) = &model.graph {
        let types = infer_types(&Graph::new(graph));
        check_graph(graph, opset, &types, &|_| None, &mut found);
    }
    found
}

fn check_graph(
    graph: &GraphProto,
    opset: i64,
    types: &TypeMap<'_>,
    outer: &OuterTypes<'_>,
    found: &mut Vec<Violation>,
) {
    let known = |name: &str| types.get(name).copied().or_else(|| outer(name));
    let graph_name = shortened(graph.name.as_deref().unwrap_or_default(), MAX_NAME_CHARS);
    for (index, node) in graph.node.iter().enumerate() {
        if let Some(message) = check_node(node, opset, &known) {
            let path = node_path(&graph_name, index, node);
            found.push(Violation { path, message });
        }
        for body in subgraphs(node) {
            let types = infer_body_types(node, body, &known);
            check_graph(body, opset, &types, &known, found);
        }
    }
}

fn check_node(node: &NodeProto, opset: i64, known: &OuterTypes<'_>) -> Option<String> {
    if !node.domain_name().is_empty() {
        return None;
    }
    let signature = Signature::of(node.op(), opset)?;
    let inputs = (0..node.input.len()).map(|slot| (node.input_name(slot), signature.input(slot)));
    // The mask of a `Dropout` is boolean since opset 10 and counts as such everywhere; nobody computes with it.
    let n_outputs = if node.is("Dropout") {
        1
    } else {
        node.output.len()
    };
    let outputs = (0..n_outputs).map(|slot| (node.output_name(slot), signature.output(slot)));
    let mut bound: Vec<(u8, DataType, &str)> = Vec::new();
    for (name, slot) in inputs.chain(outputs) {
        let (Some(name), Some(slot)) = (name, slot) else {
            continue;
        };
        let Some(data_type) = known(name) else {
            continue;
        };
        let is_float = matches!(data_type, DataType::F32 | DataType::F16 | DataType::BF16);
        if is_float && !slot.allows(data_type) {
            return Some(format!(
                "`{name}` is {data_type}, which {} of opset {opset} does not take there",
                node.op()
            ));
        }
        let Some(variable) = slot.variable else {
            continue;
        };
        match bound.iter().find(|(of, ..)| *of == variable) {
            Some(&(_, other, other_name)) if other != data_type => {
                return Some(format!(
                    "`{other_name}` is {other} and `{name}` is {data_type}; they must be of one type"
                ));
            }
            Some(_) => {}
            None => bound.push((variable, data_type, name)),
        }
    }
    None
}
