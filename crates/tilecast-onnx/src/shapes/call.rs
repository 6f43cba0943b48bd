//! What a rule sees of one node: its attributes, and what is known of its inputs.

use super::extent::Extent;
use super::fact::{Elements, Fact};
use super::size::{fixed, show};
use super::unknowns::Unknowns;
use super::{MAX_TRACKED_ELEMENTS, MAX_TRACKED_SIZES};
use crate::proto::NodeProto;
use crate::{AttributeError, DataType};

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
///
/// One rule serves concrete and symbolic inference: an extent is a number or an expression, and where a rule needs a
/// number and there is none, its result is open. A contradiction is reported only where numbers prove it.
pub(super) type Rule = fn(&Call<'_>, &mut Unknowns) -> Inferred;

impl From<AttributeError> for Halt {
    fn from(error: AttributeError) -> Self {
        Self::Contradiction(error.to_string())
    }
}

/// Shorthand for the error case.
pub(super) fn contradiction<T>(reason: impl Into<String>) -> Inferred<T> {
    Err(Halt::Contradiction(reason.into()))
}

/// For a part that a rule can do without.
pub(super) fn if_known<T>(part: Inferred<T>) -> Inferred<Option<T>> {
    match part {
        Ok(part) => Ok(Some(part)),
        Err(Halt::Unknown) => Ok(None),
        Err(contradiction) => Err(contradiction),
    }
}

/// One node with what is known of its inputs.
pub(super) struct Call<'a> {
    node: &'a NodeProto,
    inputs: Vec<Option<&'a Fact>>,
    result_type: Option<DataType>,
    max_elements: usize,
}

impl<'a> Call<'a> {
    /// A node with a fact for each input slot; `result_type` is the element type of its first output.
    pub(super) fn new(
        node: &'a NodeProto,
        inputs: Vec<Option<&'a Fact>>,
        result_type: Option<DataType>,
    ) -> Self {
        Self {
            node,
            inputs,
            result_type,
            max_elements: MAX_TRACKED_ELEMENTS,
        }
    }

    /// The same, following the elements of larger tensors.
    pub(super) fn following(self, max_elements: usize) -> Self {
        Self {
            max_elements,
            ..self
        }
    }

    pub(super) fn node(&self) -> &'a NodeProto {
        self.node
    }

    pub(super) fn op(&self) -> &'a str {
        self.node.op()
    }

    pub(super) fn n_inputs(&self) -> usize {
        self.node.input.len()
    }

    pub(super) fn n_outputs(&self) -> usize {
        self.node.output.len()
    }

    /// Elements of results with more than this many are not worked out.
    pub(super) fn max_elements(&self) -> usize {
        self.max_elements
    }

    /// Whether the first output is computed in 64-bit integers.
    pub(super) fn is_64_bit(&self) -> bool {
        self.result_type == Some(DataType::I64)
    }

    /// Whether the input is connected.
    pub(super) fn has_input(&self, slot: usize) -> bool {
        self.node.input_name(slot).is_some()
    }

    fn fact(&self, slot: usize) -> Option<&'a Fact> {
        self.inputs.get(slot).copied().flatten()
    }

    /// Dimensions of an input that the operator requires.
    pub(super) fn dims(&self, slot: usize) -> Inferred<&'a [Extent]> {
        if !self.has_input(slot) {
            return contradiction(format!("required input {slot} is missing"));
        }
        self.fact(slot)
            .and_then(|f| f.dims.as_deref())
            .ok_or(Halt::Unknown)
    }

    /// Dimensions of an input, where all are numbers.
    pub(super) fn fixed_dims(&self, slot: usize) -> Option<Vec<usize>> {
        fixed(self.fact(slot)?.dims.as_deref()?)
    }

    /// Elements of an input, where any are known.
    pub(super) fn elements(&self, slot: usize) -> Option<&'a Elements> {
        self.fact(slot)?.elements.as_ref()
    }

    /// Integers of an input that are the same at every input size.
    pub(super) fn numbers(&self, slot: usize) -> Option<&'a [i64]> {
        self.elements(slot)?.numbers()
    }

    /// Floats of an input.
    pub(super) fn floats(&self, slot: usize) -> Option<&'a [f32]> {
        match self.elements(slot)? {
            Elements::Floats(v) => Some(v),
            Elements::Numbers(_) | Elements::Sizes(_) => None,
        }
    }

    /// Integers of an input, each known or not, where at least their number is known.
    pub(super) fn sizes(&self, slot: usize) -> Inferred<Vec<Option<Extent>>> {
        if let Some(elements) = self.elements(slot) {
            return elements.sizes().ok_or(Halt::Unknown);
        }
        match self.dims(slot)? {
            [n] => match n.known().and_then(|n| usize::try_from(n).ok()) {
                Some(n) if n <= MAX_TRACKED_SIZES => Ok(vec![None; n]),
                _ => Err(Halt::Unknown),
            },
            _ => Err(Halt::Unknown),
        }
    }

    /// Numbers that older opsets hold in an attribute and newer ones in an input; `None` where both are absent.
    pub(super) fn numbers_of(&self, attribute: &str, slot: usize) -> Inferred<Option<&'a [i64]>> {
        if self.has_input(slot) {
            return self.numbers(slot).map(Some).ok_or(Halt::Unknown);
        }
        Ok(self.node.ints(attribute)?)
    }

    /// As [`Call::numbers_of`], for integers that need not all be known.
    pub(super) fn sizes_of(
        &self,
        attribute: &str,
        slot: usize,
    ) -> Inferred<Option<Vec<Option<Extent>>>> {
        if self.has_input(slot) {
            return self.sizes(slot).map(Some);
        }
        let numbers = self.node.ints(attribute)?;
        Ok(numbers.map(|v| v.iter().map(|&n| Some(Extent::number(n))).collect()))
    }

    pub(super) fn int_or(&self, attribute: &str, default: i64) -> Inferred<i64> {
        Ok(self.node.int(attribute)?.unwrap_or(default))
    }

    pub(super) fn string_or(&self, attribute: &str, default: &'static str) -> Inferred<&'a str> {
        Ok(self.node.string(attribute)?.unwrap_or(default))
    }
}

/// An axis counted from the end where negative; `None` if it is out of range.
#[must_use]
pub fn axis_from_front(axis: i64, rank: usize) -> Option<usize> {
    let counted = if axis < 0 {
        axis.checked_add(i64::try_from(rank).ok()?)?
    } else {
        axis
    };
    usize::try_from(counted).ok().filter(|&axis| axis < rank)
}

/// Several axes, counted from the end where negative; `None` if one is out of range or named twice.
#[must_use]
pub fn axes_from_front(axes: &[i64], rank: usize) -> Option<Vec<usize>> {
    resolve_axes(axes, rank).ok()
}

/// [`axis_from_front`], required to be in range.
pub(super) fn resolve_axis(axis: i64, rank: usize) -> Inferred<usize> {
    match axis_from_front(axis, rank) {
        Some(axis) => Ok(axis),
        None => contradiction(format!("axis {axis} is out of range for rank {rank}")),
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

/// Requires a rank of at least `minimum`.
pub(super) fn require_rank(dims: &[Extent], minimum: usize) -> Inferred<()> {
    if dims.len() < minimum {
        return contradiction(format!(
            "input {} has fewer than {minimum} dimensions",
            show(dims)
        ));
    }
    Ok(())
}
