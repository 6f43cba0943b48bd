//! Group normalization written with `InstanceNormalization` as one operator.

use std::collections::BTreeSet;

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, NodeId, Tensor, attribute, node};

use super::convolution::channel_vector;
use super::rewrite::Rewrite;
use super::site::{Site, other_operand};
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// From here on the operator has one scale and bias per channel; before, one per group.
pub(super) const MIN_OPSET: i64 = 21;
/// The default of `InstanceNormalization`.
const DEFAULT_EPSILON: f32 = 1e-5;

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "fuse_group_norm",
    summary: "recognize InstanceNormalization between Reshapes to groups as GroupNormalization",
    numerics: Numerics::Reassociates,
    explanation: "\
**What it does.** Exporters without group normalization reshape the channels to groups, normalize each as an instance,
reshape back, and apply the scale and shift per channel. The five nodes become `GroupNormalization`.

**Why.** The reshapes hide from every later step (quantization, tiling rules, runtimes) what is computed, and the scale
and shift are a pass over the activation each.

**Before / After.** `r = Reshape(x, [0, 8, -1]); i = InstanceNormalization(r, 1, 0); s = Reshape(i, Shape(x));
m = Mul(s, scale); y = Add(m, bias)` becomes `y = GroupNormalization(x, scale, bias, num_groups=8)`.

**Preconditions.** Opset 21. The first Reshape makes groups of whole channels and keeps the batch, the second one returns
to the shape of the input, the instance normalization has scale 1 and bias 0, the number of channels is the same for
every input, scale and shift are one float32 constant per channel, and nothing else reads what is between.

**Numerics.** Reassociates.

**References.** Y. Wu, K. He, *Group Normalization*, 2018, <https://arxiv.org/abs/1803.08494>.",
};

/// Fuses group normalization; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct FuseGroupNorm;

impl Pass for FuseGroupNorm {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let site = Site::of(graph, cx);
        let mut rewrite = Rewrite::of(graph);
        for (id, _) in graph.nodes().filter(|(_, n)| n.is("InstanceNormalization")) {
            let Some(found) = Found::at(&site, id) else {
                continue;
            };
            match GroupNorm::of(&site, &found) {
                Ok(norm) => norm.write(&mut rewrite, graph, found.x),
                Err(reason) => rewrite.decline(id, reason),
            }
        }
        Ok(rewrite.finish(cx))
    }
}

/// An instance normalization between two reshapes.
struct Found<'g> {
    x: &'g str,
    grouped: &'g str,
    instance: &'g NodeProto,
    restored: &'g str,
    /// Whether the second Reshape reads its target from the input.
    restores_shape: bool,
    nodes: BTreeSet<NodeId>,
    last: NodeId,
}

impl<'g> Found<'g> {
    fn at(site: &Site<'_, 'g>, id: NodeId) -> Option<Self> {
        let instance = site.graph.node(id);
        let grouped = instance.input_name(0)?;
        let (group_id, group) = site.produced_by(grouped, "Reshape")?;
        let (restore_id, restore) = site.reader(instance.output_name(0)?, "Reshape")?;
        let x = group.input_name(0)?;
        let mut nodes = BTreeSet::from([group_id, id, restore_id]);
        let mut restores_shape = false;
        if let Some(target) = restore.input_name(1)
            && let Some((shape_id, shape)) = site.produced_by(target, "Shape")
        {
            restores_shape = shape.input_name(0) == Some(x) && shape.attribute.is_empty();
            // A Shape that only the second Reshape reads goes with it.
            if site.graph.only_use(target).is_some() {
                nodes.insert(shape_id);
            }
        }
        Some(Self {
            x,
            restores_shape,
            grouped,
            instance,
            restored: restore.output_name(0)?,
            nodes,
            last: restore_id,
        })
    }
}

/// A group normalization that can be written.
struct GroupNorm {
    nodes: BTreeSet<NodeId>,
    last: NodeId,
    n_groups: usize,
    epsilon: f32,
    scale: Vec<f32>,
    bias: Vec<f32>,
}

impl GroupNorm {
    fn of(site: &Site<'_, '_>, found: &Found<'_>) -> Result<Self, String> {
        let x = found.x;
        let unknown = || format!("the shape of `{x}` is not known");
        let dims = site.dims(x).ok_or_else(unknown)?;
        let n_channels = site
            .extent(x, 1)
            .ok_or_else(|| format!("the number of channels of `{x}` depends on the input"))?;
        let grouped = site.dims(found.grouped).ok_or_else(unknown)?;
        let n_groups = site.extent(found.grouped, 1).unwrap_or(0);
        let keeps_batch = grouped.len() == 3 && grouped[0] == dims[0];
        if !keeps_batch || n_groups == 0 || n_channels % n_groups != 0 {
            return Err("the first Reshape does not make groups of whole channels".into());
        }
        if !found.restores_shape && site.dims(found.restored) != Some(dims) {
            return Err(format!(
                "the second Reshape does not provably return to the shape of `{x}`"
            ));
        }
        for (slot, neutral) in [(1, 1.0), (2, 0.0)] {
            let name = found.instance.input_name(slot).unwrap_or_default();
            let values = site.float_constant(name).and_then(|t| t.to_f32_vec());
            #[expect(clippy::float_cmp, reason = "only the neutral element changes nothing")]
            let is_neutral = values.is_some_and(|v| v.iter().all(|&v| v == neutral));
            if !is_neutral {
                return Err(format!(
                    "the instance normalization's `{name}` is not {neutral} throughout"
                ));
            }
        }
        site.check_opset("GroupNormalization with a scale per channel", MIN_OPSET)?;
        site.check_closed(&found.nodes, found.last)?;
        let epsilon = found.instance.float("epsilon").map_err(|e| e.to_string())?;
        let mut norm = Self {
            nodes: found.nodes.clone(),
            last: found.last,
            n_groups,
            epsilon: epsilon.unwrap_or(DEFAULT_EPSILON),
            scale: vec![1.0; n_channels],
            bias: vec![0.0; n_channels],
        };
        if let Some(scale) = norm.absorb(site, "Mul", dims.len()) {
            norm.scale = scale;
        }
        if let Some(bias) = norm.absorb(site, "Add", dims.len()) {
            norm.bias = bias;
        }
        Ok(norm)
    }

    /// Takes the operation with one constant per channel that directly follows, if there is one.
    fn absorb(&mut self, site: &Site<'_, '_>, op: &str, rank: usize) -> Option<Vec<f32>> {
        let value = site.graph.node(self.last).output_name(0)?;
        let (id, node) = site.only_reader(value, op)?;
        let tensor = site.float_constant(other_operand(node, value)?)?;
        let values = channel_vector(&tensor, rank, self.scale.len()).ok()?;
        self.nodes.insert(id);
        self.last = id;
        Some(values.into_iter().map(|v| v as f32).collect())
    }

    fn write(&self, rewrite: &mut Rewrite<'_, '_>, graph: &Graph<'_>, x: &str) {
        let output = graph.node(self.last).output[0].as_str();
        let vector = |values: &[f32]| Tensor::from_f32(vec![values.len()], values);
        let scale = rewrite.add_constant(output, "_gn_scale", &vector(&self.scale));
        let bias = rewrite.add_constant(output, "_gn_bias", &vector(&self.bias));
        let name = rewrite.fresh(output, "_GroupNormalization");
        let norm = node("GroupNormalization", &name, &[x, &scale, &bias], &[output])
            .with_attribute(attribute::int("num_groups", self.n_groups as i64))
            .with_attribute(attribute::float("epsilon", self.epsilon));
        rewrite.replace_pattern(&self.nodes, self.last, vec![norm]);
    }
}
