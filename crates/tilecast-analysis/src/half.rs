//! What several rules about 16-bit floats need.

use tilecast_onnx::DataType;

use crate::lint::LintContext;

/// Operators whose constant operands are weights.
pub(crate) const WEIGHTED: &[&str] = &["Conv", "ConvTranspose", "Gemm", "MatMul", "PRelu"];

/// Operators whose constant operands are bounds: an infinite one does what a huge one does.
pub(crate) const BOUNDS: &[&str] = &["Clip", "Max", "Min"];

/// The largest FP16 number.
const LARGEST: f32 = 65504.0;
/// What is at most this becomes zero: half of the smallest FP16 number.
const VANISHES: f32 = 1.0 / (1 << 25) as f32;

/// The element of a float32 constant that lies farthest beyond the end of FP16, if one does. Infinities are no surprise.
pub(crate) fn beyond(cx: &LintContext<'_>, name: &str) -> Option<f32> {
    let finite = floats(cx, name)?.into_iter().filter(|v| v.is_finite());
    let extreme = finite.fold(0.0_f32, |a, b| if b.abs() > a.abs() { b } else { a });
    // Halfway to the next step it still rounds to the largest number.
    (extreme.abs() >= LARGEST + 16.0).then_some(extreme)
}

/// The largest element of a float32 constant that becomes zero as a whole, though it is not zero.
pub(crate) fn vanishing(cx: &LintContext<'_>, name: &str) -> Option<f32> {
    let largest = floats(cx, name)?
        .into_iter()
        .fold(0.0_f32, |a, b| a.max(b.abs()));
    (largest > 0.0 && largest <= VANISHES).then_some(largest)
}

fn floats(cx: &LintContext<'_>, name: &str) -> Option<Vec<f32>> {
    let tensor = cx.graph().constant(name).ok()??;
    (tensor.data_type() == DataType::F32).then(|| tensor.to_f32_vec())?
}
