//! Raising the opset of a model.
//!
//! [`history`] knows in which opsets an operator got a new version. Most versions only widen the element types or add an
//! optional attribute, and a node means the same in both. Where the meaning changes, [`rules`] has an entry: a conversion
//! in the file of its family, or a refusal. The opset is raised one version at a time, so that a rule only has to bridge
//! two neighbours (`Upsample` becomes `Resize` of opset 10, which becomes `Resize` of opset 11, and so on).
//!
//! What cannot be proven to mean the same is refused by the path of its node, and the model stays as it is.

mod axes;
mod facts;
mod history;
mod normalization;
mod parameters;
mod pooling;
mod rename;
mod resize;
mod rules;
mod site;
mod softmax;
mod split;

use std::collections::HashSet;

use facts::Facts;
use history::REVIEWED_OPSET;
use rules::Rule;
use site::Site;

use crate::graph::{node_path, value_names};
use crate::patch::raise_opset;
use crate::proto::{GraphProto, NodeProto};
use crate::{Model, verify};

/// The oldest opset that can be raised: before it, binary operators broadcast by attributes.
const OLDEST_OPSET: i64 = 7;

/// Initializers that are not graph inputs exist since this IR version.
const FREE_INITIALIZERS_IR_VERSION: i64 = 4;

/// Why the opset of a model could not be raised. The model is as it was.
#[derive(Debug, thiserror::Error)]
#[error("cannot raise the opset from {from} to {target}: {}", refusals.join("; "))]
pub struct UpgradeError {
    from: i64,
    target: i64,
    refusals: Vec<String>,
}

impl UpgradeError {
    /// Everything that stands in the way, each with the path of its node.
    #[must_use]
    pub fn refusals(&self) -> &[String] {
        &self.refusals
    }
}

/// Raises the opset of the default domain to `target` and converts the operators whose meaning changed on the way,
/// subgraphs included. Other domains stay as they are. The IR version is raised to the one that `target` was released
/// with. Values keep their names; values and initializers that a conversion adds get new ones.
///
/// # Errors
/// Every node that cannot be converted, with the reason; a target below the model's opset or above the newest known;
/// a model with local functions, which import opsets of their own ([`crate::inline_functions`] removes them).
pub fn upgrade_opset(model: &mut Model, target: i64) -> Result<(), UpgradeError> {
    let from = model.opset();
    let fail = |refusals: Vec<String>| UpgradeError {
        from,
        target,
        refusals,
    };
    if from == target {
        return Ok(());
    }
    if target < from {
        return Err(fail(vec!["an opset cannot be lowered".into()]));
    }
    if from < OLDEST_OPSET || target > REVIEWED_OPSET {
        return Err(fail(vec![format!(
            "only opsets {OLDEST_OPSET} to {REVIEWED_OPSET} are known; export the model at a newer opset"
        )]));
    }
    if !model.proto().functions.is_empty() {
        return Err(fail(vec![
            "the model has local functions; inline them first".into(),
        ]));
    }

    let mut after = model.proto().clone();
    let Some(graph) = after.graph.as_mut() else {
        return Err(fail(vec!["the model has no graph".into()]));
    };
    let mut upgrade = Upgrade {
        facts: Facts::of(model.graph_proto()),
        used_names: value_names(model.graph_proto()),
        from,
        target,
        refusals: Vec::new(),
    };
    let path = graph.name.clone().unwrap_or_default();
    upgrade.graph(graph, &path);
    if !upgrade.refusals.is_empty() {
        return Err(fail(upgrade.refusals));
    }
    raise_opset(&mut after.opset_import, target);
    let ir_version = ir_version_of(target).max(FREE_INITIALIZERS_IR_VERSION);
    after.ir_version = after.ir_version.max(Some(ir_version));
    let violations = verify(&after);
    if !violations.is_empty() {
        return Err(fail(violations.iter().map(ToString::to_string).collect()));
    }
    *model.proto_mut() = after;
    Ok(())
}

/// Whether a node of this operator, valid in opset `from`, computes the same in opset `to`.
pub(crate) fn means_the_same(operator: &str, from: i64, to: i64) -> bool {
    let Some(versions) = history::versions(operator) else {
        return false;
    };
    if to < from {
        // An older version may lack a type or an attribute that the node uses.
        return !versions.iter().any(|v| (to + 1..=from).contains(v));
    }
    to <= REVIEWED_OPSET && !(from + 1..=to).any(|version| rules::rule(operator, version).is_some())
}

/// The IR version that an opset was released with.
fn ir_version_of(opset: i64) -> i64 {
    match opset {
        ..=8 => 3,
        9..=11 => opset - 5,
        12..=14 => 7,
        15..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        23..=24 => opset - 12,
        25..=27 => 13,
        28.. => 14,
    }
}

struct Upgrade<'a> {
    facts: Facts<'a>,
    used_names: HashSet<String>,
    from: i64,
    target: i64,
    refusals: Vec<String>,
}

impl Upgrade<'_> {
    fn graph(&mut self, graph: &mut GraphProto, path: &str) {
        let mut nodes = Vec::with_capacity(graph.node.len());
        for (index, mut node) in std::mem::take(&mut graph.node).into_iter().enumerate() {
            let path = node_path(path, index, &node);
            for attribute in &mut node.attribute {
                let attribute = &mut attribute.fields;
                for subgraph in attribute
                    .g
                    .as_deref_mut()
                    .into_iter()
                    .chain(&mut attribute.graphs)
                {
                    let name = subgraph.name.clone().unwrap_or_default();
                    self.graph(subgraph, &format!("{path}/{name}"));
                }
            }
            match self.node(node, &mut graph.initializer) {
                Ok(converted) => nodes.extend(converted),
                Err(reason) => self.refusals.push(format!("{path}: {reason}")),
            }
        }
        graph.node = nodes;
    }

    fn node(
        &mut self,
        mut node: NodeProto,
        initializers: &mut Vec<crate::proto::TensorProto>,
    ) -> Result<Vec<NodeProto>, String> {
        if !node.domain_name().is_empty() {
            return Ok(vec![node]);
        }
        let versions = history::versions(node.op())
            .ok_or_else(|| format!("`{}` is no operator of ONNX", node.op()))?;
        if versions.first() > Some(&self.from) {
            return Err(format!(
                "`{}` is not part of opset {}",
                node.op(),
                self.from
            ));
        }
        let mut site = Site {
            facts: &self.facts,
            used_names: &mut self.used_names,
            initializers,
            before: Vec::new(),
            after: Vec::new(),
        };
        for version in self.from + 1..=self.target {
            match rules::rule(node.op(), version) {
                None => {}
                Some(Rule::Convert(convert)) => convert(&mut node, &mut site),
                Some(Rule::TryConvert(convert)) => convert(&mut node, &mut site)?,
                Some(Rule::Refuse) => {
                    return Err(format!(
                        "`{}` changes its meaning in opset {version} and has no conversion; export the model at a newer opset",
                        node.op()
                    ));
                }
            }
        }
        // What a conversion adds around a node is of operators that no later version changes.
        let Site { before, after, .. } = site;
        Ok(before.into_iter().chain([node]).chain(after).collect())
    }
}
