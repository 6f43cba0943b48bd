//! Operators that change the spatial extents: sliding windows and resampling. Layout `[N, C, spatial axes…]`.

use super::Fact;
use super::call::Call;
use super::elements::or_fresh;
use super::extent::Extent;
use super::unknowns::Unknowns;

/// Window attributes, one entry for each spatial axis.
struct Window {
    /// Extent of the dilated kernel.
    span: Vec<i64>,
    strides: Vec<i64>,
    /// Padding at both ends together; `None` where the output extent is that of the input over the stride.
    pads: Option<Vec<i64>>,
}

impl Window {
    fn new(call: &Call<'_, '_>, kernel: &[i64]) -> Option<Self> {
        let n = kernel.len();
        let list = |name: &str, default: i64, len: usize| -> Option<Vec<i64>> {
            match call.ints(name)? {
                Some(values) => (values.len() == len).then(|| values.to_vec()),
                None => Some(vec![default; len]),
            }
        };
        let dilations = list("dilations", 1, n)?;
        let span = kernel
            .iter()
            .zip(dilations)
            .map(|(&k, d)| k.checked_sub(1)?.checked_mul(d)?.checked_add(1))
            .collect::<Option<_>>()?;
        let pads = match call.string("auto_pad", "NOTSET")? {
            "NOTSET" | "" => {
                let pads = list("pads", 0, 2 * n)?;
                let both = (0..n).map(|i| pads[i].checked_add(pads[i + n]));
                Some(both.collect::<Option<_>>()?)
            }
            "VALID" => Some(vec![0; n]),
            _ => None,
        };
        Some(Self {
            span,
            strides: list("strides", 1, n)?,
            pads,
        })
    }

    /// Output extent of a window that slides over `input` positions. A model that runs has room for one window, so the
    /// floor division is that of a number that is not negative.
    fn slide(&self, axis: usize, input: &Extent, unknowns: &mut Unknowns) -> Option<Extent> {
        let stride = self.strides[axis];
        let room = match &self.pads {
            None => stride.checked_sub(1)?,
            Some(pads) => pads[axis]
                .checked_sub(self.span[axis])?
                .checked_add(stride)?,
        };
        let room = unknowns.offset(input, room)?;
        unknowns.floor_div(&room, stride)
    }
}

/// The weight's dimensions, all numbers.
fn weight(call: &Call<'_, '_>, rank: usize) -> Option<Vec<i64>> {
    let weight = call.dims(1).filter(|w| w.len() == rank && rank > 2)?;
    weight.iter().map(Extent::known).collect()
}

/// `Conv`, `ConvInteger`, `DeformConv`.
pub(super) fn conv(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    let x = call.dims(0)?;
    let weight = weight(call, x.len())?;
    let window = Window::new(call, &weight[2..])?;
    let mut dims = vec![x[0].clone(), Extent::number(weight[0])];
    for (axis, input) in x[2..].iter().enumerate() {
        let extent = window.slide(axis, input, unknowns);
        dims.push(or_fresh(extent, unknowns));
    }
    Some(vec![Fact::of_dims(dims)])
}

pub(super) fn conv_transpose(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    let x = call.dims(0)?;
    let weight = weight(call, x.len())?;
    let window = Window::new(call, &weight[2..])?;
    let n_spatial = x.len() - 2;
    let list = |name: &str| -> Option<Option<&[i64]>> {
        match call.ints(name)?.filter(|v| !v.is_empty()) {
            Some(values) => (values.len() == n_spatial).then_some(Some(values)),
            None => Some(None),
        }
    };
    let (more, shape) = (list("output_padding")?, list("output_shape")?);
    let channels = weight[1].checked_mul(call.int("group", 1)?)?;
    let mut dims = vec![x[0].clone(), Extent::number(channels)];
    for axis in 0..n_spatial {
        let extent = match (shape, &window.pads) {
            (Some(shape), _) => Some(Extent::number(shape[axis])),
            (None, None) => unknowns.scale(&x[axis + 2], window.strides[axis]),
            (None, Some(pads)) => {
                let rest = window.span[axis]
                    .checked_sub(window.strides[axis])
                    .and_then(|rest| rest.checked_sub(pads[axis]))
                    .and_then(|rest| rest.checked_add(more.map_or(0, |m| m[axis])));
                rest.zip(unknowns.scale(&x[axis + 2], window.strides[axis]))
                    .and_then(|(rest, scaled)| unknowns.offset(&scaled, rest))
            }
        };
        dims.push(or_fresh(extent, unknowns));
    }
    Some(vec![Fact::of_dims(dims)])
}

pub(super) fn pool(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    let x = call.dims(0)?;
    let kernel = call.ints("kernel_shape")??.get(..x.len().checked_sub(2)?)?;
    let window = Window::new(call, kernel)?;
    // What counts as the last window under `ceil_mode` differs between opsets and runtimes.
    let rounds_up = call.int("ceil_mode", 0)? != 0;
    let mut dims = x[..2].to_vec();
    for (axis, input) in x[2..].iter().enumerate() {
        let extent = if rounds_up && window.strides[axis] != 1 {
            None
        } else {
            window.slide(axis, input, unknowns)
        };
        dims.push(or_fresh(extent, unknowns));
    }
    // The second output, where asked for, holds one index for each pooled element.
    Some(vec![Fact::of_dims(dims.clone()), Fact::of_dims(dims)])
}

pub(super) fn global_pool(call: &Call<'_, '_>, _: &mut Unknowns) -> Option<Vec<Fact>> {
    let x = call.dims(0)?;
    let mut dims = x.get(..2)?.to_vec();
    dims.resize(x.len(), Extent::number(1));
    Some(vec![Fact::of_dims(dims)])
}

pub(super) fn resize(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    let mut dims = call.dims(0)?.to_vec();
    let axes = match call.ints("axes")? {
        Some(axes) => crate::simplify::arrange::wrap_all(axes, dims.len())?,
        None => (0..dims.len()).collect(),
    };
    let stretches = call.string("keep_aspect_ratio_policy", "stretch")? == "stretch";
    let sizes = call
        .elements(3)
        .filter(|s| stretches && s.len() == axes.len());
    // Opset 10 has (X, scales); from 11 on (X, roi, scales, sizes).
    let scales_slot = if call.node.input.len() <= 2 { 1 } else { 2 };
    let scales = if call.has_input(3) {
        None
    } else {
        call.constant(scales_slot).and_then(|t| t.to_f32_vec())
    };
    for (i, &axis) in axes.iter().enumerate() {
        let extent = match (sizes, &scales) {
            (Some(sizes), _) => sizes[i].clone(),
            (None, Some(scales)) => scales
                .get(i)
                .and_then(|&scale| scaled(&dims[axis], scale, unknowns)),
            (None, None) => None,
        };
        dims[axis] = or_fresh(extent, unknowns);
    }
    Some(vec![Fact::of_dims(dims)])
}

pub(super) fn upsample(call: &Call<'_, '_>, unknowns: &mut Unknowns) -> Option<Vec<Fact>> {
    let mut dims = call.dims(0)?.to_vec();
    let scales = match call.node.floats("scales").ok()? {
        Some(scales) => Some(scales.to_vec()),
        None => call.constant(1).and_then(|t| t.to_f32_vec()),
    };
    for (axis, extent) in dims.iter_mut().enumerate() {
        let scale = scales.as_ref().and_then(|s| s.get(axis).copied());
        let scaled = scale.and_then(|scale| scaled(extent, scale, unknowns));
        *extent = or_fresh(scaled, unknowns);
    }
    Some(vec![Fact::of_dims(dims)])
}

/// `⌊extent × scale⌋` for scales by which float arithmetic is exact: whole numbers, and powers of two.
fn scaled(extent: &Extent, scale: f32, unknowns: &mut Unknowns) -> Option<Extent> {
    const MAX_SCALE: f32 = 1024.0;
    let whole = |x: f32| (x.fract() == 0.0 && (1.0..=MAX_SCALE).contains(&x)).then_some(x as i64);
    if let Some(factor) = whole(scale) {
        return unknowns.scale(extent, factor);
    }
    let divisor = whole(scale.recip()).filter(|d| d.count_ones() == 1)?;
    unknowns.floor_div(extent, divisor)
}
