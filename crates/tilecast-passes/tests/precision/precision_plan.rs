//! Which node gets which precision, and why.

use crate::common::{PINS, chain, model, plan, request, sample, target, weights};
use tilecast_onnx::{Model, Tensor, attribute, infer_shapes, node};
use tilecast_passes::{
    ChannelNorms, FuseLayerNorm, Override, Pins, PlanRequest, Precision, PrecisionPlan,
    RangeSource, Reason, normalization_nodes, run_pass,
};

fn reasons(plan: &PrecisionPlan) -> Vec<(&str, Precision, String)> {
    plan.decisions()
        .iter()
        .map(|d| (d.value.as_str(), d.precision, d.reason.to_string()))
        .collect()
}

#[test]
fn ends_are_pinned_and_the_rest_follows_the_target() {
    use Precision::{Fp16, Fp32, Int8};
    let mut model = chain();
    let expect = |precision, reason: &str| {
        [
            ("a", Fp16, "first conv is pinned"),
            ("b", Int8, "the artifact's precision"),
            ("r", precision, reason),
            ("c", Int8, "the artifact's precision"),
            ("y", Fp16, "last conv is pinned"),
        ]
        .map(|(value, precision, reason)| (value, precision, reason.to_owned()))
    };
    let inside = expect(Int8, "computed inside the INT8 kernel of `conv_b`");
    for target in ["generic", "ort-cpu"] {
        assert_eq!(reasons(&plan(&model, Int8, target)), inside, "{target}");
    }
    model.proto_mut().graph.as_mut().unwrap().node[2].op_type = Some("Tanh".into());
    for (target, rest) in [("generic", Fp16), ("ort-cpu", Fp32)] {
        let expected = expect(rest, "the target quantizes other operators only");
        assert_eq!(reasons(&plan(&model, Int8, target)), expected, "{target}");
    }
}

#[test]
fn pins_raise_the_precision_and_never_lower_it() {
    let plan = plan(&chain(), Precision::Fp16, "generic");
    assert!(
        plan.decisions()
            .iter()
            .all(|d| d.precision == Precision::Fp16 && d.reason == Reason::Artifact)
    );
}

#[test]
fn overrides_beat_pins_and_the_last_match_wins() {
    let overrides = [
        Override::new("conv_*", Precision::Fp32).unwrap(),
        Override::new("conv_[ab]", Precision::Int8).unwrap(),
        Override::new("relu", Precision::Int8).unwrap(),
        Override::new("no_such_node", Precision::Fp32).unwrap(),
    ];
    let request = PlanRequest {
        overrides: &overrides,
        ..request(Precision::Int8, "generic")
    };
    let plan = PrecisionPlan::new(&chain(), &request);
    let got: Vec<_> = plan
        .decisions()
        .iter()
        .map(|d| (d.value.as_str(), d.precision.name()))
        .collect();
    // Relu cannot run in INT8, so it gets the next best.
    assert_eq!(
        got,
        [
            ("a", "int8"),
            ("b", "int8"),
            ("r", "fp16"),
            ("c", "fp32"),
            ("y", "fp32")
        ]
    );
    assert_eq!(
        plan.decision("a").unwrap().reason.to_string(),
        "recipe override `conv_[ab]`"
    );
    assert_eq!(plan.unmatched(&overrides), ["no_such_node"]);
    assert!(
        Override::new("a[", Precision::Int8)
            .unwrap_err()
            .to_string()
            .contains("`a[`")
    );
}

#[test]
fn computed_weights_and_pooled_vectors_stay_out_of_int8() {
    let model = model(
        vec![
            crate::common::conv("x", "w", "", "a"),
            node("GlobalAveragePool", "pool", &["a"], &["p"]),
            crate::common::conv("p", "w", "", "gate"),
            node("Mul", "mul", &["a", "gate"], &["m"]),
            node("Relu", "made", &["w"], &["w2"]),
            crate::common::conv("m", "w2", "", "b"),
            crate::common::conv("b", "w", "", "y"),
        ],
        &[("w", weights([1.0, 0.0, 0.0, 1.0]))],
        2,
    );
    let plan = plan(&model, Precision::Int8, "generic");
    assert_eq!(plan.decision("gate").unwrap().reason, Reason::PooledVector);
    assert_eq!(plan.decision("b").unwrap().reason, Reason::ComputedWeights);
    assert_eq!(plan.decision("gate").unwrap().precision, Precision::Fp16);
}

#[test]
fn floats_that_only_make_sizes_stay_in_fp32() {
    let model = model(
        vec![
            node("Shape", "shape", &["x"], &["dims"]),
            node("Cast", "to_float", &["dims"], &["dims_f"])
                .with_attribute(attribute::int("to", 1)),
            node("Mul", "twice", &["dims_f", "factors"], &["sizes_f"]),
            node("Cast", "to_int", &["sizes_f"], &["sizes"])
                .with_attribute(attribute::int("to", 7)),
            node("Resize", "resize", &["x", "", "", "sizes"], &["up"])
                .with_attribute(attribute::string("mode", "nearest")),
            crate::common::conv("up", "w", "", "y"),
        ],
        &[
            ("factors", Tensor::from_f32(vec![4], &[1.0, 1.0, 2.0, 2.0])),
            ("w", weights([1.0, 0.0, 0.0, 1.0])),
        ],
        2,
    );
    let plan = plan(&model, Precision::Fp16, "generic");
    let shape_work: Vec<_> = plan
        .decisions()
        .iter()
        .filter(|d| d.reason == Reason::ShapeWork)
        .map(|d| d.node.as_str())
        .collect();
    // What turns the result into integers reads it in whatever type it has.
    assert_eq!(shape_work, ["to_float", "twice"]);
}

fn int8_convs(plan: &PrecisionPlan) -> usize {
    let decisions = plan.decisions().iter();
    decisions
        .filter(|d| d.op == "Conv" && d.precision == Precision::Int8)
        .count()
}

#[test]
fn the_sample_has_its_ends_and_norms_pinned() {
    let model = sample();
    let plan = PrecisionPlan::new(
        &model,
        &PlanRequest {
            precision: Precision::Int8,
            target: target("ort-cpu"),
            pins: PINS,
            overrides: &[],
            ranges: RangeSource::Static,
        },
    );
    let named = |reason: Reason| -> Vec<&str> {
        plan.decisions()
            .iter()
            .filter(|d| d.reason == reason)
            .map(|d| d.node.as_str())
            .collect()
    };
    assert_eq!(named(Reason::FirstConv), ["/intro/Conv"]);
    assert_eq!(named(Reason::LastConv), ["/ending/Conv"]);
    // 12 blocks with two norms each, of nine nodes with scale and shift.
    assert_eq!(named(Reason::Normalization).len(), 12 * 2 * 9);
    assert_eq!(named(Reason::PooledVector).len(), 12);
    assert_eq!(int8_convs(&plan), 82 - 2 - 12);
    // Of the two gates of a block one is between convolutions: two slices and a product.
    assert_eq!(plan.counts()["int8"], int8_convs(&plan) + 12 * 3);
}

#[test]
fn convolutions_that_average_are_part_of_their_normalization() {
    let convolved = FuseLayerNorm {
        over_channels: ChannelNorms::Convolved {
            fewest_transposed: 64,
        },
    };
    let mut model = sample();
    run_pass(&convolved, &mut model).unwrap();
    let request = |pins| PlanRequest {
        precision: Precision::Int8,
        target: target("ort-cpu"),
        pins,
        overrides: &[],
        ranges: RangeSource::Static,
    };
    let plan = PrecisionPlan::new(&model, &request(PINS));
    let count = |reason: Reason| {
        plan.decisions()
            .iter()
            .filter(|d| d.reason == reason)
            .count()
    };
    // Of the 24 normalizations those over up to 32 channels have convolutions, with scale and shift behind; the others are
    // operators with the channels last.
    let nodes = model.graph_proto().node.iter();
    let n_operators = nodes.filter(|n| n.op() == "LayerNormalization").count();
    assert_eq!(n_operators, 16);
    assert_eq!(
        count(Reason::Normalization),
        (24 - n_operators) * 9 + n_operators
    );
    assert_eq!(count(Reason::FirstConv), 1);
    assert_eq!(int8_convs(&plan), 82 - 2 - 12);
    // Not even a recipe that pins nothing quantizes them.
    let unpinned = Pins {
        norms: Precision::Int8,
        ..PINS
    };
    let plan = PrecisionPlan::new(&model, &request(unpinned));
    assert_eq!(int8_convs(&plan), 82 - 2 - 12);
}

#[test]
fn only_true_normalizations_are_recognized() {
    let norm = |mean_of: &str, squared: &str| -> Model {
        model(
            vec![
                node("ReduceMean", "mean", &[mean_of], &["m"])
                    .with_attribute(attribute::ints("axes", &[1])),
                node("Sub", "sub", &["x", "m"], &["d"]),
                node("Mul", "square", &[squared, squared], &["s"]),
                node("ReduceMean", "var", &["s"], &["v"])
                    .with_attribute(attribute::ints("axes", &[1])),
                node("Add", "eps", &["v", "epsilon"], &["ve"]),
                node("Sqrt", "sqrt", &["ve"], &["sd"]),
                node("Div", "div", &["d", "sd"], &["n"]),
                node("Mul", "scale", &["gain", "n"], &["g"]),
                node("Add", "shift", &["g", "offset"], &["y"]),
            ],
            &[
                ("epsilon", Tensor::from_f32(vec![], &[1e-6])),
                ("gain", Tensor::from_f32(vec![1, 2, 1, 1], &[1.0, 2.0])),
                ("offset", Tensor::from_f32(vec![1, 2, 1, 1], &[0.0, 1.0])),
            ],
            2,
        )
    };
    assert_eq!(normalization_nodes(&norm("x", "d").graph()).len(), 9);
    // The mean of something else, or squares of something else, is no normalization of x.
    assert_eq!(normalization_nodes(&norm("x", "x").graph()).len(), 0);
    let other = model(
        vec![
            node("Relu", "relu", &["x"], &["r"]),
            node("ReduceMean", "mean", &["r"], &["m"])
                .with_attribute(attribute::ints("axes", &[1])),
            node("Sub", "sub", &["x", "m"], &["d"]),
            node("Mul", "square", &["d", "d"], &["s"]),
            node("ReduceMean", "var", &["s"], &["v"]).with_attribute(attribute::ints("axes", &[1])),
            node("Add", "eps", &["v", "epsilon"], &["ve"]),
            node("Sqrt", "sqrt", &["ve"], &["sd"]),
            node("Div", "div", &["d", "sd"], &["y"]),
        ],
        &[("epsilon", Tensor::from_f32(vec![], &[1e-6]))],
        2,
    );
    assert_eq!(normalization_nodes(&other.graph()).len(), 0);
}

#[test]
fn a_pool_on_bytes_behind_a_float_convolution_is_paid_for() {
    let pair = |n: i64| attribute::ints("kernel_shape", &[n, n]);
    let conv = |w: &str, x: &str, y: &str, stride: i64| {
        node("Conv", y, &[x, w], &[y])
            .with_attribute(pair(3))
            .with_attribute(attribute::ints("pads", &[1; 4]))
            .with_attribute(attribute::ints("strides", &[stride, stride]))
    };
    let int8_convs = |n_filters: usize, is_pooled: bool| {
        let first = conv("w1", "x", "a", if is_pooled { 1 } else { 2 });
        let pool = node("MaxPool", "p", &["a"], &["p"])
            .with_attribute(pair(2))
            .with_attribute(attribute::ints("strides", &[2, 2]));
        let read = if is_pooled { "p" } else { "a" };
        let second = conv("w2", read, "b", 1);
        let mut nodes = vec![first, second, conv("w3", "b", "y", 1)];
        if is_pooled {
            nodes.insert(1, pool);
        }
        let ones = |filters: usize, channels: usize| {
            let n = filters * channels * 9;
            Tensor::from_f32(vec![filters, channels, 3, 3], &vec![1.0; n])
        };
        let constants = [
            ("w1", ones(24, 2)),
            ("w2", ones(n_filters, 24)),
            ("w3", ones(3, n_filters)),
        ];
        let model = model(nodes, &constants, 3);
        let mut plan = plan(&model, Precision::Int8, "ort-cpu");
        let shapes = infer_shapes(&model.graph(), &[("x", vec![1, 2, 96, 96])]).unwrap();
        plan.keep_worthwhile(&model.graph(), &shapes, target("ort-cpu"))
            .unwrap();
        int8_convs(&plan)
    };
    // The same sums, at half the size by a stride or by a pool.
    assert_eq!((int8_convs(48, false), int8_convs(48, true)), (1, 0));
    // With more filters it pays all the same.
    assert_eq!((int8_convs(192, false), int8_convs(192, true)), (1, 1));
}
