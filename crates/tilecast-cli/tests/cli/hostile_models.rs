//! Models that were damaged or made to do harm: every verb refuses them with the file and the place.

use prost::Message;
use tilecast_onnx::proto::{
    DimValue, ModelProto, StringStringEntryFields, StringStringEntryProto, TensorProto, TypeValue,
};

use crate::model_failures::assert_refused;
use crate::support::{Folder, SRVGG, sample_model};

/// The ×2 network with a change, as `bad.onnx`.
fn folder_with(change: impl FnOnce(&mut ModelProto)) -> Folder {
    let folder = Folder::with_images();
    let mut model = ModelProto::decode(&sample_model(SRVGG)[..]).unwrap();
    change(&mut model);
    folder.write("bad.onnx", model.encode_to_vec());
    folder
}

#[test]
fn graphs_that_contradict_themselves() {
    type Change = fn(&mut ModelProto) -> String;
    // Each returns what the message has to name.
    let changes: [Change; 3] = [
        |model| {
            let nodes = &mut model.graph.as_mut().unwrap().node;
            let last = nodes[nodes.len() - 1].output[0].clone();
            let at = nodes.iter().position(|n| n.is("Conv")).unwrap();
            nodes[at].input[0].clone_from(&last);
            format!(
                "{:?} (Conv): input 0 `{last}` is produced by this or a later node",
                nodes[at].label()
            )
        },
        |model| {
            let nodes = &mut model.graph.as_mut().unwrap().node;
            let first = nodes[0].output[0].clone();
            nodes[1].output[0].clone_from(&first);
            format!("output `{first}` is already the name of another value")
        },
        |model| {
            let nodes = &mut model.graph.as_mut().unwrap().node;
            let at = nodes.iter().position(|n| n.is("PRelu")).unwrap();
            nodes[at].input[1] = "nowhere".into();
            format!(
                "{:?} (PRelu): input 1 `nowhere` is produced nowhere",
                nodes[at].label()
            )
        },
    ];
    for change in changes {
        let mut said = String::new();
        let folder = folder_with(|model| said = change(model));
        assert_refused(&folder, "bad.onnx", 3, &said);
    }
}

/// Changes the first weight and returns its name.
fn change_weight(model: &mut ModelProto, change: impl FnOnce(&mut TensorProto)) -> String {
    let weight = &mut model.graph.as_mut().unwrap().initializer[0];
    change(weight);
    weight.name.clone().unwrap()
}

#[test]
fn tensors_that_lie_about_themselves() {
    type Change = fn(&mut TensorProto);
    let changes: [(&str, Change); 4] = [
        ("negative dimension", |t| t.dims[0] = -3),
        ("are too large", |t| t.dims[0] = 1 << 62),
        ("payload has", |t| t.dims[0] += 1),
        ("payload has", |t| t.raw_data = Some(vec![0; 7].into())),
    ];
    for (cause, change) in changes {
        let mut name = String::new();
        let folder = folder_with(|model| name = change_weight(model, change));
        assert_refused(&folder, "bad.onnx", 3, &format!("tensor `{name}`"));
        assert_refused(&folder, "bad.onnx", 3, cause);
    }
}

#[test]
fn external_data_that_is_outside_too_short_or_missing() {
    for (location, length, code, said) in [
        ("../weights.bin", "16", 3, "must lie in the model's folder"),
        ("/etc/hostname", "16", 3, "must lie in the model's folder"),
        ("weights.bin", "1000000", 3, "the file has 4"),
        ("weights.bin", "-1", 3, "`length` is `-1`"),
        ("absent.bin", "16", 4, "no such file"),
    ] {
        let mut name = String::new();
        let folder = folder_with(|model| {
            name = change_weight(model, |tensor| {
                tensor.raw_data = None;
                tensor.data_location = Some(1);
                let entry = |key: &str, value: &str| {
                    StringStringEntryProto::from(StringStringEntryFields {
                        key: Some(key.into()),
                        value: Some(value.into()),
                    })
                };
                tensor.external_data = vec![entry("location", location), entry("length", length)];
            });
        });
        folder.write("weights.bin", [0; 4]);
        assert_refused(&folder, "bad.onnx", code, said);
        assert_refused(&folder, "bad.onnx", code, &format!("tensor `{name}`"));
    }
}

#[test]
fn ten_thousand_graphs_within_each_other() {
    let mut bytes = Vec::new();
    for _ in 0..10_000 {
        // A graph holds a node, the node an attribute, the attribute a graph.
        for number in [6, 5, 1] {
            bytes = field(number, &bytes);
        }
    }
    let folder = Folder::with_images();
    folder.write("bad.onnx", field(7, &bytes));
    assert_refused(&folder, "bad.onnx", 3, "not an ONNX model");
}

/// Bytes of a field with this number and payload.
fn field(number: u32, payload: &[u8]) -> Vec<u8> {
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
fn an_image_of_2_to_the_62_pixels_is_refused_before_it_is_allocated() {
    let folder = folder_with(|model| {
        let input = &mut model.graph.as_mut().unwrap().input[0];
        let Some(TypeValue::Tensor(tensor)) = &mut input.r#type.as_mut().unwrap().value else {
            panic!("the input is a tensor");
        };
        let dims = &mut tensor.shape.as_mut().unwrap().dim;
        dims[2].value = Some(DimValue::DimValue(1 << 62));
        dims[3].value = Some(DimValue::DimValue(1 << 62));
    });
    for line in [
        "simplify bad.onnx -o new.onnx",
        "convert bad.onnx --to fp16 -o new.onnx",
        "run bad.onnx images/1.png -o new.png",
    ] {
        folder.fail(line, 3);
    }
    // What only looks at the graph has nothing to allocate.
    for line in ["inspect bad.onnx", "lint bad.onnx"] {
        folder.run(line).assert_code(0);
    }
}
