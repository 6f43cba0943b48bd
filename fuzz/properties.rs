//! What the fuzz targets check. The tests of `tilecast-onnx` include this file and check the same on stable Rust.

use std::path::Path;

use prost::Message;
use tilecast_onnx::proto::ModelProto;
use tilecast_onnx::{
    Facts, InputExtents, Model, Tensor, infer_shapes, infer_types, inline_functions, upgrade_opset,
    verify,
};

/// Far from any real file, so that no reference into another file can be followed.
const PATH: &str = "no/such/folder/model.onnx";

/// Anything may be refused; nothing may panic. What was accepted stays valid through everything that rewrites it.
pub(crate) fn import_never_panics(bytes: &[u8]) {
    let Ok(model) = Model::decode(bytes.to_vec().into(), Path::new(PATH)) else {
        return;
    };
    let graph = model.graph();
    let _ = infer_types(&graph);
    let _ = infer_shapes(&graph, &[]);
    let wanted: Vec<_> = graph
        .inputs()
        .filter_map(|input| Some((input.name.as_deref()?, vec![1, 3, 16, 16])))
        .collect();
    let _ = infer_shapes(&graph, &wanted);
    let _ = Facts::of(&graph, 8, &InputExtents::default());
    for tensor in &graph.proto().initializer {
        if let Ok(tensor) = Tensor::from_proto(tensor) {
            let _ = (tensor.to_f32_vec(), tensor.to_i64_vec());
        }
    }
    let mut inlined = model.clone();
    if inline_functions(&mut inlined).is_ok() {
        assert!(
            verify(inlined.proto()).is_empty(),
            "inlining broke the model"
        );
    }
    for target in [13, 18, 21] {
        let mut upgraded = inlined.clone();
        if upgrade_opset(&mut upgraded, target).is_ok() {
            assert!(
                verify(upgraded.proto()).is_empty(),
                "raising to {target} broke the model"
            );
        }
    }
}

/// What was decoded is encoded to the same messages again, whether or not it is a valid model. Bytes are compared, since
/// a message that holds a NaN is not equal to itself.
pub(crate) fn roundtrip_is_identity(bytes: &[u8]) {
    let Ok(proto) = ModelProto::decode(bytes) else {
        return;
    };
    let encoded = proto.encode_to_vec();
    assert_eq!(encoded.len(), proto.encoded_len());
    let again = ModelProto::decode(&encoded[..]).expect("what was encoded can be decoded");
    assert!(again.encode_to_vec() == encoded, "encoding is not stable");
    if let Ok(model) = Model::from_proto(proto) {
        let mut streamed = Vec::new();
        model
            .write_to(&mut streamed)
            .expect("writing to memory does not fail");
        assert!(streamed == encoded, "the stream differs from the encoding");
    }
}
