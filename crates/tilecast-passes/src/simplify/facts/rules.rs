//! The one table from operator name to rule (default domain, all opsets), and the rules of a few lines.

use tilecast_onnx::proto::NodeProto;

use super::call::{Call, Rule};
use super::elements::{self, broadcast, or_fresh};
use super::extent::Extent;
use super::unknowns::Unknowns;
use super::{Fact, fixed, integers_of, layout, window};
use crate::simplify::arrange::{wrap, wrap_all};

/// The rule of an operator; `None` leaves its outputs unknown.
pub(super) fn rule(node: &NodeProto) -> Option<Rule> {
    if !node.domain_name().is_empty() {
        return None;
    }
    Some(match node.op() {
        "Constant" => constant,
        "ConstantOfShape" => constant_of_shape,
        "Shape" => shape,
        "Size" => size,
        "Range" => range,

        // Followed where they compute sizes.
        "Neg" | "Abs" | "Not" | "Cast" | "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Min" | "Max"
        | "Sum" | "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" | "And"
        | "Or" | "Xor" | "Where" => followed,
        "Pow" | "Mean" | "BitShift" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" => broadcasting,

        // The shape of the first input.
        "Sign"
        | "Floor"
        | "Ceil"
        | "Round"
        | "Sqrt"
        | "CastLike"
        | "Clip"
        | "BitwiseNot"
        | "Reciprocal"
        | "Exp"
        | "Log"
        | "Sin"
        | "Cos"
        | "Tan"
        | "Asin"
        | "Acos"
        | "Atan"
        | "Sinh"
        | "Cosh"
        | "Tanh"
        | "Asinh"
        | "Acosh"
        | "Atanh"
        | "Erf"
        | "Sigmoid"
        | "HardSigmoid"
        | "HardSwish"
        | "Softplus"
        | "Softsign"
        | "Relu"
        | "LeakyRelu"
        | "ThresholdedRelu"
        | "Elu"
        | "Selu"
        | "Celu"
        | "Gelu"
        | "Mish"
        | "Swish"
        | "Shrink"
        | "IsNaN"
        | "IsInf"
        | "QuantizeLinear"
        | "DequantizeLinear"
        | "RandomNormalLike"
        | "RandomUniformLike"
        | "Bernoulli"
        | "EyeLike"
        | "Softmax"
        | "LogSoftmax"
        | "Hardmax"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "MeanVarianceNormalization"
        | "LpNormalization"
        | "LRN"
        | "RMSNormalization"
        | "CumSum"
        | "ScatterElements"
        | "ScatterND"
        | "Scatter"
        | "PRelu"
        | "Dropout"
        | "BatchNormalization"
        | "LayerNormalization"
        | "Trilu" => like_first,

        "Identity" => layout::identity,
        "Reshape" => layout::reshape,
        "Flatten" => layout::flatten,
        "Transpose" => layout::transpose,
        "Squeeze" => layout::squeeze,
        "Unsqueeze" => layout::unsqueeze,
        "Expand" => layout::expand,
        "Tile" => layout::tile,
        "Slice" => layout::slice,
        "Split" => layout::split,
        "Concat" => layout::concat,
        "Gather" => layout::gather,
        "Pad" => layout::pad,
        "DepthToSpace" => layout::depth_to_space,
        "SpaceToDepth" => layout::space_to_depth,

        "Conv" | "ConvInteger" | "DeformConv" => window::conv,
        "ConvTranspose" => window::conv_transpose,
        "MaxPool" | "AveragePool" | "LpPool" => window::pool,
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => window::global_pool,
        "Resize" => window::resize,
        "Upsample" => window::upsample,

        "ReduceMean" | "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp"
        | "ReduceSumSquare" | "ReduceSum" | "ReduceProd" | "ReduceMin" | "ReduceMax" => reduce,
        "ArgMax" | "ArgMin" => arg,
        "MatMul" | "MatMulInteger" => mat_mul,
        "Gemm" => gemm,
        _ => return None,
    })
}

fn constant(call: &Call<'_, '_>, _: &mut Unknowns) -> Option<Vec<Fact>> {
    let tensor = call.node.constant_value().ok()??;
    let dims = tensor.dims().iter().map(|&d| Extent::number(d as i64));
    Some(vec![Fact {
        dims: Some(dims.collect()),
        elements: integers_of(&tensor),
    }])
}

fn constant_of_shape(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    let dims: Vec<Extent> = call
        .elements(0)?
        .iter()
        .map(|e| or_fresh(e.clone(), unknowns))
        .collect();
    let n = fixed(&dims).and_then(|d| crate::simplify::arrange::count(&d));
    let value = call.node.find_attribute("value").and_then(|a| {
        let tensor = tilecast_onnx::Tensor::from_proto(a.t.as_deref()?).ok()?;
        integers_of(&tensor)
    });
    let elements = match (n, value.as_deref()) {
        (Some(n), Some([element])) if n <= super::MAX_TRACKED_ELEMENTS => {
            Some(vec![element.clone(); n])
        }
        _ => None,
    };
    Some(vec![Fact {
        dims: Some(dims),
        elements,
    }])
}

fn shape(call: &Call<'_, '_>, _: &mut Unknowns) -> Option<Vec<Fact>> {
    let dims = call.dims(0)?;
    let rank = dims.len() as i64;
    let bound = |v: i64| (if v < 0 { v.saturating_add(rank) } else { v }).clamp(0, rank) as usize;
    let start = bound(call.int("start", 0)?);
    let end = bound(call.int("end", rank)?).max(start);
    let elements = dims[start..end].iter().cloned().map(Some).collect();
    Some(vec![Fact::of_vector(elements)])
}

fn size(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    let n = elements::product(call.dims(0)?, unknowns);
    Some(vec![Fact {
        dims: Some(Vec::new()),
        elements: Some(vec![n]),
    }])
}

fn range(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    let one = |slot| -> Option<Extent> { call.elements(slot)?.first()?.clone() };
    let (start, limit, step) = (one(0)?, one(1)?, one(2)?.known()?);
    let length = match (start.known(), limit.known(), step) {
        (Some(start), Some(limit), step) if step != 0 => {
            let span = i128::from(limit) - i128::from(start);
            let step = i128::from(step);
            let n = (span + step - step.signum()) / step;
            Some(Extent::number(i64::try_from(n.max(0)).ok()?))
        }
        (_, _, 1) => {
            let span = unknowns.sub(&limit, &start)?;
            elements::at_least_zero(unknowns, &span)
        }
        _ => None,
    };
    let n_tracked = length.as_ref().and_then(Extent::known).unwrap_or(i64::MAX);
    let values = (n_tracked <= super::MAX_TRACKED_ELEMENTS as i64).then(|| {
        (0..n_tracked)
            .map(|i| unknowns.offset(&start, step.checked_mul(i)?))
            .collect()
    });
    let length = or_fresh(length, unknowns);
    Some(vec![Fact {
        dims: Some(vec![length]),
        elements: values,
    }])
}

/// Broadcasting element-wise operators whose elements are followed.
fn followed(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    let mut facts = broadcasting(call, unknowns)?;
    for fact in &mut facts {
        fact.elements = fact
            .dims
            .as_deref()
            .and_then(fixed)
            .and_then(|dims| elements::elementwise(call, unknowns, &dims));
    }
    Some(facts)
}

fn broadcasting(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    let mut dims = call.dims(0)?.to_vec();
    // Before opset 7 the right-hand side was aligned by an attribute and never grew the result.
    if call.int("broadcast", 0)? == 0 {
        for slot in 1..call.node.input.len() {
            dims = broadcast(unknowns, &dims, call.dims(slot)?)?;
        }
    }
    Some(vec![Fact::of_dims(dims)])
}

fn like_first(call: &Call<'_, '_>, _: &mut Unknowns) -> Option<Vec<Fact>> {
    Some(vec![Fact::of_dims(call.dims(0)?.to_vec())])
}

fn reduce(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    let x = call.dims(0)?;
    let keepdims = call.int("keepdims", 1)? != 0;
    let Some(named) = call.numbers_of("axes", 1) else {
        // Some axes become 1, no telling which.
        let dims = keepdims.then(|| x.iter().map(|_| unknowns.fresh()).collect());
        return dims.map(|dims| vec![Fact::of_dims(dims)]);
    };
    let axes = match named.filter(|axes| !axes.is_empty()) {
        Some(axes) => wrap_all(&axes, x.len())?,
        None if call.int("noop_with_empty_axes", 0)? != 0 => return like_first(call, unknowns),
        None => (0..x.len()).collect(),
    };
    Some(vec![Fact::of_dims(reduced(x, &axes, keepdims.into()))])
}

fn arg(call: &Call<'_, '_>, _: &mut Unknowns) -> Option<Vec<Fact>> {
    let x = call.dims(0)?;
    let axis = wrap(call.int("axis", 0)?, x.len())?;
    let fate = Fate::from(call.int("keepdims", 1)? != 0);
    Some(vec![Fact::of_dims(reduced(x, &[axis], fate))])
}

/// What becomes of a reduced axis (`keepdims`).
#[derive(Clone, Copy)]
enum Fate {
    One,
    Dropped,
}

impl From<bool> for Fate {
    fn from(keepdims: bool) -> Self {
        if keepdims { Self::One } else { Self::Dropped }
    }
}

fn reduced(dims: &[Extent], axes: &[usize], fate: Fate) -> Vec<Extent> {
    let mut reduced = Vec::with_capacity(dims.len());
    for (axis, extent) in dims.iter().enumerate() {
        match (axes.contains(&axis), fate) {
            (false, _) => reduced.push(extent.clone()),
            (true, Fate::One) => reduced.push(Extent::number(1)),
            (true, Fate::Dropped) => {}
        }
    }
    reduced
}

/// numpy's `matmul`: vectors are rows on the left and columns on the right, and lose that axis again.
fn mat_mul(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    let (left, right) = (call.dims(0)?, call.dims(1)?);
    let (a_outer, a_inner) = left.split_at(left.len().saturating_sub(2));
    let (b_outer, b_inner) = right.split_at(right.len().saturating_sub(2));
    let mut dims = broadcast(unknowns, a_outer, b_outer)?;
    match a_inner {
        [] => return None,
        [_] => {}
        [rows, ..] => dims.push(rows.clone()),
    }
    match b_inner {
        [] => return None,
        [_] => {}
        [.., columns] => dims.push(columns.clone()),
    }
    Some(vec![Fact::of_dims(dims)])
}

fn gemm(call: &Call<'_, '_>, _: &mut Unknowns) -> Option<Vec<Fact>> {
    let ([a0, a1], [b0, b1]) = (call.dims(0)?, call.dims(1)?) else {
        return None;
    };
    let rows = if call.int("transA", 0)? == 0 { a0 } else { a1 };
    let columns = if call.int("transB", 0)? == 0 { b1 } else { b0 };
    Some(vec![Fact::of_dims(vec![rows.clone(), columns.clone()])])
}
