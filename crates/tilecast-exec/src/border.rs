//! What every engine asks of a model's inputs and outputs, and of the tensors that are fed to it.

use tilecast_onnx::proto::{DimValue, Dimension, TypeProto, TypeValue, ValueInfoProto};
use tilecast_onnx::{DataType, Graph, TypeMap};

use crate::lower::PrepareError;
use crate::{HostTensor, SessionOptions};

/// A graph input with the shape that a session is prepared for.
#[derive(Debug)]
pub(crate) struct GraphInput<'a> {
    pub(crate) name: &'a str,
    pub(crate) dims: Vec<usize>,
    /// Float32, float16 or bfloat16.
    pub(crate) data_type: DataType,
}

/// Every graph input, in graph order.
pub(crate) fn graph_inputs<'a>(
    graph: &Graph<'a>,
    types: &TypeMap<'_>,
    options: &SessionOptions,
) -> Result<Vec<GraphInput<'a>>, PrepareError> {
    let inputs: Vec<&ValueInfoProto> = graph.inputs().collect();
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
    inputs
        .into_iter()
        .map(|input| {
            let name = input.name.as_deref().unwrap_or_default();
            let given = options
                .input_shapes
                .iter()
                .find(|(of, _)| of == name)
                .map(|(_, dims)| dims.as_slice());
            let dims = concrete_dims(input.r#type.as_ref(), given)
                .map_err(|reason| PrepareError::new(format!("input `{name}`"), reason))?;
            let data_type = border_type(types, name, "input")?;
            Ok(GraphInput {
                name,
                dims,
                data_type,
            })
        })
        .collect()
}

/// The element type of a graph input or output (`side` says which): float32 or a 16-bit float.
pub(crate) fn border_type(
    types: &TypeMap<'_>,
    name: &str,
    side: &str,
) -> Result<DataType, PrepareError> {
    let refuse = |reason: String| Err(PrepareError::new(format!("{side} `{name}`"), reason));
    match types.get(name) {
        Some(&data_type @ (DataType::F32 | DataType::F16 | DataType::BF16)) => Ok(data_type),
        Some(other) => refuse(format!(
            "it is {other}; only float32, float16 and bfloat16 tensors are supported at the border"
        )),
        None => refuse("its element type is not known; declare it in the model".into()),
    }
}

/// The tensors given are those that a session was prepared for: name and shape of each input, in graph order.
pub(crate) fn check_inputs(
    given: &[HostTensor],
    prepared: &[(String, Vec<usize>)],
) -> Result<(), String> {
    if given.len() != prepared.len() {
        let names: Vec<&str> = prepared.iter().map(|(name, _)| name.as_str()).collect();
        return Err(format!(
            "{} tensors given, the model has inputs {names:?}",
            given.len()
        ));
    }
    for (input, (name, dims)) in given.iter().zip(prepared) {
        if input.dims() != dims {
            return Err(format!(
                "input `{name}` has shape {:?}, the session was prepared for {dims:?}",
                input.dims()
            ));
        }
    }
    Ok(())
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
