//! Which nodes without weights are worth INT8, once it is known which nodes with weights have it.
//!
//! Nodes with weights are where INT8 saves time; what it saves in the others is traffic, and only between two that have
//! it. Elsewhere a pair would be added on each side of a node that gains less than the pairs take.

use tilecast_onnx::{Graph, NodeId, Use};

use super::{Precision, PrecisionPlan, Reason, handle};
use crate::Target;
use crate::precision::insert_qdq::absorb::absorbed;
use crate::precision::insert_qdq::part::{Part, data_slots, part};

impl PrecisionPlan {
    /// First outputs of the nodes with weights that have INT8: what the others have it for.
    #[must_use]
    pub fn int8_with_weights<'g>(&self, graph: &Graph<'g>, target: &Target) -> Vec<&'g str> {
        graph
            .nodes()
            .filter(|(id, _)| part(graph, *id, target) == Some(Part::Weighted))
            .filter_map(|(_, node)| node.output_name(0))
            .filter(|value| self.is(Some(value), Precision::Int8))
            .collect()
    }

    /// Takes a node out of INT8, with what is computed inside its kernel. [`PrecisionPlan::settle_int8`] does the rest.
    ///
    /// # Panics
    /// The plan has no such node.
    pub fn leave_int8(&mut self, value: &str, reason: &Reason, graph: &Graph<'_>, target: &Target) {
        self.change(value, Precision::Fp16, reason.clone());
        let Some((id, _)) = graph.producer(value) else {
            return;
        };
        for node in graph.nodes().map(|(_, node)| node) {
            let Some(inside) = node.output_name(0) else {
                continue;
            };
            let label = handle(graph.node(id).label(), value);
            let is_inside = self.decision(inside).is_some_and(
                |d| matches!(&d.reason, Reason::ComputedInside(kernel) if kernel == label),
            );
            if is_inside {
                self.change(
                    inside,
                    target.precision_of_the_rest(),
                    Reason::NotQuantizedHere,
                );
            }
        }
    }

    /// Gives INT8 to what the kernels of INT8 nodes compute as well, and takes it from nodes where it does not pay.
    pub fn settle_int8(&mut self, graph: &Graph<'_>, target: &Target) {
        let mut settle = Settle {
            plan: self,
            graph,
            target,
        };
        settle.widen_kernels();
        // What loses INT8 may have been the reason for another to have it.
        while settle.drop_what_does_not_pay() {}
    }
}

struct Settle<'a, 'g> {
    plan: &'a mut PrecisionPlan,
    graph: &'a Graph<'g>,
    target: &'a Target,
}

impl Settle<'_, '_> {
    fn decided(&mut self, id: NodeId) -> Option<&mut super::Decision> {
        let value = self.graph.node(id).output_name(0)?;
        let index = *self.plan.index.get(value)?;
        self.plan.decisions.get_mut(index)
    }

    fn is_int8(&self, id: NodeId) -> bool {
        self.plan
            .is(self.graph.node(id).output_name(0), Precision::Int8)
    }

    fn part(&self, id: NodeId) -> Option<Part> {
        part(self.graph, id, self.target).filter(|_| self.is_int8(id))
    }

    /// A node that nothing but the table of operators kept in float is computed inside the kernel before it.
    fn widen_kernels(&mut self) {
        let graph = self.graph;
        for (id, node) in graph.nodes() {
            if !matches!(self.part(id), Some(Part::Weighted | Part::Arithmetic)) {
                continue;
            }
            let label = node.output_name(0).map(|value| handle(node.label(), value));
            let label = label.unwrap_or_default().to_owned();
            let add = self.residual_add(id);
            let add = add.filter(|&add| self.take_inside(add, &label));
            if let Some(activation) = absorbed(graph, add.unwrap_or(id), self.target) {
                self.take_inside(activation, &label);
            }
        }
    }

    /// Gives INT8 to a node inside the kernel of `label`, unless something else than the table of operators decided on it.
    fn take_inside(&mut self, id: NodeId, label: &str) -> bool {
        match self.decided(id) {
            Some(decision) if decision.reason == Reason::NotQuantizedHere => {
                decision.precision = Precision::Int8;
                decision.reason = Reason::ComputedInside(label.to_owned());
                true
            }
            _ => false,
        }
    }

    /// The Add of a residual that follows `id`, provided that the kernel of its other operand comes first: each kernel has
    /// one successor and an Add one kernel.
    fn residual_add(&self, id: NodeId) -> Option<NodeId> {
        let graph = self.graph;
        let output = graph.node(id).output_name(0)?;
        let usage = graph.only_use(output)?;
        let add = graph.node(usage.node);
        let fits = self.target.absorbs_residual_add
            && add.is("Add")
            && self.part(id) == Some(Part::Weighted);
        let other = add.input_name(1 - usage.slot.filter(|_| fits)?)?;
        let comes_later = |producer: NodeId| {
            producer > id
                && self.part(producer) == Some(Part::Weighted)
                && graph.only_use(other).is_some()
        };
        let is_image = match graph.producer(other) {
            Some((producer, _)) => !graph.node(producer).is("Constant") && !comes_later(producer),
            None => graph.initializer(other).is_none(),
        };
        is_image.then_some(usage.node)
    }

    fn drop_what_does_not_pay(&mut self) -> bool {
        let mut dropped = false;
        for (id, _) in self.graph.nodes() {
            if !self.is_int8(id) || self.pays(id) {
                continue;
            }
            let rest = self.target.precision_of_the_rest();
            let behind = absorbed(self.graph, id, self.target);
            for id in [Some(id), behind].into_iter().flatten() {
                if let Some(decision) = self.decided(id)
                    && decision.precision == Precision::Int8
                {
                    decision.precision = rest;
                    decision.reason = Reason::OnlyTraffic;
                    dropped = true;
                }
            }
        }
        dropped
    }

    fn pays(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let decision = node.output_name(0).and_then(|v| self.plan.decision(v));
        let by_override = decision.is_some_and(|d| matches!(d.reason, Reason::Override(_)));
        let mut outputs = node.output.iter().filter(|o| !o.is_empty());
        match self.part(id) {
            _ if by_override => true,
            Some(Part::Weighted) => true,
            // Its elements travel as bytes where they would all have become bytes right behind it anyway.
            Some(Part::Movement) => outputs.all(|value| {
                let mut uses = self.graph.uses(value).iter();
                !self.graph.is_output(value)
                    && self.is_read_in_int8(value)
                    && uses.all(|&usage| self.reads_in_int8(usage))
            }),
            Some(Part::Arithmetic) => {
                let mut inputs = data_slots(node).filter_map(|slot| node.input_name(slot));
                inputs.all(|value| self.has_pair_anyway(value)) && self.kernel_is_read_in_int8(id)
            }
            // An activation costs nothing inside a kernel, a residual operand a pair.
            None => !node.is("Add") || self.kernel_is_read_in_int8(id),
        }
    }

    /// Whether some node reads through a pair what the kernel writes that ends with `id`, or with an activation behind it.
    fn kernel_is_read_in_int8(&self, id: NodeId) -> bool {
        let behind = absorbed(self.graph, id, self.target).filter(|&id| self.is_int8(id));
        let output = self.graph.node(behind.unwrap_or(id)).output_name(0);
        output.is_some_and(|value| self.is_read_in_int8(value))
    }

    /// Whether some node reads the value through a pair.
    fn is_read_in_int8(&self, value: &str) -> bool {
        let mut uses = self.graph.uses(value).iter();
        uses.any(|&usage| self.reads_in_int8(usage))
    }

    fn reads_in_int8(&self, usage: Use) -> bool {
        let reads = |slot| data_slots(self.graph.node(usage.node)).contains(&slot);
        usage.slot.is_some_and(reads) && self.part(usage.node).is_some()
    }

    /// Whether the value is made in INT8, or quantized for a node with weights.
    fn has_pair_anyway(&self, value: &str) -> bool {
        let for_weights =
            |id: NodeId, slot| slot == Some(0) && self.part(id) == Some(Part::Weighted);
        let mut uses = self.graph.uses(value).iter();
        self.is_made_in_int8(value) || uses.any(|u| for_weights(u.node, u.slot))
    }

    /// Whether the kernel that makes the value can write integers.
    fn is_made_in_int8(&self, value: &str) -> bool {
        let Some((id, _)) = self.graph.producer(value) else {
            return false;
        };
        let node = self.graph.node(id);
        match self.part(id) {
            Some(Part::Weighted | Part::Arithmetic) => true,
            Some(Part::Movement) => data_slots(node)
                .filter_map(|slot| node.input_name(slot))
                .all(|input| self.is_made_in_int8(input)),
            None => self.is_int8(id),
        }
    }
}
