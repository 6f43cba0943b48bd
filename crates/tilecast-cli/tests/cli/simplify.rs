//! `simplify`: smaller, unchanged, and cut down to one rewrite on request.

use crate::support::{Folder, NAFNET, sample_model};

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write(NAFNET, sample_model(NAFNET));
    folder
}

#[test]
fn the_denoiser_is_less_than_half_and_unchanged() {
    let folder = folder();
    let report = folder.succeed_with_json(&format!("simplify {NAFNET} -o out.onnx --json"));
    assert_eq!(report["schema"], "tilecast.simplify/1");
    let nodes = [0, 1].map(|i| report["nodes"][i].as_u64().unwrap());
    assert!(nodes[0] as f64 / nodes[1] as f64 >= 2.2, "{nodes:?}");
    assert_eq!(report["ended"], "fixpoint");
    let checks = report["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 2);
    assert!(
        checks
            .iter()
            .all(|c| c["relative"].as_f64().unwrap() < 1e-4),
        "{checks:?}"
    );
    let bytes = folder.read("out.onnx").len() as u64;
    assert_eq!(report["bytes"][1].as_u64().unwrap(), bytes);
    assert!(bytes < report["bytes"][0].as_u64().unwrap());
    // What was simplified is as simple as it gets.
    let again = folder.succeed_with_json("simplify out.onnx -o again.onnx --json");
    assert!(
        again["steps"].as_array().unwrap().is_empty(),
        "{}",
        again["steps"]
    );
    assert_eq!(folder.read("again.onnx"), folder.read("out.onnx"));
}

#[test]
fn exports_with_attention_are_simplified_too() {
    for (name, at_most) in [("swinir-ts17.onnx", 480), ("restormer-ts17.onnx", 350)] {
        let folder = Folder::new();
        folder.write(name, sample_model(&format!("exports/{name}")));
        let report = folder.succeed_with_json(&format!("simplify {name} -o out.onnx --json"));
        assert!(report["nodes"][1].as_u64().unwrap() <= at_most, "{name}");
        for check in report["checks"].as_array().unwrap() {
            assert!(
                check["relative"].as_f64().unwrap() < 1e-4,
                "{name}: {check}"
            );
        }
    }
}

#[test]
fn the_driver_stops_and_dumps_where_asked() {
    let folder = folder();
    std::fs::create_dir(folder.path("dump")).unwrap();
    let line = format!("simplify {NAFNET} -o out.onnx --stop-after 2 --dump dump --json");
    let report = folder.succeed_with_json(&line);
    assert_eq!(report["ended"], "stopped");
    let steps = report["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 2);
    for (index, step) in steps.iter().enumerate() {
        let name = format!(
            "dump/{:03}-{}.onnx",
            index + 1,
            step["pass"].as_str().unwrap()
        );
        assert!(!folder.read(&name).is_empty());
    }
    let last = format!("dump/002-{}.onnx", steps[1]["pass"].as_str().unwrap());
    assert_eq!(folder.read(&last), folder.read("out.onnx"));
}

#[test]
fn an_absent_target_and_an_absent_folder_are_told() {
    let folder = folder();
    folder
        .fail(&format!("simplify {NAFNET} -o out.onnx --target npu"), 2)
        .assert_says(&["`npu`", "ort-cpu"]);
    folder
        .fail(&format!("simplify {NAFNET} -o absent/out.onnx"), 4)
        .assert_says(&["`absent`"]);
}

#[test]
fn the_opset_is_raised_up_to_a_limit_and_never_lowered() {
    let folder = folder();
    // The denoiser has its layer normalizations at opset 17 already.
    let report =
        folder.succeed_with_json(&format!("simplify {NAFNET} -o out.onnx --opset 21 --json"));
    assert_eq!(report["opset"], serde_json::json!([17, 17]));
    folder
        .fail(&format!("simplify {NAFNET} -o other.onnx --opset 13"), 2)
        .assert_says(&["has opset 17", "cannot be lowered to 13"]);
}
