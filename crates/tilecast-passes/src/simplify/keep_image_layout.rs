//! What is computed over flattened pixels, channels last, computed over the image as it is.

use std::collections::{BTreeMap, BTreeSet};

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, NodeId, Tensor, attribute, axis_from_front};

use super::keep_reduced_axis::REDUCTIONS;
use super::rewrite::Rewrite;
use super::site::{Site, drops_axis};
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// Axis of the channels of an image, and its rank.
const CHANNEL_AXIS: i64 = 1;
const IMAGE_RANK: usize = 4;
/// Axis of the channels behind the pixels, and the rank there.
const LAST_AXIS: usize = 2;
const RANK: usize = 3;
/// Exchanges channels and flattened pixels.
const EXCHANGE: [i64; 3] = [0, 2, 1];

/// Element-wise operators with one operand.
const UNARY: &[&str] = &[
    "Abs",
    "Erf",
    "Exp",
    "Gelu",
    "Neg",
    "Reciprocal",
    "Relu",
    "Sigmoid",
    "Sqrt",
    "Tanh",
];
/// Element-wise operators with two operands that broadcast.
const BINARY: &[&str] = &["Add", "Div", "Mul", "Pow", "Sub"];
/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "keep_image_layout",
    summary: "compute over the channels of an image what an exporter flattens and transposes it for",
    numerics: Numerics::Reassociates,
    explanation: "\
**What it does.** Where an image is flattened to `[N, C, H * W]`, transposed to `[N, H * W, C]` and brought back after some
element-wise operators and reductions over the channels, these are applied to the image itself: reductions go over axis 1,
and constants per channel get the dimensions `[C, 1, 1]`.

**Why.** The layer normalizations of Restormer are written so. Without the detour a scale is folded into the convolution
behind, `fuse_layer_norm` sees a normalization over the channels of an image, and what computed the shapes goes: the
network is in one layout for a runtime whose convolutions compute with channels second.

**Before / After.** `r = Reshape(x, [N, C, -1]); t = Transpose(r, [0, 2, 1]); m = ReduceMean(t, [-1]); d = Sub(t, m);
b = Transpose(d, [0, 2, 1]); y = Reshape(b, Shape(x))` becomes `m = ReduceMean(x, [1]); y = Sub(x, m)`.

**Preconditions.** The first two extents of the image provably stay, and the value that comes back provably has its shape.
All that reads the transposed value is element-wise, a reduction over the last axis that keeps it, or a Shape that tells the
number of pixels; other operands are constants of one element or one per channel.

**Numerics.** Reassociates: a runtime may sum along another axis in another order.

**References.** S. Zamir et al., *Restormer: Efficient Transformer for High-Resolution Image Restoration*, 2022,
<https://arxiv.org/abs/2111.09881>.",
};

/// Takes detours over flattened pixels away; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepImageLayout;

impl Pass for KeepImageLayout {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let site = Site::of(graph, cx);
        let mut rewrite = Rewrite::of(graph);
        for (id, node) in graph.nodes().filter(|(_, n)| n.is("Transpose")) {
            match Detour::of(&site, id, node) {
                Ok(Some(detour)) if detour.is_stale(&rewrite) => {}
                Ok(Some(detour)) => detour.write(&mut rewrite, graph),
                Ok(None) => {}
                Err(reason) => rewrite.decline(id, reason),
            }
        }
        Ok(rewrite.finish(cx))
    }
}

/// From the Reshape that flattens an image to those that bring back what was computed of it.
struct Detour<'g> {
    image: &'g str,
    /// The flattened image, as channels and pixels.
    flat: &'g str,
    /// What the flattened, transposed image is called.
    tokens: &'g str,
    n_channels: usize,
    /// Nodes that are not needed any more.
    removed: BTreeSet<NodeId>,
    /// What computes.
    inner: BTreeSet<NodeId>,
    /// The values of the detour in the order in which they are found, `tokens` first.
    values: Vec<&'g str>,
    /// The Reshapes that bring a value back, with that value.
    ends: Vec<(NodeId, &'g str)>,
    /// The Shapes that tell the number of pixels from a value.
    counts: Vec<NodeId>,
    /// Constants with one element per channel that the nodes read.
    vectors: BTreeMap<&'g str, Tensor>,
}

impl<'g> Detour<'g> {
    /// The detour that begins with a Transpose; `None` if none does.
    fn of(
        site: &Site<'_, 'g>,
        id: NodeId,
        transpose: &'g NodeProto,
    ) -> Result<Option<Self>, String> {
        if !exchanges(transpose) {
            return Ok(None);
        }
        let flat = transpose.input_name(0).unwrap_or_default();
        let Some((reshape_id, reshape)) = site.produced_by(flat, "Reshape") else {
            return Ok(None);
        };
        let image = reshape.input_name(0).unwrap_or_default();
        let (Some(dims), Some(flat_dims)) = (site.dims(image), site.dims(flat)) else {
            return Err(format!("the shape of `{image}` is not known"));
        };
        if dims.len() != IMAGE_RANK || flat_dims.len() != RANK || dims[..2] != flat_dims[..2] {
            return Err(format!("`{flat}` is not provably a flattened image"));
        }
        let n_channels = site
            .extent(image, 1)
            .ok_or_else(|| format!("the channels of `{image}` depend on the input"))?;
        let tokens = transpose.output_name(0).unwrap_or_default();
        let mut detour = Self {
            image,
            flat,
            tokens,
            n_channels,
            removed: BTreeSet::from([id]),
            inner: BTreeSet::new(),
            values: vec![tokens],
            ends: Vec::new(),
            counts: Vec::new(),
            vectors: BTreeMap::new(),
        };
        let mut next = 0;
        while let Some(&value) = detour.values.get(next) {
            detour.follow(site, value)?;
            next += 1;
        }
        for &id in &detour.inner.clone() {
            detour.check_operands(site, site.graph.node(id))?;
        }
        if site.graph.only_use(flat).is_some() && detour.counts.is_empty() {
            detour.removed.insert(reshape_id);
        }
        Ok((!detour.ends.is_empty()).then_some(detour))
    }

    /// Adds what reads a value.
    fn follow(&mut self, site: &Site<'_, 'g>, value: &'g str) -> Result<(), String> {
        if site.graph.is_output(value) {
            return Err(format!("`{value}` is an output of the graph"));
        }
        for reader in site.graph.uses(value) {
            let node = site.graph.node(reader.node);
            let computes =
                UNARY.iter().chain(BINARY).any(|op| node.is(op)) || reduces_channels(site, node)?;
            if reader.slot.is_some() && exchanges(node) {
                self.end(site, value, reader.node)?;
            } else if reader.slot.is_some() && computes {
                if self.inner.insert(reader.node) {
                    self.values.push(node.output_name(0).unwrap_or_default());
                }
            } else if reader.slot.is_some() && counts_pixels(node) {
                self.counts.push(reader.node);
            } else {
                return Err(format!("`{}` reads `{value}`", node.label()));
            }
        }
        Ok(())
    }

    /// Adds a Transpose back, and the Reshapes behind it.
    fn end(&mut self, site: &Site<'_, 'g>, value: &'g str, id: NodeId) -> Result<(), String> {
        let back = site.graph.node(id).output_name(0).unwrap_or_default();
        if site.graph.is_output(back) {
            return Err(format!("`{back}` is an output of the graph"));
        }
        self.removed.insert(id);
        for reader in site.graph.uses(back) {
            let node = site.graph.node(reader.node);
            let restored = node.output_name(0).unwrap_or_default();
            let restores = node.is("Reshape")
                && reader.slot == Some(0)
                && site.dims(restored) == site.dims(self.image);
            if !restores {
                return Err(format!(
                    "`{}` reads `{back}` and does not provably restore the image",
                    node.label()
                ));
            }
            self.ends.push((reader.node, value));
        }
        Ok(())
    }

    /// Checks what a node reads from elsewhere.
    fn check_operands(&mut self, site: &Site<'_, 'g>, node: &'g NodeProto) -> Result<(), String> {
        if !BINARY.iter().any(|op| node.is(op)) {
            return Ok(());
        }
        for name in node.input.iter().map(String::as_str) {
            if self.values.contains(&name) || site.scalar(name).is_some() {
                continue;
            }
            let vector = site.float_constant(name).filter(|tensor| {
                let [leading @ .., last] = tensor.dims() else {
                    return false;
                };
                *last == self.n_channels && leading.len() < RANK && leading.iter().all(|&d| d == 1)
            });
            let vector = vector.ok_or_else(|| {
                format!("`{name}` of `{}` is no constant per channel", node.label())
            })?;
            self.vectors.insert(name, vector);
        }
        Ok(())
    }

    /// Whether an edit so far changed one of the nodes: the detour is then found again when the pass runs next.
    fn is_stale(&self, rewrite: &Rewrite<'_, '_>) -> bool {
        let ends = self.ends.iter().map(|(id, _)| id);
        let readers = self.inner.iter().chain(&self.counts);
        let mut nodes = readers.chain(&self.removed).chain(ends);
        nodes.any(|&id| rewrite.touched(id))
    }

    fn write(&self, rewrite: &mut Rewrite<'_, '_>, graph: &Graph<'_>) {
        let mut names = BTreeMap::from([(self.tokens, self.image.to_owned())]);
        for &(id, value) in &self.ends {
            let restored = &graph.node(id).output[0];
            if let Some(name) = names.get(value) {
                rewrite.copy(id, name);
            } else {
                names.insert(value, restored.clone());
                rewrite.remove(id);
            }
        }
        // What is recorded of the shapes of the others holds no more.
        for &value in &self.values {
            names
                .entry(value)
                .or_insert_with(|| rewrite.fresh(value, "_image"));
        }
        for (name, tensor) in &self.vectors {
            let values = tensor.to_f32_vec().unwrap_or_default();
            let column = Tensor::from_f32(vec![self.n_channels, 1, 1], &values);
            names.insert(name, rewrite.add_constant(name, "_column", &column));
        }
        for &id in &self.inner {
            rewrite.rename(id, &names);
            if REDUCTIONS.iter().any(|op| graph.node(id).is(op)) {
                reduce_channels(rewrite, graph, id);
            }
        }
        for &id in &self.counts {
            let count = rewrite.edit(id);
            self.flat.clone_into(&mut count.input[0]);
            let pixels = [("start", 2), ("end", 3)];
            count.attribute = pixels
                .map(|(name, axis)| attribute::int(name, axis))
                .to_vec();
        }
        for &id in &self.removed {
            rewrite.remove(id);
        }
    }
}

/// Whether a node is a Shape that tells the extent of axis 1 of three and nothing else.
fn counts_pixels(node: &NodeProto) -> bool {
    let place = |name: &str| axis_from_front(node.int(name).ok()??, RANK);
    node.is("Shape") && place("start") == Some(1) && place("end") == Some(2)
}

/// Whether a node exchanges channels and flattened pixels.
fn exchanges(node: &NodeProto) -> bool {
    node.is("Transpose") && matches!(node.ints("perm"), Ok(Some(perm)) if perm == EXCHANGE)
}

/// Whether a node reduces over the channels behind the pixels and keeps their axis.
fn reduces_channels(site: &Site<'_, '_>, node: &NodeProto) -> Result<bool, String> {
    let reduces =
        REDUCTIONS.iter().any(|op| node.is(op)) && site.reduced_axis(node, RANK) == Some(LAST_AXIS);
    Ok(reduces && !drops_axis(node)?)
}

/// Lets a node reduce over the channels of an image.
fn reduce_channels(rewrite: &mut Rewrite<'_, '_>, graph: &Graph<'_>, id: NodeId) {
    let axes = [CHANNEL_AXIS];
    if let Some(name) = graph.node(id).input_name(1) {
        let name = rewrite.add_constant(name, "_image", &Tensor::from_i64(vec![1], &axes));
        rewrite.edit(id).input[1] = name;
    } else {
        let node = rewrite.edit(id);
        node.attribute.retain(|a| a.name.as_deref() != Some("axes"));
        node.attribute.push(attribute::ints("axes", &axes));
    }
}
