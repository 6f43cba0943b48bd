//! A Split behind convolutions as one convolution per part.

use std::collections::BTreeSet;
use std::ops::Range;

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, NodeId, Tensor, attribute, axis_from_front, node};

use super::rewrite::Rewrite;
use super::site::Site;
use super::widening::Widening;
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// Axis of the channels.
const CHANNEL_AXIS: usize = 1;
/// With fewer filters a convolution of its own does not pay: ONNX Runtime computes convolutions in blocks of 8 to 16.
const FEWEST_FILTERS: usize = 8;

/// ONNX Runtime computes depthwise convolutions in blocks of 8 or 16 channels, by processor, and slowly where these do not divide them.
const BLOCK: usize = 16;

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "divide_convolutions",
    summary: "turn a Split of channels behind a convolution into one convolution per part",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** A `Split` of the channels that a convolution writes goes away: each part is computed by a convolution
with the filters of that part. Depthwise convolutions in between are divided with it, channel by channel.

**Why.** Split copies every element, in ONNX Runtime on one thread and out of the blocked layout of convolutions. Divided,
the halves of a simple gate (NAFNet) or of queries, keys and values (Restormer) are written where they are read; and in INT8
each part has a range of its own.

Depthwise convolutions ONNX Runtime computes in blocks of 8 or 16 channels, and several times as slowly where these do not
divide them, as in the feed-forward blocks of Restormer (127, 255, 510 and 1021 channels a part). Parts of such a number
are widened to the next multiple of 16 with filters of zeros, which the convolution that reads them multiplies with zeros.

**Before / After.** `c = Conv(x, W); d = Conv(c, V, group = C); a, b = Split(d, axis 1)` becomes
`a = Conv(Conv(x, W_a), V_a); b = Conv(Conv(x, W_b), V_b)`.

**Preconditions.** The chain from the Split back ends in a convolution without groups; between are depthwise
convolutions only. Weights and biases are constant; nothing else reads what is between. Each part has 8 filters or more. Behind
depthwise convolutions it has a multiple of 16, or the convolutions as a whole do not have one either, the parts are equal,
and all that reads them is element-wise, finite at zero, and ends in convolutions with constant weights and without groups.

**Numerics.** Exact: the same products are summed, channel by channel, and products with zeros.

**References.** L. Chen et al., *Simple Baselines for Image Restoration*, 2022, <https://arxiv.org/abs/2204.04676> (the
simple gate).",
};

/// Divides convolutions; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct DivideConvolutions;

impl Pass for DivideConvolutions {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let site = Site::of(graph, cx);
        let mut rewrite = Rewrite::of(graph);
        for (id, _) in graph.nodes().filter(|(_, n)| n.is("Split")) {
            match Division::of(&site, id) {
                Ok(Some(division)) if division.is_stale(&rewrite) => {}
                Ok(Some(division)) => division.write(&mut rewrite, graph),
                Ok(None) => {}
                Err(reason) => rewrite.decline(id, reason),
            }
        }
        Ok(rewrite.finish(cx))
    }
}

/// A convolution of the chain, with its constants.
struct Link<'g> {
    id: NodeId,
    node: &'g NodeProto,
    /// `[filters, channels of the group, taps…]`.
    weights: Tensor,
    bias: Option<Tensor>,
    is_depthwise: bool,
}

/// A chain of convolutions and the Split behind it.
struct Division<'g> {
    split: NodeId,
    /// Number of channels of each part.
    sizes: Vec<usize>,
    /// From the first convolution to the one that is split.
    chain: Vec<Link<'g>>,
    /// How the readers of the parts take more channels, where the parts get some.
    widening: Option<Widening<'g>>,
}

impl<'g> Division<'g> {
    /// The chain in front of a Split, `None` where no convolution is.
    fn of(site: &Site<'_, 'g>, split: NodeId) -> Result<Option<Self>, String> {
        let node = site.graph.node(split);
        let Some(mut value) = node.input_name(0) else {
            return Ok(None);
        };
        let mut chain = Vec::new();
        while let Some((id, conv)) = site.produced_by(value, "Conv") {
            site.check_one_reader(value)?;
            let link = Link::of(site, id, conv)?;
            let is_depthwise = link.is_depthwise;
            chain.insert(0, link);
            if !is_depthwise {
                let n_channels = chain[0].weights.dims()[0];
                let sizes = sizes(site, node, n_channels)?;
                let odd = sizes.iter().find(|size| !size.is_multiple_of(BLOCK));
                let widening = match odd {
                    Some(size) if chain.len() > 1 => {
                        let told = |why: String| {
                            format!(
                                "a depthwise convolution over {size} channels is not computed in blocks, and {why}"
                            )
                        };
                        if n_channels.is_multiple_of(BLOCK) {
                            return Err(told(format!("one over {n_channels} is")));
                        }
                        Some(Widening::of(site, &node.output, &sizes, BLOCK).map_err(told)?)
                    }
                    _ => None,
                };
                return Ok(Some(Self {
                    split,
                    sizes,
                    chain,
                    widening,
                }));
            }
            let Some(input) = conv.input_name(0) else {
                break;
            };
            value = input;
        }
        match chain.len() {
            0 => Ok(None),
            _ => Err("depthwise convolutions are in front of it, and no other convolution in front of these".into()),
        }
    }

    /// Whether an edit so far changed one of the nodes: it is then found again when the pass runs next.
    fn is_stale(&self, rewrite: &Rewrite<'_, '_>) -> bool {
        let chain = self.chain.iter().map(|link| link.id);
        let readers = self.widening.iter().flat_map(Widening::nodes);
        chain.chain(readers).any(|id| rewrite.touched(id))
    }

    fn write(&self, rewrite: &mut Rewrite<'_, '_>, graph: &Graph<'_>) {
        let widened = self
            .widening
            .as_ref()
            .map(|w| (w.width(), w.write(rewrite)));
        let mut nodes = Vec::new();
        let mut begin = 0;
        for (part, size) in self.sizes.iter().enumerate() {
            let (filters, whole) = (begin..begin + size, &graph.node(self.split).output[part]);
            let (width, whole) = match &widened {
                Some((width, names)) => (*width, &names[whole.as_str()]),
                None => (*size, whole),
            };
            let mut input = self.chain[0].node.input[0].clone();
            for (place, link) in self.chain.iter().enumerate() {
                let is_last = place + 1 == self.chain.len();
                let written = &link.node.output[0];
                let output = if is_last {
                    whole.clone()
                } else {
                    rewrite.fresh(written, &format!("_part{part}"))
                };
                nodes.push(link.part(rewrite, part, (&filters, width), &input, &output));
                input = output;
            }
            begin += size;
        }
        let mut removed: BTreeSet<NodeId> = self.chain.iter().map(|link| link.id).collect();
        removed.insert(self.split);
        rewrite.replace_pattern(&removed, self.split, nodes);
    }
}

impl<'g> Link<'g> {
    fn of(site: &Site<'_, 'g>, id: NodeId, node: &'g NodeProto) -> Result<Self, String> {
        let constant = |slot: usize| {
            let name = node.input_name(slot)?;
            Some(
                site.float_constant(name)
                    .ok_or_else(|| format!("`{name}` is not a float32 constant")),
            )
        };
        let weights = constant(1).ok_or("its convolution has no weights")??;
        let bias = constant(2).transpose()?;
        let &[n_filters, per_group, ..] = weights.dims() else {
            return Err("the weights of its convolution have no channels".into());
        };
        let groups = node.int("group").map_err(|e| e.to_string())?.unwrap_or(1);
        let is_depthwise = groups > 1 && per_group == 1 && usize::try_from(groups) == Ok(n_filters);
        if groups != 1 && !is_depthwise {
            return Err(format!("its convolution has {groups} groups"));
        }
        if bias.as_ref().is_some_and(|b| b.dims() != [n_filters]) {
            return Err("the bias of its convolution has not one element per filter".into());
        }
        Ok(Self {
            id,
            node,
            weights,
            bias,
            is_depthwise,
        })
    }

    /// The convolution with some of the filters, and with filters of zeros up to a number.
    fn part(
        &self,
        rewrite: &mut Rewrite<'_, '_>,
        part: usize,
        (filters, width): (&Range<usize>, usize),
        input: &str,
        output: &str,
    ) -> NodeProto {
        let mut add = |slot: usize, tensor: &Tensor| {
            let name = &self.node.input[slot];
            rewrite.add_constant(name, &format!("_part{part}"), &rows(tensor, filters, width))
        };
        let weights = add(1, &self.weights);
        let bias = self.bias.as_ref().map(|bias| add(2, bias));
        let name = rewrite.fresh(self.node.label(), &format!("_part{part}"));
        let mut conv = node("Conv", &name, &[input, &weights], &[output]);
        conv.input.extend(bias);
        conv.attribute.clone_from(&self.node.attribute);
        if self.is_depthwise {
            conv.attribute
                .retain(|a| a.name.as_deref() != Some("group"));
            conv = conv.with_attribute(attribute::int("group", width as i64));
        }
        conv
    }
}

/// Some of the indices of the first axis, and zeros up to a number of them.
fn rows(tensor: &Tensor, range: &Range<usize>, width: usize) -> Tensor {
    let mut dims = tensor.dims().to_vec();
    let per_row: usize = dims[1..].iter().product();
    dims[0] = width;
    let mut values = tensor.to_f32_vec().unwrap_or_default();
    values.truncate(range.end * per_row);
    values.drain(..range.start * per_row);
    values.resize(width * per_row, 0.0);
    Tensor::from_f32(dims, &values)
}

/// How many channels each part of a Split has.
fn sizes(site: &Site<'_, '_>, split: &NodeProto, n_channels: usize) -> Result<Vec<usize>, String> {
    let input = split.input_name(0).unwrap_or_default();
    let rank = site
        .rank(input)
        .ok_or_else(|| format!("the rank of `{input}` is not known"))?;
    let axis = split.int("axis").map_err(|e| e.to_string())?.unwrap_or(0);
    if axis_from_front(axis, rank) != Some(CHANNEL_AXIS) {
        return Err("it does not split channels".into());
    }
    let n_parts = split.output.len();
    let sizes: Vec<usize> = match site.integers(split, "split", 1) {
        Some(sizes) => sizes
            .iter()
            .map(|&s| usize::try_from(s).unwrap_or(0))
            .collect(),
        None if split.input_name(1).is_some() => return Err("its sizes are not constant".into()),
        None if n_channels.is_multiple_of(n_parts) => vec![n_channels / n_parts; n_parts],
        None => return Err("its parts are not equal".into()),
    };
    if sizes.len() != n_parts || sizes.iter().sum::<usize>() != n_channels {
        return Err("its sizes contradict the convolution before it".into());
    }
    if split.output.iter().any(String::is_empty) {
        return Err("it drops a part".into());
    }
    match sizes.iter().find(|&&size| size < FEWEST_FILTERS) {
        Some(few) => Err(format!("a convolution with {few} filters does not pay")),
        None => Ok(sizes),
    }
}
