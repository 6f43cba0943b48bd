//! Which activations get a Q/DQ pair, and which inputs of nodes read it.

use std::collections::HashMap;

use tilecast_onnx::{Graph, NodeId};

use super::part::{Part, data_slots, part};
use crate::{Placement, Precision, PrecisionPlan, Target};

/// An INT8 node and the activations that it reads and writes as integers.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) id: NodeId,
    pub(super) part: Part,
    /// Inputs that read a pair: the node, which may be one that is computed inside this one's kernel, and the slot.
    pub(super) reads: Vec<(NodeId, usize)>,
    /// Values behind which a pair follows.
    pub(super) writes: Vec<String>,
}

/// Every INT8 node, in graph order.
pub(super) fn sites(graph: &Graph<'_>, plan: &PrecisionPlan, target: &Target) -> Vec<Site> {
    let int8 = |id: NodeId| plan.is(graph.node(id).output_name(0), Precision::Int8);
    let nodes = graph.nodes().filter(|&(id, _)| int8(id));
    let parts = nodes.filter_map(|(id, _)| Some((id, part(graph, id, target)?)));
    parts
        .map(|(id, part)| {
            let node = graph.node(id);
            let moves_itself = part == Part::Movement && target.placement == Placement::InputsOnly;
            let mut reads: Vec<(NodeId, usize)> = Vec::new();
            if !moves_itself {
                reads.extend(data_slots(node).map(|slot| (id, slot)));
            }
            // What is computed inside the kernel has no part of its own.
            let mut last = id;
            while let Some(next) = node_behind(graph, last)
                && part != Part::Movement
                && int8(next.0)
                && super::part::part(graph, next.0, target).is_none()
            {
                let operands = data_slots(graph.node(next.0)).filter(|&slot| slot != next.1);
                reads.extend(operands.map(|slot| (next.0, slot)));
                last = next.0;
            }
            let writes = match target.placement {
                Placement::InputsOnly => Vec::new(),
                Placement::InputsAndOutputs => {
                    let outputs = &graph.node(last).output;
                    outputs.iter().filter(|o| !o.is_empty()).cloned().collect()
                }
            };
            Site {
                id,
                part,
                reads,
                writes,
            }
        })
        .collect()
}

/// The only node that reads the first output of `id`, and in which slot.
fn node_behind(graph: &Graph<'_>, id: NodeId) -> Option<(NodeId, usize)> {
    let usage = graph.only_use(graph.node(id).output_name(0)?)?;
    Some((usage.node, usage.slot?))
}

impl Site {
    /// Names of the activations that it reads, then of those that it writes.
    pub(super) fn values<'a>(&'a self, graph: &'a Graph<'_>) -> impl Iterator<Item = &'a str> {
        let reads = self
            .reads
            .iter()
            .filter_map(|&(id, slot)| graph.node(id).input_name(slot));
        reads.chain(self.writes.iter().map(String::as_str))
    }
}

/// Values that keep one scale: a union-find over the values of a graph.
#[derive(Debug, Default)]
pub(super) struct SharedScales {
    index: HashMap<String, usize>,
    parent: Vec<usize>,
}

impl SharedScales {
    /// Values between which some INT8 node only moves elements share a scale.
    pub(super) fn of(graph: &Graph<'_>, sites: &[Site]) -> Self {
        let mut shared = Self::default();
        for site in sites.iter().filter(|s| s.part == Part::Movement) {
            let node = graph.node(site.id);
            let inputs = data_slots(node).filter_map(|slot| node.input_name(slot));
            let outputs = node.output.iter().map(String::as_str);
            let mut values = inputs.chain(outputs.filter(|o| !o.is_empty()));
            let Some(first) = values.next() else { continue };
            let first = shared.place(first);
            for value in values {
                let value = shared.place(value);
                let (a, b) = (shared.root(first), shared.root(value));
                shared.parent[b] = a;
            }
        }
        shared
    }

    fn place(&mut self, value: &str) -> usize {
        if let Some(&place) = self.index.get(value) {
            return place;
        }
        let place = self.parent.len();
        self.index.insert(value.to_owned(), place);
        self.parent.push(place);
        place
    }

    fn root(&self, mut place: usize) -> usize {
        while self.parent[place] != place {
            place = self.parent[place];
        }
        place
    }

    /// The set that a value belongs to; `None` where it shares its scale with no other.
    pub(super) fn set_of(&self, value: &str) -> Option<usize> {
        self.index.get(value).map(|&place| self.root(place))
    }
}
