//! Models that were exported for one size: they compute there what PyTorch does, and are refused elsewhere.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use tilecast::{
    Context, EngineChoice, Failure, FailureKind, RunOutcome, RunSettings, Silent, TileSelection,
    run,
};
use tilecast_exec::{Engine, HostTensor, SessionOptions, TractEngine};
use tilecast_onnx::Model;
use tilecast_tile::{Rect, read_image, write_image};

const HEIGHT: usize = 64;
const WIDTH: usize = 48;

/// Every so many elements of the output are in the golden file.
const STRIDE: usize = 7;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// The input of the golden outputs: `values(1, ..)` of `models/exports/how/export.py`.
fn values(n: u32) -> Vec<f32> {
    let value = |index: u32| {
        let mut x = index.wrapping_add(0x9E37_79B1);
        x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
        x = (x ^ (x >> 15)).wrapping_mul(0x846C_A68B);
        x ^= x >> 16;
        (x >> 8) as f32 / (1 << 24) as f32
    };
    (0..n).map(value).collect()
}

#[test]
fn exports_of_one_size_compute_what_pytorch_computes() {
    for (name, scale) in [("nafnet-pad-dy20-48x64", 1), ("swinir-ts17-48x64", 2)] {
        let model = Model::load(&repository(&format!("models/fixed/{name}.onnx"))).unwrap();
        let golden = repository(&format!("models/fixed/golden/{name}.bin"));
        let golden = std::fs::read(golden).unwrap();
        let (golden, rest) = golden.as_chunks::<4>();
        assert!(rest.is_empty());
        // The model says its size: nothing has to be given.
        let session = TractEngine::new()
            .load(&model, &SessionOptions::default())
            .unwrap();
        let dims = vec![1, 3, HEIGHT, WIDTH];
        let n = u32::try_from(3 * HEIGHT * WIDTH).unwrap();
        let output = session
            .run(&[HostTensor::new(dims, values(n))])
            .unwrap()
            .remove(0);
        assert_eq!(output.dims(), [1, 3, HEIGHT * scale, WIDTH * scale]);
        let found = output.data().iter().step_by(STRIDE);
        assert_eq!(found.len(), golden.len(), "{name}");
        let expected: Vec<f32> = golden.iter().map(|&b| f32::from_le_bytes(b)).collect();
        let highest = expected.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let lowest = expected.iter().copied().fold(f32::INFINITY, f32::min);
        let worst = found
            .zip(&expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(worst <= 1e-4 * (highest - lowest), "{name}: {worst}");
    }
}

/// `run` on a part of an image, of this size.
fn run_part(model: &str, height: usize, width: usize) -> Result<RunOutcome, Failure> {
    let folder = tempfile::tempdir().unwrap();
    let image = read_image(&repository("calibration/noisy/01-s10-256x256.png")).unwrap();
    let part = Rect {
        top: 0,
        left: 0,
        height,
        width,
    };
    let input = folder.path().join("in.png");
    write_image(&input, &image.crop(part, 1)).unwrap();
    let never = AtomicBool::new(false);
    run(
        &RunSettings {
            model: repository(model),
            input,
            output: folder.path().join("out.png"),
            tiles: TileSelection::Side(512),
            mode: tilecast::TileMode::Exact,
            preview: None,
            preprocess: None,
            sweeps: None,
            local_window: None,
            memory_bytes: 2 << 30,
            engine: EngineChoice::Tract,
        },
        &Context::new(&Silent, &never),
    )
}

#[test]
fn they_run_at_their_size_and_say_why_not_at_another() {
    for (name, scale, refusal) in [
        // Its halo of 24 px leaves nothing of 48 px.
        ("nafnet-pad-dy20-48x64", 1, "the minimum is 56 px"),
        ("swinir-ts17-48x64", 2, "looks at the whole image"),
    ] {
        let model = format!("models/fixed/{name}.onnx");
        let outcome = run_part(&model, HEIGHT, WIDTH).unwrap();
        let image = &outcome.images[0];
        assert_eq!((image.tiles, image.tile_width), (1, WIDTH), "{name}");
        assert_eq!((image.width, image.height), (WIDTH * scale, HEIGHT * scale));
        let refused = run_part(&model, HEIGHT, 2 * WIDTH).unwrap_err();
        assert_eq!(refused.kind(), FailureKind::Usage);
        assert!(refused.to_string().contains(refusal), "{refused}");
    }
}
