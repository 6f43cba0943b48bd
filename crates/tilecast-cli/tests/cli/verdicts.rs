//! Gates: a run that finishes and is not good enough.

use serde_json::Value;

use crate::support::{Folder, SRVGG};

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
            "out/report.json",
            "out/report.md",
            "out/srvgg-x2-fp16-generic.onnx",
            "out/srvgg-x2-int8-ort-cpu.onnx",
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
