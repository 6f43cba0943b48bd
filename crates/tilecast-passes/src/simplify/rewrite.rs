//! A patch in the making: which nodes it has touched, which constants nobody reads once it is applied, and what was
//! declined on the way.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, NodeId, Patch, Tensor};

use crate::names::FreshNames;
use crate::{Outcome, PassContext};

/// Collects the edits of one pass.
#[derive(Debug)]
pub(super) struct Rewrite<'a, 'g> {
    graph: &'a Graph<'g>,
    names: FreshNames,
    patch: Patch,
    removed: BTreeSet<NodeId>,
    edited: BTreeSet<NodeId>,
    read_by_inserted: HashSet<String>,
    declined: Vec<(NodeId, String)>,
}

impl<'a, 'g> Rewrite<'a, 'g> {
    pub(super) fn of(graph: &'a Graph<'g>) -> Self {
        Self {
            graph,
            names: FreshNames::of(graph),
            patch: Patch::default(),
            removed: BTreeSet::new(),
            edited: BTreeSet::new(),
            read_by_inserted: HashSet::new(),
            declined: Vec::new(),
        }
    }

    /// Whether an edit so far removed or changed this node: what was matched on it may not hold any more.
    pub(super) fn touched(&self, id: NodeId) -> bool {
        self.removed.contains(&id) || self.edited.contains(&id)
    }

    /// Notes that a node is left alone.
    pub(super) fn decline(&mut self, id: NodeId, reason: String) {
        self.declined.push((id, reason));
    }

    /// Removes a node.
    pub(super) fn remove(&mut self, id: NodeId) {
        self.removed.insert(id);
        self.patch.remove_node(id);
    }

    /// The node as the patch leaves it so far.
    pub(super) fn edit(&mut self, id: NodeId) -> &mut NodeProto {
        self.edited.insert(id);
        self.patch.edit_node(self.graph, id)
    }

    /// Gives values that a node reads or writes other names.
    pub(super) fn rename(&mut self, id: NodeId, names: &BTreeMap<&str, String>) {
        let node = self.edit(id);
        let rename = |listed: &mut [String]| {
            for name in listed {
                if let Some(new) = names.get(name.as_str()) {
                    name.clone_from(new);
                }
            }
        };
        rename(&mut node.input);
        rename(&mut node.output);
    }

    /// Turns a node with one output into a copy of a value, which `remove_identity` takes away.
    pub(super) fn copy(&mut self, id: NodeId, value: &str) {
        let node = self.edit(id);
        node.op_type = Some("Identity".into());
        node.input = vec![value.to_owned()];
        node.attribute.clear();
    }

    /// Removes the nodes of a pattern and puts others in the place of its last node.
    pub(super) fn replace_pattern(
        &mut self,
        nodes: &BTreeSet<NodeId>,
        last: NodeId,
        with: Vec<NodeProto>,
    ) {
        for &id in nodes {
            self.remove(id);
        }
        for node in with {
            self.read_by_inserted.extend(node.input.iter().cloned());
            self.patch.insert_before(last, node);
        }
    }

    /// A name that nothing in the graph has.
    pub(super) fn fresh(&mut self, base: &str, suffix: &str) -> String {
        self.names.fresh(base, suffix)
    }

    /// Adds a constant under a fresh name, which is returned.
    pub(super) fn add_constant(&mut self, base: &str, suffix: &str, tensor: &Tensor) -> String {
        let name = self.names.fresh(base, suffix);
        self.patch.set_initializer(&name, tensor);
        name
    }

    /// Gives input `slot` of a node another constant: in its place if no other node reads it, else under a fresh name.
    pub(super) fn change_constant(&mut self, id: NodeId, slot: usize, tensor: &Tensor) {
        let name = self.graph.node(id).input[slot].clone();
        let replaceable = self.graph.initializer(&name).is_some()
            && self.graph.only_use(&name).is_some()
            && !self.is_input(&name);
        if replaceable {
            self.patch.set_initializer(&name, tensor);
        } else {
            let fresh = self.add_constant(&name, "_folded", tensor);
            self.edit(id).input[slot] = fresh;
        }
    }

    /// The patch, with the constants removed that only removed nodes read. Reports what was declined, apart from nodes
    /// that are gone all the same.
    pub(super) fn finish(mut self, cx: &mut PassContext) -> Outcome {
        let graph = self.graph;
        for (id, reason) in std::mem::take(&mut self.declined) {
            if !self.removed.contains(&id) {
                cx.decline(graph, id, reason);
            }
        }
        let constants: BTreeSet<&str> = self
            .removed
            .iter()
            .chain(&self.edited)
            .flat_map(|&id| &graph.node(id).input)
            .map(String::as_str)
            .collect();
        for name in constants {
            let kept = graph.is_output(name) || self.is_input(name) || self.is_read(name);
            if kept {
                continue;
            }
            if graph.initializer(name).is_some() {
                self.patch.remove_initializer(name);
            } else if let Some((id, _)) = graph.producer(name)
                && graph.node(id).is("Constant")
            {
                self.patch.remove_node(id);
            }
        }
        if self.patch.is_empty() {
            Outcome::Unchanged
        } else {
            Outcome::Rewrite(Box::new(self.patch))
        }
    }

    /// An initializer that a caller may feed instead is part of the model's interface.
    fn is_input(&self, name: &str) -> bool {
        let inputs = &self.graph.proto().input;
        inputs.iter().any(|v| v.name.as_deref() == Some(name))
    }

    fn is_read(&mut self, name: &str) -> bool {
        let graph = self.graph;
        self.read_by_inserted.contains(name)
            || graph
                .uses(name)
                .iter()
                .filter(|u| !self.removed.contains(&u.node))
                .any(|u| {
                    !self.edited.contains(&u.node)
                        || u.slot.is_none()
                        || self
                            .patch
                            .edit_node(graph, u.node)
                            .input
                            .iter()
                            .any(|i| i == name)
                })
    }
}
