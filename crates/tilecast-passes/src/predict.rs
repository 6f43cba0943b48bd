//! What a runtime will make of a converted graph: which nodes it computes in INT8, and which stay islands of floats between
//! integers, with the reason.
//!
//! A pure function of the graph and the target's table. For `ort-cpu` it is checked node by node against the graph that
//! ONNX Runtime makes (`tests/golden/ort_fusion/`).

mod by_inputs;
mod by_unit;
mod propagate;
mod view;

use std::collections::BTreeMap;
use std::fmt;

use tilecast_onnx::{Model, NodeId};

use crate::{Placement, Target};
use view::View;

/// How a runtime computes one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// By an INT8 kernel, or as a movement of bytes.
    Int8,
    /// Inside the INT8 kernel before it.
    Inside,
    /// With floats.
    Float(FloatReason),
}

/// Why a node is computed with floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatReason {
    /// The target has no INT8 kernel for the operator, or not with these attributes or constant operands.
    NoKernel,
    /// No pair stands before it.
    ReadsFloats,
    /// Its weights are no integers.
    FloatWeights,
    /// No pair stands directly behind it.
    WritesFloats,
    /// An activation stands between it and its pair, and the integers do not clamp as that does.
    ActivationBetween,
    /// It only moves elements, and they would need another scale behind it.
    ScalesDiffer,
}

impl fmt::Display for FloatReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoKernel => "the target has no INT8 kernel for it",
            Self::ReadsFloats => "it reads floats",
            Self::FloatWeights => "its weights are floats",
            Self::WritesFloats => "no QuantizeLinear stands directly behind it",
            Self::ActivationBetween => "an activation between it and its QuantizeLinear stays",
            Self::ScalesDiffer => "the scales before and behind it differ",
        })
    }
}

/// One node that computes with floats in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PredictedNode {
    /// Name of the node's first output.
    pub value: String,
    /// Node name, possibly empty.
    pub node: String,
    /// Operator.
    pub op: String,
    /// How it is computed.
    pub runs: Runs,
}

impl PredictedNode {
    /// The node's name, or its first output where it has none.
    #[must_use]
    pub fn label(&self) -> &str {
        if self.node.is_empty() {
            &self.value
        } else {
            &self.node
        }
    }
}

/// Nodes computed with floats that hang together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Island {
    /// Positions in [`Prediction::nodes`], ascending.
    pub nodes: Vec<usize>,
}

/// What a runtime makes of a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prediction {
    /// Every node that computes with floats in the file, but for Q/DQ and what is constant, in graph order.
    pub nodes: Vec<PredictedNode>,
    /// The float ones of them, in graph order of their first nodes.
    pub islands: Vec<Island>,
}

impl Prediction {
    /// Number of nodes computed in INT8, those inside of kernels included.
    #[must_use]
    pub fn n_int8(&self) -> usize {
        let float = |n: &&PredictedNode| matches!(n.runs, Runs::Float(_));
        self.nodes.len() - self.nodes.iter().filter(float).count()
    }

    /// The prediction for the node whose first output is `value`.
    #[must_use]
    pub fn of(&self, value: &str) -> Option<Runs> {
        let node = self.nodes.iter().find(|n| n.value == value)?;
        Some(node.runs)
    }
}

/// Predicts how `target` computes the nodes of a model, as it is written in the file.
#[must_use]
pub fn predict(model: &Model, target: &Target) -> Prediction {
    let graph = model.graph();
    let view = View::of(&graph, target);
    let runs = match target.placement {
        Placement::InputsAndOutputs => by_unit::runs(&view),
        Placement::InputsOnly => by_inputs::runs(&view),
    };
    let nodes: Vec<(NodeId, PredictedNode)> = view
        .float_nodes()
        .map(|(id, node)| {
            let predicted = PredictedNode {
                value: node.output_name(0).unwrap_or_default().to_owned(),
                node: node.label().to_owned(),
                op: node.op().to_owned(),
                runs: runs
                    .get(&id)
                    .copied()
                    .unwrap_or(Runs::Float(FloatReason::NoKernel)),
            };
            (id, predicted)
        })
        .collect();
    let islands = islands(&view, &nodes);
    Prediction {
        nodes: nodes.into_iter().map(|(_, node)| node).collect(),
        islands,
    }
}

/// Float nodes joined where one reads what another computes.
fn islands(view: &View<'_, '_>, nodes: &[(NodeId, PredictedNode)]) -> Vec<Island> {
    let is_float = |place: usize| matches!(nodes[place].1.runs, Runs::Float(_));
    let places: BTreeMap<NodeId, usize> = nodes
        .iter()
        .enumerate()
        .map(|(place, (id, _))| (*id, place))
        .collect();
    // Of every place, the island's first place; joined islands keep the smaller one.
    let mut first: Vec<usize> = (0..nodes.len()).collect();
    let root = |first: &[usize], mut place: usize| {
        while first[place] != place {
            place = first[place];
        }
        place
    };
    for (place, (id, _)) in nodes
        .iter()
        .enumerate()
        .filter(|(place, _)| is_float(*place))
    {
        let inputs = view.graph.node(*id).input.iter();
        let before = inputs.filter_map(|name| places.get(&view.graph.producer(name)?.0));
        for &other in before.filter(|&&other| is_float(other)) {
            let (a, b) = (root(&first, place), root(&first, other));
            first[a.max(b)] = a.min(b);
        }
    }
    let mut islands: BTreeMap<usize, Island> = BTreeMap::new();
    for place in (0..nodes.len()).filter(|&place| is_float(place)) {
        let island = islands
            .entry(root(&first, place))
            .or_insert(Island { nodes: Vec::new() });
        island.nodes.push(place);
    }
    islands.into_values().collect()
}
