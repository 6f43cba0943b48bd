//! Names for what a pass adds.

use std::collections::HashSet;

use tilecast_onnx::Graph;

/// Hands out names that no value, node or initializer of the graph has.
#[derive(Debug)]
pub(crate) struct FreshNames {
    taken: HashSet<String>,
}

impl FreshNames {
    /// Names of nested graphs count: a body sees the names around it.
    pub(crate) fn of(graph: &Graph<'_>) -> Self {
        let mut taken: HashSet<String> = HashSet::new();
        let mut pending = vec![graph.proto()];
        while let Some(proto) = pending.pop() {
            for node in &proto.node {
                taken.extend(node.output.iter().chain(&node.name).cloned());
                for attribute in &node.attribute {
                    pending.extend(attribute.g.as_deref().into_iter().chain(&attribute.graphs));
                }
            }
            taken.extend(proto.initializer.iter().filter_map(|t| t.name.clone()));
            let values = proto.input.iter().chain(&proto.output);
            taken.extend(values.filter_map(|v| v.name.clone()));
        }
        Self { taken }
    }

    /// `base` followed by `suffix`, with a number where that is taken.
    pub(crate) fn fresh(&mut self, base: &str, suffix: &str) -> String {
        let mut name = format!("{base}{suffix}");
        let mut number = 1;
        while !self.taken.insert(name.clone()) {
            number += 1;
            name = format!("{base}{suffix}_{number}");
        }
        name
    }
}
