//! Gates as continuous integration sees them: a model that must fail, one that must pass, and a regression; exit code,
//! JUnit XML and Markdown of each.

use std::fs;

use image::{Rgb, RgbImage};
use prost::Message;
use serde_json::Value;
use tilecast_onnx::Tensor;
use tilecast_onnx::proto::{ModelProto, NodeFields, NodeProto};

use crate::support::{Folder, SRVGG, sample_model};

/// The ×2 network, whose output is clipped to the lower 97 % of its range.
fn clipped_model() -> Vec<u8> {
    let mut model = ModelProto::decode(sample_model(SRVGG).as_slice()).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let output = graph.output[0].name.clone().unwrap();
    let inner = format!("{output}_inner");
    for name in graph.node.iter_mut().flat_map(|node| &mut node.output) {
        if *name == output {
            name.clone_from(&inner);
        }
    }
    for (name, limit) in [("low", 0.0), ("high", 0.97)] {
        let limit = Tensor::from_f32(Vec::new(), &[limit]);
        graph.initializer.push(limit.to_proto(name));
    }
    graph.node.push(NodeProto::from(NodeFields {
        op_type: Some("Clip".to_owned()),
        input: vec![inner, "low".to_owned(), "high".to_owned()],
        output: vec![output],
        ..NodeFields::default()
    }));
    model.encode_to_vec()
}

/// The ×2 network, its FP16 model, the clipped one, and images with all values from black to white.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write(SRVGG, sample_model(SRVGG));
    folder.write("clipped.onnx", clipped_model());
    folder.succeed(&format!("convert {SRVGG} --to fp16 -o half.onnx"));
    fs::create_dir(folder.path("images")).unwrap();
    for (index, width) in [64, 96].into_iter().enumerate() {
        let ramp = RgbImage::from_fn(width, 48, |x, y| {
            let value = (255 * x / (width - 1)) as u8;
            Rgb([value, value, value.saturating_sub(y as u8)])
        });
        ramp.save(folder.path("images").join(format!("{index}.png")))
            .unwrap();
    }
    folder
}

fn text(folder: &Folder, name: &str) -> String {
    String::from_utf8(folder.read(name)).unwrap()
}

/// Number of failures that the first line of JUnit XML states.
fn failures(junit: &str) -> &str {
    let (_, rest) = junit.split_once("failures=\"").unwrap();
    rest.split('"').next().unwrap()
}

const FILES: &str = "--junit junit.xml --summary summary.md";

#[test]
fn a_model_that_clips_its_output_fails() {
    let folder = folder();
    let line = format!("verify {SRVGG} clipped.onnx --images images --min-psnr 55 {FILES}");
    let outcome = folder.run(&line);
    outcome.assert_code(1);
    assert!(
        outcome.stdout.contains("gate min_psnr_db 55: "),
        "{}",
        outcome.stdout
    );
    let junit = text(&folder, "junit.xml");
    assert_eq!(failures(&junit), "1", "{junit}");
    assert!(
        junit.contains(
            "<testcase classname=\"verify.clipped.onnx\" name=\"min_psnr_db at least 55\">\
             <failure type=\"gate\" message=\"min_psnr_db is "
        ),
        "{junit}"
    );
    assert!(
        junit.contains("name=\"output is finite\"><system-out>PSNR "),
        "{junit}"
    );
    let summary = text(&folder, "summary.md");
    assert!(
        summary.starts_with("### Failed: `clipped.onnx`\n"),
        "{summary}"
    );
    assert!(
        summary.contains("1 of 2 checks passed.")
            && summary.contains("- **clipped.onnx**: min_psnr_db is "),
        "{summary}"
    );
}

#[test]
fn a_model_that_keeps_its_output_passes() {
    let folder = folder();
    let line = format!("verify {SRVGG} half.onnx --images images --tile 64 --min-psnr 55 {FILES}");
    let outcome = folder.succeed(&line);
    assert!(
        outcome
            .stdout
            .contains("colour difference (CIEDE2000) mean "),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome.stdout.contains("times as steep as beside them"),
        "{}",
        outcome.stdout
    );
    let junit = text(&folder, "junit.xml");
    assert_eq!(failures(&junit), "0", "{junit}");
    assert!(junit.contains("tests=\"2\""), "{junit}");
    let summary = text(&folder, "summary.md");
    assert!(
        summary.starts_with("### Passed: `half.onnx`\n"),
        "{summary}"
    );
    assert!(!summary.contains("**failed**"), "{summary}");
}

#[test]
fn a_model_that_is_worse_than_the_baseline_fails() {
    let folder = folder();
    let verify = |candidate: &str| format!("verify {SRVGG} {candidate} --images images --tile 64");
    let before = folder.succeed(&format!("{} --json", verify("half.onnx")));
    folder.write("before.json", &before.stdout);

    let same = folder.succeed(&format!("{} --baseline before.json", verify("half.onnx")));
    assert!(
        same.stdout.contains("0 worse beyond tolerance"),
        "{}",
        same.stdout
    );

    let line = format!("{} --baseline before.json {FILES}", verify("clipped.onnx"));
    let outcome = folder.run(&line);
    outcome.assert_code(1);
    for measure in ["psnr_db.mean", "psnr_db.min", "bytes"] {
        let regression = format!("regression: clipped.onnx: {measure} is ");
        assert!(outcome.stdout.contains(&regression), "{}", outcome.stdout);
    }
    let junit = text(&folder, "junit.xml");
    assert!(
        junit.contains("name=\"baseline psnr_db.mean\"><failure "),
        "{junit}"
    );
    let summary = text(&folder, "summary.md");
    assert!(
        summary.contains("compared with the baseline `before.json`")
            && summary.contains("- **clipped.onnx**: psnr_db.mean is "),
        "{summary}"
    );
    let lenient =
        "--tolerance-db 99 --tolerance-ssim 1 --tolerance-bytes 200% --tolerance-peak 100";
    folder.succeed(&format!("{line} {lenient}"));
    let json = folder.run(&format!("{line} --json"));
    json.assert_code(1);
    let json = json.json();
    assert_eq!(
        (&json["passed"], &json["baseline"]["passed"]),
        (&false.into(), &false.into())
    );
}

/// A report that claims more than there is: more decibels, fewer bytes, more nodes in INT8, one artifact more.
#[test]
fn the_main_job_names_every_regression() {
    let folder = Folder::with_images();
    folder.succeed("quantize recipe.yaml --out out");
    let mut report: Value = serde_json::from_slice(&folder.read("out/report.json")).unwrap();
    let again = "quantize recipe.yaml --out out --baseline before.json";
    folder.write("before.json", report.to_string());
    folder.succeed(again);

    let number = |value: &Value| value.as_f64().unwrap();
    let artifacts = report["artifacts"].as_array_mut().unwrap();
    let (half, int8) = (0, 1);
    artifacts[half]["psnr_db"]["mean"] = (number(&artifacts[half]["psnr_db"]["mean"]) + 0.2).into();
    artifacts[half]["peak_bytes"] = (0.9 * number(&artifacts[half]["peak_bytes"])).into();
    artifacts[int8]["bytes"] = (0.98 * number(&artifacts[int8]["bytes"])).into();
    assert!(number(&artifacts[int8]["int8_share"]) > 0.0);
    artifacts[int8]["int8_share"] = (number(&artifacts[int8]["int8_share"]) + 0.02).into();
    let mut gone = artifacts[int8].clone();
    gone["name"] = "bf16-generic".into();
    gone["path"] = "gone.onnx".into();
    artifacts.push(gone);
    folder.write("before.json", report.to_string());

    let outcome = folder.run(&format!("{again} {FILES}"));
    outcome.assert_code(1);
    let named: Vec<&str> = outcome
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("regression: ")?.split(" is ").next())
        .collect();
    assert_eq!(
        named,
        [
            "fp16-generic: psnr_db.mean",
            "fp16-generic: peak_bytes",
            "int8-ort-cpu: bytes",
            "int8-ort-cpu: int8_share",
            "bf16-generic: the baseline has this artifact, this run has not",
        ]
    );
    assert_eq!(failures(&text(&folder, "junit.xml")), "5");
    let summary = text(&folder, "summary.md");
    assert!(summary.contains("Baseline: 5 regression(s)"), "{summary}");
    let written: Value = serde_json::from_slice(&folder.read("out/report.json")).unwrap();
    assert_eq!(written["passed"], false);
    let page = text(&folder, "out/report.md");
    assert!(page.contains("worse than the baseline"), "{page}");
}

#[test]
fn a_run_that_fails_leaves_no_earlier_verdict() {
    let folder = Folder::with_images();
    for name in ["junit.xml", "summary.md"] {
        folder.write(name, "of an earlier run");
    }
    folder.fail(&format!("quantize absent.yaml {FILES}"), 4);
    assert!(!folder.path("junit.xml").exists() && !folder.path("summary.md").exists());
}

#[test]
fn what_is_no_baseline_is_refused_before_anything_runs() {
    let folder = Folder::with_images();
    let line = "quantize recipe.yaml --out out --baseline";
    folder
        .fail(&format!("{line} absent.json"), 4)
        .assert_says(&["`absent.json`"]);
    for (text, reason) in [
        ("{", "no JSON"),
        ("{}", "it has no `schema`"),
        ("{\"schema\":\"tilecast.run/1\"}", "`tilecast.run/1`"),
    ] {
        folder.write("wrong.json", text);
        folder
            .fail(&format!("{line} wrong.json"), 2)
            .assert_says(&["`wrong.json`", reason]);
    }
    folder.fail("quantize recipe.yaml --out out --tolerance-db 1", 2);
    assert!(!folder.path("out").exists());
}
