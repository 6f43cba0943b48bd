//! One case through everything: load and verify, save, run, compare.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use serde::Serialize;
use tilecast_exec::{Engine, HostTensor, SessionOptions};
use tilecast_onnx::{DataType, Model, Tensor, mixed_float_operands};

use super::bind::{Binding, bind};
use super::cases::{self, Case, ReadCasesError};

/// How far a case came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Stage {
    /// Decoding and verification.
    Load,
    /// Writing back byte for byte.
    Save,
    /// The engine's result.
    Run,
}

impl Stage {
    pub(super) const ALL: [Self; 3] = [Self::Load, Self::Save, Self::Run];

    /// The word in the manifest.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Save => "save",
            Self::Run => "run",
        }
    }
}

/// Why a case may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Category {
    /// The engine does not have an operator, or not its domain.
    UnsupportedOp,
    /// It does not compute in an element type.
    UnsupportedType,
    /// An input or output is a sequence, a map or an optional.
    NonTensor,
    /// Gradients and optimizers.
    Training,
    /// There is no one right answer.
    Random,
    /// The engine refuses this use of an operator that it has.
    EngineRefuses,
    /// The engine refuses what tract would compute wrongly without a word.
    TractWrong,
    /// The model breaks a rule of the format.
    Invalid,
}

impl Category {
    pub(super) const ALL: [Self; 8] = [
        Self::UnsupportedOp,
        Self::UnsupportedType,
        Self::NonTensor,
        Self::Training,
        Self::Random,
        Self::EngineRefuses,
        Self::TractWrong,
        Self::Invalid,
    ];

    /// The word in the manifest.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::UnsupportedOp => "unsupported-op",
            Self::UnsupportedType => "unsupported-type",
            Self::NonTensor => "non-tensor",
            Self::Training => "training",
            Self::Random => "random",
            Self::EngineRefuses => "engine-refuses",
            Self::TractWrong => "tract-wrong",
            Self::Invalid => "invalid",
        }
    }

    /// Sorts a refusal of the engine by its text.
    fn of_refusal(text: &str) -> Self {
        let says = |fragments: &[&str]| fragments.iter().any(|fragment| text.contains(fragment));
        if says(&[
            "ai.onnx.preview.training",
            "for inference",
            "`training_mode`",
        ]) {
            Self::Training
        } else if says(&RANDOM_OPERATORS) {
            Self::Random
        } else if says(&["tract computes"]) {
            Self::TractWrong
        } else if says(&["operator ", "domain `", "holds a subgraph"]) && says(&[" supported here"])
        {
            Self::UnsupportedOp
        } else if says(&UNSUPPORTED_TYPE) {
            Self::UnsupportedType
        } else {
            Self::EngineRefuses
        }
    }
}

const RANDOM_OPERATORS: [&str; 4] = [
    "operator Bernoulli",
    "operator Multinomial",
    "operator RandomNormal",
    "operator RandomUniform",
];

/// Parts of the engine's messages about element types.
const UNSUPPORTED_TYPE: [&str; 7] = [
    "it computes in ",
    "it converts ",
    "its constant ",
    "only float32, float16 and bfloat16 tensors",
    "no float or integer tensor",
    "it quantizes to ",
    "tensors are not supported",
];

/// Two steps of float16, which is what the package's own runner grants bfloat16: where a result is rounded depends on the
/// order of a sum.
const F16_RTOL: f64 = 1.0 / 512.0;

/// Two steps of bfloat16.
const BF16_RTOL: f64 = 1.0 / 64.0;

/// How a case failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) stage: Stage,
    /// `None` for what no manifest may excuse: a different result, a file that changed, a panic.
    pub(super) category: Option<Category>,
    pub(super) message: String,
}

impl Failure {
    fn excusable(stage: Stage, category: Category, message: impl Into<String>) -> Self {
        Self {
            stage,
            category: Some(category),
            message: message.into(),
        }
    }

    fn defect(stage: Stage, message: impl Into<String>) -> Self {
        Self {
            stage,
            category: None,
            message: message.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let category = self.category.map_or("defect", Category::word);
        write!(f, "{} ({category}): {}", self.stage.word(), self.message)
    }
}

/// Takes one case as far as it goes. Inside, how it failed.
///
/// # Errors
/// A file of the case is missing or damaged.
pub(super) fn check(
    case: &Case,
    folder: &Path,
    engine: &dyn Engine,
) -> Result<Result<(), Failure>, ReadCasesError> {
    let checked = panic::catch_unwind(AssertUnwindSafe(|| check_stages(case, folder, engine)));
    checked.unwrap_or_else(|_| Ok(Err(Failure::defect(Stage::Load, "panicked; see above"))))
}

fn check_stages(
    case: &Case,
    folder: &Path,
    engine: &dyn Engine,
) -> Result<Result<(), Failure>, ReadCasesError> {
    let path = folder.join("model.onnx");
    let bytes = cases::read(&path)?;
    let model = match Model::load(&path) {
        Ok(model) => model,
        Err(error) => {
            let failure = Failure::excusable(Stage::Load, Category::Invalid, error.to_string());
            return Ok(Err(failure));
        }
    };
    if model.to_bytes() != bytes {
        let message = "the model is not written back byte for byte";
        return Ok(Err(Failure::defect(Stage::Save, message)));
    }
    // A case is a valid model, so what is found here is wrong in the table of type constraints or in type inference.
    if let Some(violation) = mixed_float_operands(model.proto(), model.opset()).first() {
        return Ok(Err(Failure::defect(Stage::Load, violation.to_string())));
    }
    if let Some(value) = &case.non_tensor {
        return Ok(Err(Failure::excusable(
            Stage::Run,
            Category::NonTensor,
            value,
        )));
    }
    if case.data_sets.is_empty() {
        return Ok(Err(Failure::defect(Stage::Run, "the case has no data set")));
    }
    for data_set in &case.data_sets {
        let inputs = cases::read_tensors(folder, &data_set.inputs)?;
        let outputs = cases::read_tensors(folder, &data_set.outputs)?;
        let ran = match (inputs, outputs) {
            (Ok(inputs), Ok(outputs)) => run(case, &model, &inputs, &outputs, engine),
            (Err(reason), _) | (_, Err(reason)) => Err(Failure::excusable(
                Stage::Run,
                Category::UnsupportedType,
                reason,
            )),
        };
        if ran.is_err() {
            return Ok(ran);
        }
    }
    Ok(Ok(()))
}

/// Runs a data set under every binding that the engine takes; at least one must be taken, and each result must be right.
fn run(
    case: &Case,
    model: &Model,
    inputs: &[Tensor],
    expected: &[Tensor],
    engine: &dyn Engine,
) -> Result<(), Failure> {
    let mut tried: Vec<Vec<usize>> = Vec::new();
    let mut refusal = None;
    let mut matched = false;
    for binding in Binding::ALL {
        let fed = binding.fed(inputs);
        if tried.contains(&fed) {
            continue;
        }
        let bound = bind(model, inputs, &fed)
            .map_err(|reason| Failure::defect(Stage::Run, format!("cannot bind: {reason}")))?;
        let input_shapes = bound
            .graph()
            .inputs()
            .zip(&fed)
            .map(|(input, &position)| {
                let name = input.name.clone().unwrap_or_default();
                (name, inputs[position].dims().to_vec())
            })
            .collect();
        let options = SessionOptions {
            input_shapes,
            ..SessionOptions::default()
        };
        let feeds: Vec<HostTensor> = fed
            .iter()
            .map(|&position| {
                let tensor = &inputs[position];
                let data = tensor.to_f32_vec().unwrap_or_default();
                HostTensor::new(tensor.dims().to_vec(), data)
            })
            .collect();
        tried.push(fed);
        let result = engine
            .load(&bound, &options)
            .map_err(|error| error.reason)
            .and_then(|session| session.run(&feeds).map_err(|error| error.reason));
        match result {
            Ok(outputs) => {
                compare(case, &outputs, expected).map_err(|difference| {
                    Failure::defect(Stage::Run, format!("fed {binding:?}: {difference}"))
                })?;
                matched = true;
            }
            Err(reason) => refusal = Some(reason),
        }
    }
    match refusal {
        Some(reason) if !matched => Err(Failure::excusable(
            Stage::Run,
            Category::of_refusal(&reason),
            reason,
        )),
        _ => Ok(()),
    }
}

/// What the runner of the package compares: `|got - expected| <= atol + rtol * |expected|`, NaN equal to NaN.
fn compare(case: &Case, outputs: &[HostTensor], expected: &[Tensor]) -> Result<(), String> {
    if outputs.len() != expected.len() {
        return Err(format!(
            "{} outputs, expected {}",
            outputs.len(),
            expected.len()
        ));
    }
    for (index, (got, want)) in outputs.iter().zip(expected).enumerate() {
        if got.dims() != want.dims() {
            return Err(format!(
                "output {index} has shape {:?}, expected {:?}",
                got.dims(),
                want.dims()
            ));
        }
        let values = as_floats(want)
            .ok_or_else(|| format!("output {index} is expected as {}", want.data_type()))?;
        let rtol = match want.data_type() {
            DataType::F16 => case.rtol.max(F16_RTOL),
            DataType::BF16 => case.rtol.max(BF16_RTOL),
            _ => case.rtol,
        };
        let differs = |(got, want): (f32, f32)| !is_close(got, want, rtol, case.atol);
        let mut wrong = got
            .data()
            .iter()
            .copied()
            .zip(values)
            .enumerate()
            .filter(|&(_, pair)| differs(pair));
        if let Some((element, (got, want))) = wrong.next() {
            return Err(format!(
                "output {index} differs in {} of {} elements, first in element {element}: {got}, expected {want}",
                1 + wrong.count(),
                outputs[index].data().len()
            ));
        }
    }
    Ok(())
}

/// Infinities are close to nothing but themselves.
#[expect(
    clippy::float_cmp,
    reason = "one of them is not finite, and infinities are equal or not"
)]
fn is_close(got: f32, want: f32, rtol: f64, atol: f64) -> bool {
    let (got, want) = (f64::from(got), f64::from(want));
    match (got.is_finite(), want.is_finite()) {
        (true, true) => (got - want).abs() <= atol + rtol * want.abs(),
        _ => got == want || (got.is_nan() && want.is_nan()),
    }
}

/// The elements as the float32 that the engine returns for them.
fn as_floats(tensor: &Tensor) -> Option<Vec<f32>> {
    match tensor.data_type() {
        DataType::F32 | DataType::F16 | DataType::BF16 | DataType::F64 => tensor.to_f32_vec(),
        _ => Some(tensor.to_i64_vec()?.iter().map(|&v| v as f32).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closeness_is_that_of_the_packages_runner() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        for (got, want, expected) in [
            (1.0, 1.0, true),
            (1.0009, 1.0, true),
            (1.0011, 1.0, false),
            (0.0, 1e-8, true),
            (0.0, 1e-6, false),
            (nan, nan, true),
            (nan, 0.0, false),
            (0.0, nan, false),
            (inf, inf, true),
            (-inf, inf, false),
            (f32::MAX, inf, false),
            (inf, f32::MAX, false),
        ] {
            assert_eq!(
                is_close(got, want, 1e-3, 1e-7),
                expected,
                "{got} and {want}"
            );
        }
    }

    #[test]
    fn refusals_are_sorted_by_what_they_say() {
        for (text, category) in [
            (
                "g/node #0 (Loop): operator Loop is not supported here; replace it",
                Category::UnsupportedOp,
            ),
            (
                "g/node #0 (X::Y): domain `X` is not supported here; export",
                Category::UnsupportedOp,
            ),
            (
                "g/node #0 (RandomNormal): operator RandomNormal is not supported here",
                Category::Random,
            ),
            (
                "g/node #0 (Cast): it computes in uint64, which is not supported here",
                Category::UnsupportedType,
            ),
            (
                "output `y`: it is uint16; only float32, float16 and bfloat16 tensors are supported",
                Category::UnsupportedType,
            ),
            (
                "it has training outputs; export the model for inference",
                Category::Training,
            ),
            ("tract computes it wrongly", Category::TractWrong),
            ("it panicked (no)", Category::EngineRefuses),
        ] {
            assert_eq!(Category::of_refusal(text), category, "{text}");
        }
    }
}
