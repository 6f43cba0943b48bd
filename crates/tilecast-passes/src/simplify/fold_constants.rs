//! Nodes that only read constants become constants.

use std::collections::BTreeMap;

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, Patch, Tensor};

use super::evaluate::evaluate;
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// A result that is larger than the constants it comes from may take this much at most.
const MAX_GROWTH_BYTES: usize = 64 << 10;

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "fold_constants",
    summary: "compute what depends on constants only, and store it as an initializer",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** A `Constant` node becomes an initializer of the same name. So does a node that reads nothing but
constants, for the operators whose result is defined to the bit: those that move elements (Reshape, Transpose, Concat,
Gather, Slice, Split, Expand, …), integer and boolean arithmetic, Cast between float32, integers and booleans, and
Add, Sub, Mul, Div, Sqrt, Neg, Abs, Reciprocal and rounding of float32.

**Why.** Exporters write every number as a node of its own, and arithmetic between such nodes is done again for each
image. Other passes see a constant only where it is stored as one.

**Before / After.** `two = Constant(2); k = Mul(two, three); y = Mul(x, k)` becomes `y = Mul(x, k)` with `k` stored.

**Preconditions.** Every input is an initializer that is no graph input (such a one is a default that a caller may
replace, since IR version 4), or the result of such a node. No output of the node is a graph output. The result is not
larger than the constants it is made of, or than 64 KiB. Integers do not overflow and are not divided by zero.

**Numerics.** Exact. Exp, Pow, Tanh, sums of many floats and other operators whose last bits depend on the runtime are
left to it, and so are casts to and from float16, which are how weights are stored in half the bytes.

**References.** The ONNX operator specification; IEEE 754-2019, section 5.",
};

/// Folds constants; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct FoldConstants;

impl Pass for FoldConstants {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let mut patch = Patch::default();
        let mut folded: BTreeMap<&str, Tensor> = BTreeMap::new();
        for (id, node) in graph.nodes() {
            let computed = match compute(graph, cx, &folded, node) {
                Ok(None) => continue,
                Ok(Some(computed)) => computed,
                Err(reason) => {
                    cx.decline(graph, id, reason);
                    continue;
                }
            };
            patch.remove_node(id);
            for (slot, tensor) in computed.into_iter().enumerate() {
                if let Some(name) = node.output_name(slot) {
                    patch.set_initializer(name, &tensor);
                    folded.insert(name, tensor);
                }
            }
        }
        Ok(Outcome::of(patch))
    }
}

/// The outputs of a node that is to be folded; `None` where it reads something that is no constant.
fn compute(
    graph: &Graph<'_>,
    cx: &PassContext,
    folded: &BTreeMap<&str, Tensor>,
    node: &NodeProto,
) -> Result<Option<Vec<Tensor>>, String> {
    let outputs = if node.is("Constant") {
        let value = node.constant_value().map_err(|e| e.to_string())?;
        vec![value.ok_or("its value is text or sparse, which is not followed")?]
    } else {
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            let tensor = match folded.get(name.as_str()) {
                Some(tensor) => Some(tensor.clone()),
                None if name.is_empty() => None,
                None => match cx.constant(graph, name) {
                    Some(tensor) => Some(tensor),
                    None => return Ok(None),
                },
            };
            inputs.push(tensor);
        }
        // A generator of random numbers has no inputs either.
        if inputs.iter().all(Option::is_none) {
            return Ok(None);
        }
        let outputs = evaluate(node, &inputs).ok_or_else(|| {
            format!(
                "it reads constants only, and {} on them is left to the runtime",
                node.op()
            )
        })?;
        let size = |tensors: &mut dyn Iterator<Item = &Tensor>| -> usize {
            tensors.map(|t| t.bytes().len()).sum()
        };
        let (before, after) = (
            size(&mut inputs.iter().flatten()),
            size(&mut outputs.iter()),
        );
        if after > before.max(MAX_GROWTH_BYTES) {
            return Err(format!(
                "it would turn {before} bytes of constants into {after}"
            ));
        }
        outputs
    };
    match node.output.iter().find(|name| graph.is_output(name)) {
        Some(name) => Err(format!(
            "its result `{name}` is a graph output, which a node computes"
        )),
        None => Ok(Some(outputs)),
    }
}
