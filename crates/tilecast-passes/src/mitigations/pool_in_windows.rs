//! Averages over the whole image, to averages over a window around each position.

use std::collections::BTreeSet;

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, NodeId, Patch, attribute, node};

use crate::names::FreshNames;
use crate::statistics::{Grid, Grids, Layout};
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// Operators that a pooled value passes through one by one, whatever else it holds.
const ELEMENTWISE: &[&str] = &[
    "Abs",
    "Cast",
    "Clip",
    "Elu",
    "Erf",
    "Exp",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Log",
    "Mish",
    "Neg",
    "Reciprocal",
    "Relu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Tanh",
];

/// Operators on a pooled value and something that spreads to its shape.
const SPREADING: &[&str] = &["Add", "Div", "Max", "Min", "Mul", "Pow", "PRelu", "Sub"];

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "pool_in_windows",
    summary: "average over a window around each position instead of over the whole image",
    numerics: Numerics::Lossy,
    explanation: "\
**What it does.** A mean over all rows and columns becomes, at every position, the mean over a window around it: two `AveragePool` of stride 1,
one along the rows and one along the columns. At the border of the image the window is cut off, and what is left is averaged.

**Why.** Channel attention looks at the mean of the whole image, which a tile does not see. With a window the network has a halo that is
enough: half a window more per pooling that follows another. Networks that were trained on crops have seen such means in training, and
often gain by it (Chu et al. report 0.1 to 0.9 dB on deblurring). It is another network than the one that was exported, though, and the
halo of many poolings in a row is large.

**Before / After.** `p = GlobalAveragePool(x)` becomes `h = AveragePool(x, [k, 1]); p = AveragePool(h, [1, k])`, both without counting the padding.

**Preconditions.** `GlobalAveragePool`, or `ReduceMean` over rows and columns that keeps its axes, of a value whose last two axes they are. What is computed
from the mean is elementwise or a convolution of 1x1, up to where it meets an image of the same resolution.

**Numerics.** Lossy: an approximation of the whole-image run, whose error is measured. Chu et al. repeat the outermost whole windows at the border, where
this pass cuts windows off, so that it works on images of any size.

**Parameters.** The side of the window, pixels of the image.

**References.** X. Chu et al., *Improving Image Restoration by Revisiting Global Information Aggregation*, ECCV 2022, <https://arxiv.org/abs/2112.04491>.",
};

/// Pools in windows; see the pass's explanation.
#[derive(Clone, Copy, Debug)]
pub struct PoolInWindows {
    /// Side of the window, pixels of the image, at least 1.
    pub window_px: usize,
    /// Alignment period of the model, pixels.
    pub alignment_px: usize,
}

impl Pass for PoolInWindows {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let grids = Grids::new(graph, self.alignment_px)
            .map_err(|reason| PassError::at(&META, "graph", reason))?;
        let mut names = FreshNames::of(graph);
        let mut patch = Patch::default();
        for (id, mean) in graph.nodes() {
            match site(graph, &grids, mean) {
                Ok(Some(Site {
                    x,
                    y,
                    grid,
                    changed,
                })) => {
                    let kernel = [0, 1].map(|side| {
                        let pixels = self.window_px * grid.positions[side];
                        ((pixels + grid.pixels[side] / 2) / grid.pixels[side]).max(1) as i64
                    });
                    let between = names.fresh(y, ".rows");
                    let rows = pool(mean.label(), ".rows", x, &between, [kernel[0], 1]);
                    let columns = pool(mean.label(), ".columns", &between, y, [1, kernel[1]]);
                    patch.insert_before(id, rows);
                    patch.insert_before(id, columns);
                    patch.remove_node(id);
                    for value in changed {
                        // What is recorded of their shapes no longer holds.
                        patch.set_value_type(value, None);
                    }
                }
                Ok(None) => {}
                Err(reason) => cx.decline(graph, id, reason),
            }
        }
        Ok(Outcome::of(patch))
    }
}

/// A pooling of stride 1 that keeps the size and leaves its padding out of the average.
fn pool(name: &str, suffix: &str, x: &str, y: &str, kernel: [i64; 2]) -> NodeProto {
    let before = kernel.map(|k| (k - 1) / 2);
    let after = kernel.map(|k| k / 2);
    node("AveragePool", &format!("{name}{suffix}"), &[x], &[y])
        .with_attribute(attribute::ints("kernel_shape", &kernel))
        .with_attribute(attribute::ints(
            "pads",
            &[before[0], before[1], after[0], after[1]],
        ))
        .with_attribute(attribute::ints("strides", &[1, 1]))
        .with_attribute(attribute::int("count_include_pad", 0))
}

/// A mean over the whole image.
struct Site<'g> {
    x: &'g str,
    y: &'g str,
    /// Resolution of `x`.
    grid: Grid,
    /// Values that get one element per position: `y` and what is computed from it.
    changed: Vec<&'g str>,
}

/// The mean that a node takes; `None` for other nodes.
fn site<'g>(
    graph: &Graph<'g>,
    grids: &Grids,
    node: &'g NodeProto,
) -> Result<Option<Site<'g>>, String> {
    let pools =
        node.domain_name().is_empty() && matches!(node.op(), "GlobalAveragePool" | "ReduceMean");
    let (Some(x), Some(y)) = (node.input_name(0), node.output_name(0)) else {
        return Ok(None);
    };
    if !pools || !grids.varies(x) {
        return Ok(None);
    }
    let Some(dims) = grids.fixed(y) else {
        return if grids.same_positions(x, y) {
            Ok(None)
        } else {
            Err("it takes a mean over rows or columns and not both".to_owned())
        };
    };
    let grid = grids.grid(graph, x)?;
    if grid.layout != Layout::Separate || grids.dims(x).map(<[usize]>::len) != Some(4) {
        return Err(format!("`{x}` is not [1, C, height, width]"));
    }
    if dims.len() != 4 || Some(dims[1]) != grids.dims(x).map(|dims| dims[1]) {
        return Err(format!(
            "its result `{y}` has no axes for rows and columns, or no channels of their own"
        ));
    }
    let changed = computed_from(graph, grids, x, y)?;
    Ok(Some(Site {
        x,
        y,
        grid,
        changed,
    }))
}

/// The mean `y` of `x` and what is computed from it up to where that meets an image; all of it can have a value per position.
///
/// # Errors
/// The reason for which some of it cannot.
fn computed_from<'g>(
    graph: &Graph<'g>,
    grids: &Grids,
    x: &str,
    y: &'g str,
) -> Result<Vec<&'g str>, String> {
    let mut pending = vec![y];
    let mut changed = Vec::new();
    let mut seen: BTreeSet<NodeId> = BTreeSet::new();
    while let Some(value) = pending.pop() {
        changed.push(value);
        if graph.is_output(value) {
            return Err(format!("`{value}` is an output of the graph"));
        }
        for reader in graph.uses(value) {
            if !seen.insert(reader.node) {
                continue;
            }
            let node = graph.node(reader.node);
            let refused = |why: &str| Err(format!("{} {why}", graph.path(reader.node)));
            let Some(output) = node.output_name(0).filter(|_| reader.slot.is_some()) else {
                return refused("reads it inside a body");
            };
            let meets_image = grids.varies(output);
            let takes = if meets_image {
                SPREADING.contains(&node.op()) && grids.same_positions(x, output)
            } else {
                ELEMENTWISE.contains(&node.op())
                    || SPREADING.contains(&node.op()) && spreads(grids, node)
                    || is_pointwise(grids, node, reader.slot)
            };
            if !takes {
                return refused("takes one value for the whole image, and no value per position");
            }
            if !meets_image {
                pending.push(output);
            }
        }
    }
    Ok(changed)
}

/// Whether all operands have one row and one column, or no such axes, so that they spread to any number of them.
fn spreads(grids: &Grids, node: &NodeProto) -> bool {
    node.input.iter().all(|operand| {
        let dims = grids.dims(operand).unwrap_or_default();
        dims.iter().rev().take(2).all(|&extent| extent == 1)
    })
}

/// Whether the node is a convolution of its first operand that looks at one position at a time.
fn is_pointwise(grids: &Grids, node: &NodeProto, slot: Option<usize>) -> bool {
    let plain = |name: &str, wanted: i64| {
        let found = node.ints(name).ok().flatten().unwrap_or_default();
        found.iter().all(|&v| v == wanted)
    };
    let kernel = node.input_name(1).and_then(|w| grids.dims(w));
    node.is("Conv")
        && slot == Some(0)
        && matches!(kernel, Some([_, _, 1, 1]))
        && plain("strides", 1)
        && plain("pads", 0)
}
