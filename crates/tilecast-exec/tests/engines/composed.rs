//! Operators that are made of others, against their definitions in float64, and where the plain operator of tract fails:
//! at large values, at infinities, and at attributes that it does not read.

use tilecast_exec::{Engine, HostTensor};
use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{DataType, Tensor, attribute, node};

use crate::{Small, assert_identical, on_each_engine};

/// From far below to far above where an exponential overflows.
const WIDE: [f32; 14] = [
    -1e30, -1000.0, -100.0, -20.0, -2.5, -1e-3, 0.0, 1e-3, 0.7, 2.5, 20.0, 89.0, 1000.0, 1e30,
];

/// The definition of an activation.
type Activation = Box<dyn Fn(f64) -> f64>;

/// Runs one node on the values as a `[1, n]` tensor.
fn run(
    engine: &dyn Engine,
    opset: i64,
    node: NodeProto,
    initializers: &[Tensor],
    values: &[f32],
) -> Vec<f32> {
    run_dims(
        engine,
        opset,
        node,
        initializers,
        &[1, values.len()],
        values,
    )
}

/// Runs one node whose further inputs are the initializers `c0`, `c1`, …
fn run_dims(
    engine: &dyn Engine,
    opset: i64,
    node: NodeProto,
    initializers: &[Tensor],
    dims: &[usize],
    values: &[f32],
) -> Vec<f32> {
    let named = initializers
        .iter()
        .enumerate()
        .map(|(index, tensor)| tensor.to_proto(&format!("c{index}")))
        .collect();
    let mut graph = Small::new(dims, vec![node], named);
    graph.opset = opset;
    graph
        .run(engine, &HostTensor::new(dims.to_vec(), values.to_vec()))
        .into_data()
}

#[track_caller]
fn assert_close(name: &str, got: &[f32], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{name}: number of elements");
    for (index, (&got, &want)) in got.iter().zip(want).enumerate() {
        // One is subtracted from exponentials near one, at up to five times the scale.
        let close = (f64::from(got) - want).abs() <= 4e-7 + 2e-6 * want.abs();
        let same = close || f64::from(got) == want;
        assert!(same, "{name}: element {index} is {got:e}, not {want:e}");
    }
}

#[test]
fn activations_follow_their_definitions_over_the_whole_range() {
    on_each_engine(|engine| {
        let celu = |alpha: f64| move |x: f64| x.max(0.0) + (alpha * (x / alpha).exp_m1()).min(0.0);
        let swish = |alpha: f64| move |x: f64| x / (1.0 + (-alpha * x).exp());
        let selu = |alpha: f64, gamma: f64| {
            move |x: f64| gamma * if x > 0.0 { x } else { alpha * x.exp_m1() }
        };
        let plain = |op: &str| node(op, "n", &["x"], &["y"]);
        let with = |op: &str, name: &str, value: f32| {
            plain(op).with_attribute(attribute::float(name, value))
        };
        let cases: Vec<(NodeProto, Activation)> = vec![
            (
                plain("Softplus"),
                Box::new(|x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
            ),
            (plain("Celu"), Box::new(celu(1.0))),
            (with("Celu", "alpha", 2.5), Box::new(celu(2.5))),
            (
                plain("Selu"),
                Box::new(selu(1.673_263_192_176_818_8, 1.050_701_022_148_132_3)),
            ),
            (
                with("Selu", "gamma", 3.0),
                Box::new(selu(1.673_263_192_176_818_8, 3.0)),
            ),
        ];
        for (node, expected) in cases {
            let name = format!("{} {:?}", node.op(), node.attribute);
            let want: Vec<f64> = WIDE.iter().map(|&x| expected(f64::from(x))).collect();
            assert_close(&name, &run(engine, 22, node, &[], &WIDE), &want);
        }
        // The logistic function of tract has an absolute error, so this is checked where it is not multiplied by much.
        for (node, alpha) in [(plain("Swish"), 1.0), (with("Swish", "alpha", 2.5), 2.5)] {
            let values: Vec<f32> = (-30..=30).map(|step: i16| f32::from(step) * 0.1).collect();
            let want: Vec<f64> = values.iter().map(|&x| swish(alpha)(f64::from(x))).collect();
            assert_close("Swish", &run(engine, 24, node, &[], &values), &want);
        }
    });
}

/// `max + ln(sum(exp(x - max)))` in float64, which has no overflow for float32 values.
fn log_sum_exp(row: &[f32]) -> f64 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max.is_infinite() {
        return f64::from(max);
    }
    let max = f64::from(max);
    max + row
        .iter()
        .map(|&x| (f64::from(x) - max).exp())
        .sum::<f64>()
        .ln()
}

#[test]
fn logarithms_of_sums_of_exponentials_neither_overflow_nor_underflow() {
    on_each_engine(|engine| {
        let rows: [[f32; 4]; 4] = [
            [-900.0, -901.5, -1200.0, -899.0],
            [1e4, 1e4 - 3.0, 0.0, -1e4],
            [0.5, -0.25, 1.5, -3.0],
            [88.0, 89.0, 90.0, 91.0],
        ];
        let values = rows.concat();
        let want: Vec<f64> = rows.iter().map(|row| log_sum_exp(row)).collect();
        let softmax: Vec<f64> = rows
            .iter()
            .flat_map(|row| row.iter().map(|&x| f64::from(x) - log_sum_exp(row)))
            .collect();
        // The axes are an attribute before opset 18, and an input from then on.
        let attribute_form = node("ReduceLogSumExp", "n", &["x"], &["y"])
            .with_attribute(attribute::ints("axes", &[1]))
            .with_attribute(attribute::int("keepdims", 0));
        let input_form = node("ReduceLogSumExp", "n", &["x", "c0"], &["y"]);
        let axes = || vec![Tensor::from_i64(vec![1], &[-1])];
        let dims = [4, 4];
        let got = run_dims(engine, 17, attribute_form, &[], &dims, &values);
        assert_close("axes as an attribute", &got, &want);
        let got = run_dims(engine, 18, input_form.clone(), &axes(), &dims, &values);
        assert_close("axes as an input", &got, &want);
        for opset in [13, 18] {
            let node = node("LogSoftmax", "n", &["x"], &["y"]);
            let got = run_dims(engine, opset, node, &[], &dims, &values);
            assert_close(&format!("LogSoftmax of opset {opset}"), &got, &softmax);
        }
        let inf = f32::INFINITY;
        let infinite = [-inf, -inf, inf, 0.0, -inf, 3.0];
        let got = run_dims(engine, 18, input_form, &axes(), &[3, 2], &infinite);
        assert_identical("ReduceLogSumExp", &got, &[-inf, inf, 3.0]);
    });
}

#[test]
fn extrema_of_infinities_are_infinite_and_those_of_numbers_exact() {
    on_each_engine(|engine| {
        let inf = f32::INFINITY;
        let values = [
            -inf,
            -inf,
            inf,
            inf,
            f32::MIN,
            f32::MIN,
            f32::MAX,
            f32::MAX,
            -inf,
            0.1,
            1.0 / 3.0,
            inf,
        ];
        let axes = || vec![Tensor::from_i64(vec![1], &[1])];
        for (op, want) in [
            ("ReduceMax", [-inf, inf, f32::MIN, f32::MAX, 0.1, inf]),
            (
                "ReduceMin",
                [-inf, inf, f32::MIN, f32::MAX, -inf, 1.0 / 3.0],
            ),
        ] {
            let node = node(op, "n", &["x", "c0"], &["y"]);
            let got = run_dims(engine, 18, node, &axes(), &[6, 2], &values);
            assert_identical(op, &got, &want);
        }
    });
}

#[test]
fn a_fill_value_that_is_left_out_is_a_float32_zero() {
    on_each_engine(|engine| {
        let nodes = vec![
            node("Shape", "s", &["x"], &["s"]),
            node("ConstantOfShape", "c", &["s"], &["c"]),
            node("Add", "a", &["x", "c"], &["y"]),
        ];
        let x = HostTensor::new(vec![1, 3], vec![1.0, -2.0, 0.5]);
        let y = Small::new(&[1, 3], nodes, vec![]).run(engine, &x);
        assert_identical("y", y.data(), x.data());
    });
}

#[test]
fn casting_to_the_type_of_another_tensor_is_a_cast() {
    on_each_engine(|engine| {
        let half = Tensor::from_raw(DataType::F16, vec![1], vec![0, 0].into()).unwrap();
        let integer = Tensor::from_i64(vec![1], &[7]);
        for (like, want) in [
            (half, [0.099_975_586, -2.75]),
            (integer, [0.0, -2.0]),
            (Tensor::from_f32(vec![1], &[7.0]), [0.1, -2.75]),
        ] {
            let name = like.data_type().to_string();
            let nodes = vec![
                node("CastLike", "there", &["x", "like"], &["t"]),
                node("CastLike", "back", &["t", "x"], &["y"]),
            ];
            let graph = Small::new(&[1, 2], nodes, vec![like.to_proto("like")]);
            let y = graph.run(engine, &HostTensor::new(vec![1, 2], vec![0.1, -2.75]));
            assert_identical(&name, y.data(), &want);
        }
    });
}

#[test]
fn a_padding_value_may_be_a_list_of_one() {
    on_each_engine(|engine| {
        let node = node("Pad", "n", &["x", "c0", "c1"], &["y"]);
        let constants = vec![
            Tensor::from_i64(vec![4], &[0, 1, 0, 2]),
            Tensor::from_f32(vec![1], &[0.5]),
        ];
        let got = run(engine, 21, node, &constants, &[1.0, 2.0]);
        assert_identical("y", &got, &[0.5, 1.0, 2.0, 0.5, 0.5]);
    });
}
