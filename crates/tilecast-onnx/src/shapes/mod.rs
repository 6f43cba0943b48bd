//! Shapes of all values of a graph, and the integers that it computes from shapes.
//!
//! One table ([`operators`]) from operator name to rule serves two questions. [`infer_shapes`] asks for numbers: the inputs
//! have given shapes, and a contradiction is an error with the node's path. [`Facts`] asks what holds at every size: an
//! extent of an input that is no number is an unknown, and a rule gives an expression in unknowns ([`Extent`]).
//! A rule is written once, for extents that are numbers or expressions.
//!
//! Small integer tensors (and float32 ones, because `Resize` takes float scales) are computed along with the shapes, so
//! that the shape arithmetic that exporters write (`Shape` → `Gather` → `Mod` → `Concat` → …) resolves.
//!
//! What is not known stays unknown and spreads no further than it must. Sizes come from untrusted files: extents that are
//! numbers are computed in 128 bits and checked against [`MAX_ELEMENTS`], and no value is materialized above
//! [`MAX_TRACKED_ELEMENTS`].

mod arithmetic;
mod call;
mod elementwise;
mod extent;
mod fact;
mod facts;
mod indexing;
mod layout;
mod linear;
mod normalize;
mod operators;
mod positions;
mod reduce;
mod resample;
mod size;
mod sources;
mod unknowns;
mod walk;
mod window;

#[cfg(test)]
mod facts_tests;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub use arithmetic::{Remainder, comparison, integer_arithmetic};
pub use call::{axes_from_front, axis_from_front};
pub use extent::Extent;
pub use facts::{Facts, InputExtents};
pub use positions::{Arrangement, arrange, broadcast_dims, n_data_inputs, spread};
pub use walk::declared_extents;

use fact::Elements;
use walk::{Contradictions, Walk};

use crate::Graph;

/// Tensors with more elements than this are refused: no machine holds them, and products of their extents overflow.
const MAX_ELEMENTS: usize = 1 << 40;

/// Shapes with more dimensions than this are not followed; image networks have at most six or so.
const MAX_RANK: usize = 16;

/// Values of tensors with more elements than this are not followed; shape arithmetic needs far fewer.
const MAX_TRACKED_ELEMENTS: usize = 4096;

/// The same for tensors whose elements are not all numbers, which take more room each. Shapes and bounds are this small.
const MAX_TRACKED_SIZES: usize = 64;

/// What is known of each value once the graph's inputs have concrete shapes.
#[derive(Clone, Debug, Default)]
pub struct ShapeMap {
    values: HashMap<String, Concrete>,
}

#[derive(Clone, Debug)]
struct Concrete {
    dims: Vec<usize>,
    integers: Option<Vec<i64>>,
}

/// A node whose inputs contradict its operator, or an input shape that contradicts the graph.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct InferShapesError {
    path: String,
    reason: String,
}

impl ShapeMap {
    /// Dimensions of a value; `None` where an unknown operator hides them.
    #[must_use]
    pub fn shape(&self, value: &str) -> Option<&[usize]> {
        Some(&self.values.get(value)?.dims)
    }

    /// Elements (row-major; booleans as 0 and 1) of a small integer tensor whose value is fixed once the input shapes
    /// are.
    #[must_use]
    pub fn integers(&self, value: &str) -> Option<&[i64]> {
        self.values.get(value)?.integers.as_deref()
    }
}

/// Propagates input shapes through the graph. Linear in the graph; weights are not read.
///
/// Inputs that are not named keep the extents that the graph declares for them; what depends on one that is no number is
/// not in the result. A fixed extent that the graph declares for a *named* input does not bind: exporters freeze sizes that
/// the graph itself does not need, and where it does need them a node contradicts. The rank does bind.
///
/// # Errors
/// An operator's inputs contradict each other, or a shape is negative or too large, with the node's path; a name in
/// `inputs` is no graph input or has another rank there.
pub fn infer_shapes(
    graph: &Graph<'_>,
    inputs: &[(&str, Vec<usize>)],
) -> Result<ShapeMap, InferShapesError> {
    let mut walk = Walk::new(graph, Contradictions::Refused);
    // An initializer of the same name is what an input is where a caller feeds none.
    walk.initializers(|_| true)?;
    let mut named: HashMap<&str, &[usize]> = inputs
        .iter()
        .map(|(name, dims)| (*name, dims.as_slice()))
        .collect();
    for (index, input) in graph.inputs().enumerate() {
        let name = input.name.as_deref().unwrap_or_default();
        let declared = declared_extents(input);
        let given = named.remove(name);
        if let (Some(dims), Some(declared)) = (given, &declared)
            && declared.len() != dims.len()
        {
            return Err(InferShapesError {
                path: format!("input `{name}`"),
                reason: format!(
                    "the graph declares {} dimensions, {dims:?} was given",
                    declared.len()
                ),
            });
        }
        let given = given.map(|dims| dims.iter().copied().map(Some).collect());
        if let Some(extents) = given.or(declared) {
            walk.bind(index, name, &extents)?;
        }
    }
    if let Some((name, _)) = inputs.iter().find(|(name, _)| named.contains_key(name)) {
        return Err(InferShapesError {
            path: format!("input `{name}`"),
            reason: "the graph has no such input; check the name".into(),
        });
    }
    walk.nodes()?;
    let values = walk.facts.into_iter().filter_map(|(name, fact)| {
        let concrete = Concrete {
            dims: size::fixed(&fact.dims?)?,
            integers: match fact.elements {
                Some(Elements::Numbers(numbers)) => Some(numbers),
                _ => None,
            },
        };
        Some((name, concrete))
    });
    Ok(ShapeMap {
        values: values.collect(),
    })
}
