//! `--json`: one document with a schema, and the keys that other programs read.

use std::fs;

use serde_json::Value;

use crate::support::{Folder, NAFNET, SRVGG, TILE_PX, repository, sample_model};

/// Kind of a value; `number?` may also be null.
fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "number" => value.is_number(),
        "number?" => value.is_number() || value.is_null(),
        "text" => value.as_str().is_some_and(|text| !text.is_empty()),
        "bool" => value.is_boolean(),
        "list" => value.as_array().is_some_and(|list| !list.is_empty()),
        "map" => value.as_object().is_some_and(|map| !map.is_empty()),
        _ => panic!("no kind `{kind}`"),
    }
}

/// Asserts that each key (a JSON pointer without its first slash) is there with this kind of value.
#[track_caller]
fn assert_keys(document: &Value, keys: &[(&str, &str)]) {
    for (key, kind) in keys {
        let value = document.pointer(&format!("/{key}"));
        assert!(
            value.is_some_and(|value| is(value, kind)),
            "`{key}` should be a {kind} and is {value:?}"
        );
    }
}

/// Of `verify` and of each artifact, where there is a ground truth and some image is more than one tile.
const QUALITY: [(&str, &str); 17] = [
    ("psnr_db/mean", "number"),
    ("psnr_db/min", "number"),
    ("psnr_db/pooled", "number"),
    ("ssim/mean", "number"),
    ("ssim/min", "number"),
    ("max_abs", "number"),
    ("delta_e/mean", "number"),
    ("delta_e/max", "number"),
    ("seams/mean_ratio", "number"),
    ("seams/max_dc_step", "number"),
    ("truth/psnr_db", "number"),
    ("truth/drop_db", "number"),
    ("tiling_error/psnr_db/mean", "number"),
    ("images", "list"),
    ("images/0/name", "text"),
    ("images/0/psnr_db", "number"),
    ("passed", "bool"),
];

#[test]
fn quantize_prints_its_report() {
    let folder = Folder::with_images();
    let report = folder.succeed_with_json("quantize recipe.yaml --out out --json");
    let written: Value = serde_json::from_slice(&folder.read("out/report.json")).unwrap();
    assert_eq!(report, written);
    assert_eq!(report["schema"], "tilecast.report/1");
    assert_eq!(report["passed"], true);

    let speed = &report["onnxruntime"];
    if speed["source"] == "measured" {
        let keys = [
            ("version", "text"),
            ("input", "list"),
            ("fp32/latency/0/threads", "number"),
            ("fp32/latency/0/median_ms", "number"),
            ("artifacts/0/latency/0/speedup", "number"),
            ("artifacts/1/psnr_db/mean", "number"),
        ];
        assert_keys(speed, &keys);
    } else {
        assert_eq!(speed["source"], "predicted");
        assert_keys(speed, &[("reason", "text")]);
    }

    let fp32_bytes = folder.read(SRVGG).len() as f64;
    let artifacts = report["artifacts"].as_array().unwrap();
    assert_eq!(artifacts.len(), 2);
    for artifact in artifacts {
        let own = [
            ("name", "text"),
            ("precision", "text"),
            ("target", "text"),
            ("path", "text"),
            ("bytes", "number"),
            ("bytes_ratio", "number"),
            ("nodes", "map"),
        ];
        assert_keys(artifact, &own);
        assert_keys(artifact, &QUALITY);
        let path = format!("out/{}", artifact["path"].as_str().unwrap());
        let bytes = fs::metadata(folder.path(&path)).unwrap().len();
        assert_eq!(artifact["bytes"], bytes);
        let ratio = artifact["bytes_ratio"].as_f64().unwrap();
        assert!((ratio - bytes as f64 / fp32_bytes).abs() < 1e-9, "{ratio}");
        let names: Vec<&Value> = artifact["images"]
            .as_array()
            .unwrap()
            .iter()
            .map(|image| &image["name"])
            .collect();
        assert_eq!(names, ["2.png", "4.png"]);
    }
    let stages = report["stages"].as_array().unwrap();
    for stage in stages {
        assert_keys(
            stage,
            &[
                ("name", "text"),
                ("seconds", "number"),
                ("peak_bytes", "number?"),
            ],
        );
    }
    let names: Vec<&str> = stages.iter().filter_map(|s| s["name"].as_str()).collect();
    for name in ["load", "lint", "calibrate", "rewrite", "save", "validate"] {
        assert!(names.contains(&name), "no stage `{name}` in {names:?}");
    }
}

#[test]
fn inspect_states_geometry_and_memory() {
    let folder = Folder::with_images();
    folder.write(NAFNET, sample_model(NAFNET));
    for (model, halo_px, alignment_px, scale, class) in
        [(NAFNET, 80, 16, 1.0, "C"), (SRVGG, 12, 1, 2.0, "A")]
    {
        let facts = folder.succeed_with_json(&format!("inspect {model} --json"));
        assert_eq!(facts["schema"], "tilecast.inspect/1");
        assert_eq!(facts["halo_px"], halo_px);
        assert_eq!(facts["alignment_px"], alignment_px);
        assert_eq!(facts["scale"], scale);
        assert_eq!(facts["tiling_class"], class);
        assert_keys(&facts, &[("parameters", "number")]);
        assert_eq!(facts["bytes"], folder.read(model).len());
        let peaks: Vec<u64> = ["128", "256", "512", "1024"]
            .iter()
            .map(|side| facts["peak_bytes"][side].as_u64().unwrap())
            .collect();
        assert!(peaks.is_sorted_by(|a, b| a < b), "{peaks:?}");
    }
}

#[test]
fn inspect_knows_how_to_tile_every_export() {
    let exports = repository().join("models/exports");
    for entry in fs::read_dir(exports).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "onnx") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let folder = Folder::new();
        folder.write(name, sample_model(&format!("exports/{name}")));
        let facts = folder.succeed_with_json(&format!("inspect {name} --json"));
        assert_keys(
            &facts,
            &[
                ("parameters", "number"),
                ("bytes_at", "map"),
                ("operators", "map"),
                ("inputs", "list"),
                ("outputs", "list"),
                ("peak_bytes", "map"),
                ("halo_px", "number?"),
            ],
        );
        let unknown =
            ["halo_px", "alignment_px", "scale", "tiling_class"].map(|key| facts[key].is_null());
        assert!(facts["tiling_note"].is_null(), "{name}: {facts}");
        assert_eq!(unknown, [false; 4], "{name}");
    }
}

#[test]
fn lint_lists_the_twelve_global_poolings_of_the_denoiser() {
    let folder = Folder::new();
    folder.write(NAFNET, sample_model(NAFNET));
    let document = folder.succeed_with_json(&format!("lint {NAFNET} --json"));
    assert_eq!(document["schema"], "tilecast.lint/1");
    let findings = document["findings"].as_array().unwrap();
    for finding in findings {
        let keys = ["code", "severity", "node", "message", "help"];
        assert_keys(finding, &keys.map(|key| (key, "text")));
    }
    let mut nodes: Vec<&str> = findings
        .iter()
        .filter(|finding| finding["severity"] == "warning")
        .map(|finding| {
            assert_eq!(finding["code"], "H21");
            finding["node"].as_str().unwrap()
        })
        .collect();
    nodes.dedup();
    assert_eq!(nodes.len(), 12, "{nodes:?}");
    assert!(
        nodes.iter().all(|node| node.ends_with("GlobalAveragePool")),
        "{nodes:?}"
    );
    let same = folder.succeed_with_json(&format!("lint {NAFNET} --format json"));
    assert_eq!(same, document);
}

#[test]
fn lint_speaks_sarif_and_annotations() {
    let folder = Folder::new();
    folder.write(NAFNET, sample_model(NAFNET));
    let document = folder.succeed_with_json(&format!("lint {NAFNET} --format sarif"));
    assert_eq!(document["version"], "2.1.0");
    let run = &document["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 16);
    for result in results {
        let index = result["ruleIndex"].as_u64().unwrap() as usize;
        assert_eq!(rules[index]["id"], result["ruleId"]);
        let location = &result["locations"][0];
        assert_eq!(
            location["physicalLocation"]["artifactLocation"]["uri"],
            NAFNET
        );
        assert!(location["logicalLocations"][0]["fullyQualifiedName"].is_string());
    }
    let text = folder
        .succeed(&format!("lint {NAFNET} --format github"))
        .stdout;
    let warnings = text
        .lines()
        .filter(|line| line.starts_with(&format!("::warning file={NAFNET},title=H21 ")));
    assert_eq!(warnings.count(), 12);
    assert!(text.lines().all(|line| line.starts_with("::")), "{text}");
}

#[test]
fn lint_with_probes_runs_the_model() {
    let folder = Folder::new();
    folder.write(SRVGG, sample_model(SRVGG));
    let document = folder.succeed_with_json(&format!("lint {SRVGG} --probe --json"));
    let probes = document["probes"].as_array().unwrap();
    let agreed = probes.iter().filter(|p| p["agrees"] == true).count();
    assert_eq!((probes.len(), agreed), (5, 4), "{probes:?}");
    let text = folder.succeed(&format!("lint {SRVGG} --probe")).stdout;
    assert!(text.contains("probe[aligned-tile] agrees: "), "{text}");
}

#[test]
fn convert_states_what_it_wrote() {
    let folder = Folder::with_images();
    for (to, more) in [("fp16", ""), ("int8", " --calibration images --tile 64")] {
        let line = format!("convert {SRVGG} --to {to} -o new.onnx --json{more}");
        let document = folder.succeed_with_json(&line);
        assert_eq!(document["schema"], "tilecast.convert/1");
        assert_eq!(document["path"], "new.onnx");
        assert_eq!(document["bytes"], folder.read("new.onnx").len());
        assert_keys(&document, &[("bytes_ratio", "number"), ("nodes", "map")]);
        assert_keys(&document["nodes"], &[(to, "number")]);
        assert_eq!(document["prepare"]["target"], "generic");
        assert_keys(&document["prepare"]["passes"], &[("steps", "list")]);
        assert_eq!(document["prepare"]["checks"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn convert_prepares_the_model_unless_told_not_to() {
    let folder = Folder::new();
    folder.write(NAFNET, sample_model(NAFNET));
    let line = format!("convert {NAFNET} --to fp16 -o new.onnx --json");
    let prepared = folder.succeed_with_json(&line);
    let nodes = [0, 1].map(|i| prepared["prepare"]["passes"]["nodes"][i].as_u64().unwrap());
    assert!(nodes[0] > 2 * nodes[1], "{nodes:?}");
    let as_it_is = folder.succeed_with_json(&format!("{line} --no-simplify"));
    assert_eq!(as_it_is["prepare"], Value::Null);
    let counted = |document: &Value| document["nodes"]["fp16"].as_u64().unwrap();
    assert!(counted(&as_it_is) > counted(&prepared));
}

#[test]
fn verify_has_the_keys_of_an_artifact() {
    let folder = Folder::with_images();
    folder.succeed(&format!("convert {SRVGG} --to fp16 -o half.onnx"));
    let whole = format!("verify {SRVGG} half.onnx --images images --references references --json");

    let tiled = folder.succeed_with_json(&format!("{whole} --tile {TILE_PX}"));
    assert_eq!(tiled["schema"], "tilecast.verify/1");
    assert_keys(&tiled, &QUALITY);
    assert_eq!(tiled["images"].as_array().unwrap().len(), 4);

    // Nothing is tiled here, so there is no error of tiling to state.
    let whole = folder.succeed_with_json(&whole);
    assert_eq!(whole["tiling_error"], Value::Null);
    assert_eq!(whole["passed"], true);
}

#[test]
fn verify_without_references_has_no_truth() {
    let folder = Folder::with_images();
    let line = format!("verify {SRVGG} {SRVGG} --images images --json");
    let document = folder.succeed_with_json(&line);
    assert_eq!(document["truth"], Value::Null);
    // The same model twice: no error at all, which prints as the agreed ceiling.
    assert_eq!(document["psnr_db"]["min"], 200.0);
    assert_eq!(document["max_abs"], 0.0);
}

#[test]
fn run_states_every_image() {
    let folder = Folder::with_images();
    let line = format!("run {SRVGG} images -o results --tile {TILE_PX} --json");
    let document = folder.succeed_with_json(&line);
    assert_eq!(document["schema"], "tilecast.run/1");
    assert_eq!(document["equivalence"], "exact");
    let images = document["images"].as_array().unwrap();
    assert_eq!(images.len(), 4);
    for image in images {
        let keys = [
            ("input", "text"),
            ("output", "text"),
            ("tiles", "number"),
            ("seconds", "number"),
        ];
        assert_keys(image, &keys);
        let size = image::image_dimensions(folder.path(image["output"].as_str().unwrap())).unwrap();
        assert_eq!(
            (&image["width"], &image["height"]),
            (&size.0.into(), &size.1.into())
        );
    }
}
