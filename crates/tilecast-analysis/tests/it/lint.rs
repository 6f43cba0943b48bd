//! Each rule on a graph that has the hazard and on a near miss that has not, and the lint of the sample models.

use std::collections::BTreeSet;
use std::path::Path;

use super::support::{CHANNELS, Net, sample};
use tilecast_analysis::{Finding, Severity, explain, lint, rules};
use tilecast_onnx::proto::AttributeProto;
use tilecast_onnx::proto::{DimValue, TypeValue};
use tilecast_onnx::{Model, Tensor, attribute};

/// Findings above level note, by code.
fn hazards(net: Net) -> Vec<&'static str> {
    hazards_of(&net.model())
}

fn hazards_of(model: &Model) -> Vec<&'static str> {
    lint(model)
        .iter()
        .filter(|f| f.severity != Severity::Note)
        .map(|f| f.code)
        .collect()
}

fn axes(axes: &[i64]) -> Vec<AttributeProto> {
    vec![attribute::ints("axes", axes)]
}

fn axis(axis: i64) -> Vec<AttributeProto> {
    vec![attribute::int("axis", axis)]
}

fn perm(order: &[i64]) -> Vec<AttributeProto> {
    vec![attribute::ints("perm", order)]
}

fn gains(net: &mut Net, n_inputs: usize) -> Vec<String> {
    (0..n_inputs)
        .map(|_| net.constant(&Tensor::from_f32(vec![CHANNELS], &[1.0; CHANNELS])))
        .collect()
}

/// A node of an operator that takes per-channel vectors besides the image.
fn with_gains(op: &str, n_inputs: usize, attributes: Vec<AttributeProto>) -> Net {
    let mut net = Net::new().conv3();
    let names = gains(&mut net, n_inputs);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    net.op_with(op, &names, attributes)
}

fn batch_norm(attributes: Vec<AttributeProto>) -> Net {
    with_gains("BatchNormalization", 4, attributes)
}

fn resized(mode: &str) -> Net {
    let text = attribute::string;
    Net::new().resize(
        2.0,
        vec![
            text("mode", "linear"),
            text("coordinate_transformation_mode", mode),
        ],
    )
}

fn padded(mode: &str) -> Net {
    let mut net = Net::new();
    let pads = net.integers(&[0, 0, 1, 1, 0, 0, 1, 1]);
    net.op_with("Pad", &[&pads], vec![attribute::string("mode", mode)])
        .conv_of([CHANNELS; 2], 3, 1, 0)
}

/// Reshape, normalize, reshape back, as PyTorch writes a group normalization.
fn decomposed_group_norm() -> Net {
    let mut net = Net::new();
    let (groups, gain) = (
        net.integers(&[0, 2, -1]),
        net.constant(&Tensor::from_f32(vec![2], &[1.0; 2])),
    );
    net = net.op("Shape", vec![]);
    let shape = net.end();
    net.from("x")
        .op_with("Reshape", &[&groups], vec![])
        .op_with("InstanceNormalization", &[&gain, &gain], vec![])
        .op_with("Reshape", &[&shape], vec![])
}

fn cumulative(axis: i64) -> Net {
    let mut net = Net::new();
    let axis = net.constant(&Tensor::from_i64(vec![], &[axis]));
    net.op_with("CumSum", &[&axis], vec![])
}

/// A second pool over what the first one left.
fn pooled_twice() -> Net {
    Net::new()
        .op("GlobalAveragePool", vec![])
        .op("GlobalAveragePool", vec![])
}

/// `LayerNormalization` over the last axis of [N, H, W, C].
fn channels_last_norm() -> Net {
    let mut net = Net::new().op("Transpose", perm(&[0, 2, 3, 1]));
    let gain = gains(&mut net, 1).remove(0);
    net.op_with("LayerNormalization", &[&gain], axis(-1))
        .op("Transpose", perm(&[0, 3, 1, 2]))
}

fn grid_sample() -> Net {
    let net = Net::new()
        .op("Transpose", perm(&[0, 2, 3, 1]))
        .op("Split", vec![attribute::int("axis", 3)]);
    let grid = net.end();
    net.from("x").op_with("GridSample", &[&grid], vec![])
}

fn quantized(op: &str) -> Net {
    let mut net = Net::new();
    let scale = net.constant(&Tensor::from_f32(vec![], &[0.1]));
    let more = if op == "QuantizeLinear" {
        vec![scale.as_str()]
    } else {
        vec![]
    };
    net.op_with(op, &more, vec![])
}

#[test]
fn each_rule_finds_its_hazard_and_lets_the_near_miss_pass() {
    let training = || vec![attribute::int("training_mode", 1)];
    let global = |op: &str| Net::new().op(op, vec![]);
    let cases = [
        ("H09", resized("align_corners"), resized("half_pixel")),
        ("H13", padded("wrap"), padded("reflect")),
        ("H16", batch_norm(training()), batch_norm(vec![])),
        (
            "H17",
            with_gains("InstanceNormalization", 2, vec![]),
            channels_last_norm(),
        ),
        (
            "H18",
            with_gains(
                "GroupNormalization",
                2,
                vec![attribute::int("num_groups", 2)],
            ),
            channels_last_norm(),
        ),
        ("H18", decomposed_group_norm(), batch_norm(vec![])),
        (
            "H19",
            with_gains("LayerNormalization", 1, axis(1)),
            channels_last_norm(),
        ),
        (
            "H19",
            global("MeanVarianceNormalization"),
            Net::new().op("MeanVarianceNormalization", axes(&[1])),
        ),
        (
            "H21",
            global("GlobalAveragePool"),
            Net::new().op("ReduceMean", axes(&[1])),
        ),
        (
            "H21",
            Net::new().op("ReduceMean", axes(&[-1, -2])),
            Net::new().op("ReduceSum", axes(&[-3])),
        ),
        (
            "H22",
            global("GlobalMaxPool"),
            Net::new().op("ReduceMax", axes(&[1])),
        ),
        (
            "H25",
            Net::new().op("ReduceL2", axes(&[2, 3])),
            Net::new().op("LpNormalization", axis(1)),
        ),
        (
            "H27",
            Net::new().op("Softmax", axis(-1)),
            Net::new().op("Softmax", axis(1)),
        ),
        (
            "H27",
            Net::new().op("Softmax", axis(1)).opset(11),
            Net::new().op("Softmax", axis(1)).opset(13),
        ),
        ("H37", cumulative(2), cumulative(1)),
        ("H38", grid_sample(), Net::new().nearest(2.0)),
        ("H40", global("RandomNormalLike"), global("Dropout")),
        (
            "H41",
            quantized("DynamicQuantizeLinear"),
            quantized("QuantizeLinear"),
        ),
    ];
    for (code, hazard, near_miss) in cases {
        assert_eq!(hazards(hazard), [code], "the hazard");
        let missed = hazards(near_miss);
        assert!(
            missed.is_empty(),
            "{code}: the near miss is flagged as {missed:?}"
        );
    }
}

/// The model with these extents of its image input, [N, C, height, width].
fn declaring(net: Net, dims: [DimValue; 4]) -> Model {
    let mut model = net.model();
    let graph = model.proto_mut().graph.as_mut().unwrap();
    let value = graph.input[0].r#type.as_mut().unwrap().value.as_mut();
    let Some(TypeValue::Tensor(tensor)) = value else {
        panic!("an image is a tensor");
    };
    let declared = tensor.shape.as_mut().unwrap();
    for (dim, value) in declared.dim.iter_mut().zip(dims) {
        dim.value = Some(value);
    }
    model
}

fn fixed(n: i64) -> DimValue {
    DimValue::DimValue(n)
}

fn pooled(kernel: i64) -> Net {
    let square = |name: &str| attribute::ints(name, &[kernel, kernel]);
    Net::new().op(
        "AveragePool",
        vec![square("kernel_shape"), square("strides")],
    )
}

fn plus(dims: Vec<usize>) -> Net {
    let mut net = Net::new();
    let n = dims.iter().product();
    let table = net.constant(&Tensor::from_f32(dims, &vec![0.5; n]));
    net.add(&table)
}

/// Adds the number of its column to every pixel, or the same number everywhere.
fn with_coordinates(are_columns: bool) -> Net {
    let mut net = Net::new();
    let scalar = |net: &mut Net, v: i64| net.constant(&Tensor::from_i64(vec![], &[v]));
    let (zero, one, three) = (
        scalar(&mut net, 0),
        scalar(&mut net, 1),
        scalar(&mut net, 3),
    );
    let delta = if are_columns {
        one.clone()
    } else {
        zero.clone()
    };
    let first = net.integers(&[0]);
    net = net.op("Shape", vec![]).op_with("Gather", &[&three], vec![]);
    let width = net.end();
    net = net.from(&zero).op_with("Range", &[&width, &one], vec![]);
    let columns = net.end();
    net = net
        .from(&columns)
        .op_with("Mul", &[&delta], vec![])
        .op("Cast", vec![attribute::int("to", 1)])
        .op_with("Unsqueeze", &[&first], vec![]);
    let grid = net.end();
    net.from("x").add(&grid)
}

#[test]
fn what_holds_for_one_size_or_every_position_is_an_error() {
    let mut transposed = Net::new().down();
    let weight = transposed.constant(&Tensor::from_f32(vec![4, 4, 2, 2], &[0.1; 64]));
    let transposed = transposed.op_with(
        "ConvTranspose",
        &[&weight],
        vec![
            attribute::ints("strides", &[2, 2]),
            attribute::ints("output_shape", &[64, 64]),
        ],
    );
    let to_size = |op: &str, size: &[i64], before: &[&str]| {
        let mut net = Net::new();
        let sizes = net.integers(size);
        let inputs: Vec<&str> = before.iter().copied().chain([sizes.as_str()]).collect();
        net.op_with(op, &inputs, vec![])
    };
    let frozen_mask = {
        let net = Net::new().op("Transpose", perm(&[0, 1, 3, 2]));
        let turned = net.end();
        let mut net = net.from("x").op_with("MatMul", &[&turned], vec![]);
        let mut values = vec![0.0; 256];
        values[70] = -100.0;
        let mask = net.constant(&Tensor::from_f32(vec![4, 8, 8], &values));
        net.add(&mask)
    };
    let grid = {
        let mut net = Net::new();
        let (axis, shape) = (net.integers(&[2]), net.integers(&[0, 0, 8, -1, 0]));
        net.op_with("Unsqueeze", &[&axis], vec![])
            .op_with("Reshape", &[&shape], vec![])
    };
    let box_mean = {
        let mut net = Net::new();
        let (rows, columns) = (
            net.constant(&Tensor::from_i64(vec![], &[2])),
            net.constant(&Tensor::from_i64(vec![], &[3])),
        );
        net.op_with("CumSum", &[&rows], vec![])
            .op_with("CumSum", &[&columns], vec![])
    };
    let selected = |axis: i64| {
        let mut net = Net::new();
        let k = net.integers(&[2]);
        net.op_with("TopK", &[&k], vec![attribute::int("axis", axis)])
    };
    let cases = [
        ("H06", transposed, Net::new().down().conv_transpose(2, 2, 0)),
        (
            "H10",
            to_size("Resize", &[1, 4, 512, 512], &["", ""]),
            Net::new().nearest(2.0),
        ),
        ("H24", box_mean, cumulative(1)),
        ("H29", frozen_mask, plus(vec![])),
        ("H30", grid, padded("reflect")),
        ("H31", Net::new().op("DFT", vec![]), Net::new().conv3()),
        ("H32", plus(vec![1, 4, 8, 8]), plus(vec![1, 4, 1, 1])),
        ("H33", with_coordinates(true), with_coordinates(false)),
        (
            "H35",
            to_size("Reshape", &[1, 4, 64, 64], &[]),
            Net::new().conv3(),
        ),
        ("H37", Net::new().op("LSTM", vec![]), Net::new().conv3()),
        ("H39", selected(3), selected(1)),
    ];
    for (code, hazard, near_miss) in cases {
        assert_eq!(hazards(hazard), [code], "the hazard");
        let missed = hazards(near_miss);
        assert!(
            missed.is_empty(),
            "{code}: the near miss is flagged as {missed:?}"
        );
    }
    let sized = |kernel| declaring(pooled(kernel), [fixed(1), fixed(4), fixed(64), fixed(64)]);
    assert_eq!(hazards_of(&sized(32)), ["H23"]);
    assert!(hazards_of(&sized(2)).is_empty());
}

#[test]
fn statistics_of_the_input_and_of_the_batch_are_warnings_of_their_own() {
    let normalized = |net: Net, over: &[i64]| {
        let image = net.end();
        let net = net.op("ReduceMean", axes(over));
        let mean = net.end();
        net.from(&image).op_with("Sub", &[&mean], vec![])
    };
    assert_eq!(hazards(normalized(Net::new(), &[2, 3])), ["H43"]);
    assert_eq!(hazards(normalized(Net::new().conv3(), &[2, 3])), ["H21"]);
    assert!(hazards(normalized(Net::new(), &[1])).is_empty());
    let batch = |n: DimValue| {
        let side = |name: &str| DimValue::DimParam(name.into());
        declaring(
            Net::new().op("ReduceMean", axes(&[0])),
            [n, fixed(4), side("h"), side("w")],
        )
    };
    assert_eq!(hazards_of(&batch(DimValue::DimParam("n".into()))), ["H44"]);
    assert!(hazards_of(&batch(fixed(1))).is_empty());
}

#[test]
fn what_asks_for_an_aligned_grid_is_a_note() {
    let notes = |net: Net| -> Vec<&'static str> {
        let findings = lint(&net.model());
        assert!(
            findings.iter().all(|f| f.severity == Severity::Note),
            "{findings:?}"
        );
        let codes = findings.iter().map(|f| f.code);
        codes
            .filter(|code| !["H01", "H02"].contains(code))
            .collect()
    };
    let max_pool = |ceil: i64| {
        Net::new().op(
            "MaxPool",
            vec![
                attribute::ints("kernel_shape", &[2, 2]),
                attribute::ints("strides", &[2, 2]),
                attribute::int("ceil_mode", ceil),
            ],
        )
    };
    let skip = |net: Net| {
        let image = net.end();
        net.down().conv_transpose(2, 2, 0).add(&image)
    };
    assert_eq!(notes(max_pool(1)), ["H03"]);
    assert!(notes(max_pool(0)).is_empty());
    assert_eq!(notes(Net::new().unshuffle(2)), ["H04", "H36"]);
    assert!(notes(Net::new().shuffle(2)).is_empty());
    assert_eq!(notes(Net::new().bilinear(1.5)), ["H08"]);
    assert!(notes(Net::new().bilinear(2.0)).is_empty());
    assert_eq!(notes(skip(Net::new().conv3())), ["H36"]);
}

#[test]
fn a_pool_of_what_is_pooled_already_is_no_second_hazard() {
    assert_eq!(hazards(pooled_twice()), ["H21"]);
}

/// `LayerNorm2d` as exporters decompose it: mean and variance over channels, at each position.
#[test]
fn decomposed_channel_layer_norm_is_not_flagged() {
    let net = Net::new().conv3();
    let x = net.end();
    let net = net.op("ReduceMean", axes(&[1]));
    let mean = net.end();
    let net = net.from(&x).op_with("Sub", &[&mean], vec![]);
    let centred = net.end();
    let net = net
        .op_with("Mul", &[&centred], vec![])
        .op("ReduceMean", axes(&[1]))
        .op("Sqrt", vec![]);
    let deviation = net.end();
    assert!(hazards(net.from(&centred).op_with("Div", &[&deviation], vec![])).is_empty());
}

#[test]
fn facts_are_notes() {
    let notes = |net: Net| -> Vec<String> {
        lint(&net.model())
            .into_iter()
            .map(|f| {
                assert_eq!(f.severity, Severity::Note);
                format!("{} {}: {}", f.code, f.node, f.message)
            })
            .collect()
    };
    assert_eq!(
        notes(Net::new().down().conv3().shuffle(2)),
        [
            "H01 net: a tile needs 2 pixels of context on each side; the network sees that far",
            "H02 net: tile origins and sizes must be multiples of 2 pixels, the network's stride",
        ]
    );
    let local = notes(Net::new().conv3());
    assert!(local.len() == 1 && local[0].starts_with("H01"), "{local:?}");
    let refused = notes(Net::new().op("Einsum", vec![]));
    assert!(
        refused.len() == 1 && refused[0].contains("\"n0\" (Einsum)"),
        "{refused:?}"
    );
}

#[test]
fn the_denoiser_has_twelve_warnings_and_four_notes() {
    let findings = lint(&sample("nafnet-denoise"));
    let codes: Vec<(&str, Severity)> = findings.iter().map(|f| (f.code, f.severity)).collect();
    let mut expected = vec![("H21", Severity::Warning); 12];
    expected.extend(["H01", "H02", "H14", "P04"].map(|code| (code, Severity::Note)));
    assert_eq!(codes, expected);
    let nodes: BTreeSet<&str> = findings[..12].iter().map(|f| f.node.as_str()).collect();
    assert_eq!(nodes.len(), 12);
    assert!(
        nodes.contains("/encs.0/encs.0.0/sca/sca.0/GlobalAveragePool"),
        "{nodes:?}"
    );
    assert!(findings[12].message.contains("80 pixels"));
    assert!(findings[13].message.contains("16 pixels"));
    assert!(findings[14].message.contains("with zeros"));
    // Two normalizations in each of twelve blocks, and the pools.
    assert!(
        findings[15].message.contains("35 more nodes"),
        "{}",
        findings[15].message
    );
}

#[test]
fn what_does_not_survive_sixteen_bits_is_named_with_its_number() {
    let with = |op: &str, value: f32| {
        let mut net = Net::new().conv3();
        let name = net.constant(&Tensor::from_f32(vec![], &[value]));
        net.op_with(op, &[&name], vec![])
    };
    let weight = |value: f32| {
        let mut net = Net::new();
        let name = net.constant(&Tensor::from_f32(
            vec![CHANNELS, CHANNELS, 1, 1],
            &[value; CHANNELS * CHANNELS],
        ));
        net.op_with("Conv", &[&name], vec![])
    };
    let found = |net: Net| -> Vec<(&'static str, String)> {
        let findings = lint(&net.model())
            .into_iter()
            .filter(|f| !f.is_about_tiles());
        findings.map(|f| (f.code, f.message)).collect()
    };
    for (net, code, number) in [
        (weight(1e5), "P01", "1e5"),
        (with("Add", f32::MIN), "P02", "-3.4028235e38"),
        (with("Add", 1e-8), "P03", "1e-8"),
        (with("Max", 1e-12), "P03", "1e-12"),
    ] {
        let found = found(net);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, code);
        assert!(found[0].1.contains(number), "{found:?}");
    }
    for near_miss in [
        weight(65504.0),
        with("Add", -10000.0),
        with("Add", 1e-6),
        with("Min", f32::MAX),
        with("Mul", 1e-8),
        with("Add", f32::NEG_INFINITY),
    ] {
        assert_eq!(found(near_miss), []);
    }
    let square = Net::new()
        .conv3()
        .op_with("ReduceL2", &[], vec![attribute::ints("axes", &[1])]);
    assert_eq!(found(square)[0].0, "P04");
    let mean = Net::new()
        .conv3()
        .op_with("ReduceMean", &[], vec![attribute::ints("axes", &[1])]);
    assert_eq!(
        found(mean),
        [],
        "an average over a few channels is no long sum"
    );
}

#[test]
fn the_super_resolution_sample_has_one_note() {
    let findings = lint(&sample("srvgg-x2"));
    assert_eq!(findings.len(), 1);
    assert_eq!(
        (findings[0].code, findings[0].severity),
        ("H01", Severity::Note)
    );
}

#[test]
fn findings_are_written_with_the_keys_that_others_read() {
    let findings = lint(&quantized("DynamicQuantizeLinear").model());
    let json = serde_json::to_value(&findings[0]).unwrap();
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    let expected: BTreeSet<&str> = ["code", "severity", "node", "message", "help"].into();
    assert_eq!(
        keys.iter().map(|k| k.as_str()).collect::<BTreeSet<_>>(),
        expected
    );
    assert_eq!(json["severity"], "error");
    assert_eq!(json["node"], "n0");
}

#[test]
fn every_finding_helps_and_nodes_without_a_name_have_a_path() {
    let mut model = quantized("DynamicQuantizeLinear").model();
    let graph = model.proto_mut().graph.as_mut().unwrap();
    graph.node[0].name = None;
    let findings: Vec<Finding> = lint(&model);
    assert_eq!(findings[0].node, "net/node #0 (DynamicQuantizeLinear)");
    assert!(
        findings
            .iter()
            .all(|f| !f.help.is_empty() && !f.message.is_empty())
    );
}

#[test]
fn hostile_attributes_are_findings_or_nothing_and_no_panic() {
    for value in [i64::MIN, i64::MIN + 2, -9, 99, i64::MAX] {
        for op in [
            "Softmax",
            "LayerNormalization",
            "LpNormalization",
            "ReduceMean",
            "Split",
            "Concat",
        ] {
            for opset in [11, 17] {
                let attributes = vec![
                    attribute::int("axis", value),
                    attribute::ints("axes", &[value]),
                ];
                let findings = lint(&with_gains(op, 1, attributes).opset(opset).model());
                assert!(
                    findings.iter().any(|f| f.code == "H01"),
                    "{op} with axis {value}"
                );
            }
        }
        let strided = Net::new().conv_of([CHANNELS; 2], 3, value, 1);
        assert!(lint(&strided.model()).iter().any(|f| f.code == "H01"));
        let blocks = Net::new().op("SpaceToDepth", vec![attribute::int("blocksize", value)]);
        assert!(lint(&blocks.model()).iter().any(|f| f.code == "H01"));
    }
}

#[test]
fn every_rule_file_is_registered_and_documented() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rules");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name != "mod")
        .collect();
    let names: BTreeSet<String> = rules().map(|r| r.name.to_owned()).collect();
    assert_eq!(files, names);
    let codes: Vec<&str> = rules().map(|r| r.code).collect();
    assert!(codes.is_sorted() && codes.iter().collect::<BTreeSet<_>>().len() == codes.len());
    for rule in rules() {
        for heading in ["**Why.**", "**Does overlap help?**", "**What to do.**"] {
            assert!(
                rule.explanation.contains(heading),
                "{}: no {heading}",
                rule.code
            );
        }
        assert_eq!(explain(&rule.code.to_lowercase()).unwrap().name, rule.name);
        assert_eq!(explain(rule.name).unwrap().code, rule.code);
    }
    assert!(explain("H999").is_none());
}
