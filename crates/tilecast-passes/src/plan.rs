//! The precision plan: node → precision, each with a reason, decided before anything is rewritten.
//!
//! Nodes are known by the name of their first output: names of values are unique in a valid graph and survive the passes
//! that carry the plan out, names of nodes need be neither.

mod ends;
mod half_form;
mod inner_sums;
mod int8;
mod keep_in_range;
mod normalization;
mod range_study;
mod shape_work;
mod worthwhile;

use std::collections::BTreeMap;
use std::fmt;

use glob::Pattern;
use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{DataType, Graph, Model, NodeId, TypeMap, infer_body_types, infer_types};
use tilecast_quant::HalfFormat;

use crate::Target;
use crate::precision::dynamic_int8;
use crate::precision::insert_qdq::part::{Part, part};

pub(crate) use half_form::{Operand, operand, output_follows};
pub use normalization::normalization_nodes;
pub use range_study::{RangeEvidence, RangeStudy, RangeTally};

/// Precision in which a node computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 8-bit integers between Q/DQ pairs.
    Int8,
    /// IEEE half precision.
    Fp16,
    /// bfloat16.
    Bf16,
    /// Single precision.
    Fp32,
}

impl Precision {
    /// Name in recipes and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
            Self::Fp32 => "fp32",
        }
    }

    /// The 16-bit float format that it is, if it is one.
    #[must_use]
    pub fn half_format(self) -> Option<HalfFormat> {
        match self {
            Self::Fp16 => Some(HalfFormat::F16),
            Self::Bf16 => Some(HalfFormat::BF16),
            Self::Int8 | Self::Fp32 => None,
        }
    }

    /// Whether it takes more bits than `other`. FP16 and BF16 take as many.
    #[must_use]
    pub fn is_wider_than(self, other: Self) -> bool {
        self.bits() > other.bits()
    }

    fn bits(self) -> u8 {
        match self {
            Self::Int8 => 8,
            Self::Fp16 | Self::Bf16 => 16,
            Self::Fp32 => 32,
        }
    }
}

/// The element type of a 16-bit float format.
pub(crate) fn data_type_of(format: HalfFormat) -> DataType {
    match format {
        HalfFormat::F16 => DataType::F16,
        HalfFormat::BF16 => DataType::BF16,
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The 16-bit float format that an element type is, if it is one.
pub(crate) fn half_format_of(data_type: DataType) -> Option<HalfFormat> {
    match data_type {
        DataType::F16 => Some(HalfFormat::F16),
        DataType::BF16 => Some(HalfFormat::BF16),
        _ => None,
    }
}

/// Why a node has its precision.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// The artifact's own precision.
    Artifact,
    /// The artifact is INT8 and the target does not run this operator in INT8.
    NotQuantizedHere,
    /// Computed inside the INT8 kernel of this node.
    ComputedInside(String),
    /// INT8 here would only add quantization, because what it reads or what reads it computes with floats.
    OnlyTraffic,
    /// First convolution behind the graph's inputs.
    FirstConv,
    /// Last convolution before the graph's outputs.
    LastConv,
    /// A normalization, as an operator or decomposed.
    Normalization,
    /// Works on a globally pooled vector: INT8 would save no time and shift whole channels.
    PooledVector,
    /// Its weights are computed by the graph, not constant.
    ComputedWeights,
    /// Computes shapes or scales, which must stay exact.
    ShapeWork,
    /// The specification gives the operator no form in the artifact's precision, at the opset of the model.
    NoSuchForm,
    /// The recipe says so, with this pattern.
    Override(String),
    /// A value that it reads or writes came too near the end of the format.
    ValueRange {
        /// Name of the value.
        value: String,
        /// Largest absolute value that calibration saw.
        largest: f32,
        /// Largest that is let through: the format's, with a margin.
        limit: f32,
    },
    /// What it sums inside came too near the end of the format.
    InnerSum {
        /// Bound of every partial sum over the observed values.
        bound: f64,
        /// Largest that is let through.
        limit: f32,
    },
    /// What it sums inside has no bound.
    UnboundedSum,
    /// A constant that it reads becomes infinite in the format.
    ConstantOverflow {
        /// Name of the constant.
        value: String,
        /// The largest element in magnitude.
        constant: f32,
    },
    /// A constant that it reads becomes zero in the format.
    ConstantVanishes {
        /// Name of the constant.
        value: String,
        /// The largest element in magnitude.
        constant: f32,
    },
    /// A root, logarithm or divisor of values too small for the format.
    SmallValues {
        /// Name of the value.
        value: String,
        /// Smallest absolute value above zero that calibration saw; 0 where it is known from a constant.
        smallest: f32,
        /// Smallest number of the format with all significant bits.
        normal: f32,
    },
    /// Computes what such a root, logarithm or divisor reads.
    FeedsSmallValues,
    /// It can overflow, and nothing was observed to say that it does not.
    Unobserved,
    /// All its neighbours compute in FP32.
    BetweenSingles,
    /// INT8 costs too much quality here for what it saves.
    Sensitive {
        /// PSNR against FP32 when this node alone is INT8, dB.
        psnr_db: f64,
    },
    /// The target is no faster there in INT8, conversions counted.
    NoFaster,
    /// Only the nodes under measurement are INT8.
    Probe,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Artifact => "the artifact's precision",
            Self::NotQuantizedHere => "the target quantizes other operators only",
            Self::ComputedInside(node) => {
                return write!(f, "computed inside the INT8 kernel of `{node}`");
            }
            Self::OnlyTraffic => {
                "INT8 here would only add quantization between nodes that compute with floats"
            }
            Self::FirstConv => "first conv is pinned",
            Self::LastConv => "last conv is pinned",
            Self::Normalization => "normalization is pinned",
            Self::PooledVector => {
                "works on a pooled vector, where INT8 saves nothing and shifts whole channels"
            }
            Self::ComputedWeights => "its weights are not constant",
            Self::ShapeWork => "computes shapes or scales",
            Self::NoSuchForm => "the operator has no form in 16 bits at this opset",
            Self::Override(pattern) => return write!(f, "recipe override `{pattern}`"),
            Self::ValueRange {
                value,
                largest,
                limit,
            } => {
                return write!(
                    f,
                    "|`{value}`| reaches {largest:.4}, and {limit} is the limit with its margin"
                );
            }
            Self::InnerSum { bound, limit } => {
                return write!(
                    f,
                    "a sum inside may reach {bound:.4e}, and {limit} is the limit with its margin"
                );
            }
            Self::UnboundedSum => "a sum inside has no bound",
            Self::ConstantOverflow { value, constant } => {
                return write!(
                    f,
                    "constant `{value}` holds {constant:e}, which becomes infinite"
                );
            }
            Self::ConstantVanishes { value, constant } => {
                return write!(f, "constant `{value}` of {constant:e} becomes zero");
            }
            Self::SmallValues {
                value, smallest, ..
            } if *smallest == 0.0 => {
                return write!(
                    f,
                    "`{value}` may be as small as a constant that becomes zero"
                );
            }
            Self::SmallValues {
                value,
                smallest,
                normal,
            } => {
                return write!(
                    f,
                    "|`{value}`| falls to {smallest:.2e}, and below {normal:.2e} digits are lost"
                );
            }
            Self::FeedsSmallValues => "computes what a root or divisor of small values reads",
            Self::Unobserved => "can overflow, and no calibration images say that it does not",
            Self::BetweenSingles => "all its neighbours are in FP32",
            Self::Sensitive { psnr_db } => {
                return write!(f, "INT8 here alone costs {psnr_db:.1} dB against FP32");
            }
            Self::NoFaster => "INT8 is no faster there on the target, conversions counted",
            Self::Probe => "not under measurement",
        })
    }
}

/// What was decided for one node.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Name of the node's first output: the node's key.
    pub value: String,
    /// Node name, possibly empty.
    pub node: String,
    /// Operator.
    pub op: String,
    /// In what precision it computes.
    pub precision: Precision,
    /// Why.
    pub reason: Reason,
    /// Whether it is in a graph inside another node: a branch, or the body of a loop.
    pub nested: bool,
}

impl Decision {
    /// Node name, or the name of its first output where it has none.
    #[must_use]
    pub fn label(&self) -> &str {
        handle(&self.node, &self.value)
    }
}

/// Precision of every node that computes with floats, in graph order; nodes of nested graphs behind the one that holds
/// them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrecisionPlan {
    decisions: Vec<Decision>,
    index: BTreeMap<String, usize>,
}

/// What the recipe pins, per kind of node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pins {
    /// First convolution.
    pub first_conv: Precision,
    /// Last convolution.
    pub last_conv: Precision,
    /// Normalizations, also decomposed ones.
    pub norms: Precision,
}

/// A recipe's word on single nodes.
#[derive(Clone, Debug)]
pub struct Override {
    pattern: Pattern,
    precision: Precision,
}

/// A pattern that is no glob.
#[derive(Debug, thiserror::Error)]
#[error("node pattern `{pattern}` is not valid: {reason}")]
pub struct OverrideError {
    pattern: String,
    reason: String,
}

impl Override {
    /// Nodes whose name (or first output, where they have none) matches `pattern` get `precision`. `?` stands for any
    /// character, `*` for any number of them (also `/`), `[…]` for one of a set.
    ///
    /// # Errors
    /// The pattern is no valid glob.
    pub fn new(pattern: &str, precision: Precision) -> Result<Self, OverrideError> {
        let pattern = Pattern::new(pattern).map_err(|e| OverrideError {
            pattern: pattern.to_owned(),
            reason: e.msg.to_owned(),
        })?;
        Ok(Self { pattern, precision })
    }

    /// The pattern, as the recipe writes it.
    #[must_use]
    pub fn pattern(&self) -> &str {
        self.pattern.as_str()
    }
}

/// What a plan is made for.
#[derive(Clone, Debug)]
pub struct PlanRequest<'a> {
    /// The artifact's precision.
    pub precision: Precision,
    /// The target that runs it.
    pub target: &'static Target,
    /// Pins; they can only raise the precision of a node.
    pub pins: Pins,
    /// The recipe's overrides; the last that matches wins, over pins too.
    pub overrides: &'a [Override],
    /// Where the ranges of INT8 come from.
    pub ranges: RangeSource,
}

/// Where the ranges of INT8 activations come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RangeSource {
    /// Calibration: they are in the file.
    #[default]
    Static,
    /// The tensor at hand, while the model runs: only for products with constant matrices.
    Dynamic,
}

impl PrecisionPlan {
    /// Decides the precision of every node that reads or writes float32. Constants and integer work are left out. What a
    /// 16-bit format cannot hold is not asked here: see [`PrecisionPlan::keep_in_range`].
    #[must_use]
    pub fn new(model: &Model, request: &PlanRequest<'_>) -> Self {
        let graph = model.graph();
        let types = infer_types(&graph);
        let mut plan = Self::default();
        plan.decide_graph(&graph, &types, &|_| None, model.opset(), request, false);
        if request.ranges == RangeSource::Static {
            plan.settle_int8(&graph, request.target);
        }
        plan
    }

    fn decide_graph(
        &mut self,
        graph: &Graph<'_>,
        types: &TypeMap<'_>,
        outer: &dyn Fn(&str) -> Option<DataType>,
        opset: i64,
        request: &PlanRequest<'_>,
        nested: bool,
    ) {
        let known = |name: &str| types.get(name).copied().or_else(|| outer(name));
        let facts = Facts::of(graph, types, opset, nested, &known);
        for (id, node) in graph.nodes() {
            if let Some(value) = node
                .output_name(0)
                .filter(|_| computes_with_floats(node, &known))
            {
                let (precision, reason) = facts.decide(graph, id, request);
                self.index.insert(value.to_owned(), self.decisions.len());
                self.decisions.push(Decision {
                    value: value.to_owned(),
                    node: node.label().to_owned(),
                    op: node.op().to_owned(),
                    precision,
                    reason,
                    nested,
                });
            }
            for body in node
                .attribute
                .iter()
                .flat_map(|a| a.g.as_deref().into_iter().chain(&a.graphs))
            {
                let types = infer_body_types(node, body, &known);
                self.decide_graph(&Graph::new(body), &types, &known, opset, request, true);
            }
        }
    }

    /// The opset that `model` needs for every node to have a form in `format` that ever gets one: at least its own.
    #[must_use]
    pub fn opset_for(model: &Model, format: HalfFormat) -> i64 {
        let mut opset = model.opset();
        let mut pending = vec![model.graph_proto()];
        while let Some(graph) = pending.pop() {
            for node in &graph.node {
                let first = half_form::first_opset(node, data_type_of(format));
                opset = opset.max(first.unwrap_or_default());
                let bodies = node
                    .attribute
                    .iter()
                    .flat_map(|a| a.g.as_deref().into_iter().chain(&a.graphs));
                pending.extend(bodies);
            }
        }
        opset
    }

    /// Decisions in graph order.
    #[must_use]
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// The decision for the node whose first output is `value`.
    #[must_use]
    pub fn decision(&self, value: &str) -> Option<&Decision> {
        self.index.get(value).map(|&index| &self.decisions[index])
    }

    /// Gives the node whose first output is `value` another precision, for a reason that was found later.
    ///
    /// # Panics
    /// The plan has no such node.
    pub fn change(&mut self, value: &str, precision: Precision, reason: Reason) {
        let decision = &mut self.decisions[self.index[value]];
        decision.precision = precision;
        decision.reason = reason;
    }

    /// Whether the node whose first output is `value` was given `precision`.
    #[must_use]
    pub fn is(&self, value: Option<&str>, precision: Precision) -> bool {
        value
            .and_then(|v| self.decision(v))
            .is_some_and(|d| d.precision == precision)
    }

    /// Number of nodes per precision.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for decision in &self.decisions {
            *counts.entry(decision.precision.name()).or_default() += 1;
        }
        counts
    }

    /// Patterns of overrides that match no node: nearly always a typing error.
    #[must_use]
    pub fn unmatched<'o>(&self, overrides: &'o [Override]) -> Vec<&'o str> {
        let matches = |o: &Override| self.decisions.iter().any(|d| o.pattern.matches(d.label()));
        overrides
            .iter()
            .filter(|o| !matches(o))
            .map(Override::pattern)
            .collect()
    }
}

/// What overrides match against.
fn handle<'a>(node: &'a str, value: &'a str) -> &'a str {
    if node.is_empty() { value } else { node }
}

/// Whether the node computes floats, or from floats: constants and shape arithmetic do neither.
fn computes_with_floats(node: &NodeProto, of: &dyn Fn(&str) -> Option<DataType>) -> bool {
    let float = |name: Option<&str>| name.and_then(of) == Some(DataType::F32);
    let float_out = (0..node.output.len()).any(|slot| float(node.output_name(slot)));
    let float_in = (0..node.input.len()).any(|slot| float(node.input_name(slot)));
    !node.is("Constant") && (float_out || (float_in && !half_form::reads_any_type(node)))
}

/// Sets of nodes that the rules speak of.
struct Facts<'f> {
    first_convs: Vec<NodeId>,
    last_convs: Vec<NodeId>,
    norms: Vec<NodeId>,
    pooled: Vec<NodeId>,
    shape_work: Vec<NodeId>,
    opset: i64,
    /// Whether the graph is inside a node, where the pairs of INT8 are not put.
    nested: bool,
    types: &'f dyn Fn(&str) -> Option<DataType>,
}

impl<'f> Facts<'f> {
    fn of(
        graph: &Graph<'_>,
        types: &TypeMap<'_>,
        opset: i64,
        nested: bool,
        known: &'f dyn Fn(&str) -> Option<DataType>,
    ) -> Self {
        let norms = normalization_nodes(graph);
        Self {
            first_convs: ends::first_convs(graph, &norms),
            last_convs: ends::last_convs(graph, &norms),
            norms,
            pooled: ends::on_pooled_vectors(graph),
            shape_work: shape_work::nodes(graph, types),
            opset,
            nested,
            types: known,
        }
    }

    fn decide(
        &self,
        graph: &Graph<'_>,
        id: NodeId,
        request: &PlanRequest<'_>,
    ) -> (Precision, Reason) {
        let node = graph.node(id);
        if self.shape_work.binary_search(&id).is_ok() {
            return (Precision::Fp32, Reason::ShapeWork);
        }
        let (precision, reason) = self.wish(graph, id, request);
        match precision.half_format() {
            Some(format)
                if !half_form::exists(node, self.opset, data_type_of(format), self.types) =>
            {
                (Precision::Fp32, Reason::NoSuchForm)
            }
            _ => (precision, reason),
        }
    }

    /// What the recipe asks for, whether or not the operator can.
    fn wish(
        &self,
        graph: &Graph<'_>,
        id: NodeId,
        request: &PlanRequest<'_>,
    ) -> (Precision, Reason) {
        let node = graph.node(id);
        let has = |set: &[NodeId]| set.binary_search(&id).is_ok();
        // A convolution that averages within a normalization is no layer: its weights are not to be quantized.
        let part = part(graph, id, request.target)
            .filter(|_| request.target.quantized_ops.contains(&node.op()) && !has(&self.norms))
            .filter(|part| *part == Part::Weighted || !self.nested);
        let quantizable = match request.ranges {
            RangeSource::Static => part.is_some(),
            RangeSource::Dynamic => {
                !self.nested && !has(&self.norms) && dynamic_int8::is_candidate(graph, id)
            }
        };
        let key = handle(node.label(), node.output_name(0).unwrap_or_default());
        if let Some(o) = request
            .overrides
            .iter()
            .rev()
            .find(|o| o.pattern.matches(key))
        {
            // INT8 for an operator that cannot be quantized means the next best thing, as everywhere else in the plan.
            let precision = match o.precision {
                Precision::Int8 if !quantizable => Precision::Fp16,
                precision => precision,
            };
            return (precision, Reason::Override(o.pattern().to_owned()));
        }
        let pins = request.pins;
        let pin = [
            (has(&self.first_convs), pins.first_conv, Reason::FirstConv),
            (has(&self.last_convs), pins.last_conv, Reason::LastConv),
            (has(&self.norms), pins.norms, Reason::Normalization),
        ];
        if let Some((_, precision, reason)) = pin
            .into_iter()
            .find(|(applies, precision, _)| *applies && precision.is_wider_than(request.precision))
        {
            return (precision, reason);
        }
        match request.precision {
            Precision::Int8 if !quantizable => (
                request.target.precision_of_the_rest(),
                Reason::NotQuantizedHere,
            ),
            Precision::Int8 if has(&self.pooled) => (Precision::Fp16, Reason::PooledVector),
            Precision::Int8 if part == Some(Part::Weighted) && !has_constant_weights(graph, id) => {
                (Precision::Fp16, Reason::ComputedWeights)
            }
            precision => (precision, Reason::Artifact),
        }
    }
}

fn has_constant_weights(graph: &Graph<'_>, id: NodeId) -> bool {
    let is_constant = |name: &str| matches!(graph.constant(name), Ok(Some(_)));
    graph
        .node(id)
        .input
        .iter()
        .skip(1)
        .filter(|name| !name.is_empty())
        .all(|name| is_constant(name))
}
