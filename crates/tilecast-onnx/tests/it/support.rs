//! Small models and the way to read them back as text.

use tilecast_onnx::Tensor;
use tilecast_onnx::proto::{
    AttributeProto, DimValue, Dimension, DimensionFields, GraphFields, GraphProto, ModelFields,
    ModelProto, NodeProto, OperatorSetIdFields, OperatorSetIdProto, TensorProto, TensorShapeFields,
    TensorShapeProto, TensorType, TensorTypeFields, TypeFields, TypeProto, TypeValue,
    ValueInfoFields, ValueInfoProto,
};

/// A float32 value with this shape.
pub(crate) fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = dims
        .iter()
        .map(|&d| {
            Dimension::from(DimensionFields {
                value: Some(DimValue::DimValue(d)),
                denotation: None,
            })
        })
        .collect();
    let tensor = TensorType::from(TensorTypeFields {
        elem_type: Some(1),
        shape: Some(TensorShapeProto::from(TensorShapeFields { dim })),
    });
    ValueInfoProto::from(ValueInfoFields {
        name: Some(name.into()),
        r#type: Some(TypeProto::from(TypeFields {
            value: Some(TypeValue::Tensor(tensor)),
            denotation: None,
        })),
        ..ValueInfoFields::default()
    })
}

/// A value without a type.
pub(crate) fn untyped(name: &str) -> ValueInfoProto {
    ValueInfoProto::from(ValueInfoFields {
        name: Some(name.into()),
        ..ValueInfoFields::default()
    })
}

/// An opset import.
pub(crate) fn import(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto::from(OperatorSetIdFields {
        domain: Some(domain.into()).filter(|d: &String| !d.is_empty()),
        version: Some(version),
    })
}

/// A graph from its inputs, nodes, initializers and output names.
pub(crate) fn graph(
    input: Vec<ValueInfoProto>,
    node: Vec<NodeProto>,
    initializer: Vec<TensorProto>,
    outputs: &[&str],
) -> GraphProto {
    GraphProto::from(GraphFields {
        name: Some("g".into()),
        input,
        node,
        initializer,
        output: outputs.iter().map(|name| untyped(name)).collect(),
        ..GraphFields::default()
    })
}

/// A model around a graph.
pub(crate) fn model(opset: i64, graph: GraphProto) -> ModelProto {
    ModelProto::from(ModelFields {
        ir_version: Some(8),
        opset_import: vec![import("", opset)],
        graph: Some(graph),
        ..ModelFields::default()
    })
}

/// The nodes of a graph, one per line: `y = Op(x, [1, 2]) axis=1`, small constants by their values.
pub(crate) fn listing(graph: &GraphProto) -> Vec<String> {
    let constant = |name: &str| {
        let found = |t: &&TensorProto| t.name.as_deref() == Some(name);
        let tensor = Tensor::from_proto(graph.initializer.iter().find(found)?).ok()?;
        let scalar = tensor.dims().is_empty();
        let text = match (tensor.to_i64_vec(), tensor.to_f32_vec()) {
            (Some(v), _) => format!("{v:?}"),
            (_, Some(v)) => format!("{v:?}"),
            _ => return None,
        };
        Some(if scalar {
            text.trim_matches(['[', ']']).to_owned()
        } else {
            text
        })
    };
    let input = |name: &String| constant(name).unwrap_or_else(|| name.clone());
    let line = |node: &NodeProto| {
        let inputs: Vec<String> = node.input.iter().map(input).collect();
        let attribute = |a: &AttributeProto| {
            let value = match (a.i, a.f, a.s.as_ref()) {
                (Some(i), _, _) => i.to_string(),
                (_, Some(f), _) => f.to_string(),
                (_, _, Some(s)) => String::from_utf8_lossy(s).into_owned(),
                _ if !a.floats.is_empty() => format!("{:?}", a.floats),
                _ if a.g.is_some() => format!("{:?}", listing(a.g.as_ref().unwrap())),
                _ => format!("{:?}", a.ints),
            };
            format!(" {}={value}", a.name.as_deref().unwrap_or_default())
        };
        let (outputs, inputs) = (node.output.join(", "), inputs.join(", "));
        let attributes: String = node.attribute.iter().map(attribute).collect();
        format!("{outputs} = {}({inputs}){attributes}", node.op())
    };
    graph.node.iter().map(line).collect()
}
