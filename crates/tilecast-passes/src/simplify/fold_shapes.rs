//! Shape arithmetic whose result is the same at every input size becomes a constant.

use tilecast_onnx::{DataType, Graph, Patch, Tensor};

use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "fold_shapes",
    summary: "replace shape arithmetic that gives the same numbers at every input size",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** An integer or boolean tensor that the graph computes from shapes, and that is the same whatever the
size of the image, becomes an initializer of the same name: `Shape → Gather` of a channel count and all that is computed
from it, such as the bounds of the slices that PyTorch's `chunk` is exported as.

**Why.** The arithmetic runs for every image and for every tile, hides what the graph does, and keeps other passes from
seeing constant bounds. A runtime cannot fold it unless the whole shape is fixed.

**How it is proved.** Shapes are inferred with an expression in the input's extents in the place of each extent that the
graph leaves open: an integer combination of extents, floor divisions, remainders and operations that are not looked
into. Expressions that depend on the size do not reduce to numbers; the rules by which they are built are identities over
all sizes. So a value whose elements are all numbers has been derived from the extents that the graph itself fixes:
weights, attributes, and the extents that are declared for its inputs as numbers. No size is tried out.

**Before / After.** `s = Shape(conv); c = Gather(s, 1); h = Div(c, 2); y = Slice(conv, 0, h, 1)` becomes
`y = Slice(conv, 0, h, 1)` with `h` stored.

**Preconditions.** All elements are proved. The element type is int64, int32 or bool. The node has no other output, and
none that is a graph output.

**Numerics.** Exact, as long as no extent reaches 2³¹.

**References.** The ONNX shape inference specification; what is known as abstract interpretation over linear expressions:
P. Cousot, N. Halbwachs, *Automatic Discovery of Linear Restraints Among Variables of a Program*, POPL 1978.",
};

/// Folds shapes; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct FoldShapes;

impl Pass for FoldShapes {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let mut patch = Patch::default();
        for (id, node) in graph.nodes().filter(|(_, node)| !node.is("Constant")) {
            let Some(name) = node.output_name(0) else {
                continue;
            };
            let Some(tensor) = proved(graph, cx, name) else {
                // What is worth a word: a number that was asked for and turned out to depend on the size.
                let asks_for_one = node.is("Gather")
                    && node
                        .input_name(0)
                        .and_then(|x| graph.producer_node(x))
                        .is_some_and(|n| n.is("Shape"));
                if asks_for_one {
                    cx.decline(graph, id, "it depends on the size of the input");
                }
                continue;
            };
            if node.output.iter().skip(1).any(|other| !other.is_empty()) {
                cx.decline(graph, id, "it has further outputs");
            } else if graph.is_output(name) {
                cx.decline(
                    graph,
                    id,
                    format!("its result `{name}` is a graph output, which a node computes"),
                );
            } else {
                patch.remove_node(id);
                patch.set_initializer(name, &tensor);
            }
        }
        Ok(Outcome::of(patch))
    }
}

/// The value as a constant, where every element is proved.
fn proved(graph: &Graph<'_>, cx: &PassContext, name: &str) -> Option<Tensor> {
    let facts = cx.facts(graph);
    let (dims, numbers) = (facts.fixed_dims(name)?, facts.integers(name)?);
    match facts.data_type(name)? {
        DataType::I64 => Some(Tensor::from_i64(dims, numbers)),
        DataType::I32 => {
            let narrow = numbers
                .iter()
                .map(|&n| i32::try_from(n).ok())
                .collect::<Option<Vec<_>>>()?;
            Some(Tensor::from_i32(dims, &narrow))
        }
        DataType::Bool => {
            let bytes: Vec<u8> = numbers.iter().map(|&n| u8::from(n != 0)).collect();
            Tensor::from_raw(DataType::Bool, dims, bytes.into()).ok()
        }
        _ => None,
    }
}
