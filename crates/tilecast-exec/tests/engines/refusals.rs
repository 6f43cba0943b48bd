//! What the engine does not run is refused at load, with the node and the reason; nothing panics.

use tilecast_exec::{Engine, HostTensor, SessionOptions, TractEngine};
use tilecast_onnx::proto::{
    AttributeFields, AttributeProto, DimValue, FunctionFields, FunctionProto, GraphFields,
    GraphProto, NodeProto, ValueInfoFields, ValueInfoProto,
};
use tilecast_onnx::{DataType, Model, Tensor, attribute, node};

use crate::{Small, sample, tensor};

const DIMS: [usize; 4] = [1, 2, 4, 4];

fn int8(values: &[i8]) -> Tensor {
    let bytes: Vec<u8> = values.iter().map(|&v| v as u8).collect();
    Tensor::from_raw(DataType::I8, vec![values.len()], bytes.into()).unwrap()
}

/// Loads a graph of these nodes over some constants; the error's text.
#[track_caller]
fn refusal(opset: i64, nodes: Vec<NodeProto>) -> String {
    let initializers = vec![
        Tensor::from_f32(vec![], &[0.1]).to_proto("s"),
        Tensor::from_f32(vec![], &[0.2]).to_proto("s2"),
        Tensor::from_f32(vec![2], &[0.1, 0.2]).to_proto("per_channel"),
        Tensor::from_f32(vec![2, 2, 1, 1], &[1.0; 4]).to_proto("w"),
        Tensor::from_f32(vec![], &[0.0]).to_proto("zero_scale"),
        int8(&[0]).to_proto("z"),
        int8(&[1, 2]).to_proto("ints"),
        Tensor::from_i64(vec![8], &[0, 0, -1, 0, 0, 0, 0, 0]).to_proto("negative"),
        Tensor::from_i64(vec![8], &[0, 0, 4, 0, 0, 0, 0, 0]).to_proto("wide"),
        Tensor::from_i64(vec![1], &[7]).to_proto("seven"),
        Tensor::from_raw(DataType::U16, vec![1], vec![0; 2].into())
            .unwrap()
            .to_proto("wide_int"),
        Tensor::from_raw(DataType::Bool, vec![], vec![1].into())
            .unwrap()
            .to_proto("yes"),
    ];
    let mut graph = Small::new(&DIMS, nodes, initializers);
    graph.opset = opset;
    graph
        .load(&TractEngine::new())
        .expect_err("the model is to be refused")
        .to_string()
}

fn subgraph() -> AttributeProto {
    AttributeProto::from(AttributeFields {
        name: Some("then_branch".into()),
        r#type: Some(5),
        g: Some(Box::new(GraphProto::from(GraphFields {
            output: vec![ValueInfoProto::from(ValueInfoFields {
                name: Some("x".into()),
                ..ValueInfoFields::default()
            })],
            ..GraphFields::default()
        }))),
        ..AttributeFields::default()
    })
}

#[test]
fn nodes_outside_the_allow_list_are_refused_by_path() {
    let foreign = {
        let mut foreign = node("Relu", "n", &["x"], &["y"]);
        foreign.attribute.push(attribute::int("sharpness", 3));
        foreign
    };
    let with = |op: &str, inputs: &[&str], attribute: AttributeProto| {
        vec![node(op, "n", inputs, &["y"]).with_attribute(attribute)]
    };
    for (opset, nodes, reason) in [
        (
            21,
            vec![foreign],
            "tract cannot run this model: g/node \"n\" (Relu): attribute `sharpness` of Relu is not supported here and would be ignored; remove it if it does nothing, or use another engine",
        ),
        (
            21,
            vec![node("NonZero", "n", &["x"], &["y"])],
            "g/node \"n\" (NonZero): operator NonZero is not supported here; replace it with supported ones or use another engine",
        ),
        (
            9,
            vec![node("Upsample", "", &["x", "s"], &["y"])],
            "g/node #0 (Upsample): operator Upsample is not supported here",
        ),
        (
            16,
            vec![node("LayerNormalization", "n", &["x", "s"], &["y"])],
            "needs opset 17, the model has 16",
        ),
        (
            6,
            vec![node("Relu", "n", &["x"], &["y"])],
            "model: it uses opset 6; 7 to 28 are supported here",
        ),
        (
            29,
            vec![node("Relu", "n", &["x"], &["y"])],
            "model: it uses opset 29; 7 to 28 are supported here",
        ),
        (
            21,
            with("Pad", &["x", "wide"], attribute::string("mode", "wrap")),
            "attribute `mode` of Pad is wrap; supported here: constant, reflect, edge",
        ),
        (
            21,
            with("SpaceToDepth", &["x"], attribute::string("mode", "CRD")),
            "attribute `mode` of SpaceToDepth is CRD; supported here: DCR",
        ),
        (
            15,
            with(
                "BatchNormalization",
                &["x", "s", "s", "s", "s"],
                attribute::int("training_mode", 1),
            ),
            "attribute `training_mode` of BatchNormalization is 1; supported here: 0",
        ),
        (
            9,
            vec![node(
                "BatchNormalization",
                "n",
                &["x", "s", "s", "s", "s"],
                &["y", "m"],
            )],
            "it has training outputs; export the model for inference",
        ),
        (
            21,
            vec![node("Dropout", "n", &["x", "s", "yes"], &["y"])],
            "its training mode is not constantly off",
        ),
        (
            21,
            vec![
                node("GridSample", "n", &["x", "w"], &["y"])
                    .with_attribute(attribute::string("mode", "cubic"))
                    .with_attribute(attribute::string("padding_mode", "border")),
            ],
            "tract computes bicubic sampling with border padding otherwise than other runtimes",
        ),
        (
            12,
            with("LogSoftmax", &["x"], attribute::int("axis", 1)),
            "before opset 13 it works along all axes from the given one on",
        ),
        (
            21,
            vec![node("Mod", "n", &["x", "s"], &["y"])],
            "tract computes a remainder of floats with `fmod` 0 without the sign of zeros",
        ),
        (
            21,
            with("If", &["yes"], subgraph()),
            "g/node \"n\" (If): it holds a subgraph, and control flow is not supported here",
        ),
    ] {
        let error = refusal(opset, nodes);
        assert!(error.contains(reason), "{error}\nshould say: {reason}");
    }
}

#[test]
fn quantization_outside_of_pairs_is_refused_by_path() {
    let pair = |dequantize: &[&str]| {
        vec![
            node("QuantizeLinear", "q", &["x", "s", "z"], &["q"]),
            node("DequantizeLinear", "d", dequantize, &["y"]),
        ]
    };
    let mut moved = pair(&["r", "s", "z"]);
    moved.insert(1, node("Relu", "r", &["q"], &["r"]));
    let mut computed = pair(&["q", "s", "z"]);
    computed.insert(0, node("Abs", "a", &["s"], &["c"]));
    computed[1].input[1] = "c".into();
    let quantize = |scale: &str, zero_point: &str| {
        let mut nodes = pair(&["q", scale, zero_point]);
        nodes[0].input[1] = scale.into();
        nodes[0].input[2] = zero_point.into();
        nodes
    };
    for (nodes, reason) in [
        (
            moved,
            "g/node \"q\" (QuantizeLinear): its integers `q` are read by something else than DequantizeLinear",
        ),
        (
            pair(&["q", "s2", "z"]),
            "g/node \"d\" (DequantizeLinear): its scale or zero point is not that of the QuantizeLinear before it",
        ),
        (
            computed,
            "its input 1 `c` is computed; only constant scales and zero points are supported here",
        ),
        (
            quantize("per_channel", "ints"),
            "its scale has shape [2]; activations are quantized per tensor here",
        ),
        (
            quantize("s", "wide_int"),
            "it quantizes to uint16; activations are uint8 or int8 here",
        ),
        (quantize("zero_scale", "z"), "is not a positive normal f32"),
        (
            vec![
                node("Cast", "c", &["x"], &["i"]).with_attribute(attribute::int("to", 3)),
                node("DequantizeLinear", "d", &["i", "s"], &["y"]),
            ],
            "g/node \"d\" (DequantizeLinear): its input `i` is neither a constant nor the output of a QuantizeLinear",
        ),
        (
            vec![
                node("DequantizeLinear", "d", &["w", "s"], &["v"]),
                node("Add", "a", &["x", "v"], &["y"]),
            ],
            "g/node \"d\" (DequantizeLinear): its constant is float32, which is not supported here",
        ),
        (
            vec![
                node("DequantizeLinear", "d", &["z", "per_channel"], &["v"]),
                node("Add", "a", &["x", "v"], &["y"]),
            ],
            "it has 2 scales for axis 1 of a tensor of shape [1]",
        ),
        (
            vec![
                node("DynamicQuantizeLinear", "n", &["x"], &["q", "ys", "yz"]),
                node("DequantizeLinear", "d", &["q", "ys", "yz"], &["y"]),
            ],
            "g/node \"n\" (DynamicQuantizeLinear): its output `q` is read by something else than MatMulInteger",
        ),
    ] {
        let error = refusal(21, nodes);
        assert!(error.contains(reason), "{error}\nshould say: {reason}");
    }
}

#[test]
fn types_that_are_not_computed_in_are_refused() {
    let cast =
        |code: i64| node("Cast", "c", &["x"], &["t"]).with_attribute(attribute::int("to", code));
    let back = || node("Cast", "b", &["t"], &["y"]).with_attribute(attribute::int("to", 1));
    for (nodes, reason) in [
        (
            vec![cast(13), back()],
            "g/node \"c\" (Cast): it computes in uint64, which is not supported here",
        ),
        (
            vec![node("Neg", "n", &["wide_int"], &["t"]), back()],
            "its constant `wide_int` is uint16, which is not supported here",
        ),
        (
            vec![node("Cast", "n", &["wide_int"], &["y"]).with_attribute(attribute::int("to", 1))],
            "its constant `wide_int` is uint16, which is not supported here",
        ),
    ] {
        let error = refusal(21, nodes);
        assert!(error.contains(reason), "{error}\nshould say: {reason}");
    }
    let mut integers = Small::new(&DIMS, vec![node("Relu", "n", &["x"], &["y"])], vec![]);
    integers.input.0 = DataType::I32;
    let error = integers.load(&TractEngine::new()).unwrap_err().to_string();
    assert!(
        error.contains("input `x`: it is int32; only float32, float16 and bfloat16"),
        "{error}"
    );
}

#[test]
fn hostile_graphs_give_errors() {
    let reflect = attribute::string("mode", "reflect");
    for (nodes, reason) in [
        (
            vec![node("Pad", "n", &["x", "negative"], &["y"])],
            "g/node \"n\" (Pad): negative pads are not supported here; crop with Slice instead",
        ),
        (
            vec![node("Pad", "n", &["x", "wide"], &["y"]).with_attribute(reflect)],
            "g/node \"n\" (Pad): axis 2 of size 4 cannot be padded by reflection by 4 and 0; use a larger input",
        ),
        (
            vec![node("Gather", "n", &["x", "seven"], &["y"])],
            "g/node \"n\" (Gather)",
        ),
        (
            vec![node("Conv", "n", &["x"], &["y"])],
            "g/node \"n\" (Conv)",
        ),
        (
            vec![
                node("Concat", "n", &["x", "s"], &["y"]).with_attribute(attribute::int("axis", 9)),
            ],
            "g/node \"n\" (Concat)",
        ),
        (
            vec![
                node("Conv", "n", &["x", "w"], &["y"])
                    .with_attribute(attribute::ints("strides", &[0, 0])),
            ],
            "it panicked (attempt to divide by zero), so the model breaks an assumption of this engine",
        ),
        (
            vec![
                node("Transpose", "n", &["x"], &["y"])
                    .with_attribute(attribute::ints("perm", &[0, 1, 2, 9])),
            ],
            "it panicked (index out of bounds",
        ),
        (
            vec![node("Reshape", "n", &["x", "seven"], &["y"])],
            "g/node \"n\" (Reshape)",
        ),
    ] {
        let error = refusal(21, nodes);
        assert!(error.contains(reason), "{error}\nshould say: {reason}");
    }
}

#[test]
fn functions_and_foreign_domains_are_refused() {
    let relu = || Small::new(&DIMS, vec![node("Relu", "n", &["x"], &["y"])], vec![]).proto();
    let mut function = relu();
    function.functions.push(FunctionProto::from(FunctionFields {
        name: Some("Relu".into()),
        ..FunctionFields::default()
    }));
    let mut foreign = relu();
    foreign.graph.as_mut().unwrap().node[0].domain = Some("com.example".into());
    let mut opset = foreign.opset_import[0].clone();
    opset.domain = Some("com.example".into());
    foreign.opset_import.push(opset);
    for (proto, reason) in [
        (
            function,
            "g/node \"n\" (Relu): it calls a function of the model",
        ),
        (
            foreign,
            "g/node \"n\" (com.example::Relu): domain `com.example` is not supported here",
        ),
    ] {
        let model = Model::from_proto(proto).unwrap();
        let error = TractEngine::new()
            .load(&model, &SessionOptions::default())
            .unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn shapes_must_be_concrete_and_agree_with_the_model() {
    let model = sample("nafnet-denoise.onnx");
    for (name, dims, reason) in [
        (
            None,
            vec![],
            "input `input`: dimension 2 is symbolic (`h`); give a concrete shape for this input",
        ),
        (
            Some("image"),
            vec![1, 3, 8, 8],
            "input `image`: the graph has no such input; it has [\"input\"]",
        ),
        (
            Some("input"),
            vec![3, 8, 8],
            "input `input`: the shape [3, 8, 8] has 3 dimensions, the model declares 4",
        ),
        (
            Some("input"),
            vec![1, 4, 8, 8],
            "input `input`: dimension 1 is 4, the model declares 3",
        ),
        (
            Some("input"),
            vec![1, 3, 0, 8],
            "input `input`: the shape [1, 3, 0, 8] has no element",
        ),
    ] {
        let options = SessionOptions {
            input_shapes: name
                .map(|name| (name.to_owned(), dims))
                .into_iter()
                .collect(),
            ..SessionOptions::default()
        };
        let error = TractEngine::new()
            .load(&model, &options)
            .unwrap_err()
            .to_string();
        assert!(error.contains(reason), "{error}\nshould say: {reason}");
    }
    let mut unknown = Small::new(&DIMS, vec![node("Relu", "n", &["x"], &["y"])], vec![]);
    unknown.input.1 = vec![DimValue::DimValue(-3)];
    let error = unknown.load(&TractEngine::new()).unwrap_err().to_string();
    assert!(error.contains("input `x`: dimension 0 is -3"), "{error}");
}

#[test]
fn inputs_of_a_run_must_be_those_of_the_session() {
    let session = Small::new(&DIMS, vec![node("Relu", "n", &["x"], &["y"])], vec![])
        .load(&TractEngine::new())
        .unwrap();
    let error = session.run(&[]).unwrap_err().to_string();
    assert_eq!(
        error,
        "tract failed while running: 0 tensors given, the model has inputs [\"x\"]"
    );
    let error = session
        .run(&[HostTensor::new(vec![1, 2, 2, 8], vec![0.0; 32])])
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "tract failed while running: input `x` has shape [1, 2, 2, 8], the session was prepared for [1, 2, 4, 4]"
    );
    let _ = session.run(&[tensor(1, &DIMS)]).unwrap();
}
