//! Shapes of convolutions in the model, with one name per size.

use crate::common::Network;
use tilecast_onnx::declared_dimensions;
use tilecast_onnx::proto::DimValue;
use tilecast_passes::{RecordShapes, run_pass};

/// The recorded shape of each value, sizes as text.
fn recorded(network: &Network) -> Vec<(String, String)> {
    let mut model = network.build();
    assert!(run_pass(&RecordShapes, &mut model).unwrap().changed);
    let again = run_pass(&RecordShapes, &mut model).unwrap();
    assert!(!again.changed, "it records what is recorded");
    let text = |dim: DimValue| match dim {
        DimValue::DimValue(n) => n.to_string(),
        DimValue::DimParam(name) => name,
    };
    let shape = |v| {
        let dims = declared_dimensions(v).unwrap().into_iter().map(text);
        dims.collect::<Vec<_>>().join(" ")
    };
    let values = &model.graph_proto().value_info;
    values
        .iter()
        .map(|v| (v.name.clone().unwrap(), shape(v)))
        .collect()
}

#[test]
fn sizes_that_are_equal_have_one_name_and_others_have_another() {
    let network = Network::of_image(3)
        .conv("x", "w1", &[8, 3, 3, 3], "b1", "same")
        .ints("pads", &[1, 1, 1, 1])
        .conv("x", "w2", &[4, 3, 3, 3], "b2", "half")
        .ints("pads", &[1, 1, 1, 1])
        .ints("strides", &[2, 2])
        .conv("half", "w3", &[4, 4, 1, 1], "b3", "behind")
        .conv("same", "w4", &[2, 8, 2, 1], "b4", "less")
        .node("Relu", &["behind"], &["r"])
        .node("GlobalAveragePool", &["less"], &["p"])
        .conv("p", "w5", &[4, 2, 1, 1], "b5", "pooled")
        .node("Mul", &["r", "pooled"], &["y"]);
    let expected = [
        ("behind", "1 4 size_0 size_1"),
        ("half", "1 4 size_0 size_1"),
        ("less", "1 2 size_2 axis3"),
        ("pooled", "1 4 1 1"),
        ("same", "1 8 axis2 axis3"),
    ];
    let expected = expected.map(|(name, shape)| (name.to_owned(), shape.to_owned()));
    assert_eq!(recorded(&network), expected);
}
