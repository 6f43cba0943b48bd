//! `bench large`: a model with 3 GB of external weights through `tilecast convert --to fp16`, in a process whose memory is
//! watched. It is neither simplified nor checked: for that it would have to run, with all its weights.

use std::fs::{self, File};
use std::path::Path;

use prost::Message;
use serde_json::json;
use tilecast_onnx::proto::{
    GraphFields, GraphProto, ModelFields, ModelProto, OperatorSetIdFields, OperatorSetIdProto,
    StringStringEntryFields, StringStringEntryProto, TensorFields, TensorProto,
};
use tilecast_onnx::{DataType, Model, node};

use super::process::{self, Run};
use super::report::{Report, Table};
use super::{BenchError, Options, checkout, progress, scratch};

/// 1x1 convolutions of this many channels hold 64 MiB each.
const CHANNELS: i64 = 4096;
const LAYERS: usize = 48;
const DATA_FILE: &str = "large.onnx.data";

/// Measures.
///
/// # Errors
/// See [`BenchError`].
pub(super) fn run(options: &Options) -> Result<Report, BenchError> {
    let folder = scratch()?;
    let (source, target) = (
        folder.path().join("large.onnx"),
        folder.path().join("half.onnx"),
    );
    progress("writing the model");
    write_model(&source)?;
    let mut runs = Vec::new();
    for _ in 0..options.rounds.max(1) {
        progress("converting");
        runs.push(convert(&source, &target)?);
    }
    let saved = Model::load(&target).map_err(|e| BenchError::step("loading the result", e))?;
    let bytes = [&source, &target].map(|path| {
        let data = path.with_extension("onnx.data");
        fs::metadata(data).map_or(0, |m| m.len())
    });
    let halves = saved.graph_proto().initializer.iter();
    let n_halves = halves
        .filter(|t| t.data_type == Some(DataType::F16.code()))
        .count();
    let megabytes = |bytes: u64| format!("{:.0}", bytes as f64 / 1e6);
    let rows = runs.iter().map(|run| {
        vec![
            format!("{:.1}", run.seconds),
            megabytes(run.anonymous),
            megabytes(run.mapped),
            megabytes(run.resident),
        ]
    });
    let columns = [
        "seconds",
        "anonymous, MB",
        "mapped files, MB",
        "resident, MB",
    ];
    Ok(Report {
        method: vec![
            format!(
                "{LAYERS} convolutions with {} MB of external float32 weights, a sparse file, become {n_halves} float16 ones with {} MB.",
                megabytes(bytes[0]),
                megabytes(bytes[1])
            ),
            "`tilecast convert --to fp16 --no-simplify --no-check` in a process of its own; each column has its own peak, read from /proc every 2 ms. Pages of \
             mapped files can be dropped at any time and do not count as use; the resident peak is that of the system (VmHWM)."
                .into(),
        ],
        tables: vec![Table {
            title: "Peak memory of load, convert and save".into(),
            columns: columns.map(str::to_owned).to_vec(),
            rows: rows.collect(),
        }],
        versions: vec![("tilecast".to_owned(), env!("CARGO_PKG_VERSION").to_owned())],
        results: json!(
            runs.iter()
                .map(|run| json!({
                    "seconds": run.seconds,
                    "peak_anonymous_bytes": run.anonymous,
                    "peak_mapped_bytes": run.mapped,
                    "peak_resident_bytes": run.resident,
                }))
                .collect::<Vec<_>>()
        ),
        ..Report::default()
    })
}

/// Writes a chain of convolutions whose weights lie in a sparse file.
fn write_model(path: &Path) -> Result<(), BenchError> {
    let layer_bytes = 4 * CHANNELS * CHANNELS;
    let data = path.with_file_name(DATA_FILE);
    File::create(&data)
        .and_then(|file| file.set_len(LAYERS as u64 * layer_bytes as u64))
        .map_err(|e| BenchError::file(&data, e))?;
    let entry = |key: &str, value: String| {
        StringStringEntryProto::from(StringStringEntryFields {
            key: Some(key.into()),
            value: Some(value),
        })
    };
    let weights = (0..LAYERS).map(|layer| {
        TensorProto::from(TensorFields {
            name: Some(format!("w{layer}")),
            dims: vec![CHANNELS, CHANNELS, 1, 1],
            data_type: Some(DataType::F32.code()),
            data_location: Some(1),
            external_data: vec![
                entry("location", DATA_FILE.into()),
                entry("offset", (layer as i64 * layer_bytes).to_string()),
                entry("length", layer_bytes.to_string()),
            ],
            ..TensorFields::default()
        })
    });
    let nodes = (0..LAYERS).map(|layer| {
        let value = |index: usize| match index {
            0 => "input".to_owned(),
            LAYERS => "output".to_owned(),
            _ => format!("x{index}"),
        };
        node(
            "Conv",
            &format!("conv{layer}"),
            &[&value(layer), &format!("w{layer}")],
            &[&value(layer + 1)],
        )
    });
    // The declared ends are those of the sample, with as many channels as fit.
    let sample = Model::load(&checkout().join("models/nafnet-denoise.onnx"))
        .map_err(|e| BenchError::step("loading the sample", e))?;
    let ends = sample.graph_proto();
    let mut graph = GraphProto::from(GraphFields {
        name: Some("large".into()),
        node: nodes.collect(),
        initializer: weights.collect(),
        input: ends.input.clone(),
        output: ends.output.clone(),
        ..GraphFields::default()
    });
    for value in graph
        .fields
        .input
        .iter_mut()
        .chain(&mut graph.fields.output)
    {
        if let Some(tilecast_onnx::proto::TypeValue::Tensor(tensor)) =
            value.r#type.as_mut().and_then(|t| t.value.as_mut())
        {
            tensor.shape = None;
        }
    }
    let model = ModelProto::from(ModelFields {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto::from(OperatorSetIdFields {
            domain: None,
            version: Some(17),
        })],
        graph: Some(graph),
        ..ModelFields::default()
    });
    fs::write(path, model.encode_to_vec()).map_err(|e| BenchError::file(path, e))
}

fn convert(source: &Path, target: &Path) -> Result<Run, BenchError> {
    let mut command = process::tilecast()?;
    command
        .arg("convert")
        .arg(source)
        .args(["--to", "fp16", "--no-simplify", "--no-check", "-o"])
        .arg(target);
    process::watch("`tilecast convert`", &mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_valid_and_holds_three_gigabytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.onnx");
        write_model(&path).unwrap();
        let model = Model::load(&path).unwrap();
        assert!(model.stored_bytes() > 3_000_000_000);
        assert!(model.encoded_len() < 100_000);
    }
}
