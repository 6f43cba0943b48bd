//! What is known of one value: its dimensions and, for small constants, its elements.

use crate::{DataType, Tensor};

/// What is known of one value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fact {
    /// Dimensions; `None` where unknown.
    pub(super) dims: Option<Vec<usize>>,
    /// Elements in row-major order; `None` where unknown or too many.
    pub(super) values: Option<Values>,
}

/// Elements of a small tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Values {
    /// Any integer type, and booleans as 0 and 1.
    Integers(Vec<i64>),
    /// float32 only: other float types round differently.
    Floats(Vec<f32>),
}

impl Fact {
    /// A value of known shape and unknown content.
    pub(super) fn of_dims(dims: Vec<usize>) -> Self {
        Self {
            dims: Some(dims),
            values: None,
        }
    }

    /// A value of known shape and perhaps known content.
    pub(super) fn new(dims: Vec<usize>, values: Option<Values>) -> Self {
        Self {
            dims: Some(dims),
            values,
        }
    }

    /// A vector of integers.
    pub(super) fn of_vector(integers: Vec<i64>) -> Self {
        Self::new(vec![integers.len()], Some(Values::Integers(integers)))
    }
}

impl Values {
    /// The elements of a tensor of a type that is followed.
    pub(super) fn of_tensor(tensor: &Tensor) -> Option<Self> {
        match tensor.data_type() {
            DataType::F32 => tensor.to_f32_vec().map(Self::Floats),
            _ => tensor.to_i64_vec().map(Self::Integers),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Integers(v) => v.len(),
            Self::Floats(v) => v.len(),
        }
    }

    /// The elements at these positions, in this order; `None` if one is out of range.
    pub(super) fn take(&self, positions: &[usize]) -> Option<Self> {
        fn pick<T: Copy>(from: &[T], positions: &[usize]) -> Option<Vec<T>> {
            positions.iter().map(|&p| from.get(p).copied()).collect()
        }
        match self {
            Self::Integers(v) => pick(v, positions).map(Self::Integers),
            Self::Floats(v) => pick(v, positions).map(Self::Floats),
        }
    }
}

/// Row-major position of `coordinates` in a tensor of `dims`.
pub(super) fn ravel(coordinates: &[usize], dims: &[usize]) -> usize {
    coordinates
        .iter()
        .zip(dims)
        .fold(0, |p, (&c, &d)| p * d + c)
}

/// Calls `visit` with the coordinates of every element in row-major order. The caller bounds the element count.
pub(super) fn for_each_coordinate(dims: &[usize], mut visit: impl FnMut(&[usize])) {
    let n: usize = dims.iter().product();
    let mut coordinates = vec![0; dims.len()];
    for _ in 0..n {
        visit(&coordinates);
        for (c, &d) in coordinates.iter_mut().zip(dims).rev() {
            *c += 1;
            if *c < d {
                break;
            }
            *c = 0;
        }
    }
}

/// The elements of a tensor that is `source` rearranged: `position` gives, for each output coordinate, where in `source`
/// the element comes from. `None` above the tracking limit.
pub(super) fn rearrange(
    source: &Values,
    dims: &[usize],
    mut position: impl FnMut(&[usize]) -> usize,
) -> Option<Values> {
    let n = dims
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .filter(|&n| n <= super::MAX_TRACKED_ELEMENTS)?;
    let mut positions = Vec::with_capacity(n);
    for_each_coordinate(dims, |c| positions.push(position(c)));
    source.take(&positions)
}
