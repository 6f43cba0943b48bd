//! The CPU provider of ONNX Runtime on x86-64.

use super::{BiasForm, Float16, ImageLayout, Int8Costs, PerPrecision, Placement, Target};
use crate::ChannelNorms;
use tilecast_quant::{QuantType, Symmetry};

/// Unsigned activations, because signed ones keep every convolution whose output branches in float on x86-64; Q directly
/// behind each convolution, because without it the convolution stays float; FP16 only as storage, because the provider
/// has next to no FP16 kernels and casts around each. Averages over channels are convolutions: its `ReduceMean` runs on one
/// thread there. No fusion is worth a newer opset: the runtime itself recognizes the GELU by `Erf` and the layer normalization of
/// tokens when it loads a model, and `GroupNormalization` and `HardSwish` take as long as what they replace.
///
/// Of the operators with INT8 kernels, Add is left out of those that are given pairs: the sums of a residual network carry
/// what the image is, and rounding them costs more quality than it saves time.
pub(super) const ORT_CPU: Target = Target {
    name: "ort-cpu",
    summary: "ONNX Runtime's CPU provider; nodes outside INT8 compute in FP32, pinned weights are stored in FP16",
    activation_type: QuantType::U8,
    activation_symmetry: Symmetry::Asymmetric,
    placement: Placement::InputsAndOutputs,
    bias: BiasForm::Int32,
    weighted_ops: &["Conv", "Gemm", "MatMul"],
    arithmetic_ops: &[
        "Add",
        "AveragePool",
        "Concat",
        "GlobalAveragePool",
        "LeakyRelu",
        "Mul",
        "Sigmoid",
        "Softmax",
    ],
    movement_ops: &[
        "DepthToSpace",
        "Flatten",
        "MaxPool",
        "Reshape",
        "Resize",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    ],
    quantized_ops: &[
        "Conv",
        "Concat",
        "DepthToSpace",
        "LeakyRelu",
        "MaxPool",
        "Mul",
        "Reshape",
        "Resize",
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
    float16: Float16::Store,
    channel_norms: ChannelNorms::Convolved {
        fewest_transposed: 64,
    },
    image_layout: ImageLayout::Blocked,
    adds_pairs_in_16_bits: true,
    int8_costs: Some(&COSTS),
};

/// Medians over profiles of the samples and exports, ONNX Runtime 1.31.1, one thread of a processor with AVX2 and without VNNI:
/// where INT8 pays there it pays more on newer ones. Dense convolutions are twice as fast but for what they write and, with few
/// filters, for what the tiles of the kernels leave unused; depthwise ones are slower. Between operators: `QuantizeLinear` 300
/// and a transposition of bytes 150; `DequantizeLinear` 180 and 160; in float the provider's own reordering to and from blocks
/// of channels, 200 and 300. A node takes two or three microseconds to be started. What a `MaxPool` of bytes
/// takes was measured with AVX-512; it takes one element at a time in either case.
const COSTS: Int8Costs = Int8Costs {
    narrowest: PerPrecision {
        int8: 48,
        float: 24,
    },
    gathered: 100,
    pooled: 2_700,
    dense: PerPrecision {
        int8: 11,
        float: 23,
    },
    depthwise: PerPrecision {
        int8: 70,
        float: 47,
    },
    written: PerPrecision {
        int8: 170,
        float: 40,
    },
    transposed: PerPrecision {
        int8: 150,
        float: 160,
    },
    conversion: 5_000_000,
    entered: PerPrecision {
        int8: 450,
        float: 200,
    },
    left: PerPrecision {
        int8: 350,
        float: 300,
    },
    to_float_kernel: PerPrecision {
        int8: 540,
        float: 0,
    },
    from_float_kernel: PerPrecision {
        int8: 750,
        float: 0,
    },
};
