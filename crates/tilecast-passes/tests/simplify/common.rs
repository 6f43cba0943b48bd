//! Small graphs, what a pass makes of them, and running them.

use std::path::{Path, PathBuf};

use tilecast_exec::{Engine, HostTensor, SessionOptions, TractEngine};
use tilecast_onnx::proto::{
    DimValue, Dimension, DimensionFields, GraphFields, GraphProto, ModelFields, ModelProto,
    NodeProto, OperatorSetIdFields, OperatorSetIdProto, TensorShapeFields, TensorShapeProto,
    TensorType, TensorTypeFields, TypeFields, TypeProto, TypeValue, ValueInfoFields,
    ValueInfoProto,
};
use tilecast_onnx::{DataType, Model, Tensor, attribute, node};
use tilecast_passes::{Pass, run_pass};

/// The extent along an axis: a number, or one that the graph leaves open.
pub(crate) type Axis = Option<i64>;

/// A graph in the making: opset 17, IR 8, input `x` of float32 `[1, 4, h, w]`, output `y`.
pub(crate) struct Case {
    pub(crate) nodes: Vec<NodeProto>,
    pub(crate) constants: Vec<(&'static str, Tensor)>,
    pub(crate) inputs: Vec<ValueInfoProto>,
    pub(crate) outputs: Vec<&'static str>,
    pub(crate) opset: i64,
    pub(crate) ir_version: i64,
}

impl Case {
    pub(crate) fn new(nodes: Vec<NodeProto>) -> Self {
        Self {
            nodes,
            constants: Vec::new(),
            inputs: vec![value("x", DataType::F32, &[Some(1), Some(4), None, None])],
            outputs: vec!["y"],
            opset: 17,
            ir_version: 8,
        }
    }

    pub(crate) fn constant(mut self, name: &'static str, tensor: Tensor) -> Self {
        self.constants.push((name, tensor));
        self
    }

    pub(crate) fn input(mut self, input: ValueInfoProto) -> Self {
        self.inputs.push(input);
        self
    }

    pub(crate) fn output(mut self, name: &'static str) -> Self {
        self.outputs.push(name);
        self
    }

    pub(crate) fn model(self) -> Model {
        let outputs = self.outputs.iter().map(|name| {
            ValueInfoProto::from(ValueInfoFields {
                name: Some((*name).to_owned()),
                ..ValueInfoFields::default()
            })
        });
        let graph = GraphFields {
            name: Some("g".into()),
            output: outputs.collect(),
            node: self.nodes,
            input: self.inputs,
            initializer: self
                .constants
                .iter()
                .map(|(name, tensor)| tensor.to_proto(name))
                .collect(),
            ..GraphFields::default()
        };
        Model::from_proto(ModelProto::from(ModelFields {
            ir_version: Some(self.ir_version),
            opset_import: vec![OperatorSetIdProto::from(OperatorSetIdFields {
                domain: None,
                version: Some(self.opset),
            })],
            graph: Some(GraphProto::from(graph)),
            ..ModelFields::default()
        }))
        .unwrap()
    }
}

/// A graph input.
pub(crate) fn value(name: &str, data_type: DataType, dims: &[Axis]) -> ValueInfoProto {
    let dims = dims.iter().map(|d| {
        Dimension::from(DimensionFields {
            value: d.map(DimValue::DimValue),
            ..DimensionFields::default()
        })
    });
    let tensor = TensorType::from(TensorTypeFields {
        elem_type: Some(data_type.code()),
        shape: Some(TensorShapeProto::from(TensorShapeFields {
            dim: dims.collect(),
        })),
    });
    ValueInfoProto::from(ValueInfoFields {
        name: Some(name.into()),
        r#type: Some(TypeProto::from(TypeFields {
            value: Some(TypeValue::Tensor(tensor)),
            ..TypeFields::default()
        })),
        ..ValueInfoFields::default()
    })
}

/// A node named like its first output with `n_` before it.
pub(crate) fn op(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    node(op, &format!("n_{}", outputs[0]), inputs, outputs)
}

/// A vector of int64.
pub(crate) fn ints(values: &[i64]) -> Tensor {
    Tensor::from_i64(vec![values.len()], values)
}

/// An int64 scalar.
pub(crate) fn int(value: i64) -> Tensor {
    Tensor::from_i64(vec![], &[value])
}

/// A float32 scalar.
pub(crate) fn float(value: f32) -> Tensor {
    Tensor::from_f32(vec![], &[value])
}

/// `Cast` to an element type.
pub(crate) fn cast(x: &str, to: DataType, y: &str) -> NodeProto {
    op("Cast", &[x], &[y]).with_attribute(attribute::int("to", to.code().into()))
}

/// A node that reads `captured` by name inside a subgraph.
pub(crate) fn capturing(captured: &str, output: &str) -> NodeProto {
    let then = |name: &str| {
        let mut branch = attribute::int(name, 0);
        branch.r#type = Some(5);
        branch.i = None;
        branch.g = Some(Box::new(GraphProto::from(GraphFields {
            name: Some("branch".into()),
            node: vec![op("Abs", &[captured], &["inner"])],
            output: vec![value("inner", DataType::F32, &[])],
            ..GraphFields::default()
        })));
        branch
    };
    op("If", &["flag"], &[output])
        .with_attribute(then("then_branch"))
        .with_attribute(then("else_branch"))
}

/// `op(inputs) -> outputs` per node, in order.
pub(crate) fn listing(model: &Model) -> Vec<String> {
    let nodes = &model.graph_proto().node;
    nodes
        .iter()
        .map(|n| {
            format!(
                "{}({}) -> {}",
                n.op(),
                n.input.join(", "),
                n.output.join(", ")
            )
        })
        .collect()
}

/// Outputs for a fixed input with values of both signs and zeros, as bits.
pub(crate) fn run(model: &Model, height: usize, width: usize) -> Vec<(Vec<usize>, Vec<u32>)> {
    let channels = 4;
    run_on(model, vec![1, channels, height, width])
}

/// As [`run`], for an input of these dimensions.
pub(crate) fn run_on(model: &Model, dims: Vec<usize>) -> Vec<(Vec<usize>, Vec<u32>)> {
    let n: usize = dims.iter().product();
    let input = (0..n).map(|i| (i * 7919 % 203) as f32 / 101.0 - 1.0);
    outputs(model, dims, input.collect())
        .into_iter()
        .map(|t| {
            let bits = t.data().iter().map(|v| v.to_bits()).collect();
            (t.dims().to_vec(), bits)
        })
        .collect()
}

/// The first output for this input.
pub(crate) fn run_values(model: &Model, dims: Vec<usize>, input: Vec<f32>) -> Vec<f32> {
    outputs(model, dims, input).remove(0).into_data()
}

fn outputs(model: &Model, dims: Vec<usize>, input: Vec<f32>) -> Vec<HostTensor> {
    let name = model.graph().inputs().next().unwrap().name.clone().unwrap();
    let options = SessionOptions {
        input_shapes: vec![(name, dims.clone())],
        ..SessionOptions::default()
    };
    let session = TractEngine::new().load(model, &options).unwrap();
    session.run(&[HostTensor::new(dims, input)]).unwrap()
}

/// Runs a pass that must rewrite the model to this listing, change nothing when run again, and leave the outputs as they
/// are to the bit at two sizes.
pub(crate) fn rewrites(pass: &dyn Pass, case: Case, expected: &[&str]) -> Model {
    let before = case.model();
    let after = rewrites_unrun(pass, before.clone(), expected);
    for (height, width) in [(4, 6), (7, 5)] {
        assert_eq!(
            run(&before, height, width),
            run(&after, height, width),
            "{height}x{width}"
        );
    }
    after
}

/// As [`rewrites`], for models that the engine does not run.
pub(crate) fn rewrites_unrun(pass: &dyn Pass, mut model: Model, expected: &[&str]) -> Model {
    let report = run_pass(pass, &mut model).unwrap();
    assert!(report.changed, "{report:?}");
    assert_eq!(listing(&model), expected);
    let once = model.to_bytes();
    let again = run_pass(pass, &mut model).unwrap();
    assert!(!again.changed, "{again:?}");
    assert!(model.to_bytes() == once);
    model
}

/// Runs a pass that must leave the model as it is, and say why if `reason` is not empty.
pub(crate) fn refuses(pass: &dyn Pass, case: Case, reason: &str) {
    let mut model = case.model();
    let before = model.to_bytes();
    let report = run_pass(pass, &mut model).unwrap();
    assert!(!report.changed, "{:?}", listing(&model));
    assert!(model.to_bytes() == before);
    if reason.is_empty() {
        assert_eq!(report.declined, []);
    } else {
        let reasons: Vec<&str> = report.declined.iter().map(|d| d.reason.as_str()).collect();
        assert!(reasons.iter().any(|r| r.contains(reason)), "{reasons:?}");
    }
}

/// Where the sample models and the exports are.
pub(crate) fn models_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models")
}

/// A model of the `models` folder.
pub(crate) fn sample(name: &str) -> Model {
    Model::load(&models_folder().join(format!("{name}.onnx"))).unwrap()
}
