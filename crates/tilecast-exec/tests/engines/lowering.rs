//! Rounding, fake quantization, constants, names: exact on small graphs. Where an engine differs, the test says so.

use half::{bf16, f16};
use tilecast_exec::{Engine, HostTensor, SessionOptions, TractEngine};
use tilecast_onnx::{DataType, Tensor, attribute, node};

use crate::{Small, assert_identical, on_each_engine, sample, tensor};

fn raw(data_type: DataType, dims: &[usize], bytes: Vec<u8>) -> Tensor {
    Tensor::from_raw(data_type, dims.to_vec(), bytes.into()).unwrap()
}

fn halves(dims: &[usize], values: &[f32]) -> Tensor {
    let bytes = values
        .iter()
        .flat_map(|&v| f16::from_f32(v).to_le_bytes())
        .collect();
    raw(DataType::F16, dims, bytes)
}

fn round(values: &[f32]) -> Vec<f32> {
    values.iter().map(|&v| f16::from_f32(v).to_f32()).collect()
}

/// Values around every kind of threshold.
fn hard_values() -> HostTensor {
    let mut values = vec![
        0.0,
        -0.0,
        1e-8,
        5.9e-8,
        6.1e-5,
        65504.0,
        65519.99,
        65520.0,
        -65520.0,
        1e30,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        0.1,
        1.0 / 3.0,
        2049.0,
        2051.0,
    ];
    values.extend((-600..=600).map(|half_steps: i16| f32::from(half_steps) * 0.05));
    values.extend((0..500).map(|i| (i as f32 - 250.0) * 0.377));
    HostTensor::new(vec![1, 1, 1, values.len()], values)
}

fn float16_cast(to: DataType) -> tilecast_onnx::proto::AttributeProto {
    attribute::int("to", i64::from(to.code()))
}

#[test]
fn a_cast_to_float16_rounds_and_a_cast_back_does_nothing() {
    on_each_engine(|engine| {
        let x = hard_values();
        let nodes = vec![
            node("Cast", "down", &["x"], &["h"]).with_attribute(float16_cast(DataType::F16)),
            node("Cast", "up", &["h"], &["y"]).with_attribute(float16_cast(DataType::F32)),
        ];
        let y = Small::new(x.dims(), nodes, vec![]).run(engine, &x);
        assert_identical("cast", y.data(), &round(x.data()));
    });
}

#[test]
// ONNX Runtime's CPU provider has no bfloat16 addition.
fn bfloat16_rounds_like_float16_with_its_own_step() {
    let engine = &TractEngine::new();
    let x = hard_values();
    let nodes = vec![
        node("Cast", "down", &["x"], &["h"]).with_attribute(float16_cast(DataType::BF16)),
        node("Add", "add", &["h", "h"], &["s"]),
        node("Cast", "up", &["s"], &["y"]).with_attribute(float16_cast(DataType::F32)),
    ];
    let y = Small::new(x.dims(), nodes, vec![]).run(engine, &x);
    let doubled: Vec<f32> = x
        .data()
        .iter()
        .map(|&v| bf16::from_f32(2.0 * bf16::from_f32(v).to_f32()).to_f32())
        .collect();
    assert_identical("bfloat16", y.data(), &doubled);
}

#[test]
fn a_float16_graph_rounds_its_input_and_every_computed_value() {
    on_each_engine(|engine| {
        let x = tensor(9, &[1, 2, 3, 4]);
        let weight = [1.1, -0.3];
        let nodes = vec![
            node("Mul", "mul", &["x", "w"], &["m"]),
            node("Transpose", "move", &["m"], &["t"])
                .with_attribute(attribute::ints("perm", &[0, 1, 3, 2])),
            node("Add", "add", &["t", "t"], &["y"]),
        ];
        let mut graph = Small::new(
            x.dims(),
            nodes,
            vec![halves(&[2, 1, 1], &weight).to_proto("w")],
        );
        graph.input.0 = DataType::F16;
        graph.output = DataType::F16;
        let y = graph.run(engine, &x);
        let mut want = vec![0.0; 24];
        for (index, &value) in round(x.data()).iter().enumerate() {
            let (channel, row, column) = (index / 12, index / 4 % 3, index % 4);
            let product = round(&[value * round(&[weight[channel]])[0]])[0];
            want[channel * 12 + column * 3 + row] = round(&[product + product])[0];
        }
        assert_eq!(y.dims(), [1, 2, 4, 3]);
        assert_identical("float16", y.data(), &want);
    });
}

#[test]
fn a_pair_of_quantize_and_dequantize_follows_the_definition() {
    on_each_engine(|engine| {
        let mut x = hard_values();
        if engine.name() != "tract" {
            // ONNX Runtime leaves the integer of a NaN to the processor.
            let numbers: Vec<f32> = x.into_data().into_iter().filter(|v| !v.is_nan()).collect();
            x = HostTensor::new(vec![1, 1, 1, numbers.len()], numbers);
        }
        for (data_type, zero_point, qmin, qmax) in [
            (DataType::U8, 0_i32, 0.0, 255.0),
            (DataType::U8, 128, 0.0, 255.0),
            (DataType::I8, 0, -128.0, 127.0),
            (DataType::I8, -7, -128.0, 127.0),
        ] {
            let scale = 0.1_f32;
            let nodes = vec![
                node("QuantizeLinear", "q", &["x", "s", "z"], &["q"]),
                node("DequantizeLinear", "a", &["q", "s", "z"], &["a"]),
                node("DequantizeLinear", "b", &["q", "s", "z"], &["b"]),
                node("Max", "y", &["a", "b"], &["y"]),
            ];
            let initializers = vec![
                Tensor::from_f32(vec![], &[scale]).to_proto("s"),
                raw(data_type, &[], vec![zero_point as u8]).to_proto("z"),
            ];
            let y = Small::new(x.dims(), nodes, initializers).run(engine, &x);
            let zero_point = zero_point as f32;
            let want: Vec<f32> = x
                .data()
                .iter()
                // The comparison of `clamp` keeps NaN, as the operator's documentation says.
                .map(|v| ((v / scale).round_ties_even() + zero_point).clamp(qmin, qmax))
                // The difference of integers is never a negative zero.
                .map(|q| {
                    if q.is_nan() {
                        q
                    } else {
                        (q as i32 - zero_point as i32) as f32 * scale
                    }
                })
                .collect();
            assert_identical(&format!("{data_type} {zero_point}"), y.data(), &want);
        }
    });
}

#[test]
fn a_zero_point_that_is_left_out_is_zero_in_the_type_of_the_integers() {
    on_each_engine(|engine| {
        let x = hard_values();
        let nodes = vec![
            node("QuantizeLinear", "q", &["x", "s", "z"], &["q"]),
            node("DequantizeLinear", "d", &["q", "s"], &["y"]),
        ];
        let initializers = vec![
            Tensor::from_f32(vec![1], &[10.0]).to_proto("s"),
            raw(DataType::I8, &[1], vec![0]).to_proto("z"),
        ];
        let y = Small::new(x.dims(), nodes, initializers).run(engine, &x);
        assert!(y.data().contains(&-1280.0) && y.data().contains(&1270.0));
    });
}

#[test]
fn integers_may_change_the_order_of_their_axes() {
    on_each_engine(|engine| {
        let x = HostTensor::new(
            vec![2, 3, 4],
            (0..24).map(|i| i as f32 * 7.3 - 60.0).collect(),
        );
        let turn = |name: &str, from: &str, to: &str| node("Transpose", name, &[from], &[to]);
        let quantize = || node("QuantizeLinear", "q", &["x", "s", "z"], &["q"]);
        let initializers = || {
            vec![
                Tensor::from_f32(vec![1], &[0.5]).to_proto("s"),
                raw(DataType::U8, &[1], vec![100]).to_proto("z"),
            ]
        };
        let turned: Vec<usize> = x.dims().iter().rev().copied().collect();
        let of_integers = vec![
            quantize(),
            turn("t", "q", "t"),
            node("DequantizeLinear", "d", &["t", "s", "z"], &["y"]),
        ];
        let of_floats = vec![
            quantize(),
            node("DequantizeLinear", "d", &["q", "s", "z"], &["d"]),
            turn("t", "d", "y"),
        ];
        let [integers, floats] = [of_integers, of_floats]
            .map(|nodes| Small::new(x.dims(), nodes, initializers()).run(engine, &x));
        assert_eq!(integers.dims(), turned);
        assert_eq!(integers.data(), floats.data());
    });
}

#[test]
fn dequantized_constants_follow_the_definition() {
    on_each_engine(|engine| {
        let bytes: Vec<u8> = (0..12).map(|i| (i * 37 % 256) as u8).collect();
        let scales = [0.5_f32, 0.25, 3.0];
        let zero_points = [1_u8, 200, 90];
        let i32s: Vec<u8> = [100_000_i32, -7, 16_777_217]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let per_channel = |axis: usize| -> Vec<f32> {
            let channel = |i: usize| if axis == 0 { i / 4 } else { i % 3 };
            let value = |(i, &q): (usize, &u8)| {
                (i32::from(q) - i32::from(zero_points[channel(i)])) as f32 * scales[channel(i)]
            };
            bytes.iter().enumerate().map(value).collect()
        };
        let per_tensor = bytes.iter().map(|&q| f32::from(q as i8) * 0.5).collect();
        let bias = vec![50_000.0, -1.75, 16_777_216.0 * 3.0];
        let scale = Tensor::from_f32(vec![3], &scales);
        let zero = raw(DataType::U8, &[3], zero_points.to_vec());
        for (name, tensor, scale, zero_point, axis, want) in [
            (
                "axis 0",
                raw(DataType::U8, &[3, 4], bytes.clone()),
                scale.clone(),
                Some(zero.clone()),
                0,
                per_channel(0),
            ),
            (
                "axis -1",
                raw(DataType::U8, &[4, 3], bytes.clone()),
                scale.clone(),
                Some(zero),
                -1,
                per_channel(1),
            ),
            (
                "tensor",
                raw(DataType::I8, &[12], bytes.clone()),
                Tensor::from_f32(vec![], &[0.5]),
                None,
                1,
                per_tensor,
            ),
            ("bias", raw(DataType::I32, &[3], i32s), scale, None, 0, bias),
        ] {
            let mut names = vec!["w", "s", "z"];
            let mut initializers = vec![tensor.to_proto("w"), scale.to_proto("s")];
            match zero_point {
                Some(zero_point) => initializers.push(zero_point.to_proto("z")),
                None => names.truncate(2),
            }
            let nodes = vec![
                node("DequantizeLinear", "dq", &names, &["d"])
                    .with_attribute(attribute::int("axis", axis)),
                node("Add", "add", &["x", "d"], &["y"]),
            ];
            let zeros = HostTensor::new(tensor.dims().to_vec(), vec![0.0; tensor.len()]);
            let y = Small::new(tensor.dims(), nodes, initializers).run(engine, &zeros);
            assert_identical(name, y.data(), &want);
        }
    });
}

#[test]
fn weights_stored_in_half_precision_are_exact_and_folded() {
    on_each_engine(|engine| {
        let x = tensor(5, &[1, 2, 4, 4]);
        let statistics = [0.1, 0.7];
        let cast = |from: &str, to: &str| {
            node("Cast", to, &[from], &[to]).with_attribute(float16_cast(DataType::F32))
        };
        let nodes = vec![
            cast("h", "w"),
            cast("b", "v"),
            node(
                "BatchNormalization",
                "bn",
                &["x", "w", "w", "w", "v"],
                &["y"],
            ),
        ];
        let bytes = statistics
            .iter()
            .flat_map(|&v| half::bf16::from_f32(v).to_le_bytes())
            .collect();
        let initializers = vec![
            halves(&[2], &statistics).to_proto("h"),
            raw(DataType::BF16, &[2], bytes).to_proto("b"),
        ];
        let y = Small::new(x.dims(), nodes, initializers).run(engine, &x);
        let (w, v) = (
            round(&statistics),
            statistics.map(|v| half::bf16::from_f32(v).to_f32()),
        );
        for (index, (x, y)) in x.data().iter().zip(y.data()).enumerate() {
            let channel = index / 16;
            let want = (x - w[channel]) / (v[channel] + 1e-5).sqrt() * w[channel] + w[channel];
            assert!((y - want).abs() < 1e-6, "{y} is not {want}");
        }
    });
}

#[test]
// ONNX Runtime refuses repeated names.
fn node_names_may_be_missing_or_repeated() {
    let engine = &TractEngine::new();
    let nodes = vec![
        node("Relu", "same", &["x"], &["a"]),
        node("Softplus", "same", &["a"], &["b"]),
        node("Abs", "", &["b"], &["same.1"]),
        node("Clip", "same.1", &["same.1", "", ""], &["y"]),
    ];
    let x = tensor(6, &[1, 1, 2, 2]);
    let y = Small::new(x.dims(), nodes, vec![]).run(engine, &x);
    for (x, y) in x.data().iter().zip(y.data()) {
        assert!((y - x.exp().ln_1p()).abs() < 1e-6);
    }
}

#[test]
fn runs_and_threads_give_the_same_bits() {
    let model = sample("nafnet-denoise.onnx");
    let options = SessionOptions {
        input_shapes: vec![("input".into(), vec![1, 3, 48, 64])],
        ..SessionOptions::default()
    };
    let session = TractEngine::new().load(&model, &options).unwrap();
    let inputs = [tensor(1, &[1, 3, 48, 64])];
    let first = session.run(&inputs).unwrap();
    let run = || session.run(&inputs).unwrap();
    let (second, third) = std::thread::scope(|scope| {
        let threads = [scope.spawn(run), scope.spawn(run)];
        let [a, b] = threads.map(|t| t.join().unwrap());
        (a, b)
    });
    let again = TractEngine::new()
        .load(&model, &options)
        .unwrap()
        .run(&inputs)
        .unwrap();
    for other in [&second, &third, &again] {
        assert_identical("repeated run", other[0].data(), first[0].data());
    }
}

#[test]
fn the_predicted_peak_holds_the_weights_and_the_largest_tensors() {
    let model = sample("nafnet-denoise.onnx");
    let weights = model.encoded_len();
    let peak = |side: usize| {
        let options = SessionOptions {
            input_shapes: vec![("input".into(), vec![1, 3, side, side])],
            ..SessionOptions::default()
        };
        TractEngine::new()
            .load(&model, &options)
            .unwrap()
            .peak_live_bytes()
    };
    let (small, large) = (peak(64), peak(128));
    // Sixteen channels at full resolution, twice, are alive in the first block.
    let two_tensors = 2 * 16 * 64 * 64 * 4;
    assert!(small > weights * 9 / 10 + two_tensors, "{small}");
    assert!(small < 2 * weights + 8 * two_tensors, "{small}");
    let (growth, area) = (large - small, 3 * 64 * 64 * 4);
    assert!(
        growth > 32 * area && growth < 400 * area,
        "{small} to {large}"
    );
}

/// `DynamicQuantizeLinear` and `MatMulInteger` by their definitions, for one row and a column of weights.
fn dynamic_product(x: &[f32], weights: &[i8]) -> f32 {
    let high = x.iter().fold(0.0, |m: f32, &v| m.max(v));
    let low = x.iter().fold(0.0, |m: f32, &v| m.min(v));
    let scale = if high > low {
        (high - low) / 255.0
    } else {
        1.0
    };
    let zero_point = (-low / scale).round_ties_even().clamp(0.0, 255.0);
    let sum: i32 = x
        .iter()
        .zip(weights)
        .map(|(&v, &w)| {
            let q = ((v / scale).round_ties_even() + zero_point).clamp(0.0, 255.0);
            (q as i32 - zero_point as i32) * i32::from(w)
        })
        .sum();
    sum as f32 * scale
}

#[test]
fn integer_products_take_their_range_from_the_data() {
    on_each_engine(|engine| {
        let weights: [i8; 4] = [127, -3, -128, 50];
        let bytes = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        let nodes = vec![
            node(
                "DynamicQuantizeLinear",
                "quantize",
                &["x"],
                &["q", "scale", "zp"],
            ),
            node("MatMulInteger", "product", &["q", "w", "zp"], &["sums"]),
            node("Cast", "float", &["sums"], &["floats"])
                .with_attribute(float16_cast(DataType::F32)),
            node("Mul", "dequantize", &["floats", "scale"], &["y"]),
        ];
        let weight = raw(DataType::I8, &[4, 1], bytes).to_proto("w");
        for row in [
            [0.25, -1.5, 3.0, 0.001],
            [2.0, 1.0, 0.5, 4.0],
            [-2.0, -1.0, -0.5, -0.25],
            [0.0; 4],
        ] {
            let x = HostTensor::new(vec![1, 1, 1, 4], row.to_vec());
            let graph = Small::new(x.dims(), nodes.clone(), vec![weight.clone()]);
            let y = graph.run(engine, &x);
            assert_identical("product", y.data(), &[dynamic_product(&row, &weights)]);
        }
    });
}
