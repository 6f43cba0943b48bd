//! Products on ranges that are taken while the model runs.

use crate::common::{listing, max_abs, model, request, run};
use tilecast_onnx::{Model, Tensor, node};
use tilecast_passes::{
    DynamicInt8, PerChannel, PlanRequest, Precision, PrecisionPlan, RangeSource, Reason, run_pass,
};

/// Two products of the rows of the image, which share their data, and one with itself.
fn products() -> Model {
    let weights = |seed: usize| {
        let values: Vec<f32> = (0..64)
            .map(|i| ((i * 29 + seed) % 83) as f32 / 40.0 - 1.0)
            .collect();
        Tensor::from_f32(vec![8, 8], &values)
    };
    model(
        vec![
            node("MatMul", "first", &["x", "w1"], &["a"]),
            node("MatMul", "second", &["x", "w2"], &["b"]),
            node("MatMul", "third", &["a", "b"], &["c"]),
            node("Add", "sum", &["c", "a"], &["y"]),
        ],
        &[("w1", weights(0)), ("w2", weights(11))],
        2,
    )
}

fn dynamic(target: &str) -> (PlanRequest<'static>, Model, PrecisionPlan) {
    let request = PlanRequest {
        ranges: RangeSource::Dynamic,
        ..request(Precision::Int8, target)
    };
    let model = products();
    let plan = PrecisionPlan::new(&model, &request);
    (request, model, plan)
}

#[test]
fn products_with_constants_become_integers_and_nothing_else() {
    let (request, original, plan) = dynamic("ort-cpu");
    let mut model = original.clone();
    let pass = DynamicInt8 {
        plan: &plan,
        target: request.target,
        per_channel: PerChannel::Yes,
    };
    let report = run_pass(&pass, &mut model).unwrap();
    assert_eq!(report.declined, []);
    assert_eq!(
        listing(&model),
        [
            "DynamicQuantizeLinear(x) -> x_q, x_scale, x_zp",
            "MatMulInteger(x_q, w1_q, x_zp) -> a_sums",
            "Cast(a_sums) -> a_floats",
            "Mul(x_scale, w1_scale) -> a_scales",
            "Mul(a_floats, a_scales) -> a",
            "MatMulInteger(x_q, w2_q, x_zp) -> b_sums",
            "Cast(b_sums) -> b_floats",
            "Mul(x_scale, w2_scale) -> b_scales",
            "Mul(b_floats, b_scales) -> b",
            "MatMul(a, b) -> c",
            "Add(c, a) -> y",
        ]
    );
    let constants: Vec<_> = model
        .graph_proto()
        .initializer
        .iter()
        .map(|t| t.name.clone().unwrap())
        .collect();
    assert!(!constants.iter().any(|name| name == "w1"), "{constants:?}");
    let (expected, found) = (run(&original), run(&model));
    let largest = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let difference = max_abs(&expected, &found);
    assert!(
        difference > 0.0 && difference < 0.03 * largest,
        "{difference} of {largest}"
    );
}

#[test]
fn the_plan_says_why_the_others_are_not() {
    let (_, _, plan) = dynamic("generic");
    let of = |value: &str| {
        let decision = plan.decision(value).unwrap();
        (decision.precision, decision.reason.clone())
    };
    assert_eq!(of("a"), (Precision::Int8, Reason::Artifact));
    assert_eq!(of("c"), (Precision::Fp16, Reason::NotQuantizedHere));
    assert_eq!(of("y"), (Precision::Fp16, Reason::NotQuantizedHere));
}
