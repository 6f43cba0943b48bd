//! Graphs that contradict themselves, and files that end too early.

use std::path::Path;

use prost::Message;
use tilecast_onnx::proto::{
    DimValue, Dimension, DimensionFields, GraphFields, GraphProto, ModelFields, ModelProto,
    NodeProto, OperatorSetIdFields, OperatorSetIdProto, TensorProto, TensorShapeFields,
    TensorShapeProto, TensorType, TensorTypeFields, TypeFields, TypeProto, TypeValue,
    ValueInfoFields, ValueInfoProto,
};
use tilecast_onnx::{LoadErrorKind, Model, Tensor, infer_shapes, node};

/// A float32 value with these extents.
pub(crate) fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = |&d: &i64| {
        Dimension::from(DimensionFields {
            value: Some(DimValue::DimValue(d)),
            denotation: None,
        })
    };
    let shape = TensorShapeProto::from(TensorShapeFields {
        dim: dims.iter().map(dim).collect(),
    });
    let tensor = TensorType::from(TensorTypeFields {
        elem_type: Some(1),
        shape: Some(shape),
    });
    ValueInfoProto::from(ValueInfoFields {
        name: Some(name.into()),
        r#type: Some(TypeProto::from(TypeFields {
            value: Some(TypeValue::Tensor(tensor)),
            denotation: None,
        })),
        ..ValueInfoFields::default()
    })
}

/// A model from `x` [1, 4, 8, 8] to `y`.
pub(crate) fn model_of(nodes: Vec<NodeProto>, initializers: Vec<TensorProto>) -> ModelProto {
    ModelProto::from(ModelFields {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto::from(OperatorSetIdFields {
            domain: None,
            version: Some(17),
        })],
        graph: Some(GraphProto::from(GraphFields {
            name: Some("g".into()),
            input: vec![value("x", &[1, 4, 8, 8])],
            output: vec![value("y", &[])],
            node: nodes,
            initializer: initializers,
            ..GraphFields::default()
        })),
        ..ModelFields::default()
    })
}

fn relu() -> Vec<NodeProto> {
    vec![node("Relu", "act", &["x"], &["y"])]
}

fn weight(change: impl FnOnce(&mut TensorProto)) -> Vec<TensorProto> {
    let mut tensor = Tensor::from_f32(vec![2], &[1.0, 2.0]).to_proto("w");
    change(&mut tensor);
    vec![tensor]
}

#[test]
fn what_contradicts_itself_is_named_with_its_place() {
    let two = |a: NodeProto, b: NodeProto| vec![a, b];
    let raw = |n: usize| move |t: &mut TensorProto| t.raw_data = Some(vec![0; n].into());
    #[rustfmt::skip]
    let cases = [
        (model_of(two(node("Add", "a", &["x", "b"], &["y"]), node("Neg", "n", &["y"], &["b"])), vec![]),
         "node \"a\" (Add): input 1 `b` is produced by this or a later node: nodes are out of order or form a cycle"),
        (model_of(vec![node("Add", "self", &["x", "y"], &["y"])], vec![]), "node \"self\" (Add): input 1 `y` is produced by this"),
        (model_of(vec![node("Relu", "act", &["nowhere"], &["y"])], vec![]), "node \"act\" (Relu): input 0 `nowhere` is produced nowhere"),
        (model_of(two(node("Relu", "", &["x"], &["y"]), node("Abs", "twin", &["x"], &["y"])), vec![]),
         "node \"twin\" (Abs): output `y` is already the name of another value"),
        (model_of(vec![node("Split", "s", &["x"], &["y", "y"])], vec![]), "node \"s\" (Split): output `y` is already"),
        (model_of(vec![node("Relu", "act", &["x"], &["x"])], vec![]), "output `x` is already the name of another value"),
        (model_of(relu(), [weight(|_| ()), weight(|_| ())].concat()), "initializer `w` is there twice"),
        (model_of(relu(), weight(raw(9))), "tensor `w`: payload has 9 bytes"),
        (model_of(relu(), weight(raw(0))), "tensor `w`: payload has 0 bytes"),
        (model_of(relu(), weight(|t| t.dims = vec![-2])), "tensor `w`: negative dimension"),
        (model_of(relu(), weight(|t| t.dims = vec![1 << 62])), "tensor `w`: dimensions [4611686018427387904] are too large"),
        (model_of(relu(), weight(|t| t.dims = vec![1 << 62, 1 << 62])), "tensor `w`: dimensions"),
        (model_of(relu(), weight(|t| t.dims = vec![i64::MIN])), "tensor `w`: negative dimension"),
        (model_of(relu(), weight(|t| { t.raw_data = None; t.int32_data = vec![1, 2]; })), "tensor `w`: no payload"),
        (model_of(relu(), weight(|t| { t.raw_data = None; t.float_data = vec![1.0; 3]; })), "tensor `w`: no payload of 2 elements"),
        (model_of(vec![node("Relu", "act", &["x"], &["w"])], weight(|_| ())), "node \"act\" (Relu): output `w` is already the name of another value"),
        (model_of(relu(), weight(|t| t.data_type = Some(77))), "tensor `w`: unknown element type 77"),
        (model_of(relu(), weight(|t| { t.raw_data = None; t.data_location = Some(1); })), "tensor `w`: its external data: `location` is missing"),
        (model_of(vec![], vec![]), "g: graph output `y` is produced nowhere"),
    ];
    for (proto, place) in cases {
        let error = Model::decode(proto.encode_to_vec().into(), Path::new("bad.onnx")).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), LoadErrorKind::Invalid, "{text}");
        assert!(text.contains(place) && text.contains("bad.onnx"), "{text}");
    }
}

#[test]
fn extents_that_no_machine_has_are_errors_of_shape_inference() {
    for (dims, expected) in [
        (&[1, 4, 1 << 62, 8][..], "input `x`: an extent of"),
        (
            &[1 << 31, 1 << 31, 1 << 31, 1 << 31],
            "input `x`: the shape",
        ),
        (&[1, 4, -8, 8], ""),
    ] {
        let mut proto = model_of(relu(), vec![]);
        proto.graph.as_mut().unwrap().input[0] = value("x", dims);
        let model = Model::from_proto(proto).unwrap();
        match infer_shapes(&model.graph(), &[]) {
            Err(error) => assert!(
                !expected.is_empty() && error.to_string().contains(expected),
                "{error}"
            ),
            Ok(shapes) => assert!(
                expected.is_empty() && shapes.shape("y").is_none(),
                "{dims:?}"
            ),
        }
    }
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let nodes = vec![node("Add", "add", &["x", "w"], &["y"])];
    let bytes = model_of(nodes, weight(|_| ())).encode_to_vec();
    for cut in 0..bytes.len() {
        let error = Model::decode(bytes[..cut].to_vec().into(), Path::new("cut.onnx"));
        let error = error
            .expect_err("a model needs all of its bytes")
            .to_string();
        assert!(error.contains("cut.onnx"), "{error}");
    }
}
