//! Model files that are missing, damaged, no models, or wrong to tile.

use std::path::Path;

use tilecast_onnx::{Model, Tensor, attribute, node};

use crate::support::{Folder, SRVGG};

/// The verbs that read a model, with `MODEL` in its place.
const LINES: [&str; 8] = [
    "quantize recipe.yaml --out out --set model=MODEL",
    "inspect MODEL",
    "lint MODEL",
    "simplify MODEL -o new.onnx",
    "convert MODEL --to fp16 -o new.onnx",
    "run MODEL images/1.png -o new.png",
    "verify MODEL srvgg-x2.onnx --images images",
    "verify srvgg-x2.onnx MODEL --images images",
];

/// Every verb must refuse this model with this code, name it, and write nothing.
pub(crate) fn assert_refused(folder: &Folder, model: &str, code: i32, said: &str) {
    let before = folder.files();
    for line in LINES {
        let outcome = folder.fail(&line.replace("MODEL", model), code);
        outcome.assert_says(&[&format!("cannot load model `{model}`"), said]);
    }
    assert_eq!(folder.files(), before);
}

#[test]
fn a_missing_model_is_a_file_error() {
    let folder = Folder::with_images();
    assert_refused(&folder, "absent.onnx", 4, "check the path");
}

#[test]
fn a_truncated_model_is_refused_with_its_name() {
    let folder = Folder::with_images();
    let whole = folder.read(SRVGG);
    for (name, length) in [
        ("half.onnx", whole.len() / 2),
        ("almost.onnx", whole.len() - 1),
    ] {
        folder.write(name, &whole[..length]);
        assert_refused(&folder, name, 3, "truncated");
    }
}

#[test]
fn a_file_that_is_no_model_is_refused_with_its_name() {
    let folder = Folder::with_images();
    folder.write("empty.onnx", "");
    for name in ["empty.onnx", "recipe.yaml", "images/1.png"] {
        assert_refused(&folder, name, 3, "not an ONNX model");
    }
}

#[test]
fn an_error_level_finding_stops_lint_and_quantize() {
    let folder = Folder::with_images();
    training_mode_model(&folder.path("training.onnx"));

    let linted = folder.run("lint training.onnx");
    linted.assert_code(1);
    assert!(
        linted.stdout.starts_with("error[H16] input_norm: "),
        "{}",
        linted.stdout
    );
    let json = folder.run("lint training.onnx --json");
    json.assert_code(1);
    let first = json.json()["findings"][0].clone();
    assert_eq!(
        (&first["code"], &first["severity"]),
        (&"H16".into(), &"error".into())
    );

    let line = "quantize recipe.yaml --out out --set model=training.onnx";
    let outcome = folder.fail(line, 1);
    outcome.assert_says(&["`training.onnx`", "H16 at `input_norm`", "lint: allow"]);
    assert!(!folder.path("out").exists());
}

/// The ×2 network behind a batch normalization in training mode.
fn training_mode_model(path: &Path) {
    let source = Folder::with_images();
    let mut model = Model::load(&source.path(SRVGG)).unwrap();
    let graph = model.proto_mut().graph.as_mut().unwrap();
    let input = graph.input[0].name.clone().unwrap();
    for name in graph.node.iter_mut().flat_map(|node| &mut node.input) {
        if *name == input {
            "normalized".clone_into(name);
        }
    }
    let ones = Tensor::from_f32(vec![3], &[1.0; 3]);
    graph.initializer.push(ones.to_proto("ones"));
    let inputs = [input.as_str(), "ones", "ones", "ones", "ones"];
    let norm = node("BatchNormalization", "input_norm", &inputs, &["normalized"])
        .with_attribute(attribute::int("training_mode", 1));
    graph.node.insert(0, norm);
    model.save(path).unwrap();
}
