//! From lowered nodes to tract's graph.
//!
//! The graph is built node by node instead of being decoded from bytes: declared shapes cannot contradict the concrete
//! ones, names are unique, weights are copied once, and what tract's decoder reads wrongly never reaches it.

use tilecast_onnx::{DataType, Tensor as OnnxTensor};
use tract_onnx::model::ParsingContext;
use tract_onnx::tract_core::ops::array::{Pad, PadMode};
use tract_onnx::tract_hir::internal::{
    Datum, DimLike, InferenceFact, InferenceModel, InferenceModelExt, InferenceOp, InletId,
    IntoArcTensor, OutletId, Tensor, TractErrorContext, TractResult, TypedFact, TypedModel, bail,
    ensure, format_err, tvec,
};
use tract_onnx::tract_hir::ops::konst::Const;
use tract_onnx::{Onnx, pb};

use super::{attributes, channel_norm, ops};
use crate::lower::{Constant, LoweredGraph, LoweredNode, Operation, ValueId};

/// tract's graph with concrete shapes, before any optimization.
pub(super) fn build(lowered: LoweredGraph) -> TractResult<TypedModel> {
    let onnx = tract_onnx::onnx();
    let proto = pb::ModelProto::default();
    let mut builder = Builder {
        context: ParsingContext {
            onnx_operator_set_version: lowered.opset,
            framework: &onnx,
            model: &proto,
            parent_graphs: vec![],
            model_dir: None,
            template: InferenceModel::default(),
        },
        onnx: &onnx,
        model: InferenceModel::default(),
        outlets: vec![None; lowered.n_values],
    };
    for input in &lowered.inputs {
        let fact = InferenceFact::dt_shape(f32::datum_type(), &*input.dims);
        let outlet = builder
            .model
            .add_source(format!("input {}", input.name), fact)?;
        builder.outlets[input.value.0] = Some(outlet);
    }
    for (value, constant) in lowered.constants {
        builder.add_constant(value, constant)?;
    }
    for (index, node) in lowered.nodes.iter().enumerate() {
        builder
            .add_node(index, node)
            .with_context(|| node.path.clone())?;
    }
    let outputs = lowered
        .outputs
        .iter()
        .map(|&value| builder.outlet(value))
        .collect::<TractResult<Vec<_>>>()?;
    builder.model.select_output_outlets(&outputs)?;
    let typed = builder.model.into_typed()?;
    check_pads(&typed, &lowered.nodes)?;
    Ok(typed)
}

struct Builder<'a> {
    context: ParsingContext<'a>,
    onnx: &'a Onnx,
    model: InferenceModel,
    /// Where tract computes a value, once it is known.
    outlets: Vec<Option<OutletId>>,
}

impl Builder<'_> {
    fn outlet(&self, value: ValueId) -> TractResult<OutletId> {
        self.outlets[value.0].context("a value is used before it is computed")
    }

    fn add_constant(&mut self, value: ValueId, constant: Constant) -> TractResult<()> {
        let tensor = match constant {
            Constant::Float { dims, data } => Tensor::from_shape(&dims, &data)?,
            Constant::Other(tensor) => translate_tensor(&tensor)?,
        };
        let tensor = tensor.into_arc_tensor();
        let fact = TypedFact::try_from(tensor.clone())?;
        let name = format!("constant {}", value.0);
        let id = self
            .model
            .add_node(name, Const::new(tensor)?, tvec!(fact.into()))?;
        self.outlets[value.0] = Some(id.into());
        Ok(())
    }

    fn add_node(&mut self, index: usize, node: &LoweredNode) -> TractResult<()> {
        let op = match &node.operation {
            Operation::Onnx(proto) => self.onnx_operator(proto, node)?,
            Operation::FakeQuant(parameters) => ops::fake_quant(*parameters),
            Operation::Round(format) => ops::round(*format),
            Operation::Observe(slot) => ops::observe(Some(*slot)),
            Operation::Barrier => ops::observe(None),
            Operation::ChannelNorm(norm) => channel_norm::channel_norm(norm),
        };
        let outputs: Vec<ValueId> = node.outputs.iter().flatten().copied().collect();
        let facts = outputs.iter().map(|_| InferenceFact::default()).collect();
        let id = self.model.add_node(node_name(index, node), op, facts)?;
        for (slot, value) in outputs.into_iter().enumerate() {
            self.outlets[value.0] = Some(OutletId::new(id, slot));
        }
        for (slot, &value) in node.inputs.iter().flatten().enumerate() {
            self.model
                .add_edge(self.outlet(value)?, InletId::new(id, slot))?;
        }
        Ok(())
    }

    /// What tract's own reader makes of a node: it looks at the operator, the attributes, and which operands are there.
    fn onnx_operator(
        &mut self,
        proto: &tilecast_onnx::proto::NodeProto,
        node: &LoweredNode,
    ) -> TractResult<Box<dyn InferenceOp>> {
        let present = |operands: &[Option<ValueId>]| {
            let name = |value: &Option<ValueId>| value.map_or(String::new(), |v| v.0.to_string());
            operands.iter().map(name).collect::<Vec<_>>()
        };
        let message = pb::NodeProto {
            input: present(&node.inputs),
            output: present(&node.outputs),
            name: node.path.clone(),
            op_type: proto.op().to_owned(),
            attribute: proto
                .attribute
                .iter()
                .map(attributes::translate)
                .collect::<Result<_, _>>()
                .map_err(|reason| format_err!(reason))?,
            ..pb::NodeProto::default()
        };
        let build = self.onnx.op_register.0.get(proto.op());
        let build = build.context("tract does not know the operator")?;
        let opset = self.context.onnx_operator_set_version;
        // Opset 13 only added element types; before it, tract counts on a region of interest that exporters leave out.
        if proto.op() == "Resize" && matches!(opset, 11 | 12) {
            self.context.onnx_operator_set_version = 13;
        }
        let built = build(&self.context, &message);
        self.context.onnx_operator_set_version = opset;
        let (op, captured) = built?;
        ensure!(captured.is_empty(), "it captures values of an outer graph");
        Ok(op)
    }
}

/// tract appends to names and needs them unique; nothing appended to one of these can equal another. What follows a `#` it
/// drops and numbers anew, trying all numbers from 1, so no name may begin with one.
fn node_name(index: usize, node: &LoweredNode) -> String {
    format!("{index} {}", node.path)
}

fn translate_tensor(tensor: &OnnxTensor) -> TractResult<Tensor> {
    let dims = tensor.dims();
    let bytes = tensor.bytes();
    let integers = || tensor.to_i64_vec().unwrap_or_default();
    match tensor.data_type() {
        DataType::I64 => Tensor::from_shape(dims, &integers()),
        DataType::I32 => {
            let values: Vec<i32> = integers().iter().map(|&v| v as i32).collect();
            Tensor::from_shape(dims, &values)
        }
        DataType::U8 => Tensor::from_shape(dims, bytes),
        DataType::I8 => {
            let values: Vec<i8> = bytes.iter().map(|&v| v as i8).collect();
            Tensor::from_shape(dims, &values)
        }
        DataType::Bool => {
            let values: Vec<bool> = bytes.iter().map(|&v| v != 0).collect();
            Tensor::from_shape(dims, &values)
        }
        DataType::F64 => {
            let values: Vec<f64> = bytes
                .as_chunks::<8>()
                .0
                .iter()
                .map(|&v| f64::from_le_bytes(v))
                .collect();
            Tensor::from_shape(dims, &values)
        }
        other => bail!("constants of type {other} are not supported"),
    }
}

/// tract casts a negative pad to a huge positive one, and fills a reflection that is wider than the image from its own
/// unfinished output; both give wrong pixels instead of an error.
fn check_pads(model: &TypedModel, nodes: &[LoweredNode]) -> TractResult<()> {
    for node in model.nodes() {
        let Some(pad) = node.op_as::<Pad>() else {
            continue;
        };
        let shape = &model.outlet_fact(node.inputs[0])?.shape;
        for (axis, &(before, after)) in pad.pads.iter().enumerate() {
            let size = shape.get(axis).map_or(Ok(0), DimLike::to_usize)?;
            let negative = [before, after].iter().any(|&p| isize::try_from(p).is_err());
            let too_wide = pad.mode == PadMode::Reflect && before.max(after) >= size;
            let path = || -> &str {
                let of_node =
                    |n: &(usize, &LoweredNode)| node.name.starts_with(&node_name(n.0, n.1));
                nodes
                    .iter()
                    .enumerate()
                    .find(of_node)
                    .map_or(&node.name, |n| &n.1.path)
            };
            ensure!(
                !negative,
                "{}: negative pads are not supported here; crop with Slice instead",
                path()
            );
            ensure!(
                !too_wide || (before, after) == (0, 0),
                "{}: axis {axis} of size {size} cannot be padded by reflection by {before} and {after}; use a larger input",
                path()
            );
        }
    }
    Ok(())
}
