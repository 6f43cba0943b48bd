//! Sizes that a file claims cost nothing until the file backs them.

use std::path::Path;

use prost::Message;
use tilecast_onnx::proto::{ModelProto, TensorFields, TensorProto};
use tilecast_onnx::{
    Facts, InputExtents, Model, Tensor, attribute, infer_shapes, infer_types, node, upgrade_opset,
};

use crate::allocator::peak_of;
use crate::damaged::{model_of, value};

/// Bytes of a field with this number and payload.
fn field(number: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_key(
        number,
        prost::encoding::WireType::LengthDelimited,
        &mut bytes,
    );
    prost::encoding::encode_varint(payload.len() as u64, &mut bytes);
    bytes.extend(payload);
    bytes
}

/// Everything that reads a model of unknown origin. Errors are fine, panics are not.
fn read(bytes: Vec<u8>) {
    let Ok(mut model) = Model::decode(bytes.into(), Path::new("m.onnx")) else {
        return;
    };
    let graph = model.graph();
    let _ = infer_types(&graph);
    let _ = infer_shapes(&graph, &[]);
    let _ = Facts::of(&graph, 8, &InputExtents::default());
    let _ = upgrade_opset(&mut model, 28);
}

#[test]
fn claimed_lengths_and_extents_are_not_allocated() {
    const HUGE: i64 = 1 << 38;
    let tensor = |dims: &[i64], code: i32| {
        TensorProto::from(TensorFields {
            name: Some("w".into()),
            dims: dims.to_vec(),
            data_type: Some(code),
            ..TensorFields::default()
        })
    };
    let with = |initializer: TensorProto| {
        model_of(vec![node("Relu", "", &["x"], &["y"])], vec![initializer]).encode_to_vec()
    };
    let computing = |op: &str, shape: &[i64]| {
        let shape = Tensor::from_i64(vec![shape.len()], shape).to_proto("s");
        let scalar = |name: &str, v| Tensor::from_i64(vec![], &[v]).to_proto(name);
        let constants = vec![
            shape,
            scalar("zero", 0),
            scalar("huge", i64::MAX),
            scalar("one", 1),
        ];
        let inputs: &[&str] = match op {
            "ConstantOfShape" => &["s"],
            "Range" => &["zero", "huge", "one"],
            "Pad" | "Tile" | "Expand" | "Reshape" | "Unsqueeze" | "Slice" => &["x", "s"],
            _ => &["x", "", "", "s"],
        };
        let last = node("Shape", "", &["c"], &["y"]);
        model_of(vec![node(op, "", inputs, &["c"]), last], constants).encode_to_vec()
    };
    let mut truncated = vec![0x3a];
    prost::encoding::encode_varint(1 << 40, &mut truncated);
    let mut cases = vec![
        ("a graph longer than the file", truncated),
        ("a tensor of 2^38 floats", with(tensor(&[HUGE], 1))),
        ("a tensor of 2^38 strings", with(tensor(&[HUGE], 8))),
        (
            "a tensor of 2^62 x 2^62",
            with(tensor(&[1 << 62, 1 << 62], 1)),
        ),
        ("a negative extent", with(tensor(&[-1], 1))),
        ("2^38 x 0", with(tensor(&[HUGE, 0], 1))),
        ("split", {
            let split = node("Split", "", &["x"], &["y"])
                .with_attribute(attribute::int("num_outputs", HUGE));
            model_of(vec![split], vec![]).encode_to_vec()
        }),
        ("an input of 2^62", {
            let mut proto = model_of(vec![node("Relu", "", &["x"], &["y"])], vec![]);
            proto.graph.as_mut().unwrap().input[0] = value("x", &[1 << 62, 4]);
            proto.encode_to_vec()
        }),
    ];
    let operators = [
        "ConstantOfShape",
        "Range",
        "Pad",
        "Tile",
        "Expand",
        "Reshape",
        "Unsqueeze",
        "Slice",
        "Resize",
    ];
    for op in operators {
        for shape in [
            &[HUGE][..],
            &[HUGE, 0],
            &[i64::MAX, i64::MAX],
            &[i64::MIN, -1],
            &[1, 1, HUGE, HUGE],
        ] {
            cases.push((op, computing(op, shape)));
        }
    }
    for (name, bytes) in cases {
        let size = bytes.len();
        let ((), peak) = peak_of(|| read(bytes));
        assert!(
            peak < 200 * size + (1 << 16),
            "{name}: {peak} bytes for a file of {size}"
        );
    }
}

#[test]
fn a_file_of_empty_messages_stays_within_its_order() {
    const COUNT: usize = 1 << 19;
    let empty = |number: u32| field(number, &[]).repeat(COUNT);
    let node_of = |attributes: Vec<u8>| field(7, &field(1, &attributes));
    for (name, bytes) in [
        ("nodes", field(7, &empty(1))),
        ("initializers", field(7, &empty(5))),
        ("attributes", node_of(empty(5))),
        ("inputs of a node", node_of(empty(1))),
        ("functions", empty(25)),
        ("unknown fields", empty(99)),
    ] {
        let size = bytes.len();
        let (result, peak) = peak_of(|| Model::decode(bytes.into(), Path::new("m.onnx")).map(drop));
        assert!(result.is_err(), "{name}");
        assert!(
            peak < 40 * size + (64 << 20),
            "{name}: {peak} bytes for a file of {size}"
        );
    }
}

#[test]
fn long_names_and_many_faults_do_not_multiply() {
    // A hundred thousand faults, each below a name of a hundred thousand characters.
    let mut proto: ModelProto = model_of(vec![node("", "", &[], &[]); 100_000], vec![]);
    proto.graph.as_mut().unwrap().name = Some("n".repeat(100_000));
    let bytes = proto.encode_to_vec();
    let size = bytes.len();
    let (result, peak) = peak_of(|| Model::decode(bytes.into(), Path::new("m.onnx")).map(drop));
    assert!(result.unwrap_err().to_string().len() < 20_000);
    assert!(peak < 200 * size, "{peak} bytes for a file of {size}");
}
