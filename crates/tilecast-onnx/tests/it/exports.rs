//! Shapes of real exports: every value, at the sizes of which the outputs of ONNX Runtime are recorded, and at every size.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tilecast_onnx::proto::{DimValue, TypeValue, ValueInfoProto};
use tilecast_onnx::{
    Facts, InputExtents, Model, bind, bound_extents, dimension_names, infer_shapes,
};

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models")
}

/// A file, an input size, and the shape of the output there.
struct Recorded {
    file: String,
    size: [usize; 2],
    output: Vec<usize>,
}

/// The exports at the sizes of their index, and the samples, whose outputs are as large as the input or twice that.
fn recorded() -> Vec<Recorded> {
    let index = std::fs::read_to_string(models().join("exports/golden/index.tsv")).unwrap();
    let mut lines = index
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let column = |name| header.iter().position(|h| *h == name).unwrap();
    let [file, height, width, output] = ["file", "height", "width", "output_shape"].map(column);
    let mut all: Vec<Recorded> = lines
        .map(|line| Recorded {
            file: format!("exports/{}", line[file]),
            size: [height, width].map(|c| line[c].parse().unwrap()),
            output: line[output]
                .split('x')
                .map(|d| d.parse().unwrap())
                .collect(),
        })
        .collect();
    for (name, scale) in [("nafnet-denoise", 1), ("srvgg-x2", 2)] {
        all.extend([[64, 48], [131, 250]].map(|[h, w]| Recorded {
            file: format!("{name}.onnx"),
            size: [h, w],
            output: vec![1, 3, scale * h, scale * w],
        }));
    }
    all
}

/// The recorded sizes by file.
fn by_file() -> BTreeMap<String, Vec<Recorded>> {
    let mut files: BTreeMap<String, Vec<Recorded>> = BTreeMap::new();
    for case in recorded() {
        files.entry(case.file.clone()).or_default().push(case);
    }
    files
}

fn declared(value: &ValueInfoProto) -> Vec<Option<i64>> {
    let Some(TypeValue::Tensor(tensor)) = value.r#type.as_ref().unwrap().value.as_ref() else {
        panic!("{value:?} is no tensor");
    };
    let number = |value: &Option<DimValue>| match value {
        Some(DimValue::DimValue(n)) => Some(*n),
        _ => None,
    };
    let dims = &tensor.shape.as_ref().unwrap().dim;
    dims.iter().map(|d| number(&d.value)).collect()
}

#[test]
fn every_value_of_every_export_has_a_shape_and_the_outputs_have_the_recorded_one() {
    let files = by_file();
    assert_eq!(files.len(), 19);
    for (file, cases) in files {
        let model = Model::load(&models().join(&file)).unwrap();
        let graph = model.graph();
        assert!(cases.len() >= 2, "{file}");
        for Recorded { size, output, .. } in cases {
            let input = graph.inputs().next().unwrap().name.as_deref().unwrap();
            let shapes = infer_shapes(&graph, &[(input, vec![1, 3, size[0], size[1]])]).unwrap();
            for value in graph
                .nodes()
                .flat_map(|(_, n)| &n.output)
                .filter(|v| !v.is_empty())
            {
                assert!(shapes.shape(value).is_some(), "{file} at {size:?}: {value}");
            }
            let name = graph.proto().output[0].name.as_deref().unwrap();
            assert_eq!(shapes.shape(name), Some(&output[..]), "{file} at {size:?}");
        }
    }
}

#[test]
fn every_value_of_every_export_has_a_rank_at_all_sizes() {
    for file in by_file().into_keys() {
        let model = Model::load(&models().join(&file)).unwrap();
        let graph = model.graph();
        let facts = Facts::checked(&graph, 8, &InputExtents::default()).unwrap();
        for value in graph
            .nodes()
            .flat_map(|(_, n)| &n.output)
            .filter(|v| !v.is_empty())
        {
            assert!(facts.rank(value).is_some(), "{file}: {value}");
        }
        let output = graph.proto().output[0].name.as_deref().unwrap();
        assert_eq!(facts.rank(output), Some(4), "{file}");
        assert_eq!(facts.extent(output, 1), Some(3), "{file}");
    }
}

#[test]
fn a_bound_export_declares_the_recorded_shapes() {
    for case in recorded() {
        let Recorded { file, size, output } = case;
        let mut model = Model::load(&models().join(&file)).unwrap();
        // Where the model rounds to a multiple, the whole of `8*h` is a name, and so is `h`.
        let names: Vec<String> = dimension_names(&model.graph())
            .into_iter()
            .map(str::to_owned)
            .collect();
        let values: BTreeMap<String, usize> = names
            .iter()
            .filter(|name| name.contains('*') || names.len() == 2)
            .cloned()
            .zip(size)
            .collect();
        let graph = model.graph();
        let input = graph.inputs().next().unwrap();
        let extents = bound_extents(input, &values).unwrap();
        let inputs = InputExtents::default().with(input.name.as_deref().unwrap(), extents);
        bind(&mut model, &inputs, &values).unwrap();
        let graph = model.graph_proto();
        let numbers = |dims: &[usize]| -> Vec<_> { dims.iter().map(|&d| Some(d as i64)).collect() };
        assert_eq!(
            declared(&graph.input[0]),
            numbers(&[1, 3, size[0], size[1]]),
            "{file}"
        );
        assert_eq!(declared(&graph.output[0]), numbers(&output), "{file}");
        for value in &graph.value_info {
            assert!(
                declared(value).iter().all(Option::is_some),
                "{file}: {value:?}"
            );
        }
    }
}

#[test]
fn symbols_of_multiples_are_bound_and_longer_expressions_are_inferred() {
    let load = |file: &str| Model::load(&models().join("exports").join(file)).unwrap();
    let model = load("nafnet-dy20.onnx");
    let graph = model.graph();
    assert_eq!(dimension_names(&graph), ["8*h", "h", "8*w", "w"]);
    let values = BTreeMap::from([("h".to_owned(), 4), ("8*w".to_owned(), 40)]);
    let input = graph.inputs().next().unwrap();
    let bound = bound_extents(input, &values).unwrap();
    assert_eq!(bound, [Some(1), Some(3), Some(32), Some(40)]);

    let mut padded = load("nafnet-pad-dy20.onnx");
    let inputs = InputExtents::default().with("input", vec![Some(1), Some(3), Some(70), None]);
    bind(&mut padded, &inputs, &BTreeMap::new()).unwrap();
    // Its output declares `Min(h, 8*(((h + (Mod(8 - (Mod(h, 8)), 8)))//8)))`.
    let output = declared(&padded.graph_proto().output[0]);
    assert_eq!(output, [Some(1), Some(3), Some(70), None]);
}

#[test]
fn a_size_that_a_node_cannot_take_is_refused_with_its_path_and_changes_nothing() {
    let mut model = Model::load(&models().join("exports/nafnet-ts17.onnx")).unwrap();
    let before = model.to_bytes();
    let inputs = InputExtents::default().with("input", vec![Some(1), Some(3), Some(60), None]);
    let error = bind(&mut model, &inputs, &BTreeMap::new())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("(Add): shapes") && error.contains("do not broadcast"),
        "{error}"
    );
    assert!(model.to_bytes() == before);
}
