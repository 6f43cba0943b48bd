//! The size that a model was exported with: opened where nothing depends on it.

use std::collections::BTreeMap;
use std::path::Path;

use tilecast_exec::{Engine, HostTensor, SessionOptions, TractEngine};
use tilecast_onnx::{ImageAxes, InputExtents, Model, bind};
use tilecast_passes::{FoldShapes, OpenSize, RemoveDeadNodes, run_pass};

fn load(path: &str) -> Model {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    Model::load(&models.join(path)).unwrap()
}

/// The model as an export without dynamic axes would be, for images of 64 by 48 pixels: its shapes are numbers.
fn frozen(model: &Model) -> Model {
    let mut frozen = model.clone();
    let name = frozen
        .graph()
        .inputs()
        .next()
        .unwrap()
        .name
        .clone()
        .unwrap();
    let extents = InputExtents::default().with(&name, [1, 3, 64, 48].map(Some).to_vec());
    bind(&mut frozen, &extents, &BTreeMap::new()).unwrap();
    while run_pass(&FoldShapes, &mut frozen).unwrap().changed {
        run_pass(&RemoveDeadNodes, &mut frozen).unwrap();
    }
    frozen
}

fn declared(model: &Model) -> [Option<usize>; 2] {
    let graph = model.graph();
    ImageAxes::of(graph.inputs().next().unwrap()).unwrap().size
}

fn run(model: &Model, [height, width]: [usize; 2]) -> Vec<f32> {
    let n = 3 * height * width;
    let values = (0..n).map(|i| (i * 7919 % 1009) as f32 / 1008.0).collect();
    let name = model.graph().inputs().next().unwrap().name.clone().unwrap();
    let dims = vec![1, 3, height, width];
    let options = SessionOptions {
        input_shapes: vec![(name, dims.clone())],
        ..SessionOptions::default()
    };
    let session = TractEngine::new().load(model, &options).unwrap();
    let outputs = session.run(&[HostTensor::new(dims, values)]).unwrap();
    outputs[0].data().to_vec()
}

#[test]
fn a_network_that_works_at_any_size_is_opened() {
    for export in ["unet-bn-ts17", "realesrgan-x4v3-ts17", "nafnet-ts17"] {
        let open = load(&format!("exports/{export}.onnx"));
        let mut model = frozen(&open);
        assert_eq!(declared(&model), [Some(64), Some(48)], "{export}");
        let before = run(&model, [64, 48]);
        let report = run_pass(&OpenSize, &mut model).unwrap();
        assert!(report.changed, "{export}: {:?}", report.declined);
        assert_eq!(declared(&model), [None, None], "{export}");
        assert!(run(&model, [64, 48]) == before, "{export}");
        // At another size it is the network that the export was made of.
        assert!(run(&model, [96, 128]) == run(&open, [96, 128]), "{export}");
        assert!(!run_pass(&OpenSize, &mut model).unwrap().changed);
    }
}

#[test]
fn a_network_with_a_constant_of_its_size_is_left_alone_with_the_reason() {
    for path in ["exports/restormer-ts17.onnx", "exports/swinir-ts17.onnx"] {
        let mut model = frozen(&load(path));
        let report = run_pass(&OpenSize, &mut model).unwrap();
        assert!(!report.changed, "{path}");
        assert_eq!(declared(&model), [Some(64), Some(48)], "{path}");
        let [decline] = &report.declined[..] else {
            panic!("{path}: {:?}", report.declined)
        };
        assert!(!decline.reason.is_empty() && !decline.node.is_empty());
    }
}
