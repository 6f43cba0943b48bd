//! Casts to the type of another value.

use tilecast_onnx::{Graph, Patch, attribute};

use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "replace_cast_like",
    summary: "name the type in the place of a value that has it",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** A `CastLike` becomes a Cast to the element type of its second input, with the same attributes.

**Why.** The cast of a constant to the type of an activation is a constant, and cannot be folded while it reads the
activation. Exporters that expand functions write zeros and scales so. Many engines know Cast only.

**Before / After.** `c = CastLike(zero, x); y = Add(x, c)` becomes `c = Cast(zero, to=float32); y = Add(x, c)`.

**Preconditions.** The element type of the second input is known.

**Numerics.** Exact.

**References.** The ONNX operator specification defines `CastLike` by Cast.",
};

/// Replaces `CastLike`; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplaceCastLike;

impl Pass for ReplaceCastLike {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let mut patch = Patch::default();
        for (id, node) in graph.nodes().filter(|(_, node)| node.is("CastLike")) {
            let like = node.input_name(1);
            let Some(to) = like.and_then(|like| cx.facts(graph).data_type(like)) else {
                cx.decline(
                    graph,
                    id,
                    "the element type of its second input is not known",
                );
                continue;
            };
            let edited = patch.edit_node(graph, id);
            edited.op_type = Some("Cast".to_owned());
            edited.input.truncate(1);
            edited
                .attribute
                .push(attribute::int("to", to.code().into()));
        }
        Ok(Outcome::of(patch))
    }
}
