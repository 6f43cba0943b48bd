//! The border of the graph: concrete input shapes, and float32 on the outside whatever the model declares.

use tilecast_onnx::DataType;
use tilecast_onnx::proto::{DimValue, Dimension, TypeProto, TypeValue, ValueInfoProto};

use super::{
    LoweredInput, Lowering, Operation, PrepareError, ValueId, half_format, is_single_or_half,
};
use crate::SessionOptions;

impl Lowering<'_, '_> {
    /// Adds every graph input; a float16 input is rounded on entry.
    pub(super) fn lower_inputs(&mut self, options: &SessionOptions) -> Result<(), PrepareError> {
        let inputs: Vec<&ValueInfoProto> = self.graph.inputs().collect();
        for (name, _) in &options.input_shapes {
            if !inputs
                .iter()
                .any(|input| input.name.as_deref() == Some(name))
            {
                let names: Vec<&str> = inputs.iter().filter_map(|i| i.name.as_deref()).collect();
                return Err(PrepareError::new(
                    format!("input `{name}`"),
                    format!("the graph has no such input; it has {names:?}"),
                ));
            }
        }
        for input in inputs {
            let name = input.name.as_deref().unwrap_or_default();
            let given = options
                .input_shapes
                .iter()
                .find(|(of, _)| of == name)
                .map(|(_, dims)| dims.as_slice());
            let dims = concrete_dims(input.r#type.as_ref(), given)
                .map_err(|reason| PrepareError::new(format!("input `{name}`"), reason))?;
            let data_type = self.border_type(name, "input")?;
            let value = self.new_value();
            self.inputs.push(LoweredInput {
                name: name.to_owned(),
                dims,
                value,
            });
            let value = match half_format(data_type) {
                Some(format) => {
                    self.push_unary(format!("input `{name}`"), Operation::Round(format), value)
                }
                None => value,
            };
            self.define(name, value)?;
        }
        Ok(())
    }

    /// The values of the graph outputs, all computed.
    pub(super) fn lower_outputs(&mut self) -> Result<Vec<ValueId>, PrepareError> {
        let outputs = &self.graph.proto().output;
        outputs
            .iter()
            .map(|output| {
                let name = output.name.as_deref().unwrap_or_default();
                self.border_type(name, "output")?;
                self.value(name, &format!("output `{name}`"))
            })
            .collect()
    }

    /// The element type of a graph input or output: float32 or a 16-bit float.
    fn border_type(&self, name: &str, side: &str) -> Result<DataType, PrepareError> {
        let refuse = |reason: String| Err(PrepareError::new(format!("{side} `{name}`"), reason));
        match self.data_type(name) {
            Some(data_type) if is_single_or_half(data_type) => Ok(data_type),
            Some(other) => refuse(format!(
                "it is {other}; only float32, float16 and bfloat16 tensors are supported at the border"
            )),
            None => refuse("its element type is not known; declare it in the model".into()),
        }
    }
}

/// The shape to run with: the given one where there is one, checked against what the model declares.
fn concrete_dims(
    declared: Option<&TypeProto>,
    given: Option<&[usize]>,
) -> Result<Vec<usize>, String> {
    let declared: Option<&[Dimension]> = match declared.and_then(|t| t.value.as_ref()) {
        Some(TypeValue::Tensor(tensor)) => tensor.shape.as_ref().map(|s| s.dim.as_slice()),
        _ => None,
    };
    let dims = match (given, declared) {
        (Some(given), Some(declared)) if given.len() != declared.len() => {
            return Err(format!(
                "the shape {given:?} has {} dimensions, the model declares {}",
                given.len(),
                declared.len()
            ));
        }
        (Some(given), Some(declared)) => {
            for (axis, (&given, declared)) in given.iter().zip(declared).enumerate() {
                if let Some(DimValue::DimValue(declared)) = declared.value
                    && usize::try_from(declared) != Ok(given)
                {
                    return Err(format!(
                        "dimension {axis} is {given}, the model declares {declared}"
                    ));
                }
            }
            given.to_vec()
        }
        (Some(given), None) => given.to_vec(),
        (None, Some(declared)) => declared
            .iter()
            .enumerate()
            .map(|(axis, dimension)| match &dimension.value {
                Some(DimValue::DimValue(size)) => {
                    usize::try_from(*size).map_err(|_| format!("dimension {axis} is {size}"))
                }
                Some(DimValue::DimParam(symbol)) => Err(format!(
                    "dimension {axis} is symbolic (`{symbol}`); give a concrete shape for this input"
                )),
                None => Err(format!(
                    "dimension {axis} is unknown; give a concrete shape for this input"
                )),
            })
            .collect::<Result<_, _>>()?,
        (None, None) => {
            return Err("the model declares no shape; give a concrete shape for this input".into());
        }
    };
    if dims.contains(&0) {
        return Err(format!("the shape {dims:?} has no element"));
    }
    Ok(dims)
}
