//! What each target runtime executes well: one file per target, one entry in [`TARGETS`].

mod coreml;
mod directml;
mod generic;
mod ort_cpu;
mod ort_cpu_vnni;
mod tensorrt;

use tilecast_quant::{QuantType, Symmetry};

use crate::{ChannelNorms, Precision};

/// What a target does with a node that the plan gives FP16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Float16 {
    /// It computes in FP16.
    Compute,
    /// It has no FP16 kernels: weights are stored in FP16 behind a Cast that folds at load, and computed in FP32.
    Store,
}

/// Between which values a runtime looks for the Q/DQ pairs of an INT8 node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// On what it reads and on what it writes: the pair behind it is what makes its kernel write integers.
    InputsAndOutputs,
    /// On what it reads only: the runtime decides what a kernel writes by what the next one reads.
    InputsOnly,
}

/// How a runtime lays out images between convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageLayout {
    /// Always as the model says.
    Plain,
    /// In blocks of channels, as long as it can prove that shapes agree and no operator needs the plain layout: shapes are
    /// recorded for it, and a Split of channels costs more than a convolution per part.
    Blocked,
}

/// In which form a runtime takes the bias of an INT8 node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BiasForm {
    /// 32-bit integers at the scale of the accumulator.
    Int32,
    /// As it is.
    Float,
}

/// How INT8 and FP16 are expressed for one runtime.
#[derive(Debug)]
pub struct Target {
    /// Name in recipes and on the command line.
    pub name: &'static str,
    /// One line for users.
    pub summary: &'static str,
    /// Element type of quantized activations.
    pub activation_type: QuantType,
    /// Whether activations have a zero point.
    pub activation_symmetry: Symmetry,
    /// Where Q/DQ pairs go.
    pub placement: Placement,
    /// The form of biases.
    pub bias: BiasForm,
    /// Operators with INT8 kernels that multiply by constant weights: the reason for there being Q/DQ pairs.
    pub weighted_ops: &'static [&'static str],
    /// Operators with INT8 kernels without weights, which have scales of their own for what they read and write.
    pub arithmetic_ops: &'static [&'static str],
    /// Operators that pass INT8 elements on as they are, provided that what they read and write has one scale.
    pub movement_ops: &'static [&'static str],
    /// Those of the three lists that are given pairs; the runtime computes the others in INT8 too where they happen to be
    /// between pairs.
    pub quantized_ops: &'static [&'static str],
    /// Operators that move elements and over which the runtime moves a pair by itself, where there is one on one side only.
    pub propagated_ops: &'static [&'static str],
    /// Element-wise operators that are computed inside the kernel before them, as far as that is right: see
    /// [`Target::placement`].
    pub absorbed_ops: &'static [&'static str],
    /// Whether an Add behind an INT8 node is computed inside its kernel, its other operand being read in INT8.
    pub absorbs_residual_add: bool,
    /// What FP16 means here.
    pub float16: Float16,
    /// How normalizations over the channels of an image are best expressed.
    pub channel_norms: ChannelNorms,
    /// How it lays out images between convolutions.
    pub image_layout: ImageLayout,
    /// Whether some processors that it runs on add two neighbouring products of 8-bit numbers in 16 bits, which saturate: weights are
    /// then quantized so that they cannot.
    pub adds_pairs_in_16_bits: bool,
    /// What INT8 costs and saves, where that was measured: nodes that are no faster stay float.
    pub int8_costs: Option<&'static Int8Costs>,
}

/// A cost in INT8 and in float, picoseconds.
#[derive(Clone, Copy, Debug)]
pub struct PerPrecision {
    /// In INT8.
    pub int8: u64,
    /// In float.
    pub float: u64,
}

/// What a runtime takes for convolutions and for what lies between them, on one thread.
#[derive(Clone, Copy, Debug)]
pub struct Int8Costs {
    /// A multiplication in a convolution over several channels.
    pub dense: PerPrecision,
    /// Number of filters below which such a convolution takes no less time.
    pub narrowest: PerPrecision,
    /// An element that an INT8 convolution of several taps copies for one position: it gathers them first.
    pub gathered: u64,
    /// An element that a `MaxPool` reads in INT8 where a float operator computed it: its fast kernel is for channels that are last.
    pub pooled: u64,
    /// A multiplication in a depthwise convolution.
    pub depthwise: PerPrecision,
    /// An element that a convolution writes.
    pub written: PerPrecision,
    /// An element that a Transpose puts back in front of a convolution that reads what was computed with the channels last: what the
    /// convolution is spared in INT8, where it computes so too, and what it takes in float.
    pub transposed: PerPrecision,
    /// Going to INT8 or back at all, however small the tensor: the nodes that do it.
    pub conversion: u64,
    /// An element that goes from another operator to a convolution: conversion and change of layout.
    pub entered: PerPrecision,
    /// An element that goes from a convolution to another operator.
    pub left: PerPrecision,
    /// An element that goes from a convolution to one in float.
    pub to_float_kernel: PerPrecision,
    /// An element that goes from a convolution in float to another one.
    pub from_float_kernel: PerPrecision,
}

impl Target {
    /// Precision of the nodes that an INT8 artifact leaves out and no pin names.
    #[must_use]
    pub fn precision_of_the_rest(&self) -> Precision {
        match self.float16 {
            Float16::Compute => Precision::Fp16,
            Float16::Store => Precision::Fp32,
        }
    }
}

/// Every target, in the order shown to users.
pub const TARGETS: &[&Target] = &[
    &generic::GENERIC,
    &ort_cpu::ORT_CPU,
    &ort_cpu_vnni::ORT_CPU_VNNI,
    &tensorrt::TENSORRT,
    &directml::DIRECTML,
    &coreml::COREML,
];

/// The target of this name.
#[must_use]
pub fn target_by_name(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name).copied()
}
