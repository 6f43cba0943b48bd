//! The engines from the outside: against golden files, on small graphs, and on models that they must refuse.
//!
//! Whatever holds for every engine is checked on each one that there is: tract always, ONNX Runtime where the build has the
//! feature `ort` and the machine has the library. The rest says in its name or its file which engine it is about.

#![expect(
    clippy::print_stderr,
    reason = "a test says on which engines it ran, and which were skipped"
)]
#![expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "the exemption of tests does not reach their helpers, and equal infinities are compared"
)]

mod channel_norm;
mod composed;
mod fused_operands;
mod goldens;
mod lowering;
mod observation;
mod onnx_runtime;
mod refusals;
mod sampled;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tilecast_exec::{
    Engine, HostTensor, LibrarySearch, LoadError, OpenOrtError, OrtEngine, Session, SessionOptions,
    TractEngine,
};
use tilecast_onnx::proto::{
    DimValue, Dimension, DimensionFields, GraphFields, GraphProto, ModelFields, ModelProto,
    NodeProto, OperatorSetIdFields, OperatorSetIdProto, TensorProto, TensorShapeFields,
    TensorShapeProto, TensorType, TensorTypeFields, TypeFields, TypeProto, TypeValue,
    ValueInfoFields, ValueInfoProto,
};
use tilecast_onnx::{DataType, Model};

/// ONNX Runtime, if there is one; where only its library is missing, a message says that it is skipped.
fn onnx_runtime() -> Option<OrtEngine> {
    match OrtEngine::open(&LibrarySearch::from_variables(|name| {
        std::env::var_os(name)
    })) {
        Ok(engine) => Some(engine),
        Err(OpenOrtError::NotBuilt) => None,
        Err(error @ OpenOrtError::NotFound { .. }) => {
            eprintln!("skipped for ONNX Runtime: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Runs a check on every engine that there is.
fn on_each_engine(check: impl Fn(&dyn Engine)) {
    let on = |engine: &dyn Engine| {
        // Shown where the check fails.
        eprintln!("on {}", engine.name());
        check(engine);
    };
    on(&TractEngine::new());
    if let Some(engine) = onnx_runtime() {
        on(&engine);
    }
}

/// Floats in [0, 1) from an integer hash of the seed and the position; `golden/generate.py` has it too.
fn values(seed: u32, n: usize) -> Vec<f32> {
    let hash = |position: usize| {
        let mut x = (position as u32).wrapping_add(seed.wrapping_mul(0x9E37_79B1));
        x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
        x = (x ^ (x >> 15)).wrapping_mul(0x846C_A68B);
        x ^ (x >> 16)
    };
    (0..n)
        .map(|position| (hash(position) >> 8) as f32 / (1 << 24) as f32)
        .collect()
}

fn tensor(seed: u32, dims: &[usize]) -> HostTensor {
    HostTensor::new(dims.to_vec(), values(seed, dims.iter().product()))
}

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(file)
}

fn sample(file: &str) -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../models")
        .join(file);
    Model::load(&path).unwrap()
}

/// A graph with one input `x` and one output `y`, of these element types.
struct Small {
    opset: i64,
    input: (DataType, Vec<DimValue>),
    output: DataType,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
}

impl Small {
    fn new(dims: &[usize], nodes: Vec<NodeProto>, initializers: Vec<TensorProto>) -> Self {
        let dims = dims.iter().map(|&d| DimValue::DimValue(d as i64)).collect();
        Self {
            opset: 21,
            input: (DataType::F32, dims),
            output: DataType::F32,
            nodes,
            initializers,
        }
    }

    fn proto(self) -> ModelProto {
        let value = |name: &str, data_type: DataType, shape: Option<Vec<DimValue>>| {
            let dimension = |value| {
                Dimension::from(DimensionFields {
                    value: Some(value),
                    ..Default::default()
                })
            };
            let shape = shape.map(|dims| {
                TensorShapeProto::from(TensorShapeFields {
                    dim: dims.into_iter().map(dimension).collect(),
                })
            });
            let tensor = TensorType::from(TensorTypeFields {
                elem_type: Some(data_type.code()),
                shape,
            });
            let r#type = TypeFields {
                value: Some(TypeValue::Tensor(tensor)),
                denotation: None,
            };
            ValueInfoProto::from(ValueInfoFields {
                name: Some(name.to_owned()),
                r#type: Some(TypeProto::from(r#type)),
                ..ValueInfoFields::default()
            })
        };
        let graph = GraphFields {
            name: Some("g".into()),
            input: vec![value("x", self.input.0, Some(self.input.1))],
            output: vec![value("y", self.output, None)],
            node: self.nodes,
            initializer: self.initializers,
            ..GraphFields::default()
        };
        let opset = OperatorSetIdFields {
            domain: None,
            version: Some(self.opset),
        };
        ModelProto::from(ModelFields {
            ir_version: Some(10),
            opset_import: vec![OperatorSetIdProto::from(opset)],
            graph: Some(GraphProto::from(graph)),
            ..ModelFields::default()
        })
    }

    fn model(self) -> Model {
        Model::from_proto(self.proto()).unwrap()
    }

    fn load(self, engine: &dyn Engine) -> Result<Arc<dyn Session>, LoadError> {
        engine.load(&self.model(), &SessionOptions::default())
    }

    fn run(self, engine: &dyn Engine, input: &HostTensor) -> HostTensor {
        let mut outputs = self
            .load(engine)
            .unwrap()
            .run(std::slice::from_ref(input))
            .unwrap();
        assert_eq!(outputs.len(), 1);
        outputs.remove(0)
    }
}

/// The same bits, NaN equal to NaN.
#[track_caller]
fn assert_identical(name: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{name}: number of elements");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
        assert!(same, "{name}: element {index} is {got:e}, not {want:e}");
    }
}
