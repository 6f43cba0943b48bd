//! Slices that cut one axis into all of its parts, as one Split.

use std::collections::BTreeSet;

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, NodeId, Tensor, attribute, axis_from_front, node};

use super::rewrite::Rewrite;
use super::site::Site;
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// From here on Split takes its sizes as an input.
pub(super) const MIN_OPSET: i64 = 13;

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "slices_to_split",
    summary: "turn Slices that cut one axis into all of its parts into one Split",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** Two or more `Slice` nodes of one value with constant bounds along one axis, each beginning where
another one ends and together covering the axis, become one `Split`.

**Why.** Exporters write `chunk` (the simple gate of NAFNet, gated feed-forward blocks) as one Slice per part. A Split
says that the parts belong together and is read once; runtimes quantize and fuse it as a unit.

**Before / After.** `a = Slice(x, 0, 32, axis 1); b = Slice(x, 32, 64, axis 1)` on 64 channels becomes
`a, b = Split(x, [32, 32], axis 1)`.

**Preconditions.** Opset 13. Constant bounds, steps of 1, one axis per Slice; the length of the axis is the same for
every input size; the parts neither overlap nor leave a gap.

**Numerics.** Exact: elements are copied.

**References.** ONNX operators Slice and Split; L. Chen et al., *Simple Baselines for Image Restoration*, 2022,
<https://arxiv.org/abs/2204.04676> (the simple gate).",
};

/// Turns Slices into a Split; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct SlicesToSplit;

impl Pass for SlicesToSplit {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let site = Site::of(graph, cx);
        let mut rewrite = Rewrite::of(graph);
        let mut seen = BTreeSet::new();
        for (first, node) in graph.nodes().filter(|(_, n)| n.is("Slice")) {
            let Some(value) = node.input_name(0).filter(|v| seen.insert(*v)) else {
                continue;
            };
            let slices = slices_of(graph, value);
            if slices.len() < 2 {
                continue;
            }
            match Partition::of(&site, value, &slices) {
                Ok(partition) => partition.write(&mut rewrite, graph, value),
                Err(reason) => rewrite.decline(first, reason),
            }
        }
        Ok(rewrite.finish(cx))
    }
}

/// The Slice nodes that cut `value`, in graph order.
fn slices_of<'g>(graph: &Graph<'g>, value: &str) -> Vec<(NodeId, &'g NodeProto)> {
    let readers = graph.uses(value).iter().filter(|u| u.slot == Some(0));
    readers
        .map(|u| (u.node, graph.node(u.node)))
        .filter(|(_, n)| n.is("Slice"))
        .collect()
}

/// Slices that together are the whole of an axis.
struct Partition {
    axis: usize,
    /// The Slice of each part and its size, in the order of the axis.
    parts: Vec<(NodeId, usize)>,
}

impl Partition {
    fn of(
        site: &Site<'_, '_>,
        value: &str,
        slices: &[(NodeId, &NodeProto)],
    ) -> Result<Self, String> {
        site.check_opset("Split with its sizes as an input", MIN_OPSET)?;
        let graph = site.graph;
        let rank = site
            .rank(value)
            .ok_or_else(|| format!("the rank of `{value}` is not known"))?;
        let mut cuts = Vec::with_capacity(slices.len());
        for &(id, slice) in slices {
            let list = |attribute: &str, slot| site.integers(slice, attribute, slot);
            let bounds = SliceBounds::read(slice, list).ok_or_else(|| {
                format!(
                    "the bounds of {} are not constant, or its steps are not 1",
                    graph.path(id)
                )
            })?;
            let [bounds] = bounds[..] else {
                return Err(format!("{} cuts several axes", graph.path(id)));
            };
            let axis = axis_from_front(bounds.axis, rank)
                .ok_or_else(|| format!("{} has no axis {}", graph.path(id), bounds.axis))?;
            cuts.push((id, axis, bounds));
        }
        let axis = cuts[0].1;
        if cuts.iter().any(|cut| cut.1 != axis) {
            return Err(format!("`{value}` is cut along several axes"));
        }
        let length = site.extent(value, axis).ok_or_else(|| {
            format!("the length of axis {axis} of `{value}` depends on the input")
        })?;
        let mut parts = Vec::with_capacity(cuts.len());
        for (id, _, bounds) in cuts {
            let (start, end) = bounds
                .within(length)
                .ok_or_else(|| format!("{} is empty", graph.path(id)))?;
            parts.push((start, end, id));
        }
        parts.sort_unstable_by_key(|&(start, end, _)| (start, end));
        let mut covered = 0;
        for &(start, end, id) in &parts {
            if start != covered {
                let what = if start < covered {
                    "overlap"
                } else {
                    "leave a gap"
                };
                return Err(format!("the slices {what} at {start} ({})", graph.path(id)));
            }
            covered = end;
        }
        if covered != length {
            return Err(format!(
                "the slices end at {covered} of {length} along axis {axis}"
            ));
        }
        let parts = parts.iter().map(|&(start, end, id)| (id, end - start));
        Ok(Self {
            axis,
            parts: parts.collect(),
        })
    }

    fn write(&self, rewrite: &mut Rewrite<'_, '_>, graph: &Graph<'_>, value: &str) {
        let nodes: BTreeSet<NodeId> = self.parts.iter().map(|&(id, _)| id).collect();
        let sizes: Vec<i64> = self.parts.iter().map(|&(_, size)| size as i64).collect();
        let sizes = Tensor::from_i64(vec![sizes.len()], &sizes);
        let sizes = rewrite.add_constant(value, "_split_sizes", &sizes);
        let name = rewrite.fresh(value, "_Split");
        let outputs: Vec<&str> = self
            .parts
            .iter()
            .map(|&(id, _)| graph.node(id).output[0].as_str())
            .collect();
        let split = node("Split", &name, &[value, &sizes], &outputs)
            .with_attribute(attribute::int("axis", self.axis as i64));
        // Every part is needed from the first Slice's place on.
        if let Some(&first) = nodes.first() {
            rewrite.replace_pattern(&nodes, first, vec![split]);
        }
    }
}

/// Constant bounds of a `Slice` with step 1 along one axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct SliceBounds {
    /// As the node says, possibly negative.
    pub(super) axis: i64,
    start: i64,
    end: i64,
}

impl SliceBounds {
    /// Bounds per sliced axis, where all of them are constant and every step is 1.
    pub(super) fn read(
        node: &NodeProto,
        list: impl Fn(&str, usize) -> Option<Vec<i64>>,
    ) -> Option<Vec<Self>> {
        let (starts, ends) = (list("starts", 1)?, list("ends", 2)?);
        let axes = match node.input_name(3) {
            Some(_) => list("axes", 3)?,
            None => list("axes", 3).unwrap_or_else(|| (0..starts.len() as i64).collect()),
        };
        let steps_are_one =
            node.input_name(4).is_none() || list("steps", 4)?.iter().all(|&s| s == 1);
        if !steps_are_one || starts.len() != ends.len() || starts.len() != axes.len() {
            return None;
        }
        let bounds = starts.iter().zip(&ends).zip(&axes);
        Some(
            bounds
                .map(|((&start, &end), &axis)| Self { axis, start, end })
                .collect(),
        )
    }

    /// Start and end within an axis of this length; `None` where the slice is empty.
    pub(super) fn within(self, length: usize) -> Option<(usize, usize)> {
        let signed = i64::try_from(length).ok()?;
        let clamp = |bound: i64| {
            let bound = if bound < 0 {
                bound.saturating_add(signed)
            } else {
                bound
            };
            usize::try_from(bound.clamp(0, signed)).ok()
        };
        let (start, end) = (clamp(self.start)?, clamp(self.end)?);
        (start < end).then_some((start, end))
    }
}
