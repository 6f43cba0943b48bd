//! Nodes that compute what another node computes already.

use std::collections::HashMap;

use prost::Message;
use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, Patch};

use super::substitute::{Substitution, is_captured};
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "merge_common_subexpressions",
    summary: "compute once what several nodes compute from the same inputs",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** Of nodes with the same operator, attributes and inputs, the first one stays and the readers of the
others read its outputs. Inputs are compared after the merges before, so whole chains disappear in one run.

**Why.** Exporters take the shape of a tensor once for each of its extents, and normalizations in parallel branches repeat
their statistics.

**Before / After.** `a = Relu(x); b = Relu(x); y = Add(a, b)` becomes `a = Relu(x); y = Add(a, a)`.

**Preconditions.** An operator of the default domain that gives equal results for equal inputs: no random numbers, no
Dropout that may be training, no subgraph. The later node has no output that the first one leaves out; none of its outputs
is a graph output or read by name in a subgraph.

**Numerics.** Exact.

**References.** J. Cocke, *Global Common Subexpression Elimination*, 1970.",
};

/// Merges common subexpressions; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct MergeCommonSubexpressions;

impl Pass for MergeCommonSubexpressions {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let mut first_of: HashMap<Key, &NodeProto> = HashMap::new();
        let mut substitution = Substitution::default();
        for (id, node) in graph.nodes().filter(|(_, node)| is_pure(node)) {
            let key = Key::of(node, &substitution);
            let Some(first) = first_of.get(&key) else {
                first_of.insert(key, node);
                continue;
            };
            if let Err(reason) = may_merge(graph, first, node) {
                let label = first.output_name(0).unwrap_or_default();
                cx.decline(
                    graph,
                    id,
                    format!("it computes `{label}` again, and {reason}"),
                );
                continue;
            }
            for (slot, name) in node.output.iter().enumerate() {
                if let (false, Some(kept)) = (name.is_empty(), first.output_name(slot)) {
                    substitution.replace(id, name, kept);
                }
            }
        }
        let mut patch = Patch::default();
        substitution.write(graph, &mut patch);
        Ok(Outcome::of(patch))
    }
}

/// What makes two nodes compute the same.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    op: String,
    inputs: Vec<String>,
    attributes: Vec<Vec<u8>>,
    n_outputs: usize,
}

impl Key {
    fn of(node: &NodeProto, substitution: &Substitution) -> Self {
        let mut attributes: Vec<Vec<u8>> = node
            .attribute
            .iter()
            .map(|attribute| {
                let mut attribute = attribute.clone();
                attribute.doc_string = None;
                attribute.encode_to_vec()
            })
            .collect();
        attributes.sort_unstable();
        let inputs = node
            .input
            .iter()
            .map(|name| substitution.resolve(name).to_owned());
        Self {
            op: node.op().to_owned(),
            inputs: inputs.collect(),
            attributes,
            // The number of outputs decides what Split does.
            n_outputs: node.output.len(),
        }
    }
}

/// Whether equal inputs give equal results.
fn is_pure(node: &NodeProto) -> bool {
    let draws = matches!(
        node.op(),
        "RandomNormal"
            | "RandomUniform"
            | "RandomNormalLike"
            | "RandomUniformLike"
            | "Bernoulli"
            | "Multinomial"
            | "Dropout"
    );
    let has_subgraph = node
        .attribute
        .iter()
        .any(|a| a.g.is_some() || !a.graphs.is_empty());
    node.domain_name().is_empty() && !draws && !has_subgraph
}

fn may_merge(graph: &Graph<'_>, first: &NodeProto, node: &NodeProto) -> Result<(), String> {
    for (slot, name) in node.output.iter().enumerate() {
        if name.is_empty() {
            continue;
        }
        if graph.is_output(name) {
            return Err(format!("its output `{name}` is a graph output"));
        }
        if is_captured(graph, name) {
            return Err(format!("a subgraph reads its output `{name}` by name"));
        }
        if first.output_name(slot).is_none() {
            return Err(format!("the first one leaves out output {slot}"));
        }
    }
    Ok(())
}
