//! Which nodes a 16-bit float format cannot hold: they stay in FP32, in the smallest island, each with the number that
//! decided.
//!
//! What calibration saw decides, with a margin; where nothing was observed (no images, or inside a subgraph) the operators
//! that can overflow do. There is no search and no interval analysis: bounds certified from the weights alone exceed what
//! images produce by factors of a hundred to a trillion.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{DataType, Graph, Model, NodeId, TypeMap, infer_types};
use tilecast_quant::{HalfFormat, Magnitude};

use super::half_form::{Operand, operand};
use super::inner_sums::{Inside, inside};
use super::range_study::RangeEvidence;
use super::{Precision, PrecisionPlan, Reason, normalization_nodes};

/// How many times what calibration saw must fit below the largest number of the format: other images are brighter.
pub(crate) const MARGIN: f32 = 4.0;

/// Operators that can overflow in FP16 though inputs and outputs are ordinary, for where nothing was observed.
const CAN_OVERFLOW: &[&str] = &[
    "CumSum",
    "Einsum",
    "Exp",
    "GlobalAveragePool",
    "GlobalLpPool",
    "GroupNormalization",
    "InstanceNormalization",
    "Log",
    "LpNormalization",
    "MeanVarianceNormalization",
    "Pow",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMean",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Sqrt",
];

/// Operators behind which a huge value is ordinary again.
const BOUNDED_RESULT: &[&str] = &[
    "Clip",
    "HardSigmoid",
    "Sigmoid",
    "Sign",
    "Softmax",
    "Softsign",
    "Tanh",
];

/// Operators that keep small values small: what feeds a root or a divisor through these must be as exact as the divisor.
const CARRIES_SMALL_VALUES: &[&str] = &[
    "Abs",
    "Add",
    "Clip",
    "Max",
    "Pow",
    "ReduceMean",
    "ReduceSum",
    "ReduceSumSquare",
    "Expand",
    "Identity",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// Constants are looked at piece by piece: weights need not be held a second time for that.
const PIECE_BYTES: usize = 1 << 16;

/// Operators whose bounds may be cut to the largest number of the format without a difference.
const BOUNDS: &[&str] = &["Clip", "Max", "Min"];

/// Operators that move values or work on each alone, without weights to speak of.
const LIGHT: &[&str] = &[
    "Abs",
    "Add",
    "Clip",
    "Concat",
    "Div",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "Max",
    "Min",
    "Mul",
    "Neg",
    "Relu",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Sub",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Where",
];

impl PrecisionPlan {
    /// Raises nodes from FP16 or BF16 to FP32 where the format cannot hold them. `evidence` is what calibration saw of
    /// this model; without it, operators that can overflow are raised. Nodes that the recipe names are left as it says.
    pub fn keep_in_range(&mut self, model: &Model, evidence: Option<&RangeEvidence>) {
        let graph = model.graph();
        let mut guard = Guard {
            graph: &graph,
            opset: model.opset(),
            plan: self,
            evidence,
            raised: BTreeMap::new(),
        };
        guard.ranges();
        if evidence.is_none() {
            guard.operators();
        }
        guard.small_values();
        guard.between_singles();
        for (value, reason) in guard.raised {
            self.raise(&value, reason);
        }
        self.raise_unobserved_bodies();
    }

    fn raise(&mut self, value: &str, reason: Reason) {
        if let Some(&index) = self.index.get(value) {
            let decision = &mut self.decisions[index];
            decision.precision = Precision::Fp32;
            decision.reason = reason;
        }
    }

    /// Nobody sees the values inside a body.
    fn raise_unobserved_bodies(&mut self) {
        for decision in &mut self.decisions {
            if decision.nested
                && decision.precision.half_format().is_some()
                && CAN_OVERFLOW.contains(&decision.op.as_str())
            {
                decision.precision = Precision::Fp32;
                decision.reason = Reason::Unobserved;
            }
        }
    }
}

struct Guard<'a, 'g> {
    graph: &'a Graph<'g>,
    opset: i64,
    plan: &'a PrecisionPlan,
    evidence: Option<&'a RangeEvidence>,
    /// By first output.
    raised: BTreeMap<String, Reason>,
}

impl<'g> Guard<'_, 'g> {
    /// The format that a node is still to compute in, if the recipe has no word on it.
    fn format(&self, node: &NodeProto) -> Option<HalfFormat> {
        let value = node.output_name(0)?;
        let decision = self.plan.decision(value)?;
        let settled =
            matches!(decision.reason, Reason::Override(_)) || self.raised.contains_key(value);
        decision.precision.half_format().filter(|_| !settled)
    }

    fn raise(&mut self, node: &NodeProto, reason: Reason) {
        if let Some(value) = node.output_name(0) {
            self.raised.insert(value.to_owned(), reason);
        }
    }

    /// What the node reads in the format: slot and name.
    fn computed_inputs(&self, node: &'g NodeProto, format: HalfFormat) -> Vec<&'g str> {
        let half = super::data_type_of(format);
        (0..node.input.len())
            .filter(|&slot| operand(node, self.opset, slot, half) == Operand::Computed)
            .filter_map(|slot| node.input_name(slot))
            .collect()
    }

    /// Values and sums beyond the format, and constants that it cannot hold.
    fn ranges(&mut self) {
        for (_, node) in self.graph.nodes() {
            if let Some(format) = self.format(node)
                && let Some(reason) = self.out_of_range(node, format)
            {
                self.raise(node, reason);
            }
        }
    }

    fn out_of_range(&self, node: &'g NodeProto, format: HalfFormat) -> Option<Reason> {
        let inputs = self.computed_inputs(node, format);
        for &name in &inputs {
            if let Some(reason) = self.constant_out_of_range(node, name, format) {
                return Some(reason);
            }
        }
        let evidence = self.evidence?;
        let limit = format.largest() / MARGIN;
        let outputs = (0..node.output.len()).filter_map(|slot| node.output_name(slot));
        for name in inputs.into_iter().chain(outputs) {
            let largest = evidence.magnitude(name).map_or(0.0, |m| m.largest);
            if largest > limit {
                return Some(Reason::ValueRange {
                    value: name.to_owned(),
                    largest,
                    limit,
                });
            }
        }
        match inside(self.graph, node, self.opset) {
            Inside::Nothing => None,
            Inside::Unbounded => Some(Reason::UnboundedSum),
            Inside::Sum(sum) => {
                let bound = sum.bound(|part| evidence.sum(part))?;
                (bound > f64::from(limit)).then_some(Reason::InnerSum { bound, limit })
            }
        }
    }

    fn constant_out_of_range(
        &self,
        node: &NodeProto,
        name: &str,
        format: HalfFormat,
    ) -> Option<Reason> {
        let tensor = self.graph.constant(name).ok()??;
        if tensor.data_type() != DataType::F32 {
            return None;
        }
        let mut seen = Magnitude::default();
        let mut values: Vec<f32> = Vec::with_capacity(PIECE_BYTES / size_of::<f32>());
        for piece in tensor.bytes().chunks(PIECE_BYTES) {
            values.clear();
            values.extend(piece.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)));
            seen.observe(&values);
        }
        let mut rounded = [seen.largest];
        format.round_in_place(&mut rounded);
        let value = name.to_owned();
        if rounded[0].is_infinite() && !BOUNDS.contains(&node.op()) {
            let mut elements = tensor.to_f32_vec()?.into_iter();
            let constant = elements.find(|v| v.abs().to_bits() == seen.largest.to_bits())?;
            return Some(Reason::ConstantOverflow { value, constant });
        }
        (rounded[0] == 0.0 && seen.largest > 0.0).then_some(Reason::ConstantVanishes {
            value,
            constant: seen.largest,
        })
    }

    /// Without observation: operators that can overflow, normalizations, and what a huge constant flows into.
    fn operators(&mut self) {
        let norms: HashSet<NodeId> = normalization_nodes(self.graph).into_iter().collect();
        let mut huge: HashSet<&str> = HashSet::new();
        for (id, node) in self.graph.nodes() {
            let value = node.output_name(0).unwrap_or_default();
            let reads_huge = node.input.iter().any(|name| huge.contains(name.as_str()));
            let holds_huge = matches!(
                self.raised.get(value),
                Some(Reason::ConstantOverflow { .. })
            );
            if (reads_huge || holds_huge) && !BOUNDED_RESULT.contains(&node.op()) {
                huge.extend((0..node.output.len()).filter_map(|slot| node.output_name(slot)));
            }
            if self.format(node).is_none() {
                continue;
            }
            let statistics = norms.contains(&id)
                && !matches!(
                    node.op(),
                    "Add"
                        | "BatchNormalization"
                        | "Div"
                        | "LayerNormalization"
                        | "Mul"
                        | "RMSNormalization"
                        | "Sub"
                );
            let stashed = node.is("GroupNormalization")
                && matches!(inside(self.graph, node, self.opset), Inside::Nothing);
            if reads_huge || statistics || (CAN_OVERFLOW.contains(&node.op()) && !stashed) {
                self.raise(node, Reason::Unobserved);
            }
        }
    }

    /// A root, a logarithm or a divisor turns the relative error of a small number into an error of the result, so that
    /// what it reads must not fall below the numbers that have all significant bits.
    fn small_values(&mut self) {
        let mut climb: Vec<NodeId> = Vec::new();
        for (_, node) in self.graph.nodes() {
            let sensitive = match node.op() {
                "Log" | "Reciprocal" | "Sqrt" => node.input_name(0),
                "Div" => node.input_name(1),
                "Pow" if self.is_root(node) => node.input_name(0),
                _ => None,
            };
            let (Some(name), Some(format)) = (sensitive, self.any_format(node)) else {
                continue;
            };
            let smallest = self
                .evidence
                .and_then(|e| e.magnitude(name))
                .map(|m| m.smallest);
            let guarded_by_vanishing = self
                .graph
                .producer_node(name)
                .and_then(|p| self.raised.get(p.output_name(0)?))
                .is_some_and(|reason| matches!(reason, Reason::ConstantVanishes { .. }));
            let small = smallest.is_some_and(|s| s < format.smallest_normal());
            if !(small || (smallest.is_none() && guarded_by_vanishing)) {
                continue;
            }
            if self.format(node).is_some() {
                let reason = Reason::SmallValues {
                    value: name.to_owned(),
                    smallest: smallest.unwrap_or(0.0),
                    normal: format.smallest_normal(),
                };
                self.raise(node, reason);
            }
            climb.extend(self.graph.producer(name).map(|p| p.0));
        }
        let mut seen: HashSet<NodeId> = HashSet::new();
        while let Some(id) = climb.pop() {
            let node = self.graph.node(id);
            let square = node.is("Mul") && node.input_name(0) == node.input_name(1);
            if !seen.insert(id) || !(square || CARRIES_SMALL_VALUES.contains(&node.op())) {
                continue;
            }
            if self.format(node).is_some() {
                self.raise(node, Reason::FeedsSmallValues);
            }
            climb.extend(
                node.input
                    .iter()
                    .filter_map(|name| self.graph.producer(name))
                    .map(|p| p.0),
            );
        }
    }

    /// The format of a node before anything was raised.
    fn any_format(&self, node: &NodeProto) -> Option<HalfFormat> {
        self.plan
            .decision(node.output_name(0)?)?
            .precision
            .half_format()
    }

    fn is_root(&self, node: &NodeProto) -> bool {
        let exponent = node
            .input_name(1)
            .and_then(|name| self.graph.constant(name).ok()?);
        match exponent.and_then(|t| t.to_f32_vec()).as_deref() {
            Some(&[exponent]) => exponent < 1.0,
            _ => true,
        }
    }

    /// Light nodes whose every neighbour computes in FP32: a cast on the way in and one on the way out would cost time and
    /// digits, and save nothing. Light nodes that are connected stand or fall together.
    fn between_singles(&mut self) {
        let types = infer_types(self.graph);
        let light: BTreeSet<NodeId> = self
            .graph
            .nodes()
            .filter(|(_, node)| LIGHT.contains(&node.op()) && self.format(node).is_some())
            .map(|(id, _)| id)
            .collect();
        let mut visited: HashSet<NodeId> = HashSet::new();
        for &start in &light {
            if !visited.insert(start) {
                continue;
            }
            let mut region = vec![start];
            let (mut meets_single, mut meets_other) = (false, false);
            let mut next = 0;
            while let Some(&id) = region.get(next) {
                next += 1;
                for neighbour in self.float_neighbours(id, &types) {
                    if light.contains(&neighbour) {
                        if visited.insert(neighbour) {
                            region.push(neighbour);
                        }
                    } else if self.computes_single(neighbour) {
                        meets_single = true;
                    } else {
                        meets_other = true;
                    }
                }
            }
            if meets_single && !meets_other {
                for id in region {
                    self.raise(self.graph.node(id), Reason::BetweenSingles);
                }
            }
        }
    }

    /// Nodes that give or take a float32 value of this one. What is constant, and the border of the graph, is no neighbour.
    fn float_neighbours(&self, id: NodeId, types: &TypeMap<'_>) -> Vec<NodeId> {
        let node = self.graph.node(id);
        let is_single = |name: &&str| types.get(*name) == Some(&DataType::F32);
        let inputs = (0..node.input.len()).filter_map(|slot| node.input_name(slot));
        let outputs = (0..node.output.len()).filter_map(|slot| node.output_name(slot));
        let producers = inputs
            .filter(is_single)
            .filter_map(|name| self.graph.producer(name))
            .map(|(id, _)| id)
            .filter(|&id| !self.graph.node(id).is("Constant"));
        let readers = outputs
            .filter(is_single)
            .flat_map(|name| self.graph.uses(name).iter().map(|u| u.node));
        producers.chain(readers).collect()
    }

    fn computes_single(&self, id: NodeId) -> bool {
        let Some(value) = self.graph.node(id).output_name(0) else {
            return false;
        };
        let planned = self.plan.decision(value).map(|d| d.precision);
        self.raised.contains_key(value) || planned == Some(Precision::Fp32)
    }
}
