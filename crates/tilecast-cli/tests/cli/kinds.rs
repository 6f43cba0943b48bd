//! Models of other kinds than one RGB image in [0, 1] with channels first: from `init` over the main job to tiles.

use serde_json::Value;
use tilecast_onnx::proto::{
    DimValue, GraphFields, GraphProto, ModelFields, ModelProto, NodeProto, OperatorSetIdFields,
    TensorProto, ValueInfoProto,
};
use tilecast_onnx::{DataType, Model, Tensor, attribute, node, value_info};

use crate::support::Folder;

/// What a network wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// RGB, channels first, in [0, 1].
    Plain,
    /// One channel.
    Grey,
    /// Channels last.
    ChannelsLast,
    /// Values in [-1, 1], as the Tanh at the end says.
    Signed,
    /// A number beside the image.
    Number,
    /// A map beside the image.
    Map,
    /// Blue first, less a mean, over a deviation, at both ends; what it computes is what the plain one does.
    Normalized,
    /// In opset 11, which has no scales per channel.
    Old,
}

/// Of blue, green and red.
const MEAN: [f32; 3] = [0.4, 0.45, 0.5];
const STD: [f32; 3] = [0.2, 0.25, 0.3];
const NORMALIZED: &str =
    "color: bgr\n  mean: [0.4, 0.45, 0.5]\n  std: [0.2, 0.25, 0.3]\n  normalized_output: true";

/// A residual network of three convolutions: the image, less what they make of it.
fn network(kind: Kind) -> Vec<u8> {
    let planes = if kind == Kind::Grey { 1 } else { 3 };
    let fed = if kind == Kind::Map {
        planes + 1
    } else {
        planes
    };
    let weights = |name: &str, dims: [usize; 4], size: f32| -> TensorProto {
        let n = dims.iter().product::<usize>();
        let value = |i: usize| ((i.wrapping_mul(2_654_435_761) >> 9) % 1009) as f32 / 504.5 - 1.0;
        let values: Vec<f32> = (0..n).map(|i| size * value(i)).collect();
        Tensor::from_f32(dims.to_vec(), &values).to_proto(name)
    };
    let conv = |name: &str, input: &str, output: &str| {
        node("Conv", name, &[input, name], &[output])
            .with_attribute(attribute::ints("pads", &[1; 4]))
    };
    let turn = |input: &str, output: &str, perm: &[i64]| {
        node("Transpose", output, &[input], &[output]).with_attribute(attribute::ints("perm", perm))
    };
    let mut nodes: Vec<NodeProto> = Vec::new();
    let mut image = "image";
    if kind == Kind::ChannelsLast {
        nodes.push(turn("image", "planes", &[0, 3, 1, 2]));
        image = "planes";
    }
    if kind == Kind::Normalized {
        nodes.push(node(
            "Conv",
            "undo",
            &["image", "undo", "undo_b"],
            &["planes"],
        ));
        image = "planes";
    }
    let mut features = image;
    if kind == Kind::Map {
        let concat = node("Concat", "join", &[image, "noise"], &["joined"]);
        nodes.push(concat.with_attribute(attribute::int("axis", 1)));
        features = "joined";
    }
    nodes.push(conv("first", features, "a"));
    nodes.push(node("Relu", "relu", &["a"], &["b"]));
    nodes.push(conv("middle", "b", "m"));
    nodes.push(conv("last", "m", "c"));
    let mut residual = "c";
    if kind == Kind::Number {
        nodes.push(node("Mul", "strength", &["c", "sigma"], &["d"]));
        residual = "d";
    }
    nodes.push(node("Sub", "residual", &[image, residual], &["e"]));
    nodes.push(match kind {
        Kind::ChannelsLast => turn("e", "result", &[0, 2, 3, 1]),
        Kind::Signed => node("Tanh", "end", &["e"], &["result"]),
        Kind::Normalized => node("Conv", "redo", &["e", "redo", "redo_b"], &["result"]),
        _ => node("Identity", "end", &["e"], &["result"]),
    });
    let named = |name: &str| DimValue::DimParam(name.to_owned());
    let image_of = |name: &str, channels: i64| -> ValueInfoProto {
        let [n, c] = [1, channels].map(DimValue::DimValue);
        let (h, w) = (named("h"), named("w"));
        let dims = if kind == Kind::ChannelsLast {
            vec![n, h, w, c]
        } else {
            vec![n, c, h, w]
        };
        value_info(name, DataType::F32, dims)
    };
    let mut inputs = vec![image_of("image", planes as i64)];
    match kind {
        Kind::Number => inputs.push(value_info(
            "sigma",
            DataType::F32,
            vec![DimValue::DimValue(1)],
        )),
        Kind::Map => inputs.insert(0, image_of("noise", 1)),
        _ => {}
    }
    let mut initializers = vec![
        weights("first", [16, fed, 3, 3], 0.2),
        weights("middle", [16, 16, 3, 3], 0.1),
        weights("last", [planes, 16, 3, 3], 0.05),
    ];
    if kind == Kind::Normalized {
        initializers.extend(normalizations());
    }
    let graph = GraphProto::from(GraphFields {
        name: Some("graph".to_owned()),
        node: nodes,
        input: inputs,
        output: vec![image_of("result", planes as i64)],
        initializer: initializers,
        ..GraphFields::default()
    });
    let opset = OperatorSetIdFields {
        version: Some(if kind == Kind::Old { 11 } else { 17 }),
        ..OperatorSetIdFields::default()
    };
    let proto = ModelProto::from(ModelFields {
        ir_version: Some(8),
        opset_import: vec![opset.into()],
        graph: Some(graph),
        ..ModelFields::default()
    });
    Model::from_proto(proto).unwrap().to_bytes()
}

/// Convolutions over single pixels that undo the normalization and do it again.
fn normalizations() -> [TensorProto; 4] {
    let (mut undo, mut redo) = ([0.0; 9], [0.0; 9]);
    let (mut undo_b, mut redo_b) = ([0.0; 3], [0.0; 3]);
    for bgr in 0..3 {
        let rgb = 2 - bgr;
        undo[3 * rgb + bgr] = STD[bgr];
        undo_b[rgb] = MEAN[bgr];
        redo[3 * bgr + rgb] = 1.0 / STD[bgr];
        redo_b[bgr] = -MEAN[bgr] / STD[bgr];
    }
    let matrix =
        |name: &str, values: [f32; 9]| Tensor::from_f32(vec![3, 3, 1, 1], &values).to_proto(name);
    let bias = |name: &str, values: [f32; 3]| Tensor::from_f32(vec![3], &values).to_proto(name);
    [
        matrix("undo", undo),
        bias("undo_b", undo_b),
        matrix("redo", redo),
        bias("redo_b", redo_b),
    ]
}

/// A folder with images, the network, and the recipe that `init` makes for it, in tiles of 48 px.
fn folder_with(kind: Kind) -> Folder {
    let folder = Folder::with_images();
    folder.write("net.onnx", network(kind));
    folder.succeed("init net.onnx --images images -o net.yaml");
    let recipe = String::from_utf8(folder.read("net.yaml")).unwrap();
    let recipe = recipe.replace("validate_tile: 256", "validate_tile: 48");
    folder.write(
        "net.yaml",
        recipe.replace("min_psnr_db: 60", "min_psnr_db: 55"),
    );
    folder
}

fn recipe(folder: &Folder) -> String {
    String::from_utf8(folder.read("net.yaml")).unwrap()
}

#[test]
fn every_kind_goes_from_init_to_tiles() {
    let kinds = [
        (Kind::Grey, "1 channel (grey)"),
        (Kind::ChannelsLast, "layout: nhwc"),
        (Kind::Signed, "range: [-1, 1]"),
        (Kind::Number, "    sigma: 0.1"),
        (Kind::Map, "    noise: 0.1  # at every pixel"),
    ];
    for (kind, said) in kinds {
        let folder = folder_with(kind);
        assert!(
            recipe(&folder).contains(said),
            "{kind:?}: {}",
            recipe(&folder)
        );
        let report = folder.succeed_with_json("quantize net.yaml --out out --json");
        assert_eq!(report["passed"], true, "{kind:?}");
        assert_eq!(report["tiling"]["equivalence"], "exact", "{kind:?}");
        // FP32 in tiles is FP32 whole: whatever else is fed fits every tile.
        let tiling_db = report["tiling"]["error"]["psnr_db"]["min"]
            .as_f64()
            .unwrap();
        assert!(tiling_db > 100.0, "{kind:?}: {tiling_db} dB");
        let int8 = report["artifacts"][1]["path"].as_str().unwrap();
        let line = format!(
            "verify net.onnx out/{int8} --images images --tile 48 --recipe net.yaml --min-psnr 35"
        );
        folder.succeed(&line);
        for (tile, output) in [(48, "tiled.png"), (512, "whole.png")] {
            folder.succeed(&format!(
                "run out/{int8} images/2.png -o {output} --tile {tile} --recipe net.yaml"
            ));
        }
        assert_eq!(
            folder.read("tiled.png"),
            folder.read("whole.png"),
            "{kind:?}"
        );
    }
}

#[test]
fn the_order_of_axes_leaves_no_trace_in_pixels() {
    let (first, last) = (folder_with(Kind::Plain), folder_with(Kind::ChannelsLast));
    for folder in [&first, &last] {
        folder.succeed("run net.onnx images/2.png -o result.png --tile 48");
    }
    assert_eq!(first.read("result.png"), last.read("result.png"));
    // A recipe that says otherwise is not believed.
    let wrong = recipe(&last).replace("layout: nhwc", "layout: nchw");
    last.write("net.yaml", wrong);
    let outcome = last.fail("quantize net.yaml --out out", 2);
    outcome.assert_says(&["the recipe says `layout: nchw`", "layout: nhwc"]);
}

#[test]
fn normalization_and_order_of_colors_come_from_the_recipe() {
    let (plain, normalized) = (folder_with(Kind::Plain), folder_with(Kind::Normalized));
    // `init` shows where it belongs.
    let asked = recipe(&normalized).replace("# color: bgr", NORMALIZED);
    assert_ne!(asked, recipe(&normalized));
    normalized.write("net.yaml", asked);
    for (folder, by) in [(&plain, ""), (&normalized, " --recipe net.yaml")] {
        folder.succeed(&format!(
            "run net.onnx images/2.png -o result.png --tile 48{by}"
        ));
    }
    let pixels = |folder: &Folder| image::open(folder.path("result.png")).unwrap().to_rgb8();
    let (expected, found) = (pixels(&plain), pixels(&normalized));
    assert_eq!(expected.dimensions(), found.dimensions());
    // Sums round differently, which may tip a value from one step of a byte to the next.
    let pairs = expected.iter().zip(found.iter());
    let furthest = pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(furthest <= 1, "{furthest} of 255");
    normalized.succeed("run net.onnx images/2.png -o wrong.png --tile 48");
    assert_ne!(normalized.read("wrong.png"), normalized.read("result.png"));

    let report = normalized.succeed_with_json("quantize net.yaml --out out --json");
    assert_eq!(report["passed"], true);
    let fp16 = report["artifacts"][0]["path"].as_str().unwrap();
    normalized.succeed(&format!(
        "verify net.onnx out/{fp16} --images images --tile 48 --recipe net.yaml --min-psnr 55"
    ));
    let contract = fp16.replace(".onnx", ".tiling.json");
    let contract: Value =
        serde_json::from_slice(&normalized.read(&format!("out/{contract}"))).unwrap();
    for port in ["input", "output"] {
        assert_eq!(contract[port]["color"], "bgr");
        for (key, values) in [("mean", MEAN), ("std", STD)] {
            let stated: [f32; 3] = serde_json::from_value(contract[port][key].clone()).unwrap();
            assert_eq!(
                stated.map(f32::to_bits),
                values.map(f32::to_bits),
                "{port} {key}"
            );
        }
    }
    // One channel has neither.
    let grey = folder_with(Kind::Grey);
    let wrong = recipe(&grey).replace("# color: bgr", "color: bgr");
    grey.write("net.yaml", wrong);
    grey.fail("quantize net.yaml --out out", 2)
        .assert_says(&["takes 1", "`range` can express"]);
}

#[test]
fn the_opset_is_raised_for_int8_alone() {
    let folder = folder_with(Kind::Old);
    let report = folder.succeed_with_json("quantize net.yaml --out out --json");
    let opset = |path: &str| Model::load(&folder.path(path)).unwrap().opset();
    let made = |index: usize| {
        format!(
            "out/{}",
            report["artifacts"][index]["path"].as_str().unwrap()
        )
    };
    assert_eq!((opset(&made(0)), opset(&made(1))), (11, 13));
    assert!(report["artifacts"][1]["int8_share"].as_f64().unwrap() > 0.0);
    folder.succeed("calibrate net.onnx --target ort-cpu --images images --tile 48 -o table.json");
    for (from, output) in [
        ("--calibration images", "a.onnx"),
        ("--calibration-table table.json", "b.onnx"),
        ("--calibration images --no-simplify", "c.onnx"),
    ] {
        folder.succeed(&format!(
            "convert net.onnx --to int8 --target ort-cpu --tile 48 --int8-everywhere --require-int8 {from} -o {output}"
        ));
        assert_eq!(opset(output), 13, "{from}");
    }
    assert!(
        folder.read("a.onnx") == folder.read("b.onnx"),
        "table and images"
    );
}

#[test]
fn an_int8_artifact_without_int8_is_warned_of() {
    let folder = folder_with(Kind::Plain);
    let quantize = "quantize net.yaml --out out";
    assert!(
        !folder
            .succeed(quantize)
            .stderr
            .contains("no node became INT8")
    );
    let gate = "gate: { min_psnr_db: 40 }";
    let fp16 = "gate: { min_psnr_db: 40 }\n    overrides: [{ nodes: '*', precision: fp16 }]";
    folder.write("net.yaml", recipe(&folder).replace(gate, fp16));
    folder
        .succeed(quantize)
        .assert_says(&["artifact `int8-generic`: no node became INT8"]);
}

#[test]
fn values_and_ranges_come_from_the_recipe() {
    let folder = folder_with(Kind::Number);
    let changed = recipe(&folder).replace("sigma: 0.1", "sigma: 0.8");
    folder.write("strong.yaml", changed);
    for (recipe, output) in [("net.yaml", "weak.png"), ("strong.yaml", "strong.png")] {
        folder.succeed(&format!(
            "run net.onnx images/2.png -o {output} --recipe {recipe}"
        ));
    }
    assert_ne!(folder.read("weak.png"), folder.read("strong.png"));
    let wrong = recipe(&folder).replace("sigma: 0.1", "sigam: 0.1");
    folder.write("net.yaml", wrong);
    let outcome = folder.fail("quantize net.yaml --out out", 2);
    outcome.assert_says(&["`sigam`", "its inputs are image, sigma"]);

    let folder = folder_with(Kind::Signed);
    folder.succeed("run net.onnx images/2.png -o right.png --recipe net.yaml");
    folder.succeed("run net.onnx images/2.png -o wrong.png");
    assert_ne!(folder.read("right.png"), folder.read("wrong.png"));
}

#[test]
fn calibration_and_conversion_take_the_recipe() {
    let folder = folder_with(Kind::Map);
    folder.succeed("calibrate net.onnx --target ort-cpu --images images --tile 48 --recipe net.yaml -o table.json");
    let convert =
        "convert net.onnx --to int8 --target ort-cpu --tile 48 --int8-everywhere --require-int8";
    folder.succeed(&format!(
        "{convert} --calibration-table table.json --recipe net.yaml -o a.onnx"
    ));
    folder.succeed(&format!(
        "{convert} --calibration images --recipe net.yaml -o b.onnx"
    ));
    assert!(
        folder.read("a.onnx") == folder.read("b.onnx"),
        "table and images"
    );
    // A table of other values of the inputs is stale.
    folder.write(
        "other.yaml",
        recipe(&folder).replace("noise: 0.1", "noise: 0.5"),
    );
    let line = format!("{convert} --calibration-table table.json --recipe other.yaml -o c.onnx");
    folder
        .fail(&line, 2)
        .assert_says(&["stale: its preprocessing"]);
}
