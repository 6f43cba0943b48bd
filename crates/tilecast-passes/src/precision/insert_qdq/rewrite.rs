//! Carries the pairs out: one per activation, one `DequantizeLinear` per quantized constant.

use std::collections::{BTreeMap, HashMap, HashSet};

use tilecast_onnx::{DataType, Graph, NodeId, Patch, Tensor, attribute, node};
use tilecast_quant::{Granularity, QuantParams, QuantType, Scale};

use super::part::Part;
use super::scales::parameters;
use super::sites::Site;
use super::weights::Weights;
use super::{InsertQdq, META};
use crate::PassError;
use crate::names::FreshNames;

pub(super) struct Rewrite<'a, 'g> {
    pass: &'a InsertQdq<'a>,
    graph: &'a Graph<'g>,
    names: FreshNames,
    patch: Patch,
    /// Parameters of every activation that can have a pair.
    parameters: BTreeMap<String, QuantParams>,
    /// Dequantized name per quantized activation.
    activations: BTreeMap<String, String>,
    /// Activations that an INT8 node produces.
    quantized_outputs: HashSet<String>,
    /// Dequantized name and scales per quantized weight.
    weights: HashMap<String, (String, Vec<Scale>)>,
    /// Float constants that integers replaced, if nobody else reads them.
    replaced: Vec<String>,
}

impl<'a, 'g> Rewrite<'a, 'g> {
    pub(super) fn new(pass: &'a InsertQdq<'a>, graph: &'a Graph<'g>, sites: &[Site]) -> Self {
        Self {
            pass,
            graph,
            names: FreshNames::of(graph),
            patch: Patch::default(),
            parameters: parameters(graph, sites, pass.ranges, pass.target),
            activations: BTreeMap::new(),
            quantized_outputs: HashSet::new(),
            weights: HashMap::new(),
            replaced: Vec::new(),
        }
    }

    /// The patch of all that was quantized.
    pub(super) fn finish(mut self) -> Patch {
        self.rewire_readers();
        self.remove_replaced_constants();
        self.patch
    }

    /// Puts the pairs of one node, or says why it stays in float.
    ///
    /// # Errors
    /// Its weights are constants that cannot be quantized.
    pub(super) fn quantize(&mut self, site: &Site) -> Result<Result<(), String>, PassError> {
        let graph = self.graph;
        let uncalibrated = site
            .values(graph)
            .find(|value| !self.parameters.contains_key(*value));
        if let Some(value) = uncalibrated {
            return Ok(Err(format!("`{value}` was not calibrated")));
        }
        let weights = match self.weights_of(site) {
            Ok(weights) => weights,
            Err(reason) => return Ok(Err(reason)),
        };
        for &(id, slot) in &site.reads {
            let Some(value) = graph.node(id).input_name(slot) else {
                continue;
            };
            let dequantized = self.activation(value);
            self.patch.edit_node(graph, id).input[slot] = dequantized;
        }
        if let Some(weights) = weights {
            self.quantize_weights(site.id, &weights)
                .map_err(|reason| PassError::at(&META, &graph.path(site.id), reason))?;
        }
        for value in &site.writes {
            self.quantized_outputs.insert(value.clone());
            self.activation(value);
        }
        Ok(Ok(()))
    }

    /// The weights of a node that has some, or why it cannot be quantized.
    fn weights_of(&self, site: &Site) -> Result<Option<Weights>, String> {
        let pass = self.pass;
        match site.part {
            Part::Weighted => {
                Weights::of(self.graph, site.id, pass.per_channel, pass.target.bias).map(Some)
            }
            Part::Arithmetic | Part::Movement => Ok(None),
        }
    }

    fn quantize_weights(&mut self, id: NodeId, weights: &Weights) -> Result<(), String> {
        let input = self.graph.node(id).input_name(0);
        let input_scale = input
            .and_then(|name| self.parameters.get(name))
            .ok_or("it has no data input")?
            .scale();
        let integers = weights.quantize(self.graph.node(id), input_scale, self.pass.target)?;
        let dequantized = self.weight(id, weights, &integers.values, integers.scales);
        self.replaced.push(weights.name.clone());
        let bias = integers.bias.map(|(name, bias)| {
            let tensor = Tensor::from_i32(vec![bias.values.len()], &bias.values);
            let dequantized = self.dequantized_constant(id, &name, &tensor, &bias.scales, Some(0));
            self.replaced.push(name);
            dequantized
        });
        let node = self.patch.edit_node(self.graph, id);
        node.input[1] = dequantized;
        if let Some(bias) = bias {
            node.input[2] = bias;
        }
        Ok(())
    }

    /// The Q/DQ pair of an activation, made at its first use; returns the dequantized value's name.
    fn activation(&mut self, value: &str) -> String {
        if let Some(done) = self.activations.get(value) {
            return done.clone();
        }
        let params = self.parameters[value];
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

    fn weight(&mut self, id: NodeId, of: &Weights, values: &[i8], scales: Vec<Scale>) -> String {
        if let Some((done, with)) = self.weights.get(&of.name)
            && *with == scales
        {
            return done.clone();
        }
        let bytes: Vec<u8> = values.iter().map(|v| v.to_le_bytes()[0]).collect();
        let tensor = Tensor::from_raw(DataType::I8, of.dims.clone(), bytes.into())
            .expect("one byte per weight");
        let axis = match of.granularity {
            Granularity::PerChannel { axis } => Some(axis),
            Granularity::PerTensor => None,
        };
        let name = self.dequantized_constant(id, &of.name, &tensor, &scales, axis);
        self.weights.insert(of.name.clone(), (name.clone(), scales));
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
        let mut candidates = std::mem::take(&mut self.replaced);
        candidates.sort_unstable();
        candidates.dedup();
        for name in candidates.iter().filter(|name| !graph.is_output(name)) {
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
