//! Two Transposes in a row.

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, Patch, attribute, axes_from_front};

use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "merge_transposes",
    summary: "turn two Transposes in a row into one",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** A Transpose of a Transpose reads what the first one reads and permutes by both. Where they cancel each
other, `remove_identity` removes what is left.

**Why.** A Transpose moves the whole tensor through memory. They meet where exporters switch the layout for one operator
and back, and between two such operators.

**Before / After.** `a = Transpose(x, perm=[0, 2, 1]); y = Transpose(a, perm=[1, 0, 2])` becomes
`y = Transpose(x, perm=[2, 0, 1])`.

**Preconditions.** Both permutations are written out, or the rank is known.

**Numerics.** Exact: elements are moved.

**References.** None needed.",
};

/// Merges Transposes; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct MergeTransposes;

impl Pass for MergeTransposes {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let mut patch = Patch::default();
        for (id, node) in graph.nodes().filter(|(_, node)| node.is("Transpose")) {
            let Some(first) = node
                .input_name(0)
                .and_then(|x| graph.producer_node(x))
                .filter(|first| first.is("Transpose"))
            else {
                continue;
            };
            let (Some(inner), Some(outer), Some(x)) = (
                permutation(graph, cx, first),
                permutation(graph, cx, node),
                first.input_name(0),
            ) else {
                cx.decline(
                    graph,
                    id,
                    "it follows another Transpose, and the rank is not known",
                );
                continue;
            };
            if inner.len() != outer.len() {
                cx.decline(graph, id, "its permutation does not fit its input");
                continue;
            }
            let both: Vec<i64> = outer.iter().map(|&axis| inner[axis] as i64).collect();
            let edited = patch.edit_node(graph, id);
            x.clone_into(&mut edited.input[0]);
            edited.attribute = vec![attribute::ints("perm", &both)];
        }
        Ok(Outcome::of(patch))
    }
}

fn permutation(graph: &Graph<'_>, cx: &PassContext, node: &NodeProto) -> Option<Vec<usize>> {
    if let Some(perm) = node.ints("perm").ok()? {
        return axes_from_front(perm, perm.len());
    }
    let rank = cx.facts(graph).rank(node.input_name(0)?)?;
    Some((0..rank).rev().collect())
}
