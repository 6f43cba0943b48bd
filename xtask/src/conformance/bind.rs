//! From a case's model to one that the engine can be given: what is not fed becomes a constant, what is not float is
//! converted on the way out.

use tilecast_onnx::proto::{
    TensorTypeFields, TypeFields, TypeProto, TypeValue, ValueInfoFields, ValueInfoProto,
};
use tilecast_onnx::{DataType, Model, Tensor, attribute, node};

/// Which of the float inputs of a case are fed at run time; all other inputs become initializers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    /// All of them.
    Every,
    /// The first: the others are weights, scales or parameters in real models.
    First,
    /// None: the whole graph is constant.
    Nothing,
}

impl Binding {
    /// In the order in which they are tried.
    pub(super) const ALL: [Self; 3] = [Self::Every, Self::First, Self::Nothing];

    /// The positions of the inputs that are fed.
    pub(super) fn fed(self, inputs: &[Tensor]) -> Vec<usize> {
        let feedable = |tensor: &Tensor| {
            matches!(
                tensor.data_type(),
                DataType::F32 | DataType::F16 | DataType::BF16
            ) && !tensor.is_empty()
        };
        let n = match self {
            Self::Every => inputs.len(),
            Self::First => 1,
            Self::Nothing => 0,
        };
        (0..inputs.len())
            .filter(|&position| feedable(&inputs[position]))
            .take(n)
            .collect()
    }
}

/// The model with the inputs outside of `fed` as initializers, and with outputs that a float32 can hold as float32.
///
/// # Errors
/// The data set does not have one tensor per input, or the edited model is not valid.
pub(super) fn bind(model: &Model, inputs: &[Tensor], fed: &[usize]) -> Result<Model, String> {
    let names: Vec<String> = model
        .graph()
        .inputs()
        .filter_map(|input| input.name.clone())
        .collect();
    if names.len() != inputs.len() {
        return Err(format!(
            "the data set has {} inputs, the model {}",
            inputs.len(),
            names.len()
        ));
    }
    let mut proto = model.proto().clone();
    let Some(graph) = proto.graph.as_mut() else {
        return Err("the model has no graph".into());
    };
    for (position, (name, tensor)) in names.iter().zip(inputs).enumerate() {
        if !fed.contains(&position) {
            graph
                .input
                .retain(|input| input.name.as_ref() != Some(name));
            graph.initializer.push(tensor.to_proto(name));
        }
    }
    // A model without standard operators has no Cast.
    let has_cast = model.opset_of("").is_some();
    let mut casts = Vec::new();
    for output in graph.output.iter_mut().filter(|_| has_cast) {
        let (Some(name), Some(data_type)) = (output.name.clone(), element_type(output)) else {
            continue;
        };
        if is_converted(data_type) {
            let float = format!("{name} as float32");
            casts.push(
                node("Cast", &float, &[&name], &[&float])
                    .with_attribute(attribute::int("to", i64::from(DataType::F32.code()))),
            );
            *output = float_output(float);
        }
    }
    graph.node.append(&mut casts);
    Model::from_proto(proto).map_err(|violations| {
        let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
        lines.join("; ")
    })
}

/// Types that the engine computes in and does not return. Integers beyond 2^24 are compared as their nearest float32.
fn is_converted(data_type: DataType) -> bool {
    use DataType as T;
    matches!(
        data_type,
        T::F64 | T::I64 | T::I32 | T::U8 | T::I8 | T::Bool
    )
}

fn element_type(value: &ValueInfoProto) -> Option<DataType> {
    match value.r#type.as_ref()?.value.as_ref()? {
        TypeValue::Tensor(tensor) => DataType::from_code(tensor.elem_type?),
        _ => None,
    }
}

/// A float32 output of unknown shape: the shape is compared with the expected one.
fn float_output(name: String) -> ValueInfoProto {
    let tensor = TensorTypeFields {
        elem_type: Some(DataType::F32.code()),
        shape: None,
    };
    let r#type = TypeFields {
        value: Some(TypeValue::Tensor(tensor.into())),
        denotation: None,
    };
    ValueInfoProto::from(ValueInfoFields {
        name: Some(name),
        r#type: Some(TypeProto::from(r#type)),
        ..ValueInfoFields::default()
    })
}
