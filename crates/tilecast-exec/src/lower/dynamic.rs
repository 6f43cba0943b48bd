//! `DynamicQuantizeLinear` and `MatMulInteger`: integers that depend on what is fed, as float32 numbers of integer value.
//!
//! Sums of products of 8-bit integers are exact in float32 up to 2²⁴; beyond, they are rounded like any product.

use tilecast_onnx::attribute;
use tilecast_onnx::proto::NodeProto;

use super::{Lowering, PrepareError, ValueId};

/// Largest 8-bit integer without a sign.
const U8_MAX: f32 = 255.0;

impl<'a> Lowering<'a, '_> {
    /// Range of the tensor, zero included, spread over 0 to 255; a tensor of zeros has scale 1.
    pub(super) fn lower_dynamic_quantize(
        &mut self,
        node: &'a NodeProto,
        path: &str,
    ) -> Result<(), PrepareError> {
        let Some(input) = node.input_name(0) else {
            return Err(PrepareError::new(path, "it has no input"));
        };
        self.check_integers_stay(node, path)?;
        let x = self.value(input, path)?;
        let (zero, one) = (self.scalar(0.0), self.scalar(1.0));
        let last = self.scalar(U8_MAX);
        let all = vec![attribute::int("keepdims", 0)];
        let high = self.push_onnx_with(path, "ReduceMax", all.clone(), &[x]);
        let high = self.push_onnx(path, "Max", &[high, zero]);
        let low = self.push_onnx_with(path, "ReduceMin", all, &[x]);
        let low = self.push_onnx(path, "Min", &[low, zero]);
        let range = self.push_onnx(path, "Sub", &[high, low]);
        let is_flat = self.push_onnx(path, "Equal", &[range, zero]);
        let step = self.push_onnx(path, "Div", &[range, last]);
        let scale = self.push_onnx(path, "Where", &[is_flat, one, step]);
        let zero_point = self.push_onnx(path, "Div", &[low, scale]);
        let zero_point = self.push_onnx(path, "Neg", &[zero_point]);
        let zero_point = self.push_onnx(path, "Round", &[zero_point]);
        let zero_point = self.within_u8(path, zero_point, zero, last);
        let steps = self.push_onnx(path, "Div", &[x, scale]);
        let steps = self.push_onnx(path, "Round", &[steps]);
        let integers = self.push_onnx(path, "Add", &[steps, zero_point]);
        let integers = self.within_u8(path, integers, zero, last);
        for (slot, value) in [integers, scale, zero_point].into_iter().enumerate() {
            if let Some(name) = node.output_name(slot) {
                self.define(name, value)?;
            }
        }
        Ok(())
    }

    /// A product of integers, each less its zero point.
    pub(super) fn lower_matmul_integer(
        &mut self,
        node: &'a NodeProto,
        path: &str,
    ) -> Result<(), PrepareError> {
        let Some(output) = node.output_name(0) else {
            return Err(PrepareError::new(path, "it has no output"));
        };
        let is_dynamic = |name| {
            let producer = self.graph.producer_node(name);
            producer.is_some_and(|n| n.is("DynamicQuantizeLinear"))
        };
        // A zero point per row would have to be turned around; the one of a DynamicQuantizeLinear is a scalar.
        if ![0, 2]
            .into_iter()
            .all(|slot| node.input_name(slot).is_some_and(is_dynamic))
        {
            return Err(PrepareError::new(
                path,
                "its first operand or that one's zero point is not of a DynamicQuantizeLinear, and only those are supported here",
            ));
        }
        let a = self.centered(node, [0, 2], path)?;
        let b = self.centered(node, [1, 3], path)?;
        let product = self.push_onnx(path, "MatMul", &[a, b]);
        self.define(output, product)
    }

    /// One operand of an integer product as float32 numbers, less its zero point.
    fn centered(
        &mut self,
        node: &'a NodeProto,
        [data, zero_point]: [usize; 2],
        path: &str,
    ) -> Result<ValueId, PrepareError> {
        let Some(name) = node.input_name(data) else {
            return Err(PrepareError::new(path, "it lacks an operand"));
        };
        let value = self.integers(name, path)?;
        let Some(name) = node.input_name(zero_point) else {
            return Ok(value);
        };
        let zero_point = self.integers(name, path)?;
        Ok(self.push_onnx(path, "Sub", &[value, zero_point]))
    }

    /// Integers as float32 numbers: those of a `DynamicQuantizeLinear`, which are so already, or constants.
    fn integers(&mut self, name: &'a str, path: &str) -> Result<ValueId, PrepareError> {
        if let Some(&value) = self.values.get(name) {
            return Ok(value);
        }
        let tensor = self.constant(name, path)?;
        let integers = tensor.as_ref().and_then(tilecast_onnx::Tensor::to_i64_vec);
        let (Some(tensor), Some(integers)) = (tensor, integers) else {
            return Err(PrepareError::new(
                path,
                format!("its input `{name}` holds no integers, or none that are known here"),
            ));
        };
        Ok(self.new_constant(super::Constant::Float {
            dims: tensor.dims().to_vec(),
            data: integers.iter().map(|&v| v as f32).collect(),
        }))
    }

    fn within_u8(&mut self, path: &str, value: ValueId, zero: ValueId, last: ValueId) -> ValueId {
        let value = self.push_onnx(path, "Max", &[value, zero]);
        self.push_onnx(path, "Min", &[value, last])
    }

    /// Nothing but an integer product may read the integers and the zero point: everybody else would take the numbers for
    /// bytes.
    fn check_integers_stay(&self, node: &NodeProto, path: &str) -> Result<(), PrepareError> {
        for name in [0, 2].into_iter().filter_map(|slot| node.output_name(slot)) {
            let mut uses = self.graph.uses(name).iter();
            let stays =
                uses.all(|u| u.slot.is_some() && self.graph.node(u.node).is("MatMulInteger"));
            if !stays || self.graph.is_output(name) {
                return Err(PrepareError::new(
                    path,
                    format!(
                        "its output `{name}` is read by something else than MatMulInteger, which is not supported here"
                    ),
                ));
            }
        }
        Ok(())
    }
}
