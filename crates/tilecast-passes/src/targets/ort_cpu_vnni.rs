//! The CPU provider of ONNX Runtime on x86-64 processors with VNNI.

use super::ort_cpu::ORT_CPU;
use super::{Int8Costs, PerPrecision, Target};
use crate::ChannelNorms;

/// As `ort-cpu`, but for processors that multiply and add four 8-bit products at once into 32 bits, without saturation (AVX-512 VNNI
/// or AVX-VNNI: Intel since Ice Lake and Alder Lake, AMD since Zen 4): INT8 pays for more convolutions, and weights keep their
/// full range. Its models run on older processors too, slower and less exact than those of `ort-cpu`.
pub(super) const ORT_CPU_VNNI: Target = Target {
    name: "ort-cpu-vnni",
    summary: "as ort-cpu, for x86-64 processors with VNNI (Intel since 2019, AMD since Zen 4): more in INT8, full weight range",
    channel_norms: ChannelNorms::Convolved {
        fewest_transposed: 32,
    },
    adds_pairs_in_16_bits: false,
    int8_costs: Some(&COSTS),
    ..ORT_CPU
};

/// Least times of chains of four equal convolutions, 16 to 512 channels at 16 to 256 pixels, ONNX Runtime 1.31.1, one thread of
/// an AMD Zen 4 with AVX-512 VNNI. Dense convolutions are almost four times as fast, depthwise ones half as fast.
const COSTS: Int8Costs = Int8Costs {
    narrowest: PerPrecision {
        int8: 24,
        float: 16,
    },
    gathered: 40,
    pooled: 2_700,
    dense: PerPrecision { int8: 5, float: 18 },
    depthwise: PerPrecision {
        int8: 45,
        float: 23,
    },
    written: PerPrecision {
        int8: 80,
        float: 20,
    },
    transposed: PerPrecision {
        int8: 260,
        float: 200,
    },
    conversion: 5_000_000,
    entered: PerPrecision {
        int8: 460,
        float: 300,
    },
    left: PerPrecision {
        int8: 320,
        float: 280,
    },
    to_float_kernel: PerPrecision {
        int8: 620,
        float: 0,
    },
    from_float_kernel: PerPrecision {
        int8: 760,
        float: 0,
    },
};
