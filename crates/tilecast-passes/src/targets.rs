//! What each target runtime executes well: one file per target, one entry in [`TARGETS`].

mod generic;
mod ort_cpu;

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
    /// Operators that run in INT8 between Q/DQ pairs.
    pub quantized_ops: &'static [&'static str],
    /// Element-wise operators that the runtime fuses into a quantized producer when Q follows them directly.
    pub absorbed_ops: &'static [&'static str],
    /// What FP16 means here.
    pub float16: Float16,
    /// How normalizations over the channels of an image are best expressed.
    pub channel_norms: ChannelNorms,
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
pub const TARGETS: &[&Target] = &[&generic::GENERIC, &ort_cpu::ORT_CPU];

/// The target of this name.
#[must_use]
pub fn target_by_name(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name).copied()
}
