//! NVIDIA TensorRT, with explicit quantization.

use super::{BiasForm, Float16, ImageLayout, Placement, Target};
use crate::ChannelNorms;
use tilecast_quant::{QuantType, Symmetry};

/// Signed symmetric activations, because it takes no zero points; pairs on inputs only, because it moves quantization
/// itself over operators that commute with it and finds out from the next pair what a kernel writes. The residual
/// operand of an Add has one too, without which the kernel with the Add inside writes floats. Biases stay float: it
/// rounds them itself. Weights are stored as integers behind `DequantizeLinear`, which it reads as well as float weights
/// behind a pair, at a quarter of the size.
///
/// `ConvTranspose` has scales along its second axis. Products of two images stay float: their kernels gain nothing but
/// the traffic of the pairs.
pub(super) const TENSORRT: Target = Target {
    name: "tensorrt",
    summary: "NVIDIA TensorRT; signed symmetric INT8 with pairs on inputs only, nodes outside INT8 compute in FP16",
    activation_type: QuantType::S8,
    activation_symmetry: Symmetry::Symmetric,
    placement: Placement::InputsOnly,
    bias: BiasForm::Float,
    weighted_ops: &["Conv", "ConvTranspose", "Gemm", "MatMul"],
    arithmetic_ops: &["AveragePool"],
    movement_ops: &[
        "Concat",
        "DepthToSpace",
        "MaxPool",
        "Reshape",
        "Resize",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Transpose",
    ],
    quantized_ops: &[
        "Conv",
        "ConvTranspose",
        "Gemm",
        "MatMul",
        "AveragePool",
        "Concat",
        "DepthToSpace",
        "MaxPool",
        "Reshape",
        "Resize",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Transpose",
    ],
    propagated_ops: &[],
    absorbed_ops: &["Clip", "LeakyRelu", "Relu", "Sigmoid"],
    absorbs_residual_add: true,
    float16: Float16::Compute,
    channel_norms: ChannelNorms::Decomposed,
    image_layout: ImageLayout::Plain,
    adds_pairs_in_16_bits: false,
    int8_costs: None,
};
