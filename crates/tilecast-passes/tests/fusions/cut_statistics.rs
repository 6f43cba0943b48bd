//! Statistics that become inputs and outputs: nothing changes where the tile is the image, and only the core counts where it is not.

use tilecast_analysis::{Merge, SweepContract};
use tilecast_exec::HostTensor;
use tilecast_onnx::{DataType, Tensor};
use tilecast_passes::{
    ConvertHalf, IoTypes, PlanRequest, Precision, PrecisionPlan, SweptModel, cut_statistics,
    run_pass, target_by_name,
};

use crate::common::{Network, max_abs, noise, run_on};

const HEIGHT: usize = 8;
const WIDTH: usize = 12;
/// The core of a tile: all rows, and the columns from the first to this one.
const CORE: usize = 6;
const CHANNELS: usize = 4;

fn image() -> Network {
    Network::of_image(CHANNELS as i64)
}

/// Values around 3 with another spread in each channel and in each half, `[1, 4, 8, width]`; those of the left are the same for
/// every width.
fn values(width: usize) -> HostTensor {
    let all = noise(7, CHANNELS * HEIGHT * WIDTH);
    let rows = all.chunks(WIDTH).enumerate();
    let values = rows.flat_map(|(row, values)| {
        let spread = 0.2 + (row / HEIGHT) as f32;
        values[..width].iter().enumerate().map(move |(x, v)| {
            let shift = if x < CORE { 0.0 } else { 2.0 };
            3.0 + shift + spread * v
        })
    });
    HostTensor::new(vec![1, CHANNELS, HEIGHT, width], values.collect())
}

fn inputs(
    contract: &SweepContract,
    width: usize,
    core: usize,
    swept: Option<&[HostTensor]>,
) -> Vec<HostTensor> {
    let switch = if swept.is_some() { 1.0 } else { 0.0 };
    let mut inputs = vec![values(width), HostTensor::new(vec![1], vec![switch])];
    for map in &contract.weights {
        let n = |length: usize| length * map.positions[0] / map.pixels[0];
        let (rows, columns, inside) = (n(HEIGHT), n(width), n(core));
        let row = (0..columns).map(|x| {
            if x < inside {
                columns as f32 / inside as f32
            } else {
                0.0
            }
        });
        let values = row.collect::<Vec<_>>().repeat(rows);
        inputs.push(HostTensor::new(vec![1, 1, rows, columns], values));
    }
    inputs.extend(
        contract
            .statistics
            .iter()
            .enumerate()
            .map(|(i, s)| match swept {
                Some(swept) => swept[i].clone(),
                None => HostTensor::new(s.dims.clone(), vec![0.0; s.dims.iter().product()]),
            }),
    );
    inputs
}

#[track_caller]
fn assert_near(found: &HostTensor, expected: &HostTensor, factor: f32, what: &str) {
    let expected: Vec<f32> = expected.data().iter().map(|v| v * factor).collect();
    let largest = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let difference = max_abs(found.data(), &expected);
    assert!(
        largest > 1e-3 && largest.is_finite(),
        "{what}: {largest} proves nothing"
    );
    assert!(
        difference <= 1e-5 * largest,
        "{what}: {difference} of {largest}"
    );
}

/// Checks what is cut, and that the network gives the same with its own statistics and with the same ones fed.
#[track_caller]
fn cut(network: &Network, statistics: &[(Merge, usize)]) -> SweptModel {
    let model = network.build();
    let swept = cut_statistics(&model, 4).unwrap();
    assert_eq!(swept.declined, []);
    let contract = &swept.contract;
    let found: Vec<_> = contract
        .statistics
        .iter()
        .map(|s| (s.merge, s.level))
        .collect();
    assert_eq!(found, statistics);
    assert_eq!(
        contract.depth,
        statistics.iter().map(|s| s.1).max().unwrap_or(0)
    );
    let expected = &run_on(&model, &[values(WIDTH)])[0];
    let own = run_on(&swept.model, &inputs(contract, WIDTH, WIDTH, None));
    assert_near(&own[0], expected, 1.0, "own statistics");
    let fed = inputs(contract, WIDTH, WIDTH, Some(&own[1..]));
    let fed = run_on(&swept.model, &fed);
    assert_near(&fed[0], expected, 1.0, "fed statistics");
    swept
}

/// The same for an operator that reads the image itself: a tile with this core has the statistics that the core alone has.
#[track_caller]
fn cut_of_image(network: &Network, statistics: &[(Merge, usize)]) {
    let SweptModel {
        model, contract, ..
    } = cut(network, statistics);
    let tile = run_on(&model, &inputs(&contract, WIDTH, CORE, None));
    let core = run_on(&model, &inputs(&contract, CORE, CORE, None));
    for (index, statistic) in contract.statistics.iter().enumerate() {
        let larger = WIDTH as f32 / CORE as f32;
        let factor = match statistic.merge {
            Merge::Sum => larger,
            Merge::Norm => larger.sqrt(),
            _ => 1.0,
        };
        let what = format!("{:?} of the core", statistic.merge);
        assert_near(&tile[1 + index], &core[1 + index], factor, &what);
    }
}

const MOMENTS: [(Merge, usize); 2] = [(Merge::Mean, 1), (Merge::Variance { mean: 0 }, 1)];

#[test]
fn reductions_over_rows_and_columns() {
    for (op, merge) in [
        ("GlobalAveragePool", Merge::Mean),
        ("GlobalMaxPool", Merge::Maximum),
    ] {
        let network = image()
            .node(op, &["x"], &["p"])
            .node("Mul", &["x", "p"], &["y"]);
        cut_of_image(&network, &[(merge, 1)]);
    }
    for (op, merge) in [
        ("ReduceMean", Merge::Mean),
        ("ReduceSumSquare", Merge::Sum),
        ("ReduceMax", Merge::Maximum),
        ("ReduceMin", Merge::Minimum),
        ("ReduceL2", Merge::Norm),
    ] {
        for axes in [vec![2_i64, 3], vec![1, 2, 3], vec![-1, -2]] {
            let network = image().node(op, &["x"], &["p"]).ints("axes", &axes).node(
                "Mul",
                &["x", "p"],
                &["y"],
            );
            cut_of_image(&network, &[(merge, 1)]);
        }
    }
    let network = image()
        .integers("axes", &[2, 3])
        .node("ReduceSum", &["x", "axes"], &["p"])
        .int("keepdims", 0)
        .integers("shape", &[1, 4, 1, 1])
        .node("Reshape", &["p", "shape"], &["q"])
        .node("Mul", &["x", "q"], &["y"]);
    cut_of_image(&network, &[(Merge::Sum, 1)]);
}

#[test]
fn a_reduction_over_channels_is_left_alone() {
    let network = image()
        .node("ReduceMean", &["x"], &["p"])
        .ints("axes", &[1])
        .node("Sub", &["x", "p"], &["y"]);
    let swept = cut_statistics(&network.build(), 4).unwrap();
    assert_eq!(swept.declined, []);
    assert!(swept.contract.statistics.is_empty());
    assert_eq!(swept.model.to_bytes(), network.build().to_bytes());
}

#[test]
fn normalizations_take_mean_and_variance_in_one_level() {
    let instance = image()
        .random("scale", &[4])
        .random("bias", &[4])
        .node("InstanceNormalization", &["x", "scale", "bias"], &["y"])
        .float("epsilon", 1e-3);
    cut_of_image(&instance, &MOMENTS);
    for (opset, n_scales) in [(18, 2), (21, 4)] {
        let group = image()
            .opset(opset)
            .random("scale", &[n_scales])
            .random("bias", &[n_scales])
            .node("GroupNormalization", &["x", "scale", "bias"], &["y"])
            .int("num_groups", 2);
        cut_of_image(&group, &MOMENTS);
    }
    let exported = image()
        .node("Shape", &["x"], &["shape"])
        .integers("groups", &[0, 2, -1])
        .node("Reshape", &["x", "groups"], &["g"])
        .random("scale", &[2])
        .random("bias", &[2])
        .node("InstanceNormalization", &["g", "scale", "bias"], &["i"])
        .node("Reshape", &["i", "shape"], &["y"]);
    cut_of_image(&exported, &MOMENTS);
}

#[test]
fn a_large_mean_takes_nothing_from_the_variance() {
    let network = image()
        .scalar("far", 3000.0)
        .node("Add", &["x", "far"], &["f"])
        .random("scale", &[4])
        .random("bias", &[4])
        .node("InstanceNormalization", &["f", "scale", "bias"], &["y"]);
    let SweptModel {
        model, contract, ..
    } = cut_statistics(&network.build(), 4).unwrap();
    let near = image().random("scale", &[4]).random("bias", &[4]).node(
        "InstanceNormalization",
        &["x", "scale", "bias"],
        &["y"],
    );
    let near = cut_statistics(&near.build(), 4).unwrap();
    let tile = run_on(&model, &inputs(&contract, WIDTH, CORE, None));
    let expected = run_on(&near.model, &inputs(&near.contract, WIDTH, CORE, None));
    for (far, near) in tile[2].data().iter().zip(expected[2].data()) {
        // The sum itself is rounded to a 4096th.
        assert!((far - near).abs() <= 2e-3 * near, "{far} and {near}");
    }
}

/// Queries and keys of two heads, of length one over all positions, and their products.
fn attention() -> Network {
    let mut network = image()
        .conv("x", "wq", &[4, 4, 1, 1], "bq", "q4")
        .conv("x", "wk", &[4, 4, 1, 1], "bk", "k4")
        .conv("x", "wv", &[4, 4, 1, 1], "bv", "v4")
        .integers("heads", &[1, 2, 2, -1])
        .scalar("least", 1e-12)
        .integers("last", &[-1]);
    for name in ["q", "k", "v"] {
        network = network.node("Reshape", &[&format!("{name}4"), "heads"], &[name]);
    }
    for name in ["q", "k"] {
        let of = |what: &str| format!("{name}_{what}");
        network = network
            .node("ReduceL2", &[name], &[&of("norm")])
            .ints("axes", &[-1])
            .node("Clip", &[&of("norm"), "least"], &[&of("clipped")])
            .node("Shape", &[name], &[&of("shape")])
            .node("Expand", &[&of("clipped"), &of("shape")], &[&of("spread")])
            .node("Div", &[name, &of("spread")], &[&of("unit")]);
    }
    network
        .node("Transpose", &["k_unit"], &["k_t"])
        .ints("perm", &[0, 1, 3, 2])
        .node("MatMul", &["q_unit", "k_t"], &["qk"])
        .node("Softmax", &["qk"], &["attention"])
        .int("axis", -1)
        .node("MatMul", &["attention", "v"], &["mixed"])
        .node("Shape", &["x"], &["shape"])
        .node("Reshape", &["mixed", "shape"], &["y"])
        .without_unread()
}

#[test]
fn norms_and_the_product_of_what_they_divide_are_one_level() {
    cut_of_image(
        &attention(),
        &[(Merge::Norm, 1), (Merge::Norm, 1), (Merge::Sum, 1)],
    );
}

#[test]
fn levels_count_the_statistics_on_the_way() {
    let network = image()
        .node("GlobalAveragePool", &["x"], &["p"])
        .node("Mul", &["x", "p"], &["a"])
        .node("GlobalAveragePool", &["x"], &["beside"])
        .node("Add", &["a", "beside"], &["b"])
        .random("scale", &[4])
        .random("bias", &[4])
        .node("InstanceNormalization", &["b", "scale", "bias"], &["c"])
        .node("GlobalMaxPool", &["c"], &["d"])
        .node("Sub", &["c", "d"], &["y"]);
    let statistics = [
        (Merge::Mean, 1),
        (Merge::Mean, 1),
        (Merge::Mean, 2),
        (Merge::Variance { mean: 2 }, 2),
        (Merge::Maximum, 3),
    ];
    cut(&network, &statistics);
}

#[test]
fn other_resolutions_have_their_own_weights() {
    let network = image()
        .random("w", &[4, 4, 2, 2])
        .node("Conv", &["x", "w"], &["half"])
        .ints("strides", &[2, 2])
        .node("GlobalAveragePool", &["half"], &["p"])
        .node("GlobalAveragePool", &["x"], &["q"])
        .node("Add", &["p", "q"], &["r"])
        .node("Mul", &["x", "r"], &["y"]);
    let swept = cut(&network, &[(Merge::Mean, 1), (Merge::Mean, 1)]);
    let maps: Vec<_> = swept
        .contract
        .weights
        .iter()
        .map(|m| (m.positions, m.pixels))
        .collect();
    assert_eq!(maps, [([1, 1], [2, 2]), ([1, 1], [1, 1])]);
}

#[test]
fn what_cannot_be_merged_is_left_alone_with_the_reason() {
    let cases = [
        (
            image()
                .node("ReduceMean", &["x"], &["p"])
                .ints("axes", &[3])
                .node("Sub", &["x", "p"], &["y"]),
            "it takes a statistic over rows or columns and not both",
        ),
        (
            image()
                .node("Transpose", &["x"], &["t"])
                .ints("perm", &[0, 2, 3, 1])
                .node("ReduceMean", &["t"], &["p"])
                .ints("axes", &[1, 2])
                .node("Sub", &["t", "p"], &["y"]),
            "rows and columns of the image are not the last two axes of `t`, nor its last axis",
        ),
    ];
    for (network, reason) in cases {
        let model = network.build();
        let swept = cut_statistics(&model, 4).unwrap();
        let reasons: Vec<_> = swept.declined.iter().map(|d| d.reason.as_str()).collect();
        assert_eq!(reasons, [reason]);
        assert!(swept.cut.is_empty() && swept.model.to_bytes() == model.to_bytes());
    }
}

#[test]
fn a_model_without_one_image_is_refused() {
    let model = Network::of(&[crate::common::Size::Fixed(1), crate::common::Size::Fixed(4)])
        .node("Relu", &["x"], &["y"])
        .build();
    let error = cut_statistics(&model, 1).unwrap_err().to_string();
    assert!(
        error.contains("input `x` does not have four axes"),
        "{error}"
    );
}

#[test]
fn statistics_of_a_half_precision_model_are_taken_in_float32() {
    let network = image()
        .tensor("scale", Tensor::from_f32(vec![4], &[1.0, 0.5, 2.0, -1.0]))
        .random("bias", &[4])
        .node("InstanceNormalization", &["x", "scale", "bias"], &["n"])
        .node("GlobalAveragePool", &["n"], &["p"])
        .node("Add", &["n", "p"], &["y"]);
    let mut model = network.build();
    let request = PlanRequest {
        ranges: tilecast_passes::RangeSource::Static,
        precision: Precision::Fp16,
        target: target_by_name("generic").unwrap(),
        pins: tilecast_passes::Pins {
            first_conv: Precision::Fp16,
            last_conv: Precision::Fp16,
            norms: Precision::Fp16,
        },
        overrides: &[],
    };
    let plan = PrecisionPlan::new(&model, &request);
    let io = IoTypes::default();
    let report = run_pass(
        &ConvertHalf {
            plan: &plan,
            io: &io,
        },
        &mut model,
    )
    .unwrap();
    assert!(report.changed);
    let swept = cut_statistics(&model, 4).unwrap();
    for statistic in &swept.contract.statistics {
        let graph = swept.model.graph();
        let types = tilecast_onnx::infer_types(&graph);
        assert_eq!(types[statistic.output.as_str()], DataType::F32);
    }
    let contract = &swept.contract;
    let expected = &run_on(&model, &[values(WIDTH)])[0];
    let own = run_on(&swept.model, &inputs(contract, WIDTH, WIDTH, None));
    let fed = inputs(contract, WIDTH, WIDTH, Some(&own[1..]));
    let fed = run_on(&swept.model, &fed);
    for found in [&own[0], &fed[0]] {
        let difference = max_abs(found.data(), expected.data());
        // A rounding or two in half precision of values up to 8.
        assert!(difference <= 8.0 / 512.0, "{difference}");
    }
}
