//! What a matcher looks at: a graph, what is constant in it, and what its shapes are.

use std::collections::BTreeSet;

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{DataType, Extent, Facts, Graph, NodeId, Tensor, axis_from_front};

use crate::PassContext;

/// A constant in a formula may differ from the exact number by its rounding to float32 and no more.
const CONSTANT_TOLERANCE: f64 = 1e-6;

/// A graph as the matchers of one pass see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site<'a, 'g> {
    pub(super) graph: &'a Graph<'g>,
    cx: &'a PassContext,
}

impl<'a, 'g> Site<'a, 'g> {
    pub(super) fn of(graph: &'a Graph<'g>, cx: &'a PassContext) -> Self {
        Self { graph, cx }
    }

    fn facts(&self) -> &'a Facts {
        self.cx.facts(self.graph)
    }

    /// Opset version of the default domain.
    pub(super) fn opset(&self) -> i64 {
        self.cx.opset()
    }

    /// Checks that the model may contain an operator.
    ///
    /// # Errors
    /// The reason for which it may not.
    pub(super) fn check_opset(&self, op: &str, since: i64) -> Result<(), String> {
        if self.opset() >= since {
            Ok(())
        } else {
            Err(format!(
                "{op} needs opset {since}, the model has {}",
                self.opset()
            ))
        }
    }

    /// Number of dimensions of a value.
    pub(super) fn rank(&self, value: &str) -> Option<usize> {
        self.facts().rank(value)
    }

    /// Extent along an axis that counts from the front, where it is the same for every input.
    pub(super) fn extent(&self, value: &str, axis: usize) -> Option<usize> {
        self.facts().extent(value, axis)
    }

    /// Extents of a value; two that are equal are equal at every input size.
    pub(super) fn dims(&self, value: &str) -> Option<&'a [Extent]> {
        self.facts().dims(value)
    }

    /// Element type of a value.
    pub(super) fn data_type(&self, value: &str) -> Option<DataType> {
        self.facts().data_type(value)
    }

    /// A constant that no caller of the model can replace.
    pub(super) fn constant(&self, value: &str) -> Option<Tensor> {
        self.cx.constant(self.graph, value)
    }

    /// A float32 constant.
    pub(super) fn float_constant(&self, value: &str) -> Option<Tensor> {
        self.constant(value)
            .filter(|t| t.data_type() == DataType::F32)
    }

    /// The only element of a float32 constant that broadcasts without adding a dimension.
    pub(super) fn scalar(&self, value: &str) -> Option<f32> {
        let tensor = self.float_constant(value)?;
        let is_scalar = tensor.len() == 1 && tensor.dims().len() <= 1;
        tensor.to_f32_vec().filter(|_| is_scalar)?.first().copied()
    }

    /// An integer list that older opsets keep in an attribute and newer ones in an input, where it is the same for every
    /// input of the graph.
    pub(super) fn integers(
        &self,
        node: &NodeProto,
        attribute: &str,
        slot: usize,
    ) -> Option<Vec<i64>> {
        if let Some(list) = node.ints(attribute).ok()? {
            return Some(list.to_vec());
        }
        let name = node.input_name(slot)?;
        match self.constant(name) {
            Some(tensor) => tensor.to_i64_vec(),
            None => self.facts().integers(name).map(<[i64]>::to_vec),
        }
    }

    /// The only axis that a node reduces a value of `rank` over, counted from the front, where it is constant.
    pub(super) fn reduced_axis(&self, node: &NodeProto, rank: usize) -> Option<usize> {
        match self.integers(node, "axes", 1)?[..] {
            [axis] => axis_from_front(axis, rank),
            _ => None,
        }
    }

    /// The operands of a binary node as (what is computed, the scalar constant).
    pub(super) fn with_scalar(&self, node: &'g NodeProto) -> Option<(&'g str, f32)> {
        let (a, b) = (node.input_name(0)?, node.input_name(1)?);
        match (self.scalar(a), self.scalar(b)) {
            (None, Some(c)) => Some((a, c)),
            (Some(c), None) => Some((b, c)),
            _ => None,
        }
    }

    /// The node that computes a value, if it is operator `op` of the default domain.
    pub(super) fn produced_by(&self, value: &str, op: &str) -> Option<(NodeId, &'g NodeProto)> {
        let (id, _) = self.graph.producer(value)?;
        let node = self.graph.node(id);
        node.is(op).then_some((id, node))
    }

    /// The first reader of a value that is operator `op` of the default domain.
    pub(super) fn reader(&self, value: &str, op: &str) -> Option<(NodeId, &'g NodeProto)> {
        let readers = self.graph.uses(value).iter();
        readers
            .filter(|u| u.slot.is_some())
            .map(|u| (u.node, self.graph.node(u.node)))
            .find(|(_, n)| n.is(op))
    }

    /// The only reader of a value, if it is operator `op` of the default domain.
    pub(super) fn only_reader(&self, value: &str, op: &str) -> Option<(NodeId, &'g NodeProto)> {
        self.graph.only_use(value)?;
        self.reader(value, op)
    }

    /// Checks that exactly one node reads a value.
    ///
    /// # Errors
    /// The reason for which the node that computes it cannot be merged into its reader.
    pub(super) fn check_one_reader(&self, value: &str) -> Result<(), String> {
        if self.graph.is_output(value) {
            return Err(format!("`{value}` is an output of the graph"));
        }
        match self.graph.only_use(value) {
            Some(_) => Ok(()),
            None => Err(format!("`{value}` is read by other nodes too")),
        }
    }

    /// Checks that what the nodes of a pattern compute is read inside of it only, apart from the outputs of `last`.
    ///
    /// # Errors
    /// The reason for which the pattern cannot be replaced.
    pub(super) fn check_closed(
        &self,
        nodes: &BTreeSet<NodeId>,
        last: NodeId,
    ) -> Result<(), String> {
        let inner = nodes.iter().filter(|&&id| id != last);
        for value in inner.flat_map(|&id| &self.graph.node(id).output) {
            if self.graph.is_output(value) {
                return Err(format!("`{value}` is an output of the graph"));
            }
            let mut uses = self.graph.uses(value).iter();
            if uses.any(|u| u.slot.is_none() || !nodes.contains(&u.node)) {
                return Err(format!("`{value}` is read outside of the pattern too"));
            }
        }
        Ok(())
    }
}

/// Whether a reduction drops the axes that it reduces over.
///
/// # Errors
/// The attribute is of another type.
pub(super) fn drops_axis(reduction: &NodeProto) -> Result<bool, String> {
    Ok(reduction.int("keepdims").map_err(|e| e.to_string())? == Some(0))
}

/// Whether a constant of the graph stands for this number.
pub(super) fn stands_for(constant: f32, number: f64) -> bool {
    (f64::from(constant) - number).abs() <= CONSTANT_TOLERANCE * number.abs()
}

/// The operand of a binary node that is not `value`.
pub(super) fn other_operand<'g>(node: &'g NodeProto, value: &str) -> Option<&'g str> {
    match (node.input_name(0)?, node.input_name(1)?) {
        (a, b) if a == value && b != value => Some(b),
        (a, b) if b == value && a != value => Some(a),
        _ => None,
    }
}
