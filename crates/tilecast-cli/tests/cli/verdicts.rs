//! Gates: a run that finishes and is not good enough.

use prost::Message;
use serde_json::Value;
use tilecast_onnx::Tensor;
use tilecast_onnx::proto::ModelProto;

use crate::support::{Folder, SRVGG, repository, sample_model};

#[test]
fn a_missed_gate_is_reported_and_ends_with_1() {
    let folder = Folder::with_images();
    let outcome = folder
        .run("quantize recipe.yaml --out out --set artifacts.fp16-generic.gate.min_psnr_db=99");
    outcome.assert_code(1);
    assert!(
        outcome.stdout.contains("gate min_psnr_db 99 is "),
        "{}",
        outcome.stdout
    );
    assert!(!outcome.stderr.contains("error"), "{}", outcome.stderr);

    let report: Value = serde_json::from_slice(&folder.read("out/report.json")).unwrap();
    assert_eq!(report["passed"], false);
    let verdicts: Vec<(&Value, &Value, &Value)> = report["artifacts"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|artifact| artifact["gates"].as_array().unwrap())
        .map(|gate| (&gate["gate"], &gate["limit"], &gate["passed"]))
        .collect();
    assert_eq!(
        verdicts,
        [
            (&"min_psnr_db".into(), &99.0.into(), &false.into()),
            (&"min_psnr_db".into(), &35.0.into(), &true.into()),
            (&"max_drop_db".into(), &3.0.into(), &true.into()),
        ]
    );
    let page = String::from_utf8(folder.read("out/report.md")).unwrap();
    assert!(
        page.lines()
            .any(|line| line.contains("min_psnr_db") && line.contains("99")),
        "{page}"
    );
}

#[test]
fn gates_that_are_met_end_with_0() {
    let folder = Folder::with_images();
    let outcome = folder.succeed("quantize recipe.yaml --out out");
    assert!(outcome.stdout.contains("passed"), "{}", outcome.stdout);
    assert!(!outcome.stdout.contains("FAILED"), "{}", outcome.stdout);
    let written: Vec<String> = folder
        .files()
        .into_iter()
        .filter(|name| name.starts_with("out/"))
        .collect();
    assert_eq!(
        written,
        [
            "out/SHA256SUMS",
            "out/report.html",
            "out/report.json",
            "out/report.md",
            "out/srvgg-x2-fp16-generic.onnx",
            "out/srvgg-x2-fp16-generic.tiling.json",
            "out/srvgg-x2-int8-ort-cpu.onnx",
            "out/srvgg-x2-int8-ort-cpu.tiling.json",
        ]
    );
}

#[test]
fn verify_judges_by_its_gates() {
    let folder = Folder::with_images();
    folder.succeed(&format!("convert {SRVGG} --to fp16 -o half.onnx"));
    let verify = format!("verify {SRVGG} half.onnx --images images");

    let passed = folder.succeed(&format!("{verify} --min-psnr 55"));
    assert!(passed.stdout.contains("gate min_psnr_db 55: "));
    let failed = folder.run(&format!("{verify} --min-psnr 99"));
    failed.assert_code(1);
    assert!(failed.stdout.contains("FAILED"), "{}", failed.stdout);
    let json = folder.run(&format!("{verify} --min-psnr 99 --json"));
    json.assert_code(1);
    assert_eq!(json.json()["passed"], false);
}

/// Convolutions of this size overflow float16; an override has the last word, and what comes of it is found and named.
#[test]
fn an_artifact_that_is_not_finite_fails_and_its_first_node_is_named() {
    let folder = Folder::with_images();
    let mut model = ModelProto::decode(sample_model(SRVGG).as_slice()).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let weights = graph.initializer.iter_mut().find(|t| t.dims.len() == 4);
    let weights = weights.unwrap();
    let tensor = Tensor::from_proto(weights).unwrap();
    let values = tensor.to_f32_vec().unwrap();
    let largest = values.iter().fold(0.0_f32, |a, v| a.max(v.abs()));
    let values: Vec<f32> = values.iter().map(|v| v / largest * 6e4).collect();
    let name = weights.name.clone().unwrap();
    *weights = Tensor::from_f32(tensor.dims().to_vec(), &values).to_proto(&name);
    folder.write("model.onnx", model.encode_to_vec());
    let recipe = String::from_utf8(folder.read("recipe.yaml")).unwrap();
    let first = recipe.find("artifacts:").unwrap();
    let overrides =
        "artifacts:\n  - { precision: fp16, overrides: [{ nodes: \"*\", precision: fp16 }] }\n";
    folder.write("recipe.yaml", format!("{}{overrides}", &recipe[..first]));
    let outcome = folder.run("quantize recipe.yaml --out out --set model=model.onnx");
    outcome.assert_code(1);
    let report: Value = serde_json::from_slice(&folder.read("out/report.json")).unwrap();
    let artifact = &report["artifacts"][0];
    assert!(artifact["psnr_db"].is_null());
    assert_eq!(artifact["finite"]["on"], "held-out images");
    let node = artifact["finite"]["nodes"][0]["node"].as_str().unwrap();
    assert!(node.contains("Conv"), "{node}");
    let page = String::from_utf8(folder.read("out/report.md")).unwrap();
    assert!(page.contains(&format!("first at {node}")), "{page}");
}

/// Narrow convolutions: INT8 would be slower there than FP32, so that nothing is left in it.
#[test]
fn a_model_that_int8_makes_no_faster_keeps_none_of_it() {
    let folder = Folder::with_images();
    let model = repository().join("models/exports/realesrgan-x4v3-dy20.onnx");
    folder.write("narrow.onnx", std::fs::read(model).unwrap());
    let line = "convert narrow.onnx --to int8 --target ort-cpu --calibration images -o out.onnx";
    let outcome = folder.succeed_with_json(&format!("{line} --json"));
    assert!(outcome["nodes"]["int8"].is_null(), "{}", outcome["nodes"]);
    let advice = outcome["advice"].as_str().unwrap();
    assert!(advice.contains("no faster on target `ort-cpu`"), "{advice}");
    let required = folder.run(&format!("{line} --require-int8"));
    required.assert_code(1);
    assert!(required.stdout.contains(advice), "{}", required.stdout);
    let of_sample =
        format!("convert {SRVGG} --to int8 --target ort-cpu --calibration images -o out.onnx");
    folder.succeed(&format!("{of_sample} --require-int8"));
}
