//! FP16 as storage: weights of the nodes that the plan gives FP16 are stored in it and computed in float32.

use std::collections::BTreeSet;

use prost::Message;
use tilecast_onnx::{DataType, Graph, Patch, Tensor, attribute, node};
use tilecast_quant::HalfFormat;

use crate::names::FreshNames;
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta, Precision, PrecisionPlan};

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "store_float16",
    summary: "store float32 weights in FP16 behind a Cast that folds at load",
    numerics: Numerics::Lossy,
    explanation: "\
**What it does.** A float32 initializer that only FP16-planned nodes read becomes a float16 one and a Cast back to
float32 at the start of the graph. The nodes still compute in float32.

**Why.** A runtime without FP16 kernels casts around every FP16 node. Stored this way the weights take half the bytes
and cost nothing: runtimes fold a Cast of a constant when they load the model.

**Preconditions.** The initializer is finite in FP16, and the Cast costs fewer bytes than it saves.

**Numerics.** Lossy: weights are rounded to FP16 once, activations not at all.

**References.** IEEE 754-2019 binary16.",
};

/// Stores weights in FP16; see the pass's explanation.
#[derive(Clone, Debug)]
pub struct StoreFloat16<'a> {
    /// Which nodes' weights are stored in FP16.
    pub plan: &'a PrecisionPlan,
}

impl Pass for StoreFloat16<'_> {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let mut names = FreshNames::of(graph);
        let mut patch = Patch::default();
        let mut seen = BTreeSet::new();
        for (id, planned) in graph
            .nodes()
            .filter(|(_, n)| self.plan.is(n.output_name(0), Precision::Fp16))
        {
            for name in planned
                .input
                .iter()
                .filter(|name| graph.initializer(name).is_some())
            {
                let only_half_readers = graph.uses(name).iter().all(|u| {
                    u.slot.is_some()
                        && self
                            .plan
                            .is(graph.node(u.node).output_name(0), Precision::Fp16)
                });
                if !seen.insert(name) || !only_half_readers || graph.is_output(name) {
                    continue;
                }
                let tensor = match graph.constant(name) {
                    Ok(Some(tensor)) if tensor.data_type() == DataType::F32 => tensor,
                    _ => continue,
                };
                let values = tensor.to_f32_vec().unwrap_or_default();
                if HalfFormat::F16.loss(&values).overflowed > 0 {
                    cx.decline(
                        graph,
                        id,
                        format!("`{name}` holds values beyond the range of FP16"),
                    );
                    continue;
                }
                let stored = names.fresh(name, "_fp16");
                let cast = node("Cast", &names.fresh(name, "_Cast"), &[&stored], &[name])
                    .with_attribute(attribute::int("to", i64::from(DataType::F32.code())));
                let half = Tensor::from_raw(
                    DataType::F16,
                    tensor.dims().to_vec(),
                    HalfFormat::F16.to_bytes(&values).into(),
                )
                .expect("two bytes per element");
                // Tag and length of a node in the graph take up to four bytes more.
                let cost = cast.encoded_len() + half.to_proto(&stored).encoded_len() + 4;
                if cost >= tensor.to_proto(name).encoded_len() {
                    continue;
                }
                patch.insert_first(cast);
                patch.set_initializer(&stored, &half);
                patch.remove_initializer(name);
            }
        }
        Ok(if patch.is_empty() {
            Outcome::Unchanged
        } else {
            Outcome::Rewrite(Box::new(patch))
        })
    }
}
