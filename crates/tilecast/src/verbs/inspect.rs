//! `inspect`: what a person asks first about a model.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use tilecast_analysis::analyze;
use tilecast_exec::{Engine, SessionOptions, TractEngine};
use tilecast_onnx::proto::{DimValue, TypeValue, ValueInfoProto};
use tilecast_onnx::{DataType, ImageAxes, Model};

use crate::Failure;
use crate::bind::bind;
use crate::context::{Context, Event};
use crate::pipeline::default_artifacts;

/// Tile sides for which memory is predicted, pixels.
pub(crate) const TILE_SIDES: [usize; 4] = [128, 256, 512, 1024];

/// Memory of the GPUs that photographers have, GiB.
const TIERS_GIB: [usize; 4] = [2, 4, 6, 8];

/// Facts about a model; the JSON document of `inspect`.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Format of this document.
    pub schema: &'static str,
    /// File.
    pub model: String,
    /// IR version.
    pub ir_version: i64,
    /// Opset version of the default domain.
    pub opset: i64,
    /// Who exported it.
    pub producer: String,
    /// Number of float weights.
    pub parameters: usize,
    /// File size.
    pub bytes: usize,
    /// Bytes of initializers per element type.
    pub bytes_per_type: BTreeMap<&'static str, usize>,
    /// File size if converted to each precision, bytes; INT8 for the generic target.
    pub bytes_at: BTreeMap<&'static str, usize>,
    /// Number of nodes.
    pub nodes: usize,
    /// Number of nodes per operator.
    pub operators: BTreeMap<String, usize>,
    /// Graph inputs.
    pub inputs: Vec<Port>,
    /// Graph outputs.
    pub outputs: Vec<Port>,
    /// Context per side that the graph's local operators need, pixels; null without a bound or where `tiling_note` says
    /// why it is unknown.
    pub halo_px: Option<usize>,
    /// Tile origins and sizes are multiples of this, pixels.
    pub alignment_px: Option<usize>,
    /// Output pixels per input pixel and axis.
    pub scale: Option<f64>,
    /// Class A to E of the hazard catalogue.
    pub tiling_class: Option<String>,
    /// Nodes that look at the whole image.
    pub global_nodes: Vec<String>,
    /// Why tiling facts are missing.
    pub tiling_note: Option<String>,
    /// Predicted peak of one tile in FP32, bytes, by tile side; a side that the engine cannot prepare is left out.
    pub peak_bytes: BTreeMap<String, usize>,
    /// Largest of those tile sides that fits a GPU with so much memory, by tier; null where none does.
    pub fits: BTreeMap<String, Option<usize>>,
}

/// A graph input or output.
#[derive(Clone, Debug, Serialize)]
pub struct Port {
    /// Name.
    pub name: String,
    /// Element type.
    pub data_type: String,
    /// Dimensions: numbers, names or `?`.
    pub shape: Vec<String>,
}

/// Inspects a model file. Bindings (`NAME=N`, `INPUT:AXIS=N` or `INPUT=1x3x256x256`) give the shapes of its inputs and outputs
/// at a size; all else is said of the model as it is.
///
/// # Errors
/// The model cannot be loaded or cannot take a bound size, or the user interrupts. What cannot be analysed is said in the
/// result.
pub fn inspect(path: &Path, bindings: &[String], cx: &Context<'_>) -> Result<Inspection, Failure> {
    let model = Model::load(path)?;
    let mut bound = model.clone();
    bind(&mut bound, bindings)?;
    let proto = model.proto();
    let graph = model.graph_proto();
    let mut operators = BTreeMap::new();
    for node in &graph.node {
        *operators.entry(node.op().to_owned()).or_default() += 1;
    }
    let mut bytes_per_type: BTreeMap<&'static str, usize> = BTreeMap::new();
    for tensor in &graph.initializer {
        let data_type = tensor.data_type.and_then(DataType::from_code);
        let payload = tilecast_onnx::Tensor::from_proto(tensor).map_or(0, |t| t.bytes().len());
        *bytes_per_type
            .entry(data_type.map_or("unknown", DataType::name))
            .or_default() += payload;
    }
    let (analysis, tiling_note) = match analyze(&model) {
        Ok(analysis) => (Some(analysis), None),
        Err(error) => (None, Some(error.to_string())),
    };
    // Where the alignment is not known, the sides as they are: powers of two suit nearly every network.
    let alignment_px = analysis.as_ref().map_or(1, |a| a.alignment_px.max(1));
    let peak_bytes = predict_peaks(&model, &TILE_SIDES, alignment_px, cx)?;
    let fits = fitting_tiers(&peak_bytes);
    let analysis = analysis.as_ref();
    Ok(Inspection {
        schema: "tilecast.inspect/1",
        model: path.display().to_string(),
        ir_version: proto.ir_version.unwrap_or_default(),
        opset: model.opset(),
        producer: [&proto.producer_name, &proto.producer_version]
            .into_iter()
            .filter_map(|part| part.as_deref())
            .collect::<Vec<_>>()
            .join(" "),
        parameters: count_parameters(&model),
        bytes: model.stored_bytes() as usize,
        bytes_per_type,
        bytes_at: sizes(&model),
        nodes: graph.node.len(),
        operators,
        inputs: bound.graph().inputs().map(port).collect(),
        outputs: bound.graph_proto().output.iter().map(port).collect(),
        halo_px: analysis.and_then(|a| a.halo_px),
        alignment_px: analysis.map(|a| a.alignment_px),
        scale: analysis.map(|a| a.scale.as_f64()),
        tiling_class: analysis.map(|a| a.tiling_class.to_string()),
        global_nodes: analysis.map(|a| a.global_nodes.clone()).unwrap_or_default(),
        tiling_note,
        peak_bytes: peak_bytes
            .into_iter()
            .map(|(side, bytes)| (side.to_string(), bytes))
            .collect(),
        fits,
    })
}

/// Number of elements of float initializers.
pub(crate) fn count_parameters(model: &Model) -> usize {
    let float = |code: i32| {
        matches!(
            DataType::from_code(code),
            Some(DataType::F32 | DataType::F16 | DataType::BF16 | DataType::F64)
        )
    };
    let elements = |dims: &[i64]| {
        dims.iter()
            .map(|&d| usize::try_from(d).unwrap_or(0))
            .product::<usize>()
    };
    let initializers = &model.graph_proto().initializer;
    initializers
        .iter()
        .filter(|t| t.data_type.is_some_and(float))
        .map(|t| elements(&t.dims))
        .sum()
}

/// File sizes after conversion. Activation ranges are two scalars each whatever they are, so a made-up range gives the
/// true size.
fn sizes(model: &Model) -> BTreeMap<&'static str, usize> {
    let mut sizes = BTreeMap::from([("fp32", model.stored_bytes() as usize)]);
    for (name, request) in default_artifacts() {
        let plan = request.plan(model, TILE_SIDES[1]);
        let unit = tilecast_quant::Range::new(0.0, 1.0).expect("0 and 1 are ordered");
        let ranges = request
            .calibrated_values(model, &plan)
            .into_iter()
            .map(|value| (value, unit))
            .collect();
        if let Ok((converted, _)) = request.rewrite(model, &plan, &ranges, None) {
            sizes.insert(name, converted.stored_bytes() as usize);
        }
    }
    sizes
}

/// Predicted peak of one tile in the embedded engine, bytes, by tile side; a side that it cannot prepare is left out.
///
/// # Errors
/// The user interrupts.
pub(crate) fn predict_peaks(
    model: &Model,
    sides: &[usize],
    alignment_px: usize,
    cx: &Context<'_>,
) -> Result<BTreeMap<usize, usize>, Failure> {
    let mut peaks = BTreeMap::new();
    let graph = model.graph();
    let inputs: Vec<_> = graph.inputs().collect();
    let [input] = inputs.as_slice() else {
        return Ok(peaks);
    };
    let Some((axes, channels)) = ImageAxes::of(input).and_then(|axes| Some((axes, axes.channels?)))
    else {
        return Ok(peaks);
    };
    let engine = TractEngine::new();
    cx.emit(&Event::Started {
        stage: "predict memory",
        unit: "tile sizes",
        total: sides.len(),
    });
    for (index, &side) in sides.iter().enumerate() {
        cx.check()?;
        let aligned = side.next_multiple_of(alignment_px);
        let name = input.name.clone().unwrap_or_default();
        let options = SessionOptions {
            input_shapes: vec![(name, axes.dims(channels, [aligned; 2]).to_vec())],
            observe: Vec::new(),
            ..SessionOptions::default()
        };
        if let Ok(session) = engine.load(model, &options) {
            peaks.insert(side, session.peak_live_bytes());
        }
        cx.emit(&Event::Progress { done: index + 1 });
    }
    cx.emit(&Event::Finished {
        stage: "predict memory",
        seconds: 0.0,
    });
    Ok(peaks)
}

/// Largest tile side that fits each of the usual GPUs; `None` where none does.
pub(crate) fn fitting_tiers(peaks: &BTreeMap<usize, usize>) -> BTreeMap<String, Option<usize>> {
    TIERS_GIB
        .into_iter()
        .map(|gib| (format!("{gib}GiB"), largest_fitting(peaks, gib << 30)))
        .collect()
}

fn largest_fitting(peaks: &BTreeMap<usize, usize>, budget: usize) -> Option<usize> {
    peaks
        .iter()
        .rev()
        .find(|(_, bytes)| **bytes <= budget)
        .map(|(side, _)| *side)
}

fn port(value: &ValueInfoProto) -> Port {
    let tensor = match value.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(TypeValue::Tensor(tensor)) => Some(tensor),
        _ => None,
    };
    let data_type = tensor
        .and_then(|t| DataType::from_code(t.elem_type?))
        .map_or("unknown", DataType::name);
    let dims = tensor
        .and_then(|t| t.shape.as_ref())
        .map(|s| s.dim.as_slice())
        .unwrap_or_default();
    Port {
        name: value.name.clone().unwrap_or_default(),
        data_type: data_type.to_owned(),
        shape: dims
            .iter()
            .map(|d| match &d.value {
                Some(DimValue::DimValue(n)) => n.to_string(),
                Some(DimValue::DimParam(name)) => name.clone(),
                None => "?".to_owned(),
            })
            .collect(),
    }
}
