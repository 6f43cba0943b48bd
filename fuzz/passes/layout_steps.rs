//! Steps that move elements, and the arithmetic of shapes that exporters write for them.

use tilecast_onnx::{Tensor, attribute};

use super::builder::{Builder, MAX_ELEMENTS, Value};

/// Slices along one axis, which may be all of its parts, and what is made of them.
pub(super) fn slices(b: &mut Builder<'_>, x: &Value) {
    let axis = match b.choices.below(4) {
        0..=2 => 1,
        _ => b.choices.below(x.rank()),
    };
    let length = x.dims[axis];
    if length < 2 {
        return;
    }
    let cut = match b.choices.below(3) {
        0 | 1 => length / 2,
        _ => 1 + b.choices.below(length - 1),
    };
    // From the end where negative, and beyond the end where large.
    let signed = |b: &mut Builder<'_>, bound: usize| match b.choices.below(3) {
        0 | 1 => bound as i64,
        _ if bound == length => b.choices.pick(&[i64::MAX, length as i64 + 3]),
        _ => bound as i64 - length as i64,
    };
    let axis_name = if b.choices.one_in(2) {
        axis as i64
    } else {
        axis as i64 - x.rank() as i64
    };
    let (first_end, second_start) = match b.choices.below(8) {
        6 if cut > 1 => (cut - 1, cut),
        7 => (cut, cut.saturating_sub(1)),
        _ => (cut, cut),
    };
    let end = signed(b, first_end);
    let a = b.slice(&x.name, axis_name, 0, end);
    let (start, end) = (signed(b, second_start), signed(b, length));
    let c = b.slice(&x.name, axis_name, start, end);
    let dims_of = |extent: usize| {
        let mut dims = x.dims.clone();
        dims[axis] = extent;
        dims
    };
    b.push(&a, &dims_of(first_end), x.is_exact);
    b.push(&c, &dims_of(length - second_start), x.is_exact);
    if first_end == length - second_start && b.choices.below(4) > 0 {
        let op = b.choices.pick(&["Mul", "Add"]);
        let y = b.op(op, &[&a, &c], vec![]);
        b.push(&y, &dims_of(first_end), false);
    }
}

/// `Split` into equal or other parts, and both together again in some order.
pub(super) fn split(b: &mut Builder<'_>, x: &Value) {
    let axis = b.choices.pick(&[1, 1, x.rank() - 1]);
    let length = x.dims[axis];
    if length < 2 {
        return;
    }
    let cut = if b.choices.one_in(3) { 1 } else { length / 2 };
    let sizes = [cut as i64, (length - cut) as i64];
    let mut attributes = vec![attribute::int("axis", axis as i64)];
    let parts = if b.opset >= 13 {
        let sizes = b.integers(&sizes);
        b.op_of("Split", &[&x.name, &sizes], attributes, 2)
    } else {
        attributes.push(attribute::ints("split", &sizes));
        b.op_of("Split", &[&x.name], attributes, 2)
    };
    let order = if b.choices.one_in(2) { [1, 0] } else { [0, 1] };
    let joined = b.op(
        "Concat",
        &order.map(|i| parts[i].as_str()),
        vec![attribute::int("axis", axis as i64)],
    );
    b.push(&joined, &x.dims, x.is_exact);
}

/// A reshape to tokens or to something else, and back by one of the ways that exporters write.
pub(super) fn reshape_there_and_back(b: &mut Builder<'_>, x: &Value) {
    let dims: Vec<i64> = x.dims.iter().map(|&d| d as i64).collect();
    let (there, there_dims) = match b.choices.below(4) {
        0 if x.is_image() => (
            vec![0, 0, -1],
            vec![x.dims[0], x.dims[1], x.dims[2] * x.dims[3]],
        ),
        1 => (vec![-1], vec![x.n_elements()]),
        2 => (
            vec![x.dims[0] as i64, -1],
            vec![x.dims[0], x.n_elements() / x.dims[0]],
        ),
        3 if x.rank() == 1 => (vec![1, -1], vec![1, x.dims[0]]),
        _ => (
            [&dims[..1], &[1], &dims[1..]].concat(),
            [&x.dims[..1], &[1], &x.dims[1..]].concat(),
        ),
    };
    let target = b.integers(&there);
    let y = b.op("Reshape", &[&x.name, &target], vec![]);
    b.push(&y, &there_dims, x.is_exact);
    let target = match b.choices.below(5) {
        0 => b.op("Shape", &[&x.name], vec![]),
        1 => b.integers(&dims),
        2 => {
            let open: Vec<i64> = dims
                .iter()
                .enumerate()
                .map(|(a, &d)| if a == 1 { -1 } else { d })
                .collect();
            b.integers(&open)
        }
        3 => shape_of_parts(b, x),
        _ => return,
    };
    let z = b.op("Reshape", &[&y, &target], vec![]);
    b.push(&z, &x.dims, x.is_exact);
}

/// The shape of a value, each extent gathered on its own.
fn shape_of_parts(b: &mut Builder<'_>, x: &Value) -> String {
    let mut parts = Vec::new();
    for axis in 0..x.rank() {
        let part = if b.choices.below(3) == 0 {
            b.integers(&[x.dims[axis] as i64])
        } else {
            let extent = extent_of(b, x, axis);
            b.listed("Unsqueeze", &extent, ("axes", &[0]), 13, vec![])
        };
        parts.push(part);
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    b.op("Concat", &parts, vec![attribute::int("axis", 0)])
}

/// One extent of a value as an integer scalar, perhaps by a detour.
fn extent_of(b: &mut Builder<'_>, x: &Value, axis: usize) -> String {
    let shape = b.op("Shape", &[&x.name], vec![]);
    let at = b.integer(axis as i64);
    let extent = b.op("Gather", &[&shape, &at], vec![attribute::int("axis", 0)]);
    match b.choices.below(6) {
        3 => {
            let one = b.integer(1);
            b.op("Mul", &[&extent, &one], vec![])
        }
        4 => {
            let two = b.integer(2);
            let twice = b.op("Mul", &[&extent, &two], vec![]);
            b.op("Div", &[&twice, &two], vec![])
        }
        5 => {
            let float = b.op("Cast", &[&extent], vec![attribute::int("to", 1)]);
            let floor = b.op("Floor", &[&float], vec![]);
            b.op("Cast", &[&floor], vec![attribute::int("to", 7)])
        }
        _ => extent,
    }
}

/// One or two transpositions.
pub(super) fn transpose(b: &mut Builder<'_>, x: &Value) {
    let mut x = x.clone();
    for _ in 0..=b.choices.below(3) {
        let perm: Vec<usize> = match x.rank() {
            4 => b
                .choices
                .pick(&[
                    [0, 2, 3, 1],
                    [0, 3, 1, 2],
                    [0, 1, 3, 2],
                    [0, 1, 2, 3],
                    [1, 0, 2, 3],
                ])
                .to_vec(),
            3 => b.choices.pick(&[[0, 2, 1], [1, 0, 2], [0, 1, 2]]).to_vec(),
            rank => (0..rank).rev().collect(),
        };
        let ints: Vec<i64> = perm.iter().map(|&p| p as i64).collect();
        let y = b.op(
            "Transpose",
            &[&x.name],
            vec![attribute::ints("perm", &ints)],
        );
        let dims: Vec<usize> = perm.iter().map(|&p| x.dims[p]).collect();
        b.push(&y, &dims, x.is_exact);
        x = Value {
            name: y,
            dims,
            is_exact: x.is_exact,
        };
        if b.choices.one_in(8) {
            let y = b.op("Relu", &[&x.name], vec![]);
            b.push(&y, &x.dims, x.is_exact);
            x.name = y;
        }
    }
}

/// Pixel shuffle or unshuffle as three nodes.
pub(super) fn pixel_shuffle(b: &mut Builder<'_>, x: &Value) {
    if !x.is_image() {
        return;
    }
    let [n, c, h, w] = [x.dims[0], x.dims[1], x.dims[2], x.dims[3]];
    let shuffles = b.choices.one_in(2);
    let (split, perms, joined) = if shuffles && c.is_multiple_of(4) {
        let order = b.choices.one_in(2);
        let split = if order {
            [n, c / 4, 2, 2, h, w]
        } else {
            [n, 2, 2, c / 4, h, w]
        };
        let perm = if order {
            [0, 1, 4, 2, 5, 3]
        } else {
            [0, 3, 4, 1, 5, 2]
        };
        (split, [perm, [0, 1, 4, 3, 5, 2]], [n, c / 4, 2 * h, 2 * w])
    } else if h.is_multiple_of(2) && w.is_multiple_of(2) {
        let split = [n, c, h / 2, 2, w / 2, 2];
        (
            split,
            [[0, 1, 3, 5, 2, 4], [0, 3, 5, 1, 2, 4]],
            [n, 4 * c, h / 2, w / 2],
        )
    } else {
        return;
    };
    let perm = if b.choices.one_in(4) {
        perms[1]
    } else {
        perms[0]
    };
    let moved = perm.map(|p: usize| split[p]);
    // A wrong order of the axes may leave shapes that do not join this way; then the elements are only dealt anew.
    let ints = |dims: &[usize]| -> Vec<i64> { dims.iter().map(|&d| d as i64).collect() };
    let mut targets = [ints(&split), ints(&joined)];
    match b.choices.below(4) {
        0 => targets[0][0] = 0,
        1 => targets[1][2] = -1,
        2 => targets[1][0] = -1,
        _ => {}
    }
    debug_assert_eq!(
        moved.iter().product::<usize>(),
        joined.iter().product::<usize>()
    );
    let target = b.integers(&targets[0]);
    let r = b.op("Reshape", &[&x.name, &target], vec![]);
    let perm: Vec<i64> = perm.iter().map(|&p| p as i64).collect();
    let t = b.op("Transpose", &[&r], vec![attribute::ints("perm", &perm)]);
    let target = b.integers(&targets[1]);
    let y = b.op("Reshape", &[&t, &target], vec![]);
    b.push(&y, &joined, x.is_exact);
}

/// An axis of one that comes and goes.
pub(super) fn squeeze(b: &mut Builder<'_>, x: &Value) {
    let axis = b.choices.below(x.rank() + 1);
    let y = b.listed("Unsqueeze", &x.name, ("axes", &[axis as i64]), 13, vec![]);
    let mut dims = x.dims.clone();
    dims.insert(axis, 1);
    b.push(&y, &dims, x.is_exact);
    if dims.len() == 5 || b.choices.one_in(2) {
        let z = match b.choices.below(3) {
            0 | 1 => b.listed("Squeeze", &y, ("axes", &[axis as i64]), 13, vec![]),
            _ => {
                let shape = b.op("Shape", &[&x.name], vec![]);
                b.op("Reshape", &[&y, &shape], vec![])
            }
        };
        b.push(&z, &x.dims, x.is_exact);
    }
}

/// Padding to a multiple as NAFNet does it, and cutting the image out again.
pub(super) fn pad_to_a_multiple(b: &mut Builder<'_>, x: &Value) {
    if !x.is_image() {
        return;
    }
    let unit = 4_usize;
    let mut dims = x.dims.clone();
    let mut ends = Vec::new();
    let unit_name = b.integer(unit as i64);
    for axis in [2, 3] {
        let extent = extent_of(b, x, axis);
        let rest = b.op("Mod", &[&extent, &unit_name], vec![]);
        let missing = b.op("Sub", &[&unit_name, &rest], vec![]);
        let missing = b.op("Mod", &[&missing, &unit_name], vec![]);
        ends.push(b.listed("Unsqueeze", &missing, ("axes", &[0]), 13, vec![]));
        dims[axis] = dims[axis].next_multiple_of(unit);
    }
    if dims.iter().product::<usize>() > MAX_ELEMENTS {
        return;
    }
    let starts = b.integers(&[0; 6]);
    let pads = b.op(
        "Concat",
        &[&starts, &ends[0], &ends[1]],
        vec![attribute::int("axis", 0)],
    );
    let padded = b.op("Pad", &[&x.name, &pads], vec![]);
    b.push(&padded, &dims, x.is_exact);
    let middle = if b.choices.below(3) == 0 {
        padded
    } else {
        let y = b.op("Relu", &[&padded], vec![]);
        b.push(&y, &dims, x.is_exact);
        y
    };
    if b.choices.below(4) == 3 {
        return;
    }
    let mut cut = middle;
    for axis in [2, 3] {
        let end = extent_of(b, x, axis);
        let end = b.listed("Unsqueeze", &end, ("axes", &[0]), 13, vec![]);
        let start = b.integers(&[0]);
        let axis = b.integers(&[axis as i64]);
        cut = b.op("Slice", &[&cut, &start, &end, &axis], vec![]);
    }
    b.push(&cut, &x.dims, x.is_exact);
}

/// `Expand` or `Tile` of an average back to the image, or of nothing.
pub(super) fn expand(b: &mut Builder<'_>, x: &Value) {
    match b.choices.below(3) {
        0 => {
            let axis = x.rank() as i64 - 1;
            let mean = b.reduce("ReduceMean", &x.name, &[axis], true);
            let shape = b.op("Shape", &[&x.name], vec![]);
            let y = b.op("Expand", &[&mean, &shape], vec![]);
            b.push(&y, &x.dims, false);
        }
        1 => {
            let repeats = b.integers(&vec![1; x.rank()]);
            let y = b.op("Tile", &[&x.name, &repeats], vec![]);
            b.push(&y, &x.dims, x.is_exact);
        }
        _ => {
            let shape = b.op("Shape", &[&x.name], vec![]);
            let zeros = if b.choices.below(2) == 0 {
                b.op("ConstantOfShape", &[&shape], vec![])
            } else {
                let half = Tensor::from_f32(vec![1], &[0.5]);
                let attributes = vec![attribute::tensor("value", &half)];
                b.op("ConstantOfShape", &[&shape], attributes)
            };
            let y = b.op("Add", &[&x.name, &zeros], vec![]);
            b.push(&y, &x.dims, false);
        }
    }
}

/// Sizes that are computed in several ways, and a reshape to them.
pub(super) fn shape_arithmetic(b: &mut Builder<'_>, x: &Value) {
    let target = shape_of_parts(b, x);
    let y = b.op("Reshape", &[&x.name, &target], vec![]);
    b.push(&y, &x.dims, x.is_exact);
    if b.choices.one_in(2) {
        let relu = b.op("Relu", &[&y], vec![]);
        b.push(&relu, &x.dims, x.is_exact);
        let relu = b.values[b.values.len() - 1].clone();
        let target = shape_of_parts(b, &relu);
        let z = b.op("Reshape", &[&relu.name, &target], vec![]);
        b.push(&z, &x.dims, x.is_exact);
    }
}
