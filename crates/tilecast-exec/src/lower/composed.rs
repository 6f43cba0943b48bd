//! Operators that tract computes otherwise than ONNX defines them, made of ones that it computes rightly.
//!
//! Where and why: `ReduceMax` of nothing but negative infinities is the lowest finite number, and `ReduceMin` the highest,
//! since tract starts from them; `Softplus`, `LogSoftmax` and `ReduceLogSumExp` overflow or underflow, since tract exponentiates before
//! it subtracts the maximum; `Celu` lacks a factor; `Swish` ignores its `alpha`; the constants of `Selu` are cut off after
//! five digits.

use tilecast_onnx::proto::{AttributeProto, NodeProto};
use tilecast_onnx::{AttributeError, DataType, attribute, node};

use super::{Constant, LoweredNode, Lowering, Operation, PrepareError, ValueId, half_format};

/// The defaults of `Selu`, as the operator's definition has them.
const SELU_ALPHA: f32 = 1.673_263_2;
const SELU_GAMMA: f32 = 1.050_701;

/// First opset in which `LogSoftmax` works along one axis instead of all that follow it.
const ONE_AXIS_LOG_SOFTMAX: i64 = 13;
/// First opset in which the reductions that are used here take their axes as an input.
const AXES_AS_INPUT: i64 = 18;

impl<'a> Lowering<'a, '_> {
    /// Lowers a node of one of the operators above.
    pub(super) fn lower_composed(
        &mut self,
        node: &'a NodeProto,
        path: &str,
    ) -> Result<(), PrepareError> {
        let (Some(input), Some(output)) = (node.input_name(0), node.output_name(0)) else {
            return Err(PrepareError::new(path, "it has no input or no output"));
        };
        let x = self.value(input, path)?;
        let composed = match node.op() {
            "Celu" => self.celu(node, x, path),
            "LogSoftmax" => self.log_softmax(node, x, path),
            "ReduceMax" | "ReduceMin" => return self.reduce_extremum(node, x, output, path),
            "ReduceLogSumExp" => return self.reduce_log_sum_exp(node, x, output, path),
            "Selu" => self.selu(node, x, path),
            "Swish" => self.swish(node, x, path),
            _ => Ok(self.softplus(x, path)),
        };
        let value = composed.map_err(|error| PrepareError::new(path, error.to_string()))?;
        self.define_rounded(output, value, path)
    }

    /// `max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)`.
    fn celu(
        &mut self,
        node: &NodeProto,
        x: ValueId,
        path: &str,
    ) -> Result<ValueId, AttributeError> {
        let alpha = self.scalar(node.float("alpha")?.unwrap_or(1.0));
        let (zero, one) = (self.scalar(0.0), self.scalar(1.0));
        let scaled = self.push_onnx(path, "Div", &[x, alpha]);
        let exp = self.push_onnx(path, "Exp", &[scaled]);
        let exp = self.push_onnx(path, "Sub", &[exp, one]);
        let exp = self.push_onnx(path, "Mul", &[alpha, exp]);
        let negative = self.push_onnx(path, "Min", &[exp, zero]);
        let positive = self.push_onnx(path, "Relu", &[x]);
        Ok(self.push_onnx(path, "Add", &[positive, negative]))
    }

    fn selu(
        &mut self,
        node: &NodeProto,
        x: ValueId,
        path: &str,
    ) -> Result<ValueId, AttributeError> {
        let attributes = vec![
            attribute::float("alpha", node.float("alpha")?.unwrap_or(SELU_ALPHA)),
            attribute::float("gamma", node.float("gamma")?.unwrap_or(SELU_GAMMA)),
        ];
        Ok(self.push_onnx_with(path, "Selu", attributes, &[x]))
    }

    /// `x * sigmoid(alpha * x)`.
    fn swish(
        &mut self,
        node: &NodeProto,
        x: ValueId,
        path: &str,
    ) -> Result<ValueId, AttributeError> {
        let alpha = node.float("alpha")?.unwrap_or(1.0);
        let mut gate = x;
        if alpha.to_bits() != 1_f32.to_bits() {
            let alpha = self.scalar(alpha);
            gate = self.push_onnx(path, "Mul", &[x, alpha]);
        }
        let gate = self.push_onnx(path, "Sigmoid", &[gate]);
        Ok(self.push_onnx(path, "Mul", &[x, gate]))
    }

    /// `max(x, 0) + log(1 + exp(-|x|))`.
    fn softplus(&mut self, x: ValueId, path: &str) -> ValueId {
        let one = self.scalar(1.0);
        let distance = self.push_onnx(path, "Abs", &[x]);
        let distance = self.push_onnx(path, "Neg", &[distance]);
        let exp = self.push_onnx(path, "Exp", &[distance]);
        let exp = self.push_onnx(path, "Add", &[exp, one]);
        let rest = self.push_onnx(path, "Log", &[exp]);
        let positive = self.push_onnx(path, "Relu", &[x]);
        self.push_onnx(path, "Add", &[positive, rest])
    }

    /// `(x - max) - log(sum(exp(x - max)))` along one axis. The engine has refused what is not along one axis.
    fn log_softmax(
        &mut self,
        node: &NodeProto,
        x: ValueId,
        path: &str,
    ) -> Result<ValueId, AttributeError> {
        let axis = node.int("axis")?.unwrap_or(-1);
        let mut attributes = vec![attribute::int("keepdims", 1)];
        let mut axes = None;
        if self.opset >= AXES_AS_INPUT {
            let tensor = tilecast_onnx::Tensor::from_i64(vec![1], &[axis]);
            axes = Some(self.new_constant(Constant::Other(tensor)));
        } else {
            attributes.push(attribute::ints("axes", &[axis]));
        }
        let operands =
            |x: ValueId| -> Vec<ValueId> { [Some(x), axes].into_iter().flatten().collect() };
        let max = self.push_onnx_with(path, "ReduceMax", attributes.clone(), &operands(x));
        let shifted = self.push_onnx(path, "Sub", &[x, max]);
        let exp = self.push_onnx(path, "Exp", &[shifted]);
        let sum = self.push_onnx_with(path, "ReduceLogSum", attributes, &operands(exp));
        Ok(self.push_onnx(path, "Sub", &[shifted, sum]))
    }

    /// Twice the extremum of `x / 2`: doubling takes the number that tract starts from to infinity. Halving loses a bit of
    /// the subnormal numbers and nothing else.
    fn reduce_extremum(
        &mut self,
        node: &'a NodeProto,
        x: ValueId,
        output: &'a str,
        path: &str,
    ) -> Result<(), PrepareError> {
        let (half, two) = (self.scalar(0.5), self.scalar(2.0));
        let axes = node.input_name(1).map(|name| self.value(name, path));
        let halved = self.push_onnx(path, "Mul", &[x, half]);
        let operands: Vec<ValueId> = [Some(halved), axes.transpose()?]
            .into_iter()
            .flatten()
            .collect();
        let extremum = self.push_onnx_with(path, node.op(), node.attribute.clone(), &operands);
        let value = self.push_onnx(path, "Mul", &[extremum, two]);
        self.define_rounded(output, value, path)
    }

    /// `max + log(sum(exp(x - max)))`, over the axes of the node. The maximum is kept finite, so that a row of one
    /// infinity is that infinity.
    fn reduce_log_sum_exp(
        &mut self,
        node: &'a NodeProto,
        x: ValueId,
        output: &'a str,
        path: &str,
    ) -> Result<(), PrepareError> {
        let axes = node.input_name(1).map(|name| self.value(name, path));
        let axes = axes.transpose()?;
        let operands =
            |x: ValueId| -> Vec<ValueId> { [Some(x), axes].into_iter().flatten().collect() };
        let kept: Vec<AttributeProto> = node
            .attribute
            .iter()
            .filter(|a| a.name.as_deref() != Some("keepdims"))
            .cloned()
            .chain([attribute::int("keepdims", 1)])
            .collect();
        let (lowest, highest) = (self.scalar(f32::MIN), self.scalar(f32::MAX));
        let finite = |lowering: &mut Self, max: ValueId| {
            let max = lowering.push_onnx(path, "Max", &[max, lowest]);
            lowering.push_onnx(path, "Min", &[max, highest])
        };
        let max = self.push_onnx_with(path, "ReduceMax", kept, &operands(x));
        let max = finite(self, max);
        let shifted = self.push_onnx(path, "Sub", &[x, max]);
        let exp = self.push_onnx(path, "Exp", &[shifted]);
        let attributes = node.attribute.clone();
        let sum = self.push_onnx_with(path, "ReduceLogSum", attributes.clone(), &operands(exp));
        let max = self.push_onnx_with(path, "ReduceMax", attributes, &operands(x));
        let max = finite(self, max);
        let value = self.push_onnx(path, "Add", &[max, sum]);
        self.define_rounded(output, value, path)
    }

    /// Gives the result of a composition its name, rounded where the graph has it in 16 bits.
    fn define_rounded(
        &mut self,
        output: &'a str,
        value: ValueId,
        path: &str,
    ) -> Result<(), PrepareError> {
        let data_type = self.computed_type(output, path)?;
        let value = match (half_format(data_type), data_type) {
            (Some(format), _) => self.push_unary(path, Operation::Round(format), value),
            (None, DataType::F32) => value,
            (None, other) => {
                let reason = format!(
                    "it computes in {other}, which is not supported here; convert the model to float32 or float16"
                );
                return Err(PrepareError::new(path, reason));
            }
        };
        self.define(output, value)
    }

    pub(super) fn scalar(&mut self, value: f32) -> ValueId {
        self.new_constant(Constant::Float {
            dims: vec![],
            data: vec![value],
        })
    }

    pub(super) fn push_onnx(&mut self, path: &str, op: &str, inputs: &[ValueId]) -> ValueId {
        self.push_onnx_with(path, op, vec![], inputs)
    }

    /// Adds an operator of one output.
    pub(super) fn push_onnx_with(
        &mut self,
        path: &str,
        op: &str,
        attributes: Vec<AttributeProto>,
        inputs: &[ValueId],
    ) -> ValueId {
        let mut message = node(op, path, &[], &[]);
        message.attribute = attributes;
        let output = self.new_value();
        self.nodes.push(LoweredNode {
            path: path.to_owned(),
            operation: Operation::Onnx(Box::new(message)),
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: vec![Some(output)],
        });
        output
    }
}

/// Whether a `LogSoftmax` works along one axis, whatever the rank of its input.
pub(crate) fn is_along_one_axis(opset: i64, node: &NodeProto) -> bool {
    opset >= ONE_AXIS_LOG_SOFTMAX || matches!(node.int("axis"), Ok(Some(-1)))
}
