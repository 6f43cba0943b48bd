//! A loaded model and its runs.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use ort::session::{Session as OrtModel, SessionInputValue};
use ort::value::{DynValue, Tensor, TensorRef};
use tempfile::TempDir;
use tilecast_onnx::DataType;

use super::NAME;
use super::engine::Source;
use crate::border::{GraphInput, check_inputs};
use crate::guard::guarded;
use crate::{HostTensor, Observer, RunError, Session};

/// A loaded model. ONNX Runtime's own state is not safe to share, so runs take turns; each uses all threads.
pub(super) struct OrtSession {
    model: Mutex<OrtModel>,
    /// Name and shape of each graph input.
    inputs: Vec<(String, Vec<usize>)>,
    /// Element type of each.
    types: Vec<DataType>,
    peak_live_bytes: usize,
    /// Dropped after the model, which may have mapped it.
    _copy: Option<TempDir>,
}

impl fmt::Debug for OrtSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrtSession")
            .field("inputs", &self.inputs)
            .finish_non_exhaustive()
    }
}

impl OrtSession {
    pub(super) fn new(
        model: OrtModel,
        inputs: &[GraphInput<'_>],
        peak_live_bytes: usize,
        source: Source,
    ) -> Self {
        Self {
            model: Mutex::new(model),
            types: inputs.iter().map(|input| input.data_type).collect(),
            inputs: inputs
                .iter()
                .map(|input| (input.name.to_owned(), input.dims.clone()))
                .collect(),
            peak_live_bytes,
            _copy: source.into_copy(),
        }
    }
}

impl Session for OrtSession {
    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>, RunError> {
        let fail = |reason| RunError {
            engine: NAME,
            reason,
        };
        check_inputs(inputs, &self.inputs).map_err(fail)?;
        let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        guarded(|| -> ort::Result<_> {
            let mut fed = Vec::with_capacity(inputs.len());
            for ((input, (name, _)), data_type) in inputs.iter().zip(&self.inputs).zip(&self.types)
            {
                fed.push((name.as_str(), to_value(input, *data_type)?));
            }
            let outputs = model.run(fed)?;
            outputs.values().map(|value| from_value(&value)).collect()
        })
        .map_err(fail)
    }

    /// There is nothing to show: a session that is to show values is not prepared.
    fn run_observed(
        &self,
        inputs: &[HostTensor],
        _: &mut Observer<'_>,
    ) -> Result<Vec<HostTensor>, RunError> {
        self.run(inputs)
    }

    fn peak_live_bytes(&self) -> usize {
        self.peak_live_bytes
    }
}

fn to_value(tensor: &HostTensor, data_type: DataType) -> ort::Result<SessionInputValue<'_>> {
    let dims = tensor.dims().to_vec();
    Ok(match data_type {
        DataType::F16 => {
            let mut rounded = vec![f16::ZERO; tensor.data().len()];
            rounded.convert_from_f32_slice(tensor.data());
            Tensor::from_array((dims, rounded))?.into()
        }
        DataType::BF16 => {
            let mut rounded = vec![bf16::ZERO; tensor.data().len()];
            rounded.convert_from_f32_slice(tensor.data());
            Tensor::from_array((dims, rounded))?.into()
        }
        _ => TensorRef::from_array_view((dims, tensor.data()))?.into(),
    })
}

fn from_value(value: &DynValue) -> ort::Result<HostTensor> {
    let (dims, data) = if let Ok((dims, data)) = value.try_extract_tensor::<f16>() {
        (dims, data.to_f32_vec())
    } else if let Ok((dims, data)) = value.try_extract_tensor::<bf16>() {
        (dims, data.to_f32_vec())
    } else {
        let (dims, data) = value.try_extract_tensor::<f32>()?;
        (dims, data.to_vec())
    };
    // Sizes of a tensor that exists are not negative.
    let dims = dims.iter().map(|&size| size as usize).collect();
    Ok(HostTensor::new(dims, data))
}
