//! Batch normalization that was exported in training mode, to inference mode.

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, Patch};

use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// From here on training is an attribute; before, further outputs ask for it.
const TRAINING_MODE_OPSET: i64 = 14;

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "freeze_batch_norm",
    summary: "put BatchNormalization that was exported in training mode into inference mode",
    numerics: Numerics::Lossy,
    explanation: "\
**What it does.** The normalization uses the running mean and variance that the file carries, and no longer the statistics of its
input. The outputs for updated running statistics, which an inference model has no use for, are dropped.

**Why.** In training mode every tile is normalized with its own statistics, and with those of all images in the batch. A network that was
trained with batch normalization is meant to be run with the running statistics; `model.eval()` was forgotten at the export.

**Before / After.** `y, m, v = BatchNormalization(x, scale, bias, mean, var, training_mode=1)` becomes
`y = BatchNormalization(x, scale, bias, mean, var)`.

**Preconditions.** Running mean and variance are constants, and real: not all of them 0 and 1, which is what they are before any training
and where a network does not keep them. Nothing reads the updated statistics.

**Numerics.** Lossy, on purpose: the function that was trained in the place of another one. What it amounts to is the difference between
the statistics of the image and the running ones.

**References.** S. Ioffe, C. Szegedy, *Batch Normalization*, 2015, section 3.1, <https://arxiv.org/abs/1502.03167>.",
};

/// Freezes batch normalization; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct FreezeBatchNorm;

impl Pass for FreezeBatchNorm {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let mut patch = Patch::default();
        for (id, node) in graph.nodes().filter(|(_, n)| n.is("BatchNormalization")) {
            if !trains(node, cx.opset()) {
                continue;
            }
            match check(graph, node, cx) {
                Ok(()) => {
                    let node = patch.edit_node(graph, id);
                    node.output.truncate(1);
                    node.attribute
                        .retain(|a| a.name.as_deref() != Some("training_mode"));
                }
                Err(reason) => cx.decline(graph, id, reason),
            }
        }
        Ok(Outcome::of(patch))
    }
}

fn trains(node: &NodeProto, opset: i64) -> bool {
    if opset >= TRAINING_MODE_OPSET {
        matches!(node.int("training_mode"), Ok(Some(mode)) if mode != 0)
    } else {
        (1..node.output.len()).any(|slot| node.output_name(slot).is_some())
    }
}

fn check(graph: &Graph<'_>, node: &NodeProto, cx: &PassContext) -> Result<(), String> {
    let updated = (1..node.output.len()).filter_map(|slot| node.output_name(slot));
    for name in updated {
        if graph.is_output(name) || !graph.uses(name).is_empty() {
            return Err(format!("its updated statistics `{name}` are read"));
        }
    }
    let constant = |slot: usize, role: &str| -> Result<Vec<f32>, String> {
        let name = node
            .input_name(slot)
            .ok_or_else(|| format!("it has no running {role}"))?;
        cx.constant(graph, name)
            .and_then(|tensor| tensor.to_f32_vec())
            .ok_or_else(|| format!("its running {role} `{name}` is not a float constant"))
    };
    let (mean, variance) = (constant(3, "mean")?, constant(4, "variance")?);
    if mean.iter().all(|&m| m == 0.0) && variance.iter().all(|v| (v - 1.0).abs() < f32::EPSILON) {
        return Err(
            "its running mean is 0 and its running variance 1 everywhere: they were never measured, and nothing but its \
             input tells the statistics"
                .to_owned(),
        );
    }
    let is_usable = |v: &f32| v.is_finite() && *v >= 0.0;
    if !mean.iter().all(|m| m.is_finite()) || !variance.iter().all(is_usable) {
        return Err("its running statistics are not finite".to_owned());
    }
    Ok(())
}
