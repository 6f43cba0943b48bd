//! Nodes that give back their input.

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{DataType, Graph, Patch, Tensor};

use super::substitute::Substitution;
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "remove_identity",
    summary: "remove nodes that give back their input",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** Lets the readers of a node's output read its input where both are equal to the bit: Identity; Dropout in
inference; Cast to the type that the value has; Reshape, Expand and Slice (of step 1) to the shape that the value has;
Squeeze and Unsqueeze of no axis; Transpose that keeps the order; Tile by 1; Pad by 0; Concat and Sum of one input; Split
into one; multiplication and division by 1; subtraction of 0; addition of 0 to integers.

**Why.** Such nodes come from exporters and from other rewrites; some copy the whole tensor.

**Before / After.** `a = Identity(x); y = Relu(a)` becomes `y = Relu(x)`.

**Preconditions.** The equality is proved for every input size. Shapes are compared as `fold_shapes` describes. The
second operand of arithmetic is a constant and does not enlarge the result. Further outputs, such as
the mask of Dropout, are not read. Graph outputs keep their names: where the node's
output is one, the name moves to the node before, unless the value is a graph input, an initializer, another graph output,
or read by name in a subgraph.

**Numerics.** Exact. Adding 0 to a float is no identity: it turns -0 into 0. (Adding -0 is one, and so is subtracting 0.)

**References.** IEEE 754-2019, section 6.3, for the signs of zeros.",
};

/// Removes nodes that give back their input; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveIdentity;

impl Pass for RemoveIdentity {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let mut substitution = Substitution::default();
        for (id, node) in graph.nodes().filter(|(_, n)| n.domain_name().is_empty()) {
            let slot = match same_as_input(graph, cx, node) {
                Ok(Some(slot)) => slot,
                Ok(None) => continue,
                Err(reason) => {
                    cx.decline(graph, id, reason);
                    continue;
                }
            };
            let (Some(x), Some(y)) = (node.input_name(slot), node.output_name(0)) else {
                continue;
            };
            let read = |name: &&String| graph.is_output(name) || !graph.uses(name).is_empty();
            if let Some(other) = node.output.iter().skip(1).find(read) {
                cx.decline(graph, id, format!("its output `{other}` is read"));
                continue;
            }
            if let Err(reason) = substitution.bypass(graph, id, x, y) {
                cx.decline(
                    graph,
                    id,
                    format!("it gives back `{x}`, but cannot go: {reason}"),
                );
            }
        }
        let mut patch = Patch::default();
        substitution.write(graph, &mut patch);
        Ok(Outcome::of(patch))
    }
}

/// The input that the first output is equal to.
///
/// # Errors
/// The node looks like an identity and is none, or is not proved to be one.
fn same_as_input(
    graph: &Graph<'_>,
    cx: &PassContext,
    node: &NodeProto,
) -> Result<Option<usize>, String> {
    let first_if = |holds: bool| Ok(holds.then_some(0));
    let same_shape = || {
        let (x, y) = (node.input_name(0), node.output_name(0));
        x.zip(y)
            .is_some_and(|(x, y)| cx.facts(graph).same_shape(x, y))
    };
    match node.op() {
        "Identity" => Ok(Some(0)),
        "Dropout" => dropout(graph, cx, node),
        "Cast" => {
            let from = node
                .input_name(0)
                .and_then(|x| cx.facts(graph).data_type(x));
            let to = node
                .int("to")
                .ok()
                .flatten()
                .and_then(|code| DataType::from_code(i32::try_from(code).ok()?));
            first_if(from.is_some() && from == to)
        }
        // The order of the elements stays, so equal shapes are enough.
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Expand" => first_if(same_shape()),
        "Slice" => {
            let steps = integers(graph, cx, node, "steps", 4);
            let forward = node.input_name(4).is_none()
                || steps.is_some_and(|steps| steps.iter().all(|&s| s == 1));
            first_if(forward && same_shape())
        }
        "Transpose" => {
            let perm = node.ints("perm").ok().flatten();
            let in_order =
                |perm: &[i64]| perm.iter().enumerate().all(|(i, &axis)| axis == i as i64);
            first_if(perm.is_some_and(in_order))
        }
        "Tile" => {
            let repeats = integers(graph, cx, node, "repeats", 1);
            first_if(repeats.is_some_and(|repeats| repeats.iter().all(|&r| r == 1)))
        }
        "Pad" => {
            let pads = integers(graph, cx, node, "pads", 1);
            first_if(pads.is_some_and(|pads| pads.iter().all(|&p| p == 0)))
        }
        "Concat" | "Sum" | "Max" | "Min" | "Mean" => first_if(node.input.len() == 1),
        "Split" => first_if(node.output.len() == 1),
        "Mul" => neutral_operand(graph, cx, node, &[0, 1], is_one),
        "Div" => neutral_operand(graph, cx, node, &[1], is_one),
        "Add" => {
            let found = neutral_operand(graph, cx, node, &[0, 1], is_neutral_addend)?;
            let adds_zero = || {
                let constants = node.input.iter().filter_map(|n| cx.constant(graph, n));
                constants.into_iter().any(|t| is_positive_zero(&t))
            };
            if found.is_none() && adds_zero() {
                return Err("adding 0 to a float is no identity: it turns -0 into 0".into());
            }
            Ok(found)
        }
        "Sub" => neutral_operand(graph, cx, node, &[1], is_positive_zero),
        _ => Ok(None),
    }
}

/// Integers of an attribute or an input, where they are the same at every input size.
fn integers(
    graph: &Graph<'_>,
    cx: &PassContext,
    node: &NodeProto,
    attribute: &str,
    slot: usize,
) -> Option<Vec<i64>> {
    match node.input_name(slot) {
        Some(name) => cx.facts(graph).integers(name).map(<[i64]>::to_vec),
        None => node.ints(attribute).ok().flatten().map(<[i64]>::to_vec),
    }
}

fn dropout(graph: &Graph<'_>, cx: &PassContext, node: &NodeProto) -> Result<Option<usize>, String> {
    let trains = match cx.opset() {
        // Until opset 6 an attribute told inference from training, which was the default.
        ..7 => !matches!(node.int("is_test"), Ok(Some(v)) if v != 0),
        7..12 => false,
        _ => match node.input_name(2) {
            None => false,
            Some(flag) => {
                let flag = cx.constant(graph, flag).and_then(|t| t.to_i64_vec());
                !flag.is_some_and(|v| v.iter().all(|&v| v == 0))
            }
        },
    };
    if trains {
        return Err("its training mode is not constantly off".into());
    }
    Ok(Some(0))
}

/// The other operand, where one of these slots holds a constant that does nothing.
fn neutral_operand(
    graph: &Graph<'_>,
    cx: &PassContext,
    node: &NodeProto,
    slots: &[usize],
    is_neutral: fn(&Tensor) -> bool,
) -> Result<Option<usize>, String> {
    if node.input.len() != 2 {
        return Ok(None);
    }
    for &slot in slots {
        let Some(constant) = node
            .input_name(slot)
            .and_then(|name| cx.constant(graph, name))
        else {
            continue;
        };
        if !is_neutral(&constant) {
            continue;
        }
        let (x, y) = (node.input_name(1 - slot), node.output_name(0));
        let (Some(x), Some(y)) = (x, y) else {
            return Ok(None);
        };
        if !cx.facts(graph).same_shape(x, y) {
            return Err(format!(
                "its constant operand does nothing, but may enlarge `{x}` by broadcasting"
            ));
        }
        return Ok(Some(1 - slot));
    }
    Ok(None)
}

fn all_equal(tensor: &Tensor, float: impl Fn(f32) -> bool, integer: i64) -> bool {
    if tensor.is_empty() {
        return false;
    }
    match tensor.to_f32_vec() {
        Some(values) => values.into_iter().all(float),
        None => tensor
            .to_i64_vec()
            .is_some_and(|values| values.into_iter().all(|v| v == integer)),
    }
}

// Values of float64 are rounded on the way to float32, and something beside 1 might arrive there.
fn has_exact_values(tensor: &Tensor) -> bool {
    tensor.data_type() != DataType::F64
}

fn is_one(tensor: &Tensor) -> bool {
    has_exact_values(tensor) && all_equal(tensor, |v| v.to_bits() == 1.0f32.to_bits(), 1)
}

fn is_positive_zero(tensor: &Tensor) -> bool {
    has_exact_values(tensor) && all_equal(tensor, |v| v.to_bits() == 0.0f32.to_bits(), 0)
}

/// Zero for integers, -0 for floats.
fn is_neutral_addend(tensor: &Tensor) -> bool {
    has_exact_values(tensor) && all_equal(tensor, |v| v.to_bits() == (-0.0f32).to_bits(), 0)
}
