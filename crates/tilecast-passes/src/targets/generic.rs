//! Any runtime that reads QDQ models, GPUs first.

use super::{BiasForm, Float16, ImageLayout, Placement, Target};
use crate::ChannelNorms;
use tilecast_quant::{QuantType, Symmetry};

/// Standard QDQ around convolutions, everything else in FP16. Scales stay in FP32: Q/DQ with FP16 scales need opset 19
/// and fuse in fewer runtimes. The opset stays what the model was exported with, which is what its runtime reads.
pub(super) const GENERIC: Target = Target {
    name: "generic",
    summary: "any runtime that reads QDQ models; nodes outside INT8 compute in FP16",
    activation_type: QuantType::U8,
    activation_symmetry: Symmetry::Asymmetric,
    placement: Placement::InputsAndOutputs,
    bias: BiasForm::Int32,
    weighted_ops: &["Conv"],
    arithmetic_ops: &[],
    movement_ops: &[],
    quantized_ops: &["Conv"],
    propagated_ops: &[],
    absorbed_ops: &["Relu"],
    absorbs_residual_add: false,
    float16: Float16::Compute,
    channel_norms: ChannelNorms::Decomposed,
    image_layout: ImageLayout::Plain,
    adds_pairs_in_16_bits: false,
    int8_costs: None,
};
