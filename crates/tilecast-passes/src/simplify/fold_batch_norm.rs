//! Inference-mode batch normalization into the convolution before it.

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, NodeId};

use super::convolution::{ChannelAffine, Convolution};
use super::rewrite::Rewrite;
use super::site::Site;
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// Before it, inference was an attribute that defaulted to training.
const MIN_OPSET: i64 = 7;
/// From here on training is an attribute; before, further outputs ask for it.
const TRAINING_MODE_OPSET: i64 = 14;
/// The operator's default.
const DEFAULT_EPSILON: f32 = 1e-5;

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "fold_batch_norm",
    summary: "fold inference-mode BatchNormalization into the convolution before it",
    numerics: Numerics::Reassociates,
    explanation: "\
**What it does.** With constant statistics, batch normalization multiplies every channel by `s = scale / sqrt(var + ε)`
and adds `bias - mean * s`. Both go into the weights and the bias of the `Conv` or `ConvTranspose` that computes its
input; a convolution without bias gets one. Weights that other nodes share are copied.

**Why.** One pass over the activation less, and quantization sees the weights that are really applied.

**Before / After.** `c = Conv(x, W, b); y = BatchNormalization(c, scale, bias, mean, var)` becomes
`y = Conv(x, s * W, s * b + bias - mean * s)`.

**Preconditions.** The normalization is in inference mode, its parameters and those of the convolution are float32
constants, and nothing else reads the convolution's output. Batch normalization *before* a convolution is left alone:
zero padding comes after its shift.

**Numerics.** Reassociates: products are formed in float64 and rounded once.

**References.** S. Ioffe, C. Szegedy, *Batch Normalization*, 2015, <https://arxiv.org/abs/1502.03167>; B. Jacob et al.,
*Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference*, 2018, section 3.2.",
};

/// Folds batch normalization; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct FoldBatchNorm;

impl Pass for FoldBatchNorm {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let site = Site::of(graph, cx);
        let mut rewrite = Rewrite::of(graph);
        for (id, node) in graph.nodes().filter(|(_, n)| n.is("BatchNormalization")) {
            let Some(convolution) = convolution_before(graph, node) else {
                continue;
            };
            match folded(&site, convolution, node) {
                Ok(result) => {
                    result.store(&mut rewrite, graph, convolution);
                    rewrite.edit(convolution).output[0].clone_from(&node.output[0]);
                    rewrite.remove(id);
                }
                Err(reason) => rewrite.decline(id, reason),
            }
        }
        Ok(rewrite.finish(cx))
    }
}

fn convolution_before(graph: &Graph<'_>, node: &NodeProto) -> Option<NodeId> {
    let (id, _) = graph.producer(node.input_name(0)?)?;
    Convolution::is(graph, id).then_some(id)
}

fn folded(
    site: &Site<'_, '_>,
    convolution: NodeId,
    node: &NodeProto,
) -> Result<Convolution, String> {
    check_inference(node, site.opset())?;
    site.check_one_reader(node.input_name(0).unwrap_or_default())?;
    let before = Convolution::read(site, convolution)?;
    let map = affine_of(site, node, before.n_outputs())?;
    before.followed_by(&map)
}

fn check_inference(node: &NodeProto, opset: i64) -> Result<(), String> {
    let int = |name: &str| node.int(name).map_err(|e| e.to_string());
    if opset < MIN_OPSET {
        return Err(format!(
            "opset {opset} defines it differently; opset {MIN_OPSET} is needed"
        ));
    }
    let trains = if opset >= TRAINING_MODE_OPSET {
        int("training_mode")?.unwrap_or(0) != 0
    } else {
        (1..node.output.len()).any(|slot| node.output_name(slot).is_some())
    };
    if trains {
        return Err("it is in training mode: its statistics come from the input".into());
    }
    if int("spatial")? == Some(0) {
        return Err("it has statistics per position, not per channel".into());
    }
    Ok(())
}

/// The normalization as one factor and one summand per channel.
fn affine_of(
    site: &Site<'_, '_>,
    node: &NodeProto,
    n_channels: usize,
) -> Result<ChannelAffine, String> {
    let parameter = |slot: usize, role: &str| -> Result<Vec<f64>, String> {
        let name = node
            .input_name(slot)
            .ok_or_else(|| format!("it has no {role}"))?;
        let tensor = site
            .float_constant(name)
            .ok_or_else(|| format!("its {role} `{name}` is not a float32 constant"))?;
        let values = tensor.to_f32_vec().unwrap_or_default();
        if values.len() != n_channels {
            return Err(format!(
                "its {role} `{name}` has {} elements for {n_channels} channels",
                values.len()
            ));
        }
        Ok(values.into_iter().map(f64::from).collect())
    };
    let (scale, bias) = (parameter(1, "scale")?, parameter(2, "bias")?);
    let (mean, variance) = (parameter(3, "mean")?, parameter(4, "variance")?);
    let epsilon = node.float("epsilon").map_err(|e| e.to_string())?;
    let epsilon = f64::from(epsilon.unwrap_or(DEFAULT_EPSILON));
    let factors: Vec<f64> = scale
        .iter()
        .zip(&variance)
        .map(|(s, v)| s / (v + epsilon).sqrt())
        .collect();
    let shifts: Vec<f64> = bias
        .iter()
        .zip(&mean)
        .zip(&factors)
        .map(|((b, m), s)| b - m * s)
        .collect();
    let unusable = (0..n_channels).find(|&c| !factors[c].is_finite() || !shifts[c].is_finite());
    match unusable {
        Some(channel) => Err(format!(
            "channel {channel} has no finite scale: check its variance and epsilon"
        )),
        None => Ok(ChannelAffine::new(factors, shifts)),
    }
}
