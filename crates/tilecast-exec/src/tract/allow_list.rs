//! Which operators, attributes and attribute values tract computes as ONNX defines them.
//!
//! tract silently ignores an attribute that it does not read. So an operator is listed with the attributes that tract
//! reads, or that cannot change a result, and everything else is refused by name.

use std::borrow::Cow;

use tilecast_onnx::proto::{AttributeProto, NodeProto};
use tilecast_onnx::{Graph, Model};

use crate::lower::PrepareError;

/// The newest opset whose definitions the table was compared with.
const NEWEST_OPSET: i64 = 28;
/// The oldest: before it, arithmetic broadcasts by attributes.
const OLDEST_OPSET: i64 = 7;

/// What may stand in an attribute.
#[derive(Clone, Copy, Debug)]
enum Allowed {
    Anything,
    Word(&'static [&'static str]),
    Integer(i64),
}

use Allowed::{Anything as Any, Integer, Word};

/// One operator: name, oldest opset, attributes.
type Rule = (&'static str, i64, &'static [(&'static str, Allowed)]);

const CONVOLUTION: &[(&str, Allowed)] = &[
    ("auto_pad", Any),
    ("dilations", Any),
    ("group", Any),
    ("kernel_shape", Any),
    ("pads", Any),
    ("strides", Any),
];
const REDUCTION: &[(&str, Allowed)] = &[
    ("axes", Any),
    ("keepdims", Any),
    ("noop_with_empty_axes", Any),
];
const AXIS: &[(&str, Allowed)] = &[("axis", Any)];
const AXES: &[(&str, Allowed)] = &[("axes", Any)];
const ALPHA: &[(&str, Allowed)] = &[("alpha", Any)];
const NONE: &[(&str, Allowed)] = &[];

/// Sorted by name.
const RULES: &[Rule] = &[
    ("Abs", 7, NONE),
    ("Add", 7, NONE),
    ("And", 7, NONE),
    (
        "AveragePool",
        7,
        &[
            ("auto_pad", Any),
            ("ceil_mode", Any),
            ("count_include_pad", Any),
            ("dilations", Any),
            ("kernel_shape", Any),
            ("pads", Any),
            ("strides", Any),
        ],
    ),
    (
        "BatchNormalization",
        7,
        &[
            ("epsilon", Any),
            ("momentum", Any),
            ("spatial", Integer(1)),
            ("training_mode", Integer(0)),
        ],
    ),
    // The second and third matter for conversions to eight bits and fewer, which are refused elsewhere.
    (
        "Cast",
        7,
        &[("to", Any), ("saturate", Any), ("round_mode", Any)],
    ),
    ("Ceil", 7, NONE),
    ("Clip", 7, &[("max", Any), ("min", Any)]),
    ("Concat", 7, AXIS),
    (
        "Constant",
        7,
        &[
            ("value", Any),
            ("value_float", Any),
            ("value_floats", Any),
            ("value_int", Any),
            ("value_ints", Any),
        ],
    ),
    ("ConstantOfShape", 9, &[("value", Any)]),
    ("Conv", 7, CONVOLUTION),
    (
        "ConvTranspose",
        7,
        &[
            ("auto_pad", Any),
            ("dilations", Any),
            ("group", Any),
            ("kernel_shape", Any),
            ("output_padding", Any),
            ("output_shape", Any),
            ("pads", Any),
            ("strides", Any),
        ],
    ),
    ("Cos", 7, NONE),
    (
        "DepthToSpace",
        7,
        &[("blocksize", Any), ("mode", Word(&["DCR", "CRD"]))],
    ),
    // These two become one lowered node or a constant; the attributes are checked where that happens.
    (
        "DequantizeLinear",
        10,
        &[
            ("axis", Any),
            ("block_size", Integer(0)),
            ("output_dtype", Integer(0)),
        ],
    ),
    ("Div", 7, NONE),
    ("Dropout", 7, &[("ratio", Any), ("seed", Any)]),
    ("Einsum", 12, &[("equation", Any)]),
    ("Elu", 7, ALPHA),
    ("Equal", 7, NONE),
    ("Erf", 9, NONE),
    ("Exp", 7, NONE),
    ("Expand", 8, NONE),
    ("Flatten", 7, AXIS),
    ("Floor", 7, NONE),
    ("Gather", 7, AXIS),
    ("Gelu", 20, &[("approximate", Word(&["none", "tanh"]))]),
    (
        "Gemm",
        7,
        &[
            ("alpha", Any),
            ("beta", Any),
            ("transA", Any),
            ("transB", Any),
        ],
    ),
    ("GlobalAveragePool", 7, NONE),
    ("GlobalMaxPool", 7, NONE),
    ("Greater", 7, NONE),
    ("GreaterOrEqual", 12, NONE),
    (
        "GroupNormalization",
        18,
        &[
            ("epsilon", Any),
            ("num_groups", Any),
            ("stash_type", Integer(1)),
        ],
    ),
    ("HardSigmoid", 7, &[("alpha", Any), ("beta", Any)]),
    ("HardSwish", 14, NONE),
    ("Identity", 7, NONE),
    ("InstanceNormalization", 7, &[("epsilon", Any)]),
    (
        "LayerNormalization",
        17,
        &[("axis", Any), ("epsilon", Any), ("stash_type", Integer(1))],
    ),
    ("LeakyRelu", 7, ALPHA),
    ("Less", 7, NONE),
    ("LessOrEqual", 12, NONE),
    ("Log", 7, NONE),
    ("MatMul", 7, NONE),
    ("Max", 8, NONE),
    (
        "MaxPool",
        7,
        &[
            ("auto_pad", Any),
            ("ceil_mode", Any),
            ("dilations", Any),
            ("kernel_shape", Any),
            ("pads", Any),
            ("storage_order", Any),
            ("strides", Any),
        ],
    ),
    ("Min", 8, NONE),
    ("Mod", 10, &[("fmod", Any)]),
    ("Mul", 7, NONE),
    ("Neg", 7, NONE),
    ("Not", 7, NONE),
    ("Or", 7, NONE),
    ("PRelu", 7, NONE),
    (
        "Pad",
        7,
        &[
            ("mode", Word(&["constant", "reflect", "edge"])),
            ("pads", Any),
            ("value", Any),
        ],
    ),
    ("Pow", 7, NONE),
    (
        "QuantizeLinear",
        10,
        &[
            ("axis", Any),
            ("block_size", Integer(0)),
            ("output_dtype", Any),
            ("precision", Integer(0)),
            ("saturate", Any),
        ],
    ),
    ("Range", 11, NONE),
    ("Reciprocal", 7, NONE),
    ("ReduceL1", 7, REDUCTION),
    ("ReduceL2", 7, REDUCTION),
    ("ReduceMax", 7, REDUCTION),
    ("ReduceMean", 7, REDUCTION),
    ("ReduceMin", 7, REDUCTION),
    ("ReduceProd", 7, REDUCTION),
    ("ReduceSum", 7, REDUCTION),
    ("ReduceSumSquare", 7, REDUCTION),
    ("Relu", 7, NONE),
    ("Reshape", 7, &[("allowzero", Any)]),
    (
        "Resize",
        10,
        &[
            ("antialias", Any),
            ("axes", Any),
            ("coordinate_transformation_mode", Any),
            ("cubic_coeff_a", Any),
            ("exclude_outside", Any),
            ("extrapolation_value", Any),
            ("keep_aspect_ratio_policy", Any),
            ("mode", Any),
            ("nearest_mode", Any),
        ],
    ),
    ("Round", 11, NONE),
    ("Shape", 7, &[("end", Any), ("start", Any)]),
    ("Sigmoid", 7, NONE),
    ("Sin", 7, NONE),
    ("Slice", 7, &[("axes", Any), ("ends", Any), ("starts", Any)]),
    ("Softmax", 7, AXIS),
    ("Softplus", 7, NONE),
    (
        "SpaceToDepth",
        7,
        &[("blocksize", Any), ("mode", Word(&["DCR"]))],
    ),
    // The number of outputs says the same.
    (
        "Split",
        7,
        &[("axis", Any), ("num_outputs", Any), ("split", Any)],
    ),
    ("Sqrt", 7, NONE),
    ("Squeeze", 7, AXES),
    ("Sub", 7, NONE),
    ("Sum", 8, NONE),
    ("Tanh", 7, NONE),
    ("Tile", 7, NONE),
    ("Transpose", 7, &[("perm", Any)]),
    ("Unsqueeze", 7, AXES),
    ("Where", 9, NONE),
];

/// Checks every node of a model against the table.
pub(super) fn check(model: &Model) -> Result<(), PrepareError> {
    let opset = model.opset();
    if !(OLDEST_OPSET..=NEWEST_OPSET).contains(&opset) {
        return Err(PrepareError::new(
            "model",
            format!(
                "it uses opset {opset}; {OLDEST_OPSET} to {NEWEST_OPSET} are supported here, convert it to one of them"
            ),
        ));
    }
    let graph = model.graph();
    for (id, node) in graph.nodes() {
        check_node(model, &graph, node)
            .map_err(|reason| PrepareError::new(graph.path(id), reason))?;
    }
    Ok(())
}

fn check_node(model: &Model, graph: &Graph<'_>, node: &NodeProto) -> Result<(), String> {
    let (domain, op) = (node.domain_name(), node.op());
    let is_function = |f: &&tilecast_onnx::proto::FunctionProto| {
        f.domain.as_deref().unwrap_or_default() == domain && f.name.as_deref() == Some(op)
    };
    if model.proto().functions.iter().any(|f| is_function(&f)) {
        return Err("it calls a function of the model, which is not supported here; inline the functions first".into());
    }
    if !domain.is_empty() {
        return Err(format!(
            "domain `{domain}` is not supported here; export the model with standard operators"
        ));
    }
    if node
        .attribute
        .iter()
        .any(|a| a.g.is_some() || !a.graphs.is_empty())
    {
        return Err(
            "it holds a subgraph, and control flow is not supported here; fold or unroll it first"
                .into(),
        );
    }
    let rule = RULES.binary_search_by_key(&op, |rule| rule.0);
    let (_, since, attributes) = RULES[rule.map_err(|_| {
        format!("operator {op} is not supported here; replace it with supported ones or use another engine")
    })?];
    if model.opset() < since {
        return Err(format!(
            "operator {op} needs opset {since}, the model has {}",
            model.opset()
        ));
    }
    for attribute in &node.attribute {
        check_attribute(op, attributes, attribute)?;
    }
    check_operands(graph, node)
}

fn check_attribute(
    op: &str,
    allowed: &[(&str, Allowed)],
    attribute: &AttributeProto,
) -> Result<(), String> {
    let name = attribute.name.as_deref().unwrap_or_default();
    if attribute
        .ref_attr_name
        .as_deref()
        .is_some_and(|r| !r.is_empty())
    {
        return Err(format!(
            "attribute `{name}` refers to an attribute of a function; inline the functions first"
        ));
    }
    let Some((_, allowed)) = allowed.iter().find(|(known, _)| *known == name) else {
        return Err(format!(
            "attribute `{name}` of {op} is not supported here and would be ignored; remove it if it does nothing, or use another engine"
        ));
    };
    let found = match allowed {
        Allowed::Anything => return Ok(()),
        Integer(only) if attribute.i == Some(*only) => return Ok(()),
        Integer(_) => attribute.i.map(|i| i.to_string()),
        Word(words) => {
            let word = attribute.s.as_deref().map(String::from_utf8_lossy);
            if word
                .as_ref()
                .is_some_and(|word| words.contains(&word.as_ref()))
            {
                return Ok(());
            }
            word.map(Cow::into_owned)
        }
    };
    let supported = match allowed {
        Allowed::Anything => String::new(),
        Integer(only) => only.to_string(),
        Word(words) => words.join(", "),
    };
    Err(format!(
        "attribute `{name}` of {op} is {}; supported here: {supported}",
        found.as_deref().unwrap_or("of another type")
    ))
}

/// What an operator's inputs and outputs may not be.
fn check_operands(graph: &Graph<'_>, node: &NodeProto) -> Result<(), String> {
    match node.op() {
        "BatchNormalization"
            if (1..node.output.len()).any(|slot| node.output_name(slot).is_some()) =>
        {
            Err("it has training outputs; export the model for inference".into())
        }
        "Dropout" => {
            let Some(training) = node.input_name(2) else {
                return Ok(());
            };
            let training = graph.constant(training).map_err(|e| e.to_string())?;
            match training.and_then(|t| t.to_i64_vec()).as_deref() {
                Some([0]) => Ok(()),
                _ => Err(
                    "its training mode is not constantly off; export the model for inference"
                        .into(),
                ),
            }
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_searched_and_tract_has_every_operator() {
        assert!(RULES.is_sorted_by_key(|rule| rule.0));
        let onnx = tract_onnx::onnx();
        for (op, ..) in RULES {
            assert!(onnx.op_register.0.contains_key(*op), "{op}");
        }
    }
}
