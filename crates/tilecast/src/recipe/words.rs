//! Values that are one word out of a few. The spelling in recipes, in messages and in the schema is the one given here.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// The word in recipes and reports.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

words! {
    /// How the range of an activation is chosen from what was seen in calibration.
    RangeMethod {
        /// Smallest and largest value seen.
        Minmax = "minmax",
        /// Smallest and largest value of each image, averaged over the images.
        MeanMinmax = "mean-minmax",
        /// The range that leaves out a small share of the values at either end.
        Percentile = "percentile",
        /// The range that loses least information (smallest Kullback-Leibler divergence).
        Entropy = "entropy",
        /// The range with the smallest mean squared error.
        Mse = "mse",
    }
}

words! {
    /// Order of the axes of the model's input.
    Layout {
        /// `[N, C, H, W]`.
        Nchw = "nchw",
        /// `[N, H, W, C]`.
        Nhwc = "nhwc",
    }
}

words! {
    /// Order of the color channels.
    Color {
        /// Red, green, blue.
        Rgb = "rgb",
        /// Blue, green, red.
        Bgr = "bgr",
    }
}

words! {
    /// Precision of an artifact.
    ArtifactPrecision {
        /// IEEE half precision.
        Fp16 = "fp16",
        /// bfloat16: the range of FP32 with 8 bits of significand.
        Bf16 = "bf16",
        /// 8-bit integers between QuantizeLinear/DequantizeLinear pairs, with the rest of the graph in FP16 or FP32.
        Int8 = "int8",
        /// 8-bit integers in matrix products only, on ranges that are taken from the data while the model runs. Not for tiles,
        /// which get a range each.
        Int8Dynamic = "int8-dynamic",
    }
}

words! {
    /// Runtime that an artifact is made for; it decides which nodes are quantized and how.
    TargetName {
        /// Any runtime that reads ONNX.
        Generic = "generic",
        /// ONNX Runtime's CPU provider.
        OrtCpu = "ort-cpu",
        /// ONNX Runtime's CPU provider on processors with VNNI.
        OrtCpuVnni = "ort-cpu-vnni",
        /// NVIDIA TensorRT.
        Tensorrt = "tensorrt",
        /// Microsoft DirectML.
        Directml = "directml",
        /// Apple Core ML.
        Coreml = "coreml",
    }
}

words! {
    /// Precision that a pinned node keeps.
    PinPrecision {
        /// IEEE half precision.
        Fp16 = "fp16",
        /// Single precision.
        Fp32 = "fp32",
    }
}

words! {
    /// Precision that an override gives to nodes.
    OverridePrecision {
        /// 8-bit integers.
        Int8 = "int8",
        /// IEEE half precision.
        Fp16 = "fp16",
        /// Single precision.
        Fp32 = "fp32",
    }
}

words! {
    /// Rule for the halo around a tile.
    TileMode {
        /// The halo follows from the graph; tiles equal the whole image up to rounding of sums.
        Exact = "exact",
        /// The smallest overlap whose measured error is below a target.
        Measured = "measured",
    }
}
