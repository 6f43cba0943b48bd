//! Weights and bias of one INT8 node: what they must be, and their integers.

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{DataType, Graph, NodeId, Tensor};
use tilecast_quant::{
    Granularity, QuantizedBias, Scale, quantize_bias, quantize_weights,
    quantize_weights_with_scales, raise_scale_for_pairs, raise_weight_scales_for_bias,
};

use super::PerChannel;
use super::part::channel_axis;
use crate::filters::Filters;
use crate::{BiasForm, Target};

/// Constant operands of an INT8 node, checked.
pub(crate) struct Weights {
    pub(crate) name: String,
    pub(crate) dims: Vec<usize>,
    pub(crate) granularity: Granularity,
    values: Vec<f32>,
    /// Name and values of a bias that becomes integers.
    bias: Option<(String, Vec<f32>)>,
}

/// Their integers.
pub(crate) struct Integers {
    pub(crate) values: Vec<i8>,
    pub(crate) scales: Vec<Scale>,
    pub(crate) bias: Option<(String, QuantizedBias)>,
}

impl Weights {
    /// The weights of `id`, and its bias where that is quantized too; or why they cannot be.
    pub(crate) fn of(
        graph: &Graph<'_>,
        id: NodeId,
        per_channel: PerChannel,
        bias: BiasForm,
    ) -> Result<Self, String> {
        let node = graph.node(id);
        let (name, tensor, values) = constant(graph, id, 1)?.ok_or("it has no weights")?;
        let bias = match bias {
            BiasForm::Int32 => constant(graph, id, 2)?.map(|(name, _, values)| (name, values)),
            BiasForm::Float => None,
        };
        let dims = tensor.dims().to_vec();
        let granularity = match (per_channel, channel_axis(node, dims.len())) {
            (PerChannel::Yes, Some(axis)) => Granularity::PerChannel { axis },
            _ => Granularity::PerTensor,
        };
        Ok(Self {
            name,
            dims,
            granularity,
            values,
            bias,
        })
    }

    /// Quantizes them for an input of this scale. A bias that does not fit 32 bits raises the scale of its weights, and so do two
    /// neighbours whose products would not fit 16 bits, on targets that add them so.
    ///
    /// # Errors
    /// Why that cannot be done.
    pub(crate) fn quantize(
        &self,
        node: &NodeProto,
        input_scale: Scale,
        target: &Target,
    ) -> Result<Integers, String> {
        let fail = |e: &dyn std::fmt::Display| e.to_string();
        let quantized =
            quantize_weights(&self.values, &self.dims, self.granularity).map_err(|e| fail(&e))?;
        let mut scales = quantized.scales.clone();
        if let Some((_, bias)) = &self.bias {
            scales = raise_weight_scales_for_bias(bias, input_scale, &scales, self.granularity)
                .map_err(|e| fail(&e))?
                .scales;
        }
        if target.adds_pairs_in_16_bits {
            self.raise_for_pairs(node, &mut scales)?;
        }
        let values = if scales == quantized.scales {
            quantized.values
        } else {
            quantize_weights_with_scales(&self.values, &self.dims, self.granularity, &scales)
                .map_err(|e| fail(&e))?
                .values
        };
        let quantized_bias = |(name, bias): &(String, Vec<f32>)| {
            quantize_bias(bias, input_scale, &scales).map(|bias| (name.clone(), bias))
        };
        let bias = self.bias.as_ref().map(quantized_bias).transpose();
        Ok(Integers {
            values,
            bias: bias.map_err(|e| fail(&e))?,
            scales,
        })
    }

    /// Raises the scales of filters in which two neighbouring products would not fit 16 bits. Depthwise kernels widen every
    /// product.
    fn raise_for_pairs(&self, node: &NodeProto, scales: &mut [Scale]) -> Result<(), String> {
        // Stacks of matrices have no filters that are known here; they keep their scales.
        let Ok(filters) = Filters::of(node, &self.dims) else {
            return Ok(());
        };
        if filters.is_depthwise() {
            return Ok(());
        }
        for filter in 0..filters.len() {
            let weights = filters.weights_of(filter);
            let weights: Vec<f32> = weights.map(|(at, _)| self.values[at]).collect();
            // One scale for all filters grows with each of them.
            let index = if scales.len() == 1 { 0 } else { filter };
            scales[index] = raise_scale_for_pairs(&weights, scales[index])
                .ok_or("two of its weights together are beyond the range of scales")?;
        }
        Ok(())
    }
}

/// The constant in this slot, with its values; `None` where the slot is empty.
fn constant(
    graph: &Graph<'_>,
    id: NodeId,
    slot: usize,
) -> Result<Option<(String, Tensor, Vec<f32>)>, String> {
    let Some(name) = graph.node(id).input_name(slot) else {
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
}
