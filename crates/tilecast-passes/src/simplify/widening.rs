//! More channels for a value and all that reads it.

use std::collections::{BTreeMap, BTreeSet};

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{NodeId, Tensor};

use super::rewrite::Rewrite;
use super::site::Site;

/// Element-wise operators with one operand that give a number for zero, which a convolution then multiplies with zero.
const UNARY: &[&str] = &[
    "Elu",
    "Erf",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Mish",
    "Relu",
    "Sigmoid",
    "Softplus",
    "Tanh",
];
/// Operators that join two values of equal shape, or one and a number.
const BINARY: &[&str] = &["Add", "Mul", "Sub"];

/// Values of a number of channels, from those that are to get more of them to the convolutions that read these.
#[derive(Debug)]
pub(super) struct Widening<'g> {
    n_channels: usize,
    width: usize,
    values: BTreeSet<&'g str>,
    /// What computes one of the values from others.
    inner: BTreeSet<NodeId>,
    /// Convolutions that read one of the values, and their weights.
    last: BTreeMap<NodeId, Tensor>,
}

impl<'g> Widening<'g> {
    /// What must change for these values to have a multiple of `block` channels.
    ///
    /// # Errors
    /// The reason for which they cannot have more.
    pub(super) fn of(
        site: &Site<'_, 'g>,
        values: &'g [String],
        sizes: &[usize],
        block: usize,
    ) -> Result<Self, String> {
        let &[n_channels, ..] = sizes else {
            return Err("there is none".into());
        };
        if sizes.iter().any(|&size| size != n_channels) {
            return Err("its parts are not equal".into());
        }
        let mut found = Self {
            n_channels,
            width: n_channels.next_multiple_of(block),
            values: values.iter().map(String::as_str).collect(),
            inner: BTreeSet::new(),
            last: BTreeMap::new(),
        };
        let mut pending: Vec<&str> = found.values.iter().copied().collect();
        while let Some(value) = pending.pop() {
            if site.graph.is_output(value) {
                return Err(format!("`{value}` is an output of the graph"));
            }
            for reader in site.graph.uses(value) {
                let id = reader.node;
                let node = site.graph.node(id);
                if node.is("Conv") && reader.slot == Some(0) {
                    found.last.insert(id, found.weights(site, node)?);
                } else if Self::is_inner(site, node) {
                    let output = node.output_name(0).unwrap_or_default();
                    if found.inner.insert(id) {
                        found.values.insert(output);
                        pending.push(output);
                    }
                } else {
                    return Err(format!("`{}` reads it", node.label()));
                }
            }
        }
        match found
            .inner
            .iter()
            .find(|&&id| !found.is_closed(site, site.graph.node(id)))
        {
            Some(&id) => Err(format!("`{}` reads it", site.graph.node(id).label())),
            None => Ok(found),
        }
    }

    /// Whether a node that reads one of the values may be element-wise and right.
    fn is_inner(site: &Site<'_, 'g>, node: &NodeProto) -> bool {
        let divisor = node.input_name(1).and_then(|name| site.scalar(name));
        let divides = node.is("Div") && divisor.is_some_and(|c| c != 0.0);
        divides || UNARY.iter().chain(BINARY).any(|op| node.is(op))
    }

    /// Whether all that a node reads has as many channels as it writes, or is a finite number.
    fn is_closed(&self, site: &Site<'_, 'g>, node: &NodeProto) -> bool {
        let mut inputs = node.input.iter().map(String::as_str);
        inputs
            .all(|name| self.values.contains(name) || site.scalar(name).is_some_and(f32::is_finite))
    }

    /// The weights of a convolution that reads one of the values.
    fn weights(&self, site: &Site<'_, 'g>, conv: &NodeProto) -> Result<Tensor, String> {
        let groups = conv.int("group").map_err(|e| e.to_string())?.unwrap_or(1);
        conv.input_name(1)
            .filter(|_| groups == 1)
            .and_then(|name| site.float_constant(name))
            .filter(|w| w.dims().get(1) == Some(&self.n_channels))
            .ok_or_else(|| format!("`{}` reads it", conv.label()))
    }

    /// The number of channels that the values get.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// All nodes that change.
    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.inner.iter().chain(self.last.keys()).copied()
    }

    /// Changes the nodes that read the values. Returns the values' new names: what is recorded of their shapes holds no more.
    pub(super) fn write(&self, rewrite: &mut Rewrite<'_, '_>) -> BTreeMap<&'g str, String> {
        let fresh = |&value: &&'g str| (value, rewrite.fresh(value, "_wide"));
        let names: BTreeMap<&str, String> = self.values.iter().map(fresh).collect();
        for (&id, weights) in &self.last {
            rewrite.change_constant(id, 1, &self.widened(weights));
        }
        for id in self.nodes() {
            rewrite.rename(id, &names);
        }
        names
    }

    /// Weights with zeros for the new channels.
    fn widened(&self, weights: &Tensor) -> Tensor {
        let mut dims = weights.dims().to_vec();
        let per_channel: usize = dims[2..].iter().product();
        let values = weights.to_f32_vec().unwrap_or_default();
        let mut wide = Vec::with_capacity(dims[0] * self.width * per_channel);
        for filter in values.chunks(self.n_channels * per_channel) {
            wide.extend_from_slice(filter);
            wide.resize(
                wide.len() + (self.width - self.n_channels) * per_channel,
                0.0,
            );
        }
        dims[1] = self.width;
        Tensor::from_f32(dims, &wide)
    }
}
