//! What is known of one value: its dimensions and, where it is small, its elements.

use super::extent::Extent;
use super::{MAX_TRACKED_ELEMENTS, MAX_TRACKED_SIZES};
use crate::{DataType, Tensor};

/// What is known of one value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fact {
    /// Dimensions; `None` where the rank is unknown.
    pub(super) dims: Option<Vec<Extent>>,
    /// Elements in row-major order; `None` where none is known or there are too many.
    pub(super) elements: Option<Elements>,
}

/// Elements of a small tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Elements {
    /// Any integer type, and booleans as 0 and 1: the same numbers at every input size.
    Numbers(Vec<i64>),
    /// The same, where not all are known numbers; at least one is known.
    Sizes(Vec<Option<Extent>>),
    /// float32 only: other float types round differently.
    Floats(Vec<f32>),
}

impl Fact {
    /// A value of known shape and unknown content.
    pub(super) fn of_dims(dims: Vec<Extent>) -> Self {
        Self::new(dims, None)
    }

    /// A value of known shape and perhaps known content.
    pub(super) fn new(dims: Vec<Extent>, elements: Option<Elements>) -> Self {
        Self {
            dims: Some(dims),
            elements,
        }
    }

    /// A constant; its content is followed where it is small enough and of a type that is followed.
    pub(super) fn of_tensor(tensor: &Tensor) -> Self {
        let dims = tensor.dims().iter().map(|&d| Extent::number(d as i64));
        let elements = (tensor.len() <= MAX_TRACKED_ELEMENTS)
            .then(|| Elements::of_tensor(tensor))
            .flatten();
        Self::new(dims.collect(), elements)
    }
}

impl Elements {
    /// The elements of a tensor of a type that is followed.
    pub(super) fn of_tensor(tensor: &Tensor) -> Option<Self> {
        match tensor.data_type() {
            DataType::F32 => tensor.to_f32_vec().map(Self::Floats),
            _ => tensor.to_i64_vec().map(Self::Numbers),
        }
    }

    /// Integers of which each is known or not; `None` where none is, or too many depend on the size of the input.
    pub(super) fn of_sizes(sizes: Vec<Option<Extent>>) -> Option<Self> {
        let number = |size: &Option<Extent>| size.as_ref()?.known();
        if let Some(numbers) = sizes.iter().map(number).collect() {
            return Some(Self::Numbers(numbers));
        }
        let worth_following = sizes.len() <= MAX_TRACKED_SIZES && sizes.iter().any(Option::is_some);
        worth_following.then_some(Self::Sizes(sizes))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Numbers(v) => v.len(),
            Self::Sizes(v) => v.len(),
            Self::Floats(v) => v.len(),
        }
    }

    /// Integers that are the same at every input size.
    pub(super) fn numbers(&self) -> Option<&[i64]> {
        match self {
            Self::Numbers(v) => Some(v),
            Self::Sizes(_) | Self::Floats(_) => None,
        }
    }

    /// The integer at a position, where it is the same at every input size.
    pub(super) fn number_at(&self, position: usize) -> Option<i64> {
        match self {
            Self::Numbers(v) => v.get(position).copied(),
            Self::Sizes(v) => v.get(position)?.as_ref()?.known(),
            Self::Floats(_) => None,
        }
    }

    /// The integer at a position.
    pub(super) fn size_at(&self, position: usize) -> Option<Extent> {
        match self {
            Self::Sizes(v) => v.get(position)?.clone(),
            Self::Numbers(_) | Self::Floats(_) => self.number_at(position).map(Extent::number),
        }
    }

    /// All integers; `None` for floats.
    pub(super) fn sizes(&self) -> Option<Vec<Option<Extent>>> {
        match self {
            Self::Numbers(v) => Some(v.iter().map(|&n| Some(Extent::number(n))).collect()),
            Self::Sizes(v) => Some(v.clone()),
            Self::Floats(_) => None,
        }
    }

    /// The elements at these positions, in this order; `None` if one is out of range.
    pub(super) fn take(&self, positions: &[usize]) -> Option<Self> {
        fn pick<T: Clone>(from: &[T], positions: &[usize]) -> Option<Vec<T>> {
            positions.iter().map(|&p| from.get(p).cloned()).collect()
        }
        match self {
            Self::Numbers(v) => pick(v, positions).map(Self::Numbers),
            Self::Sizes(v) => pick(v, positions).and_then(Self::of_sizes),
            Self::Floats(v) => pick(v, positions).map(Self::Floats),
        }
    }

    /// Elements as a result of this type holds them: numbers that it would wrap or round, and sizes for which it may be too
    /// narrow, become unknown.
    pub(super) fn represented(self, data_type: DataType) -> Option<Self> {
        if let Self::Floats(_) = self {
            return (data_type == DataType::F32).then_some(self);
        }
        let (low, high) = integer_range(data_type)?;
        // No extent reaches 2³¹.
        let holds_sizes = matches!(data_type, DataType::I64 | DataType::I32);
        let holds = |n: i64| (low..=high).contains(&n);
        match self {
            Self::Numbers(v) if v.iter().all(|&n| holds(n)) => Some(Self::Numbers(v)),
            other => {
                let sizes = other.sizes()?.into_iter();
                let held = sizes.map(|e| e.filter(|e| e.known().map_or(holds_sizes, holds)));
                Self::of_sizes(held.collect())
            }
        }
    }
}

/// The range of an integer element type within i64.
pub(super) fn integer_range(data_type: DataType) -> Option<(i64, i64)> {
    Some(match data_type {
        DataType::I64 => (i64::MIN, i64::MAX),
        DataType::U64 => (0, i64::MAX),
        DataType::I32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::U32 => (0, u32::MAX.into()),
        DataType::I16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::U16 => (0, u16::MAX.into()),
        DataType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::U8 => (0, u8::MAX.into()),
        DataType::Bool => (0, 1),
        _ => return None,
    })
}
