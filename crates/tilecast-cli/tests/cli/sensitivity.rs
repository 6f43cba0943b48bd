//! What INT8 costs in each place, and mixtures that meet a gate.

use std::fmt::Write;

use serde_json::Value;

use crate::support::{Folder, SRVGG};

/// The recipe of the folder with other artifacts.
fn with_artifacts(folder: &Folder, artifacts: &str) {
    let recipe = String::from_utf8(folder.read("recipe.yaml")).unwrap();
    let before = recipe.find("artifacts:").unwrap();
    let after = recipe.find("tiling:").unwrap();
    let (before, after) = (&recipe[..before], &recipe[after..]);
    folder.write(
        "recipe.yaml",
        format!("{before}artifacts:\n{artifacts}{after}"),
    );
}

fn report(folder: &Folder) -> Value {
    serde_json::from_slice(&folder.read("out/report.json")).unwrap()
}

/// Each place by the main job, with overrides that leave it alone in INT8, gives the figure that `sensitivity` has for it.
#[test]
fn the_ranking_is_that_of_brute_force() {
    let folder = Folder::with_images();
    // Tiles as large as the images: the tiles that are measured are those that the main job validates.
    let line = format!("sensitivity {SRVGG} --images images --holdout 0.5 --tile 128 -o kept.json");
    let outcome = folder.succeed_with_json(&format!("{line} --json"));
    let kept: Value = serde_json::from_slice(&folder.read("kept.json")).unwrap();
    assert_eq!(kept["nodes"], outcome["nodes"]);
    let nodes = outcome["nodes"].as_array().unwrap();
    assert!(nodes.len() > 2);
    let mut artifacts = String::new();
    for (index, node) in nodes.iter().enumerate() {
        let name = node["node"].as_str().unwrap();
        writeln!(
            artifacts,
            "  - {{ name: alone-{index}, precision: int8, overrides: [{{ nodes: \"*\", precision: fp32 }}, {{ nodes: \"{name}\", precision: int8 }}] }}"
        )
        .unwrap();
    }
    with_artifacts(&folder, &artifacts);
    folder.succeed("quantize recipe.yaml --out out --set tiling.validate_tile=128");
    let report = report(&folder);
    let mut costs = Vec::new();
    for (node, artifact) in nodes.iter().zip(report["artifacts"].as_array().unwrap()) {
        let alone = node["psnr_db"].as_f64().unwrap();
        let measured = artifact["psnr_db"]["pooled"].as_f64().unwrap();
        assert!((alone - measured).abs() < 1e-3, "{node} {measured}");
        assert_eq!(artifact["nodes"]["int8"], 1);
        costs.push(10_f64.powf(-measured / 10.0) / node["work"].as_f64().unwrap());
    }
    assert!(costs.is_sorted_by(|a, b| a >= b), "{costs:?}");
    let work: f64 = nodes.iter().map(|n| n["work"].as_f64().unwrap()).sum();
    assert!((work - 1.0).abs() < 1e-9);
}

#[test]
fn an_artifact_that_misses_its_gate_is_mixed_until_it_meets_it() {
    let folder = Folder::with_images();
    with_artifacts(&folder, "  - { precision: int8 }\n");
    folder.succeed("quantize recipe.yaml --out out");
    let before = report(&folder);
    let before = &before["artifacts"][0];
    assert!(before["mixture"].is_null());
    let wanted = before["psnr_db"]["mean"].as_f64().unwrap() + 3.0;

    with_artifacts(
        &folder,
        &format!("  - {{ precision: int8, gate: {{ min_psnr_db: {wanted} }} }}\n"),
    );
    folder.succeed("quantize recipe.yaml --out out");
    let after = report(&folder);
    let after = &after["artifacts"][0];
    assert!(after["psnr_db"]["mean"].as_f64().unwrap() >= wanted);
    assert!(after["bytes"].as_u64() > before["bytes"].as_u64());
    let kept = after["mixture"]["kept"].as_u64().unwrap();
    let int8 = |artifact: &Value| artifact["nodes"]["int8"].as_u64().unwrap();
    assert_eq!(int8(before) - int8(after), kept);
    assert!(kept > 0 && int8(after) > 0);
    // One node fewer was measured, and was not enough.
    let points = after["mixture"]["points"].as_array().unwrap();
    assert!(points.iter().any(|p| p["kept"] == kept - 1), "{points:?}");
    let plan = after["plan"].as_array().unwrap();
    let sensitive = plan
        .iter()
        .filter(|n| n["reason"].as_str().unwrap().contains("alone costs"));
    assert_eq!(sensitive.count() as u64, kept);
}

#[test]
fn a_gate_that_no_mixture_meets_is_missed() {
    let folder = Folder::with_images();
    with_artifacts(
        &folder,
        "  - { precision: int8, gate: { min_psnr_db: 190 } }\n",
    );
    let outcome = folder.run("quantize recipe.yaml --out out");
    outcome.assert_code(1);
    let report = report(&folder);
    let artifact = &report["artifacts"][0];
    assert_eq!(artifact["mixture"]["kept"], 0);
    assert!(artifact["nodes"]["int8"].as_u64().unwrap() > 2);
    assert_eq!(artifact["passed"], false);
}
