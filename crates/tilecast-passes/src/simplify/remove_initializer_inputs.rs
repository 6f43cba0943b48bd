//! Weights of old models that are listed among the graph's inputs.

use tilecast_onnx::{Graph, Patch};

use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// The first IR version in which an initializer need not be a graph input, and one that is can be replaced by a caller.
const FIRST_IR_WITHOUT: i64 = 4;

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "remove_initializer_inputs",
    summary: "take the weights of models before IR version 4 off the list of inputs",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** In a model of IR version 3 or older, inputs that have an initializer are removed from the graph's inputs,
and the IR version becomes 4.

**Why.** Those versions demanded that each weight be an input as well, so nothing could be folded or added without listing
it. From version 4 on, a listed weight is a default that callers may replace.

**Before / After.** `graph(x, w) { y = Conv(x, w) }` with a stored `w` becomes `graph(x) { y = Conv(x, w) }`.

**Preconditions.** The IR version is below 4. From then on an input with an initializer was listed on purpose and stays.

**Numerics.** Exact. Runtimes take such weights for constants in models of these versions.

**References.** ONNX IR specification, section *Graphs*, on initializers and IR version 4.",
};

/// Removes weights from the graph's inputs; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveInitializerInputs;

impl Pass for RemoveInitializerInputs {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        if cx.ir_version() >= FIRST_IR_WITHOUT {
            return Ok(Outcome::Unchanged);
        }
        let mut patch = Patch::default();
        for input in &graph.proto().input {
            let name = input.name.as_deref().unwrap_or_default();
            if graph.initializer(name).is_some() {
                patch.remove_input(name);
            }
        }
        if patch.is_empty() {
            return Ok(Outcome::Unchanged);
        }
        patch.require_opset(cx.opset(), FIRST_IR_WITHOUT);
        Ok(Outcome::of(patch))
    }
}
