//! Parameters, weights and biases against ONNX Runtime's own quantizer, bit for bit.
//!
//! The files under `tests/golden/quant` and the script that wrote them (`generate.py`) are at the root of the
//! repository. Floats are stored as the integers of their bits.

use serde::Deserialize;
use tilecast_quant::{
    Granularity, QuantParams, QuantType, Range, Scale, Symmetry, quantize_bias, quantize_value,
    quantize_weights, quantize_weights_with_scales, raise_weight_scales_for_bias,
};

#[derive(Debug, Deserialize)]
struct ParamsCase {
    min: u32,
    max: u32,
    r#type: QuantType,
    symmetric: bool,
    scale: u32,
    zero_point: i32,
}

#[derive(Debug, Deserialize)]
struct WeightCase {
    dims: Vec<usize>,
    axis: usize,
    values: Vec<u32>,
    tensor_scale: u32,
    tensor_values: Vec<i8>,
    channel_scales: Vec<u32>,
    channel_values: Vec<i8>,
    small_scales: Vec<u32>,
    small_values: Vec<i8>,
}

#[derive(Debug, Deserialize)]
struct BiasCase {
    per_channel: bool,
    bias: Vec<u32>,
    input_scale: u32,
    weight_scales: Vec<u32>,
    bias_scales: Vec<u32>,
    values: Vec<i32>,
    raised_scales: Vec<u32>,
    raised_values: Vec<i32>,
}

#[derive(Debug, Deserialize)]
struct ActivationCase {
    min: u32,
    max: u32,
    r#type: QuantType,
    symmetric: bool,
    values: Vec<u32>,
    quantized: Vec<i32>,
}

fn floats(bits: &[u32]) -> Vec<f32> {
    bits.iter().copied().map(f32::from_bits).collect()
}

fn scale(bits: u32) -> Scale {
    Scale::new(f32::from_bits(bits)).expect("a golden scale is normal")
}

fn scales(bits: &[u32]) -> Vec<Scale> {
    bits.iter().copied().map(scale).collect()
}

fn scale_bits(scales: &[Scale]) -> Vec<u32> {
    scales.iter().map(|scale| scale.get().to_bits()).collect()
}

#[test]
fn params_equal_compute_scale_zp() {
    let cases: Vec<ParamsCase> =
        serde_json::from_str(include_str!("../../../tests/golden/quant/params.json"))
            .expect("golden file");
    assert!(cases.len() > 500, "the golden file is truncated");
    let mut failures = Vec::new();
    for case in &cases {
        let range =
            Range::new(f32::from_bits(case.min), f32::from_bits(case.max)).expect("golden range");
        let symmetry = if case.symmetric {
            Symmetry::Symmetric
        } else {
            Symmetry::Asymmetric
        };
        let made = QuantParams::from_range(range, case.r#type, symmetry);
        if (made.scale().get().to_bits(), made.zero_point().get()) != (case.scale, case.zero_point)
        {
            failures.push(format!(
                "{range:?} {symmetry:?}: {made:?} instead of {case:?}"
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} differ:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

#[test]
fn weights_equal_quantize_data_and_quantize_onnx_initializer() {
    let cases: Vec<WeightCase> =
        serde_json::from_str(include_str!("../../../tests/golden/quant/weights.json"))
            .expect("golden file");
    assert!(!cases.is_empty());
    for (idx, case) in cases.iter().enumerate() {
        let values = floats(&case.values);
        let per_channel = Granularity::PerChannel { axis: case.axis };

        let made =
            quantize_weights(&values, &case.dims, Granularity::PerTensor).expect("golden weights");
        assert_eq!(
            scale_bits(&made.scales),
            [case.tensor_scale],
            "case {idx}, per tensor"
        );
        assert_eq!(made.values, case.tensor_values, "case {idx}, per tensor");

        let made = quantize_weights(&values, &case.dims, per_channel).expect("golden weights");
        assert_eq!(
            scale_bits(&made.scales),
            case.channel_scales,
            "case {idx}, per channel"
        );
        assert_eq!(made.values, case.channel_values, "case {idx}, per channel");

        let small = scales(&case.small_scales);
        let made = quantize_weights_with_scales(&values, &case.dims, per_channel, &small)
            .expect("golden weights");
        assert_eq!(made.values, case.small_values, "case {idx}, saturating");
    }
}

#[test]
fn biases_equal_quantize_bias_static_and_its_scale_adjustment() {
    let cases: Vec<BiasCase> =
        serde_json::from_str(include_str!("../../../tests/golden/quant/bias.json"))
            .expect("golden file");
    let mut n_saturated = 0;
    let mut n_adjusted = 0;
    for (idx, case) in cases.iter().enumerate() {
        let (bias, input_scale) = (floats(&case.bias), scale(case.input_scale));
        let given = scales(&case.weight_scales);
        let made = quantize_bias(&bias, input_scale, &given).expect("golden bias");
        assert_eq!(scale_bits(&made.scales), case.bias_scales, "case {idx}");
        assert_eq!(made.values, case.values, "case {idx}");
        n_saturated += made.saturated.len();

        let granularity = if case.per_channel {
            Granularity::PerChannel { axis: 0 }
        } else {
            Granularity::PerTensor
        };
        let raised = raise_weight_scales_for_bias(&bias, input_scale, &given, granularity)
            .expect("golden bias");
        assert_eq!(scale_bits(&raised.scales), case.raised_scales, "case {idx}");
        let changed: Vec<usize> = (0..given.len())
            .filter(|&channel| raised.scales[channel] != given[channel])
            .collect();
        assert_eq!(raised.adjusted, changed, "case {idx}");
        n_adjusted += changed.len();
        let made = quantize_bias(&bias, input_scale, &raised.scales).expect("golden bias");
        assert_eq!(made.values, case.raised_values, "case {idx}");
        assert!(made.saturated.is_empty(), "case {idx} still saturates");
    }
    assert!(
        n_saturated > 0 && n_adjusted > 0,
        "the golden cases miss the adjustment"
    );
}

#[test]
fn activations_equal_quantize_linear() {
    let cases: Vec<ActivationCase> =
        serde_json::from_str(include_str!("../../../tests/golden/quant/activations.json"))
            .expect("golden file");
    assert!(cases.len() >= 28, "the golden file is truncated");
    for case in &cases {
        let range =
            Range::new(f32::from_bits(case.min), f32::from_bits(case.max)).expect("golden range");
        let symmetry = if case.symmetric {
            Symmetry::Symmetric
        } else {
            Symmetry::Asymmetric
        };
        let params = QuantParams::from_range(range, case.r#type, symmetry);
        let made: Vec<i32> = floats(&case.values)
            .into_iter()
            .map(|value| quantize_value(value, &params))
            .collect();
        assert_eq!(
            made, case.quantized,
            "{range:?} {symmetry:?} {:?}",
            case.r#type
        );
    }
}
