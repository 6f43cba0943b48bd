//! Tensors whose payload lies in another file: what is read, what is refused, what is written.

use std::path::{Path, PathBuf};

use prost::Message;
use tilecast_onnx::proto::{
    Convert, ModelProto, StringStringEntryFields, StringStringEntryProto, TensorProto,
};
use tilecast_onnx::{
    DataType, LoadErrorKind, Model, Patch, SaveOptions, Tensor, attribute, infer_shapes, node,
};

use crate::support::{graph, model, value};

/// Keys and values of `external_data`.
type Entries<'a> = &'a [(&'a str, &'a str)];

/// A float32 tensor `name` of two elements with these `external_data` entries.
fn reference(name: &str, entries: Entries<'_>) -> TensorProto {
    let mut tensor = Tensor::from_f32(vec![2], &[0.0, 0.0]).to_proto(name);
    tensor.raw_data = None;
    tensor.data_location = Some(1);
    tensor.external_data = entries
        .iter()
        .map(|&(key, value)| {
            StringStringEntryProto::from(StringStringEntryFields {
                key: Some(key.into()),
                value: Some(value.into()),
            })
        })
        .collect();
    tensor
}

fn sum_of(initializers: Vec<TensorProto>) -> ModelProto {
    let mut inputs = vec!["x"];
    inputs.extend(initializers.iter().filter_map(|t| t.name.as_deref()));
    let nodes = vec![node("Sum", "sum", &inputs, &["y"])];
    model(
        17,
        graph(vec![value("x", &[2])], nodes, initializers, &["y"]),
    )
}

fn write(folder: &Path, model: &ModelProto) -> PathBuf {
    let path = folder.join("m.onnx");
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    path
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[test]
fn every_way_to_reach_a_tensor_follows_its_reference() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(
        folder.path().join("data/w.bin"),
        floats(&[9.0, 1.0, 2.0, 3.0, 4.0]),
    )
    .unwrap();
    let at = |offset: &'static str| {
        [
            ("location", "data/w.bin"),
            ("offset", offset),
            ("length", "8"),
        ]
    };
    let in_attribute = {
        let mut value = attribute::tensor("value", &Tensor::from_f32(vec![2], &[0.0; 2]));
        value.t = Some(Box::new(reference("", &at("12"))));
        value
    };
    let proto = model(
        17,
        graph(
            vec![value("x", &[2])],
            vec![
                node("Constant", "c", &[], &["two"]).with_attribute(in_attribute),
                node("Sum", "sum", &["x", "one", "two"], &["y"]),
            ],
            vec![reference("one", &at("4"))],
            &["y"],
        ),
    );
    let path = write(folder.path(), &proto);
    let loaded = Model::load(&path).unwrap();
    let graph = loaded.graph();
    for (name, expected) in [("one", [1.0, 2.0]), ("two", [3.0, 4.0])] {
        let tensor = graph.constant(name).unwrap().unwrap();
        assert_eq!(tensor.to_f32_vec().unwrap(), expected, "{name}");
    }
    let tensor = Tensor::from_proto(graph.initializer("one").unwrap()).unwrap();
    assert_eq!(tensor.dims(), [2]);
    let shapes = infer_shapes(&graph, &[]).unwrap();
    assert_eq!(shapes.shape("y"), Some(&[2][..]));
    assert!(loaded.to_bytes() == std::fs::read(&path).unwrap());
    assert_eq!(loaded.stored_bytes(), loaded.encoded_len() as u64 + 16);
}

#[test]
fn a_reference_that_cannot_be_followed_is_named_with_tensor_file_and_cause() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(outer.path().join("secret"), [0; 64]).unwrap();
    std::fs::write(folder.join("w"), [0; 8]).unwrap();
    let absolute = folder.join("w").to_str().unwrap().to_owned();
    let checksum = "0".repeat(39);
    let (invalid, io) = (LoadErrorKind::Invalid, LoadErrorKind::Io);
    #[rustfmt::skip]
    let cases: &[(Entries, LoadErrorKind, &str)] = &[
        (&[], invalid, "`location` is missing"),
        (&[("location", "")], invalid, "`location` is missing"),
        (&[("location", "w"), ("location", "w")], invalid, "`location` is there twice"),
        (&[("location", "w"), ("offset", "-4")], invalid, "`offset` is `-4`, not a number of bytes"),
        (&[("location", "w"), ("length", "8.0")], invalid, "`length` is `8.0`, not a number of bytes"),
        (&[("location", "w"), ("checksum", &checksum)], invalid, "not a SHA-1"),
        (&[("location", "w"), ("length", "9")], invalid, "needs 9 bytes from byte 0 on, the file has 8"),
        (&[("location", "w"), ("offset", "4"), ("length", "8")], invalid, "from byte 4 on, the file has 8"),
        (&[("location", "w"), ("offset", "9")], invalid, "from byte 9 on, the file has 8"),
        (&[("location", "w"), ("offset", "18446744073709551615"), ("length", "8")], invalid, "the file has 8"),
        (&[("location", "w"), ("length", "4")], invalid, "payload has 4 bytes, float32 [2] needs 8"),
        (&[("location", "missing")], io, "no such file"),
        (&[("location", "../secret")], invalid, "must lie in the model's folder"),
        (&[("location", "sub/../../secret")], invalid, "must lie in the model's folder"),
        (&[("location", &absolute)], invalid, "must lie in the model's folder"),
        (&[("location", ".")], invalid, "not a regular file"),
    ];
    for (entries, kind, cause) in cases {
        let path = write(&folder, &sum_of(vec![reference("weight", entries)]));
        let error = Model::load(&path).expect_err(cause);
        let text = error.to_string();
        assert_eq!(error.kind(), *kind, "{text}");
        assert!(text.contains(cause), "{text}");
        assert!(text.contains("`weight`"), "{text}");
        assert!(text.contains("m.onnx"), "{text}");
    }
}

#[test]
fn a_tensor_with_two_payloads_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("w"), [0; 8]).unwrap();
    let mut both = reference("weight", &[("location", "w")]);
    both.raw_data = Some(vec![0; 8].into());
    let error = Model::load(&write(folder.path(), &sum_of(vec![both]))).unwrap_err();
    assert!(
        error.to_string().contains("a payload of its own"),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn symbolic_links_lead_out_of_the_folder_no_more_than_paths_do() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(outer.path().join("secret"), [0; 8]).unwrap();
    std::fs::write(folder.join("inside"), floats(&[5.0, 6.0])).unwrap();
    std::os::unix::fs::symlink(outer.path().join("secret"), folder.join("out")).unwrap();
    std::os::unix::fs::symlink("inside", folder.join("in")).unwrap();

    let path = write(
        &folder,
        &sum_of(vec![reference("w", &[("location", "out")])]),
    );
    let error = Model::load(&path).unwrap_err();
    assert!(
        error.to_string().contains("must lie in the model's folder"),
        "{error}"
    );

    let path = write(
        &folder,
        &sum_of(vec![reference("w", &[("location", "in")])]),
    );
    let loaded = Model::load(&path).unwrap();
    let tensor = loaded.graph().constant("w").unwrap().unwrap();
    assert_eq!(tensor.to_f32_vec().unwrap(), [5.0, 6.0]);
}

#[test]
fn a_model_without_its_folder_keeps_its_references_and_says_so() {
    let proto = sum_of(vec![reference("w", &[("location", "w")])]);
    let built = Model::from_proto(proto.clone()).unwrap();
    assert!(built.to_bytes() == proto.encode_to_vec());
    let error = built.graph().constant("w").unwrap_err().to_string();
    assert!(
        error.contains("`w`") && error.contains("not opened"),
        "{error}"
    );
}

/// Weights above and below the size that is worth moving, one of them in a typed field.
fn inline_model() -> ModelProto {
    let large: Vec<f32> = (0..600).map(|i| i as f32).collect();
    let raw = Tensor::from_f32(vec![600], &large).to_proto("raw");
    let mut typed = Tensor::from_f32(vec![600], &large).to_proto("typed");
    typed.raw_data = None;
    typed.float_data = large;
    let small = Tensor::from_f32(vec![], &[2.0]).to_proto("small");
    let inputs = ["x", "raw", "typed", "small"];
    model(
        17,
        graph(
            vec![value("x", &[600])],
            vec![node("Sum", "sum", &inputs, &["y"])],
            vec![raw, typed, small],
            &["y"],
        ),
    )
}

#[test]
fn a_model_over_the_limit_keeps_its_weights_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big.onnx");
    let original = Model::from_proto(inline_model()).unwrap();
    let exact = SaveOptions {
        largest_single_file: original.encoded_len() as u64,
    };
    original.save_with(&path, &exact).unwrap();
    assert_eq!(names_in(folder.path()), ["big.onnx"]);
    assert!(std::fs::read(&path).unwrap() == original.to_bytes());

    let less = SaveOptions {
        largest_single_file: exact.largest_single_file - 1,
    };
    original.save_with(&path, &less).unwrap();
    assert_eq!(names_in(folder.path()), ["big.onnx", "big.onnx.data"]);
    let data = std::fs::read(folder.path().join("big.onnx.data")).unwrap();
    assert_eq!(data.len(), 4096 + 2400, "the second payload is aligned");
    assert!(std::fs::metadata(&path).unwrap().len() < 1024);

    let loaded = Model::load(&path).unwrap();
    for name in ["raw", "typed", "small"] {
        let before = original.graph().constant(name).unwrap().unwrap();
        let after = loaded.graph().constant(name).unwrap().unwrap();
        assert!(before == after, "{name}");
    }
    let is_external = |name| loaded.graph().initializer(name).unwrap().is_external();
    assert_eq!(
        ["raw", "typed", "small"].map(is_external),
        [true, true, false]
    );
}

#[test]
fn external_data_is_written_back_byte_for_byte_also_over_itself() {
    let folder = tempfile::tempdir().unwrap();
    // Written by another tool: offsets in another order than the tensors, one of them shared, another alignment.
    let mut data = vec![0; 24];
    data[..8].copy_from_slice(&floats(&[1.0, 2.0]));
    data[16..].copy_from_slice(&floats(&[3.0, 4.0]));
    std::fs::write(folder.path().join("m.onnx.data"), &data).unwrap();
    let at = |offset: &'static str| {
        [
            ("offset", offset),
            ("location", "m.onnx.data"),
            ("length", "8"),
            ("note", "kept"),
        ]
    };
    let proto = sum_of(vec![
        reference("late", &at("16")),
        reference("early", &at("00")),
        reference("again", &at("16")),
    ]);
    let path = write(folder.path(), &proto);
    let bytes = std::fs::read(&path).unwrap();
    let loaded = Model::load(&path).unwrap();

    loaded.save(&path).unwrap();
    assert_eq!(names_in(folder.path()), ["m.onnx", "m.onnx.data"]);
    assert!(std::fs::read(&path).unwrap() == bytes);
    assert!(std::fs::read(folder.path().join("m.onnx.data")).unwrap() == data);

    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("renamed.onnx");
    loaded.save(&copy).unwrap();
    assert_eq!(
        names_in(elsewhere.path()),
        ["renamed.onnx", "renamed.onnx.data"]
    );
    let copied = Model::load(&copy).unwrap();
    for name in ["early", "late", "again"] {
        let before = loaded.graph().constant(name).unwrap();
        assert_eq!(copied.graph().constant(name).unwrap(), before, "{name}");
    }
}

#[test]
fn an_edited_model_takes_over_what_was_not_edited() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.bin"), floats(&[1.0, 2.0])).unwrap();
    std::fs::write(folder.path().join("b.bin"), floats(&[3.0, 4.0])).unwrap();
    let path = write(
        folder.path(),
        &sum_of(vec![
            reference("a", &[("location", "a.bin")]),
            reference("b", &[("location", "b.bin")]),
        ]),
    );
    let mut edited = Model::load(&path).unwrap();
    let mut patch = Patch::default();
    patch.set_initializer("a", &Tensor::from_f32(vec![2], &[7.0, 8.0]));
    patch.apply(&mut edited).unwrap();
    let copy = folder.path().join("edited.onnx");
    edited.save(&copy).unwrap();

    let saved = Model::load(&copy).unwrap();
    let read = |name: &str| {
        let tensor = saved.graph().constant(name).unwrap().unwrap();
        tensor.to_f32_vec().unwrap()
    };
    assert_eq!([read("a"), read("b")], [[7.0, 8.0], [3.0, 4.0]]);
    assert!(!saved.graph().initializer("a").unwrap().is_external());
    let data = std::fs::read(folder.path().join("edited.onnx.data")).unwrap();
    assert!(data == floats(&[3.0, 4.0]));
}

#[test]
fn a_large_model_may_be_saved_over_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    // Long enough to be mapped rather than read.
    let weights = vec![0.5; 1 << 19];
    let tensor = Tensor::from_f32(vec![1 << 19], &weights).to_proto("w");
    let proto = sum_of(vec![tensor]);
    std::fs::write(&path, proto.encode_to_vec()).unwrap();
    let loaded = Model::load(&path).unwrap();
    loaded.save(&path).unwrap();
    assert!(std::fs::read(&path).unwrap() == proto.encode_to_vec());
    assert!(loaded.to_bytes() == proto.encode_to_vec());
}

/// The high byte of each pair.
fn high_bytes(payload: &[u8]) -> Vec<u8> {
    payload.iter().skip(1).step_by(2).copied().collect()
}

#[test]
fn a_converted_tensor_is_read_and_saved_in_its_new_type() {
    let folder = tempfile::tempdir().unwrap();
    let n = 3 << 19;
    let payload: Vec<u8> = (0..4 * n as u32).map(|i| (i % 251) as u8).collect();
    std::fs::write(folder.path().join("w.bin"), &payload).unwrap();
    let mut large = reference("w", &[("location", "w.bin")]);
    large.dims = vec![n];
    let path = write(folder.path(), &sum_of(vec![large]));
    let loaded = Model::load(&path).unwrap();
    let convert = |from| Convert {
        from,
        to: from / 2,
        elements: high_bytes,
    };
    let source = loaded.graph_proto().initializer[0].clone();
    let half = source.converted("h", DataType::F16, convert(4)).unwrap();
    let expected = high_bytes(&payload);
    assert_eq!(half.external.byte_len(), Some(expected.len()));
    assert!(Tensor::from_proto(&half).unwrap().bytes() == &expected);
    // Only once, only whole elements, only what lies in a file.
    assert!(half.converted("q", DataType::I8, convert(2)).is_none());
    assert!(source.converted("h", DataType::F16, convert(5)).is_none());
    let inside = Tensor::from_f32(vec![1], &[1.0]).to_proto("i");
    assert!(inside.converted("h", DataType::F16, convert(4)).is_none());

    let mut model = loaded.clone();
    let mut patch = Patch::default();
    patch.remove_initializer("w");
    patch.set_initializer_message(half);
    patch
        .edit_node(&loaded.graph(), tilecast_onnx::NodeId(0))
        .input[1] = "h".into();
    patch.apply(&mut model).unwrap();
    model.save(&folder.path().join("out.onnx")).unwrap();
    assert!(std::fs::read(folder.path().join("out.onnx.data")).unwrap() == expected);
    let saved = Model::load(&folder.path().join("out.onnx")).unwrap();
    let found = saved.graph().constant("h").unwrap().unwrap();
    assert_eq!(
        (found.data_type(), found.dims()),
        (DataType::F16, &[n as usize][..])
    );
    // A message that claims another length is caught before anything is converted.
    let mut wrong = source.converted("h", DataType::F16, convert(4)).unwrap();
    wrong.dims = vec![n + 1];
    let mut patch = Patch::default();
    patch.set_initializer_message(wrong);
    let error = patch.apply(&mut loaded.clone()).unwrap_err().to_string();
    assert!(error.contains("tensor `h`: payload has"), "{error}");
}

/// A large tensor inside of the model stays there: it is converted on the way to the file, or to a data file where the model
/// would be too long.
#[test]
fn a_large_payload_inside_the_model_is_converted_while_it_is_written() {
    const N: usize = 40_000;
    let values: Vec<f32> = (0..N).map(|i| i as f32 / 8.0).collect();
    let source = Tensor::from_f32(vec![N], &values).to_proto("w");
    let convert = Convert {
        from: 4,
        to: 2,
        elements: |payload| {
            let floats = payload.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b));
            floats.flat_map(|v| (v as u16).to_le_bytes()).collect()
        },
    };
    let narrow = |name: &str| source.converted(name, DataType::U16, convert).unwrap();
    let nodes = vec![node("Cast", "cast", &["w"], &["y"]).with_attribute(attribute::int("to", 1))];
    let proto = model(17, graph(vec![], nodes, vec![narrow("w")], &["y"]));
    let model = Model::from_proto(proto).unwrap();
    let expected: Vec<i64> = values.iter().map(|&v| i64::from(v as u16)).collect();

    let bytes = model.to_bytes();
    assert_eq!(bytes.len(), model.encoded_len());
    assert_eq!(bytes.len() as u64, model.stored_bytes());
    let read = ModelProto::decode(&bytes[..]).unwrap();
    let tensor = &read.graph.as_ref().unwrap().initializer[0];
    assert!(!tensor.is_external() && tensor.external_data.is_empty());
    assert_eq!(tensor.raw_data.as_ref().unwrap().len(), 2 * N);

    let folder = tempfile::tempdir().unwrap();
    for (limit, files) in [
        (u64::MAX, vec!["m.onnx"]),
        (100, vec!["m.onnx", "m.onnx.data"]),
    ] {
        let path = folder.path().join("m.onnx");
        let options = SaveOptions {
            largest_single_file: limit,
        };
        model.save_with(&path, &options).unwrap();
        assert_eq!(names_in(folder.path()), files);
        let saved = Model::load(&path).unwrap();
        let tensor = saved.graph().constant("w").unwrap().unwrap();
        assert_eq!(tensor.to_i64_vec().unwrap(), expected);
    }
    let small = Tensor::from_f32(vec![2], &[1.0, 2.0]).to_proto("s");
    assert!(
        small.converted("s", DataType::U16, convert).is_none(),
        "not worth it"
    );
}
