//! Models whose outputs ONNX Runtime has computed; `golden/generate.py` tells how.

use tilecast_exec::{Engine, HostTensor, SessionOptions, TractEngine};
use tilecast_onnx::Model;
use tilecast_onnx::proto::{DimValue, TypeValue};

use crate::{golden, on_each_engine, onnx_runtime, sample, tensor};

/// How far a result may be from the golden one: `abs + rel * |golden|`, but for a few elements.
struct Tolerance {
    abs: f32,
    rel: f32,
    /// Elements that may be further away: a sum that lands on the other side of a rounding threshold.
    max_outliers: usize,
}

fn golden_floats(name: &str) -> Vec<f32> {
    let bytes = std::fs::read(golden(&format!("{name}.bin"))).unwrap();
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|&b| f32::from_le_bytes(b))
        .collect()
}

/// Compares outputs with the golden file, and reports every output that is off.
#[track_caller]
fn check(name: &str, labels: &[String], outputs: &[HostTensor], tolerance: &Tolerance) {
    let want = golden_floats(name);
    assert_eq!(
        outputs.iter().map(|o| o.data().len()).sum::<usize>(),
        want.len(),
        "{name}"
    );
    let mut want = want.as_slice();
    let mut failures = Vec::new();
    for (label, output) in labels.iter().zip(outputs) {
        let (expected, rest) = want.split_at(output.data().len());
        want = rest;
        let error =
            |(&got, &want): (&f32, &f32)| if got == want { 0.0 } else { (got - want).abs() };
        let inside = |(got, want): (&f32, &f32)| {
            // Equal infinities are equal; a NaN is not inside.
            got == want || (got - want).abs() <= tolerance.abs + tolerance.rel * want.abs()
        };
        let pairs = || output.data().iter().zip(expected);
        let outliers = pairs().filter(|&pair| !inside(pair)).count();
        if outliers > tolerance.max_outliers {
            let worst = pairs().map(error).fold(0.0, f32::max);
            failures.push(format!(
                "{label} {:?}: {outliers} off, worst {worst:e}",
                output.dims()
            ));
        }
    }
    assert!(failures.is_empty(), "{name}:\n{}", failures.join("\n"));
}

fn output_names(model: &Model) -> Vec<String> {
    model
        .graph_proto()
        .output
        .iter()
        .map(|o| o.name.clone().unwrap())
        .collect()
}

#[test]
fn sample_models_compute_what_onnx_runtime_computes() {
    on_each_engine(|engine| {
        let tolerance = Tolerance {
            abs: 2e-5,
            rel: 0.0,
            max_outliers: 0,
        };
        for (name, dims, output_dims) in [
            ("nafnet-denoise", [1, 3, 80, 96], [1, 3, 80, 96]),
            ("srvgg-x2", [1, 3, 20, 33], [1, 3, 40, 66]),
        ] {
            let model = sample(&format!("{name}.onnx"));
            let options = SessionOptions {
                input_shapes: vec![("input".into(), dims.to_vec())],
                ..SessionOptions::default()
            };
            let session = engine.load(&model, &options).unwrap();
            let outputs = session.run(&[tensor(1, &dims)]).unwrap();
            assert_eq!(outputs[0].dims(), output_dims);
            check(name, &output_names(&model), &outputs, &tolerance);
        }
    });
}

/// Runs a golden model on its seeded input and checks the shapes that it declares.
fn run(
    engine: &dyn Engine,
    name: &str,
    seed: u32,
    dims: &[usize],
) -> (Vec<String>, Vec<HostTensor>) {
    let model = Model::load(&golden(&format!("{name}.onnx"))).unwrap();
    let session = engine.load(&model, &SessionOptions::default()).unwrap();
    let outputs = session.run(&[tensor(seed, dims)]).unwrap();
    for (declared, output) in model.graph_proto().output.iter().zip(&outputs) {
        let Some(TypeValue::Tensor(declared)) = &declared.r#type.as_ref().unwrap().value else {
            panic!("{name}: an output is no tensor");
        };
        let dims: Vec<usize> = declared
            .shape
            .as_ref()
            .unwrap()
            .dim
            .iter()
            .map(|d| match d.value {
                Some(DimValue::DimValue(size)) => size as usize,
                _ => panic!("{name}: a dimension is symbolic"),
            })
            .collect();
        assert_eq!(output.dims(), dims, "{name}");
    }
    (output_names(&model), outputs)
}

#[test]
fn listed_operators_compute_what_onnx_runtime_computes() {
    on_each_engine(|engine| {
        let (labels, outputs) = run(engine, "operators", 2, &[1, 4, 6, 8]);
        check(
            "operators",
            &labels,
            &outputs,
            &Tolerance {
                abs: 2e-6,
                rel: 1e-5,
                max_outliers: 0,
            },
        );
    });
}

#[test]
fn float16_models_compute_what_onnx_runtime_computes_with_every_node_rounded() {
    // One step of float16 is at most 2^-10 of a value; a sum near a tie may be rounded the other way.
    let (labels, outputs) = run(&TractEngine::new(), "half", 3, &[1, 4, 6, 8]);
    check(
        "half",
        &labels,
        &outputs,
        &Tolerance {
            abs: 1e-6,
            rel: 1.0 / 1024.0,
            max_outliers: 0,
        },
    );
    check(
        "half",
        &labels,
        &outputs,
        &Tolerance {
            abs: 0.0,
            rel: 0.0,
            max_outliers: 2,
        },
    );
}

#[test]
fn quantized_models_compute_what_onnx_runtime_computes() {
    let check = |engine: &dyn Engine| {
        let (labels, outputs) = run(engine, "quantized", 4, &[1, 3, 12, 10]);
        check(
            "quantized",
            &labels,
            &outputs,
            &Tolerance {
                abs: 1e-5,
                rel: 0.0,
                max_outliers: 0,
            },
        );
    };
    check(&TractEngine::new());
    if let Some(engine) = onnx_runtime() {
        // Its integer kernels round otherwise, and saturate on some processors.
        check(&engine.without_optimization());
    }
}

#[test]
fn the_golden_files_stay_small() {
    let folder = std::fs::read_dir(golden("")).unwrap();
    let bytes: u64 = folder
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes < 300_000, "{bytes} bytes of golden files");
}
