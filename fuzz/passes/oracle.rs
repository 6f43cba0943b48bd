//! Whether two models compute the same, by running both.

use std::collections::BTreeSet;
use std::sync::Arc;

use tilecast_exec::{Engine, HostTensor, Session, SessionOptions, TractEngine};
use tilecast_onnx::proto::{DimValue, TypeValue, ValueInfoProto};
use tilecast_onnx::{DataType, Model, Tensor, infer_shapes, infer_types, node};

/// Largest difference, as a share of the range of the output.
const TOLERANCE: f32 = 1e-4;
/// Least range: values are about 1 by construction, and an output far below is what a difference of such values left.
const LEAST_RANGE: f32 = 0.5;
/// Relative size of the disturbance that tells whether a model is ill-conditioned: a few roundings to float32.
const DISTURBANCE: f32 = 1e-6;
/// A difference counts only if it is this many times what the disturbance does.
const AMPLIFIED: f32 = 16.0;
/// Models with a larger value are not run: what is looked for shows in small ones.
const MAX_ELEMENTS: usize = 1 << 14;
/// Extent in the place of one that a model leaves open, by axis.
const OPEN_EXTENTS: [usize; 4] = [1, 4, 7, 10];

/// What a comparison came to.
pub(super) enum Agreement {
    Same,
    /// The engine cannot run one of the two, and why.
    NotRun(String),
    IllConditioned,
    Differs(String),
}

/// The original model and its outputs.
pub(super) struct Oracle<'m> {
    model: &'m Model,
    options: SessionOptions,
    inputs: Vec<HostTensor>,
    /// `Err` says why there are none.
    expected: Result<Vec<HostTensor>, String>,
}

impl<'m> Oracle<'m> {
    pub(super) fn new(model: &'m Model) -> Self {
        let mut oracle = Self {
            model,
            options: SessionOptions::default(),
            inputs: Vec::new(),
            expected: Err(String::new()),
        };
        oracle.expected = oracle
            .prepare()
            .and_then(|()| run(model, &oracle.options, &oracle.inputs));
        oracle
    }

    /// Chooses inputs.
    fn prepare(&mut self) -> Result<(), String> {
        let graph = self.model.graph();
        for (index, input) in graph.inputs().enumerate() {
            let name = input.name.clone().unwrap_or_default();
            let dims = input_dims(input).ok_or_else(|| format!("input `{name}` has no shape"))?;
            let n = elements(&dims).ok_or_else(|| format!("input `{name}` is large"))?;
            self.inputs
                .push(HostTensor::new(dims.clone(), noise(index as u64, n)));
            self.options.input_shapes.push((name, dims));
        }
        let wanted: Vec<(&str, Vec<usize>)> = self
            .options
            .input_shapes
            .iter()
            .map(|(name, dims)| (name.as_str(), dims.clone()))
            .collect();
        let shapes = infer_shapes(&graph, &wanted).map_err(|e| e.to_string())?;
        for (_, node) in graph.nodes() {
            for output in &node.output {
                let known = shapes.shape(output);
                if let Some(dims) = known
                    && elements(dims).is_none()
                {
                    return Err(format!("`{output}` is large"));
                }
            }
        }
        Ok(())
    }

    /// Runs a model that should compute the same.
    pub(super) fn compare(&self, after: &Model) -> Agreement {
        let expected = match &self.expected {
            Ok(expected) => expected,
            Err(reason) => return Agreement::NotRun(reason.clone()),
        };
        let found = match run(after, &self.options, &self.inputs) {
            Ok(found) => found,
            // The model is valid, so the engine is to blame.
            Err(reason) => return Agreement::NotRun(format!("simplified: {reason}")),
        };
        if expected.len() != found.len() {
            return Agreement::Differs("the number of outputs changed".into());
        }
        let mut disturbed = None;
        for (index, (expected, found)) in expected.iter().zip(&found).enumerate() {
            if expected.dims() != found.dims() {
                return Agreement::Differs(format!(
                    "output {index} had dimensions {:?} and has {:?}",
                    expected.dims(),
                    found.dims()
                ));
            }
            let difference = Difference::of(expected, found);
            if difference.is_small() {
                continue;
            }
            // Roundings in another order may grow as well as any other error does.
            let runs = disturbed.get_or_insert_with(|| self.disturbed());
            let grown = runs.iter().map(|run| Difference::of(expected, &run[index]));
            let explains = |grown: Difference| {
                (!difference.is_finite && !grown.is_finite)
                    || grown.largest * AMPLIFIED >= difference.largest
            };
            if grown.into_iter().any(explains) {
                return Agreement::IllConditioned;
            }
            return Agreement::Differs(format!("output {index} differs: {difference:?}"));
        }
        Agreement::Same
    }

    /// Outputs of the original for inputs, weights and results of every node that are a little off: what roundings may do.
    fn disturbed(&self) -> Vec<Vec<HostTensor>> {
        let exact = exact_constants(self.model);
        let mut runs = Vec::new();
        for seed in 1..=3_u64 {
            let off = |values: &[f32]| -> Vec<f32> {
                let signs = noise(seed << 8, values.len());
                let both = values.iter().zip(signs);
                both.map(|(v, s)| v * (1.0 + DISTURBANCE * s)).collect()
            };
            let mut model = self.model.clone();
            if let Some(graph) = model.proto_mut().graph.as_mut() {
                for initializer in &mut graph.initializer {
                    let Ok(tensor) = Tensor::from_proto(initializer) else {
                        continue;
                    };
                    let name = initializer.name.clone().unwrap_or_default();
                    if tensor.data_type() == DataType::F32
                        && !exact.contains(&name)
                        && let Some(values) = tensor.to_f32_vec()
                    {
                        let off = Tensor::from_f32(tensor.dims().to_vec(), &off(&values));
                        *initializer = off.to_proto(&name);
                    }
                }
            }
            self.disturb_results(&mut model, seed, &exact);
            let inputs: Vec<HostTensor> = self
                .inputs
                .iter()
                .map(|t| HostTensor::new(t.dims().to_vec(), off(t.data())))
                .collect();
            runs.extend(run(&model, &self.options, &inputs));
        }
        runs
    }
}

impl Oracle<'_> {
    /// Multiplies every computed float32 value of known shape by factors around one.
    fn disturb_results(&self, model: &mut Model, seed: u64, exact: &BTreeSet<String>) {
        let shapes = self.options.input_shapes.iter();
        let wanted: Vec<(&str, Vec<usize>)> =
            shapes.map(|(n, d)| (n.as_str(), d.clone())).collect();
        let graph = self.model.graph();
        let (Ok(shapes), types) = (infer_shapes(&graph, &wanted), infer_types(&graph)) else {
            return;
        };
        let Some(proto) = model.proto_mut().graph.as_mut() else {
            return;
        };
        let mut nodes = Vec::new();
        for (index, mut step) in std::mem::take(&mut proto.node).into_iter().enumerate() {
            let name = step.output_name(0).unwrap_or_default().to_owned();
            let computed = !step.is("Constant") && types.get(name.as_str()) == Some(&DataType::F32);
            let dims = shapes
                .shape(&name)
                .filter(|_| computed && !exact.contains(&name));
            let Some(dims) = dims.map(<[usize]>::to_vec) else {
                nodes.push(step);
                continue;
            };
            let signs = noise((seed << 8) + index as u64, dims.iter().product());
            let factors: Vec<f32> = signs.iter().map(|s| 1.0 + DISTURBANCE * s).collect();
            let [raw, factor] = ["before", "factor"].map(|what| format!("{name} {what}"));
            proto
                .initializer
                .push(Tensor::from_f32(dims, &factors).to_proto(&factor));
            step.output[0].clone_from(&raw);
            nodes.push(step);
            nodes.push(node("Mul", "", &[&raw, &factor], &[&name]));
        }
        proto.node = nodes;
    }
}

/// Constants that are no numbers to compute with: scales decide shapes, and an exponent that is no integer knows no
/// negative base.
fn exact_constants(model: &Model) -> BTreeSet<String> {
    let graph = model.graph_proto();
    let scales = graph.node.iter().filter(|n| n.is("Resize") || n.is("Pow"));
    scales
        .flat_map(|n| n.input.iter().skip(1))
        .cloned()
        .collect()
}

fn run(
    model: &Model,
    options: &SessionOptions,
    inputs: &[HostTensor],
) -> Result<Vec<HostTensor>, String> {
    let session: Arc<dyn Session> = TractEngine::new()
        .load(model, options)
        .map_err(|e| e.to_string())?;
    session.run(inputs).map_err(|e| e.to_string())
}

/// How far two outputs of the same dimensions are apart.
#[derive(Debug)]
struct Difference {
    /// Over the elements that are finite in both.
    largest: f32,
    range: f32,
    /// Whether all elements that are not finite are the same in both.
    is_finite: bool,
}

impl Difference {
    fn of(expected: &HostTensor, found: &HostTensor) -> Self {
        let mut difference = Self {
            largest: 0.0,
            range: 0.0,
            is_finite: true,
        };
        let (mut low, mut high) = (0.0_f32, 0.0_f32);
        for (&a, &b) in expected.data().iter().zip(found.data()) {
            if a.is_finite() && b.is_finite() {
                difference.largest = difference.largest.max((a - b).abs());
                low = low.min(a);
                high = high.max(a);
            } else if !(a.is_nan() && b.is_nan()) && a.to_bits() != b.to_bits() {
                difference.is_finite = false;
            }
        }
        // Zero counts as part of the range: an output that hardly varies around a large value is not held to more
        // digits than float32 has.
        difference.range = high - low;
        difference
    }

    fn is_small(&self) -> bool {
        self.is_finite && self.largest <= TOLERANCE * self.range.max(LEAST_RANGE)
    }
}

/// Dimensions of an input, with numbers in the place of names.
fn input_dims(input: &ValueInfoProto) -> Option<Vec<usize>> {
    let Some(TypeValue::Tensor(tensor)) = input.r#type.as_ref()?.value.as_ref() else {
        return None;
    };
    let dims = tensor.shape.as_ref()?.dim.iter().enumerate();
    dims.map(|(axis, dim)| match &dim.value {
        Some(DimValue::DimValue(n)) => usize::try_from(*n).ok(),
        // The generator says in the name what the rest of its graph was made for.
        Some(DimValue::DimParam(name)) => name
            .rsplit('_')
            .next()
            .and_then(|n| n.parse().ok())
            .or_else(|| OPEN_EXTENTS.get(axis).copied()),
        None => OPEN_EXTENTS.get(axis).copied(),
    })
    .collect()
}

/// How many elements a shape has, unless they are too many.
fn elements(dims: &[usize]) -> Option<usize> {
    dims.iter()
        .try_fold(1_usize, |n, &d| n.checked_mul(d))
        .filter(|&n| n <= MAX_ELEMENTS)
}

/// Values in [-1, 1) that depend on nothing but position and seed; the first ones are zeros of both signs.
pub(super) fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |index| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        match index {
            0 => 0.0,
            1 => -0.0,
            _ => (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0,
        }
    };
    (0..n).map(next).collect()
}
