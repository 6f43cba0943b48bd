//! Ordinary operators: which results are rounded to float16, and which nodes are only another name for their input.

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{DataType, NodeId, Tensor, attribute};

use super::{Constant, LoweredNode, Lowering, Operation, PrepareError, ValueId, is_computable};

/// Operators whose results are among their inputs' values, or are exact in float16 if the inputs are: rounding again
/// would change nothing. An operator with a constant of its own (`Pad`, `Clip`) is not one of them, for an attribute
/// holds that constant in float32.
const ROUNDED_ALREADY: &[&str] = &[
    "Abs",
    "Ceil",
    "Concat",
    "DepthToSpace",
    "Dropout",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "GlobalMaxPool",
    "Identity",
    "Max",
    "MaxPool",
    "Min",
    "Neg",
    "ReduceMax",
    "ReduceMin",
    "Relu",
    "Reshape",
    "Round",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Where",
];

impl<'a> Lowering<'a, '_> {
    /// Lowers one node: its outputs have values afterwards, or it is a constant that waits for its first use.
    pub(super) fn lower_node(
        &mut self,
        id: NodeId,
        node: &'a NodeProto,
    ) -> Result<(), PrepareError> {
        let path = self.graph.path(id);
        match node.op() {
            "Constant" => Ok(()),
            "Cast" => self.lower_cast(node, &path),
            "QuantizeLinear" => self.lower_quantize(node, &path),
            "DequantizeLinear" => self.lower_dequantize(node, &path),
            "ConstantOfShape" => self.lower_operator(node, with_float_fill(node), &path),
            _ => self.lower_operator(node, node.clone(), &path),
        }
    }

    /// An operator that is computed in float32 where it says float16. `computed` is `node` or the same operator with its
    /// attributes in float32.
    fn lower_operator(
        &mut self,
        node: &'a NodeProto,
        computed: NodeProto,
        path: &str,
    ) -> Result<(), PrepareError> {
        let inputs = self.input_values(node, path)?;
        let rounds = !is_rounded_already(node);
        let mut outputs: Vec<Option<ValueId>> = Vec::with_capacity(node.output.len());
        let mut named: Vec<(&'a str, ValueId, DataType)> = Vec::new();
        for slot in 0..node.output.len() {
            let Some(name) = node.output_name(slot) else {
                outputs.push(None);
                continue;
            };
            let data_type = self.computed_type(name, path)?;
            let value = self.new_value();
            outputs.push(Some(value));
            named.push((name, value, data_type));
        }
        drop_absent_tail(&mut outputs);
        self.nodes.push(LoweredNode {
            path: path.to_owned(),
            operation: Operation::Onnx(Box::new(computed)),
            inputs,
            outputs,
        });
        for (name, mut value, data_type) in named {
            if rounds && data_type == DataType::F16 {
                value = self.push_unary(path, Operation::RoundF16, value);
            }
            self.define(name, value)?;
        }
        Ok(())
    }

    /// A conversion between float types is rounding or nothing; other conversions are computed.
    fn lower_cast(&mut self, node: &'a NodeProto, path: &str) -> Result<(), PrepareError> {
        use DataType as T;
        let (Some(from), Some(output)) = (node.input_name(0), node.output_name(0)) else {
            return Err(PrepareError::new(path, "it has no input or no output"));
        };
        match (self.data_type(from), self.data_type(output)) {
            (Some(T::F32 | T::F16 | T::BF16), Some(T::F32)) | (Some(T::F16), Some(T::F16)) => {
                let value = self.value(from, path)?;
                if self.constants.contains_key(&value) {
                    self.values.insert(output, value);
                    return Ok(());
                }
                self.define(output, value)
            }
            (Some(T::F32 | T::BF16), Some(T::F16)) => {
                let value = self.value(from, path)?;
                if let Some(Constant::Float { dims, data }) = self.constants.get(&value) {
                    let (dims, mut data) = (dims.clone(), data.clone());
                    tilecast_quant::round_to_f16_in_place(&mut data);
                    let value = self.new_constant(Constant::Float { dims, data });
                    self.values.insert(output, value);
                    return Ok(());
                }
                let value = self.push_unary(path, Operation::RoundF16, value);
                self.define(output, value)
            }
            (Some(T::F64), Some(T::F16)) => Err(PrepareError::new(
                path,
                "it converts float64 to float16, which is not supported here; convert to float32 first",
            )),
            (_, Some(T::F16)) => {
                let mut to_float = node.clone();
                to_float.attribute = vec![attribute::int("to", i64::from(T::F32.code()))];
                self.lower_operator(node, to_float, path)
            }
            _ => self.lower_operator(node, node.clone(), path),
        }
    }

    fn input_values(
        &mut self,
        node: &'a NodeProto,
        path: &str,
    ) -> Result<Vec<Option<ValueId>>, PrepareError> {
        let mut inputs = (0..node.input.len())
            .map(|slot| {
                node.input_name(slot)
                    .map(|name| self.value(name, path))
                    .transpose()
            })
            .collect::<Result<Vec<_>, _>>()?;
        drop_absent_tail(&mut inputs);
        Ok(inputs)
    }

    /// The type of a node's output, refused where it is unknown or one that is not computed in.
    fn computed_type(&self, output: &str, path: &str) -> Result<DataType, PrepareError> {
        let reason = match self.data_type(output) {
            Some(data_type) if is_computable(data_type) => return Ok(data_type),
            Some(other) => format!(
                "it computes in {other}, which is not supported here; convert the model to float32 or float16"
            ),
            None => format!("the element type of its output `{output}` is not known"),
        };
        Err(PrepareError::new(path, reason))
    }
}

/// Engines count the operands of a node, so one that is left out at the end must not be there.
fn drop_absent_tail(operands: &mut Vec<Option<ValueId>>) {
    while let Some(None) = operands.last() {
        operands.pop();
    }
}

fn is_rounded_already(node: &NodeProto) -> bool {
    match node.op() {
        "Resize" => matches!(node.string("mode"), Ok(None | Some("nearest"))),
        op => ROUNDED_ALREADY.contains(&op),
    }
}

/// A `ConstantOfShape` whose fill value is float32 where it was float16.
fn with_float_fill(node: &NodeProto) -> NodeProto {
    let mut filled = node.clone();
    for attribute in &mut filled.attribute {
        let fill = attribute.t.as_deref().map(Tensor::from_proto);
        if let Some(Ok(fill)) = fill
            && fill.data_type() == DataType::F16
            && let Some(values) = fill.to_f32_vec()
        {
            *attribute =
                attribute::tensor("value", &Tensor::from_f32(fill.dims().to_vec(), &values));
        }
    }
    filled
}
