//! Element types of all values of a graph.

use std::collections::HashMap;

use crate::graph::subgraphs;
use crate::proto::{GraphProto, NodeProto, TypeProto, TypeValue};
use crate::{DataType, Graph};

/// Element type per value name; values of operators outside the tables are absent.
pub type TypeMap<'a> = HashMap<&'a str, DataType>;

/// Element type of a value of the graphs around a body, by name.
pub type OuterTypes<'o> = dyn Fn(&str) -> Option<DataType> + 'o;

/// Infers element types from graph inputs, initializers, recorded `value_info` and the operators' type rules.
///
/// Operators of other domains leave their outputs unknown unless `value_info` records them. Linear in the graph and the
/// bodies nested in it; the values of bodies are not in the result ([`infer_body_types`]).
#[must_use]
pub fn infer_types<'a>(graph: &Graph<'a>) -> TypeMap<'a> {
    infer(graph.proto(), &[], &|_| None)
}

/// As [`infer_types`], for a graph in an attribute of `node`. The types of what the node hands to its body are taken from
/// `outer`, and so are those of what the body captures.
#[must_use]
pub fn infer_body_types<'a>(
    node: &NodeProto,
    body: &'a GraphProto,
    outer: &OuterTypes<'_>,
) -> TypeMap<'a> {
    let of_input = |slot: usize| node.input_name(slot).and_then(outer);
    let handed: Vec<Option<DataType>> = match node.op() {
        "Loop" => [Some(DataType::I64), Some(DataType::Bool)]
            .into_iter()
            .chain((2..node.input.len()).map(of_input))
            .collect(),
        "Scan" => (0..node.input.len()).map(of_input).collect(),
        _ => vec![],
    };
    infer(body, &handed, outer)
}

/// `handed` are the types of the graph inputs, where they do not declare their own.
fn infer<'a>(
    proto: &'a GraphProto,
    handed: &[Option<DataType>],
    outer: &OuterTypes<'_>,
) -> TypeMap<'a> {
    let mut types = TypeMap::new();
    for (input, data_type) in proto.input.iter().zip(handed) {
        if let (Some(name), Some(data_type)) = (input.name.as_deref(), data_type) {
            types.insert(name, *data_type);
        }
    }
    for value in proto
        .value_info
        .iter()
        .chain(&proto.input)
        .chain(&proto.output)
    {
        if let (Some(name), Some(data_type)) = (
            value.name.as_deref(),
            value.r#type.as_ref().and_then(element_type),
        ) {
            types.insert(name, data_type);
        }
    }
    let sparse = proto
        .sparse_initializer
        .iter()
        .filter_map(|s| s.values.as_ref());
    for tensor in proto.initializer.iter().chain(sparse) {
        if let (Some(name), Some(data_type)) = (
            tensor.name.as_deref(),
            tensor.data_type.and_then(DataType::from_code),
        ) {
            types.insert(name, data_type);
        }
    }
    for node in &proto.node {
        let from_body = body_output_types(node, &|name| {
            types.get(name).copied().or_else(|| outer(name))
        });
        for slot in 0..node.output.len() {
            let Some(name) = node.output_name(slot) else {
                continue;
            };
            let known = |name: &str| types.get(name).copied().or_else(|| outer(name));
            let data_type = from_body.get(slot).copied().flatten();
            if let Some(data_type) = data_type.or_else(|| output_type(node, slot, &known)) {
                types.insert(name, data_type);
            }
        }
    }
    types
}

/// Types of the outputs of a node that runs a body: those of the body's outputs.
fn body_output_types(node: &NodeProto, outer: &OuterTypes<'_>) -> Vec<Option<DataType>> {
    // The first output of a loop's body is the condition to go on.
    let skipped = match node.op() {
        "If" | "Scan" => 0,
        "Loop" => 1,
        _ => return vec![],
    };
    let Some(body) = subgraphs(node)
        .next()
        .filter(|_| node.domain_name().is_empty())
    else {
        return vec![];
    };
    let types = infer_body_types(node, body, outer);
    let outputs = body.output.iter().skip(skipped);
    let name = outputs.map(|output| output.name.as_deref().unwrap_or_default());
    name.map(|name| types.get(name).copied().or_else(|| outer(name)))
        .collect()
}

/// Element type of a dense tensor type.
fn element_type(r#type: &TypeProto) -> Option<DataType> {
    match r#type.value.as_ref()? {
        TypeValue::Tensor(tensor) => DataType::from_code(tensor.elem_type?),
        _ => None,
    }
}

fn output_type(node: &NodeProto, slot: usize, types: &OuterTypes<'_>) -> Option<DataType> {
    if !node.domain_name().is_empty() {
        return None;
    }
    let of_input = |slot: usize| node.input_name(slot).and_then(types);
    let of_code = |attribute: &str| {
        node.int(attribute)
            .ok()
            .flatten()
            .and_then(|c| DataType::from_code(c as i32))
    };
    match node.op() {
        // Subgraphs answer elsewhere; the rest gives sequences and optionals, or takes them.
        "If" | "Loop" | "Scan" | "SequenceAt" | "SequenceConstruct" | "SequenceEmpty"
        | "SequenceErase" | "SequenceInsert" | "SequenceMap" | "SplitToSequence"
        | "ConcatFromSequence" | "Optional" | "OptionalGetElement" => None,
        "Shape" | "Size" | "NonZero" | "ArgMax" | "ArgMin" | "NonMaxSuppression" => {
            Some(DataType::I64)
        }
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" | "Xor"
        | "Not" | "IsNaN" | "IsInf" => Some(DataType::Bool),
        "Cast" => of_code("to"),
        "CastLike" | "Where" | "RMSNormalization" => of_input(1),
        "OneHot" => of_input(2),
        "Constant" => node.constant_value().ok().flatten().map(|t| t.data_type()),
        "ConstantOfShape" => match node.find_attribute("value") {
            Some(value) => value
                .t
                .as_deref()
                .and_then(|t| DataType::from_code(t.data_type?)),
            None => Some(DataType::F32),
        },
        "RandomNormal" | "RandomUniform" => of_code("dtype").or(Some(DataType::F32)),
        "RandomNormalLike" | "RandomUniformLike" | "EyeLike" | "Bernoulli" => {
            of_code("dtype").or(of_input(0))
        }
        "Multinomial" => of_code("dtype").or(Some(DataType::I32)),
        "QuantizeLinear" => of_input(2)
            .or(of_code("output_dtype"))
            .or(Some(DataType::U8)),
        "DequantizeLinear" => of_code("output_dtype").or(of_input(1)),
        "DynamicQuantizeLinear" => Some(if slot == 1 {
            DataType::F32
        } else {
            DataType::U8
        }),
        "QLinearConv" | "QLinearMatMul" => of_input(7),
        "ConvInteger" | "MatMulInteger" => Some(DataType::I32),
        "TopK" | "MaxPool" | "Unique" if slot > 0 => Some(DataType::I64),
        "Dropout" if slot == 1 => Some(DataType::Bool),
        // Mean and inverse deviation come in the stash type, float unless said otherwise.
        "LayerNormalization" if slot > 0 => of_code("stash_type").or(Some(DataType::F32)),
        "BatchNormalization" if slot > 0 => of_input(3),
        _ => of_input(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{GraphFields, GraphProto};
    use crate::{Model, Tensor, attribute, node};

    #[test]
    fn every_value_of_the_sample_has_a_type() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../models/nafnet-denoise.onnx");
        let model = Model::load(&path).unwrap();
        let graph = model.graph();
        let types = infer_types(&graph);
        for (_, node) in graph.nodes() {
            for name in &node.output {
                let expected_int =
                    matches!(node.op(), "Shape" | "Mod" | "Unsqueeze" | "ConstantOfShape");
                let data_type = types[name.as_str()];
                assert!(
                    data_type == DataType::I64 || !expected_int,
                    "{name}: {data_type}"
                );
                assert!(
                    data_type == DataType::F32 || data_type == DataType::I64,
                    "{name}: {data_type}"
                );
            }
        }
        assert_eq!(types["output"], DataType::F32);
    }

    #[test]
    fn type_changing_operators_follow_their_rules() {
        let scale = Tensor::from_f32(vec![], &[0.5]).to_proto("scale");
        let zero = Tensor::from_raw(DataType::I8, vec![], vec![0u8].into())
            .unwrap()
            .to_proto("zero");
        let graph = GraphProto::from(GraphFields {
            initializer: vec![scale, zero],
            node: vec![
                node("QuantizeLinear", "", &["scale", "scale", "zero"], &["q"]),
                node("DequantizeLinear", "", &["q", "scale", "zero"], &["d"]),
                node("Cast", "", &["d"], &["half"]).with_attribute(attribute::int("to", 10)),
                node("Greater", "", &["half", "half"], &["mask"]),
                node("Where", "", &["mask", "half", "half"], &["w"]),
                node("MaxPool", "", &["w"], &["pooled", "indices"]),
            ],
            ..GraphFields::default()
        });
        let graph = Graph::new(&graph);
        let types = infer_types(&graph);
        let names =
            ["q", "d", "half", "mask", "w", "pooled", "indices"].map(|name| types[name].name());
        assert_eq!(
            names,
            [
                "int8", "float32", "float16", "bool", "float16", "float16", "int64"
            ]
        );
    }
}
