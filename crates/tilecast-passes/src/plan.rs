//! The precision plan: node → precision, each with a reason, decided before anything is rewritten.
//!
//! Nodes are known by the name of their first output: names of values are unique in a valid graph and survive the passes
//! that carry the plan out, names of nodes need be neither.

mod ends;
mod normalization;
mod shape_work;

use std::collections::BTreeMap;
use std::fmt;

use glob::Pattern;
use tilecast_onnx::{DataType, Graph, NodeId, TypeMap, infer_types};

use crate::Target;

pub use normalization::normalization_nodes;
pub(crate) use shape_work::stays_float32;

/// Precision in which a node computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 8-bit integers between Q/DQ pairs.
    Int8,
    /// IEEE half precision.
    Fp16,
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
            Self::Fp32 => "fp32",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a node has its precision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The artifact's own precision.
    Artifact,
    /// The artifact is INT8 and the target does not run this operator in INT8.
    NotQuantizedHere,
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
    /// The specification gives the operator no FP16 form.
    NoFloat16Form,
    /// The recipe says so, with this pattern.
    Override(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Artifact => "the artifact's precision",
            Self::NotQuantizedHere => "the target quantizes other operators only",
            Self::FirstConv => "first conv is pinned",
            Self::LastConv => "last conv is pinned",
            Self::Normalization => "normalization is pinned",
            Self::PooledVector => {
                "works on a pooled vector, where INT8 saves nothing and shifts whole channels"
            }
            Self::ComputedWeights => "its weights are not constant",
            Self::ShapeWork => "computes shapes or scales",
            Self::NoFloat16Form => "the operator has no FP16 form",
            Self::Override(pattern) => return write!(f, "recipe override `{pattern}`"),
        })
    }
}

/// What was decided for one node.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// Precision of every node that computes with floats, in graph order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
}

impl PrecisionPlan {
    /// Decides the precision of every node that reads or writes floats. Constants and integer work are left out.
    #[must_use]
    pub fn new(graph: &Graph<'_>, request: &PlanRequest<'_>) -> Self {
        let types = infer_types(graph);
        let facts = Facts::of(graph, &types);
        let mut plan = Self::default();
        for (id, node) in graph.nodes() {
            let Some(value) = node.output_name(0) else {
                continue;
            };
            if !computes_with_floats(graph, id, &types) {
                continue;
            }
            let (precision, reason) = facts.decide(graph, id, request);
            plan.index.insert(value.to_owned(), plan.decisions.len());
            plan.decisions.push(Decision {
                value: value.to_owned(),
                node: node.label().to_owned(),
                op: node.op().to_owned(),
                precision,
                reason,
            });
        }
        plan
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
        let matches = |o: &Override| {
            self.decisions
                .iter()
                .any(|d| o.pattern.matches(handle(&d.node, &d.value)))
        };
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

/// Whether the node computes floats, or from floats: constants and pure shape arithmetic do neither.
fn computes_with_floats(graph: &Graph<'_>, id: NodeId, types: &TypeMap<'_>) -> bool {
    let node = graph.node(id);
    let float = |name: Option<&str>| name.and_then(|n| types.get(n)) == Some(&DataType::F32);
    let float_out = (0..node.output.len()).any(|slot| float(node.output_name(slot)));
    let float_in = (0..node.input.len()).any(|slot| float(node.input_name(slot)));
    let metadata = matches!(node.op(), "Constant" | "Shape" | "Size");
    !metadata && (float_out || float_in)
}

/// Sets of nodes that the rules speak of.
struct Facts {
    first_convs: Vec<NodeId>,
    last_convs: Vec<NodeId>,
    norms: Vec<NodeId>,
    pooled: Vec<NodeId>,
    shape_work: Vec<NodeId>,
}

impl Facts {
    fn of(graph: &Graph<'_>, types: &TypeMap<'_>) -> Self {
        Self {
            first_convs: ends::first_convs(graph),
            last_convs: ends::last_convs(graph),
            norms: normalization_nodes(graph),
            pooled: ends::on_pooled_vectors(graph),
            shape_work: shape_work::nodes(graph, types),
        }
    }

    fn decide(
        &self,
        graph: &Graph<'_>,
        id: NodeId,
        request: &PlanRequest<'_>,
    ) -> (Precision, Reason) {
        let node = graph.node(id);
        let has = |set: &[NodeId]| set.binary_search(&id).is_ok();
        if has(&self.shape_work) {
            return (Precision::Fp32, Reason::ShapeWork);
        }
        if shape_work::has_no_float16_form(node.op()) {
            return (Precision::Fp32, Reason::NoFloat16Form);
        }
        let quantizable = request.target.quantized_ops.contains(&node.op());
        let key = handle(node.label(), node.output_name(0).unwrap_or_default());
        if let Some(o) = request
            .overrides
            .iter()
            .rev()
            .find(|o| o.pattern.matches(key))
        {
            // INT8 for an operator that cannot be quantized means the next best thing, as everywhere else in the plan.
            let precision = if quantizable {
                o.precision
            } else {
                o.precision.max(Precision::Fp16)
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
            .find(|(applies, precision, _)| *applies && *precision > request.precision)
        {
            return (precision, reason);
        }
        match request.precision {
            Precision::Int8 if !quantizable => (
                request.target.precision_of_the_rest(),
                Reason::NotQuantizedHere,
            ),
            Precision::Int8 if has(&self.pooled) => (Precision::Fp16, Reason::PooledVector),
            Precision::Int8 if !has_constant_weights(graph, id) => {
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
