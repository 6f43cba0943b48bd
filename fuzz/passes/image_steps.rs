//! Steps on images: convolutions, what is folded into them, and what changes the size of an image.

use tilecast_onnx::{Tensor, attribute};

use super::builder::{Builder, MAX_ELEMENTS, Value};

/// Extent of a window's result along one axis.
fn window(
    extent: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    pads: usize,
) -> Option<usize> {
    let reach = dilation * (kernel - 1) + 1;
    Some((extent + pads).checked_sub(reach)? / stride + 1)
}

pub(super) fn convolution(b: &mut Builder<'_>, x: &Value) {
    if !x.is_image() {
        return;
    }
    let channels = x.dims[1];
    let groups = match b.choices.below(4) {
        3 => channels,
        2 if channels.is_multiple_of(2) => 2,
        _ => 1,
    };
    let outputs = match b.choices.below(4) {
        0 => channels,
        1 => 2 * groups,
        2 => 4 * groups,
        _ => groups,
    };
    let kernel = b.choices.pick(&[3, 1, 1, 2]);
    let stride = b.choices.pick(&[1, 1, 1, 2]);
    let dilation = b.choices.pick(&[1, 1, 1, 2]);
    let mut attributes = vec![];
    if groups != 1 || b.choices.one_in(8) {
        attributes.push(attribute::int("group", groups as i64));
    }
    if kernel == 3 || b.choices.one_in(2) {
        attributes.push(attribute::ints("kernel_shape", &[kernel as i64; 2]));
    }
    if stride != 1 {
        attributes.push(attribute::ints("strides", &[stride as i64; 2]));
    }
    if dilation != 1 {
        attributes.push(attribute::ints("dilations", &[dilation as i64; 2]));
    }
    let mut pads = [0_usize; 4];
    match b.choices.below(6) {
        0 => pads = [kernel / 2; 4],
        1 => {}
        2 => pads = [1, 0, 2, 1],
        3 => {
            pads = [0, 1, 0, 1];
        }
        4 => attributes.push(attribute::string("auto_pad", "VALID")),
        _ => {
            let at = b.choices.pick(&["SAME_UPPER", "SAME_LOWER", "NOTSET"]);
            if dilation == 1 {
                attributes.push(attribute::string("auto_pad", at));
            }
            if at != "NOTSET" && dilation == 1 {
                // As many outputs as strides fit into the image.
                let dims = [
                    x.dims[0],
                    outputs,
                    x.dims[2].div_ceil(stride),
                    x.dims[3].div_ceil(stride),
                ];
                return finish(b, x, attributes, outputs, groups, kernel, &dims);
            }
        }
    }
    if pads.iter().any(|&p| p != 0) {
        let pads = pads.map(|p| p as i64);
        attributes.push(attribute::ints("pads", &pads));
    }
    let extent = |axis: usize| {
        let total = pads[axis - 2] + pads[axis];
        window(x.dims[axis], kernel, stride, dilation, total)
    };
    let (Some(height), Some(width)) = (extent(2), extent(3)) else {
        return;
    };
    finish(
        b,
        x,
        attributes,
        outputs,
        groups,
        kernel,
        &[x.dims[0], outputs, height, width],
    );
}

fn finish(
    b: &mut Builder<'_>,
    x: &Value,
    attributes: Vec<tilecast_onnx::proto::AttributeProto>,
    outputs: usize,
    groups: usize,
    kernel: usize,
    dims: &[usize],
) {
    if dims.iter().product::<usize>() > MAX_ELEMENTS {
        return;
    }
    let inputs = x.dims[1] / groups;
    let spread = 1.7 / ((inputs * kernel * kernel) as f32).sqrt();
    let weights = b.random(&[outputs, inputs, kernel, kernel], 0.0, spread);
    let y = if b.choices.below(3) == 0 {
        b.op("Conv", &[&x.name, &weights], attributes)
    } else {
        let bias = b.random(&[outputs], 0.0, 0.5);
        b.op("Conv", &[&x.name, &weights, &bias], attributes)
    };
    b.push(&y, dims, false);
    followed(b);
}

/// What is folded into a convolution, mostly.
fn followed(b: &mut Builder<'_>) {
    let y = b.values[b.values.len() - 1].clone();
    match b.choices.below(8) {
        0 => affine(b, &y),
        1 => batch_norm(b, &y),
        2 => {
            batch_norm(b, &y);
            let y = b.values[b.values.len() - 1].clone();
            affine(b, &y);
        }
        3 => {
            // Weights that two convolutions share, of which one is changed.
            if let Some(copy) = b.repeat_last() {
                b.push(&copy, &y.dims, false);
                let scale = b.random(&[y.dims[1], 1, 1], 0.8, 0.4);
                let y = Value { name: copy, ..y };
                let scaled = b.op("Mul", &[&y.name, &scale], vec![]);
                b.push(&scaled, &y.dims, false);
            }
        }
        _ => {}
    }
}

pub(super) fn transposed_convolution(b: &mut Builder<'_>, x: &Value) {
    if !x.is_image() {
        return;
    }
    let channels = x.dims[1];
    let groups = if b.choices.one_in(3) && channels.is_multiple_of(2) {
        2
    } else {
        1
    };
    let per_group = b.choices.pick(&[2, 1, 3]);
    let stride = b.choices.pick(&[2, 1]);
    let kernel = b.choices.pick(&[2, 3]);
    let pad = b.choices.pick(&[0, 0, 1]);
    let extent = |d: usize| {
        ((d - 1) * stride + kernel)
            .checked_sub(2 * pad)
            .filter(|&d| d > 0)
    };
    let (Some(height), Some(width)) = (extent(x.dims[2]), extent(x.dims[3])) else {
        return;
    };
    let outputs = per_group * groups;
    let dims = [x.dims[0], outputs, height, width];
    if dims.iter().product::<usize>() > MAX_ELEMENTS {
        return;
    }
    let attributes = vec![
        attribute::ints("kernel_shape", &[kernel as i64; 2]),
        attribute::ints("strides", &[stride as i64; 2]),
        attribute::ints("pads", &[pad as i64; 4]),
        attribute::int("group", groups as i64),
    ];
    let weights = b.random(&[channels, per_group, kernel, kernel], 0.0, 0.5);
    let y = if b.choices.one_in(2) {
        b.op("ConvTranspose", &[&x.name, &weights], attributes)
    } else {
        let bias = b.random(&[outputs], 0.0, 0.5);
        b.op("ConvTranspose", &[&x.name, &weights, &bias], attributes)
    };
    b.push(&y, &dims, false);
    followed(b);
}

/// One or two arithmetic nodes with a constant: per channel, for all, or of another shape that broadcasts.
pub(super) fn affine(b: &mut Builder<'_>, x: &Value) {
    let mut x = x.clone();
    for _ in 0..=b.choices.below(3) {
        let rank = x.rank();
        let along = |axis: usize| {
            let mut dims = vec![1; rank];
            dims[axis] = x.dims[axis];
            dims
        };
        let dims = match b.choices.below(10) {
            0..=2 if rank == 4 => along(1),
            3 if rank == 4 => along(1)[1..].to_vec(),
            0..=4 => vec![],
            5 => vec![1],
            6 => along(rank - 1),
            7 => vec![x.dims[rank - 1]],
            8 => along(0),
            _ => x.dims.clone(),
        };
        let op = b.choices.pick(&["Mul", "Add", "Sub", "Div"]);
        let constant = match b.choices.below(8) {
            0 => b.floats(&dims, &vec![1.0; dims.iter().product()]),
            1 => b.floats(&dims, &vec![0.5; dims.iter().product()]),
            2 if op != "Div" => b.floats(&dims, &vec![0.0; dims.iter().product()]),
            3 if op == "Add" => b.floats(&dims, &vec![-0.0; dims.iter().product()]),
            _ => b.random(&dims, 0.8, 0.4),
        };
        let swapped = b.choices.one_in(3) && op != "Div";
        let inputs = if swapped {
            [constant.as_str(), &x.name]
        } else {
            [x.name.as_str(), &constant]
        };
        let y = b.op(op, &inputs, vec![]);
        b.push(&y, &x.dims, false);
        x.name = y;
    }
}

pub(super) fn batch_norm(b: &mut Builder<'_>, x: &Value) {
    if !x.is_image() {
        return;
    }
    let channels = [x.dims[1]];
    let scale = b.random(&channels, 0.8, 0.4);
    let bias = b.random(&channels, 0.0, 0.5);
    let mean = b.random(&channels, 0.0, 0.3);
    let variance = b.floats(&channels, &vec![0.7; channels[0]]);
    let mut attributes = vec![];
    if b.choices.one_in(2) {
        attributes.push(attribute::float("epsilon", 1e-3));
    }
    let inputs = [x.name.as_str(), &scale, &bias, &mean, &variance];
    let y = b.op("BatchNormalization", &inputs, attributes);
    b.push(&y, &x.dims, false);
}

/// Padding, mostly with zeros around the image, and what reads it.
pub(super) fn pad(b: &mut Builder<'_>, x: &Value) {
    if !x.is_image() {
        return;
    }
    let spatial: [i64; 4] = b.choices.pick(&[
        [1, 1, 1, 1],
        [0, 1, 2, 0],
        [0, 0, 0, 0],
        [1, 0, 0, 0],
        [2, 1, 0, 0],
        [0, 0, 1, 1],
    ]);
    let channel = i64::from(b.choices.one_in(12));
    let starts = [0, channel, spatial[0], spatial[1]];
    let ends = [0, 0, spatial[2], spatial[3]];
    let mut dims = x.dims.clone();
    for axis in 0..4 {
        let extent = dims[axis] as i64 + starts[axis] + ends[axis];
        dims[axis] = match usize::try_from(extent) {
            Ok(extent) if extent > 2 || axis < 2 => extent,
            _ => return,
        };
    }
    if dims.iter().product::<usize>() > MAX_ELEMENTS {
        return;
    }
    let pads = b.integers(&[starts, ends].concat());
    let mut mode = b
        .choices
        .pick(&["constant", "constant", "constant", "", "edge", "reflect"]);
    if channel > 0 {
        mode = "constant";
    }
    let mut attributes = vec![];
    if !mode.is_empty() {
        attributes.push(attribute::string("mode", mode));
    }
    let y = match b.choices.below(4) {
        0 | 1 => b.op("Pad", &[&x.name, &pads], attributes),
        2 => {
            let zero = b.floats(&[], &[0.0]);
            b.op("Pad", &[&x.name, &pads, &zero], attributes)
        }
        _ => {
            let value = b.floats(&[], &[0.5]);
            b.op("Pad", &[&x.name, &pads, &value], attributes)
        }
    };
    b.push(&y, &dims, x.is_exact);
    let padded = b.values[b.values.len() - 1].clone();
    match b.choices.below(4) {
        0 | 1 => convolution(b, &padded),
        2 => pool(b, &padded),
        _ => {}
    }
}

pub(super) fn pool(b: &mut Builder<'_>, x: &Value) {
    if !x.is_image() {
        return;
    }
    let op = b
        .choices
        .pick(&["AveragePool", "MaxPool", "GlobalAveragePool"]);
    if op == "GlobalAveragePool" {
        let y = b.op(op, &[&x.name], vec![]);
        return b.push(&y, &[x.dims[0], x.dims[1], 1, 1], false);
    }
    let kernel = b.choices.pick(&[2, 3]);
    let stride = b.choices.pick(&[1, 2]);
    let pads: [usize; 4] = b.choices.pick(&[[0; 4], [1; 4], [0, 1, 0, 1]]);
    let extent = |axis: usize| window(x.dims[axis], kernel, stride, 1, pads[axis - 2] + pads[axis]);
    let (Some(height), Some(width)) = (extent(2), extent(3)) else {
        return;
    };
    let mut attributes = vec![
        attribute::ints("kernel_shape", &[kernel as i64; 2]),
        attribute::ints("strides", &[stride as i64; 2]),
    ];
    if pads != [0; 4] {
        attributes.push(attribute::ints("pads", &pads.map(|p| p as i64)));
    }
    if op == "AveragePool" && b.choices.one_in(2) {
        attributes.push(attribute::int("count_include_pad", 1));
    }
    let y = b.op(op, &[&x.name], attributes);
    b.push(
        &y,
        &[x.dims[0], x.dims[1], height, width],
        x.is_exact && op == "MaxPool",
    );
}

/// Enlargement by nearest neighbour, by `Resize` or by `DepthToSpace`, or the reverse.
pub(super) fn resize(b: &mut Builder<'_>, x: &Value) {
    if !x.is_image() {
        return;
    }
    let [n, c, h, w] = [x.dims[0], x.dims[1], x.dims[2], x.dims[3]];
    match b.choices.below(3) {
        0 if 4 * x.n_elements() <= MAX_ELEMENTS => {
            let scales = b.floats(&[4], &[1.0, 1.0, 2.0, 2.0]);
            let roi = if b.opset < 13 {
                b.constant(&Tensor::from_f32(vec![0], &[]))
            } else {
                String::new()
            };
            let attributes = vec![
                attribute::string("mode", "nearest"),
                attribute::string("coordinate_transformation_mode", "asymmetric"),
                attribute::string("nearest_mode", "floor"),
            ];
            let y = b.op("Resize", &[&x.name, &roi, &scales], attributes);
            b.push(&y, &[n, c, 2 * h, 2 * w], x.is_exact);
        }
        1 if c.is_multiple_of(4) => {
            let mode = b.choices.pick(&["DCR", "CRD"]);
            let attributes = vec![
                attribute::int("blocksize", 2),
                attribute::string("mode", mode),
            ];
            let y = b.op("DepthToSpace", &[&x.name], attributes);
            b.push(&y, &[n, c / 4, 2 * h, 2 * w], x.is_exact);
        }
        _ if h.is_multiple_of(2) && w.is_multiple_of(2) => {
            let y = b.op(
                "SpaceToDepth",
                &[&x.name],
                vec![attribute::int("blocksize", 2)],
            );
            b.push(&y, &[n, 4 * c, h / 2, w / 2], x.is_exact);
        }
        _ => {}
    }
}
