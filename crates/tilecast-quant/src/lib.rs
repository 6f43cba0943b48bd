//! The only home of quantization arithmetic: scales, zero points, rounding, range estimators.
//!
//! Everything here is a pure function of its arguments: no files, no threads, no clocks. The definitions
//! are written down, with their sources, in `docs/numerics.md`; this crate is their implementation.
//!
//! ```
//! use tilecast_quant::{QuantParams, QuantType, Range, Symmetry, quantize_slice};
//!
//! let range = Range::new(-1.0, 3.0)?;
//! let params = QuantParams::from_range(range, QuantType::U8, Symmetry::Asymmetric);
//! assert_eq!(params.zero_point().get(), 64);
//!
//! let mut bytes = Vec::new();
//! quantize_slice(&[-1.0, 0.0, 3.0, 9.0], &params, &mut bytes);
//! assert_eq!(bytes, [0, 64, 255, 255]);
//! # Ok::<(), tilecast_quant::CheckRangeError>(())
//! ```

mod bias;
mod binning;
mod channel_sums;
mod exact_sum;
mod half_filter;
mod half_float;
mod histogram;
mod histogram_serde;
mod magnitude;
mod pairs;
mod params;
mod quantize;
mod range;
mod statistics;
mod types;
mod weights;

pub use bias::{
    QuantizeBiasError, QuantizedBias, RaisedScales, quantize_bias, raise_weight_scales_for_bias,
};
pub use binning::MAX_BINS_PER_SIDE;
pub use channel_sums::ChannelSums;
pub use half_float::{HalfFormat, HalfLoss};
pub use histogram::{Bin, Histogram};
pub use histogram_serde::DecodeHistogramError;
pub use magnitude::{Magnitude, Terms, largest_sum};
pub use pairs::raise_scale_for_pairs;
pub use quantize::{dequantize_slice, fake_quantize_in_place, quantize_slice, quantize_value};
pub use range::{
    ClippedFraction, CreateEstimatorError, Entropy, EstimateError, MeanMinMax, MinMax, Mse,
    Percentile, RangeEstimator, clipped_fraction, estimator_by_name,
};
pub use statistics::{DecodeStatisticsError, ValueStatistics};
pub use types::{
    CheckParamsError, CheckRangeError, CheckScaleError, QuantParams, QuantType, Range, Scale,
    Symmetry, ZeroPoint,
};
pub use weights::{
    Granularity, QuantizeWeightsError, QuantizedWeights, quantize_weights,
    quantize_weights_with_scales,
};
