//! Operators whose output position depends on the same input position only.

use super::super::TilingClass;
use super::super::error::Refusal;
use super::super::trace::{Effect, Motion, Site};
use super::{resolve, stay};
use crate::halo::axis_map::AxisMap;

/// Unary operators and those with broadcasting.
pub(super) fn is_pointwise(op: &str) -> bool {
    const UNARY: &str = "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast CastLike Ceil Celu Clip Cos Cosh \
        DequantizeLinear Elu Erf Exp Expand Floor Gelu HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg \
        Not QuantizeLinear Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh \
        ThresholdedRelu";
    const BROADCASTING: &str = "Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less \
        LessOrEqual Max Mean Min Mod Mul Or PRelu Pow Sub Sum Where Xor";
    let listed = |list: &str| list.split(' ').any(|name| name == op);
    listed(UNARY) || listed(BROADCASTING)
}

/// Inputs are aligned at the last axis; those without pixels (weights, gates) apply to every position alike.
pub(super) fn broadcast(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let output = site
        .node
        .output_name(0)
        .and_then(|name| site.probes.small.shape(name))
        .ok_or_else(|| Refusal::unsupported("the shape of its output is unknown"))?;
    let mut axes = None;
    for slot in 0..site.node.input.len() {
        let Some(grid) = site.grid(slot) else {
            continue;
        };
        let lead = output.len().saturating_sub(site.dims(slot)?.len());
        let aligned = grid.axes.map(|axis| axis + lead);
        if axes.replace(aligned).is_some_and(|other| other != aligned) {
            return Err(Refusal::unsupported(
                "its inputs have rows and columns on different axes",
            ));
        }
    }
    let axes = axes.ok_or_else(|| Refusal::unsupported("none of its inputs carries pixels"))?;
    Ok(Effect::Local(Motion {
        axes,
        maps: [AxisMap::Same; 2],
    }))
}

/// `Dropout`: nothing in inference, noise in training.
pub(super) fn dropout(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let training = match site.node.input_name(2) {
        None => false,
        Some(name) => site.probes.constant_integers(name) != Some(&[0]),
    };
    let motion = stay(site.only_grid()?);
    Ok(if training {
        Effect::Unbounded(TilingClass::E, motion)
    } else {
        Effect::Local(motion)
    })
}

/// `MatMul` with a weight matrix on the right: a 1×1 convolution over the last axis.
pub(super) fn mat_mul(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let grid = site.only_grid()?;
    let rank = site.dims(0)?.len();
    let contracted = resolve(-1, rank)?;
    if grid.axes.contains(&contracted) || site.dims(1)?.len() != 2 {
        return Err(Refusal::unsupported(
            "a matrix product that mixes positions sees the whole image",
        ));
    }
    Ok(Effect::Local(stay(grid)))
}
