//! The predictions for `ort-cpu`, node by node, against what onnxruntime made of the same models.
//!
//! The golden files are made by `tests/golden/ort_fusion/generate.py`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde_json::Value;
use tilecast::report::PredictionFacts;
use tilecast::{
    Context, ConvertCheck, ConvertPrecision, ConvertSettings, Int8Extent, Silent, convert,
};

static NEVER: AtomicBool = AtomicBool::new(false);

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// The model of this name, wherever it is.
fn find(name: &str) -> PathBuf {
    let places = ["models", "models/exports"].map(|p| repository(p).join(format!("{name}.onnx")));
    places.into_iter().find(|p| p.exists()).unwrap()
}

fn predicted(name: &str) -> PredictionFacts {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    std::fs::create_dir(&images).unwrap();
    let image = repository("calibration/noisy/01-s10-256x256.png");
    std::fs::copy(image, images.join("1.png")).unwrap();
    let settings = ConvertSettings {
        model: find(name),
        to: ConvertPrecision::Int8,
        range_source: tilecast::RangeSource::Static,
        output: folder.path().join("out.onnx"),
        calibration: Some(images),
        table: None,
        range: "percentile".to_owned(),
        target: "ort-cpu".to_owned(),
        tile_px: 64,
        memory_bytes: 2 << 30,
        preprocess: None,
        simplify: true,
        convert_io: false,
        keep_io: Vec::new(),
        strip_metadata: false,
        // More of the runtime's rules than where it pays.
        int8: Int8Extent::Everywhere,
        check: ConvertCheck::Refuse,
        bind: Vec::new(),
    };
    let outcome = convert(&settings, &Context::new(&Silent, &NEVER)).unwrap();
    outcome.prediction.unwrap()
}

#[test]
fn onnxruntime_runs_every_node_as_predicted() {
    let mut golden: Vec<PathBuf> = std::fs::read_dir(repository("tests/golden/ort_fusion"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    golden.sort();
    assert!(golden.len() > 5, "{golden:?}");
    let mut wrong = Vec::new();
    for path in golden {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let answers: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let prediction = predicted(name);
        assert!(prediction.int8 > 0 && prediction.float > 0, "{name}");
        for node in &prediction.nodes {
            let answer = answers["nodes"][&node.node].as_str();
            // Float nodes may be gone too: the runtime fuses them among themselves. So may a Transpose of integers: the
            // runtime moves these about under new names, or into the next product.
            let agrees = match node.runs {
                "int8" if node.op == "Transpose" => matches!(answer, Some("int8" | "gone")),
                "int8" => answer == Some("int8"),
                "inside" => answer == Some("gone"),
                _ => answer.is_some_and(|a| a != "int8"),
            };
            if !agrees {
                wrong.push(format!("{name}: {node:?} is {answer:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
