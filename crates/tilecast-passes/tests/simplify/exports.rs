//! Real exports and the sample models: what the engine makes of them is what ONNX Runtime did, and simplifying them for
//! any target changes no output.

use std::fs;

use tilecast_onnx::Model;
use tilecast_passes::{SimplifyOptions, TARGETS, simplify};

use crate::common::{models_folder, run_values, sample};

/// Most that simplifying may change an output, as a share of its range.
const TOLERANCE: f32 = 1e-4;

/// The architectures of `golden/index.tsv`, a test for each: they run side by side.
const ARCHITECTURES: [&str; 8] = [
    "nafnet",
    "nafnet-pad",
    "unet-bn",
    "unet-mobile",
    "realesrgan-x4v3",
    "realesrgan-x4plus",
    "swinir",
    "restormer",
];

/// A row of `golden/index.tsv`.
struct Golden {
    /// Name of the export, without the extension.
    name: String,
    architecture: String,
    height: usize,
    width: usize,
    seed: u64,
    n_outputs: usize,
    /// Every `stride`-th element of the output.
    values: Vec<f32>,
    stride: usize,
    max_abs_error: f32,
}

/// Every row of the index.
fn goldens() -> Vec<Golden> {
    let folder = models_folder().join("exports/golden");
    let index = fs::read_to_string(folder.join("index.tsv")).unwrap();
    let mut lines = index.lines();
    let columns: Vec<&str> = lines.next().unwrap().split('\t').collect();
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            let cell = |name: &str| cells[columns.iter().position(|&c| c == name).unwrap()];
            let bytes = fs::read(folder.join(cell("golden"))).unwrap();
            let dims = cell("output_shape").split('x');
            Golden {
                name: cell("file").trim_end_matches(".onnx").to_owned(),
                architecture: cell("architecture").to_owned(),
                height: cell("height").parse().unwrap(),
                width: cell("width").parse().unwrap(),
                seed: cell("input_seed").parse().unwrap(),
                n_outputs: dims.map(|d| d.parse::<usize>().unwrap()).product(),
                values: bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|&b| f32::from_le_bytes(b))
                    .collect(),
                stride: cell("stride").parse().unwrap(),
                max_abs_error: cell("max_abs_error").parse().unwrap(),
            }
        })
        .collect()
}

/// The input that the goldens were computed for: floats in [0, 1) from an integer hash of seed and position.
fn golden_input(seed: u64, n: usize) -> Vec<f32> {
    const MASK: u64 = 0xffff_ffff;
    (0..n as u64)
        .map(|i| {
            let mut x = (i + seed * 0x9e37_79b1) & MASK;
            x = ((x ^ (x >> 16)) * 0x7feb_352d) & MASK;
            x = ((x ^ (x >> 15)) * 0x846c_a68b) & MASK;
            x ^= x >> 16;
            (x >> 8) as f32 / (1 << 24) as f32
        })
        .collect()
}

/// The model simplified for every target; targets that come to the same share one.
fn simplified(name: &str, model: &Model) -> Vec<Model> {
    let mut models: Vec<Model> = Vec::new();
    for target in TARGETS {
        let mut candidate = model.clone();
        let report = simplify(&mut candidate, SimplifyOptions::for_target(target)).unwrap();
        assert!(report.reached_fixpoint(), "{name} for {}", target.name);
        if models.iter().all(|m| m.proto() != candidate.proto()) {
            models.push(candidate);
        }
    }
    models
}

/// Runs the model and its simplified forms on one input; the output of the model.
fn same_output(
    name: &str,
    model: &Model,
    simplified: &[Model],
    dims: &[usize],
    seed: u64,
) -> Vec<f32> {
    let run = |model: &Model| {
        let input = golden_input(seed, dims.iter().product());
        run_values(model, dims.to_vec(), input)
    };
    let expected = run(model);
    let low = expected.iter().copied().fold(f32::INFINITY, f32::min);
    let high = expected.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for candidate in simplified {
        let found = run(candidate);
        assert_eq!(found.len(), expected.len(), "{name} at {dims:?}");
        let difference = max_abs(&expected, &found);
        assert!(
            difference <= TOLERANCE * (high - low),
            "{name} at {dims:?}: {difference}"
        );
    }
    expected
}

/// The largest absolute difference; infinite where one is not a number.
fn max_abs(a: &[f32], b: &[f32]) -> f32 {
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |most, d| {
        if d.is_nan() {
            f32::INFINITY
        } else {
            d.max(most)
        }
    })
}

/// Checks every export of an architecture at every size that the index has.
fn check(architecture: &str) {
    let mut rows: Vec<Golden> = goldens();
    rows.retain(|row| row.architecture == architecture);
    assert!(!rows.is_empty(), "{architecture}");
    for of_one_export in rows.chunk_by(|a, b| a.name == b.name) {
        let name = &of_one_export[0].name;
        let model = sample(&format!("exports/{name}"));
        let simplified = simplified(name, &model);
        for row in of_one_export {
            let dims = [1, 3, row.height, row.width];
            let output = same_output(name, &model, &simplified, &dims, row.seed);
            assert_eq!(output.len(), row.n_outputs, "{name} at {dims:?}");
            let sampled: Vec<f32> = output.into_iter().step_by(row.stride).collect();
            assert_eq!(sampled.len(), row.values.len(), "{name} at {dims:?}");
            let error = max_abs(&sampled, &row.values);
            assert!(error <= row.max_abs_error, "{name} at {dims:?}: {error}");
        }
    }
}

#[test]
fn every_export_of_the_index_has_its_test_and_its_file() {
    let rows = goldens();
    for row in &rows {
        let architecture = row.architecture.as_str();
        assert!(ARCHITECTURES.contains(&architecture), "{architecture}");
    }
    let files = fs::read_dir(models_folder().join("exports")).unwrap();
    for file in files {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|e| e == "onnx") {
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(rows.iter().any(|row| row.name == name), "{name}");
        }
    }
}

#[test]
fn nafnet_exports() {
    check(ARCHITECTURES[0]);
}

#[test]
fn nafnet_exports_that_pad_themselves() {
    check(ARCHITECTURES[1]);
}

#[test]
fn unet_exports() {
    check(ARCHITECTURES[2]);
}

#[test]
fn mobile_unet_exports() {
    check(ARCHITECTURES[3]);
}

#[test]
fn compact_realesrgan_exports() {
    check(ARCHITECTURES[4]);
}

#[test]
fn realesrgan_exports() {
    check(ARCHITECTURES[5]);
}

#[test]
fn swinir_exports() {
    check(ARCHITECTURES[6]);
}

#[test]
fn restormer_exports() {
    check(ARCHITECTURES[7]);
}

#[test]
fn sample_models() {
    for name in ["nafnet-denoise", "srvgg-x2"] {
        let model = sample(name);
        let simplified = simplified(name, &model);
        for dims in [[1, 3, 64, 64], [1, 3, 70, 53]] {
            same_output(name, &model, &simplified, &dims, 1);
        }
    }
}
