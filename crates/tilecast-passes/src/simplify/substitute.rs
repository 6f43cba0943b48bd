//! One value in the place of another, for passes that take nodes out.

use std::collections::{BTreeMap, BTreeSet};

use tilecast_onnx::{Graph, NodeId, Patch};

/// Values that are to be read in the place of others, and the nodes that go.
#[derive(Debug, Default)]
pub(super) struct Substitution {
    instead_of: BTreeMap<String, String>,
    /// New names of values whose producer stays.
    renamed: BTreeMap<String, String>,
    removed: BTreeSet<NodeId>,
}

impl Substitution {
    /// What a reader of `name` is to read.
    pub(super) fn resolve<'a>(&'a self, name: &'a str) -> &'a str {
        let mut current = name;
        while let Some(next) = self.instead_of.get(current) {
            current = next;
        }
        current
    }

    /// Removes a node whose output `y` is the same as `x`, and lets the readers of `y` read `x`.
    ///
    /// # Errors
    /// Why the node cannot go: the graph's outputs, and what subgraphs read, keep their names.
    pub(super) fn bypass(
        &mut self,
        graph: &Graph<'_>,
        id: NodeId,
        x: &str,
        y: &str,
    ) -> Result<(), String> {
        if is_captured(graph, y) {
            return Err(format!("a subgraph reads its output `{y}` by name"));
        }
        if !graph.is_output(y) {
            self.redirect(y, x);
            self.removed.insert(id);
            return Ok(());
        }
        // The name of the graph output moves to the node that computes the value.
        if graph.producer(x).is_none() {
            return Err(format!(
                "it gives `{x}`, which no node computes, the name of the graph output `{y}`"
            ));
        }
        if graph.is_output(x) {
            return Err(format!("`{x}` and `{y}` are both graph outputs"));
        }
        if is_captured(graph, x) {
            return Err(format!("a subgraph reads its input `{x}` by name"));
        }
        if self.instead_of.contains_key(x) {
            // The node that computes `x` goes with this patch; the next run finds what is left.
            return Ok(());
        }
        self.instead_of.insert(x.to_owned(), y.to_owned());
        self.renamed.insert(x.to_owned(), y.to_owned());
        self.removed.insert(id);
        Ok(())
    }

    /// Lets the readers of `y` read `x`, and removes the node that computes `y`, which is no graph output.
    pub(super) fn replace(&mut self, id: NodeId, y: &str, x: &str) {
        self.redirect(y, x);
        self.removed.insert(id);
    }

    /// Lets the readers of `y` read `x`.
    pub(super) fn redirect(&mut self, y: &str, x: &str) {
        // Resolved at once, so that a chain of any length is one step for its readers.
        let x = self.resolve(x).to_owned();
        self.instead_of.insert(y.to_owned(), x);
    }

    /// Whether this node goes.
    pub(super) fn removes(&self, id: NodeId) -> bool {
        self.removed.contains(&id)
    }

    /// Writes it all to a patch.
    pub(super) fn write(&self, graph: &Graph<'_>, patch: &mut Patch) {
        for &id in &self.removed {
            patch.remove_node(id);
        }
        for (id, node) in graph.nodes().filter(|(id, _)| !self.removes(*id)) {
            for (slot, name) in node.input.iter().enumerate() {
                let resolved = self.resolve(name);
                if resolved != name {
                    resolved.clone_into(&mut patch.edit_node(graph, id).input[slot]);
                }
            }
            for (slot, name) in node.output.iter().enumerate() {
                if let Some(renamed) = self.renamed.get(name) {
                    patch.edit_node(graph, id).output[slot].clone_from(renamed);
                }
            }
        }
    }
}

/// Whether a subgraph reads the value by its name.
pub(super) fn is_captured(graph: &Graph<'_>, value: &str) -> bool {
    graph.uses(value).iter().any(|u| u.slot.is_none())
}
