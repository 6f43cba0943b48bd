//! Steps that are patterns of exporters, right or a little off, and the small things between them.

use tilecast_onnx::{DataType, Tensor, attribute};

use super::builder::{Builder, Value};

/// Layer normalization, taken apart.
pub(super) fn layer_norm(b: &mut Builder<'_>, x: &Value) {
    let rank = x.rank();
    let axis = if b.choices.one_in(2) && rank > 1 {
        1
    } else {
        rank - 1
    };
    let name_of = |b: &mut Builder<'_>| {
        let from_end = axis as i64 - rank as i64;
        b.choices.pick(&[axis as i64, from_end])
    };
    let at = name_of(b);
    let mean = b.reduce("ReduceMean", &x.name, &[at], true);
    let centered = b.op("Sub", &[&x.name, &mean], vec![]);
    let inner = if b.choices.one_in(3) {
        let at = name_of(b);
        let mean = b.reduce("ReduceMean", &x.name, &[at], true);
        b.op("Sub", &[&x.name, &mean], vec![])
    } else {
        centered.clone()
    };
    let squares = if b.choices.one_in(2) {
        b.op("Mul", &[&inner, &inner], vec![])
    } else {
        let two = b.formula(2.0);
        b.op("Pow", &[&inner, &two], vec![])
    };
    let at = name_of(b);
    let variance = if b.choices.one_in(4) {
        let dropped = b.reduce("ReduceMean", &squares, &[at], false);
        b.listed("Unsqueeze", &dropped, ("axes", &[axis as i64]), 13, vec![])
    } else {
        b.reduce("ReduceMean", &squares, &[at], true)
    };
    let epsilon = b.scalar(1e-2);
    let sum = if b.choices.one_in(2) {
        b.op("Add", &[&epsilon, &variance], vec![])
    } else {
        b.op("Add", &[&variance, &epsilon], vec![])
    };
    let deviation = b.op("Sqrt", &[&sum], vec![]);
    let divided = if b.choices.one_in(16) {
        &x.name
    } else {
        &centered
    };
    let normal = b.op("Div", &[divided, &deviation], vec![]);
    b.push(&normal, &x.dims, false);
    for op in ["Mul", "Add"] {
        let mut dims = vec![1; rank];
        dims[axis] = x.dims[axis];
        let dims = match b.choices.below(6) {
            0..=2 => dims[axis..].to_vec(),
            3 => dims,
            4 => vec![],
            _ => continue,
        };
        let constant = b.random(&dims, 0.6, 0.4);
        let newest = b.values[b.values.len() - 1].name.clone();
        let y = b.op(op, &[&newest, &constant], vec![]);
        b.push(&y, &x.dims, false);
    }
}

/// Group normalization by `InstanceNormalization` between reshapes.
pub(super) fn group_norm(b: &mut Builder<'_>, x: &Value) {
    if !x.is_image() {
        return;
    }
    let channels = x.dims[1];
    let groups = match b.choices.below(4) {
        0 if channels.is_multiple_of(2) => 2,
        1 => channels,
        _ => 1,
    };
    let there = match b.choices.below(2) {
        0 => vec![0, groups as i64, -1],
        _ => vec![x.dims[0] as i64, groups as i64, -1],
    };
    let there = b.integers(&there);
    let grouped = b.op("Reshape", &[&x.name, &there], vec![]);
    let (one, zero) = if b.choices.one_in(16) {
        (0.9, 0.1)
    } else {
        (1.0, 0.0)
    };
    let scale = b.floats(&[groups], &vec![one; groups]);
    let bias = b.floats(&[groups], &vec![zero; groups]);
    let mut attributes = vec![];
    if b.choices.one_in(2) {
        attributes.push(attribute::float("epsilon", 1e-2));
    }
    let normal = b.op(
        "InstanceNormalization",
        &[&grouped, &scale, &bias],
        attributes,
    );
    let back = if b.choices.below(2) == 0 {
        b.op("Shape", &[&x.name], vec![])
    } else {
        let dims: Vec<i64> = x.dims.iter().map(|&d| d as i64).collect();
        b.integers(&dims)
    };
    let restored = b.op("Reshape", &[&normal, &back], vec![]);
    b.push(&restored, &x.dims, false);
    for op in ["Mul", "Add"] {
        let dims = match b.choices.below(5) {
            0 | 1 => vec![channels, 1, 1],
            2 => vec![1, channels, 1, 1],
            3 => vec![],
            _ => continue,
        };
        let constant = b.random(&dims, 0.6, 0.4);
        let newest = b.values[b.values.len() - 1].name.clone();
        let y = b.op(op, &[&constant, &newest], vec![]);
        b.push(&y, &x.dims, false);
    }
}

/// GELU with its factors in one of several orders.
pub(super) fn gelu(b: &mut Builder<'_>, x: &Value) {
    let bent = if b.choices.one_in(2) {
        let cube = if b.choices.one_in(2) {
            let three = b.formula(3.0);
            b.op("Pow", &[&x.name, &three], vec![])
        } else {
            let square = b.op("Mul", &[&x.name, &x.name], vec![]);
            b.op("Mul", &[&x.name, &square], vec![])
        };
        let weight = b.formula(0.044_715);
        let term = b.op("Mul", &[&cube, &weight], vec![]);
        let sum = b.op("Add", &[&x.name, &term], vec![]);
        let factor = b.formula(0.797_884_6);
        let inside = b.op("Mul", &[&factor, &sum], vec![]);
        b.op("Tanh", &[&inside], vec![])
    } else {
        let inside = if b.choices.one_in(2) {
            let root = b.formula(std::f32::consts::SQRT_2);
            b.op("Div", &[&x.name, &root], vec![])
        } else {
            let factor = b.formula(std::f32::consts::FRAC_1_SQRT_2);
            b.op("Mul", &[&x.name, &factor], vec![])
        };
        b.op("Erf", &[&inside], vec![])
    };
    let one = b.formula(1.0);
    let gate = b.op("Add", &[&bent, &one], vec![]);
    let half = b.formula(0.5);
    let (first, second) = match b.choices.below(3) {
        0 => (b.op("Mul", &[&x.name, &gate], vec![]), half),
        1 => (b.op("Mul", &[&gate, &half], vec![]), x.name.clone()),
        _ => (b.op("Mul", &[&x.name, &half], vec![]), gate),
    };
    if b.choices.one_in(16) {
        b.output(&first);
    }
    let y = b.op("Mul", &[&first, &second], vec![]);
    b.push(&y, &x.dims, false);
}

/// Hard swish by `HardSigmoid` or by `Clip`.
pub(super) fn hard_swish(b: &mut Builder<'_>, x: &Value) {
    if b.choices.one_in(2) {
        let alpha = if b.choices.one_in(8) { 0.2 } else { 1.0 / 6.0 };
        let attributes = vec![
            attribute::float("alpha", alpha),
            attribute::float("beta", 0.5),
        ];
        let gate = b.op("HardSigmoid", &[&x.name], attributes);
        let y = b.op("Mul", &[&gate, &x.name], vec![]);
        return b.push(&y, &x.dims, false);
    }
    let three = b.formula(3.0);
    let sum = b.op("Add", &[&x.name, &three], vec![]);
    // Not by `scalar`: the bounds of Clip have no dimension.
    let bounds = [0.0, b.choices.pick(&[6.0, 6.0, 6.0, 5.5])].map(|v| b.floats(&[], &[v]));
    let gate = b.op("Clip", &[&sum, &bounds[0], &bounds[1]], vec![]);
    let six = b.formula(6.0);
    let y = if b.choices.one_in(2) {
        let product = b.op("Mul", &[&x.name, &gate], vec![]);
        b.op("Div", &[&product, &six], vec![])
    } else {
        let scaled = b.op("Div", &[&gate, &six], vec![]);
        b.op("Mul", &[&scaled, &x.name], vec![])
    };
    b.push(&y, &x.dims, false);
}

/// Casts there and back. Those that lose something are only made of exact values: a rounding that falls the other way
/// would be a difference that no pass is to blame for.
pub(super) fn casts(b: &mut Builder<'_>, x: &Value) {
    let wide = [DataType::F64, DataType::F32];
    let narrow = [DataType::F16, DataType::F64, DataType::F32, DataType::I32];
    let mut name = x.name.clone();
    let mut from = DataType::F32;
    for _ in 0..=b.choices.below(3) {
        let mut to = if x.is_exact {
            b.choices.pick(&narrow)
        } else {
            b.choices.pick(&wide)
        };
        if from == DataType::F64 && to == DataType::F16 {
            // The engine refuses this one.
            to = DataType::F32;
        }
        from = to;
        let to = attribute::int("to", to.code().into());
        name = b.op("Cast", &[&name], vec![to]);
    }
    let to = attribute::int("to", DataType::F32.code().into());
    let y = b.op("Cast", &[&name], vec![to]);
    b.push(&y, &x.dims, x.is_exact);
}

/// A node that gives back its input, or looks like it.
pub(super) fn does_nothing(b: &mut Builder<'_>, x: &Value) {
    let axis = vec![attribute::int("axis", 0)];
    let y = match b.choices.below(8) {
        0 | 1 => b.op("Identity", &[&x.name], vec![]),
        2 if b.opset < 12 => {
            let ratio = attribute::float("ratio", 0.5);
            b.op("Dropout", &[&x.name], vec![ratio])
        }
        2 => {
            let ratio = b.floats(&[], &[0.5]);
            b.op("Dropout", &[&x.name, &ratio], vec![])
        }
        3 => b.op("Concat", &[&x.name], axis),
        4 => b.op("Sum", &[&x.name], vec![]),
        5 => {
            let start = b.choices.pick(&[0, 0, 1]);
            if x.dims[1] <= start {
                return;
            }
            let y = b.slice(&x.name, 1, start as i64, i64::MAX);
            let mut dims = x.dims.clone();
            dims[1] -= start;
            return b.push(&y, &dims, x.is_exact);
        }
        6 => {
            let shape = b.op("Shape", &[&x.name], vec![]);
            b.op("Expand", &[&x.name, &shape], vec![])
        }
        _ => {
            let like = b.floats(&[], &[0.0]);
            if b.opset >= 15 {
                b.op("CastLike", &[&x.name, &like], vec![])
            } else {
                b.op("Add", &[&x.name, &like], vec![])
            }
        }
    };
    b.push(&y, &x.dims, x.is_exact);
}

pub(super) fn activation(b: &mut Builder<'_>, x: &Value) {
    let (op, attributes, is_exact) = match b.choices.below(10) {
        0 => ("Relu", vec![], true),
        1 => ("Sigmoid", vec![], false),
        2 => ("Tanh", vec![], false),
        3 => ("LeakyRelu", vec![attribute::float("alpha", 0.1)], false),
        4 => ("Abs", vec![], true),
        5 => ("Neg", vec![], true),
        6 => ("Erf", vec![], false),
        7 => ("HardSigmoid", vec![], false),
        8 => ("Softmax", vec![attribute::int("axis", -1)], false),
        _ => {
            let slope = b.random(&[1], 0.2, 0.1);
            let y = b.op("PRelu", &[&x.name, &slope], vec![]);
            return b.push(&y, &x.dims, false);
        }
    };
    // Before opset 13 it works on more than one axis, which this generator has no use for.
    let op = if op == "Softmax" && b.opset < 13 {
        "Tanh"
    } else {
        op
    };
    let attributes = if op == "Tanh" { vec![] } else { attributes };
    let y = b.op(op, &[&x.name], attributes);
    b.push(&y, &x.dims, is_exact && x.is_exact);
}

/// Two values of the same shape as one.
pub(super) fn join(b: &mut Builder<'_>, x: &Value) {
    let others: Vec<Value> = b
        .values
        .iter()
        .filter(|v| v.dims == x.dims)
        .cloned()
        .collect();
    let other = others[b.choices.below(others.len())].clone();
    let is_exact = x.is_exact && other.is_exact;
    match b.choices.below(6) {
        0 | 1 => {
            let y = b.op("Add", &[&x.name, &other.name], vec![]);
            b.push(&y, &x.dims, false);
        }
        2 => {
            let y = b.op("Mul", &[&x.name, &other.name], vec![]);
            b.push(&y, &x.dims, false);
        }
        3 => {
            let y = b.op("Sub", &[&x.name, &other.name], vec![]);
            b.push(&y, &x.dims, false);
        }
        4 => {
            let y = b.op("Max", &[&x.name, &other.name], vec![]);
            b.push(&y, &x.dims, is_exact);
        }
        _ if x.dims[1] <= 8 => {
            let axis = vec![attribute::int("axis", 1)];
            let y = b.op("Concat", &[&x.name, &other.name], axis);
            let mut dims = x.dims.clone();
            dims[1] *= 2;
            b.push(&y, &dims, is_exact);
        }
        _ => {}
    }
}

/// A factor per channel from the average over the image, and the image times the factor.
pub(super) fn channel_attention(b: &mut Builder<'_>, x: &Value) {
    if !x.is_image() {
        return;
    }
    let pooled = match b.choices.below(2) {
        0 => b.op("GlobalAveragePool", &[&x.name], vec![]),
        _ => b.reduce("ReduceMean", &x.name, &[2, 3], true),
    };
    let channels = x.dims[1];
    let weights = b.random(&[channels, channels, 1, 1], 0.0, 0.6);
    let factor = b.op("Conv", &[&pooled, &weights], vec![]);
    b.push(&factor, &[x.dims[0], channels, 1, 1], false);
    let y = b.op("Mul", &[&x.name, &factor], vec![]);
    b.push(&y, &x.dims, false);
    let half = Tensor::from_f32(vec![1, 1, 1, 1], &[0.5]);
    let half = b.constant(&half);
    let y = b.op("Mul", &[&y, &half], vec![]);
    b.push(&y, &x.dims, false);
}
