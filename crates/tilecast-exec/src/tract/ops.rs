//! Operators that tract does not have: fake quantization, rounding to 16-bit floats, and points of observation.

use tilecast_quant::{HalfFormat, QuantParams, fake_quantize_in_place};
use tract_onnx::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_hir::internal::{
    DatumType, ElementWiseIntoHir, EvalContext, EvalOp, InferenceOp, Op, StaticName, TValue, TVec,
    Tensor, TractResult, TypedFact, TypedOp, as_op, inference_wrap, not_out_of_plan,
    op_as_typed_op, tvec,
};

/// Quantize and dequantize, in place.
#[derive(Clone, Debug, PartialEq)]
struct FakeQuant(QuantParams);

// The scale is a normal number, so equality is reflexive.
impl Eq for FakeQuant {}

impl ElementWiseMiniOp for FakeQuant {
    fn name(&self) -> String {
        "FakeQuant".into()
    }

    fn eval_in_place(&self, tensor: &mut Tensor, _: Option<DatumType>) -> TractResult<()> {
        fake_quantize_in_place(
            tensor.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?,
            &self.0,
        );
        Ok(())
    }
}

/// Rounds to the nearest number of a 16-bit format, in place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Round(HalfFormat);

impl ElementWiseMiniOp for Round {
    fn name(&self) -> String {
        format!("Round{:?}", self.0)
    }

    fn eval_in_place(&self, tensor: &mut Tensor, _: Option<DatumType>) -> TractResult<()> {
        self.0
            .round_in_place(tensor.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?);
        Ok(())
    }
}

/// The identity. tract fuses nothing across it and keeps the axes on both sides as they are in the model, so what
/// passes is the tensor that the model means. The slot is part of its identity: two points on one tensor stay two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Observe {
    /// Position of the name in the list of observed names; `None` where nobody looks and only the fusing is prevented.
    pub(super) slot: Option<usize>,
}

impl Op for Observe {
    fn name(&self) -> StaticName {
        "Observe".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Observe {
    // It must not be folded into a constant: then there would be nothing left to observe.
    not_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Ok(inputs)
    }

    fn forwards_input(&self) -> Option<usize> {
        Some(0)
    }
}

impl TypedOp for Observe {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }
}

pub(super) fn fake_quant(parameters: QuantParams) -> Box<dyn InferenceOp> {
    ElementWiseOp(Box::new(FakeQuant(parameters)), None).into_hir()
}

pub(super) fn round(format: HalfFormat) -> Box<dyn InferenceOp> {
    ElementWiseOp(Box::new(Round(format)), None).into_hir()
}

pub(super) fn observe(slot: Option<usize>) -> Box<dyn InferenceOp> {
    inference_wrap(Observe { slot }, 1, |_, solver, inputs, outputs| {
        solver.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        solver.equals(&inputs[0].shape, &outputs[0].shape)
    })
}
