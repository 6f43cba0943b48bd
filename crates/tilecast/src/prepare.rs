//! Preparing a model: the simplification passes, and the proof by running that they changed nothing.

use schemars::JsonSchema;
use serde::Serialize;
use tilecast_analysis::analyze;
use tilecast_exec::{Engine, HostTensor, SessionOptions};
use tilecast_onnx::proto::ValueInfoProto;
use tilecast_onnx::{ImageAxes, Model, ShapeMap, declared_extents, infer_shapes, upgrade_opset};
use tilecast_passes::{SimplifyOptions, SimplifyReport, simplify};

use crate::{Failure, FailureKind};

/// Most that an output may change, as a share of the range of the original output.
const TOLERANCE: f64 = 1e-4;

/// A simplified model and what was done to it.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) model: Model,
    pub(crate) report: SimplifyReport,
    pub(crate) checks: Vec<EqualityCheck>,
}

/// One run of the model before and after.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct EqualityCheck {
    /// Height and width of the input, pixels.
    pub size_px: [usize; 2],
    /// Largest absolute difference of any output.
    pub max_abs: f64,
    /// The same as a share of the range of that output.
    pub relative: f64,
}

/// Simplifies a copy of `model`, its opset first raised to this one, and runs both at two sizes on the same input.
///
/// # Errors
/// A pass fails, the model cannot be run, or an output changed by more than 1e-4 of its range: a bug in a pass, by which
/// no model may be harmed.
pub(crate) fn prepare(
    model: &Model,
    options: SimplifyOptions<'_>,
    opset: i64,
    engine: &dyn Engine,
) -> Result<Prepared, Failure> {
    let (simplified, report) = rewrite(model, options, opset)?;
    let checks = check_unchanged(model, &simplified, &report, engine)?;
    Ok(Prepared {
        model: simplified,
        report,
        checks,
    })
}

/// A simplified copy of `model`, not run yet; `opset` as above.
///
/// # Errors
/// A pass fails, or the opset cannot be raised.
pub(crate) fn rewrite(
    model: &Model,
    options: SimplifyOptions<'_>,
    opset: i64,
) -> Result<(Model, SimplifyReport), Failure> {
    let mut simplified = model.clone();
    raise_opset(&mut simplified, opset)?;
    let report = simplify(&mut simplified, options)?;
    Ok((simplified, report))
}

/// Runs both at two sizes on the same input.
///
/// # Errors
/// As [`prepare`], apart from the passes.
pub(crate) fn check_unchanged(
    model: &Model,
    simplified: &Model,
    report: &SimplifyReport,
    engine: &dyn Engine,
) -> Result<Vec<EqualityCheck>, Failure> {
    let mut checks = Vec::new();
    for size_px in sizes(model) {
        let check = compare(model, simplified, size_px, engine)?;
        if check.relative.is_nan() || check.relative > TOLERANCE {
            let passes: Vec<&str> = report.steps.iter().map(|s| s.pass).collect();
            return Err(Failure::new(
                FailureKind::Internal,
                format!(
                    "simplifying `{}` changed its output by {:.1e} of its range at {}x{} px; passes applied: {}",
                    model.path().display(),
                    check.relative,
                    size_px[1],
                    size_px[0],
                    passes.join(", ")
                ),
            )
            .with_help("nothing was written; `tilecast simplify --stop-after N` finds the pass, please report it"));
        }
        checks.push(check);
    }
    Ok(checks)
}

/// Raises the opset of a model.
///
/// # Errors
/// An operator cannot be converted to that opset.
pub(crate) fn raise_opset(model: &mut Model, opset: i64) -> Result<(), Failure> {
    upgrade_opset(model, opset).map_err(|error| {
        Failure::new(
            FailureKind::Model,
            format!("`{}`: {error}", model.path().display()),
        )
        .with_help("the format came to most operators late; export the model at that opset, or convert it to FP16")
    })
}

/// A square and an oblong, both multiples of what the model needs; the declared size where it has only one, and the
/// declared height or width where it has only one of that.
pub(crate) fn sizes(model: &Model) -> Vec<[usize; 2]> {
    let analysis = analyze(model).ok();
    if let Some(declared) = analysis.as_ref().and_then(|a| a.declared_size) {
        return vec![declared];
    }
    let unit = analysis
        .map_or(16, |a| a.alignment_px.max(1))
        .next_multiple_of(16);
    let mut sizes = vec![[4 * unit, 4 * unit], [5 * unit, 6 * unit]];
    let declared = model
        .graph()
        .inputs()
        .find_map(|input| Some(ImageAxes::of(input)?.size));
    // An axis that the model fixes has one size.
    for size in &mut sizes {
        for (px, declared) in size.iter_mut().zip(declared.into_iter().flatten()) {
            *px = declared.unwrap_or(*px);
        }
    }
    sizes.dedup();
    sizes
}

fn compare(
    before: &Model,
    after: &Model,
    size_px: [usize; 2],
    engine: &dyn Engine,
) -> Result<EqualityCheck, Failure> {
    let (inputs, options) = noise_inputs(before, size_px)?;
    let run = |model: &Model| -> Result<Vec<HostTensor>, Failure> {
        Ok(engine.load(model, &options)?.run(&inputs)?)
    };
    let mut check = EqualityCheck {
        size_px,
        max_abs: 0.0,
        relative: 0.0,
    };
    for (expected, found) in run(before)?.iter().zip(run(after)?) {
        let (mut low, mut high, mut difference) = (f32::INFINITY, f32::NEG_INFINITY, 0.0_f32);
        let mut comparable = expected.dims() == found.dims();
        for (&a, &b) in expected.data().iter().zip(found.data()) {
            low = low.min(a);
            high = high.max(a);
            if a.is_finite() && b.is_finite() {
                difference = difference.max((a - b).abs());
            } else {
                comparable &= a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
            }
        }
        let max_abs = if comparable {
            f64::from(difference)
        } else {
            f64::NAN
        };
        // An output that is the same everywhere has no range; its own size is the next best measure.
        let range = f64::from(high - low).max(f64::from(high.abs().max(f32::MIN_POSITIVE)) * 1e-3);
        check.max_abs = worse(check.max_abs, max_abs);
        check.relative = worse(check.relative, max_abs / range);
    }
    Ok(check)
}

/// Noise for every input of a model at this image size, and the shapes that a session needs for it.
///
/// # Errors
/// An input has no shape that could be fed.
pub(crate) fn noise_inputs(
    model: &Model,
    size_px: [usize; 2],
) -> Result<(Vec<HostTensor>, SessionOptions), Failure> {
    let mut inputs = Vec::new();
    let mut options = SessionOptions::default();
    for (index, input) in model.graph().inputs().enumerate() {
        let dims = concrete_dims(input, size_px)?;
        let n = dims.iter().product();
        inputs.push(HostTensor::new(dims.clone(), noise(n, index as u64)));
        options
            .input_shapes
            .push((input.name.clone().unwrap_or_default(), dims));
    }
    Ok((inputs, options))
}

/// Shapes of all values on a square tile, or at the size that the model is fixed to; `None` where they contradict each other.
pub(crate) fn tile_shapes(model: &Model, tile_px: usize) -> Option<ShapeMap> {
    let graph = model.graph();
    let mut shapes = Vec::new();
    for input in graph.inputs() {
        let dims = concrete_dims(input, [tile_px; 2]).ok()?;
        shapes.push((input.name.as_deref().unwrap_or_default(), dims));
    }
    infer_shapes(&graph, &shapes).ok()
}

/// The larger of two figures, where what is not a number is worst.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// Dimensions of an input with batch 1 and this image size in the place of names.
fn concrete_dims(input: &ValueInfoProto, size_px: [usize; 2]) -> Result<Vec<usize>, Failure> {
    let name = input.name.as_deref().unwrap_or_default();
    let declared = declared_extents(input).unwrap_or_default();
    let image = ImageAxes::of(input).map(|axes| axes.dims(0, size_px));
    let has_rank = declared_extents(input).is_some();
    declared
        .iter()
        .enumerate()
        .map(|(axis, extent)| match (extent, image) {
            (Some(n), _) => Some(*n),
            (None, Some(dims)) => Some(dims[axis]).filter(|n| *n > 0),
            // A batch of numbers.
            (None, None) if axis == 0 => Some(1),
            (None, None) => None,
        })
        .collect::<Option<Vec<_>>>()
        .filter(|_| has_rank)
        .ok_or_else(|| {
            Failure::new(
                FailureKind::Model,
                format!("input `{name}` has no shape that could be fed to check the simplified model"),
            )
            .with_help("give inputs a shape [N, C, H, W] with a number of channels when exporting the model")
        })
}

/// Values in [0, 1) that depend on nothing but position and seed.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    (0..n as u64)
        .map(|i| {
            // The finalizer of SplitMix64 (Steele, Lea, Flood, 2014).
            let mut z = (i ^ (seed << 48)).wrapping_add(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 40) as f32 / (1_u64 << 24) as f32
        })
        .collect()
}
