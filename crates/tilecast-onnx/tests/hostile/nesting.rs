//! Graphs within graphs, deeper than any stack.

use std::path::Path;

use prost::Message;
use tilecast_onnx::proto::{AttributeFields, AttributeProto, GraphProto};
use tilecast_onnx::{Graph, LoadErrorKind, Model, node, verify};

use crate::damaged::model_of;

/// Wraps a graph into the attribute of a node of another graph.
fn around(inner: GraphProto) -> GraphProto {
    let mut outer = model_of(vec![node("If", "", &["x"], &["y"])], vec![]);
    let mut graph = outer.graph.take().unwrap();
    graph.input.clear();
    graph.node[0].attribute = vec![AttributeProto::from(AttributeFields {
        name: Some("then_branch".into()),
        r#type: Some(5),
        g: Some(Box::new(inner)),
        ..AttributeFields::default()
    })];
    graph
}

fn innermost() -> GraphProto {
    let nodes = vec![node("Relu", "", &["x"], &["y"])];
    let mut graph = model_of(nodes, vec![]).fields.graph.unwrap();
    graph.input.clear();
    graph
}

/// Bytes of field `number` holding `payload`.
fn wrapped(number: u32, payload: Vec<u8>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 8);
    prost::encoding::encode_key(
        number,
        prost::encoding::WireType::LengthDelimited,
        &mut bytes,
    );
    prost::encoding::encode_varint(payload.len() as u64, &mut bytes);
    bytes.extend(payload);
    bytes
}

#[test]
fn a_file_ten_thousand_graphs_deep_is_an_error() {
    for (name, path) in [
        ("graphs", &[6, 5, 1][..]),
        ("sequence types", &[1, 4]),
        ("unknown groups", &[]),
    ] {
        let mut bytes = Vec::new();
        for _ in 0..10_000 {
            match path {
                // A group begins and never ends.
                [] => bytes.extend([0x9b, 0x3f]),
                _ => {
                    bytes = path
                        .iter()
                        .fold(bytes, |bytes, &number| wrapped(number, bytes));
                }
            }
        }
        let bytes = match name {
            "sequence types" => wrapped(7, wrapped(11, wrapped(2, bytes))),
            _ => wrapped(7, bytes),
        };
        let error = Model::decode(bytes.into(), Path::new("deep.onnx")).unwrap_err();
        assert_eq!(error.kind(), LoadErrorKind::Invalid, "{name}");
        assert!(error.to_string().contains("deep.onnx"), "{name}: {error}");
    }
}

#[test]
fn a_model_built_too_deep_is_a_violation_and_no_overflow() {
    let depths = [(20, true), (2_000, false)];
    for (depth, is_valid) in depths {
        let run = move || {
            let mut proto = model_of(vec![], vec![]);
            let graph = (0..depth).fold(innermost(), |inner, _| around(inner));
            let input = proto.graph.as_ref().unwrap().input.clone();
            proto.graph = Some(graph);
            proto.graph.as_mut().unwrap().input = input;
            let violations = verify(&proto);
            assert_eq!(violations.is_empty(), is_valid);
            if !is_valid {
                assert!(
                    violations[0].message.contains("nest deeper"),
                    "{}",
                    violations[0]
                );
            }
            let index = Graph::new(proto.graph.as_ref().unwrap());
            assert_eq!(
                index.uses("x").len(),
                2,
                "the condition and the capture at the bottom"
            );
            if is_valid {
                let bytes = proto.encode_to_vec();
                let model = Model::decode(bytes.clone().into(), Path::new("m")).unwrap();
                assert!(model.to_bytes() == bytes);
            }
        };
        // Building and dropping such a message recurses in any case; the room here is for that.
        let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(run);
        thread.unwrap().join().unwrap();
    }
}
