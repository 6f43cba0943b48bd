//! INT8: quantize-dequantize pairs around the nodes that the plan gives INT8.

pub(crate) mod absorb;
pub(crate) mod part;
mod rewrite;
mod scales;
mod sites;
pub(crate) mod weights;

use std::collections::BTreeMap;

use tilecast_onnx::Graph;
use tilecast_quant::Range;

use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta, PrecisionPlan, Target};
use rewrite::Rewrite;
use sites::sites;

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "insert_qdq",
    summary: "put QuantizeLinear/DequantizeLinear pairs around the nodes that the plan gives INT8",
    numerics: Numerics::Lossy,
    explanation: "\
**What it does.** Activations that an INT8 node reads (and, where the target wants that, those that it writes) go through
one QuantizeLinear and one DequantizeLinear per tensor, shared by all its readers. Values between which elements are only
moved have one scale. Weights become signed 8-bit initializers with one scale per output channel, biases 32-bit ones at
the scale of the accumulator where the target takes them so, each behind a DequantizeLinear. Scales stay float32.

**Why.** This is the form that runtimes fuse into integer kernels; without the pair behind a convolution, ONNX
Runtime's CPU provider runs it in float, and with one TensorRT writes integers that nobody reads.

**Preconditions.** Constant float32 weights and bias; a calibrated range for each activation; opset 13 for scales per
channel. A node that misses one is left in float, with the reason.

**Numerics.** Lossy; measured by the pipeline on held-out images. A bias that does not fit 32 bits raises the weight
scale of its channel instead of saturating. For targets whose kernels add two products in 16 bits on older processors,
two neighbouring weights of one sign that would not fit do the same.

**References.** Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference, CVPR 2018; ONNX operators QuantizeLinear and DequantizeLinear.",
};

/// Inserts Q/DQ pairs; see the pass's explanation.
#[derive(Clone, Debug)]
pub struct InsertQdq<'a> {
    /// Which nodes become INT8.
    pub plan: &'a PrecisionPlan,
    /// Element type and symmetry of activations, and what is absorbed.
    pub target: &'static Target,
    /// Whether weights have one scale per output channel, or one for all.
    pub per_channel: PerChannel,
    /// Range of each activation, by value name; see [`InsertQdq::calibrated_values`].
    pub ranges: &'a BTreeMap<String, Range>,
}

/// How many scales a weight has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerChannel {
    /// One per output channel.
    Yes,
    /// One for the whole tensor.
    No,
}

impl InsertQdq<'_> {
    /// Oldest opset that the pass quantizes in: the first whose `QuantizeLinear` and `DequantizeLinear` take one scale per
    /// channel.
    pub const MIN_OPSET: i64 = 13;

    /// Names of the activations whose ranges the pass needs, in graph order, each once.
    #[must_use]
    pub fn calibrated_values(
        graph: &Graph<'_>,
        plan: &PrecisionPlan,
        target: &Target,
    ) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let mut known = std::collections::HashSet::new();
        for site in sites(graph, plan, target) {
            names.extend(
                site.values(graph)
                    .filter(|name| known.insert((*name).to_owned()))
                    .map(str::to_owned),
            );
        }
        names
    }
}

impl Pass for InsertQdq<'_> {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let sites = sites(graph, self.plan, self.target);
        let mut rewrite = Rewrite::new(self, graph, &sites);
        for site in &sites {
            if cx.opset() < Self::MIN_OPSET {
                cx.decline(
                    graph,
                    site.id,
                    format!(
                        "opset {} has no scales per channel; it needs {}",
                        cx.opset(),
                        Self::MIN_OPSET
                    ),
                );
            } else if let Err(reason) = rewrite.quantize(site)? {
                cx.decline(graph, site.id, reason);
            }
        }
        Ok(Outcome::of(rewrite.finish()))
    }
}
