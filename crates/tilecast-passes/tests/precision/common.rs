//! Small graphs and the models around them, for the tests of all passes.

use std::path::Path;

use tilecast_exec::{Engine, HostTensor, SessionOptions, TractEngine};
use tilecast_onnx::proto::{
    DimValue, Dimension, DimensionFields, GraphFields, GraphProto, ModelFields, ModelProto,
    NodeProto, OperatorSetIdFields, OperatorSetIdProto, TensorShapeFields, TensorShapeProto,
    TensorType, TensorTypeFields, TypeFields, TypeProto, TypeValue, ValueInfoFields,
    ValueInfoProto,
};
use tilecast_onnx::{DataType, Model, Tensor, attribute, node};
use tilecast_passes::{
    Pins, PlanRequest, Precision, PrecisionPlan, RangeSource, Target, target_by_name,
};

/// The trained denoiser that ships with the project.
pub(crate) fn sample() -> Model {
    Model::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/nafnet-denoise.onnx"))
        .unwrap()
}

/// A graph input or output of shape `[1, channels, 8, 8]`.
fn image(name: &str, channels: i64) -> ValueInfoProto {
    let dims = [1, channels, 8, 8].map(|d| {
        Dimension::from(DimensionFields {
            value: Some(DimValue::DimValue(d)),
            ..DimensionFields::default()
        })
    });
    let shape = TensorShapeProto::from(TensorShapeFields { dim: dims.to_vec() });
    let tensor = TensorType::from(TensorTypeFields {
        elem_type: Some(DataType::F32.code()),
        shape: Some(shape),
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

/// A model from input `x` of 2 channels to output `y` of `out_channels`, opset 17.
pub(crate) fn model(
    nodes: Vec<NodeProto>,
    initializers: &[(&str, Tensor)],
    out_channels: i64,
) -> Model {
    Model::from_proto(ModelProto::from(ModelFields {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto::from(OperatorSetIdFields {
            domain: None,
            version: Some(17),
        })],
        graph: Some(GraphProto::from(GraphFields {
            name: Some("g".into()),
            node: nodes,
            input: vec![image("x", 2)],
            output: vec![image("y", out_channels)],
            initializer: initializers
                .iter()
                .map(|(name, t)| t.to_proto(name))
                .collect(),
            ..GraphFields::default()
        })),
        ..ModelFields::default()
    }))
    .unwrap()
}

/// A 1x1 convolution, named like its output with `conv_` before it.
pub(crate) fn conv(x: &str, w: &str, b: &str, y: &str) -> NodeProto {
    node("Conv", &format!("conv_{y}"), &[x, w, b], &[y])
        .with_attribute(attribute::ints("kernel_shape", &[1, 1]))
}

/// Weights of a 1x1 convolution from 2 to 2 channels.
pub(crate) fn weights(values: [f32; 4]) -> Tensor {
    Tensor::from_f32(vec![2, 2, 1, 1], &values)
}

/// A bias of 2 channels.
pub(crate) fn bias(values: [f32; 2]) -> Tensor {
    Tensor::from_f32(vec![2], &values)
}

/// Four convolutions in a row with a Relu behind the second.
pub(crate) fn chain() -> Model {
    let mut initializers = Vec::new();
    for (w, b) in [("w1", "b1"), ("w2", "b2"), ("w3", "b3"), ("w4", "b4")] {
        initializers.push((w, weights([0.5, -0.25, 1.0, 0.75])));
        initializers.push((b, bias([0.1, -0.2])));
    }
    model(
        vec![
            conv("x", "w1", "b1", "a"),
            conv("a", "w2", "b2", "b"),
            node("Relu", "relu", &["b"], &["r"]),
            conv("r", "w3", "b3", "c"),
            conv("c", "w4", "b4", "y"),
        ],
        &initializers,
        2,
    )
}

/// Everything pinned at FP16, as recipes do by default.
pub(crate) const PINS: Pins = Pins {
    first_conv: Precision::Fp16,
    last_conv: Precision::Fp16,
    norms: Precision::Fp16,
};

/// The plan of an artifact without overrides.
pub(crate) fn plan(model: &Model, precision: Precision, target: &str) -> PrecisionPlan {
    PrecisionPlan::new(model, &request(precision, target))
}

/// The request behind [`plan`].
pub(crate) fn request(precision: Precision, target: &str) -> PlanRequest<'static> {
    PlanRequest {
        precision,
        target: self::target(target),
        pins: PINS,
        overrides: &[],
        ranges: RangeSource::Static,
    }
}

/// A target that exists.
pub(crate) fn target(name: &str) -> &'static Target {
    target_by_name(name).unwrap()
}

/// The model's output for a fixed input with values in [0, 1].
pub(crate) fn run(model: &Model) -> Vec<f32> {
    let input = (0..2 * 64).map(|i| (i * 37 % 101) as f32 / 100.0).collect();
    let session = TractEngine::new()
        .load(model, &SessionOptions::default())
        .unwrap();
    session
        .run(&[HostTensor::new(vec![1, 2, 8, 8], input)])
        .unwrap()
        .remove(0)
        .into_data()
}

/// Largest absolute difference.
pub(crate) fn max_abs(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
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

/// Element type of an initializer.
pub(crate) fn initializer_type(model: &Model, name: &str) -> Option<DataType> {
    model
        .graph()
        .initializer(name)
        .and_then(|t| DataType::from_code(t.data_type?))
}
