//! The residual stream between INT8 convolutions, with the channels last as their kernels have them.

use std::collections::{BTreeMap, BTreeSet};

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, NodeId, Patch, Tensor, attribute, node};

use crate::names::FreshNames;
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// Rank of a batch of images.
const IMAGE_RANK: usize = 4;
/// From channels first to channels last, and back.
const TO_LAST: [i64; 4] = [0, 2, 3, 1];
const TO_FIRST: [i64; 4] = [0, 3, 1, 2];

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "keep_channels_last",
    summary: "keep sums between INT8 convolutions with the channels last",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** Float Adds between INT8 convolutions and layer normalizations are computed with the channels last, and the
bytes of the convolutions are transposed instead of floats. A Reshape to the same shape, which costs nothing, stands behind
each `DequantizeLinear` that feeds such a sum, or a product whose mean over the image is taken.

**Why.** ONNX Runtime's integer convolutions have the channels last, and so has `LayerNormalization`; sums between them have
them first, as the model says. The runtime moves transpositions about, and on the way moves them from bytes to floats, which take
four times as long, with a pair of `QuantizeLinear` and `DequantizeLinear` more. It does not move them over a Reshape.

**Before / After.** `d = DequantizeLinear(q); s = Add(x, d); t = Transpose(s)` becomes
`d = Reshape(DequantizeLinear(Transpose(q)), [0, 0, 0, 0]); t = Add(Transpose(x), d)`.

**Preconditions.** The operands have rank 4; scales are scalars. Sums that read each other go together, where that takes away more
transpositions in front of layer normalizations than it adds.

**Numerics.** Exact: elements are moved.

**References.** ONNX Runtime, `onnxruntime/core/optimizer/transpose_optimization`.",
};

/// Keeps sums between INT8 convolutions with the channels last; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepChannelsLast;

impl Pass for KeepChannelsLast {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let layout = Layout { graph, cx };
        let mut kept = Kept::of(graph);
        for sums in layout.connected_sums() {
            if layout.pays(&sums) {
                kept.turn(&layout, &sums);
            }
        }
        for (id, product) in graph.nodes().filter(|(_, n)| n.is("Mul")) {
            if layout.is_averaged_product(id) {
                kept.fence(product);
            }
        }
        Ok(Outcome::of(kept.patch))
    }
}

/// A graph, and what the pass asks about it.
struct Layout<'a, 'g> {
    graph: &'a Graph<'g>,
    cx: &'a PassContext,
}

impl<'g> Layout<'_, 'g> {
    /// Float Adds of two images, those together that read each other, in the order of their first.
    fn connected_sums(&self) -> Vec<BTreeSet<NodeId>> {
        let sums = self.graph.nodes().filter(|(id, n)| {
            n.is("Add")
                && n.input.len() == 2
                && !self.is_quantized(*id)
                && n.input
                    .iter()
                    .chain(&n.output)
                    .all(|value| self.is_image(value))
        });
        let mut groups: Vec<BTreeSet<NodeId>> = Vec::new();
        for (id, sum) in sums {
            let reads = |group: &BTreeSet<NodeId>| {
                sum.input.iter().any(|value| {
                    let producer = self.graph.producer(value);
                    producer.is_some_and(|(id, _)| group.contains(&id))
                })
            };
            let (read, mut others): (Vec<_>, Vec<_>) =
                std::mem::take(&mut groups).into_iter().partition(reads);
            let mut group: BTreeSet<NodeId> = read.into_iter().flatten().collect();
            group.insert(id);
            others.push(group);
            groups = others;
        }
        groups.sort_by_key(|group| group.first().copied());
        groups
    }

    fn is_image(&self, value: &str) -> bool {
        self.graph.initializer(value).is_none()
            && self.cx.facts(self.graph).rank(value) == Some(IMAGE_RANK)
    }

    /// Whether a node is between pairs, so that the runtime computes it on integers.
    fn is_quantized(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let reads = node.input.iter().all(|v| self.dequantized(v).is_some());
        let mut readers = node.output.iter().flat_map(|v| self.graph.uses(v));
        reads && readers.any(|u| self.graph.node(u.node).is("QuantizeLinear"))
    }

    /// The `DequantizeLinear` that computes an activation from what a `QuantizeLinear` gave, with one scale.
    fn dequantized(&self, value: &str) -> Option<(NodeId, &'g NodeProto)> {
        let (id, _) = self.graph.producer(value)?;
        let node = self.graph.node(id);
        let is_pair = node.is("DequantizeLinear")
            && self
                .graph
                .producer_node(node.input_name(0)?)?
                .is("QuantizeLinear");
        (is_pair && self.has_one_scale(node)).then_some((id, node))
    }

    /// The same, where nothing else reads it.
    fn dequantized_alone(&self, value: &str) -> Option<(NodeId, &'g NodeProto)> {
        self.graph.only_use(value)?;
        self.dequantized(value)
            .filter(|_| !self.graph.is_output(value))
    }

    fn has_one_scale(&self, node: &NodeProto) -> bool {
        let scale = node.input_name(1).and_then(|s| self.graph.initializer(s));
        scale.is_some_and(|s| s.dims.is_empty() || s.dims == [1])
    }

    /// Transpositions of a value that put its channels last, whose outputs are nodes' inputs only.
    fn transpositions(&self, value: &str) -> Vec<NodeId> {
        let uses = self.graph.uses(value).iter();
        uses.filter(|u| u.slot.is_some())
            .map(|u| u.node)
            .filter(|&id| {
                let node = self.graph.node(id);
                let output = first_output(node);
                node.is("Transpose")
                    && node.ints("perm").ok().flatten() == Some(&TO_LAST)
                    && !self.graph.is_output(output)
                    && self.graph.uses(output).iter().all(|u| u.slot.is_some())
            })
            .collect()
    }

    /// Whether the sums take away more transpositions in front of other nodes than they need themselves.
    fn pays(&self, sums: &BTreeSet<NodeId>) -> bool {
        let (mut fewer, mut more) = (0, 0);
        for value in self.read_values(sums) {
            if self.dequantized_alone(value).is_none() && self.transpositions(value).is_empty() {
                more += 1;
            }
        }
        for &id in sums {
            let value = first_output(self.graph.node(id));
            fewer += self.transpositions(value).len();
            more += usize::from(self.is_read_channels_first(value, sums));
        }
        fewer > more
    }

    /// What the sums read and none of them computes, in the order of the sums.
    fn read_values(&self, sums: &BTreeSet<NodeId>) -> Vec<&'g str> {
        let inputs = sums.iter().flat_map(|&id| &self.graph.node(id).input);
        let mut values = Vec::new();
        for value in inputs {
            let of_a_sum = self.graph.producer(value);
            if of_a_sum.is_none_or(|(id, _)| !sums.contains(&id))
                && !values.contains(&value.as_str())
            {
                values.push(value.as_str());
            }
        }
        values
    }

    /// Whether a sum is needed as the model has it: by the caller, or by a node that neither belongs to the sums nor is turned
    /// with them.
    fn is_read_channels_first(&self, value: &str, sums: &BTreeSet<NodeId>) -> bool {
        let turned = self.transpositions(value);
        self.graph.is_output(value)
            || self.graph.uses(value).iter().any(|u| {
                let is_turned = u.slot.is_some()
                    && (sums.contains(&u.node)
                        || turned.contains(&u.node)
                        || self.is_quantizing(u.node));
                !is_turned
            })
    }

    /// Whether a node quantizes with one scale.
    fn is_quantizing(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        node.is("QuantizeLinear") && self.has_one_scale(node)
    }

    /// Whether a float product of two images from pairs is averaged over the image.
    fn is_averaged_product(&self, id: NodeId) -> bool {
        let product = self.graph.node(id);
        let mut readers = self.graph.uses(first_output(product)).iter();
        product.input.len() == 2
            && !self.is_quantized(id)
            && product
                .input
                .iter()
                .all(|v| self.is_image(v) && self.dequantized_alone(v).is_some())
            && readers.any(|u| self.graph.node(u.node).is("GlobalAveragePool"))
    }
}

/// The patch in the making.
struct Kept<'a, 'g> {
    graph: &'a Graph<'g>,
    names: FreshNames,
    patch: Patch,
    /// Values with the channels last, by the name of what they are.
    last: BTreeMap<String, String>,
    /// The shape that a Reshape keeps, once it is needed.
    same_shape: Option<String>,
}

impl<'a, 'g> Kept<'a, 'g> {
    fn of(graph: &'a Graph<'g>) -> Self {
        Self {
            graph,
            names: FreshNames::of(graph),
            patch: Patch::default(),
            last: BTreeMap::new(),
            same_shape: None,
        }
    }

    /// Computes these sums with the channels last.
    fn turn(&mut self, layout: &Layout<'_, 'g>, sums: &BTreeSet<NodeId>) {
        for value in layout.read_values(sums) {
            if let Some((id, dequantize)) = layout.dequantized_alone(value) {
                self.turn_bytes(value, id, dequantize);
            } else {
                self.turn_floats(layout, value);
            }
        }
        for &id in sums {
            self.turn_sum(layout, id, sums);
        }
    }

    /// Transposes what a `DequantizeLinear` reads, and fences what it gives.
    fn turn_bytes(&mut self, value: &str, id: NodeId, dequantize: &NodeProto) {
        let bytes = dequantize.input_name(0).unwrap_or_default();
        let turned = self.names.fresh(bytes, "_channels_last");
        self.patch
            .insert_before(id, transpose(&turned, bytes, &turned, &TO_LAST));
        let floats = self.names.fresh(value, "_channels_last");
        let edited = self.patch.edit_node(self.graph, id);
        edited.input[0] = turned;
        edited.output[0].clone_from(&floats);
        let fenced = self.fenced(&floats, id);
        self.last.insert(value.to_owned(), fenced);
    }

    /// A Reshape of a value to its own shape, behind a node; the name of its output.
    fn fenced(&mut self, value: &str, behind: NodeId) -> String {
        let shape = if let Some(shape) = &self.same_shape {
            shape.clone()
        } else {
            let name = self.names.fresh("same", "_shape");
            let zeros = Tensor::from_i64(vec![IMAGE_RANK], &[0; IMAGE_RANK]);
            self.patch.set_initializer(&name, &zeros);
            self.same_shape.insert(name).clone()
        };
        let fenced = self.names.fresh(value, "_kept");
        let reshape = node("Reshape", &fenced, &[value, &shape], &[&fenced]);
        self.patch.insert_after(behind, reshape);
        fenced
    }

    /// Transposes a value once for all, in the place of transpositions that there are.
    fn turn_floats(&mut self, layout: &Layout<'_, 'g>, value: &str) {
        if self.last.contains_key(value) {
            return;
        }
        let turned = self.names.fresh(value, "_channels_last");
        let transposed = transpose(&turned, value, &turned, &TO_LAST);
        match self.graph.producer(value) {
            Some((id, _)) => self.patch.insert_after(id, transposed),
            None => self.patch.insert_first(transposed),
        }
        self.redirect(layout, value, &turned);
        self.last.insert(value.to_owned(), turned);
    }

    /// Removes the transpositions of a value, and lets their readers read `turned`.
    fn redirect(&mut self, layout: &Layout<'_, 'g>, value: &str, turned: &str) {
        for id in layout.transpositions(value) {
            let output = first_output(self.graph.node(id));
            for u in self.graph.uses(output) {
                if let Some(slot) = u.slot {
                    turned.clone_into(&mut self.patch.edit_node(self.graph, u.node).input[slot]);
                }
            }
            self.patch.remove_node(id);
        }
    }

    fn turn_sum(&mut self, layout: &Layout<'_, 'g>, id: NodeId, sums: &BTreeSet<NodeId>) {
        let sum = self.graph.node(id);
        let value = first_output(sum);
        let turned = self.names.fresh(value, "_channels_last");
        let operands: Vec<String> = sum.input.iter().map(|v| self.last[v].clone()).collect();
        let edited = self.patch.edit_node(self.graph, id);
        edited.input = operands;
        edited.output[0].clone_from(&turned);
        self.redirect(layout, value, &turned);
        if layout.is_read_channels_first(value, sums) {
            let name = self.names.fresh(value, "_Transpose");
            self.patch
                .insert_after(id, transpose(&name, &turned, value, &TO_FIRST));
        } else {
            self.turn_quantized(layout, value, &turned);
        }
        self.last.insert(value.to_owned(), turned);
    }

    /// Lets nodes that quantize a value quantize it as it is now, and transposes what they give.
    fn turn_quantized(&mut self, layout: &Layout<'_, 'g>, value: &str, turned: &str) {
        for u in self.graph.uses(value) {
            if !layout.is_quantizing(u.node) {
                continue;
            }
            let bytes = first_output(self.graph.node(u.node));
            let fresh = self.names.fresh(bytes, "_channels_last");
            let edited = self.patch.edit_node(self.graph, u.node);
            turned.clone_into(&mut edited.input[0]);
            edited.output[0].clone_from(&fresh);
            let name = self.names.fresh(bytes, "_Transpose");
            self.patch
                .insert_after(u.node, transpose(&name, &fresh, bytes, &TO_FIRST));
        }
    }

    /// Fences the operands of a product.
    fn fence(&mut self, product: &NodeProto) {
        for value in &product.input {
            let Some((id, _)) = self.graph.producer(value) else {
                continue;
            };
            let floats = self.names.fresh(value, "_floats");
            self.patch.edit_node(self.graph, id).output[0].clone_from(&floats);
            let fenced = self.fenced(&floats, id);
            for u in self.graph.uses(value) {
                if let Some(slot) = u.slot {
                    fenced.clone_into(&mut self.patch.edit_node(self.graph, u.node).input[slot]);
                }
            }
        }
    }
}

fn first_output(node: &NodeProto) -> &str {
    node.output_name(0).unwrap_or_default()
}

fn transpose(name: &str, input: &str, output: &str, perm: &[i64]) -> NodeProto {
    node("Transpose", name, &[input], &[output]).with_attribute(attribute::ints("perm", perm))
}
