//! `QuantizeLinear` and `DequantizeLinear`: what an activation loses becomes one node, a weight becomes a constant.

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{DataType, Tensor};
use tilecast_quant::{HalfFormat, QuantParams, QuantType, Scale, ZeroPoint};

use super::{Constant, Lowering, Operation, PrepareError};

impl<'a> Lowering<'a, '_> {
    /// An activation's quantization, which must lead to nothing but its dequantization, perhaps in another order of axes.
    pub(super) fn lower_quantize(
        &mut self,
        node: &'a NodeProto,
        path: &str,
    ) -> Result<(), PrepareError> {
        let (Some(input), Some(output)) = (node.input_name(0), node.output_name(0)) else {
            return Err(PrepareError::new(path, "it has no input or no output"));
        };
        let parameters = self.activation_parameters(node, output, path)?;
        self.check_inside(output, path)?;
        let value = self.value(input, path)?;
        let value = self.push_unary(path, Operation::FakeQuant(parameters), value);
        self.quantized.insert(output, (parameters, value));
        Ok(())
    }

    /// Checks that integers lead to their dequantization, perhaps in another order of axes, and to nothing else.
    fn check_inside(&self, integers: &str, path: &str) -> Result<(), PrepareError> {
        let stays_inside = self.graph.uses(integers).iter().all(|usage| {
            let reader = self.graph.node(usage.node);
            usage.slot == Some(0) && (reader.is("DequantizeLinear") || reader.is("Transpose"))
        });
        if stays_inside && !self.graph.is_output(integers) {
            return Ok(());
        }
        Err(PrepareError::new(
            path,
            format!(
                "its integers `{integers}` are read by something else than DequantizeLinear or Transpose; only Q/DQ pairs are \
                 supported here"
            ),
        ))
    }

    /// Integers of an activation in another order of axes; `None` where the node reads no such integers.
    pub(super) fn lower_transposed_integers(
        &mut self,
        node: &'a NodeProto,
        path: &str,
    ) -> Option<Result<(), PrepareError>> {
        let (input, output) = (node.input_name(0)?, node.output_name(0)?);
        let &(parameters, value) = self.quantized.get(input)?;
        if let Err(error) = self.check_inside(output, path) {
            return Some(Err(error));
        }
        let transposition = Operation::Onnx(Box::new(node.clone()));
        let value = self.push_unary(path, transposition, value);
        self.quantized.insert(output, (parameters, value));
        Some(Ok(()))
    }

    /// The second half of a pair, another name for the fake-quantized value; or a constant.
    pub(super) fn lower_dequantize(
        &mut self,
        node: &'a NodeProto,
        path: &str,
    ) -> Result<(), PrepareError> {
        let (Some(input), Some(output)) = (node.input_name(0), node.output_name(0)) else {
            return Err(PrepareError::new(path, "it has no input or no output"));
        };
        if let Some(&(quantized_with, value)) = self.quantized.get(input) {
            let parameters = self.activation_parameters(node, input, path)?;
            if parameters != quantized_with {
                return Err(PrepareError::new(
                    path,
                    format!(
                        "its scale or zero point is not that of the QuantizeLinear before it ({parameters:?} and {quantized_with:?})"
                    ),
                ));
            }
            return self.define(output, value);
        }
        let Some(tensor) = self.constant(input, path)? else {
            return Err(PrepareError::new(
                path,
                format!(
                    "its input `{input}` is neither a constant nor the output of a QuantizeLinear"
                ),
            ));
        };
        let refuse = |reason| PrepareError::new(path, reason);
        let scale = self.parameter(node, 1, path)?;
        let scale = scale.ok_or_else(|| refuse("it has no scale".to_owned()))?;
        let zero_point = self.parameter(node, 2, path)?;
        check_attributes(node).map_err(refuse)?;
        let data =
            dequantize_constant(node, &tensor, &scale, zero_point.as_ref()).map_err(refuse)?;
        let dims = tensor.dims().to_vec();
        let value = self.new_constant(Constant::Float { dims, data });
        self.values.insert(output, value);
        Ok(())
    }

    /// The parameters of one half of a pair; `integers` is the name of the tensor between the halves.
    fn activation_parameters(
        &self,
        node: &NodeProto,
        integers: &str,
        path: &str,
    ) -> Result<QuantParams, PrepareError> {
        let refuse = |reason: String| PrepareError::new(path, reason);
        check_attributes(node).map_err(refuse)?;
        let scale = self.parameter(node, 1, path)?;
        let scale = scale.ok_or_else(|| refuse("it has no scale".to_owned()))?;
        let scale = match (scale.data_type(), scale.to_f32_vec().as_deref()) {
            (DataType::F32, Some(&[scale])) => scale,
            (DataType::F32, _) => {
                let reason = format!(
                    "its scale has shape {:?}; activations are quantized per tensor here",
                    scale.dims()
                );
                return Err(refuse(reason));
            }
            (other, _) => {
                return Err(refuse(format!(
                    "its scale is {other}; activations have float32 scales here"
                )));
            }
        };
        let zero_point = self.parameter(node, 2, path)?;
        let data_type = match &zero_point {
            Some(zero_point) => Some(zero_point.data_type()),
            None => self.data_type(integers),
        };
        let quant_type = match data_type {
            Some(DataType::U8) => QuantType::U8,
            Some(DataType::I8) => QuantType::S8,
            Some(other) => {
                return Err(refuse(format!(
                    "it quantizes to {other}; activations are uint8 or int8 here"
                )));
            }
            None => return Err(refuse("its integer type is not known".to_owned())),
        };
        let zero_point = match zero_point.map(|z| z.to_i64_vec()) {
            None => 0,
            Some(Some(values)) if values.len() == 1 => values[0] as i32,
            Some(_) => return Err(refuse("its zero point is not one integer".to_owned())),
        };
        let scale = Scale::new(scale).map_err(|e| refuse(e.to_string()))?;
        QuantParams::new(scale, ZeroPoint::new(zero_point), quant_type)
            .map_err(|e| refuse(e.to_string()))
    }

    /// A scale or zero point: constant, or left out.
    fn parameter(
        &self,
        node: &NodeProto,
        slot: usize,
        path: &str,
    ) -> Result<Option<Tensor>, PrepareError> {
        let Some(name) = node.input_name(slot) else {
            return Ok(None);
        };
        let constant = self.constant(name, path)?;
        constant.map(Some).ok_or_else(|| {
            PrepareError::new(
                path,
                format!("its input {slot} `{name}` is computed; only constant scales and zero points are supported here"),
            )
        })
    }
}

fn check_attributes(node: &NodeProto) -> Result<(), String> {
    match node.int("block_size") {
        Ok(None | Some(0)) => Ok(()),
        _ => Err("it quantizes in blocks, which is not supported here".to_owned()),
    }
}

/// `(q - zero_point) * scale` in float32, per tensor or along one axis.
fn dequantize_constant(
    node: &NodeProto,
    tensor: &Tensor,
    scale: &Tensor,
    zero_point: Option<&Tensor>,
) -> Result<Vec<f32>, String> {
    let unsupported = |what: &str, tensor: &Tensor| {
        format!(
            "its {what} is {}, which is not supported here",
            tensor.data_type()
        )
    };
    let integers = tensor
        .to_i64_vec()
        .ok_or_else(|| unsupported("constant", tensor))?;
    let scales = match scale.data_type() {
        DataType::F32 | DataType::F16 => scale.to_f32_vec(),
        _ => None,
    };
    let scales = scales.ok_or_else(|| unsupported("scale", scale))?;
    let zero_points = match zero_point {
        None => vec![0; scales.len()],
        Some(zero_point) => zero_point
            .to_i64_vec()
            .ok_or_else(|| unsupported("zero point", zero_point))?,
    };
    let dims = tensor.dims();
    // The elements after the axis share a scale; per tensor, all do.
    let block = if scales.len() == 1 {
        integers.len()
    } else {
        let axis = node.int("axis").map_err(|e| e.to_string())?.unwrap_or(1);
        let axis = if axis < 0 {
            axis + dims.len() as i64
        } else {
            axis
        } as usize;
        if dims.get(axis) != Some(&scales.len()) {
            return Err(format!(
                "it has {} scales for axis {axis} of a tensor of shape {dims:?}",
                scales.len()
            ));
        }
        dims[axis + 1..].iter().product()
    };
    if zero_points.len() != scales.len() {
        return Err(format!(
            "it has {} zero points for {} scales",
            zero_points.len(),
            scales.len()
        ));
    }
    let mut data = Vec::with_capacity(integers.len());
    for (index, block) in integers.chunks(block.max(1)).enumerate() {
        let channel = index % scales.len();
        let (scale, zero_point) = (scales[channel], zero_points[channel]);
        data.extend(block.iter().map(|q| (q - zero_point) as f32 * scale));
    }
    if scale.data_type() == DataType::F16 {
        HalfFormat::F16.round_in_place(&mut data);
    }
    Ok(data)
}
