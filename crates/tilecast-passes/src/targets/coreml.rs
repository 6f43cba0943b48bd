//! Apple Core ML.

use super::{BiasForm, Float16, ImageLayout, Placement, Target};
use crate::ChannelNorms;
use tilecast_quant::{QuantType, Symmetry};

/// What coremltools writes for activations in INT8: signed, symmetric, a pair before each convolution, linear layer,
/// pooling and Add, nothing behind them; float biases. A pooling that takes maxima keeps its scale.
pub(super) const COREML: Target = Target {
    name: "coreml",
    summary: "Apple Core ML; signed symmetric INT8 with pairs on inputs only, nodes outside INT8 compute in FP16",
    activation_type: QuantType::S8,
    activation_symmetry: Symmetry::Symmetric,
    placement: Placement::InputsOnly,
    bias: BiasForm::Float,
    weighted_ops: &["Conv", "Gemm", "MatMul"],
    arithmetic_ops: &["Add", "AveragePool"],
    movement_ops: &[
        "Concat",
        "MaxPool",
        "Reshape",
        "Slice",
        "Split",
        "Transpose",
    ],
    quantized_ops: &[
        "Conv",
        "Gemm",
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
    propagated_ops: &[],
    absorbed_ops: &["Clip", "LeakyRelu", "Relu"],
    absorbs_residual_add: false,
    float16: Float16::Compute,
    channel_norms: ChannelNorms::Decomposed,
    image_layout: ImageLayout::Plain,
    adds_pairs_in_16_bits: false,
    int8_costs: None,
};
