//! What the target's runtime will make of a converted model, as JSON and as text.

use std::collections::BTreeMap;
use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;
use tilecast_onnx::Model;
use tilecast_passes::{PredictedNode, Prediction, Runs, Target, predict};

/// Islands named one by one in text.
const SHOWN: usize = 5;

/// Which nodes the target's runtime will compute in INT8, and which stay floats.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PredictionFacts {
    /// The runtime.
    pub target: &'static str,
    /// Number of nodes computed in INT8, those inside the kernel of another included.
    pub int8: usize,
    /// Number of nodes computed with floats.
    pub float: usize,
    /// Float nodes that hang together, between integers.
    pub float_islands: Vec<IslandFacts>,
    /// Every node, in graph order.
    pub nodes: Vec<PredictedNodeFacts>,
}

/// Float nodes that hang together.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct IslandFacts {
    /// Name of the first node.
    pub first: String,
    /// Name of the last node.
    pub last: String,
    /// Number of nodes.
    pub nodes: usize,
    /// Number of nodes per reason.
    pub reasons: BTreeMap<String, usize>,
}

/// One node of the converted model.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PredictedNodeFacts {
    /// Node name, or its first output where it has none.
    pub node: String,
    /// Operator.
    pub op: String,
    /// `int8`, `inside` the INT8 kernel before it, or `float`.
    pub runs: &'static str,
    /// Why it is computed with floats; null where it is not.
    pub reason: Option<String>,
}

impl PredictionFacts {
    /// The prediction for a converted model; `None` where it has no INT8 node.
    #[must_use]
    pub(crate) fn of(model: &Model, target: &'static Target) -> Option<Self> {
        let has_pairs = |op| model.graph_proto().node.iter().any(|node| node.is(op));
        if !has_pairs("DequantizeLinear") {
            return None;
        }
        let prediction = predict(model, target);
        let int8 = prediction.n_int8();
        Some(Self {
            target: target.name,
            int8,
            float: prediction.nodes.len() - int8,
            float_islands: islands(&prediction),
            nodes: prediction
                .nodes
                .iter()
                .map(PredictedNodeFacts::of)
                .collect(),
        })
    }

    /// A line of counts, and one for each of the largest islands.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "predicted on {}: {} of {} nodes in INT8, {} float islands\n",
            self.target,
            self.int8,
            self.nodes.len(),
            self.float_islands.len()
        );
        let mut largest: Vec<&IslandFacts> = self.float_islands.iter().collect();
        largest.sort_by_key(|island| std::cmp::Reverse(island.nodes));
        for island in largest.iter().take(SHOWN) {
            let reasons: Vec<String> = island
                .reasons
                .iter()
                .map(|(reason, n)| format!("{n} because {reason}"))
                .collect();
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "  float: {} node(s) from {} to {}: {}",
                island.nodes,
                island.first,
                island.last,
                reasons.join(", ")
            );
        }
        let more = largest.len().saturating_sub(SHOWN);
        if more > 0 {
            let _ = writeln!(text, "  and {more} more; the JSON lists all");
        }
        text
    }
}

impl PredictedNodeFacts {
    fn of(node: &PredictedNode) -> Self {
        let (runs, reason) = match node.runs {
            Runs::Int8 => ("int8", None),
            Runs::Inside => ("inside", None),
            Runs::Float(reason) => ("float", Some(reason.to_string())),
        };
        Self {
            node: node.label().to_owned(),
            op: node.op.clone(),
            runs,
            reason,
        }
    }
}

fn islands(prediction: &Prediction) -> Vec<IslandFacts> {
    let label = |place: Option<&usize>| {
        place.map_or(String::new(), |&place| {
            prediction.nodes[place].label().to_owned()
        })
    };
    prediction
        .islands
        .iter()
        .map(|island| {
            let mut reasons = BTreeMap::new();
            for &place in &island.nodes {
                if let Runs::Float(reason) = prediction.nodes[place].runs {
                    *reasons.entry(reason.to_string()).or_default() += 1;
                }
            }
            IslandFacts {
                first: label(island.nodes.first()),
                last: label(island.nodes.last()),
                nodes: island.nodes.len(),
                reasons,
            }
        })
        .collect()
}
