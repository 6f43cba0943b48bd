//! Reading and writing node attributes.

use bytes::Bytes;

use crate::proto::{AttributeFields, AttributeProto, NodeFields, NodeProto};
use crate::{Tensor, TensorError};

/// An attribute that is present with the wrong type.
#[derive(Debug, thiserror::Error)]
#[error("attribute `{name}` is not {expected}")]
pub struct AttributeError {
    name: String,
    expected: &'static str,
}

impl NodeProto {
    /// Operator name; empty where the message has none.
    #[must_use]
    pub fn op(&self) -> &str {
        self.op_type.as_deref().unwrap_or_default()
    }

    /// Operator domain, with the alias `ai.onnx` of the default domain resolved to the empty string.
    #[must_use]
    pub fn domain_name(&self) -> &str {
        match self.domain.as_deref().unwrap_or_default() {
            "ai.onnx" => "",
            domain => domain,
        }
    }

    /// Whether this is operator `op` of the default domain.
    #[must_use]
    pub fn is(&self, op: &str) -> bool {
        self.op() == op && self.domain_name().is_empty()
    }

    /// Node name; empty where the message has none.
    #[must_use]
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Name of input `slot`; `None` where it is absent or left out by an empty name.
    #[must_use]
    pub fn input_name(&self, slot: usize) -> Option<&str> {
        self.input
            .get(slot)
            .map(String::as_str)
            .filter(|name| !name.is_empty())
    }

    /// Name of output `slot`; `None` where it is absent or left out by an empty name.
    #[must_use]
    pub fn output_name(&self, slot: usize) -> Option<&str> {
        self.output
            .get(slot)
            .map(String::as_str)
            .filter(|name| !name.is_empty())
    }

    /// The attribute message.
    #[must_use]
    pub fn find_attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute
            .iter()
            .find(|a| a.name.as_deref() == Some(name))
    }

    /// Integer attribute, or `None` where it is absent.
    ///
    /// # Errors
    /// The attribute is there with another type.
    pub fn int(&self, name: &str) -> Result<Option<i64>, AttributeError> {
        self.typed(name, "an integer", |a| a.i)
    }

    /// Float attribute, or `None` where it is absent.
    ///
    /// # Errors
    /// The attribute is there with another type.
    pub fn float(&self, name: &str) -> Result<Option<f32>, AttributeError> {
        self.typed(name, "a float", |a| a.f)
    }

    /// String attribute, or `None` where it is absent.
    ///
    /// # Errors
    /// The attribute is there with another type, or is not UTF-8.
    pub fn string(&self, name: &str) -> Result<Option<&str>, AttributeError> {
        self.typed(name, "a string", |a| {
            a.s.as_deref().and_then(|s| std::str::from_utf8(s).ok())
        })
    }

    /// Integer list attribute, or `None` where it is absent. An empty list is a list.
    ///
    /// # Errors
    /// The attribute is there with another type.
    pub fn ints(&self, name: &str) -> Result<Option<&[i64]>, AttributeError> {
        self.typed(name, "a list of integers", |a| {
            is_list(a, 7, a.ints.is_empty()).then_some(a.ints.as_slice())
        })
    }

    /// Float list attribute, or `None` where it is absent. An empty list is a list.
    ///
    /// # Errors
    /// The attribute is there with another type.
    pub fn floats(&self, name: &str) -> Result<Option<&[f32]>, AttributeError> {
        self.typed(name, "a list of floats", |a| {
            is_list(a, 6, a.floats.is_empty()).then_some(a.floats.as_slice())
        })
    }

    /// The value of a `Constant` node, whatever attribute holds it; `None` for other operators, strings and sparse
    /// tensors.
    ///
    /// # Errors
    /// The tensor's payload is damaged.
    pub fn constant_value(&self) -> Result<Option<Tensor>, TensorError> {
        if !self.is("Constant") {
            return Ok(None);
        }
        let Some(attribute) = self.attribute.first() else {
            return Ok(None);
        };
        Ok(match attribute.name.as_deref() {
            Some("value") => attribute.t.as_deref().map(Tensor::from_proto).transpose()?,
            Some("value_float") => attribute.f.map(|v| Tensor::from_f32(vec![], &[v])),
            Some("value_floats") => Some(Tensor::from_f32(
                vec![attribute.floats.len()],
                &attribute.floats,
            )),
            Some("value_int") => attribute.i.map(|v| Tensor::from_i64(vec![], &[v])),
            Some("value_ints") => Some(Tensor::from_i64(
                vec![attribute.ints.len()],
                &attribute.ints,
            )),
            _ => None,
        })
    }

    /// The same node with one attribute more.
    #[must_use]
    pub fn with_attribute(mut self, attribute: AttributeProto) -> Self {
        self.attribute.push(attribute);
        self
    }

    fn typed<'a, T>(
        &'a self,
        name: &str,
        expected: &'static str,
        get: impl FnOnce(&'a AttributeProto) -> Option<T>,
    ) -> Result<Option<T>, AttributeError> {
        match self.find_attribute(name) {
            None => Ok(None),
            Some(a) => get(a).map(Some).ok_or_else(|| AttributeError {
                name: name.to_owned(),
                expected,
            }),
        }
    }
}

/// An empty list is indistinguishable from an absent one but for the attribute's type code.
fn is_list(attribute: &AttributeProto, code: i32, is_empty: bool) -> bool {
    !is_empty || attribute.r#type == Some(code)
}

/// A node of the default domain with these inputs and outputs and no attribute.
#[must_use]
pub fn node(op: &str, name: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let owned = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect();
    NodeProto::from(NodeFields {
        op_type: Some(op.to_owned()),
        name: Some(name.to_owned()),
        input: owned(inputs),
        output: owned(outputs),
        ..NodeFields::default()
    })
}

/// Constructors of attribute messages.
pub mod attribute {
    use super::{AttributeFields, AttributeProto, Bytes};
    use crate::Tensor;

    fn make(name: &str, code: i32, fill: impl FnOnce(&mut AttributeFields)) -> AttributeProto {
        let mut fields = AttributeFields {
            name: Some(name.to_owned()),
            r#type: Some(code),
            ..AttributeFields::default()
        };
        fill(&mut fields);
        AttributeProto::from(fields)
    }

    /// A float.
    #[must_use]
    pub fn float(name: &str, value: f32) -> AttributeProto {
        make(name, 1, |a| a.f = Some(value))
    }

    /// An integer.
    #[must_use]
    pub fn int(name: &str, value: i64) -> AttributeProto {
        make(name, 2, |a| a.i = Some(value))
    }

    /// A string.
    #[must_use]
    pub fn string(name: &str, value: &str) -> AttributeProto {
        make(name, 3, |a| {
            a.s = Some(Bytes::copy_from_slice(value.as_bytes()));
        })
    }

    /// A tensor.
    #[must_use]
    pub fn tensor(name: &str, value: &Tensor) -> AttributeProto {
        make(name, 4, |a| a.t = Some(Box::new(value.to_proto(""))))
    }

    /// A list of floats.
    #[must_use]
    pub fn floats(name: &str, values: &[f32]) -> AttributeProto {
        make(name, 6, |a| a.floats = values.to_vec())
    }

    /// A list of integers.
    #[must_use]
    pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
        make(name, 7, |a| a.ints = values.to_vec())
    }
}
