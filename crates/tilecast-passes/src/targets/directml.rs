//! The DirectML provider of ONNX Runtime.

use super::{BiasForm, Float16, ImageLayout, Placement, Target};
use crate::ChannelNorms;
use tilecast_quant::{QuantType, Symmetry};

/// The fusions are ONNX Runtime's own, as on its CPU provider: a pair on both sides of each node. Of its rules these hold
/// for DirectML; products, resampling, `DepthToSpace` and `ConvTranspose` are not among them and stay float, in FP16,
/// which the provider computes natively. A
/// concatenation has a kernel that rescales, so that a Relu before it keeps a range that begins at 0.
pub(super) const DIRECTML: Target = Target {
    name: "directml",
    summary: "ONNX Runtime's DirectML provider; nodes outside INT8 compute in FP16",
    activation_type: QuantType::U8,
    activation_symmetry: Symmetry::Asymmetric,
    placement: Placement::InputsAndOutputs,
    bias: BiasForm::Int32,
    weighted_ops: &["Conv", "MatMul"],
    arithmetic_ops: &["Add", "AveragePool", "Concat"],
    movement_ops: &["MaxPool", "Reshape", "Slice", "Split", "Transpose"],
    quantized_ops: &[
        "Conv",
        "MatMul",
        "Add",
        "AveragePool",
        "Concat",
        "MaxPool",
        "Reshape",
        "Slice",
        "Split",
        "Transpose",
    ],
    propagated_ops: &[
        "MaxPool",
        "Reshape",
        "Slice",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    ],
    absorbed_ops: &["Clip", "Relu"],
    absorbs_residual_add: false,
    float16: Float16::Compute,
    channel_norms: ChannelNorms::Decomposed,
    image_layout: ImageLayout::Plain,
    adds_pairs_in_16_bits: false,
    int8_costs: None,
};
