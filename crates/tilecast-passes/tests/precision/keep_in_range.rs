//! Which nodes calibration keeps out of FP16, and with which number.

use tilecast_onnx::{Tensor, attribute, node};
use tilecast_passes::{Override, PlanRequest, Precision, PrecisionPlan, Reason};
use tilecast_quant::HalfFormat;

use crate::common::{conv, model, plan, request, weights};
use crate::traps::observe;

fn pooled() -> tilecast_onnx::Model {
    model(
        vec![
            conv("x", "w", "", "a"),
            node("GlobalAveragePool", "pool", &["a"], &["p"]),
            node("Add", "attend", &["a", "p"], &["b"]),
            conv("b", "small", "", "y"),
        ],
        &[
            ("w", weights([1000.0, 0.0, 0.0, 1000.0])),
            ("small", weights([1e-3, 0.0, 0.0, 1e-3])),
        ],
        2,
    )
}

#[test]
fn a_pool_whose_sum_leaves_the_format_stays_in_fp32_alone() {
    let model = pooled();
    let mut plan = plan(&model, Precision::Fp16, "generic");
    plan.keep_in_range(&model, Some(&observe(&model)));
    let kept: Vec<_> = plan
        .decisions()
        .iter()
        .filter(|d| d.precision == Precision::Fp32)
        .collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].node, "pool");
    let reason = kept[0].reason.to_string();
    // 64 pixels of about 500 each.
    assert!(reason.starts_with("a sum inside may reach 3."), "{reason}");
    assert!(reason.contains("16376"), "{reason}");
}

#[test]
fn bfloat16_holds_what_float16_does_not() {
    for (opset, kept) in [(17, 3), (22, 0)] {
        let mut model = pooled();
        model.proto_mut().opset_import[0].version = Some(opset);
        let mut plan = plan(&model, Precision::Bf16, "generic");
        // Convolutions and pools have a form in bfloat16 since opset 22.
        let formless = |plan: &PrecisionPlan| {
            let single = plan
                .decisions()
                .iter()
                .filter(|d| d.precision == Precision::Fp32);
            single.filter(|d| d.reason == Reason::NoSuchForm).count()
        };
        assert_eq!(formless(&plan), kept);
        plan.keep_in_range(&model, Some(&observe(&model)));
        assert_eq!(formless(&plan), kept);
        let single = plan
            .decisions()
            .iter()
            .filter(|d| d.precision == Precision::Fp32);
        assert_eq!(
            single.count(),
            if kept == 0 { 0 } else { 4 },
            "what is between them joins"
        );
        assert_eq!(PrecisionPlan::opset_for(&model, HalfFormat::BF16), 22);
    }
}

#[test]
fn the_word_of_the_recipe_stands() {
    let model = pooled();
    let overrides = [Override::new("pool", Precision::Fp16).unwrap()];
    let request = PlanRequest {
        overrides: &overrides,
        ..request(Precision::Fp16, "generic")
    };
    let mut plan = PrecisionPlan::new(&model, &request);
    plan.keep_in_range(&model, Some(&observe(&model)));
    assert_eq!(plan.decision("p").unwrap().precision, Precision::Fp16);
    plan.keep_in_range(&model, None);
    assert_eq!(plan.decision("p").unwrap().precision, Precision::Fp16);
}

#[test]
fn a_light_node_between_two_in_fp32_joins_them_and_one_beside_fp16_does_not() {
    let build = |last: &str| {
        model(
            vec![
                node("Mul", "first", &["x", "tiny"], &["a"]),
                node("Reshape", "fold", &["a", "folded"], &["f"]),
                node("Transpose", "move", &["f"], &["m"])
                    .with_attribute(attribute::ints("perm", &[0, 1, 3, 2])),
                node("Mul", "second", &["m", "tiny"], &["b"]),
                conv(last, "w", "", "y"),
            ],
            &[
                ("tiny", Tensor::from_f32(vec![], &[1e-9])),
                ("folded", Tensor::from_i64(vec![4], &[1, 2, 8, 8])),
                ("w", weights([0.5, 0.25, -0.5, 1.0])),
            ],
            2,
        )
    };
    for (last, expected) in [
        ("b", &["first", "fold", "move", "second"][..]),
        ("m", &["first", "second"]),
    ] {
        let model = build(last);
        let mut plan = plan(&model, Precision::Fp16, "generic");
        plan.keep_in_range(&model, None);
        let single = plan
            .decisions()
            .iter()
            .filter(|d| d.precision == Precision::Fp32);
        let kept: Vec<&str> = single.map(|d| d.node.as_str()).collect();
        assert_eq!(kept, expected, "{last}");
    }
}
