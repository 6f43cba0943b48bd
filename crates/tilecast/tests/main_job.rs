//! The main job on the sample recipe, once: what it promises, and that onnxruntime agrees with its figures.
//!
//! The golden figures are made by `tests/golden/ort/generate.py` from the folder that the main job writes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde_json::Value;
use tilecast::report::Gates;
use tilecast::{
    Context, EngineChoice, Judging, LibrarySearch, QuantizeSettings, Silent, VerifySettings,
    quantize, verify,
};

static NEVER: AtomicBool = AtomicBool::new(false);

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Copies the held-out images that `keep` selects into a folder of their own.
fn holdout(report: &Value, folder: &Path, keep: impl Fn(&Value) -> bool) {
    std::fs::create_dir_all(folder).unwrap();
    for image in report["artifacts"][0]["images"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|i| keep(i))
    {
        let name = image["name"].as_str().unwrap();
        std::fs::copy(
            repository("calibration/noisy").join(name),
            folder.join(name),
        )
        .unwrap();
    }
}

fn is_small(image: &Value) -> bool {
    image["width"]
        .as_u64()
        .unwrap()
        .max(image["height"].as_u64().unwrap())
        <= 512
}

/// `verify` of two models on a folder, as JSON.
fn compare(reference: &Path, candidate: &Path, images: &Path, tile_px: Option<usize>) -> Value {
    let settings = VerifySettings {
        reference: reference.to_owned(),
        candidate: candidate.to_owned(),
        images: images.to_owned(),
        references: None,
        tile_px,
        sweeps: None,
        local_window: None,
        memory_bytes: 2 << 30,
        engine: EngineChoice::Tract,
        preprocess: None,
        gates: Gates::default(),
        judging: Judging::default(),
        error_maps: None,
    };
    serde_json::to_value(verify(&settings, &Context::new(&Silent, &NEVER)).unwrap()).unwrap()
}

#[test]
fn the_sample_recipe_gives_verified_release_models() {
    let folder = tempfile::tempdir().unwrap();
    let settings = QuantizeSettings {
        recipe: repository("recipes/nafnet.yaml"),
        out: Some(folder.path().join("dist")),
        overrides: Vec::new(),
        cache: None,
        onnxruntime: LibrarySearch::default(),
        judging: Judging::default(),
    };
    let dist = quantize(&settings, &Context::new(&Silent, &NEVER))
        .unwrap()
        .folder;
    let report = read_json(&dist.join("report.json"));

    files_are_what_the_report_says(&report, &dist);
    quality_is_as_promised(&report);
    tiling_is_reported_apart(&report);
    hazards_are_named(&report);
    holdout_takes_every_stratum(&report);

    let small = folder.path().join("small");
    holdout(&report, &small, is_small);
    onnxruntime_agrees(&report, &dist, &small);

    let large = folder.path().join("large");
    holdout(&report, &large, |image| !is_small(image));
    larger_tiles_come_closer(&report, &large);
}

fn artifacts(report: &Value) -> impl Iterator<Item = &Value> {
    report["artifacts"].as_array().unwrap().iter()
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

fn files_are_what_the_report_says(report: &Value, dist: &Path) {
    let mut expected: Vec<String> = ["SHA256SUMS", "report.html", "report.json", "report.md"]
        .map(String::from)
        .to_vec();
    for artifact in artifacts(report) {
        let path = artifact["path"].as_str().unwrap();
        assert_eq!(
            std::fs::metadata(dist.join(path)).unwrap().len(),
            artifact["bytes"].as_u64().unwrap()
        );
        expected.push(path.to_owned());
        expected.push(artifact["tiling_contract"].as_str().unwrap().to_owned());
    }
    expected.sort();
    let mut found: Vec<String> = std::fs::read_dir(dist)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, expected, "artifacts and report, and no leftovers");
}

fn quality_is_as_promised(report: &Value) {
    assert_eq!(report["passed"], true);
    let mut kinds = Vec::new();
    for artifact in artifacts(report) {
        kinds.push((
            artifact["precision"].as_str().unwrap(),
            artifact["target"].as_str().unwrap(),
        ));
        let (bytes, psnr, truth) = (
            number(&artifact["bytes_ratio"]),
            &artifact["psnr_db"],
            &artifact["truth"],
        );
        let name = &artifact["name"];
        if artifact["precision"] == "fp16" {
            assert!(
                number(&psnr["min"]) >= 60.0 && bytes <= 0.52,
                "{name}: {psnr}, {bytes}"
            );
        } else {
            assert!(
                number(&psnr["mean"]) >= 46.0 && number(&psnr["min"]) >= 44.0,
                "{name}: {psnr}"
            );
            assert!(bytes <= 0.36, "{name}: {bytes}");
        }
        assert!(
            number(&truth["drop_db"]) <= 0.15 && number(&truth["worst_drop_db"]) <= 0.5,
            "{name}: {truth}"
        );
        assert!(number(&artifact["ssim"]["mean"]) >= 0.99, "{name}");
    }
    assert_eq!(
        kinds,
        [
            ("fp16", "generic"),
            ("int8", "generic"),
            ("int8", "ort-cpu")
        ]
    );
    let counts = |index: usize| &report["artifacts"][index]["nodes"];
    // Both targets run the same operators in INT8; ort-cpu leaves some of them where they are no faster.
    let convolutions = |index: usize, wanted: &dyn Fn(&Value) -> bool| -> BTreeSet<String> {
        let plan = report["artifacts"][index]["plan"].as_array().unwrap();
        let found = plan.iter().filter(|n| n["op"] == "Conv" && wanted(n));
        // Where a Split follows, ort-cpu has one convolution per part.
        let name = |n: &Value| {
            let name = n["node"].as_str().unwrap();
            let part = |digit| name.strip_suffix(&format!("_part{digit}"));
            part(0).or_else(|| part(1)).unwrap_or(name).to_owned()
        };
        found.map(name).collect()
    };
    let is_int8 = |n: &Value| n["precision"] == "int8";
    let is_left = |n: &Value| {
        n["reason"]
            .as_str()
            .unwrap()
            .starts_with("INT8 is no faster")
    };
    let (everywhere, worthwhile) = (convolutions(1, &is_int8), convolutions(2, &is_int8));
    let left = convolutions(2, &is_left);
    assert!(!left.is_empty() && !worthwhile.is_empty());
    // Before a pixel shuffle, the target has a transposed convolution instead, which has no INT8 there.
    let transposed: BTreeSet<String> = report["artifacts"][2]["plan"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|n| n["op"] == "ConvTranspose")
        .map(|n| {
            n["node"]
                .as_str()
                .unwrap()
                .trim_end_matches("_transposed")
                .to_owned()
        })
        .collect();
    assert_eq!(transposed.len(), 3);
    assert_eq!(everywhere, &(&worthwhile | &left) | &transposed);
    // A GPU computes the rest in FP16, but for pools whose sums leave it.
    for artifact in artifacts(report).take(2) {
        for node in artifact["plan"].as_array().unwrap() {
            let reason = node["reason"].as_str().unwrap();
            assert!(
                node["precision"] != "fp32"
                    || (node["op"] == "GlobalAveragePool"
                        && reason.starts_with("a sum inside may reach")),
                "{node}"
            );
        }
    }
    assert!(
        number(&counts(2)["fp32"]) > 0.0,
        "ort-cpu computes the rest in FP32"
    );
}

fn tiling_is_reported_apart(report: &Value) {
    let tiling = &report["tiling"];
    assert_eq!(
        (&tiling["tile"], &tiling["alignment_px"]),
        (&256.into(), &16.into())
    );
    assert_eq!(
        (&tiling["mode"], &tiling["equivalence"]),
        (&"exact".into(), &"approximate".into())
    );
    assert!(
        number(&tiling["error"]["psnr_db"]["min"]) >= 52.0,
        "{tiling}"
    );
    for artifact in artifacts(report) {
        assert_eq!(artifact["tiling_error"], tiling["error"]);
        for image in artifact["images"].as_array().unwrap() {
            assert_eq!(
                image["tiles"] == 1,
                image["tiling_psnr_db"].is_null(),
                "{image}"
            );
        }
    }
    let tiles = |name: &str| {
        let images = report["artifacts"][0]["images"].as_array().unwrap();
        images.iter().find(|i| i["name"] == name).unwrap()["tiles"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(tiles("04-s05-256x256.png"), 1);
    assert!(tiles("20-s10-1024x1024.png") > 1 && tiles("24-s25-1024x1024.png") > 1);
}

fn hazards_are_named(report: &Value) {
    let findings = report["lint"].as_array().unwrap();
    let pools: Vec<_> = findings
        .iter()
        .filter(|f| f["severity"] == "warning")
        .collect();
    assert_eq!(pools.len(), 12);
    assert!(
        pools
            .iter()
            .all(|f| f["node"].as_str().unwrap().ends_with("GlobalAveragePool"))
    );
    assert!(findings.iter().all(|f| f["severity"] != "error"));
}

fn holdout_takes_every_stratum(report: &Value) {
    let names: Vec<&str> = report["calibration"]["holdout"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["name"].as_str().unwrap())
        .collect();
    for stratum in ["s05", "s10", "s25", "s40"] {
        assert!(
            names.iter().any(|n| n.contains(stratum)),
            "{stratum} in {names:?}"
        );
    }
    assert_eq!(names.iter().filter(|n| n.contains("1024x1024")).count(), 2);
    let calibrated = report["calibration"]["images"].as_array().unwrap();
    assert!(
        calibrated
            .iter()
            .all(|f| !names.contains(&f["name"].as_str().unwrap()))
    );
}

/// Our figures against those of onnxruntime 1.31.1 on the same whole images: INT8 as shipped, FP16 with a Cast to
/// float16 and back after every node.
fn onnxruntime_agrees(report: &Value, dist: &Path, images: &Path) {
    let golden = read_json(&repository("tests/golden/ort/figures.json"));
    for artifact in artifacts(report) {
        let expected = &golden["artifacts"][artifact["name"].as_str().unwrap()]["psnr_db"];
        let candidate = dist.join(artifact["path"].as_str().unwrap());
        let ours = compare(
            &repository("models/nafnet-denoise.onnx"),
            &candidate,
            images,
            None,
        );
        let ours = ours["images"].as_array().unwrap();
        assert_eq!(ours.len(), expected.as_object().unwrap().len());
        for image in ours {
            let difference =
                number(&image["psnr_db"]) - number(&expected[image["name"].as_str().unwrap()]);
            assert!(
                difference.abs() <= 0.5,
                "{}: {image} is {difference} dB off",
                artifact["name"]
            );
        }
    }
}

/// Tiles with a core of 256 px on the 1024² pairs: statistics come from more of the image.
fn larger_tiles_come_closer(report: &Value, images: &Path) {
    let model = repository("models/nafnet-denoise.onnx");
    let halo = report["tiling"]["halo_px"].as_u64().unwrap() as usize;
    let tiled = compare(&model, &model, images, Some(256 + 2 * halo));
    assert_eq!(tiled["tiling"]["core_px"], 256);
    assert_eq!(tiled["max_abs"], 0.0, "the same model, tiled alike");
    let (small, large) = (
        &report["tiling"]["error"]["psnr_db"],
        &tiled["tiling_error"]["psnr_db"],
    );
    assert!(
        number(&large["min"]) >= 52.0 && number(&large["min"]) > number(&small["min"]),
        "{large}"
    );
}
