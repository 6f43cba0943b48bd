//! Names for what a pass adds.

use std::collections::HashSet;

use tilecast_onnx::Graph;

/// Hands out names that no value, node or initializer of the graph has.
#[derive(Debug)]
pub(crate) struct FreshNames {
    taken: HashSet<String>,
}

impl FreshNames {
    pub(crate) fn of(graph: &Graph<'_>) -> Self {
        let proto = graph.proto();
        let mut taken: HashSet<String> = HashSet::new();
        for node in &proto.node {
            taken.extend(node.output.iter().chain(&node.name).cloned());
        }
        taken.extend(proto.initializer.iter().filter_map(|t| t.name.clone()));
        taken.extend(proto.input.iter().filter_map(|v| v.name.clone()));
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
