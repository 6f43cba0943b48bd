//! Sliding windows: convolutions, transposed convolutions, pools. Layout [N, C, spatial axes…].

use super::call::{Call, Halt, Inferred, contradiction, extent, require_rank};
use super::fact::Fact;

/// Window attributes, one entry for each spatial axis.
struct Window {
    kernel: Vec<i128>,
    strides: Vec<i128>,
    dilations: Vec<i128>,
    begin: Vec<i128>,
    end: Vec<i128>,
    auto_pad: AutoPad,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum AutoPad {
    Explicit,
    Valid,
    Same,
}

impl Window {
    fn new(call: &Call<'_>, kernel: &[usize]) -> Inferred<Self> {
        let n = kernel.len();
        let list = |name: &str, default: i64, minimum: i64, len: usize| {
            let values = match call.node().ints(name)? {
                Some(values) => values.to_vec(),
                None => vec![default; len],
            };
            if values.len() != len || values.iter().any(|&v| v < minimum) {
                return contradiction(format!(
                    "`{name}` {values:?} must be {len} numbers of at least {minimum}"
                ));
            }
            Ok(values.into_iter().map(i128::from).collect::<Vec<_>>())
        };
        let auto_pad = match call.string_or("auto_pad", "NOTSET")? {
            "NOTSET" | "" => AutoPad::Explicit,
            "VALID" => AutoPad::Valid,
            "SAME_UPPER" | "SAME_LOWER" => AutoPad::Same,
            other => return contradiction(format!("unknown auto_pad `{other}`")),
        };
        let mut pads = match auto_pad {
            AutoPad::Explicit => list("pads", 0, 0, 2 * n)?,
            AutoPad::Valid | AutoPad::Same => vec![0; 2 * n],
        };
        let end = pads.split_off(n);
        if kernel.contains(&0) {
            return contradiction("an empty kernel");
        }
        Ok(Self {
            kernel: kernel.iter().map(|&k| k as i128).collect(),
            strides: list("strides", 1, 1, n)?,
            dilations: list("dilations", 1, 1, n)?,
            begin: pads,
            end,
            auto_pad,
        })
    }

    /// Extent of the dilated kernel.
    fn span(&self, axis: usize) -> i128 {
        self.dilations[axis] * (self.kernel[axis] - 1) + 1
    }

    /// Output extent of a window that slides over `input` positions.
    fn slide(&self, axis: usize, input: usize, rounding: Rounding) -> Inferred<usize> {
        let (input, stride) = (input as i128, self.strides[axis]);
        if self.auto_pad == AutoPad::Same {
            return extent((input + stride - 1) / stride);
        }
        let room = input + self.begin[axis] + self.end[axis] - self.span(axis);
        if room < 0 {
            return contradiction(format!(
                "a window of {} positions does not fit an input of {input} with padding {} and {}",
                self.span(axis),
                self.begin[axis],
                self.end[axis]
            ));
        }
        let mut count = match rounding {
            Rounding::Floor => room / stride + 1,
            Rounding::Ceil => (room + stride - 1) / stride + 1,
        };
        // The last window must start inside the input or its begin padding.
        if rounding == Rounding::Ceil && (count - 1) * stride >= input + self.begin[axis] {
            count -= 1;
        }
        extent(count)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rounding {
    Floor,
    Ceil,
}

/// `Conv`, `ConvInteger`, `DeformConv`: the weight is input 1.
pub(super) fn conv(call: &Call<'_>) -> Inferred {
    convolution(call, 1)
}

/// `QLinearConv`: the weight is input 3.
pub(super) fn qlinear_conv(call: &Call<'_>) -> Inferred {
    convolution(call, 3)
}

fn convolution(call: &Call<'_>, weight_slot: usize) -> Inferred {
    let (x, weight) = (call.dims(0)?, call.dims(weight_slot)?);
    require_rank(x, 3)?;
    let group = i128::from(call.int_or("group", 1)?);
    if weight.len() != x.len()
        || group < 1
        || weight[1] as i128 * group != x[1] as i128
        || weight[0] as i128 % group != 0
    {
        return contradiction(format!(
            "weight {weight:?} with {group} group(s) does not fit input {x:?}"
        ));
    }
    check_kernel_shape(call, &weight[2..])?;
    let window = Window::new(call, &weight[2..])?;
    let mut dims = vec![x[0], weight[0]];
    for (axis, &n) in x[2..].iter().enumerate() {
        dims.push(window.slide(axis, n, Rounding::Floor)?);
    }
    Ok(vec![Fact::of_dims(dims)])
}

fn check_kernel_shape(call: &Call<'_>, kernel: &[usize]) -> Inferred<()> {
    match call.node().ints("kernel_shape")? {
        Some(declared)
            if !declared
                .iter()
                .map(|&k| i128::from(k))
                .eq(kernel.iter().map(|&k| k as i128)) =>
        {
            contradiction(format!(
                "kernel_shape {declared:?} is not that of the weight, {kernel:?}"
            ))
        }
        _ => Ok(()),
    }
}

pub(super) fn conv_transpose(call: &Call<'_>) -> Inferred {
    let (x, weight) = (call.dims(0)?, call.dims(1)?);
    require_rank(x, 3)?;
    let group = i128::from(call.int_or("group", 1)?);
    if weight.len() != x.len() || group < 1 || weight[0] != x[1] || x[1] as i128 % group != 0 {
        return contradiction(format!(
            "weight {weight:?} with {group} group(s) does not fit input {x:?}"
        ));
    }
    check_kernel_shape(call, &weight[2..])?;
    let window = Window::new(call, &weight[2..])?;
    let n_spatial = x.len() - 2;
    let output_padding = call.node().ints("output_padding")?.unwrap_or(&[]);
    let output_shape = call.node().ints("output_shape")?.filter(|s| !s.is_empty());
    let fits = |list: &[i64]| list.is_empty() || list.len() == n_spatial;
    if !fits(output_padding) || !output_shape.is_none_or(fits) {
        return contradiction(format!(
            "output_padding {output_padding:?} or output_shape {output_shape:?} does not fit {x:?}"
        ));
    }
    let mut dims = vec![x[0], extent(weight[1] as i128 * group)?];
    for axis in 0..n_spatial {
        let input = x[axis + 2] as i128;
        dims.push(extent(match output_shape {
            Some(shape) => shape[axis].into(),
            None if window.auto_pad == AutoPad::Same => input * window.strides[axis],
            None => {
                window.strides[axis] * (input - 1)
                    + output_padding.get(axis).map_or(0, |&p| i128::from(p))
                    + window.span(axis)
                    - window.begin[axis]
                    - window.end[axis]
            }
        })?);
    }
    Ok(vec![Fact::of_dims(dims)])
}

pub(super) fn pool(call: &Call<'_>) -> Inferred {
    let x = call.dims(0)?;
    require_rank(x, 3)?;
    let Some(kernel) = call.node().ints("kernel_shape")? else {
        return contradiction("it has no kernel_shape");
    };
    if kernel.len() != x.len() - 2 {
        return contradiction(format!("kernel_shape {kernel:?} does not fit {x:?}"));
    }
    let kernel = kernel
        .iter()
        .map(|&k| extent(k.into()))
        .collect::<Inferred<Vec<_>>>()?;
    let window = Window::new(call, &kernel)?;
    let rounding = if call.int_or("ceil_mode", 0)? != 0 {
        Rounding::Ceil
    } else {
        Rounding::Floor
    };
    let mut dims = x[..2].to_vec();
    for (axis, &n) in x[2..].iter().enumerate() {
        dims.push(window.slide(axis, n, rounding)?);
    }
    // The second output, where asked for, holds one index for each pooled element.
    Ok(vec![Fact::of_dims(dims.clone()), Fact::of_dims(dims)])
}

pub(super) fn global_pool(call: &Call<'_>) -> Inferred {
    let x = call.dims(0)?;
    require_rank(x, 2)?;
    let mut dims = vec![1; x.len()];
    dims[..2].copy_from_slice(&x[..2]);
    if x.contains(&0) {
        return Err(Halt::Unknown);
    }
    Ok(vec![Fact::of_dims(dims)])
}
