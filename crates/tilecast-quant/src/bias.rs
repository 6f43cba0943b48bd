//! 32-bit biases at the scale of the accumulator, and what to do when one does not fit.
//!
//! A bias is added to the integer accumulator, so its scale is `input_scale * weight_scale[c]` and its zero
//! point 0. A channel of tiny weights beside a large bias makes that scale too small for 32 bits; the remedy
//! is a larger weight scale for that channel. Sources, ONNX Runtime 1.31.1: `quantize_bias_static_impl` in
//! `onnxruntime/quantization/base_quantizer.py` and `_adjust_weight_scale_for_int32_bias` in
//! `qdq_quantizer.py`, whose mixed precision is followed to the bit.

use crate::types::Scale;
use crate::weights::Granularity;

/// Safety factor of the raised scale, so that rounding cannot push the bias over the limit again.
const RAISE_FACTOR: f64 = 1.0001;

/// Number of steps between the largest magnitudes, `2 * (2^31 - 1)`.
const SYMMETRIC_STEPS: f64 = 4_294_967_294.0;

/// A bias at the scale of the accumulator.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedBias {
    /// One integer per output channel.
    pub values: Vec<i32>,
    /// `input_scale * weight_scale`, as many as there are weight scales.
    pub scales: Vec<Scale>,
    /// Channels whose value did not fit 32 bits and was saturated, in increasing order.
    pub saturated: Vec<usize>,
}

/// Weight scales that leave room for the bias.
#[derive(Debug, Clone, PartialEq)]
pub struct RaisedScales {
    /// The new scales, as many as were given.
    pub scales: Vec<Scale>,
    /// Positions in `scales` that changed, in increasing order; weights of these channels must be quantized
    /// again.
    pub adjusted: Vec<usize>,
}

/// Quantizes a bias of shape `[C]` for one weight scale, or one per channel.
///
/// The division and the rounding (ties to even) are in `f64`, over a scale that was rounded to `f32`.
///
/// # Errors
/// [`QuantizeBiasError`] if the number of scales is neither 1 nor `C`, a value is not finite, or the product of
/// the scales is not a normal `f32`.
pub fn quantize_bias(
    bias: &[f32],
    input_scale: Scale,
    weight_scales: &[Scale],
) -> Result<QuantizedBias, QuantizeBiasError> {
    check_finite(bias)?;
    if weight_scales.len() != 1 && weight_scales.len() != bias.len() {
        return Err(QuantizeBiasError::ScaleCount {
            expected: bias.len(),
            actual: weight_scales.len(),
        });
    }
    let product = |(channel, weight_scale): (usize, &Scale)| {
        Scale::new(input_scale.get() * weight_scale.get()).map_err(|_| {
            QuantizeBiasError::ScaleProduct {
                channel,
                input_scale: input_scale.get(),
                weight_scale: weight_scale.get(),
            }
        })
    };
    let scales: Vec<Scale> = weight_scales
        .iter()
        .enumerate()
        .map(product)
        .collect::<Result<_, _>>()?;
    let mut values = Vec::with_capacity(bias.len());
    let mut saturated = Vec::new();
    for (channel, (&value, scale)) in bias.iter().zip(scales.iter().cycle()).enumerate() {
        let rounded = (f64::from(value) / f64::from(scale.get())).round_ties_even();
        let clamped = rounded.clamp(f64::from(i32::MIN), f64::from(i32::MAX));
        if clamped.to_bits() != rounded.to_bits() {
            saturated.push(channel);
        }
        values.push(clamped as i32);
    }
    Ok(QuantizedBias {
        values,
        scales,
        saturated,
    })
}

/// Raises the weight scales whose product with `input_scale` is too small for the bias.
///
/// `granularity` is that of the weights; the bias has shape `[C]` and its axis is always 0, so the axis inside
/// [`Granularity::PerChannel`] is not used. Weights are quantized afterwards with
/// [`quantize_weights_with_scales`](crate::quantize_weights_with_scales).
///
/// # Errors
/// [`QuantizeBiasError`] if the number of scales does not fit the granularity, a value is not finite, or no
/// `f32` scale is large enough.
pub fn raise_weight_scales_for_bias(
    bias: &[f32],
    input_scale: Scale,
    weight_scales: &[Scale],
    granularity: Granularity,
) -> Result<RaisedScales, QuantizeBiasError> {
    check_finite(bias)?;
    let smallest_valid: Vec<f64> = match granularity {
        Granularity::PerTensor => {
            let abs_max = bias.iter().fold(0.0_f32, |acc, value| acc.max(value.abs()));
            vec![RAISE_FACTOR * (2.0 * f64::from(abs_max)) / SYMMETRIC_STEPS]
        }
        // The numerator is a product of `f32` scalars in the original, where the factor is rounded first.
        Granularity::PerChannel { .. } => bias
            .iter()
            .map(|value| f64::from(RAISE_FACTOR as f32 * (2.0 * value.abs())) / SYMMETRIC_STEPS)
            .collect(),
    };
    if weight_scales.len() != smallest_valid.len() {
        return Err(QuantizeBiasError::ScaleCount {
            expected: smallest_valid.len(),
            actual: weight_scales.len(),
        });
    }
    let mut raised = RaisedScales {
        scales: weight_scales.to_vec(),
        adjusted: Vec::new(),
    };
    for (channel, (scale, smallest)) in raised.scales.iter_mut().zip(smallest_valid).enumerate() {
        let weight_scale = f64::from(scale.get());
        let candidate = f64::from(input_scale.get()) * weight_scale;
        if candidate < smallest {
            let ratio = smallest / candidate;
            *scale = Scale::new((weight_scale * ratio) as f32).map_err(|_| {
                QuantizeBiasError::ScaleProduct {
                    channel,
                    input_scale: input_scale.get(),
                    weight_scale: (weight_scale * ratio) as f32,
                }
            })?;
            raised.adjusted.push(channel);
        }
    }
    Ok(raised)
}

fn check_finite(bias: &[f32]) -> Result<(), QuantizeBiasError> {
    match bias.iter().position(|value| !value.is_finite()) {
        Some(channel) => Err(QuantizeBiasError::NotFinite {
            channel,
            value: bias[channel],
        }),
        None => Ok(()),
    }
}

/// Why a bias could not be quantized.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeBiasError {
    /// A bias is NaN or infinite.
    #[error(
        "bias of channel {channel} is {value}; repair the model or keep this node in floating point"
    )]
    NotFinite {
        /// Output channel.
        channel: usize,
        /// The value found there.
        value: f32,
    },
    /// The number of weight scales does not fit the bias.
    #[error(
        "{expected} weight scales are needed for the bias, {actual} were given; pass one per channel"
    )]
    ScaleCount {
        /// The number that fits.
        expected: usize,
        /// The number of scales.
        actual: usize,
    },
    /// The scale of the accumulator is not a normal `f32`.
    #[error(
        "input scale {input_scale:e} and weight scale {weight_scale:e} of channel {channel} give no usable bias \
         scale; keep the bias in floating point"
    )]
    ScaleProduct {
        /// Output channel.
        channel: usize,
        /// Scale of the input activation.
        input_scale: f32,
        /// Scale of the weights of the channel.
        weight_scale: f32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(value: f32) -> Scale {
        Scale::new(value).expect("test scale")
    }

    #[test]
    fn a_bias_is_counted_in_accumulator_steps() {
        let made = quantize_bias(
            &[1.0, -0.75, 0.125],
            scale(0.5),
            &[scale(0.5), scale(0.25), scale(0.5)],
        )
        .expect("valid bias");
        assert_eq!(
            made.values,
            [4, -6, 0],
            "the last value is a tie and goes to even"
        );
        assert_eq!(made.scales, [scale(0.25), scale(0.125), scale(0.25)]);
        assert_eq!(made.saturated, [0_usize; 0]);
    }

    #[test]
    fn one_weight_scale_serves_every_channel() {
        let made = quantize_bias(&[1.0, 2.0], scale(0.5), &[scale(1.0)]).expect("valid bias");
        assert_eq!((made.values, made.scales), (vec![2, 4], vec![scale(0.5)]));
    }

    #[test]
    fn raised_scales_make_every_bias_fit() {
        let bias = [3.0, -5e4, 1e6];
        let scales = [scale(1e-3), scale(1e-9), scale(1e-12)];
        let before = quantize_bias(&bias, scale(1e-3), &scales).expect("valid bias");
        assert_eq!(before.saturated, [1, 2]);
        assert_eq!(before.values[1..], [i32::MIN, i32::MAX]);

        let raised = raise_weight_scales_for_bias(
            &bias,
            scale(1e-3),
            &scales,
            Granularity::PerChannel { axis: 0 },
        )
        .expect("fits");
        assert_eq!(raised.adjusted, [1, 2]);
        assert_eq!(raised.scales[0], scales[0]);
        let after = quantize_bias(&bias, scale(1e-3), &raised.scales).expect("valid bias");
        assert_eq!(after.saturated, [0_usize; 0]);

        let raised = raise_weight_scales_for_bias(
            &bias,
            scale(1e-3),
            &[scale(1e-9)],
            Granularity::PerTensor,
        )
        .expect("fits");
        assert_eq!(raised.adjusted, [0]);
        let after = quantize_bias(&bias, scale(1e-3), &raised.scales).expect("valid bias");
        assert_eq!(after.saturated, [0_usize; 0]);
    }

    #[test]
    fn refusals_name_their_cause() {
        let one = scale(1.0);
        assert_eq!(
            quantize_bias(&[1.0, f32::NEG_INFINITY], one, &[one]),
            Err(QuantizeBiasError::NotFinite {
                channel: 1,
                value: f32::NEG_INFINITY
            })
        );
        assert_eq!(
            quantize_bias(&[1.0, 2.0, 3.0], one, &[one, one]),
            Err(QuantizeBiasError::ScaleCount {
                expected: 3,
                actual: 2
            })
        );
        assert_eq!(
            raise_weight_scales_for_bias(&[1.0], one, &[one, one], Granularity::PerTensor),
            Err(QuantizeBiasError::ScaleCount {
                expected: 1,
                actual: 2
            })
        );
        let tiny = scale(1e-30);
        assert_eq!(
            quantize_bias(&[1.0], tiny, &[tiny]),
            Err(QuantizeBiasError::ScaleProduct {
                channel: 0,
                input_scale: 1e-30,
                weight_scale: 1e-30
            })
        );
    }
}
