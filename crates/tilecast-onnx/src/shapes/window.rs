//! Sliding windows: convolutions, transposed convolutions, pools. Layout [N, C, spatial axes…].

use super::call::{Call, Halt, Inferred, contradiction, require_rank};
use super::extent::Extent;
use super::fact::Fact;
use super::size::{affine, differ, divided, fixed, show, size};
use super::unknowns::Unknowns;

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
    fn new(call: &Call<'_>, kernel: &[i64]) -> Inferred<Self> {
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
        if let Some(k) = kernel.iter().find(|&&k| k < 1) {
            return contradiction(format!("a kernel extent of {k}"));
        }
        Ok(Self {
            kernel: kernel.iter().map(|&k| k.into()).collect(),
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

    /// Output extent of a window that slides over `input` positions. A model that runs has room for one window, so for an
    /// open extent too the floor division is that of a number that is not negative.
    fn slide(
        &self,
        axis: usize,
        input: &Extent,
        rounding: Rounding,
        unknowns: &mut Unknowns,
    ) -> Inferred<Extent> {
        let stride = self.strides[axis];
        if self.auto_pad == AutoPad::Same {
            return divided(unknowns, input, stride - 1, stride);
        }
        let (begin, end, span) = (self.begin[axis], self.end[axis], self.span(axis));
        let offset = begin + end - span;
        if let Some(n) = input.known()
            && i128::from(n) + offset < 0
        {
            return contradiction(format!(
                "a window of {span} positions does not fit an input of {n} with padding {begin} and {end}"
            ));
        }
        if rounding == Rounding::Floor {
            return divided(unknowns, input, offset + stride, stride);
        }
        // The last window must start inside the input or its begin padding.
        match input.known().map(i128::from) {
            Some(n) => {
                let count = (n + offset + stride - 1) / stride + 1;
                let beyond = (count - 1) * stride >= n + begin;
                size(count - i128::from(beyond))
            }
            None if stride == 1 && end < span => divided(unknowns, input, offset + 1, 1),
            None => Ok(unknowns.fresh()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rounding {
    Floor,
    Ceil,
}

/// `Conv`, `ConvInteger`, `DeformConv`: the weight is input 1.
pub(super) fn conv(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    convolution(call, 1, unknowns)
}

/// `QLinearConv`: the weight is input 3.
pub(super) fn qlinear_conv(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    convolution(call, 3, unknowns)
}

fn convolution(call: &Call<'_>, weight_slot: usize, unknowns: &mut Unknowns) -> Inferred {
    let (x, weight) = (call.dims(0)?, call.dims(weight_slot)?);
    require_rank(x, 3)?;
    let group = call.int_or("group", 1)?;
    let fits = |w: &[Extent]| {
        let per_group = w[1].known().zip(x[1].known());
        per_group.is_none_or(|(w, x)| i128::from(w) * i128::from(group) == i128::from(x))
            && w[0].known().is_none_or(|w| w % group == 0)
    };
    if weight.len() != x.len() || group < 1 || !fits(weight) {
        return misfit(weight, group, x);
    }
    let window = Window::new(call, &kernel(call, &weight[2..])?)?;
    let mut dims = vec![x[0].clone(), weight[0].clone()];
    for (axis, input) in x[2..].iter().enumerate() {
        dims.push(window.slide(axis, input, Rounding::Floor, unknowns)?);
    }
    Ok(vec![Fact::of_dims(dims)])
}

fn misfit(weight: &[Extent], group: i64, x: &[Extent]) -> Inferred {
    contradiction(format!(
        "weight {} with {group} group(s) does not fit input {}",
        show(weight),
        show(x)
    ))
}

/// The extents of a kernel: those of the weight, which the attribute may only repeat, or else the attribute.
fn kernel(call: &Call<'_>, weight: &[Extent]) -> Inferred<Vec<i64>> {
    let declared = call.node().ints("kernel_shape")?;
    let of_weight: Option<Vec<i64>> = weight.iter().map(Extent::known).collect();
    match (declared, of_weight) {
        (Some(declared), Some(kernel)) if declared != kernel => contradiction(format!(
            "kernel_shape {declared:?} is not that of the weight, {kernel:?}"
        )),
        (_, Some(kernel)) => Ok(kernel),
        (Some(declared), None) if declared.len() == weight.len() => Ok(declared.to_vec()),
        _ => Err(Halt::Unknown),
    }
}

pub(super) fn conv_transpose(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let (x, weight) = (call.dims(0)?, call.dims(1)?);
    require_rank(x, 3)?;
    let group = call.int_or("group", 1)?;
    if weight.len() != x.len()
        || group < 1
        || differ(&weight[0], &x[1])
        || x[1].known().is_some_and(|channels| channels % group != 0)
    {
        return misfit(weight, group, x);
    }
    let window = Window::new(call, &kernel(call, &weight[2..])?)?;
    let n_spatial = x.len() - 2;
    let output_padding = call.node().ints("output_padding")?.unwrap_or(&[]);
    let output_shape = call.node().ints("output_shape")?.filter(|s| !s.is_empty());
    let fits = |list: &[i64]| list.is_empty() || list.len() == n_spatial;
    if !fits(output_padding) || !output_shape.is_none_or(fits) {
        return contradiction(format!(
            "output_padding {output_padding:?} or output_shape {output_shape:?} does not fit {}",
            show(x)
        ));
    }
    let mut dims = vec![x[0].clone(), affine(unknowns, &weight[1], group.into(), 0)?];
    for (axis, input) in x[2..].iter().enumerate() {
        let stride = window.strides[axis];
        let more = output_padding.get(axis).map_or(0, |&p| i128::from(p));
        let pads = window.begin[axis] + window.end[axis];
        dims.push(match output_shape {
            Some(shape) => size(shape[axis].into())?,
            None if window.auto_pad == AutoPad::Same => affine(unknowns, input, stride, 0)?,
            None => {
                let rest = more + window.span(axis) - pads - stride;
                affine(unknowns, input, stride, rest)?
            }
        });
    }
    Ok(vec![Fact::of_dims(dims)])
}

pub(super) fn pool(call: &Call<'_>, unknowns: &mut Unknowns) -> Inferred {
    let x = call.dims(0)?;
    require_rank(x, 3)?;
    let Some(kernel) = call.node().ints("kernel_shape")? else {
        return contradiction("it has no kernel_shape");
    };
    if kernel.len() != x.len() - 2 {
        return contradiction(format!("kernel_shape {kernel:?} does not fit {}", show(x)));
    }
    let window = Window::new(call, kernel)?;
    let rounding = match call.int_or("ceil_mode", 0)? {
        0 => Rounding::Floor,
        _ => Rounding::Ceil,
    };
    let mut dims = x[..2].to_vec();
    for (axis, input) in x[2..].iter().enumerate() {
        dims.push(window.slide(axis, input, rounding, unknowns)?);
    }
    // The second output, where asked for, holds one index for each pooled element.
    Ok(vec![Fact::of_dims(dims.clone()), Fact::of_dims(dims)])
}

pub(super) fn global_pool(call: &Call<'_>, _: &mut Unknowns) -> Inferred {
    let x = call.dims(0)?;
    require_rank(x, 2)?;
    if fixed(x).is_some_and(|x| x.contains(&0)) {
        return Err(Halt::Unknown);
    }
    let mut dims = x[..2].to_vec();
    dims.resize(x.len(), Extent::number(1));
    Ok(vec![Fact::of_dims(dims)])
}
