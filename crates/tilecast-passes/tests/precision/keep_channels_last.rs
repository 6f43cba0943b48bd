//! Sums between INT8 convolutions with the channels last: which are turned, and that no bit changes.

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{DataType, Model, Tensor, attribute, node};
use tilecast_passes::{KeepChannelsLast, run_pass};

use crate::common::{bias, conv, listing, model, run, weights};

fn constants() -> Vec<(&'static str, Tensor)> {
    vec![
        ("w", weights([0.5, -0.25, 1.0, 0.75])),
        ("b", bias([0.1, -0.2])),
        ("g", Tensor::from_f32(vec![2], &[1.5, 0.5])),
        ("s", Tensor::from_f32(vec![], &[0.02])),
        (
            "z",
            Tensor::from_raw(DataType::U8, vec![], vec![100].into()).unwrap(),
        ),
    ]
}

/// A pair on a value `v`, which makes `v_d`.
fn pair(v: &str) -> [NodeProto; 2] {
    let (q, d) = (format!("{v}_q"), format!("{v}_d"));
    [
        node("QuantizeLinear", &q, &[v, "s", "z"], &[&q]),
        node("DequantizeLinear", &d, &[&q, "s", "z"], &[&d]),
    ]
}

/// A layer normalization over channels, between transpositions.
fn norm(x: &str, y: &str) -> [NodeProto; 3] {
    let (t, l) = (format!("{y}_t"), format!("{y}_l"));
    let perm = |name: &str, from: &str, to: &str, perm: &[i64]| {
        node("Transpose", name, &[from], &[to]).with_attribute(attribute::ints("perm", perm))
    };
    [
        perm(&t, x, &t, &[0, 2, 3, 1]),
        node("LayerNormalization", &l, &[&t, "g"], &[&l])
            .with_attribute(attribute::int("axis", -1)),
        perm(y, &l, y, &[0, 3, 1, 2]),
    ]
}

/// Two blocks of a residual network: norm, INT8 convolution, sum; and an INT8 convolution behind them.
fn blocks() -> Model {
    let mut nodes = vec![conv("x", "w", "b", "a")];
    for (x, n) in [("a", "1"), ("sum1", "2")] {
        let of = |name: &str| format!("{name}{n}");
        nodes.extend(norm(x, &of("n")));
        nodes.extend(pair(&of("n")));
        nodes.push(conv(&format!("n{n}_d"), "w", "b", &of("c")));
        nodes.extend(pair(&of("c")));
        nodes.push(node(
            "Add",
            &of("add"),
            &[x, &format!("c{n}_d")],
            &[&of("sum")],
        ));
    }
    nodes.extend(pair("sum2"));
    nodes.push(conv("sum2_d", "w", "b", "y"));
    model(nodes, &constants(), 2)
}

#[test]
fn sums_before_normalizations_have_the_channels_last() {
    let before = blocks();
    let mut after = before.clone();
    let report = run_pass(&KeepChannelsLast, &mut after).unwrap();
    assert!(report.changed);
    assert_eq!(
        listing(&after),
        [
            "Conv(x, w, b) -> a",
            "Transpose(a) -> a_channels_last",
            "LayerNormalization(a_channels_last, g) -> n1_l",
            "Transpose(n1_l) -> n1",
            "QuantizeLinear(n1, s, z) -> n1_q",
            "DequantizeLinear(n1_q, s, z) -> n1_d",
            "Conv(n1_d, w, b) -> c1",
            "QuantizeLinear(c1, s, z) -> c1_q",
            "Transpose(c1_q) -> c1_q_channels_last",
            "DequantizeLinear(c1_q_channels_last, s, z) -> c1_d_channels_last",
            "Reshape(c1_d_channels_last, same_shape) -> c1_d_channels_last_kept",
            "Add(a_channels_last, c1_d_channels_last_kept) -> sum1_channels_last",
            "LayerNormalization(sum1_channels_last, g) -> n2_l",
            "Transpose(n2_l) -> n2",
            "QuantizeLinear(n2, s, z) -> n2_q",
            "DequantizeLinear(n2_q, s, z) -> n2_d",
            "Conv(n2_d, w, b) -> c2",
            "QuantizeLinear(c2, s, z) -> c2_q",
            "Transpose(c2_q) -> c2_q_channels_last",
            "DequantizeLinear(c2_q_channels_last, s, z) -> c2_d_channels_last",
            "Reshape(c2_d_channels_last, same_shape) -> c2_d_channels_last_kept",
            "Add(sum1_channels_last, c2_d_channels_last_kept) -> sum2_channels_last",
            "QuantizeLinear(sum2_channels_last, s, z) -> sum2_q_channels_last",
            "Transpose(sum2_q_channels_last) -> sum2_q",
            "DequantizeLinear(sum2_q, s, z) -> sum2_d",
            "Conv(sum2_d, w, b) -> y",
        ]
    );
    assert_eq!(run(&before), run(&after));
    // Nothing is left to be done.
    assert!(!run_pass(&KeepChannelsLast, &mut after).unwrap().changed);
}

#[test]
fn a_sum_that_is_read_channels_first_stays_so() {
    // A norm behind it is one transposition less, what the caller reads one more.
    let mut nodes = vec![conv("x", "w", "b", "a")];
    nodes.extend(pair("a"));
    nodes.push(conv("a_d", "w", "b", "c"));
    nodes.extend(pair("c"));
    nodes.push(node("Add", "add", &["x", "c_d"], &["y"]));
    nodes.extend(norm("y", "unread"));
    let before = model(nodes, &constants(), 2);
    let mut after = before.clone();
    assert!(!run_pass(&KeepChannelsLast, &mut after).unwrap().changed);
    assert_eq!(listing(&before), listing(&after));
}

#[test]
fn sums_on_integers_are_left_to_the_runtime() {
    let mut nodes = vec![conv("x", "w", "b", "a")];
    nodes.extend(pair("a"));
    nodes.push(conv("a_d", "w", "b", "c"));
    nodes.extend(pair("c"));
    nodes.extend(pair("x"));
    nodes.push(node("Add", "add", &["x_d", "c_d"], &["sum"]));
    nodes.extend(pair("sum"));
    nodes.extend(norm("sum_d", "n"));
    nodes.push(conv("n", "w", "b", "y"));
    let mut after = model(nodes, &constants(), 2);
    assert!(!run_pass(&KeepChannelsLast, &mut after).unwrap().changed);
}

#[test]
fn operands_of_an_averaged_product_are_fenced() {
    let mut nodes = Vec::new();
    for c in ["l", "r"] {
        nodes.push(conv("x", "w", "b", c));
        nodes.extend(pair(c));
    }
    nodes.push(node("Mul", "gate", &["l_d", "r_d"], &["p"]));
    nodes.push(node("GlobalAveragePool", "pool", &["p"], &["m"]));
    nodes.push(node("Mul", "scale", &["p", "m"], &["y"]));
    let before = model(nodes, &constants(), 2);
    let mut after = before.clone();
    assert!(run_pass(&KeepChannelsLast, &mut after).unwrap().changed);
    let gate = listing(&after)
        .into_iter()
        .find(|line| line.ends_with("-> p"));
    assert_eq!(gate.unwrap(), "Mul(l_d_floats_kept, r_d_floats_kept) -> p");
    assert_eq!(run(&before), run(&after));
    assert!(!run_pass(&KeepChannelsLast, &mut after).unwrap().changed);
}
