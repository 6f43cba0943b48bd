//! Decomposed layer normalization as one operator, or as convolutions that average.

use std::collections::BTreeSet;

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, NodeId, Tensor, attribute, node};

use super::rewrite::Rewrite;
use super::site::{Site, drops_axis, other_operand, stands_for};
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// The operator came with it.
pub(super) const MIN_OPSET: i64 = 17;
/// Axis of the channels of an image, and its rank.
const CHANNEL_AXIS: usize = 1;
const IMAGE_RANK: usize = 4;
/// With fewer channels a convolution that averages does not pay: ONNX Runtime computes convolutions in blocks of 16.
const FEWEST_CONVOLVED: usize = 16;
/// Up to this many channels one convolution with `C * C` weights subtracts the mean; beyond, it costs more than a
/// convolution that averages and a subtraction.
const MOST_CENTERED_AT_ONCE: usize = 32;
/// ONNX Runtime makes blocks of so many channels, or of half as many on processors without AVX-512.
const BLOCK: usize = 16;
/// Puts the channels of an image last, and back.
const CHANNELS_LAST: [i64; 4] = [0, 2, 3, 1];
const CHANNELS_SECOND: [i64; 4] = [0, 3, 1, 2];

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "fuse_layer_norm",
    summary: "recognize layer normalization that an exporter has taken apart, and put it together for the target",
    numerics: Numerics::Reassociates,
    explanation: "\
**What it does.** `(x - mean(x)) / sqrt(mean((x - mean(x))²) + ε)` over the last axis (tokens) becomes
`LayerNormalization`, with the scale and the shift behind it where they are. Over the channels of an image the operator
has no axis of its own; there, if the parameter asks for it, 1x1 convolutions with the weights 1/C compute the averages,
and from some number of channels on the operator stands between two Transposes.

**Why.** Over tokens nine passes over the activation become one. Over channels, ONNX Runtime computes `ReduceMean` on one
thread and without blocking, while its convolutions use all threads and keep the layout of the convolutions around them. So does a
sum or a product of values of one shape, but no division and nothing that broadcasts: convolutions with weights of 1 spread the
mean and the reciprocal over the channels first.
`LayerNormalization` between two `Transpose` nodes is slower for few channels and as fast for many; its integer
convolutions compute with the channels last, so that the Transposes vanish between both.

**Before / After.** `m = ReduceMean(x, [-1]); d = Sub(x, m); p = Pow(d, 2); v = ReduceMean(p, [-1]); a = Add(v, ε);
s = Sqrt(a); n = Div(d, s); g = Mul(n, scale); y = Add(g, bias)` becomes `y = LayerNormalization(x, scale, bias)`.
Over the channels of an image, `y = Div(d, s)` becomes `d = Conv(x, I - 1/C); p = Mul(d, d); v = Conv(p, 1/C, ε);
s = Sqrt(v); y = Div(d, s)`. For more than 32 channels `d` is `m = Conv(x, 1/C); d = Sub(x, m)`. For a multiple of 16
channels these are `d = Add(x, Conv(m, -1))` and `y = Mul(d, Conv(Reciprocal(s), 1))`. For many `y` is
`Transpose(LayerNormalization(Transpose(x)))` where the opset has the operator.

**Preconditions.** Opset 17 for the operator, 16 channels for the convolutions. Both means go over the same single axis
and keep it: the last one, or axis 1 of four. The variance may lose the axis if a Reshape or Expand provably puts it
back. The length of the axis is the same for every input size, the small number is a constant, and nothing else reads
what is between. A scale or shift that is not one float32 constant per element of the axis stays behind the operator.

**Numerics.** Reassociates.

**Parameters.** `over_channels`: what to do with a normalization over the channels of an image (default: leave it), and
from how many channels on it is the operator.

**References.** J. Ba, J. Kiros, G. Hinton, *Layer Normalization*, 2016, <https://arxiv.org/abs/1607.06450>.",
};

/// What becomes of a layer normalization over the channels of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelNorms {
    /// It stays taken apart.
    #[default]
    Decomposed,
    /// 1x1 convolutions compute the averages, or the operator stands between two Transposes.
    Convolved {
        /// From so many channels on it is the operator, where the opset has it: there it takes less time where INT8 follows, and no
        /// more elsewhere.
        fewest_transposed: usize,
    },
}

impl ChannelNorms {
    /// Whether the operator stands between two Transposes for so many channels.
    fn transposes(self, n_channels: usize) -> bool {
        matches!(self, Self::Convolved { fewest_transposed } if n_channels >= fewest_transposed)
    }
}

/// Fuses layer normalization; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct FuseLayerNorm {
    /// Normalizations over the channels of an image.
    pub over_channels: ChannelNorms,
}

impl Pass for FuseLayerNorm {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let site = Site::of(graph, cx);
        let mut rewrite = Rewrite::of(graph);
        for (id, _) in graph.nodes().filter(|(_, n)| n.is("Div")) {
            let Some(core) = Core::find(&site, id) else {
                continue;
            };
            match LayerNorm::of(&site, core, self.over_channels) {
                Ok(norm) => norm.write(&mut rewrite, graph),
                Err(reason) => rewrite.decline(id, reason),
            }
        }
        Ok(rewrite.finish(cx))
    }
}

/// The normalization without scale and shift.
struct Core<'g> {
    x: &'g str,
    nodes: BTreeSet<NodeId>,
    /// The division.
    last: NodeId,
    /// The name of what is added under the root.
    epsilon: &'g str,
    /// The averages over `x`.
    means: Vec<&'g NodeProto>,
    /// The average over the squares.
    variance: &'g NodeProto,
    /// What is added to the small number: the variance, perhaps with its axis put back.
    broadcast: &'g str,
}

impl<'g> Core<'g> {
    /// The normalization that a division ends, by its structure alone.
    fn find(site: &Site<'_, 'g>, div: NodeId) -> Option<Self> {
        let node = site.graph.node(div);
        let (centered, deviation) = (node.input_name(0)?, node.input_name(1)?);
        let (root_id, root) = site.produced_by(deviation, "Sqrt")?;
        let (sum_id, sum) = site.produced_by(root.input_name(0)?, "Add")?;
        let (a, b) = (sum.input_name(0)?, sum.input_name(1)?);
        let (variance, broadcast, epsilon) = [(a, b), (b, a)]
            .into_iter()
            .find_map(|(value, other)| Some((Variance::behind(site, value)?, value, other)))?;
        let squares = variance.mean.input_name(0)?;
        let (square_id, inner) = squared(site, squares)?;
        let (x, first) = centered_of(site, centered)?;
        let mut nodes = variance.nodes;
        nodes.extend([root_id, sum_id, square_id, div]);
        nodes.extend(first.ids());
        let mut means = vec![first.mean];
        // Exporters of `var` subtract a mean of their own.
        if inner != centered {
            let (other_x, second) = centered_of(site, inner)?;
            if other_x != x {
                return None;
            }
            nodes.extend(second.ids());
            means.push(second.mean);
        }
        Some(Self {
            x,
            nodes,
            last: div,
            epsilon,
            means,
            variance: variance.mean,
            broadcast,
        })
    }

    /// The axis of all means, counted from the front.
    fn axis(&self, site: &Site<'_, 'g>, rank: usize) -> Result<usize, String> {
        let axis_of = |mean: &NodeProto| {
            let axis = site.reduced_axis(mean, rank);
            axis.ok_or_else(|| "its means do not go over one constant axis".to_owned())
        };
        let axis = axis_of(self.variance)?;
        for mean in &self.means {
            if axis_of(mean)? != axis {
                return Err("its means go over different axes".into());
            }
            if drops_axis(mean)? {
                return Err("its means drop the axis".into());
            }
        }
        Ok(axis)
    }

    /// Checks that the variance meets `x` like the mean does.
    fn check_broadcast(&self, site: &Site<'_, 'g>) -> Result<(), String> {
        let is_direct = self.variance.output_name(0) == Some(self.broadcast);
        let mean = self.means.first().and_then(|m| m.output_name(0));
        let same_shape = || {
            mean.and_then(|mean| site.dims(mean))
                .is_some_and(|dims| site.dims(self.broadcast) == Some(dims))
        };
        if (is_direct && !drops_axis(self.variance)?) || same_shape() {
            Ok(())
        } else {
            Err("its variance does not provably get its axis back".into())
        }
    }
}

/// The average of the squares behind a value, and the nodes between that only put an axis back.
struct Variance<'g> {
    nodes: BTreeSet<NodeId>,
    mean: &'g NodeProto,
}

impl<'g> Variance<'g> {
    fn behind(site: &Site<'_, 'g>, value: &'g str) -> Option<Self> {
        let graph = site.graph;
        let mut nodes = BTreeSet::new();
        let mut current = value;
        loop {
            let (id, _) = graph.producer(current)?;
            let node = graph.node(id);
            nodes.insert(id);
            if node.is("ReduceMean") {
                nodes.extend(shape_work_of(site, node.output_name(0)?, &nodes));
                return Some(Self { nodes, mean: node });
            }
            if !(node.is("Reshape") || node.is("Expand") || node.is("Unsqueeze")) {
                return None;
            }
            current = node.input_name(0)?;
        }
    }
}

/// Nodes that compute a shape from `value` for the nodes of a pattern and for nobody else.
fn shape_work_of(site: &Site<'_, '_>, value: &str, pattern: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let graph = site.graph;
    let mut found = BTreeSet::new();
    let mut next = site.reader(value, "Shape");
    while let Some((id, node)) = next {
        found.insert(id);
        let output = node.output_name(0).unwrap_or_default();
        let outside = |id: &NodeId| !pattern.contains(id);
        let mut readers = graph.uses(output).iter().map(|u| u.node).filter(outside);
        next = readers
            .next()
            .map(|id| (id, graph.node(id)))
            .filter(|(_, n)| n.is("Concat"));
    }
    found
}

/// `x - mean(x)`.
struct Centered<'g> {
    subtraction: NodeId,
    mean_id: NodeId,
    mean: &'g NodeProto,
}

impl Centered<'_> {
    fn ids(&self) -> [NodeId; 2] {
        [self.subtraction, self.mean_id]
    }
}

fn centered_of<'g>(site: &Site<'_, 'g>, value: &str) -> Option<(&'g str, Centered<'g>)> {
    let (subtraction, node) = site.produced_by(value, "Sub")?;
    let x = node.input_name(0)?;
    let (mean_id, mean) = site.produced_by(node.input_name(1)?, "ReduceMean")?;
    let centered = Centered {
        subtraction,
        mean_id,
        mean,
    };
    (mean.input_name(0) == Some(x)).then_some((x, centered))
}

/// What a value is the square of.
fn squared<'g>(site: &Site<'_, 'g>, value: &str) -> Option<(NodeId, &'g str)> {
    if let Some((id, power)) = site.produced_by(value, "Pow") {
        let exponent = site.scalar(power.input_name(1)?)?;
        return stands_for(exponent, 2.0).then_some((id, power.input_name(0)?));
    }
    let (id, product) = site.produced_by(value, "Mul")?;
    let base = product.input_name(0)?;
    (product.input_name(1) == Some(base)).then_some((id, base))
}

/// Which axis is normalized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    LastAxis,
    Channels,
}

/// A normalization that can be replaced.
struct LayerNorm<'g> {
    x: &'g str,
    over: Over,
    /// Whether the channels of an image are put last for it.
    is_transposed: bool,
    nodes: BTreeSet<NodeId>,
    last: NodeId,
    epsilon: f32,
    scale: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl<'g> LayerNorm<'g> {
    fn of(
        site: &Site<'_, 'g>,
        core: Core<'g>,
        over_channels: ChannelNorms,
    ) -> Result<Self, String> {
        let rank = site
            .rank(core.x)
            .ok_or_else(|| format!("the rank of `{}` is not known", core.x))?;
        let position = core.axis(site, rank)?;
        let epsilon = site
            .scalar(core.epsilon)
            .ok_or_else(|| format!("`{}` under its root is not a scalar constant", core.epsilon))?;
        let over = if position + 1 == rank {
            Over::LastAxis
        } else if position == CHANNEL_AXIS && rank == IMAGE_RANK {
            Over::Channels
        } else {
            return Err(format!(
                "it goes over axis {position} of {rank}, neither the last nor the channels of an image"
            ));
        };
        if over == Over::Channels && over_channels == ChannelNorms::Decomposed {
            return Err("over channels it stays taken apart for this target".into());
        }
        if over == Over::LastAxis {
            site.check_opset("LayerNormalization", MIN_OPSET)?;
        }
        let length = site.extent(core.x, position).ok_or_else(|| {
            format!(
                "the length of axis {position} of `{}` depends on the input",
                core.x
            )
        })?;
        if over == Over::Channels && length < FEWEST_CONVOLVED {
            return Err(format!("convolutions are no faster over {length} channels"));
        }
        core.check_broadcast(site)?;
        site.check_closed(&core.nodes, core.last)?;
        let mut norm = Self {
            x: core.x,
            over,
            is_transposed: over_channels.transposes(length) && site.opset() >= MIN_OPSET,
            nodes: core.nodes,
            last: core.last,
            epsilon,
            scale: vec![1.0; length],
            bias: None,
        };
        if over == Over::LastAxis {
            if let Some(scale) = norm.absorb(site, "Mul", rank, position) {
                norm.scale = scale;
            }
            norm.bias = norm.absorb(site, "Add", rank, position);
        }
        Ok(norm)
    }

    /// Takes the operation with one constant per element of the axis that directly follows, if there is one.
    fn absorb(
        &mut self,
        site: &Site<'_, 'g>,
        op: &str,
        rank: usize,
        axis: usize,
    ) -> Option<Vec<f32>> {
        let value = site.graph.node(self.last).output_name(0)?;
        let (id, node) = site.only_reader(value, op)?;
        let tensor = site.float_constant(other_operand(node, value)?)?;
        let values = along_axis(&tensor, rank, axis, self.scale.len())?;
        self.nodes.insert(id);
        self.last = id;
        Some(values)
    }

    fn write(&self, rewrite: &mut Rewrite<'_, '_>, graph: &Graph<'_>) {
        let output = graph.node(self.last).output[0].as_str();
        let nodes = match self.over {
            Over::LastAxis => vec![self.operator(rewrite, self.x, output)],
            Over::Channels if self.is_transposed => self.transposed(rewrite, output),
            Over::Channels => self.convolutions(rewrite, output),
        };
        rewrite.replace_pattern(&self.nodes, self.last, nodes);
    }

    /// `LayerNormalization` over the last axis.
    fn operator(&self, rewrite: &mut Rewrite<'_, '_>, x: &str, output: &str) -> NodeProto {
        let vector = |values: &[f32]| Tensor::from_f32(vec![values.len()], values);
        let scale = rewrite.add_constant(output, "_ln_scale", &vector(&self.scale));
        let bias = self
            .bias
            .as_ref()
            .map(|bias| rewrite.add_constant(output, "_ln_bias", &vector(bias)));
        let name = rewrite.fresh(output, "_LayerNormalization");
        let mut norm = node("LayerNormalization", &name, &[x, &scale], &[output])
            .with_attribute(attribute::int("axis", -1))
            .with_attribute(attribute::float("epsilon", self.epsilon));
        norm.input.extend(bias);
        norm
    }

    /// The operator over channels, which are put last for it.
    fn transposed(&self, rewrite: &mut Rewrite<'_, '_>, output: &str) -> Vec<NodeProto> {
        let mut name = |suffix: &str| rewrite.fresh(output, suffix);
        let [last, normalized] = ["_ln_channels_last", "_ln_normalized"].map(&mut name);
        let [before, behind] = ["_ln_Transpose", "_ln_back_Transpose"].map(&mut name);
        let transpose = |name: &str, perm: &[i64], input: &str, output: &str| {
            node("Transpose", name, &[input], &[output])
                .with_attribute(attribute::ints("perm", perm))
        };
        vec![
            transpose(&before, &CHANNELS_LAST, self.x, &last),
            self.operator(rewrite, &last, &normalized),
            transpose(&behind, &CHANNELS_SECOND, &normalized, output),
        ]
    }

    /// The normalization over channels with averages that are 1x1 convolutions. That of the variance takes the small number as
    /// its bias. What one channel holds is spread over as many as there are by a convolution too, where that keeps the blocks.
    fn convolutions(&self, rewrite: &mut Rewrite<'_, '_>, output: &str) -> Vec<NodeProto> {
        let n = self.scale.len();
        let keeps_blocks = n.is_multiple_of(BLOCK);
        let share = 1.0 / n as f64;
        let mut body = Body {
            rewrite,
            output,
            nodes: Vec::new(),
        };
        let average = body.weights("average", [1, n], |_| share);
        let centered = if n <= MOST_CENTERED_AT_ONCE {
            let kept = |i: usize| f64::from(u8::from(i / n == i % n));
            let weights = body.weights("center", [n, n], |i| kept(i) - share);
            body.node("Conv", "centered", &[self.x, &weights])
        } else {
            let mean = body.node("Conv", "mean", &[self.x, &average]);
            if keeps_blocks {
                let minus = body.weights("minus_ones", [n, 1], |_| -1.0);
                let negative = body.node("Conv", "negative_mean", &[&mean, &minus]);
                body.node("Add", "centered", &[self.x, &negative])
            } else {
                body.node("Sub", "centered", &[self.x, &mean])
            }
        };
        let squares = body.node("Mul", "squares", &[&centered, &centered]);
        let epsilon = Tensor::from_f32(vec![1], &[self.epsilon]);
        let epsilon = body.rewrite.add_constant(output, "_ln_epsilon", &epsilon);
        let variance = body.node("Conv", "variance", &[&squares, &average, &epsilon]);
        let deviation = body.node("Sqrt", "deviation", &[&variance]);
        if keeps_blocks {
            let reciprocal = body.node("Reciprocal", "reciprocal", &[&deviation]);
            let ones = body.weights("ones", [n, 1], |_| 1.0);
            let spread = body.node("Conv", "spread", &[&reciprocal, &ones]);
            body.last("Mul", &[&centered, &spread])
        } else {
            body.last("Div", &[&centered, &deviation])
        }
    }
}

/// The nodes of a normalization in the making.
struct Body<'a, 'r, 'g> {
    rewrite: &'a mut Rewrite<'r, 'g>,
    output: &'a str,
    nodes: Vec<NodeProto>,
}

impl Body<'_, '_, '_> {
    /// The weights of a 1x1 convolution with so many filters of so many channels.
    fn weights(
        &mut self,
        what: &str,
        [filters, channels]: [usize; 2],
        weight: impl Fn(usize) -> f64,
    ) -> String {
        let weights: Vec<f32> = (0..filters * channels).map(|i| weight(i) as f32).collect();
        let tensor = Tensor::from_f32(vec![filters, channels, 1, 1], &weights);
        self.rewrite
            .add_constant(self.output, &format!("_ln_{what}"), &tensor)
    }

    /// Adds a node. Returns what its output is called.
    fn node(&mut self, op: &str, what: &str, inputs: &[&str]) -> String {
        let value = self.rewrite.fresh(self.output, &format!("_ln_{what}"));
        let name = self.rewrite.fresh(self.output, &format!("_ln_{what}_{op}"));
        self.nodes.push(node(op, &name, inputs, &[&value]));
        value
    }

    /// All nodes, with the last one.
    fn last(mut self, op: &str, inputs: &[&str]) -> Vec<NodeProto> {
        let name = self.rewrite.fresh(self.output, &format!("_ln_{op}"));
        self.nodes.push(node(op, &name, inputs, &[self.output]));
        self.nodes
    }
}

/// The elements of a constant that broadcasts over a value of `rank` along one axis only.
fn along_axis(tensor: &Tensor, rank: usize, axis: usize, length: usize) -> Option<Vec<f32>> {
    let values = tensor.to_f32_vec()?;
    let dims = tensor.dims();
    let missing = rank.checked_sub(dims.len())?;
    if let [only] = values[..] {
        return Some(vec![only; length]);
    }
    let fits = axis >= missing && dims[axis - missing] == length && values.len() == length;
    fits.then_some(values)
}
