//! Nodes and initializers that no output depends on.

use std::collections::HashSet;

use tilecast_onnx::{Graph, Patch};

use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "remove_dead_nodes",
    summary: "remove nodes and initializers that no output depends on",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** Removes nodes none of whose outputs leads to a graph output, and initializers that nothing reads, with
what `value_info` records about them.

**Why.** Other passes only redirect readers; this one removes what is left behind. Exporters leave unused constants too.

**Before / After.** `a = Relu(x); s = Shape(x); y = Abs(x)` becomes `y = Abs(x)`.

**Preconditions.** No output of the node is read by a live node, captured by a subgraph of one, or a graph output. An
initializer that is listed among the graph's inputs stays: without its default the input would have to be fed.

**Numerics.** Exact: ONNX nodes have no effect but their outputs.

**References.** A. Aho, M. Lam, R. Sethi, J. Ullman, *Compilers*, 2nd edition, section 8.5.",
};

/// Removes dead nodes; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveDeadNodes;

impl Pass for RemoveDeadNodes {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, _: &mut PassContext) -> Result<Outcome, PassError> {
        let mut patch = Patch::default();
        let mut live = HashSet::new();
        for (id, node) in graph.nodes().rev() {
            let needed = node
                .output
                .iter()
                .filter(|name| !name.is_empty())
                .any(|name| {
                    graph.is_output(name) || graph.uses(name).iter().any(|u| live.contains(&u.node))
                });
            if needed {
                live.insert(id);
            } else {
                patch.remove_node(id);
            }
        }
        let inputs: HashSet<&str> = graph
            .proto()
            .input
            .iter()
            .filter_map(|v| v.name.as_deref())
            .collect();
        for tensor in &graph.proto().initializer {
            let name = tensor.name.as_deref().unwrap_or_default();
            let read = graph.uses(name).iter().any(|u| live.contains(&u.node));
            if !read && !graph.is_output(name) && !inputs.contains(name) {
                patch.remove_initializer(name);
            }
        }
        Ok(Outcome::of(patch))
    }
}
