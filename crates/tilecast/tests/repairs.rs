//! `lint: fix`: a model that was exported in training mode is refused, and repaired where the recipe asks for it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde_json::Value;
use tilecast::report::Gates;
use tilecast::{
    Context, EngineChoice, Failure, LibrarySearch, QuantizeSettings, Quantized, Silent,
    VerifySettings, quantize, verify,
};
use tilecast_onnx::{Model, attribute};

static NEVER: AtomicBool = AtomicBool::new(false);

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// The main job on a model in `folder`, with this `lint` in its recipe.
fn run(folder: &Path, model: &str, lint: &str) -> Result<Quantized, Failure> {
    let text = format!(
        "version: 1\nmodel: {model}\ncalibration: {{ images: images, holdout: 0.5 }}\nartifacts: [{{ precision: fp16, gate: {{ min_psnr_db: 50 }} }}]\ntiling: {{ validate_tile: 128 }}\nlint: {lint}\n"
    );
    let recipe = folder.join("job.yaml");
    std::fs::write(&recipe, text).unwrap();
    let settings = QuantizeSettings {
        recipe,
        out: Some(folder.join("out")),
        overrides: Vec::new(),
        cache: None,
        judging: tilecast::Judging::default(),
        onnxruntime: LibrarySearch::default(),
    };
    quantize(&settings, &Context::new(&Silent, &NEVER))
}

#[test]
fn batch_norms_in_training_mode_are_frozen_where_the_recipe_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let images = folder.join("images");
    std::fs::create_dir(&images).unwrap();
    for name in ["01-s10-256x256.png", "02-s25-300x260.png"] {
        let from = repository("calibration/noisy").join(name);
        std::fs::copy(from, images.join(name)).unwrap();
    }
    let right = repository("models/exports/unet-bn-ts17.onnx");
    let mut model = Model::load(&right).unwrap();
    let graph = model.proto_mut().graph.as_mut().unwrap();
    let mut n_norms = 0;
    for node in &mut graph.node {
        if node.is("BatchNormalization") {
            node.attribute
                .retain(|a| a.name.as_deref() != Some("training_mode"));
            node.attribute.push(attribute::int("training_mode", 1));
            n_norms += 1;
        }
    }
    assert!(n_norms > 0);
    model.save(&folder.join("training.onnx")).unwrap();

    let refused = run(folder, "training.onnx", "{}").unwrap_err();
    assert!(refused.to_string().contains("H16"), "{refused}");
    assert!(refused.help().unwrap().contains("fix: [H16]"));

    let made = run(folder, "training.onnx", "{ fix: [h16] }").unwrap();
    let report: Value = serde_json::to_value(&made.report).unwrap();
    assert_eq!(report["passed"], true);
    assert_eq!(report["fixes"][0]["pass"], "freeze_batch_norm");
    assert_eq!(report["fixes"][0]["declined"], serde_json::json!([]));
    // It is the network that was trained.
    let verified = verify(
        &VerifySettings {
            reference: right,
            candidate: made.folder.join("training-fp16-generic.onnx"),
            images,
            references: None,
            tile_px: None,
            sweeps: None,
            local_window: None,
            memory_bytes: 2 << 30,
            engine: EngineChoice::Tract,
            preprocess: None,
            judging: tilecast::Judging::default(),
            error_maps: None,
            gates: Gates {
                min_psnr_db: Some(50.0),
                ..Gates::default()
            },
        },
        &Context::new(&Silent, &NEVER),
    )
    .unwrap();
    assert!(verified.quality.passed);
}
