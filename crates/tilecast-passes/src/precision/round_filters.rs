//! Rounding the weights of the nodes that the plan gives 16 bits so that their mean answers stay.

use tilecast_onnx::{DataType, Graph, NodeId, Patch, Tensor};
use tilecast_quant::HalfFormat;

use crate::filters::{ChannelAxis, Filters};
use crate::{
    Numerics, Outcome, Pass, PassContext, PassError, PassMeta, PrecisionPlan, RangeEvidence,
};

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "round_filters",
    summary: "round weights to 16 bits so that the mean answer of each filter stays",
    numerics: Numerics::Lossy,
    explanation: "\
**What it does.** Weights and biases of convolutions and matrix products that the plan gives FP16 or BF16 become numbers
of that format, chosen so that the answer of each filter to the mean of its inputs stays: the bias takes up what
rounding the weights changes, and up to four weights per filter go to the neighbour that is not the nearest one to cancel
what rounding the bias leaves. The types change later.

**Why.** Rounding to nearest leaves each filter an error of its own, and the part of it that is the same at every pixel is what
later layers and averages keep. It costs a dB or more, by luck.

**Preconditions.** Calibration saw the input of the node. Weights are an initializer that only this node reads; the bias
too, otherwise it stays as it is. Everything stays finite in the format.

**Numerics.** Lossy: no weight moves by more than one step of the format.

**References.** Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019.",
};

/// Rounds filters; see the pass's explanation.
#[derive(Clone, Debug)]
pub struct RoundFilters<'a> {
    /// Which nodes compute in which format.
    pub plan: &'a PrecisionPlan,
    /// The means of their inputs.
    pub evidence: &'a RangeEvidence,
}

impl Pass for RoundFilters<'_> {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let mut patch = Patch::default();
        for (id, node) in graph.nodes() {
            let decision = node.output_name(0).and_then(|v| self.plan.decision(v));
            let format = decision.and_then(|d| d.precision.half_format());
            let (Some(format), Some(axis)) = (format, ChannelAxis::of(node)) else {
                continue;
            };
            let input = node.input_name(0).unwrap_or_default();
            let Some(means) = self.evidence.channel_means(input, axis) else {
                continue;
            };
            if let Err(reason) = round(graph, id, format, means, cx, &mut patch) {
                cx.decline(graph, id, reason);
            }
        }
        Ok(Outcome::of(patch))
    }
}

/// Rounds the filters of one node.
fn round(
    graph: &Graph<'_>,
    id: NodeId,
    format: HalfFormat,
    means: &[f64],
    cx: &PassContext,
    patch: &mut Patch,
) -> Result<(), String> {
    let node = graph.node(id);
    let weight_name = node.input_name(1).unwrap_or_default();
    let Some(weight) = own_constant(graph, cx, weight_name) else {
        return Err("its weights are not an initializer of its own".into());
    };
    let filters = Filters::of(node, weight.dims())?;
    if filters.n_channels() != means.len() {
        return Err(format!(
            "{} means were observed for {} channels",
            means.len(),
            filters.n_channels()
        ));
    }
    let mut weights = weight.to_f32_vec().unwrap_or_default();
    let bias_name = node.input_name(2);
    let bias = bias_name.and_then(|name| own_constant(graph, cx, name));
    let bias = bias.filter(|b| b.dims() == [filters.len()]);
    let mut biases = bias.as_ref().and_then(Tensor::to_f32_vec);
    let (mut filter, mut filter_means) = (Vec::new(), Vec::new());
    for index in 0..filters.len() {
        filter.clear();
        filter_means.clear();
        for (at, channel) in filters.weights_of(index) {
            filter.push(weights[at]);
            filter_means.push(means[channel] * filters.share());
        }
        let bias = biases.as_mut().map(|b| &mut b[index]);
        format.round_filter(&mut filter, &filter_means, bias);
        for ((at, _), rounded) in filters.weights_of(index).zip(&filter) {
            weights[at] = *rounded;
        }
    }
    patch.set_initializer(
        weight_name,
        &Tensor::from_f32(weight.dims().to_vec(), &weights),
    );
    if let (Some(name), Some(biases)) = (bias_name, biases) {
        patch.set_initializer(name, &Tensor::from_f32(vec![biases.len()], &biases));
    }
    Ok(())
}

/// A float32 initializer that nothing else reads and no caller replaces.
fn own_constant(graph: &Graph<'_>, cx: &PassContext, name: &str) -> Option<Tensor> {
    graph.initializer(name)?;
    graph.only_use(name)?;
    let tensor = cx.constant(graph, name)?;
    let is_ours = tensor.data_type() == DataType::F32 && !graph.is_output(name);
    is_ours.then_some(tensor)
}
