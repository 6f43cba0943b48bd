//! What a rule sees of one node: its attributes, and what is known of its inputs.

use std::collections::HashMap;

use super::fact::{Fact, Values};
use crate::AttributeError;
use crate::proto::NodeProto;

/// Why a rule stops before the end.
#[derive(Debug)]
pub(super) enum Halt {
    /// Something that the rule needs is not known; the outputs stay unknown.
    Unknown,
    /// The node cannot run; the text completes "…: ".
    Contradiction(String),
}

/// A rule's result, or part of it.
pub(super) type Inferred<T = Vec<Fact>> = Result<T, Halt>;

/// The rule of an operator: what its outputs are, in order; missing ones are unknown.
pub(super) type Rule = fn(&Call<'_>) -> Inferred;

impl From<AttributeError> for Halt {
    fn from(error: AttributeError) -> Self {
        Self::Contradiction(error.to_string())
    }
}

/// Shorthand for the error case.
pub(super) fn contradiction<T>(reason: impl Into<String>) -> Inferred<T> {
    Err(Halt::Contradiction(reason.into()))
}

/// One node with what is known of its inputs.
pub(super) struct Call<'a> {
    node: &'a NodeProto,
    facts: &'a HashMap<String, Fact>,
}

impl<'a> Call<'a> {
    pub(super) fn new(node: &'a NodeProto, facts: &'a HashMap<String, Fact>) -> Self {
        Self { node, facts }
    }

    pub(super) fn node(&self) -> &'a NodeProto {
        self.node
    }

    /// Whether the input is connected.
    pub(super) fn has_input(&self, slot: usize) -> bool {
        self.node.input_name(slot).is_some()
    }

    fn fact(&self, slot: usize) -> Option<&'a Fact> {
        self.facts.get(self.node.input_name(slot)?)
    }

    /// Dimensions of an input that the operator requires.
    pub(super) fn dims(&self, slot: usize) -> Inferred<&'a [usize]> {
        if !self.has_input(slot) {
            return contradiction(format!("required input {slot} is missing"));
        }
        self.fact(slot)
            .and_then(|f| f.dims.as_deref())
            .ok_or(Halt::Unknown)
    }

    /// Elements of an input, where they are known.
    pub(super) fn values(&self, slot: usize) -> Option<&'a Values> {
        self.fact(slot)?.values.as_ref()
    }

    /// Integers of an input, where they are known.
    pub(super) fn known_integers(&self, slot: usize) -> Option<&'a [i64]> {
        match self.values(slot)? {
            Values::Integers(v) => Some(v),
            Values::Floats(_) => None,
        }
    }

    /// Integers of an input that decide the output's shape; unknown ones make the output unknown.
    pub(super) fn integers(&self, slot: usize) -> Inferred<&'a [i64]> {
        self.known_integers(slot).ok_or(Halt::Unknown)
    }

    /// Floats of an input that decide the output's shape.
    pub(super) fn floats(&self, slot: usize) -> Inferred<&'a [f32]> {
        match self.values(slot) {
            Some(Values::Floats(v)) => Ok(v),
            _ => Err(Halt::Unknown),
        }
    }

    /// Integers that older opsets hold in an attribute and newer ones in an input; `None` where both are absent.
    pub(super) fn integers_of(&self, attribute: &str, slot: usize) -> Inferred<Option<&'a [i64]>> {
        if self.has_input(slot) {
            return self.integers(slot).map(Some);
        }
        Ok(self.node.ints(attribute)?)
    }

    pub(super) fn int_or(&self, attribute: &str, default: i64) -> Inferred<i64> {
        Ok(self.node.int(attribute)?.unwrap_or(default))
    }

    pub(super) fn string_or(&self, attribute: &str, default: &'static str) -> Inferred<&'a str> {
        Ok(self.node.string(attribute)?.unwrap_or(default))
    }
}

/// An axis counted from the end where negative, checked against the rank.
pub(super) fn resolve_axis(axis: i64, rank: usize) -> Inferred<usize> {
    let resolved = if axis < 0 {
        axis.checked_add(rank as i64)
    } else {
        Some(axis)
    };
    match resolved.and_then(|a| usize::try_from(a).ok()) {
        Some(resolved) if resolved < rank => Ok(resolved),
        _ => contradiction(format!("axis {axis} is out of range for rank {rank}")),
    }
}

/// Several axes, each checked and none twice.
pub(super) fn resolve_axes(axes: &[i64], rank: usize) -> Inferred<Vec<usize>> {
    let mut seen = vec![false; rank];
    axes.iter()
        .map(|&axis| {
            let axis = resolve_axis(axis, rank)?;
            if std::mem::replace(&mut seen[axis], true) {
                return contradiction(format!("axis {axis} is named twice in {axes:?}"));
            }
            Ok(axis)
        })
        .collect()
}

/// An extent computed in 128 bits, as a dimension.
pub(super) fn extent(value: i128) -> Inferred<usize> {
    if value < 0 {
        return contradiction(format!("an extent of {value} is not a size"));
    }
    match usize::try_from(value) {
        Ok(n) if n <= super::MAX_ELEMENTS => Ok(n),
        _ => contradiction(format!("an extent of {value} is too large")),
    }
}

/// Requires a rank of at least `minimum`.
pub(super) fn require_rank(dims: &[usize], minimum: usize) -> Inferred<()> {
    if dims.len() < minimum {
        return contradiction(format!(
            "input {dims:?} has fewer than {minimum} dimensions"
        ));
    }
    Ok(())
}
