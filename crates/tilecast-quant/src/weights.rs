//! Symmetric signed 8-bit weights, one scale per tensor or per channel.
//!
//! Scales map the largest magnitude to 127 and zero points are 0; the integers saturate at −128 and 127, so
//! that a raised or foreign scale behaves as in ONNX Runtime. Sources, version 1.31.1: `quantize_data` in
//! `onnxruntime/quantization/quant_utils.py` and `_calc_initializer_quant_params` in `qdq_quantizer.py`.

use crate::quantize::extend_symmetric_s8;
use crate::types::{QuantParams, QuantType, Range, Scale, Symmetry};

/// How many values share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// One scale for the whole tensor.
    PerTensor,
    /// One scale for each index along `axis`.
    PerChannel {
        /// Dimension of the weight, counted from the front: 0 for Conv, 1 for `ConvTranspose`.
        axis: usize,
    },
}

/// Quantized weights in the layout of their source.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedWeights {
    /// One integer per weight, row-major over the dimensions that were given.
    pub values: Vec<i8>,
    /// One scale for [`Granularity::PerTensor`], otherwise one per channel.
    pub scales: Vec<Scale>,
}

/// Quantizes row-major `values` of shape `dims`, with scales computed from the values.
///
/// A channel of zeros, or of values too small for a normal scale, gets scale 1.
///
/// # Errors
/// [`QuantizeWeightsError`] if the shape does not describe the values or a value is not finite.
pub fn quantize_weights(
    values: &[f32],
    dims: &[usize],
    granularity: Granularity,
) -> Result<QuantizedWeights, QuantizeWeightsError> {
    let layout = Layout::of(values, dims, granularity)?;
    let mut abs_max = vec![0.0_f32; layout.n_channels];
    for (run, channel) in layout.runs(values) {
        let largest = &mut abs_max[channel];
        *largest = run.iter().fold(*largest, |acc, value| acc.max(value.abs()));
    }
    let scales: Vec<Scale> = abs_max
        .into_iter()
        .map(|largest| {
            let range = Range::new(-largest, largest)
                .expect("the layout refuses values that are not finite");
            QuantParams::from_range(range, QuantType::S8, Symmetry::Symmetric).scale()
        })
        .collect();
    Ok(QuantizedWeights {
        values: layout.quantize(values, &scales),
        scales,
    })
}

/// Quantizes row-major `values` of shape `dims` with scales that are already known, for instance raised by
/// [`raise_weight_scales_for_bias`](crate::raise_weight_scales_for_bias).
///
/// # Errors
/// [`QuantizeWeightsError`] as [`quantize_weights`], and if the number of scales does not fit the granularity.
pub fn quantize_weights_with_scales(
    values: &[f32],
    dims: &[usize],
    granularity: Granularity,
    scales: &[Scale],
) -> Result<QuantizedWeights, QuantizeWeightsError> {
    let layout = Layout::of(values, dims, granularity)?;
    if scales.len() != layout.n_channels {
        return Err(QuantizeWeightsError::ScaleCount {
            expected: layout.n_channels,
            actual: scales.len(),
        });
    }
    Ok(QuantizedWeights {
        values: layout.quantize(values, scales),
        scales: scales.to_vec(),
    })
}

/// A tensor seen as runs of consecutive values that share a channel; channels repeat cyclically.
struct Layout {
    n_channels: usize,
    run_len: usize,
}

impl Layout {
    fn of(
        values: &[f32],
        dims: &[usize],
        granularity: Granularity,
    ) -> Result<Self, QuantizeWeightsError> {
        let expected = dims
            .iter()
            .try_fold(1_usize, |acc, &dim| acc.checked_mul(dim));
        if expected != Some(values.len()) {
            return Err(QuantizeWeightsError::Shape {
                dims: dims.to_vec(),
                actual: values.len(),
            });
        }
        if let Some(idx) = values.iter().position(|value| !value.is_finite()) {
            return Err(QuantizeWeightsError::NotFinite {
                idx,
                value: values[idx],
            });
        }
        match granularity {
            Granularity::PerTensor => Ok(Self {
                n_channels: 1,
                run_len: values.len(),
            }),
            Granularity::PerChannel { axis } => {
                let n_channels = *dims.get(axis).ok_or(QuantizeWeightsError::Axis {
                    axis,
                    rank: dims.len(),
                })?;
                Ok(Self {
                    n_channels,
                    run_len: dims[axis + 1..].iter().product(),
                })
            }
        }
    }

    fn runs<'a>(&self, values: &'a [f32]) -> impl Iterator<Item = (&'a [f32], usize)> {
        // A tensor without values has no runs, but `chunks` refuses the length 0.
        values
            .chunks(self.run_len.max(1))
            .zip((0..self.n_channels).cycle())
    }

    fn quantize(&self, values: &[f32], scales: &[Scale]) -> Vec<i8> {
        let mut integers = Vec::with_capacity(values.len());
        for (run, channel) in self.runs(values) {
            extend_symmetric_s8(run, scales[channel], &mut integers);
        }
        integers
    }
}

/// Why weights could not be quantized.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeWeightsError {
    /// The product of the dimensions is not the number of values.
    #[error("weight shape {dims:?} does not describe {actual} values; check the initializer")]
    Shape {
        /// The dimensions that were given.
        dims: Vec<usize>,
        /// The number of values that were given.
        actual: usize,
    },
    /// The channel axis is not a dimension of the weight.
    #[error(
        "channel axis {axis} is out of range for a weight of rank {rank}; use per-tensor scales"
    )]
    Axis {
        /// The axis that was given.
        axis: usize,
        /// The number of dimensions.
        rank: usize,
    },
    /// A weight is NaN or infinite.
    #[error("weight {idx} is {value}; repair the model or keep this node in floating point")]
    NotFinite {
        /// Position in row-major order.
        idx: usize,
        /// The value found there.
        value: f32,
    },
    /// The wrong number of scales was given.
    #[error("{expected} weight scales are needed, {actual} were given; pass one per channel")]
    ScaleCount {
        /// The number of channels.
        expected: usize,
        /// The number of scales.
        actual: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_channel_axis_selects_the_values_that_share_a_scale() {
        // Shape [2, 3]: rows are channels for axis 0, columns for axis 1.
        let values = [127.0, -1.0, 2.0, 254.0, 2.0, -4.0];
        for (granularity, want_scales, want_values) in [
            (Granularity::PerTensor, vec![2.0], [64, 0, 1, 127, 1, -2]),
            (
                Granularity::PerChannel { axis: 0 },
                vec![1.0, 2.0],
                [127, -1, 2, 127, 1, -2],
            ),
            (
                Granularity::PerChannel { axis: 1 },
                vec![2.0, 2.0 / 127.0, 4.0 / 127.0],
                [64, -64, 64, 127, 127, -127],
            ),
        ] {
            let made = quantize_weights(&values, &[2, 3], granularity).expect("valid weights");
            let scales: Vec<f32> = made.scales.iter().map(|scale| scale.get()).collect();
            assert_eq!(scales, want_scales, "{granularity:?}");
            assert_eq!(made.values, want_values, "{granularity:?}");
        }
    }

    #[test]
    fn given_scales_saturate_at_minus_128() {
        let made = quantize_weights_with_scales(
            &[-300.0, 300.0],
            &[2],
            Granularity::PerTensor,
            &[Scale::ONE],
        )
        .expect("valid weights");
        assert_eq!(made.values, [-128, 127]);
    }

    #[test]
    fn empty_tensors_keep_their_scales() {
        let made = quantize_weights(&[], &[0], Granularity::PerTensor).expect("valid weights");
        assert_eq!((made.values.len(), made.scales), (0, vec![Scale::ONE]));
        let made = quantize_weights(&[], &[2, 0], Granularity::PerChannel { axis: 0 })
            .expect("valid weights");
        assert_eq!(made.scales, [Scale::ONE, Scale::ONE]);
        let made = quantize_weights(&[], &[0, 2], Granularity::PerChannel { axis: 0 })
            .expect("valid weights");
        assert_eq!(made.scales, []);
    }

    #[test]
    fn refusals_name_their_cause() {
        let per_axis = |axis| Granularity::PerChannel { axis };
        for (got, want) in [
            (
                quantize_weights(&[1.0], &[2], Granularity::PerTensor),
                QuantizeWeightsError::Shape {
                    dims: vec![2],
                    actual: 1,
                },
            ),
            (
                quantize_weights(&[], &[usize::MAX, 2], Granularity::PerTensor),
                QuantizeWeightsError::Shape {
                    dims: vec![usize::MAX, 2],
                    actual: 0,
                },
            ),
            (
                quantize_weights(&[1.0], &[1], per_axis(1)),
                QuantizeWeightsError::Axis { axis: 1, rank: 1 },
            ),
            (
                quantize_weights(&[1.0, f32::INFINITY], &[2], per_axis(0)),
                QuantizeWeightsError::NotFinite {
                    idx: 1,
                    value: f32::INFINITY,
                },
            ),
            (
                quantize_weights_with_scales(&[1.0, 2.0], &[2], per_axis(0), &[Scale::ONE]),
                QuantizeWeightsError::ScaleCount {
                    expected: 2,
                    actual: 1,
                },
            ),
        ] {
            assert_eq!(got, Err(want));
        }
    }
}
