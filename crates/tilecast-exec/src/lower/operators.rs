//! Ordinary operators: which results are rounded to 16 bits, and which nodes are only another name for their input.

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{DataType, NodeId, Tensor, attribute};

use super::{
    Constant, LoweredNode, Lowering, Operation, PrepareError, ValueId, half_format, is_computable,
    is_single_or_half,
};

/// Operators whose results are among their inputs' values, or are exact in 16 bits if the inputs are: rounding again
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
    "GatherElements",
    "GatherND",
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
    "Sign",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "ThresholdedRelu",
    "Tile",
    "TopK",
    "Transpose",
    "Trilu",
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
            "Cast" | "CastLike" => self.lower_cast(node, &path),
            "Celu" | "LogSoftmax" | "ReduceLogSumExp" | "Selu" | "Softplus" | "Swish" => {
                self.lower_composed(node, &path)
            }
            "QuantizeLinear" => self.lower_quantize(node, &path),
            "DequantizeLinear" => self.lower_dequantize(node, &path),
            "DynamicQuantizeLinear" => self.lower_dynamic_quantize(node, &path),
            "MatMulInteger" => self.lower_matmul_integer(node, &path),
            "ConstantOfShape" => self.lower_operator(node, with_float_fill(node), &path),
            "Sub" | "Div" => self.lower_ordered(node, &path),
            "Conv" if skips_pixels(node) => self.lower_sampled(node, &path),
            "Mod" => self.lower_mod(node, &path),
            "Pad" => self.lower_pad(node, &path),
            "Slice" if node.input_name(4).is_some() => self.lower_sampled(node, &path),
            "ReduceMax" | "ReduceMin" if self.is_float(node) => self.lower_composed(node, &path),
            "Transpose" => match self.lower_transposed_integers(node, &path) {
                Some(lowered) => lowered,
                None => self.lower_operator(node, node.clone(), &path),
            },
            _ => self.lower_operator(node, node.clone(), &path),
        }
    }

    /// An operator whose operands may not change places. tract computes it inside the convolution or product that makes
    /// its second operand, and swaps the two where the first is constant; nothing is fused across a barrier. What tract
    /// can work out while it prepares the model becomes constant too, so a constant here is whatever no input reaches.
    fn lower_ordered(&mut self, node: &'a NodeProto, path: &str) -> Result<(), PrepareError> {
        let varies = |slot: usize| {
            node.input_name(slot)
                .is_some_and(|name| self.varying.contains(name))
        };
        let guarded = !varies(0) && varies(1);
        let mut inputs = self.input_values(node, path)?;
        if let (true, Some(Some(second))) = (guarded, inputs.get_mut(1)) {
            *second = self.push_unary(path.to_owned(), Operation::Barrier, *second);
        }
        self.lower_computed(node, node.clone(), inputs, path)
    }

    /// An operator that reads every second position or so. tract then drops the others as early as it can, and takes a
    /// normalization or a softmax along that very axis for an operator that does not mind; nothing is dropped across a
    /// barrier.
    fn lower_sampled(&mut self, node: &'a NodeProto, path: &str) -> Result<(), PrepareError> {
        let mut inputs = self.input_values(node, path)?;
        if let Some(Some(data)) = inputs.first_mut()
            && !self.constants.contains_key(data)
        {
            *data = self.push_unary(path.to_owned(), Operation::Barrier, *data);
        }
        self.lower_computed(node, node.clone(), inputs, path)
    }

    /// An operator that is computed in float32 where it says float16 or bfloat16. `computed` is `node` or the same operator with its
    /// attributes in float32.
    fn lower_operator(
        &mut self,
        node: &'a NodeProto,
        computed: NodeProto,
        path: &str,
    ) -> Result<(), PrepareError> {
        let inputs = self.input_values(node, path)?;
        self.lower_computed(node, computed, inputs, path)
    }

    /// As [`Self::lower_operator`], with the operands that `computed` has.
    fn lower_computed(
        &mut self,
        node: &'a NodeProto,
        computed: NodeProto,
        inputs: Vec<Option<ValueId>>,
        path: &str,
    ) -> Result<(), PrepareError> {
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
            if let Some(format) = half_format(data_type).filter(|_| rounds) {
                value = self.push_unary(path, Operation::Round(format), value);
            }
            self.define(name, value)?;
        }
        Ok(())
    }

    /// A conversion between float types is rounding or nothing; other conversions are computed.
    fn lower_cast(&mut self, node: &'a NodeProto, path: &str) -> Result<(), PrepareError> {
        let (Some(from), Some(output)) = (node.input_name(0), node.output_name(0)) else {
            return Err(PrepareError::new(path, "it has no input or no output"));
        };
        let (source, target) = (self.data_type(from), self.data_type(output));
        let format = target.and_then(half_format);
        if source == Some(DataType::F64) && format.is_some() {
            return Err(PrepareError::new(
                path,
                "it converts float64 to a 16-bit float, which is not supported here; convert to float32 first",
            ));
        }
        if source.is_some_and(is_single_or_half) && target.is_some_and(is_single_or_half) {
            let value = self.value(from, path)?;
            let Some(format) = format.filter(|_| source != target) else {
                return self.define(output, value);
            };
            let value = match self.constants.get(&value) {
                Some(Constant::Float { dims, data }) => {
                    let (dims, mut data) = (dims.clone(), data.clone());
                    format.round_in_place(&mut data);
                    self.new_constant(Constant::Float { dims, data })
                }
                _ => self.push_unary(path, Operation::Round(format), value),
            };
            return self.define(output, value);
        }
        let to = match target {
            Some(target) if is_single_or_half(target) => DataType::F32,
            Some(target) => target,
            None => self.computed_type(output, path)?,
        };
        let cast = tilecast_onnx::node("Cast", path, &[], &[])
            .with_attribute(attribute::int("to", i64::from(to.code())));
        let value = self.value(from, path)?;
        self.lower_computed(node, cast, vec![Some(value)], path)
    }

    /// Whether the first input of a node is float32, or a 16-bit float that is computed as float32.
    fn is_float(&self, node: &NodeProto) -> bool {
        let data_type = node.input_name(0).and_then(|name| self.data_type(name));
        data_type.is_some_and(is_single_or_half)
    }

    /// A remainder of floats with the sign of the divisor is new in the format, and tract loses the sign of its zeros.
    fn lower_mod(&mut self, node: &'a NodeProto, path: &str) -> Result<(), PrepareError> {
        let data_type = node.input_name(0).and_then(|name| self.data_type(name));
        let is_float = data_type.is_some_and(|t| t == DataType::F64 || is_single_or_half(t));
        if is_float && matches!(node.int("fmod"), Ok(None | Some(0))) {
            return Err(PrepareError::new(
                path,
                "tract computes a remainder of floats with `fmod` 0 without the sign of zeros; set `fmod` to 1 if the signs of the operands allow it",
            ));
        }
        self.lower_operator(node, node.clone(), path)
    }

    /// A constant padding value of one element is a scalar, though the graph may have it as a list.
    fn lower_pad(&mut self, node: &'a NodeProto, path: &str) -> Result<(), PrepareError> {
        let mut inputs = self.input_values(node, path)?;
        if let Some(Some(padding)) = inputs.get_mut(2)
            && let Some(Constant::Float { dims, data }) = self.constants.get(padding)
            && data.len() == 1
            && !dims.is_empty()
        {
            let data = data.clone();
            *padding = self.new_constant(Constant::Float { dims: vec![], data });
        }
        self.lower_computed(node, node.clone(), inputs, path)
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
    pub(super) fn computed_type(&self, output: &str, path: &str) -> Result<DataType, PrepareError> {
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

/// Whether a convolution leaves pixels unread: with steps that its kernel does not fill.
fn skips_pixels(node: &NodeProto) -> bool {
    let ints = |name: &str| node.ints(name).ok().flatten().unwrap_or(&[]);
    let (strides, kernel, dilations) = (ints("strides"), ints("kernel_shape"), ints("dilations"));
    strides.iter().enumerate().any(|(axis, &stride)| {
        let dilation = dilations.get(axis).copied().unwrap_or(1);
        // The attribute may be left out; then the weights say it.
        let kernel = kernel.get(axis).copied().unwrap_or(1);
        stride > 1 && (kernel == 1 || dilation % stride == 0)
    })
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

/// A `ConstantOfShape` whose fill value is float32 where it was a 16-bit float, or left out: tract would take a float64.
fn with_float_fill(node: &NodeProto) -> NodeProto {
    let mut filled = node.clone();
    if node.find_attribute("value").is_none() {
        let zero = Tensor::from_f32(vec![1], &[0.0]);
        return filled.with_attribute(attribute::tensor("value", &zero));
    }
    for attribute in &mut filled.attribute {
        let fill = attribute.t.as_deref().map(Tensor::from_proto);
        if let Some(Ok(fill)) = fill
            && half_format(fill.data_type()).is_some()
            && let Some(values) = fill.to_f32_vec()
        {
            *attribute =
                attribute::tensor("value", &Tensor::from_f32(fill.dims().to_vec(), &values));
        }
    }
    filled
}
