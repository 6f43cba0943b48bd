//! From an ONNX graph to nodes that are computed in float32, with every loss of precision an explicit node.
//!
//! What an engine with fast float32 kernels and nothing else needs, with the numbers of the original graph:
//! - float16 and bfloat16 values are float32 values that went through [`Operation::Round`]: storage in 16 bits, arithmetic
//!   in single precision, as a GPU does it;
//! - integers that `DynamicQuantizeLinear` makes, and products of them, are float32 numbers of integer value;
//! - a `QuantizeLinear` and its `DequantizeLinear` are one [`Operation::FakeQuant`]; a dequantized constant is a float32
//!   constant;
//! - an operator that tract computes otherwise than ONNX defines it is made of others;
//! - values are numbered, so that two names for the same tensor (a `Cast` to its own type) cost nothing;
//! - values that are to be observed pass through an [`Operation::Observe`].
//!
//! Apart from the choice of what is made of others, nothing here depends on the engine that runs the result.

mod channel_norm;
mod composed;
mod dynamic;
mod inputs;
mod operators;
mod quantized;

use std::cell::LazyCell;
use std::collections::{BTreeMap, HashMap, HashSet};

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{DataType, Graph, Model, Tensor, TypeMap, infer_shapes, infer_types};
use tilecast_quant::{HalfFormat, QuantParams};

use crate::{SessionOptions, Unseen};

pub(crate) use channel_norm::ChannelNorm;
pub(crate) use composed::is_along_one_axis;

/// A tensor of the lowered graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ValueId(pub(crate) usize);

/// Why a model cannot be prepared for running.
#[derive(Debug, thiserror::Error)]
#[error("{subject}: {reason}")]
pub(crate) struct PrepareError {
    subject: String,
    reason: String,
}

impl PrepareError {
    /// `subject` is a node's path or names an input, `reason` ends with what to do.
    pub(crate) fn new(subject: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            reason: reason.into(),
        }
    }
}

/// What one lowered node computes.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// An operator of the default domain; its float inputs and outputs are float32 whatever the message says.
    Onnx(Box<NodeProto>),
    /// Quantization and dequantization with the same parameters.
    FakeQuant(QuantParams),
    /// Rounding to the nearest number of a 16-bit format, overflow to infinity.
    Round(HalfFormat),
    /// The identity, at which a value is shown to the observer; the number is its place among the observed names.
    Observe(usize),
    /// The identity, across which the engine may fuse nothing.
    Barrier,
    /// Normalization over channels, which a graph has in several operators.
    ChannelNorm(ChannelNorm),
}

/// One step of the lowered graph.
#[derive(Clone, Debug)]
pub(crate) struct LoweredNode {
    /// Path of the node it comes from, or the name of the value it was added for.
    pub(crate) path: String,
    pub(crate) operation: Operation,
    /// `None` where an optional input in the middle is left out; never at the end.
    pub(crate) inputs: Vec<Option<ValueId>>,
    /// `None` where an optional output in the middle is left out; never at the end.
    pub(crate) outputs: Vec<Option<ValueId>>,
}

/// A constant of the lowered graph.
#[derive(Clone, Debug)]
pub(crate) enum Constant {
    /// Float32 elements, row-major.
    Float { dims: Vec<usize>, data: Vec<f32> },
    /// A tensor of another type that the engine computes with as it is.
    Other(Tensor),
}

impl Constant {
    /// Size of the elements.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Float { data, .. } => size_of_val(data.as_slice()),
            Self::Other(tensor) => tensor.bytes().len(),
        }
    }
}

/// A graph input: what a caller feeds, always float32.
#[derive(Clone, Debug)]
pub(crate) struct LoweredInput {
    pub(crate) name: String,
    pub(crate) dims: Vec<usize>,
    pub(crate) value: ValueId,
}

/// A graph whose float values are all float32.
#[derive(Debug)]
pub(crate) struct LoweredGraph {
    pub(crate) opset: i64,
    pub(crate) inputs: Vec<LoweredInput>,
    pub(crate) constants: BTreeMap<ValueId, Constant>,
    /// In an order in which every value is defined before it is used.
    pub(crate) nodes: Vec<LoweredNode>,
    /// In graph order.
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) n_values: usize,
}

/// Lowers the main graph of a model whose nodes an engine has already accepted one by one.
pub(crate) fn lower(model: &Model, options: &SessionOptions) -> Result<LoweredGraph, PrepareError> {
    let graph = model.graph();
    let types = infer_types(&graph);
    let mut observed: HashMap<&str, Vec<usize>> = HashMap::new();
    for (slot, name) in options.observe.iter().enumerate() {
        observed.entry(name).or_default().push(slot);
    }
    let mut lowering = Lowering {
        opset: model.opset(),
        varying: varying_values(&graph),
        graph,
        types,
        observed,
        values: HashMap::new(),
        quantized: HashMap::new(),
        inputs: Vec::new(),
        constants: BTreeMap::new(),
        nodes: Vec::new(),
        n_values: 0,
    };
    lowering.lower_inputs(options)?;
    for (id, node) in lowering.graph.nodes() {
        lowering.lower_node(id, node)?;
    }
    let outputs = lowering.lower_outputs()?;
    lowering.check_observed(options)?;
    let names: HashMap<ValueId, &str> = lowering.values.iter().map(|(n, v)| (*v, *n)).collect();
    let mut lowered = LoweredGraph {
        opset: lowering.opset,
        inputs: lowering.inputs,
        constants: lowering.constants,
        nodes: lowering.nodes,
        outputs,
        n_values: lowering.n_values,
    };
    let fed: Vec<(String, Vec<usize>)> = lowered
        .inputs
        .iter()
        .map(|input| (input.name.clone(), input.dims.clone()))
        .collect();
    let shapes = LazyCell::new(|| {
        let fed: Vec<_> = fed
            .iter()
            .map(|(name, dims)| (name.as_str(), dims.clone()))
            .collect();
        infer_shapes(&lowering.graph, &fed).ok()
    });
    let dims_of = |value: ValueId| {
        let shape = shapes.as_ref()?.shape(names.get(&value)?)?;
        Some(shape.to_vec())
    };
    channel_norm::fuse(&mut lowered, &dims_of);
    Ok(lowered)
}

/// The state of one lowering; the steps are in the files of this folder.
struct Lowering<'a, 'o> {
    opset: i64,
    graph: Graph<'a>,
    types: TypeMap<'a>,
    /// See [`varying_values`].
    varying: HashSet<&'a str>,
    /// Slots of the names that are still to be met.
    observed: HashMap<&'o str, Vec<usize>>,
    /// Where the value of a name is; constants join when they are first used.
    values: HashMap<&'a str, ValueId>,
    /// Outputs of `QuantizeLinear` nodes: the parameters and the fake-quantized value.
    quantized: HashMap<&'a str, (QuantParams, ValueId)>,
    inputs: Vec<LoweredInput>,
    constants: BTreeMap<ValueId, Constant>,
    nodes: Vec<LoweredNode>,
    n_values: usize,
}

impl<'a> Lowering<'a, '_> {
    fn new_value(&mut self) -> ValueId {
        self.n_values += 1;
        ValueId(self.n_values - 1)
    }

    fn new_constant(&mut self, constant: Constant) -> ValueId {
        let value = self.new_value();
        self.constants.insert(value, constant);
        value
    }

    /// Adds a node of one input and one output.
    fn push_unary(
        &mut self,
        path: impl Into<String>,
        operation: Operation,
        input: ValueId,
    ) -> ValueId {
        let output = self.new_value();
        self.nodes.push(LoweredNode {
            path: path.into(),
            operation,
            inputs: vec![Some(input)],
            outputs: vec![Some(output)],
        });
        output
    }

    /// Gives a computed value its name, behind an observation point for each slot that asks for the name.
    fn define(&mut self, name: &'a str, value: ValueId) -> Result<(), PrepareError> {
        let mut value = value;
        let slots = self.observed.remove(name).unwrap_or_default();
        if !slots.is_empty() && !self.data_type(name).is_some_and(is_single_or_half) {
            return Err(cannot_observe(name, "is not a float tensor"));
        }
        for slot in slots {
            value = self.push_unary(format!("value `{name}`"), Operation::Observe(slot), value);
        }
        self.values.insert(name, value);
        Ok(())
    }

    fn data_type(&self, name: &str) -> Option<DataType> {
        self.types.get(name).copied()
    }

    /// The value of a name that a node reads; a constant is added to the lowered graph when it is first read.
    fn value(&mut self, name: &'a str, reader: &str) -> Result<ValueId, PrepareError> {
        if let Some(&value) = self.values.get(name) {
            return Ok(value);
        }
        let tensor = self.constant(name, reader)?.ok_or_else(|| {
            PrepareError::new(
                reader,
                format!(
                    "its input `{name}` is no float or integer tensor that can be computed here"
                ),
            )
        })?;
        let constant = match tensor.data_type() {
            DataType::F32 | DataType::F16 | DataType::BF16 => Constant::Float {
                dims: tensor.dims().to_vec(),
                data: tensor.to_f32_vec().unwrap_or_default(),
            },
            data_type if is_computable(data_type) => Constant::Other(tensor),
            data_type => {
                let reason =
                    format!("its constant `{name}` is {data_type}, which is not supported here");
                return Err(PrepareError::new(reader, reason));
            }
        };
        let value = self.new_constant(constant);
        self.values.insert(name, value);
        Ok(value)
    }

    /// The constant behind a name, if there is one.
    fn constant(&self, name: &str, reader: &str) -> Result<Option<Tensor>, PrepareError> {
        self.graph
            .constant(name)
            .map_err(|error| PrepareError::new(reader, error.to_string()))
    }

    /// Every observed name has been met, or is refused with the reason.
    fn check_observed(&self, options: &SessionOptions) -> Result<(), PrepareError> {
        if options.unseen == Unseen::Skipped {
            return Ok(());
        }
        for name in &options.observe {
            if !self.observed.contains_key(name.as_str()) {
                continue;
            }
            let known =
                self.graph.initializer(name).is_some() || self.graph.producer(name).is_some();
            return Err(cannot_observe(
                name,
                if known {
                    "is a constant or a quantized tensor, not a computed float tensor"
                } else {
                    "does not exist in the graph"
                },
            ));
        }
        Ok(())
    }
}

/// The values that what is fed decides. Shapes are none of them: they are fixed for a session.
fn varying_values<'a>(graph: &Graph<'a>) -> HashSet<&'a str> {
    let mut varying: HashSet<&str> = graph.inputs().filter_map(|i| i.name.as_deref()).collect();
    for (_, node) in graph.nodes() {
        let reads_shape_only = node.is("Shape") || node.is("Size");
        if !reads_shape_only && node.input.iter().any(|i| varying.contains(i.as_str())) {
            varying.extend(node.output.iter().map(String::as_str));
        }
    }
    varying
}

fn cannot_observe(name: &str, reason: &str) -> PrepareError {
    PrepareError::new(
        format!("value `{name}`"),
        format!("it is to be observed and {reason}"),
    )
}

/// The 16-bit format that an element type is, if it is one.
fn half_format(data_type: DataType) -> Option<HalfFormat> {
    match data_type {
        DataType::F16 => Some(HalfFormat::F16),
        DataType::BF16 => Some(HalfFormat::BF16),
        _ => None,
    }
}

/// Float types that are computed in float32.
fn is_single_or_half(data_type: DataType) -> bool {
    data_type == DataType::F32 || half_format(data_type).is_some()
}

/// Element types in which lowered nodes compute, 16-bit floats standing for rounded float32.
fn is_computable(data_type: DataType) -> bool {
    use DataType as T;
    matches!(
        data_type,
        T::F32 | T::F16 | T::BF16 | T::F64 | T::I64 | T::I32 | T::U8 | T::I8 | T::Bool
    )
}
