//! Operators that move elements and compute nothing: where each element of a result comes from.
//!
//! A shape rule moves the elements that it follows, whatever they are. [`arrange`] lets it move their own positions, so
//! that the rules of shape inference serve tensors of every element type.

use super::call::Call;
use super::extent::Extent;
use super::fact::{Elements, Fact};
use super::operators;
use super::size::{fixed, n_elements};
use super::unknowns::Unknowns;
use crate::Tensor;
use crate::proto::NodeProto;

/// A result as a rearrangement: its dimensions, and for each element (row-major) its position in the data inputs, which
/// are counted one behind the other.
#[derive(Debug, PartialEq, Eq)]
pub struct Arrangement {
    /// Dimensions of the result.
    pub dims: Vec<usize>,
    /// Position of each of its elements.
    pub source: Vec<usize>,
}

/// How many inputs, from the first, hold the elements that this operator moves; `None` for other operators.
#[must_use]
pub fn n_data_inputs(node: &NodeProto) -> Option<usize> {
    if !node.domain_name().is_empty() {
        return None;
    }
    match node.op() {
        "Concat" => Some(node.input.len()),
        "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" | "Expand"
        | "Tile" | "Slice" | "Split" | "Gather" => Some(1),
        _ => None,
    }
}

/// The arrangement of each output of a node on constant inputs (`None` where one is left out); `None` where the operator is
/// not one that moves elements, the inputs do not fit, or data inputs or results have more elements than `max_elements`.
#[must_use]
pub fn arrange(
    node: &NodeProto,
    inputs: &[Option<Tensor>],
    max_elements: usize,
) -> Option<Vec<Arrangement>> {
    let n_data = n_data_inputs(node)?;
    let mut first = 0i64;
    let mut facts = Vec::with_capacity(inputs.len());
    for (slot, input) in inputs.iter().enumerate() {
        let fact = input.as_ref().map(|tensor| {
            let elements = if slot < n_data {
                let positions = first..first + tensor.len() as i64;
                first = positions.end;
                (first <= max_elements as i64).then(|| Elements::Numbers(positions.collect()))
            } else {
                Elements::of_tensor(tensor)
            };
            let dims = tensor.dims().iter().map(|&d| Extent::number(d as i64));
            Fact::new(dims.collect(), elements)
        });
        facts.push(fact);
    }
    let facts = facts.iter().map(Option::as_ref).collect();
    let call = Call::new(node, facts, None).following(max_elements);
    let rule = operators::rule(node.op())?;
    let outputs = rule(&call, &mut Unknowns::default()).ok()?;
    outputs
        .into_iter()
        .map(|fact| {
            let dims = fixed(&fact.dims?)?;
            let Elements::Numbers(positions) = fact.elements? else {
                return None;
            };
            let source = positions
                .into_iter()
                .map(|p| usize::try_from(p).ok())
                .collect::<Option<Vec<_>>>()?;
            let count = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
            (count == source.len()).then_some(Arrangement { dims, source })
        })
        .collect()
}

/// The result of an operator that moves the elements of its first input. `locate` turns a coordinate of the result into
/// one of the input; it is only called where elements are followed.
pub(super) fn moved(
    call: &Call<'_>,
    dims: Vec<Extent>,
    locate: impl FnMut(&[usize], &mut [usize]),
) -> Fact {
    let elements = call.elements(0).and_then(|elements| {
        let from = call.fixed_dims(0)?;
        let to = fixed(&dims)?;
        elements.take(&positions(&from, &to, call.max_elements(), locate)?)
    });
    Fact::new(dims, elements)
}

/// The same elements in the same order, other dimensions.
pub(super) fn in_order(call: &Call<'_>, dims: Vec<Extent>) -> Fact {
    let elements = call
        .elements(0)
        .filter(|e| n_elements(&dims).is_some_and(|n| n == e.len() && n <= call.max_elements()));
    let elements = elements.cloned();
    Fact::new(dims, elements)
}

/// Positions in a tensor of dimensions `from` of the elements of one of dimensions `to`.
fn positions(
    from: &[usize],
    to: &[usize],
    max_elements: usize,
    mut locate: impl FnMut(&[usize], &mut [usize]),
) -> Option<Vec<usize>> {
    let n = to
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .filter(|&n| n <= max_elements)?;
    let mut positions = Vec::with_capacity(n);
    let (mut at, mut source) = (vec![0; to.len()], vec![0; from.len()]);
    for _ in 0..n {
        locate(&at, &mut source);
        positions.push(source.iter().zip(from).fold(0, |p, (&c, &d)| p * d + c));
        for (c, &d) in at.iter_mut().zip(to).rev() {
            *c += 1;
            if *c < d {
                break;
            }
            *c = 0;
        }
    }
    Some(positions)
}

/// For each element of `to`, its position in the tensor of dimensions `from` that broadcasts to it; `None` where it does
/// not, or there are more than `max_elements`.
#[must_use]
pub fn spread(from: &[usize], to: &[usize], max_elements: usize) -> Option<Vec<usize>> {
    let lead = to.len().checked_sub(from.len())?;
    let fits = from
        .iter()
        .zip(&to[lead..])
        .all(|(&f, &t)| f == 1 || f == t);
    if !fits {
        return None;
    }
    positions(from, to, max_elements, |at, source| {
        for ((s, &c), &d) in source.iter_mut().zip(&at[lead..]).zip(from) {
            *s = if d == 1 { 0 } else { c };
        }
    })
}

/// What two shapes broadcast to; `None` where they do not.
#[must_use]
pub fn broadcast_dims(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let extents = |dims: &[usize]| -> Vec<Extent> {
        dims.iter().map(|&d| Extent::number(d as i64)).collect()
    };
    let joined = super::size::broadcast(&mut Unknowns::default(), &extents(a), &extents(b)).ok()?;
    fixed(&joined)
}
