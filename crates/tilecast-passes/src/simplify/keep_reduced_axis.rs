//! A reduction that drops an axis which is put back behind it.

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, NodeId, attribute};

use super::rewrite::Rewrite;
use super::site::{Site, drops_axis};
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// From here on Shape can leave trailing axes out.
const MIN_OPSET: i64 = 15;

/// Operators that reduce over axes.
pub(super) const REDUCTIONS: &[&str] = &[
    "ReduceL1",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceSum",
];

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "keep_reduced_axis",
    summary: "let a reduction keep the axis that a Reshape behind it puts back",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** A reduction over the last axis that drops it, where all that reads it puts the axis back, keeps the axis
with length 1; the nodes that put it back go.

**Why.** PyTorch's newer exporter writes `var` so, with a Shape, a Concat, a Reshape and an Expand behind the mean. Normalizations
are found without them.

**Before / After.** `m = ReduceMean(x, [-1], keepdims = 0); y = Reshape(m, Concat(Shape(m), [1]))` becomes
`y = ReduceMean(x, [-1], keepdims = 1)`.

**Preconditions.** The axis is the last one. Every reader is a Reshape or an Unsqueeze whose result provably has the extents
of what is reduced and a 1 behind them, or, from opset 15 on, a Shape.

**Numerics.** Exact: the same elements are reduced in the same order.

**References.** ONNX operators ReduceMean and Shape.",
};

/// Lets reductions keep an axis; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepReducedAxis;

impl Pass for KeepReducedAxis {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let site = Site::of(graph, cx);
        let mut rewrite = Rewrite::of(graph);
        for (id, node) in graph.nodes() {
            match Reduction::of(&site, id, node) {
                Ok(Some(reduction)) => reduction.write(&mut rewrite, graph),
                Ok(None) => {}
                Err(reason) => rewrite.decline(id, reason),
            }
        }
        Ok(rewrite.finish(cx))
    }
}

/// A reduction that can keep its axis.
struct Reduction<'g> {
    id: NodeId,
    /// Axes of the result today.
    n_axes: i64,
    /// The nodes that put the axis back, at least one.
    restored: Vec<NodeId>,
    /// The Shapes that read the result.
    shapes: Vec<(NodeId, &'g NodeProto)>,
}

impl<'g> Reduction<'g> {
    /// What a node reduces; `None` if nothing puts an axis back that it drops.
    fn of(site: &Site<'_, 'g>, id: NodeId, node: &'g NodeProto) -> Result<Option<Self>, String> {
        if !REDUCTIONS.iter().any(|op| node.is(op)) || !drops_axis(node)? {
            return Ok(None);
        }
        let dims = node.input_name(0).and_then(|x| site.dims(x));
        let kept = dims.and_then(<[_]>::split_last).map(|(_, kept)| kept);
        let (Some(kept), Some(value)) = (kept, node.output_name(0)) else {
            return Ok(None);
        };
        if site.reduced_axis(node, kept.len() + 1) != Some(kept.len()) {
            return Ok(None);
        }
        let restores = |node: &NodeProto| {
            let dims = node.output_name(0).and_then(|y| site.dims(y));
            (node.is("Reshape") || node.is("Unsqueeze"))
                && dims
                    .and_then(<[_]>::split_last)
                    .is_some_and(|(last, leading)| leading == kept && last.known() == Some(1))
        };
        let mut reduction = Self {
            id,
            n_axes: kept.len() as i64,
            restored: Vec::new(),
            shapes: Vec::new(),
        };
        let mut other = None;
        for reader in site.graph.uses(value) {
            let node = site.graph.node(reader.node);
            if reader.slot == Some(0) && restores(node) {
                reduction.restored.push(reader.node);
            } else if reader.slot == Some(0) && node.is("Shape") && site.opset() >= MIN_OPSET {
                reduction.shapes.push((reader.node, node));
            } else {
                other = Some(format!("`{}` reads it without the axis", node.label()));
            }
        }
        if reduction.restored.is_empty() {
            return Ok(None);
        }
        if site.graph.is_output(value) {
            other = Some(format!("`{value}` is an output of the graph"));
        }
        other.map_or(Ok(Some(reduction)), Err)
    }

    fn write(&self, rewrite: &mut Rewrite<'_, '_>, graph: &Graph<'_>) {
        let (first, more) = (self.restored[0], &self.restored[1..]);
        let kept = graph.node(first).output[0].clone();
        rewrite.remove(first);
        for &id in more {
            rewrite.copy(id, &kept);
        }
        for &(id, shape) in &self.shapes {
            // Of the axes that were there before.
            let place = |name: &str, default: i64| {
                let place = shape.int(name).ok().flatten().unwrap_or(default);
                let from_front = if place < 0 {
                    place + self.n_axes
                } else {
                    place
                };
                attribute::int(name, from_front.clamp(0, self.n_axes))
            };
            let edited = rewrite.edit(id);
            edited.input[0].clone_from(&kept);
            edited.attribute = vec![place("start", 0), place("end", self.n_axes)];
        }
        let reduction = rewrite.edit(self.id);
        reduction
            .attribute
            .retain(|a| a.name.as_deref() != Some("keepdims"));
        reduction.attribute.push(attribute::int("keepdims", 1));
        reduction.output[0] = kept;
    }
}
