//! What a shape rule sees of one node: its attributes, and what is known of its inputs.

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{DataType, Graph, Tensor};

use super::extent::Extent;
use super::unknowns::Unknowns;
use super::{Fact, Facts, fixed, numbers};
use crate::pass::is_default_only;

/// The rule of an operator: what its outputs are, in order. `None`, and outputs beyond those given, are unknown.
pub(super) type Rule = fn(&Call<'_, '_>, &mut Unknowns) -> Option<Vec<Fact>>;

/// One node with what is known of its inputs.
pub(super) struct Call<'a, 'g> {
    pub(super) graph: &'a Graph<'g>,
    pub(super) ir_version: i64,
    pub(super) node: &'a NodeProto,
    pub(super) facts: &'a Facts,
}

impl<'a> Call<'a, '_> {
    pub(super) fn has_input(&self, slot: usize) -> bool {
        self.node.input_name(slot).is_some()
    }

    /// Whether the first output is computed in 64-bit integers.
    pub(super) fn is_64_bit(&self) -> bool {
        let data_type = self
            .node
            .output_name(0)
            .and_then(|y| self.facts.data_type(y));
        data_type == Some(DataType::I64)
    }

    fn fact(&self, slot: usize) -> Option<&'a Fact> {
        self.facts.values.get(self.node.input_name(slot)?)
    }

    /// Extents of an input.
    pub(super) fn dims(&self, slot: usize) -> Option<&'a [Extent]> {
        self.fact(slot)?.dims.as_deref()
    }

    /// Dimensions of an input that are numbers.
    pub(super) fn fixed_dims(&self, slot: usize) -> Option<Vec<usize>> {
        fixed(self.dims(slot)?)
    }

    /// Elements of an integer input.
    pub(super) fn elements(&self, slot: usize) -> Option<&'a [Option<Extent>]> {
        self.fact(slot)?.elements.as_deref()
    }

    /// Elements of an integer input that are numbers.
    pub(super) fn numbers(&self, slot: usize) -> Option<Vec<i64>> {
        numbers(self.elements(slot)?)
    }

    /// Integers that newer opsets take as an input and older ones as an attribute. The outer `None` says that they are
    /// there and not known, the inner one that they are left out.
    #[expect(clippy::option_option, reason = "not known and not there differ")]
    pub(super) fn numbers_of(&self, attribute: &str, slot: usize) -> Option<Option<Vec<i64>>> {
        if self.has_input(slot) {
            return self.numbers(slot).map(Some);
        }
        Some(self.node.ints(attribute).ok()?.map(<[i64]>::to_vec))
    }

    /// As [`Call::numbers_of`], with elements that need not be numbers.
    #[expect(clippy::option_option, reason = "not known and not there differ")]
    pub(super) fn elements_of(
        &self,
        attribute: &str,
        slot: usize,
    ) -> Option<Option<Vec<Option<Extent>>>> {
        if self.has_input(slot) {
            return self.elements(slot).map(|e| Some(e.to_vec()));
        }
        let numbers = self.node.ints(attribute).ok()?;
        Some(numbers.map(|v| v.iter().map(|&n| Some(Extent::number(n))).collect()))
    }

    /// A constant input.
    pub(super) fn constant(&self, slot: usize) -> Option<Tensor> {
        let name = self.node.input_name(slot)?;
        if is_default_only(self.graph, name, self.ir_version) {
            return None;
        }
        self.graph.constant(name).ok().flatten()
    }

    pub(super) fn int(&self, name: &str, default: i64) -> Option<i64> {
        Some(self.node.int(name).ok()?.unwrap_or(default))
    }

    /// An attribute. The outer `None` says that it has another type.
    #[expect(clippy::option_option, reason = "not valid and not there differ")]
    pub(super) fn ints(&self, name: &str) -> Option<Option<&'a [i64]>> {
        self.node.ints(name).ok()
    }

    pub(super) fn string(&self, name: &str, default: &'static str) -> Option<&'a str> {
        Some(self.node.string(name).ok()?.unwrap_or(default))
    }
}
