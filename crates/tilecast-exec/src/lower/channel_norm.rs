//! Normalization over channels that an exporter has taken apart, as one operation.
//!
//! `d = x - mean(x); y = d / sqrt(mean(d * d) + ε)` over axis 1, with a scale and a shift per channel where they follow. Taken
//! apart it is seven passes over the activation, most of the time of a small network; as one operation it is one. Nothing
//! is fused where a value in between is read by anything else, is observed, or is rounded to 16 bits.

use std::collections::{HashMap, HashSet};

use tilecast_onnx::DataType;
use tilecast_onnx::proto::NodeProto;

use super::{Constant, LoweredGraph, LoweredNode, Operation, ValueId};

/// The axis of channels.
const CHANNEL_AXIS: usize = 1;

/// Normalization over axis 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ChannelNorm {
    /// Added to the variance.
    pub(crate) epsilon: f32,
    /// One factor per channel.
    pub(crate) scale: Option<Vec<f32>>,
    /// One summand per channel.
    pub(crate) shift: Option<Vec<f32>>,
}

/// Puts every such normalization together. `dims_of` knows the dimensions of some values.
pub(super) fn fuse(graph: &mut LoweredGraph, dims_of: &dyn Fn(ValueId) -> Option<Vec<usize>>) {
    let found: Vec<Found> = {
        let site = Site::of(graph);
        (0..graph.nodes.len())
            .filter_map(|index| site.norm_that_ends_at(index, dims_of))
            .collect()
    };
    let mut gone: HashSet<usize> = HashSet::new();
    for Found { last, nodes, node } in found {
        graph.nodes[last] = node;
        gone.extend(nodes.into_iter().filter(|index| *index != last));
    }
    let mut index = 0;
    graph.nodes.retain(|_| {
        index += 1;
        !gone.contains(&(index - 1))
    });
}

/// One normalization.
struct Found {
    /// The node that it takes the place of.
    last: usize,
    /// All nodes that it takes the place of.
    nodes: Vec<usize>,
    node: LoweredNode,
}

/// A graph with what the search asks for.
struct Site<'g> {
    graph: &'g LoweredGraph,
    producers: HashMap<ValueId, usize>,
    /// Nodes that read a value, once per operand; outputs of the graph have one more that is none.
    readers: HashMap<ValueId, Vec<Option<usize>>>,
}

impl<'g> Site<'g> {
    fn of(graph: &'g LoweredGraph) -> Self {
        let mut producers = HashMap::new();
        let mut readers: HashMap<ValueId, Vec<Option<usize>>> = HashMap::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            for value in node.outputs.iter().flatten() {
                producers.insert(*value, index);
            }
            for value in node.inputs.iter().flatten() {
                readers.entry(*value).or_default().push(Some(index));
            }
        }
        for value in &graph.outputs {
            readers.entry(*value).or_default().push(None);
        }
        Self {
            graph,
            producers,
            readers,
        }
    }

    fn norm_that_ends_at(
        &self,
        div: usize,
        dims_of: &dyn Fn(ValueId) -> Option<Vec<usize>>,
    ) -> Option<Found> {
        let [centered, deviation] = self.operands(div, "Div")?;
        let root = self.made_by(deviation, "Sqrt")?;
        let [sum] = self.operands(root, "Sqrt")?;
        let add = self.made_by(sum, "Add")?;
        let (variance, epsilon) = self.with_scalar(self.operands(add, "Add")?)?;
        let mean_of_squares = self.channel_mean(variance)?;
        let squares = self.graph.nodes[mean_of_squares].inputs[0]?;
        let square = *self.producers.get(&squares)?;
        if !self.is_square_of(square, centered) {
            return None;
        }
        let sub = self.made_by(centered, "Sub")?;
        let [x, mean] = self.operands(sub, "Sub")?;
        let first_mean = self.channel_mean(mean)?;
        if self.graph.nodes[first_mean].inputs[0] != Some(x) {
            return None;
        }
        let mut nodes = vec![first_mean, sub, square, mean_of_squares, add, root, div];
        // What is between is read by these alone.
        let inner = [mean, centered, squares, variance, sum, deviation];
        let is_private = |value: &ValueId| {
            self.readers.get(value).is_some_and(|readers| {
                readers
                    .iter()
                    .all(|reader| reader.is_some_and(|reader| nodes.contains(&reader)))
            })
        };
        if !inner.iter().all(is_private) {
            return None;
        }
        let mut norm = ChannelNorm {
            epsilon,
            scale: None,
            shift: None,
        };
        let mut last = div;
        if let Some(dims) = dims_of(x) {
            if let Some((mul, scale)) = self.per_channel(last, "Mul", &dims) {
                norm.scale = Some(scale);
                nodes.push(mul);
                last = mul;
            }
            if let Some((add, shift)) = self.per_channel(last, "Add", &dims) {
                norm.shift = Some(shift);
                nodes.push(add);
                last = add;
            }
        }
        Some(Found {
            last,
            node: LoweredNode {
                path: self.graph.nodes[div].path.clone(),
                operation: Operation::ChannelNorm(norm),
                inputs: vec![Some(x)],
                outputs: self.graph.nodes[last].outputs.clone(),
            },
            nodes,
        })
    }

    /// The operands of a node, if it is this operator with so many.
    fn operands<const N: usize>(&self, index: usize, op: &str) -> Option<[ValueId; N]> {
        let node = &self.graph.nodes[index];
        onnx(node).filter(|message| message.op() == op)?;
        let operands: Option<Vec<ValueId>> = node.inputs.iter().copied().collect();
        operands?.try_into().ok()
    }

    fn made_by(&self, value: ValueId, op: &str) -> Option<usize> {
        let index = *self.producers.get(&value)?;
        onnx(&self.graph.nodes[index])
            .filter(|message| message.op() == op)
            .map(|_| index)
    }

    /// One operand, and the other where that is one number.
    fn with_scalar(&self, [a, b]: [ValueId; 2]) -> Option<(ValueId, f32)> {
        let scalar = |value| match self.graph.constants.get(&value)? {
            Constant::Float { data, .. } if data.len() == 1 => Some(data[0]),
            _ => None,
        };
        match (scalar(a), scalar(b)) {
            (None, Some(number)) => Some((a, number)),
            (Some(number), None) => Some((b, number)),
            _ => None,
        }
    }

    /// The node that makes a value as the mean over channels.
    fn channel_mean(&self, value: ValueId) -> Option<usize> {
        let index = self.made_by(value, "ReduceMean")?;
        let node = &self.graph.nodes[index];
        let message = onnx(node)?;
        if !matches!(message.int("keepdims"), Ok(None | Some(1))) {
            return None;
        }
        let given = match node.inputs.get(1) {
            Some(Some(axes)) => match self.graph.constants.get(axes)? {
                Constant::Other(tensor) if tensor.data_type() == DataType::I64 => {
                    tensor.to_i64_vec()?
                }
                _ => return None,
            },
            _ => message.ints("axes").ok()??.to_vec(),
        };
        (given == [CHANNEL_AXIS as i64]).then_some(index)
    }

    fn is_square_of(&self, index: usize, value: ValueId) -> bool {
        if self.operands(index, "Mul") == Some([value, value]) {
            return true;
        }
        self.operands(index, "Pow")
            .and_then(|operands| self.with_scalar(operands))
            .is_some_and(|(base, exponent)| {
                base == value && exponent.to_bits() == 2.0_f32.to_bits()
            })
    }

    /// The only reader of a node's result, if it combines it with one number per channel.
    fn per_channel(&self, index: usize, op: &str, dims: &[usize]) -> Option<(usize, Vec<f32>)> {
        let value = self.graph.nodes[index].outputs[0]?;
        let [Some(reader)] = self.readers.get(&value)?.as_slice() else {
            return None;
        };
        let [a, b] = self.operands(*reader, op)?;
        let other = if a == value { b } else { a };
        let Constant::Float { dims: own, data } = self.graph.constants.get(&other)? else {
            return None;
        };
        let channels = *dims.get(CHANNEL_AXIS)?;
        let behind = dims.len() - CHANNEL_AXIS - 1;
        // One number per channel and nothing else, as broadcasting lines it up from the last axis on.
        let channel_axis = own.len().checked_sub(behind + 1)?;
        let is_along_channels = own.len() <= dims.len()
            && own.iter().enumerate().all(|(axis, extent)| match axis {
                _ if axis == channel_axis => *extent == channels,
                _ => *extent == 1,
            });
        is_along_channels.then(|| (*reader, data.clone()))
    }
}

/// The message of an ordinary operator.
fn onnx(node: &LoweredNode) -> Option<&NodeProto> {
    match &node.operation {
        Operation::Onnx(message) => Some(message),
        _ => None,
    }
}
