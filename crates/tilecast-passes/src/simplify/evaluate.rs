//! Computes one node on constant inputs, for the operators whose result is fixed to the bit: those that move elements,
//! integer arithmetic, and the float operations that IEEE 754 defines exactly.
//!
//! Exponentials, trigonometry and sums of many floats are left to the runtime: their last bits depend on it.

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{
    DataType, Remainder, Tensor, arrange, broadcast_dims, comparison, integer_arithmetic,
    n_data_inputs, spread,
};

/// Results with more elements than this are not computed.
pub(super) const MAX_EVALUATED_ELEMENTS: usize = 1 << 24;

/// The outputs of a node on constant inputs (`None` where one is left out); `None` where it is not computed here, be it for
/// the operator, an element type, a size, an overflow or inputs that do not fit.
pub(super) fn evaluate(node: &NodeProto, inputs: &[Option<Tensor>]) -> Option<Vec<Tensor>> {
    if !node.domain_name().is_empty() {
        return None;
    }
    if let Some(n_data) = n_data_inputs(node) {
        return move_elements(node, inputs, n_data);
    }
    let x = |slot: usize| inputs.get(slot)?.as_ref();
    let one = |tensor: Option<Tensor>| tensor.map(|t| vec![t]);
    match node.op() {
        "Shape" => one(shape(node, x(0)?)),
        "Size" => Some(vec![Tensor::from_i64(vec![], &[x(0)?.len() as i64])]),
        "ConstantOfShape" => one(constant_of_shape(node, x(0)?)),
        "Range" => one(range(x(0)?, x(1)?, x(2)?)),
        "NonZero" => one(non_zero(x(0)?)),
        "Cast" => one(cast(node, x(0)?)),
        "Where" => one(select(x(0)?, x(1)?, x(2)?)),
        "Neg" | "Abs" | "Sqrt" | "Reciprocal" | "Floor" | "Ceil" | "Round" | "Not" => {
            one(unary(node.op(), x(0)?))
        }
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Min" | "Max" | "Equal" | "Less"
        | "LessOrEqual" | "Greater" | "GreaterOrEqual" | "And" | "Or" | "Xor"
            if node.input.len() == 2 =>
        {
            one(binary(node, x(0)?, x(1)?))
        }
        _ => None,
    }
}

/// Elements of the types that are computed with.
enum Elements {
    F32(Vec<f32>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    Bool(Vec<bool>),
}

impl Elements {
    fn of(tensor: &Tensor) -> Option<Self> {
        Some(match tensor.data_type() {
            DataType::F32 => Self::F32(tensor.to_f32_vec()?),
            DataType::I64 => Self::I64(tensor.to_i64_vec()?),
            DataType::I32 => {
                Self::I32(tensor.to_i64_vec()?.into_iter().map(|v| v as i32).collect())
            }
            DataType::Bool => {
                Self::Bool(tensor.to_i64_vec()?.into_iter().map(|v| v != 0).collect())
            }
            _ => return None,
        })
    }

    fn into_tensor(self, dims: Vec<usize>) -> Option<Tensor> {
        let n = count(&dims)?;
        Some(match self {
            Self::F32(v) if v.len() == n => Tensor::from_f32(dims, &v),
            Self::I64(v) if v.len() == n => Tensor::from_i64(dims, &v),
            Self::I32(v) if v.len() == n => Tensor::from_i32(dims, &v),
            Self::Bool(v) => {
                let bytes: Vec<u8> = v.into_iter().map(u8::from).collect();
                return Tensor::from_raw(DataType::Bool, dims, bytes.into()).ok();
            }
            _ => return None,
        })
    }
}

fn move_elements(
    node: &NodeProto,
    inputs: &[Option<Tensor>],
    n_data: usize,
) -> Option<Vec<Tensor>> {
    let data = inputs
        .get(..n_data)?
        .iter()
        .map(Option::as_ref)
        .collect::<Option<Vec<_>>>()?;
    let data_type = data.first()?.data_type();
    let n_bytes = data_type.bits() / 8;
    let packed = !data_type.bits().is_multiple_of(8) || n_bytes == 0;
    if packed || data.iter().any(|t| t.data_type() != data_type) {
        return None;
    }
    let arrangements = arrange(node, inputs, MAX_EVALUATED_ELEMENTS)?;
    let joined: Vec<u8>;
    let pool: &[u8] = match data.as_slice() {
        [only] => only.bytes(),
        several => {
            joined = several
                .iter()
                .flat_map(|t| t.bytes().iter().copied())
                .collect();
            &joined
        }
    };
    arrangements
        .into_iter()
        .map(|a| {
            let mut bytes = Vec::with_capacity(a.source.len() * n_bytes);
            for position in a.source {
                bytes.extend_from_slice(pool.get(position * n_bytes..(position + 1) * n_bytes)?);
            }
            Tensor::from_raw(data_type, a.dims, bytes.into()).ok()
        })
        .collect()
}

fn shape(node: &NodeProto, x: &Tensor) -> Option<Tensor> {
    let rank = x.dims().len() as i64;
    let bound = |name: &str, default: i64| -> Option<usize> {
        let v = node.int(name).ok()?.unwrap_or(default);
        Some((if v < 0 { v.saturating_add(rank) } else { v }).clamp(0, rank) as usize)
    };
    let start = bound("start", 0)?;
    let end = bound("end", rank)?.max(start);
    let dims: Vec<i64> = x.dims()[start..end].iter().map(|&d| d as i64).collect();
    Some(Tensor::from_i64(vec![dims.len()], &dims))
}

fn constant_of_shape(node: &NodeProto, shape: &Tensor) -> Option<Tensor> {
    let dims = shape
        .to_i64_vec()?
        .into_iter()
        .map(|d| usize::try_from(d).ok())
        .collect::<Option<Vec<_>>>()?;
    let n = count(&dims).filter(|&n| n <= MAX_EVALUATED_ELEMENTS)?;
    let value = match node.find_attribute("value") {
        Some(attribute) => Tensor::from_proto(attribute.t.as_deref()?).ok()?,
        None => Tensor::from_f32(vec![1], &[0.0]),
    };
    if value.len() != 1 || !value.data_type().bits().is_multiple_of(8) {
        return None;
    }
    Tensor::from_raw(value.data_type(), dims, value.bytes().repeat(n).into()).ok()
}

fn range(start: &Tensor, limit: &Tensor, step: &Tensor) -> Option<Tensor> {
    let one = |t: &Tensor| match t.to_i64_vec()?.as_slice() {
        [only] => Some(i128::from(*only)),
        _ => None,
    };
    let (first, limit, step) = (one(start)?, one(limit)?, one(step)?);
    if step == 0 {
        return None;
    }
    let n = ((limit - first + step - step.signum()) / step).max(0);
    let n = usize::try_from(n)
        .ok()
        .filter(|&n| n <= MAX_EVALUATED_ELEMENTS)?;
    let values = (0..n).map(|i| first + step * i as i128);
    match start.data_type() {
        DataType::I64 => Some(Tensor::from_i64(
            vec![n],
            &values.map(|v| v as i64).collect::<Vec<_>>(),
        )),
        DataType::I32 => Some(Tensor::from_i32(
            vec![n],
            &values.map(|v| v as i32).collect::<Vec<_>>(),
        )),
        _ => None,
    }
}

/// Coordinates of the elements that are not zero: `[rank, n]`.
fn non_zero(x: &Tensor) -> Option<Tensor> {
    let set: Vec<bool> = match Elements::of(x)? {
        Elements::F32(v) => v.iter().map(|&v| v != 0.0).collect(),
        Elements::I64(v) => v.iter().map(|&v| v != 0).collect(),
        Elements::I32(v) => v.iter().map(|&v| v != 0).collect(),
        Elements::Bool(v) => v,
    };
    let positions: Vec<usize> = (0..set.len()).filter(|&i| set[i]).collect();
    let mut coordinates = Vec::with_capacity(x.dims().len() * positions.len());
    for axis in 0..x.dims().len() {
        let run = count(&x.dims()[axis + 1..])?.max(1);
        let extent = x.dims()[axis].max(1);
        coordinates.extend(positions.iter().map(|p| (p / run % extent) as i64));
    }
    Some(Tensor::from_i64(
        vec![x.dims().len(), positions.len()],
        &coordinates,
    ))
}

fn cast(node: &NodeProto, x: &Tensor) -> Option<Tensor> {
    let target = DataType::from_code(i32::try_from(node.int("to").ok()??).ok()?)?;
    let dims = x.dims().to_vec();
    let elements = Elements::of(x)?;
    let integers = |limit: (i64, i64)| -> Option<Vec<i64>> {
        let within = |v: i64| (limit.0..=limit.1).contains(&v).then_some(v);
        match &elements {
            Elements::I64(v) => v.iter().map(|&v| within(v)).collect(),
            Elements::I32(v) => v.iter().map(|&v| within(v.into())).collect(),
            Elements::Bool(v) => Some(v.iter().map(|&v| v.into()).collect()),
            // Beyond what a float32 holds exactly, the result depends on the runtime.
            Elements::F32(v) => v
                .iter()
                .map(|&v| {
                    (v.abs() < 16_777_216.0)
                        .then_some(v as i64)
                        .and_then(within)
                })
                .collect(),
        }
    };
    match target {
        DataType::I64 => Elements::I64(integers((i64::MIN, i64::MAX))?),
        DataType::I32 => Elements::I32(
            integers((i32::MIN.into(), i32::MAX.into()))?
                .into_iter()
                .map(|v| v as i32)
                .collect(),
        ),
        DataType::Bool => Elements::Bool(match &elements {
            Elements::F32(v) => v.iter().map(|&v| v != 0.0).collect(),
            Elements::I64(v) => v.iter().map(|&v| v != 0).collect(),
            Elements::I32(v) => v.iter().map(|&v| v != 0).collect(),
            Elements::Bool(v) => v.clone(),
        }),
        DataType::F32 => Elements::F32(match elements {
            Elements::F32(v) => v,
            Elements::I64(v) => v.iter().map(|&v| v as f32).collect(),
            Elements::I32(v) => v.iter().map(|&v| v as f32).collect(),
            Elements::Bool(v) => v.iter().map(|&v| f32::from(u8::from(v))).collect(),
        }),
        _ => return None,
    }
    .into_tensor(dims)
}

fn select(condition: &Tensor, yes: &Tensor, no: &Tensor) -> Option<Tensor> {
    let dims = broadcast_dims(&broadcast_dims(condition.dims(), yes.dims())?, no.dims())?;
    let data_type = yes.data_type();
    let n_bytes = data_type.bits() / 8;
    if no.data_type() != data_type
        || condition.data_type() != DataType::Bool
        || !data_type.bits().is_multiple_of(8)
        || n_bytes == 0
    {
        return None;
    }
    let at = |t: &Tensor| spread(t.dims(), &dims, MAX_EVALUATED_ELEMENTS);
    let (conditions, yeses, noes) = (at(condition)?, at(yes)?, at(no)?);
    let mut bytes = Vec::with_capacity(conditions.len() * n_bytes);
    for ((c, y), n) in conditions.into_iter().zip(yeses).zip(noes) {
        let (from, position) = match condition.bytes().get(c)? {
            0 => (no, n),
            _ => (yes, y),
        };
        let element = position * n_bytes..(position + 1) * n_bytes;
        bytes.extend_from_slice(from.bytes().get(element)?);
    }
    Tensor::from_raw(data_type, dims, bytes.into()).ok()
}

fn unary(op: &str, x: &Tensor) -> Option<Tensor> {
    let elements = match Elements::of(x)? {
        Elements::F32(v) => {
            let f: fn(f32) -> f32 = match op {
                "Neg" => |v| -v,
                "Abs" => f32::abs,
                "Sqrt" => f32::sqrt,
                "Reciprocal" => |v| 1.0 / v,
                "Floor" => f32::floor,
                "Ceil" => f32::ceil,
                "Round" => f32::round_ties_even,
                _ => return None,
            };
            Elements::F32(v.into_iter().map(f).collect())
        }
        Elements::I64(v) => {
            let f: fn(i64) -> Option<i64> = match op {
                "Neg" => i64::checked_neg,
                "Abs" => i64::checked_abs,
                _ => return None,
            };
            Elements::I64(v.into_iter().map(f).collect::<Option<_>>()?)
        }
        Elements::I32(v) => {
            let f: fn(i32) -> Option<i32> = match op {
                "Neg" => i32::checked_neg,
                "Abs" => i32::checked_abs,
                _ => return None,
            };
            Elements::I32(v.into_iter().map(f).collect::<Option<_>>()?)
        }
        Elements::Bool(v) if op == "Not" => Elements::Bool(v.into_iter().map(|v| !v).collect()),
        Elements::Bool(_) => return None,
    };
    elements.into_tensor(x.dims().to_vec())
}

fn binary(node: &NodeProto, a: &Tensor, b: &Tensor) -> Option<Tensor> {
    // Before opset 7 the right-hand side was aligned by an attribute.
    if node.int("broadcast").ok()?.unwrap_or(0) != 0 {
        return None;
    }
    let dims = broadcast_dims(a.dims(), b.dims())?;
    let left = spread(a.dims(), &dims, MAX_EVALUATED_ELEMENTS)?;
    let right = spread(b.dims(), &dims, MAX_EVALUATED_ELEMENTS)?;
    let positions = || left.iter().copied().zip(right.iter().copied());
    let op = node.op();
    let sign = match node.int("fmod").ok()? {
        None | Some(0) => Remainder::LikeDivisor,
        Some(_) => Remainder::LikeDividend,
    };
    let elements = match (Elements::of(a)?, Elements::of(b)?) {
        (Elements::F32(a), Elements::F32(b)) => {
            let pairs = || positions().map(|(i, j)| (a[i], b[j]));
            if let Some(f) = comparison::<f32>(op) {
                Elements::Bool(pairs().map(|(a, b)| f(&a, &b)).collect())
            } else {
                let f: fn(f32, f32) -> f32 = match op {
                    "Add" => |a, b| a + b,
                    "Sub" => |a, b| a - b,
                    "Mul" => |a, b| a * b,
                    "Div" => |a, b| a / b,
                    _ => return None,
                };
                Elements::F32(pairs().map(|(a, b)| f(a, b)).collect())
            }
        }
        (Elements::I64(a), Elements::I64(b)) => {
            let pairs = || positions().map(|(i, j)| (a[i], b[j]));
            match comparison::<i64>(op) {
                Some(f) => Elements::Bool(pairs().map(|(a, b)| f(&a, &b)).collect()),
                None => Elements::I64(
                    pairs()
                        .map(|(a, b)| integer_arithmetic(op, sign, a, b))
                        .collect::<Option<_>>()?,
                ),
            }
        }
        (Elements::I32(a), Elements::I32(b)) => {
            let pairs = || positions().map(|(i, j)| (a[i], b[j]));
            match comparison::<i32>(op) {
                Some(f) => Elements::Bool(pairs().map(|(a, b)| f(&a, &b)).collect()),
                None => Elements::I32(
                    pairs()
                        .map(|(a, b)| {
                            let exact = integer_arithmetic(op, sign, a.into(), b.into())?;
                            i32::try_from(exact).ok()
                        })
                        .collect::<Option<_>>()?,
                ),
            }
        }
        (Elements::Bool(a), Elements::Bool(b)) => {
            let f: fn(bool, bool) -> bool = match op {
                "And" => |a, b| a && b,
                "Or" => |a, b| a || b,
                "Xor" => |a, b| a != b,
                "Equal" => |a, b| a == b,
                _ => return None,
            };
            Elements::Bool(positions().map(|(i, j)| f(a[i], b[j])).collect())
        }
        _ => return None,
    };
    elements.into_tensor(dims)
}

/// Number of elements.
fn count(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}
