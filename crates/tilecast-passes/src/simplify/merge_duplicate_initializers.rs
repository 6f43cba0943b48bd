//! One copy of each constant.

use std::collections::{HashMap, HashSet};

use tilecast_onnx::{DataType, Graph, Patch, Tensor};

use super::substitute::{Substitution, is_captured};
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// Bytes of a payload that take part in its key; the rest is compared where the keys are equal.
const KEY_BYTES: usize = 64;

/// Element type, dimensions and the first bytes.
type Key = (DataType, Vec<usize>, Vec<u8>);

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "merge_duplicate_initializers",
    summary: "keep one of several initializers that are equal to the bit",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** Readers of an initializer that has the element type, the dimensions and the bytes of an earlier one
read that one instead, and the copy is removed.

**Why.** Exporters write a slice bound or an epsilon once for each use. Equal inputs under equal names also show which
nodes compute the same thing.

**Before / After.** `a = Add(x, one); y = Add(a, uno)` with equal `one` and `uno` becomes
`a = Add(x, one); y = Add(a, one)`.

**Preconditions.** Neither is a graph input, which a caller may feed something else for. The copy is no graph output, and
no subgraph reads it by name. Data in external files and text are not compared.

**Numerics.** Exact.

**References.** None needed.",
};

/// Merges equal initializers; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct MergeDuplicateInitializers;

impl Pass for MergeDuplicateInitializers {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let inputs: HashSet<&str> = graph
            .proto()
            .input
            .iter()
            .filter_map(|v| v.name.as_deref())
            .collect();
        let mut kept: HashMap<Key, Vec<(&str, Tensor)>> = HashMap::new();
        let mut substitution = Substitution::default();
        let mut patch = Patch::default();
        for proto in &graph.proto().initializer {
            let name = proto.name.as_deref().unwrap_or_default();
            let Ok(tensor) = Tensor::from_proto(proto) else {
                continue;
            };
            let head = &tensor.bytes()[..tensor.bytes().len().min(KEY_BYTES)];
            let key = (tensor.data_type(), tensor.dims().to_vec(), head.to_vec());
            let alike = kept.entry(key).or_default();
            let same = alike
                .iter()
                .find(|(_, other)| other.bytes() == tensor.bytes())
                .map(|(first, _)| *first);
            let obstacle = if inputs.contains(name) {
                Some("it is a graph input, so a caller may replace it")
            } else if graph.is_output(name) {
                Some("it is a graph output")
            } else if is_captured(graph, name) {
                Some("a subgraph reads it by name")
            } else {
                None
            };
            match (same, obstacle) {
                (Some(first), None) => {
                    substitution.redirect(name, first);
                    patch.remove_initializer(name);
                }
                (Some(first), Some(reason)) => {
                    // A decline belongs to a node: the first one that reads the copy.
                    if let Some(reader) = graph.uses(name).first() {
                        cx.decline(
                            graph,
                            reader.node,
                            format!("its input `{name}` equals `{first}`, and {reason}"),
                        );
                    }
                }
                (None, _) if inputs.contains(name) => {}
                (None, _) => alike.push((name, tensor)),
            }
        }
        substitution.write(graph, &mut patch);
        Ok(Outcome::of(patch))
    }
}
