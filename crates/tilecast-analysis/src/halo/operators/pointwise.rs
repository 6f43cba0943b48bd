//! Operators whose output position depends on the same input position only.

use super::super::TilingClass;
use super::super::error::Refusal;
use super::super::layout::Layout;
use super::super::trace::{Effect, Site};
use super::arrange::merged;

/// Unary operators and those with broadcasting.
pub(super) fn is_pointwise(op: &str) -> bool {
    const UNARY: &str = "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast CastLike Ceil Celu Clip Cos Cosh \
        DequantizeLinear Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg \
        Not QuantizeLinear Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh \
        ThresholdedRelu";
    const BROADCASTING: &str = "Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less \
        LessOrEqual Max Mean Min Mod Mul Or PRelu Pow Sub Sum Where Xor";
    let listed = |list: &str| list.split(' ').any(|name| name == op);
    listed(UNARY) || listed(BROADCASTING)
}

/// Inputs are aligned at the last axis; those without positions (weights, gates) apply to every position alike.
pub(super) fn broadcast(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let rank = site.output_extents(0)?.len();
    let mut layouts = Vec::new();
    for slot in 0..site.node.input.len() {
        let Some(name) = site.node.input_name(slot) else {
            continue;
        };
        let mut layout = match site.layout(slot) {
            // One slope per channel, wherever the channels are; quantization parameters likewise.
            Ok(_) if is_parameter(site, slot) => continue,
            Ok(layout) => layout,
            Err(_) if !site.has_positions(slot) && name.is_empty() => continue,
            Err(refusal) => return Err(refusal),
        };
        let lead = rank.saturating_sub(layout.axes.len());
        layout.axes.splice(0..0, vec![Vec::new(); lead]);
        layouts.push(layout);
    }
    refine_all(&mut layouts)?;
    let mut layouts = layouts.into_iter();
    let first = layouts
        .next()
        .ok_or_else(|| Refusal::unsupported("none of its inputs carries pixels"))?;
    let layout = layouts.try_fold(first, |joined, layout| merged(joined, &layout))?;
    let twice = (0..2).any(|side| {
        let digits: Vec<u64> = layout.digits(side).map(|(_, d)| d.unit).collect();
        (1..digits.len()).any(|i| digits[..i].contains(&digits[i]))
    });
    if twice {
        return Err(Refusal::unsupported(
            "its inputs have rows and columns on different axes",
        ));
    }
    Ok(Effect::moves(layout))
}

fn is_parameter(site: &Site<'_, '_>, slot: usize) -> bool {
    slot > 0
        && !site.has_positions(slot)
        && matches!(
            site.node.op(),
            "PRelu" | "QuantizeLinear" | "DequantizeLinear" | "CastLike" | "Clip"
        )
}

/// Positions counted as finely in all layouts as in the finest.
pub(super) fn refine_all(layouts: &mut [Layout]) -> Result<(), Refusal> {
    let differ = || Refusal::unsupported("its inputs have different strides relative to the image");
    for side in 0..2 {
        let strides: Vec<_> = layouts.iter().filter_map(|l| l.stride[side]).collect();
        let Some(&first) = strides.first() else {
            continue;
        };
        let finest = strides
            .iter()
            .fold(first, |a, &b| if b.is_less(a) { b } else { a });
        for layout in layouts.iter_mut() {
            let Some(own) = layout.stride[side] else {
                continue;
            };
            let factor = own.times(finest.inverse()).ok_or_else(differ)?;
            if factor.denominator() != 1 {
                return Err(differ());
            }
            let refined = layout.clone().refined(side, factor.numerator());
            *layout = refined.ok_or_else(differ)?;
        }
    }
    Ok(())
}

/// `Dropout`: nothing in inference, noise in training.
pub(super) fn dropout(site: &Site<'_, '_>) -> Result<Effect, Refusal> {
    let training = match site.node.input_name(2) {
        None => false,
        Some(name) => site.probes.constant_integers(name) != Some(&[0]),
    };
    let effect = Effect::moves(site.only_layout()?);
    Ok(if training {
        effect.in_class(TilingClass::E)
    } else {
        effect
    })
}
