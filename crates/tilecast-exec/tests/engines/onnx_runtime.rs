//! What holds for ONNX Runtime alone. Without the feature `ort`, or without the library, each test ends where it opens it.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use tilecast_exec::{Engine, HostTensor, LibrarySearch, OpenOrtError, OrtEngine, SessionOptions};
use tilecast_onnx::{DataType, Model, SaveOptions, node};

use crate::{Small, assert_identical, onnx_runtime, sample, tensor};

const DIMS: [usize; 4] = [1, 3, 48, 64];

fn options() -> SessionOptions {
    SessionOptions {
        input_shapes: vec![("input".into(), DIMS.to_vec())],
        ..SessionOptions::default()
    }
}

fn run(engine: &OrtEngine, model: &Model) -> HostTensor {
    let session = engine.load(model, &options()).unwrap();
    session.run(&[tensor(1, &DIMS)]).unwrap().remove(0)
}

#[test]
fn a_build_without_the_engine_and_a_missing_library_are_told_apart() {
    let missing = LibrarySearch::at(PathBuf::from("no/such/library"));
    let error = OrtEngine::open(&missing).unwrap_err();
    if matches!(error, OpenOrtError::NotBuilt) {
        assert!(error.to_string().contains("--features ort"), "{error}");
        return;
    }
    let said = error.to_string();
    assert!(
        said.contains("no/such/library") && said.contains("ORT_DYLIB_PATH"),
        "{said}"
    );
    let Some(engine) = onnx_runtime() else { return };
    assert!(engine.version().starts_with("1."), "{}", engine.version());
    // One library per process, and a file that is none is no panic.
    let text = LibrarySearch::at(PathBuf::from("Cargo.toml"));
    let said = OrtEngine::open(&text).unwrap_err().to_string();
    assert!(said.contains("Cargo.toml"), "{said}");
}

#[test]
fn external_data_is_read_from_the_file_or_from_a_copy_of_what_is_in_memory() {
    let Some(engine) = onnx_runtime() else { return };
    let embedded = sample("nafnet-denoise.onnx");
    let expected = run(&engine, &embedded);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("external.onnx");
    let small = SaveOptions {
        largest_single_file: 0,
    };
    embedded.save_with(&path, &small).unwrap();
    let mut external = Model::load(&path).unwrap();
    assert!(external.stored_bytes() > external.encoded_len() as u64);
    let from_file = run(&engine, &external);
    assert_identical("from the file", from_file.data(), expected.data());
    // Changed in memory: the file says something else now, and is not what is run.
    let graph = external.proto_mut().graph.as_mut().unwrap();
    graph.name = Some("renamed".into());
    let copied = run(&engine, &external);
    assert_identical("from a copy", copied.data(), expected.data());
}

#[test]
fn sixteen_bit_inputs_and_outputs_are_converted() {
    let Some(engine) = onnx_runtime() else { return };
    for (data_type, expected) in [
        (DataType::F16, [1.0, 0.099_975_586]),
        (DataType::BF16, [1.0, 0.100_097_656]),
    ] {
        let mut graph = Small::new(&[1, 2], vec![node("Identity", "n", &["x"], &["y"])], vec![]);
        graph.input.0 = data_type;
        graph.output = data_type;
        let y = graph.run(&engine, &HostTensor::new(vec![1, 2], vec![1.0003, 0.1]));
        assert_identical(&data_type.to_string(), y.data(), &expected);
    }
}

#[test]
fn what_it_cannot_do_is_refused_with_the_reason() {
    let Some(engine) = onnx_runtime() else { return };
    let model = sample("nafnet-denoise.onnx");
    let refused = |options: &SessionOptions| engine.load(&model, options).unwrap_err().to_string();
    let observed = SessionOptions {
        observe: vec!["/intro/Conv_output_0".into()],
        ..options()
    };
    let said = refused(&observed);
    assert!(
        said.contains("/intro/Conv_output_0") && said.contains("use tract"),
        "{said}"
    );
    let said = refused(&SessionOptions::default());
    assert!(said.contains("give a concrete shape"), "{said}");
    let unknown = Small::new(&[1, 2], vec![node("NoSuch", "n", &["x"], &["y"])], vec![]);
    let said = unknown.load(&engine).unwrap_err().to_string();
    assert!(said.contains("NoSuch"), "{said}");
    let session = engine.load(&model, &options()).unwrap();
    let said = session
        .run(&[tensor(1, &[1, 3, 16, 16])])
        .unwrap_err()
        .to_string();
    assert!(said.contains("the session was prepared for"), "{said}");
}

#[test]
fn threads_share_a_session_and_runs_give_the_same_bits() {
    let Some(engine) = onnx_runtime() else { return };
    let model = sample("nafnet-denoise.onnx");
    for threads in [1, 2] {
        let engine = engine
            .clone()
            .with_threads(NonZeroUsize::new(threads).unwrap());
        let session = engine.load(&model, &options()).unwrap();
        let inputs = [tensor(1, &DIMS)];
        let first = session.run(&inputs).unwrap();
        let run = || session.run(&inputs).unwrap();
        let others = std::thread::scope(|scope| {
            let threads = [scope.spawn(run), scope.spawn(run)];
            threads.map(|thread| thread.join().unwrap())
        });
        for other in others {
            assert_identical("repeated run", other[0].data(), first[0].data());
        }
    }
}

#[test]
fn the_predicted_peak_is_near_that_of_the_other_engine() {
    let Some(engine) = onnx_runtime() else { return };
    let model = sample("nafnet-denoise.onnx");
    let peak = |engine: &dyn Engine| engine.load(&model, &options()).unwrap().peak_live_bytes();
    let (ours, tracts) = (peak(&engine), peak(&tilecast_exec::TractEngine::new()));
    assert!(
        ours > tracts / 2 && ours < 2 * tracts,
        "{ours} and {tracts}"
    );
}
