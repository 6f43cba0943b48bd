//! INT8: quantize-dequantize pairs around the nodes that the plan gives INT8.

use std::collections::{BTreeMap, HashMap, HashSet};

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{DataType, Graph, NodeId, Patch, Tensor, attribute, node};
use tilecast_quant::{
    Granularity, QuantParams, QuantType, Range, Scale, quantize_bias, quantize_weights,
    quantize_weights_with_scales, raise_scale_for_pairs, raise_weight_scales_for_bias,
};

use crate::filters::Filters;
use crate::names::FreshNames;
use crate::{
    Numerics, Outcome, Pass, PassContext, PassError, PassMeta, Precision, PrecisionPlan, Target,
};

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "insert_qdq",
    summary: "put QuantizeLinear/DequantizeLinear pairs around the nodes that the plan gives INT8",
    numerics: Numerics::Lossy,
    explanation: "\
**What it does.** Activations that an INT8 node reads or writes go through one QuantizeLinear and one DequantizeLinear
per tensor, shared by all its readers. Weights become signed 8-bit initializers with one scale per output channel,
biases 32-bit ones at the scale of the accumulator, each behind a DequantizeLinear. Scales stay float32.

**Why.** This is the form that runtimes fuse into integer kernels; without the pair behind a convolution, ONNX
Runtime's CPU provider runs it in float.

**Preconditions.** Constant float32 weights and bias; a calibrated range for each activation; opset 13 for scales per
channel. A node that misses one is left in float, with the reason.

**Numerics.** Lossy; measured by the pipeline on held-out images. A bias that does not fit 32 bits raises the weight
scale of its channel instead of saturating. For targets whose kernels add two products in 16 bits on older processors,
two neighbouring weights of one sign that would not fit do the same.

**References.** Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference, CVPR 2018; ONNX operators QuantizeLinear and DequantizeLinear.",
};

/// Oldest opset whose `QuantizeLinear` and `DequantizeLinear` take one scale per channel.
const MIN_OPSET: i64 = 13;

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
    /// Names of the activations whose ranges the pass needs, in graph order, each once.
    #[must_use]
    pub fn calibrated_values(
        graph: &Graph<'_>,
        plan: &PrecisionPlan,
        target: &Target,
    ) -> Vec<String> {
        let mut names = Vec::new();
        for (id, _) in int8_nodes(graph, plan) {
            let input = graph.node(id).input_name(0).map(str::to_owned);
            for name in input
                .into_iter()
                .chain([quantized_output(graph, id, target).to_owned()])
            {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }
}

impl Pass for InsertQdq<'_> {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let mut rewrite = Rewrite {
            pass: self,
            graph,
            names: FreshNames::of(graph),
            patch: Patch::default(),
            activations: BTreeMap::new(),
            quantized_outputs: HashSet::new(),
            weights: HashMap::new(),
        };
        for (id, _) in int8_nodes(graph, self.plan) {
            if cx.opset() < MIN_OPSET {
                cx.decline(
                    graph,
                    id,
                    format!(
                        "opset {} has no scales per channel; it needs {MIN_OPSET}",
                        cx.opset()
                    ),
                );
                continue;
            }
            match Operands::of(graph, id, self) {
                Ok(operands) => rewrite.quantize(id, &operands)?,
                Err(reason) => cx.decline(graph, id, reason),
            }
        }
        rewrite.rewire_readers();
        rewrite.remove_replaced_constants();
        let patch = rewrite.patch;
        Ok(if patch.is_empty() {
            Outcome::Unchanged
        } else {
            Outcome::Rewrite(Box::new(patch))
        })
    }
}

fn int8_nodes<'g>(
    graph: &'g Graph<'_>,
    plan: &'g PrecisionPlan,
) -> impl Iterator<Item = (NodeId, &'g tilecast_onnx::proto::NodeProto)> {
    graph
        .nodes()
        .filter(|(_, node)| plan.is(node.output_name(0), Precision::Int8))
}

/// The value behind which Q goes: the node's output, or that of the activation that the runtime absorbs.
fn quantized_output<'g>(graph: &Graph<'g>, id: NodeId, target: &Target) -> &'g str {
    let output = graph.node(id).output_name(0).unwrap_or_default();
    let absorbed = graph.only_use(output).map(|u| graph.node(u.node));
    match absorbed {
        Some(next) if target.absorbed_ops.contains(&next.op()) => {
            next.output_name(0).unwrap_or(output)
        }
        _ => output,
    }
}

/// What quantizing one node needs, checked.
struct Operands {
    input: String,
    input_params: QuantParams,
    output: String,
    output_params: QuantParams,
    weight_name: String,
    weight: Tensor,
    weight_values: Vec<f32>,
    bias: Option<(String, Vec<f32>)>,
    granularity: Granularity,
}

impl Operands {
    fn of(graph: &Graph<'_>, id: NodeId, pass: &InsertQdq<'_>) -> Result<Self, String> {
        let node = graph.node(id);
        let input = node.input_name(0).ok_or("it has no data input")?.to_owned();
        let output = quantized_output(graph, id, pass.target).to_owned();
        let params = |value: &str| {
            let range = pass
                .ranges
                .get(value)
                .ok_or_else(|| format!("`{value}` was not calibrated"))?;
            Ok::<_, String>(QuantParams::from_range(
                *range,
                pass.target.activation_type,
                pass.target.activation_symmetry,
            ))
        };
        let constant = |slot: usize| -> Result<Option<(String, Tensor, Vec<f32>)>, String> {
            let Some(name) = node.input_name(slot) else {
                return Ok(None);
            };
            let tensor = graph
                .constant(name)
                .map_err(|e| e.to_string())?
                .ok_or_else(|| format!("input {slot} `{name}` is not constant"))?;
            let values = match tensor.data_type() {
                DataType::F32 => tensor.to_f32_vec().unwrap_or_default(),
                other => return Err(format!("input {slot} `{name}` is {other}, not float32")),
            };
            if values.iter().any(|v| !v.is_finite()) {
                return Err(format!(
                    "input {slot} `{name}` holds values that are not finite"
                ));
            }
            Ok(Some((name.to_owned(), tensor, values)))
        };
        let (weight_name, weight, weight_values) = constant(1)?.ok_or("it has no weights")?;
        let bias = constant(2)?.map(|(name, _, values)| (name, values));
        let granularity = match pass.per_channel {
            PerChannel::Yes => Granularity::PerChannel { axis: 0 },
            PerChannel::No => Granularity::PerTensor,
        };
        Ok(Self {
            input_params: params(&input)?,
            output_params: params(&output)?,
            input,
            output,
            weight_name,
            weight,
            weight_values,
            bias,
            granularity,
        })
    }
}

struct Rewrite<'a, 'g> {
    pass: &'a InsertQdq<'a>,
    graph: &'a Graph<'g>,
    names: FreshNames,
    patch: Patch,
    /// Dequantized name per quantized activation.
    activations: BTreeMap<String, String>,
    /// Activations that an INT8 node produces.
    quantized_outputs: HashSet<String>,
    /// Dequantized name and scales per quantized weight.
    weights: HashMap<String, (String, Vec<Scale>)>,
}

impl Rewrite<'_, '_> {
    fn quantize(&mut self, id: NodeId, operands: &Operands) -> Result<(), PassError> {
        let fail = |reason: String| PassError::at(&META, &self.graph.path(id), reason);
        let input_scale = operands.input_params.scale();

        let quantized = quantize_weights(
            &operands.weight_values,
            operands.weight.dims(),
            operands.granularity,
        )
        .map_err(|e| fail(e.to_string()))?;
        let mut scales = quantized.scales.clone();
        if let Some((_, bias)) = &operands.bias {
            scales = raise_weight_scales_for_bias(bias, input_scale, &scales, operands.granularity)
                .map_err(|e| fail(e.to_string()))?
                .scales;
        }
        if self.pass.target.adds_pairs_in_16_bits {
            raise_for_pairs(self.graph.node(id), operands, &mut scales).map_err(&fail)?;
        }
        let values = if scales == quantized.scales {
            quantized.values
        } else {
            quantize_weights_with_scales(
                &operands.weight_values,
                operands.weight.dims(),
                operands.granularity,
                &scales,
            )
            .map_err(|e| fail(e.to_string()))?
            .values
        };
        let bias = operands
            .bias
            .as_ref()
            .map(|(name, bias)| {
                quantize_bias(bias, input_scale, &scales).map(|b| (name.clone(), b))
            })
            .transpose()
            .map_err(|e| fail(e.to_string()))?;

        let input = self.activation(&operands.input, operands.input_params);
        let weight = self.weight(id, operands, &values, scales);
        let bias = bias.map(|(name, bias)| {
            let tensor = Tensor::from_i32(vec![bias.values.len()], &bias.values);
            self.dequantized_constant(id, &name, &tensor, &bias.scales, Some(0))
        });
        self.quantized_outputs.insert(operands.output.clone());
        self.activation(&operands.output, operands.output_params);

        let node = self.patch.edit_node(self.graph, id);
        node.input[0] = input;
        node.input[1] = weight;
        if let Some(bias) = bias {
            node.input[2] = bias;
        }
        Ok(())
    }

    /// The Q/DQ pair of an activation, made at its first use; returns the dequantized value's name.
    fn activation(&mut self, value: &str, params: QuantParams) -> String {
        if let Some(done) = self.activations.get(value) {
            return done.clone();
        }
        let producer = self.graph.producer(value);
        // A graph output keeps its name, so the node that produced it writes to another one.
        let (raw, dequantized) = match producer {
            Some((id, slot))
                if self.graph.is_output(value) && self.quantized_outputs.contains(value) =>
            {
                let raw = self.names.fresh(value, "_raw");
                self.patch.edit_node(self.graph, id).output[slot].clone_from(&raw);
                (raw, value.to_owned())
            }
            _ => (value.to_owned(), self.names.fresh(value, "_dq")),
        };
        let quantized = self.names.fresh(value, "_q");
        let scale = self.names.fresh(value, "_scale");
        let zero_point = self.names.fresh(value, "_zp");
        self.patch
            .set_initializer(&scale, &Tensor::from_f32(vec![], &[params.scale().get()]));
        self.patch
            .set_initializer(&zero_point, &zero_point_tensor(params));
        let q_name = self.names.fresh(value, "_QuantizeLinear");
        let dq_name = self.names.fresh(value, "_DequantizeLinear");
        let q = node(
            "QuantizeLinear",
            &q_name,
            &[&raw, &scale, &zero_point],
            &[&quantized],
        );
        let dq = node(
            "DequantizeLinear",
            &dq_name,
            &[&quantized, &scale, &zero_point],
            &[&dequantized],
        );
        for node in [q, dq] {
            match producer {
                Some((id, _)) => self.patch.insert_after(id, node),
                None => self.patch.insert_first(node),
            }
        }
        self.activations
            .insert(value.to_owned(), dequantized.clone());
        dequantized
    }

    fn weight(
        &mut self,
        id: NodeId,
        operands: &Operands,
        values: &[i8],
        scales: Vec<Scale>,
    ) -> String {
        if let Some((done, with)) = self.weights.get(&operands.weight_name)
            && *with == scales
        {
            return done.clone();
        }
        let bytes: Vec<u8> = values.iter().map(|v| v.to_le_bytes()[0]).collect();
        let tensor = Tensor::from_raw(DataType::I8, operands.weight.dims().to_vec(), bytes.into())
            .expect("one byte per weight");
        let axis = match operands.granularity {
            Granularity::PerChannel { axis } => Some(axis),
            Granularity::PerTensor => None,
        };
        let name = self.dequantized_constant(id, &operands.weight_name, &tensor, &scales, axis);
        self.weights
            .insert(operands.weight_name.clone(), (name.clone(), scales));
        name
    }

    /// A quantized initializer behind a `DequantizeLinear` directly before `id`; returns the float value's name.
    fn dequantized_constant(
        &mut self,
        id: NodeId,
        base: &str,
        quantized: &Tensor,
        scales: &[Scale],
        axis: Option<usize>,
    ) -> String {
        let quantized_name = self.names.fresh(base, "_q");
        let dequantized = self.names.fresh(base, "_dq");
        let scale_name = self.names.fresh(base, "_scale");
        let zero_name = self.names.fresh(base, "_zp");
        let scale_values: Vec<f32> = scales.iter().map(|s| s.get()).collect();
        // One scale for all is a scalar; a vector of length one would claim an axis.
        let dims = if axis.is_some() && scales.len() > 1 {
            vec![scales.len()]
        } else {
            vec![]
        };
        let bytes_per_zero = quantized.data_type().bits() / 8;
        let zeros = vec![0u8; scale_values.len() * bytes_per_zero];
        let zero = Tensor::from_raw(quantized.data_type(), dims.clone(), zeros.into())
            .expect("one zero point per scale");
        self.patch.set_initializer(&quantized_name, quantized);
        self.patch
            .set_initializer(&scale_name, &Tensor::from_f32(dims.clone(), &scale_values));
        self.patch.set_initializer(&zero_name, &zero);
        let node_name = self.names.fresh(base, "_DequantizeLinear");
        let mut dq = node(
            "DequantizeLinear",
            &node_name,
            &[&quantized_name, &scale_name, &zero_name],
            &[&dequantized],
        );
        if let (Some(axis), false) = (axis, dims.is_empty()) {
            dq = dq.with_attribute(attribute::int("axis", axis as i64));
        }
        self.patch.insert_before(id, dq);
        dequantized
    }

    /// What an INT8 node produced is read dequantized by everyone, so that the runtime can drop the float value; other
    /// activations keep their float readers.
    fn rewire_readers(&mut self) {
        for (value, dequantized) in &self.activations {
            if !self.quantized_outputs.contains(value) {
                continue;
            }
            for (id, slot) in self
                .graph
                .uses(value)
                .iter()
                .filter_map(|u| Some((u.node, u.slot?)))
            {
                self.patch.edit_node(self.graph, id).input[slot].clone_from(dequantized);
            }
        }
    }

    /// Removes float constants that nobody reads any more.
    fn remove_replaced_constants(&mut self) {
        let graph = self.graph;
        let mut candidates: Vec<&str> = int8_nodes(graph, self.pass.plan)
            .flat_map(|(_, node)| node.input.iter().skip(1).map(String::as_str))
            .collect();
        candidates.sort_unstable();
        candidates.dedup();
        for name in candidates.into_iter().filter(|name| !graph.is_output(name)) {
            let still_read = graph.uses(name).iter().any(|u| match u.slot {
                Some(slot) => self.patch.edit_node(graph, u.node).input[slot] == *name,
                None => true,
            });
            if still_read {
                continue;
            }
            if graph.initializer(name).is_some() {
                self.patch.remove_initializer(name);
            } else if let Some((producer, _)) = graph.producer(name) {
                self.patch.remove_node(producer);
            }
        }
    }
}

/// Raises the scales of filters in which two neighbouring products would not fit 16 bits. Depthwise kernels widen every product.
fn raise_for_pairs(
    node: &NodeProto,
    operands: &Operands,
    scales: &mut [Scale],
) -> Result<(), String> {
    let filters = Filters::of(node, operands.weight.dims())?;
    if filters.is_depthwise() {
        return Ok(());
    }
    for filter in 0..filters.len() {
        let weights = filters.weights_of(filter);
        let weights: Vec<f32> = weights.map(|(at, _)| operands.weight_values[at]).collect();
        // One scale for all filters grows with each of them.
        let index = filter.min(scales.len() - 1);
        scales[index] = raise_scale_for_pairs(&weights, scales[index])
            .ok_or("two of its weights together are beyond the range of scales")?;
    }
    Ok(())
}

fn zero_point_tensor(params: QuantParams) -> Tensor {
    let zero = params.zero_point().get();
    let (data_type, byte) = match params.quant_type() {
        QuantType::U8 => (
            DataType::U8,
            u8::try_from(zero).expect("a u8 zero point is in 0..=255"),
        ),
        QuantType::S8 => (
            DataType::I8,
            i8::try_from(zero)
                .expect("an s8 zero point is in -128..=127")
                .to_le_bytes()[0],
        ),
    };
    Tensor::from_raw(data_type, vec![], vec![byte].into()).expect("one byte")
}
