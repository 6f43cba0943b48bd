//! Observed values are the ones that the graph computes, and observing changes nothing.

use std::collections::BTreeMap;

use tilecast_exec::{Engine, HostTensor, SessionOptions, TractEngine};
use tilecast_onnx::proto::{ValueInfoFields, ValueInfoProto};
use tilecast_onnx::{DataType, Model, Tensor, attribute, infer_types, node};

use crate::{Small, assert_identical, sample, tensor};

fn options(dims: &[usize], observe: &[&str]) -> SessionOptions {
    SessionOptions {
        input_shapes: vec![("input".into(), dims.to_vec())],
        observe: observe.iter().map(|&name| name.to_owned()).collect(),
        ..SessionOptions::default()
    }
}

/// Everything that an observed run shows, by slot, and its outputs.
fn observe(
    model: &Model,
    options: &SessionOptions,
    inputs: &[HostTensor],
) -> (BTreeMap<usize, HostTensor>, Vec<usize>, Vec<HostTensor>) {
    let session = TractEngine::new().load(model, options).unwrap();
    let (mut seen, mut order) = (BTreeMap::new(), Vec::new());
    let outputs = session
        .run_observed(inputs, &mut |slot, dims, values| {
            order.push(slot);
            let twice = seen.insert(slot, HostTensor::new(dims.to_vec(), values.to_vec()));
            assert!(twice.is_none(), "slot {slot} seen twice");
        })
        .unwrap();
    assert_eq!(seen.len(), options.observe.len());
    (seen, order, outputs)
}

/// The model with these values as further outputs.
fn with_outputs(model: &Model, names: &[&str]) -> Model {
    let mut proto = model.proto().clone();
    let graph = proto.graph.as_mut().unwrap();
    // A shape would be wrong; the engine looks at the element type only.
    let declared = graph.input[0].r#type.clone();
    graph.output.extend(names.iter().map(|&name| {
        ValueInfoProto::from(ValueInfoFields {
            name: Some(name.to_owned()),
            r#type: declared.clone(),
            ..ValueInfoFields::default()
        })
    }));
    Model::from_proto(proto).unwrap()
}

#[test]
fn observed_values_are_those_of_the_same_tensors_as_outputs() {
    let dims = [1, 3, 33, 47];
    let inputs = [tensor(1, &dims)];
    for file in ["nafnet-denoise.onnx", "srvgg-x2.onnx"] {
        let model = sample(file);
        let graph = model.graph();
        let types = infer_types(&graph);
        let mut names: Vec<&str> = graph
            .nodes()
            .filter(|(_, node)| ["Conv", "Mul", "PRelu", "GlobalAveragePool"].contains(&node.op()))
            .map(|(_, node)| node.output[0].as_str())
            .filter(|name| types.get(name) == Some(&DataType::F32))
            .step_by(9)
            .collect();
        assert!(names.len() > 1);
        let (seen, order, outputs) = observe(&model, &options(&dims, &names), &inputs);
        let (_, order_again, _) = observe(&model, &options(&dims, &names), &inputs);
        assert_eq!(order, order_again);

        let plain = TractEngine::new()
            .load(&model, &options(&dims, &[]))
            .unwrap()
            .run(&inputs)
            .unwrap();
        assert_identical(file, outputs[0].data(), plain[0].data());

        let exposed = with_outputs(&model, &names);
        let exposed = TractEngine::new()
            .load(&exposed, &options(&dims, &[]))
            .unwrap()
            .run(&inputs)
            .unwrap();
        for (slot, name) in names.drain(..).enumerate() {
            let (got, want) = (&seen[&slot], &exposed[slot + 1]);
            assert_eq!(got.dims(), want.dims(), "{file} {name}");
            for (got, want) in got.data().iter().zip(want.data()) {
                // Fusion across the tensor is blocked in both graphs, but not in the same places around it.
                assert!(
                    (got - want).abs() < 1e-5,
                    "{file} {name}: {got} is not {want}"
                );
            }
        }
    }
}

#[test]
fn inputs_outputs_and_two_names_of_one_tensor_can_be_observed() {
    let cast = |name: &str, from: &str, to: &str, data_type: DataType| {
        let code = attribute::int("to", i64::from(data_type.code()));
        node("Cast", name, &[from], &[to]).with_attribute(code)
    };
    let nodes = vec![
        node("Add", "add", &["x", "w"], &["a"]),
        cast("down", "a", "h", DataType::F16),
        cast("up", "h", "f", DataType::F32),
        node("Neg", "neg", &["f"], &["y"]),
    ];
    let weight = Tensor::from_f32(vec![1], &[0.3]).to_proto("w");
    let model = Small::new(&[1, 1, 2, 3], nodes, vec![weight]).model();
    let x = tensor(8, &[1, 1, 2, 3]);
    let names = ["y", "f", "h", "a", "x", "a"];
    let options = SessionOptions {
        observe: names.map(String::from).to_vec(),
        ..SessionOptions::default()
    };
    let (seen, _, outputs) = observe(&model, &options, std::slice::from_ref(&x));
    let sums: Vec<f32> = x.data().iter().map(|v| v + 0.3).collect();
    let rounded: Vec<f32> = sums
        .iter()
        .map(|&v| half::f16::from_f32(v).to_f32())
        .collect();
    for (slot, want) in [(1, &rounded), (2, &rounded), (3, &sums), (5, &sums)] {
        assert_identical(names[slot], seen[&slot].data(), want);
    }
    assert_identical("x", seen[&4].data(), x.data());
    assert_identical("y", seen[&0].data(), outputs[0].data());
}

#[test]
fn what_cannot_be_observed_is_refused_by_name() {
    let nodes = || {
        vec![
            node("Constant", "c", &[], &["c"]).with_attribute(attribute::float("value_float", 2.0)),
            node("Mul", "mul", &["x", "c"], &["y"]),
            node("Add", "add", &["x", "w"], &["unused"]),
            node("Shape", "shape", &["x"], &["s"]),
        ]
    };
    for (name, reason) in [
        (
            "nowhere",
            "value `nowhere`: it is to be observed and does not exist in the graph",
        ),
        ("w", "value `w`: it is to be observed and is a constant"),
        ("c", "value `c`: it is to be observed and is a constant"),
        (
            "s",
            "value `s`: it is to be observed and is not a float tensor",
        ),
        (
            "unused",
            "value `unused`: it is to be observed and no output depends on it",
        ),
    ] {
        let weight = Tensor::from_f32(vec![1], &[0.3]).to_proto("w");
        let model = Small::new(&[1, 1, 2, 3], nodes(), vec![weight]).model();
        let options = SessionOptions {
            observe: vec![name.into()],
            ..SessionOptions::default()
        };
        let error = TractEngine::new()
            .load(&model, &options)
            .unwrap_err()
            .to_string();
        assert!(error.contains(reason), "{error}");
    }
}
