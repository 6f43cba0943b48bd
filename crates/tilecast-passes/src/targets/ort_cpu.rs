//! The CPU provider of ONNX Runtime on x86-64.

use super::{Float16, Target};
use crate::ChannelNorms;
use tilecast_quant::{QuantType, Symmetry};

/// Unsigned activations, because signed ones keep every convolution whose output branches in float on x86-64; Q directly
/// behind each convolution, because without it the convolution stays float; FP16 only as storage, because the provider
/// has next to no FP16 kernels and casts around each. Averages over channels are convolutions: its `ReduceMean` runs on one
/// thread there. No fusion is worth a newer opset: the runtime itself recognizes the GELU by `Erf` and the layer normalization of
/// tokens when it loads a model, and `GroupNormalization` and `HardSwish` take as long as what they replace.
pub(super) const ORT_CPU: Target = Target {
    name: "ort-cpu",
    summary: "ONNX Runtime's CPU provider; nodes outside INT8 compute in FP32, pinned weights are stored in FP16",
    activation_type: QuantType::U8,
    activation_symmetry: Symmetry::Asymmetric,
    quantized_ops: &["Conv"],
    absorbed_ops: &["Relu"],
    float16: Float16::Store,
    channel_norms: ChannelNorms::Convolved,
};
