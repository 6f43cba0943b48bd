//! Everything that a runtime does not need, for those who count bytes.

use tilecast_onnx::Graph;

use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "strip_metadata",
    summary: "leave out documentation strings, metadata and recorded shapes of intermediate values",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** Documentation strings and metadata of the model, the graph and its nodes and values go, and so do the recorded
types and shapes of intermediate values (`value_info`), which every runtime infers anew. Names stay: profiles, overrides and
reports speak of them.

**Why.** Exporters write stack traces and module paths into every node; in a small model they take more bytes than weights.

**Preconditions.** None; it runs where it is asked for.

**Numerics.** Exact.

**References.** ONNX IR specification, `doc_string`, `metadata_props` and `value_info`.",
};

/// Strips metadata; see the pass's explanation.
#[derive(Clone, Copy, Debug)]
pub struct StripMetadata;

impl Pass for StripMetadata {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, _: &Graph<'_>, _: &mut PassContext) -> Result<Outcome, PassError> {
        let mut patch = tilecast_onnx::Patch::default();
        patch.strip_metadata();
        Ok(Outcome::of(patch))
    }
}
