//! Shape arithmetic that comes to the same numbers by different ways.

use std::collections::HashMap;

use tilecast_onnx::{DataType, Extent, Graph, Patch};

use super::substitute::{Substitution, is_captured};
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "merge_equal_sizes",
    summary: "compute once the sizes that a graph computes in several ways",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** Where two nodes compute integer tensors that are equal at every input size, the readers of the later one
read the earlier one.

**Why.** Exporters ask each tensor anew for its shape, although most layers keep it: attention and windowing networks hold
dozens of such chains. `merge_common_subexpressions` merges only what is computed in the same way from the same tensor.

**Before / After.** `s = Shape(x); r = Relu(x); t = Shape(r); y = Expand(s, t)` becomes
`s = Shape(x); y = Expand(s, s)`.

**Preconditions.** Element type, shape and every element are equal as expressions in the extents of the inputs, as
`fold_shapes` describes them. The later node has one output, which is no graph output and not read by name in a subgraph.

**Numerics.** Exact, as long as no extent reaches 2³¹.

**References.** As `fold_shapes`.",
};

/// Merges equal sizes; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct MergeEqualSizes;

impl Pass for MergeEqualSizes {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let mut first_of: HashMap<(DataType, Vec<usize>, Vec<Extent>), &str> = HashMap::new();
        let mut substitution = Substitution::default();
        for (id, node) in graph.nodes().filter(|(_, node)| !node.is("Constant")) {
            let [name] = node.output.as_slice() else {
                continue;
            };
            let facts = cx.facts(graph);
            let key = (
                facts.data_type(name),
                facts.fixed_dims(name),
                facts.sizes(name),
            );
            let (Some(data_type), Some(dims), Some(sizes)) = key else {
                continue;
            };
            // Numbers are folded, and an empty tensor computes nothing.
            if sizes.iter().all(|e| e.known().is_some()) {
                continue;
            }
            let key = (data_type, dims, sizes);
            let Some(first) = first_of.get(&key) else {
                first_of.insert(key, name);
                continue;
            };
            let obstacle = if graph.is_output(name) {
                "is a graph output"
            } else if is_captured(graph, name) {
                "is read by name in a subgraph"
            } else {
                substitution.replace(id, name, first);
                continue;
            };
            cx.decline(
                graph,
                id,
                format!("its result equals `{first}`, and `{name}` {obstacle}"),
            );
        }
        let mut patch = Patch::default();
        substitution.write(graph, &mut patch);
        Ok(Outcome::of(patch))
    }
}
