//! Models built in a few lines, runs on seeded inputs, and the checks that every pass owes.

use tilecast_exec::{Engine, HostTensor, SessionOptions, TractEngine};
use tilecast_onnx::proto::{
    DimValue, Dimension, DimensionFields, GraphFields, GraphProto, ModelFields, ModelProto,
    NodeProto, OperatorSetIdFields, OperatorSetIdProto, TensorShapeFields, TensorShapeProto,
    TensorType, TensorTypeFields, TypeFields, TypeProto, TypeValue, ValueInfoFields,
    ValueInfoProto,
};
use tilecast_onnx::{DataType, Model, Tensor, attribute};
use tilecast_passes::{Numerics, Pass, run_pass};

/// Largest difference that a rewrite may make, relative to the largest output.
const TOLERANCE: f32 = 1e-5;

/// A model in the making: input `x`, output `y`.
pub(crate) struct Network {
    opset: i64,
    input: Vec<Size>,
    nodes: Vec<NodeProto>,
    initializers: Vec<(String, Tensor)>,
    outputs: Vec<String>,
}

/// Extent of the input along one axis.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Size {
    /// The same for every run.
    Fixed(i64),
    /// Left open by the model; runs use this number.
    Open(usize),
}

use Size::{Fixed, Open};

impl Network {
    /// A network of an image of this many channels, whose size the model leaves open (runs use 7 x 10).
    pub(crate) fn of_image(channels: i64) -> Self {
        Self::of(&[Fixed(1), Fixed(channels), Open(7), Open(10)])
    }

    pub(crate) fn of(input: &[Size]) -> Self {
        Self {
            opset: 17,
            input: input.to_vec(),
            nodes: Vec::new(),
            initializers: Vec::new(),
            outputs: vec!["y".into()],
        }
    }

    pub(crate) fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    /// One more output.
    pub(crate) fn output(mut self, name: &str) -> Self {
        self.outputs.push(name.into());
        self
    }

    pub(crate) fn node(mut self, op: &str, inputs: &[&str], outputs: &[&str]) -> Self {
        let name = format!("n{}", self.nodes.len());
        self.nodes
            .push(tilecast_onnx::node(op, &name, inputs, outputs));
        self
    }

    /// An attribute of the last node.
    pub(crate) fn ints(self, name: &str, values: &[i64]) -> Self {
        self.with(attribute::ints(name, values))
    }

    pub(crate) fn int(self, name: &str, value: i64) -> Self {
        self.with(attribute::int(name, value))
    }

    pub(crate) fn float(self, name: &str, value: f32) -> Self {
        self.with(attribute::float(name, value))
    }

    pub(crate) fn string(self, name: &str, value: &str) -> Self {
        self.with(attribute::string(name, value))
    }

    fn with(mut self, attribute: tilecast_onnx::proto::AttributeProto) -> Self {
        self.nodes.last_mut().unwrap().attribute.push(attribute);
        self
    }

    /// A float32 initializer with seeded values in [-1, 1).
    pub(crate) fn random(self, name: &str, dims: &[usize]) -> Self {
        let seed = name.bytes().map(u64::from).sum::<u64>();
        let values = noise(seed, dims.iter().product());
        self.floats(name, dims, &values)
    }

    /// A float32 initializer with seeded values in [0.1, 1.1).
    pub(crate) fn positive(self, name: &str, dims: &[usize]) -> Self {
        let values: Vec<f32> = noise(3, dims.iter().product())
            .iter()
            .map(|v| v * 0.5 + 0.6)
            .collect();
        self.floats(name, dims, &values)
    }

    pub(crate) fn floats(self, name: &str, dims: &[usize], values: &[f32]) -> Self {
        self.tensor(name, Tensor::from_f32(dims.to_vec(), values))
    }

    pub(crate) fn scalar(self, name: &str, value: f32) -> Self {
        self.floats(name, &[], &[value])
    }

    /// A vector of integers.
    pub(crate) fn integers(self, name: &str, values: &[i64]) -> Self {
        let tensor = Tensor::from_i64(vec![values.len()], values);
        self.tensor(name, tensor)
    }

    pub(crate) fn tensor(mut self, name: &str, tensor: Tensor) -> Self {
        self.initializers.push((name.into(), tensor));
        self
    }

    /// A `Conv` from `x` with random weights `w` of these dimensions and, if named, random biases.
    pub(crate) fn conv(self, input: &str, w: &str, dims: &[usize], bias: &str, out: &str) -> Self {
        let network = self.random(w, dims).node("Conv", &[input, w, bias], &[out]);
        if bias.is_empty() {
            network
        } else {
            network.random(bias, &[dims[0]])
        }
    }

    /// Without the initializers that no node reads.
    pub(crate) fn without_unread(mut self) -> Self {
        let nodes = &self.nodes;
        self.initializers
            .retain(|(name, _)| nodes.iter().any(|n| n.input.contains(name)));
        self
    }

    pub(crate) fn build(&self) -> Model {
        let dims = self.input.iter().enumerate().map(|(axis, size)| {
            let value = match size {
                Fixed(extent) => DimValue::DimValue(*extent),
                Open(_) => DimValue::DimParam(format!("axis{axis}")),
            };
            Dimension::from(DimensionFields {
                value: Some(value),
                ..DimensionFields::default()
            })
        });
        let shape = TensorShapeProto::from(TensorShapeFields {
            dim: dims.collect(),
        });
        Model::from_proto(ModelProto::from(ModelFields {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto::from(OperatorSetIdFields {
                domain: None,
                version: Some(self.opset),
            })],
            graph: Some(GraphProto::from(GraphFields {
                name: Some("g".into()),
                node: self.nodes.clone(),
                input: vec![value_info("x", Some(shape))],
                output: self.outputs.iter().map(|o| value_info(o, None)).collect(),
                initializer: self
                    .initializers
                    .iter()
                    .map(|(name, t)| t.to_proto(name))
                    .collect(),
                ..GraphFields::default()
            })),
            ..ModelFields::default()
        }))
        .unwrap()
    }

    fn run_dims(&self) -> Vec<usize> {
        let extent = |size: &Size| match size {
            Fixed(extent) => usize::try_from(*extent).unwrap(),
            Open(extent) => *extent,
        };
        self.input.iter().map(extent).collect()
    }

    /// Checks that a pass turns this network into one with these operators, changes no output, and is done then.
    #[track_caller]
    pub(crate) fn becomes(&self, pass: &dyn Pass, operators: &[&str]) -> Model {
        let before = self.build();
        let mut after = before.clone();
        let report = run_pass(pass, &mut after).unwrap();
        assert_eq!(report.declined, [], "declined");
        assert!(report.changed, "nothing was rewritten");
        assert_eq!(ops(&after), operators);
        assert_unread_constants_are_gone(&after);
        self.assert_same_outputs(pass, &before, &after);
        let again = run_pass(pass, &mut after.clone()).unwrap();
        assert!(!again.changed, "a second run changed something");
        after
    }

    /// Checks that a pass leaves this network alone, for this reason only.
    #[track_caller]
    pub(crate) fn declined(&self, pass: &dyn Pass, reason: &str) {
        let mut model = self.build();
        let before = model.to_bytes();
        let report = run_pass(pass, &mut model).unwrap();
        let reasons: Vec<_> = report.declined.iter().map(|d| d.reason.as_str()).collect();
        assert_eq!(reasons, [reason]);
        assert!(!report.changed && model.to_bytes() == before);
    }

    /// Checks that a pass does nothing and says nothing.
    #[track_caller]
    pub(crate) fn ignored(&self, pass: &dyn Pass) {
        let mut model = self.build();
        let report = run_pass(pass, &mut model).unwrap();
        assert_eq!(report.declined, []);
        assert!(!report.changed);
    }

    #[track_caller]
    fn assert_same_outputs(&self, pass: &dyn Pass, before: &Model, after: &Model) {
        let dims = self.run_dims();
        let (expected, actual) = (run(before, &dims), run(after, &dims));
        assert_eq!(expected.len(), actual.len());
        for (expected, actual) in expected.iter().zip(&actual) {
            assert_eq!(expected.dims(), actual.dims());
            let largest = expected.data().iter().fold(0.0, |m: f32, v| m.max(v.abs()));
            assert!(
                largest > 1e-3 && largest.is_finite(),
                "outputs of {largest} prove nothing"
            );
            let limit = match pass.meta().numerics {
                Numerics::Exact => 1e-6 * largest,
                _ => TOLERANCE * largest,
            };
            let difference = max_abs(expected.data(), actual.data());
            assert!(
                difference <= limit,
                "{difference} is above {limit} for outputs up to {largest}"
            );
        }
    }
}

fn value_info(name: &str, shape: Option<TensorShapeProto>) -> ValueInfoProto {
    let tensor = TensorType::from(TensorTypeFields {
        elem_type: Some(DataType::F32.code()),
        shape,
    });
    let r#type = TypeProto::from(TypeFields {
        value: Some(TypeValue::Tensor(tensor)),
        ..TypeFields::default()
    });
    ValueInfoProto::from(ValueInfoFields {
        name: Some(name.into()),
        r#type: Some(r#type),
        ..ValueInfoFields::default()
    })
}

/// Operators in graph order.
pub(crate) fn ops(model: &Model) -> Vec<&str> {
    let nodes = model.graph_proto().node.iter();
    nodes.map(NodeProto::op).collect()
}

#[track_caller]
fn assert_unread_constants_are_gone(model: &Model) {
    let graph = model.graph();
    for tensor in &graph.proto().initializer {
        let name = tensor.name.as_deref().unwrap();
        assert!(!graph.uses(name).is_empty(), "nobody reads `{name}`");
    }
}

/// The outputs of a model for seeded values in [-1, 1).
pub(crate) fn run(model: &Model, dims: &[usize]) -> Vec<HostTensor> {
    let input = noise(42, dims.iter().product());
    run_on(model, &[HostTensor::new(dims.to_vec(), input)])
}

/// The outputs of a model for these inputs.
pub(crate) fn run_on(model: &Model, inputs: &[HostTensor]) -> Vec<HostTensor> {
    let names = model.graph_proto().input.iter().map(|v| v.name.clone());
    let dims = inputs.iter().map(|input| input.dims().to_vec());
    let options = SessionOptions {
        input_shapes: names.map(Option::unwrap).zip(dims).collect(),
        ..SessionOptions::default()
    };
    let session = TractEngine::new().load(model, &options).unwrap();
    session.run(inputs).unwrap()
}

/// Seeded values in [-1, 1), from a linear congruential generator.
pub(crate) fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Largest absolute difference.
pub(crate) fn max_abs(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}
