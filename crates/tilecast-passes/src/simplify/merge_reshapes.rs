//! A Reshape of a tensor that was only given other dimensions before.

use tilecast_onnx::{Graph, Patch};

use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "merge_reshapes",
    summary: "let a Reshape read what a Reshape, Flatten, Squeeze or Unsqueeze before it reads",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** A Reshape whose input is a Reshape, Flatten, Squeeze or Unsqueeze reads what that one reads. The first
node goes where nothing else reads it.

**Why.** Fewer nodes, and the pattern behind them is plain to other passes.

**Before / After.** `a = Unsqueeze(x, 0); y = Reshape(a, [2, -1])` becomes `y = Reshape(x, [2, -1])`.

**Preconditions.** The second node's target shape is a constant that copies no extent of its input: no 0, unless
`allowzero` makes it an extent of zero.

**Numerics.** Exact: the elements and their order stay.

**References.** None needed.",
};

/// Merges Reshapes; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct MergeReshapes;

impl Pass for MergeReshapes {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let mut patch = Patch::default();
        for (id, node) in graph.nodes().filter(|(_, node)| node.is("Reshape")) {
            let Some(x) = node
                .input_name(0)
                .and_then(|x| graph.producer_node(x))
                .filter(|first| {
                    ["Reshape", "Flatten", "Squeeze", "Unsqueeze"]
                        .iter()
                        .any(|op| first.is(op))
                })
                .and_then(|first| first.input_name(0))
            else {
                continue;
            };
            let target = match node.input_name(1) {
                Some(shape) => cx.constant(graph, shape).and_then(|t| t.to_i64_vec()),
                None => node.ints("shape").ok().flatten().map(<[i64]>::to_vec),
            };
            let zero_is_zero = matches!(node.int("allowzero"), Ok(Some(v)) if v != 0);
            match target {
                None => cx.decline(graph, id, "its target shape is computed"),
                Some(target) if target.contains(&0) && !zero_is_zero => cx.decline(
                    graph,
                    id,
                    format!("its target shape {target:?} copies an extent of what is between"),
                ),
                Some(_) => x.clone_into(&mut patch.edit_node(graph, id).input[0]),
            }
        }
        Ok(Outcome::of(patch))
    }
}
