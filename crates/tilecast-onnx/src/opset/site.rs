//! Where a conversion happens: what it may ask, and how it adds constants and values.

use std::collections::HashSet;

use super::facts::Facts;
use crate::proto::{AttributeProto, NodeProto, TensorProto};
use crate::{DataType, Tensor};

/// The surroundings of the node that is converted.
pub(super) struct Site<'s> {
    pub(super) facts: &'s Facts<'s>,
    pub(super) used_names: &'s mut HashSet<String>,
    /// Of the graph that the node is in.
    pub(super) initializers: &'s mut Vec<TensorProto>,
    /// Nodes that go before the converted one.
    pub(super) before: Vec<NodeProto>,
    /// Nodes that go behind it.
    pub(super) after: Vec<NodeProto>,
}

impl Site<'_> {
    /// The value of an input, if it is constant: in the model, or by an earlier conversion.
    pub(super) fn constant(&self, node: &NodeProto, slot: usize) -> Option<Tensor> {
        let name = node.input_name(slot)?;
        self.facts.constant(name).or_else(|| {
            let added = |t: &&TensorProto| t.name.as_deref() == Some(name);
            Tensor::from_proto(self.initializers.iter().rev().find(added)?).ok()
        })
    }

    /// Element type of an input.
    pub(super) fn data_type(&self, node: &NodeProto, slot: usize) -> Option<DataType> {
        self.facts.data_type(node.input_name(slot)?)
    }

    /// Dimensions of an input, `None` where they are not fixed.
    pub(super) fn dims(&self, node: &NodeProto, slot: usize) -> Option<&[Option<usize>]> {
        self.facts.dims(node.input_name(slot)?)
    }

    /// A name that no value has: of the node's first output, with a suffix.
    pub(super) fn new_name(&mut self, node: &NodeProto, suffix: &str) -> String {
        let base = node.output.first().map_or("value", String::as_str);
        let mut name = format!("{base}_{suffix}");
        let mut count = 1;
        while !self.used_names.insert(name.clone()) {
            count += 1;
            name = format!("{base}_{suffix}_{count}");
        }
        name
    }

    /// Adds an initializer for this node and makes it input `slot`.
    pub(super) fn set_input(
        &mut self,
        node: &mut NodeProto,
        slot: usize,
        suffix: &str,
        value: &Tensor,
    ) {
        let name = self.new_name(node, suffix);
        self.initializers.push(value.to_proto(&name));
        if node.input.len() <= slot {
            node.input.resize(slot + 1, String::new());
        }
        node.input[slot] = name;
    }
}

/// Removes an attribute and returns it.
pub(super) fn take_attribute(node: &mut NodeProto, name: &str) -> Option<AttributeProto> {
    let index = node
        .attribute
        .iter()
        .position(|a| a.name.as_deref() == Some(name))?;
    Some(node.attribute.remove(index))
}

/// Sets an attribute, in the place of the one that has its name.
pub(super) fn set_attribute(node: &mut NodeProto, attribute: AttributeProto) {
    match node.attribute.iter_mut().find(|a| a.name == attribute.name) {
        Some(slot) => *slot = attribute,
        None => node.attribute.push(attribute),
    }
}
