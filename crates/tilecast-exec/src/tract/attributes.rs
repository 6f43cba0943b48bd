//! From our messages to the ones of tract's own decoder, which its operator builders read.

use tilecast_onnx::Tensor;
use tilecast_onnx::proto::AttributeProto;
use tract_onnx::pb;
use tract_onnx::pb::attribute_proto::AttributeType;

/// The same attribute in tract's vocabulary. Tensors are handed over as raw data, since tract reads some of the typed
/// fields from the wrong place.
pub(super) fn translate(attribute: &AttributeProto) -> Result<pb::AttributeProto, String> {
    let name = attribute.name.clone().unwrap_or_default();
    let tensor = match attribute.t.as_deref() {
        None => None,
        Some(tensor) => {
            let tensor = Tensor::from_proto(tensor)
                .map_err(|error| format!("attribute `{name}`: {error}"))?;
            Some(translate_tensor(&tensor))
        }
    };
    let r#type = attribute_type(attribute)
        .ok_or_else(|| format!("attribute `{name}` is of a kind that is not supported here"))?;
    Ok(pb::AttributeProto {
        name,
        r#type: r#type as i32,
        f: attribute.f.unwrap_or_default(),
        i: attribute.i.unwrap_or_default(),
        s: attribute.s.as_deref().unwrap_or_default().to_vec(),
        t: tensor,
        floats: attribute.floats.clone(),
        ints: attribute.ints.clone(),
        strings: attribute.strings.iter().map(|s| s.to_vec()).collect(),
        ..pb::AttributeProto::default()
    })
}

/// The declared kind; files older than IR version 2 declare none, and their one filled field tells.
fn attribute_type(attribute: &AttributeProto) -> Option<AttributeType> {
    use AttributeType as T;
    let declared = attribute.r#type.and_then(|code| T::try_from(code).ok());
    match declared {
        Some(
            known @ (T::Float | T::Int | T::String | T::Tensor | T::Floats | T::Ints | T::Strings),
        ) => Some(known),
        Some(T::Undefined) | None => [
            (attribute.f.is_some(), T::Float),
            (attribute.i.is_some(), T::Int),
            (attribute.s.is_some(), T::String),
            (attribute.t.is_some(), T::Tensor),
            (!attribute.floats.is_empty(), T::Floats),
            (!attribute.ints.is_empty(), T::Ints),
            (!attribute.strings.is_empty(), T::Strings),
        ]
        .into_iter()
        .find_map(|(filled, kind)| filled.then_some(kind)),
        Some(_) => None,
    }
}

fn translate_tensor(tensor: &Tensor) -> pb::TensorProto {
    pb::TensorProto {
        dims: tensor.dims().iter().map(|&d| d as i64).collect(),
        data_type: tensor.data_type().code(),
        raw_data: tensor.bytes().to_vec(),
        ..pb::TensorProto::default()
    }
}
