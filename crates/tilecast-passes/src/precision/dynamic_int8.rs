//! Dynamic INT8: matrix products in integers, with the range of the data taken while the model runs.

use std::collections::BTreeMap;

use tilecast_onnx::{DataType, Graph, NodeId, Patch, Tensor, attribute, node};
use tilecast_quant::Scale;

use super::insert_qdq::PerChannel;
use super::insert_qdq::weights::Weights;
use crate::names::FreshNames;
use crate::{
    BiasForm, Numerics, Outcome, Pass, PassContext, PassError, PassMeta, Precision, PrecisionPlan,
    Target,
};

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "dynamic_int8",
    summary: "compute matrix products that the plan gives INT8 in integers, on ranges taken at run time",
    numerics: Numerics::Lossy,
    explanation: "\
**What it does.** The data of a matrix product goes through DynamicQuantizeLinear, which takes the range of the tensor that it
meets; the product is a MatMulInteger with signed 8-bit weights, one scale per column; its result goes back to float by
both scales.

**Why.** Ranges of tokens differ between images more than those of convolutions do, and nothing has to be calibrated.

**Preconditions.** A constant matrix of float32 weights; opset 11. A node that misses one is left in float, with the reason.

**Numerics.** Lossy, and not the same in tiles as on a whole image: each tile has a range of its own.

**References.** ONNX operators DynamicQuantizeLinear and MatMulInteger.",
};

/// Oldest opset with `DynamicQuantizeLinear`.
const MIN_OPSET: i64 = 11;

/// Makes products dynamic; see the pass's explanation.
#[derive(Clone, Debug)]
pub struct DynamicInt8<'a> {
    /// Which nodes become INT8.
    pub plan: &'a PrecisionPlan,
    /// Whether kernels add products in pairs decides scales of weights.
    pub target: &'static Target,
    /// Whether weights have one scale per column, or one for all.
    pub per_channel: PerChannel,
}

impl Pass for DynamicInt8<'_> {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let mut rewrite = Rewrite {
            pass: self,
            graph,
            names: FreshNames::of(graph),
            patch: Patch::default(),
            quantized: BTreeMap::new(),
        };
        for (id, node) in graph.nodes() {
            if !self.plan.is(node.output_name(0), Precision::Int8) {
                continue;
            }
            if cx.opset() < MIN_OPSET {
                let reason = format!(
                    "opset {} has no dynamic quantization; it needs {MIN_OPSET}",
                    cx.opset()
                );
                cx.decline(graph, id, reason);
            } else if let Err(reason) = rewrite.quantize(id) {
                cx.decline(graph, id, reason);
            }
        }
        Ok(Outcome::of(rewrite.patch))
    }
}

/// Whether a node can become dynamic INT8: a product with a constant matrix.
pub(crate) fn is_candidate(graph: &Graph<'_>, id: NodeId) -> bool {
    let node = graph.node(id);
    let matrix = |name: &str| {
        let constant = graph.constant(name).ok().flatten();
        constant.is_some_and(|t| t.dims().len() == 2 && t.data_type() == DataType::F32)
    };
    node.is("MatMul") && node.input_name(1).is_some_and(matrix)
}

struct Rewrite<'a, 'g> {
    pass: &'a DynamicInt8<'a>,
    graph: &'a Graph<'g>,
    names: FreshNames,
    patch: Patch,
    /// Integers, scale and zero point per quantized value.
    quantized: BTreeMap<String, [String; 3]>,
}

impl Rewrite<'_, '_> {
    /// Puts the integer product in the place of one node, or says why it stays in float.
    fn quantize(&mut self, id: NodeId) -> Result<(), String> {
        if !is_candidate(self.graph, id) {
            return Err("it is no product with a constant matrix".into());
        }
        let node = self.graph.node(id);
        let (Some(data), Some(output)) = (node.input_name(0), node.output_name(0)) else {
            return Err("it lacks an operand or its result".into());
        };
        let weights = Weights::of(self.graph, id, self.pass.per_channel, BiasForm::Float)?;
        // Without a bias the scale of the data does not matter to the weights.
        let any_scale = Scale::new(1.0).map_err(|e| e.to_string())?;
        let integers = weights.quantize(node, any_scale, self.pass.target)?;
        let bytes: Vec<u8> = integers.values.iter().map(|v| v.to_le_bytes()[0]).collect();
        let matrix = Tensor::from_raw(DataType::I8, weights.dims.clone(), bytes.into())
            .expect("one byte per weight");
        let scales: Vec<f32> = integers.scales.iter().map(|s| s.get()).collect();
        let scale_dims = if scales.len() == 1 {
            vec![]
        } else {
            vec![scales.len()]
        };

        let [q, scale, zero_point] = self.dynamic(data);
        let matrix_name = self.names.fresh(&weights.name, "_q");
        let scales_name = self.names.fresh(&weights.name, "_scale");
        self.patch.set_initializer(&matrix_name, &matrix);
        self.patch
            .set_initializer(&scales_name, &Tensor::from_f32(scale_dims, &scales));
        let mut name = |suffix: &str| self.names.fresh(output, suffix);
        let (sums, floats, both) = (name("_sums"), name("_floats"), name("_scales"));
        let names = ["_MatMulInteger", "_Cast", "_Scale", "_Dequantize"].map(name);
        let to_float = i64::from(DataType::F32.code());
        for step in [
            node_of(
                "MatMulInteger",
                &names[0],
                &[&q, &matrix_name, &zero_point],
                &sums,
            ),
            node_of("Cast", &names[1], &[&sums], &floats)
                .with_attribute(attribute::int("to", to_float)),
            node_of("Mul", &names[2], &[&scale, &scales_name], &both),
            node_of("Mul", &names[3], &[&floats, &both], output),
        ] {
            self.patch.insert_before(id, step);
        }
        self.patch.remove_node(id);
        if self.graph.only_use(&weights.name).is_some()
            && self.graph.initializer(&weights.name).is_some()
        {
            self.patch.remove_initializer(&weights.name);
        }
        Ok(())
    }

    /// Integers, scale and zero point of a value, made at its first use.
    fn dynamic(&mut self, value: &str) -> [String; 3] {
        if let Some(done) = self.quantized.get(value) {
            return done.clone();
        }
        let made = ["_q", "_scale", "_zp"].map(|suffix| self.names.fresh(value, suffix));
        let name = self.names.fresh(value, "_DynamicQuantizeLinear");
        let step = node(
            "DynamicQuantizeLinear",
            &name,
            &[value],
            &[&made[0], &made[1], &made[2]],
        );
        match self.graph.producer(value) {
            Some((producer, _)) => self.patch.insert_after(producer, step),
            None => self.patch.insert_first(step),
        }
        self.quantized.insert(value.to_owned(), made.clone());
        made
    }
}

fn node_of(op: &str, name: &str, inputs: &[&str], output: &str) -> tilecast_onnx::proto::NodeProto {
    node(op, name, inputs, &[output])
}
