//! Channel-wise constant multiplications and additions into the convolution before or behind them.
//!
//! Two phases over one graph. First, from each convolution forward: as long as the only reader is an affine step with a
//! constant, the step is folded. Then, from each convolution backward: what computes its input by affine steps is folded
//! if every reader of that input is a convolution that can take it. A convolution may be changed by both.

use std::collections::{BTreeMap, BTreeSet};

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, NodeId, Tensor};

use super::convolution::{ChannelAffine, Convolution, channel_vector};
use super::rewrite::Rewrite;
use super::site::Site;
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "fold_scale_shift",
    summary: "fold channel-wise constant scales and shifts into neighbouring convolutions",
    numerics: Numerics::Reassociates,
    explanation: "\
**What it does.** A `Mul`, `Add`, `Sub` or `Div` with one constant per channel (or one for all) directly behind a `Conv`
or `ConvTranspose` goes into its weights and bias: NAFNet's beta and gamma, the 0.2 of residual-in-residual blocks. One
directly before a `Conv` goes into the weights of every convolution that reads the result: the affine part of a layer
normalization before a 1x1 convolution. Weights that other nodes share are copied.

**Why.** Each is a pass over the activation that computes nothing new; constants per channel also lose most in INT8.

**Before / After.** `c = Conv(x, W, b); y = Mul(c, s)` becomes `y = Conv(x, s * W, s * b)`.
`m = Mul(n, s); a = Add(m, t); y = Conv(a, W, b)` becomes `y = Conv(n, W * diag(s), b + W * t)`.

**Preconditions.** All constants are float32. Behind: nothing else reads the convolution's output. Before: every reader
is a `Conv`, the value has as many channels without the constant as with it, and a shift meets no padding: zeros are put
around the input after it. A scale alone may be padded, zero stays zero.

**Numerics.** Reassociates: products are formed in float64 and rounded once.

**References.** L. Chen et al., *Simple Baselines for Image Restoration*, 2022, <https://arxiv.org/abs/2204.04676>.",
};

/// Folds scales and shifts; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct FoldScaleShift;

impl Pass for FoldScaleShift {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let mut folding = Folding {
            site: Site::of(graph, cx),
            graph,
            rewrite: Rewrite::of(graph),
            changed: BTreeMap::new(),
        };
        for (id, _) in graph.nodes().filter(|(id, _)| Convolution::is(graph, *id)) {
            folding.fold_behind(id);
        }
        let mut inputs = BTreeSet::new();
        for (_, node) in graph.nodes().filter(|(_, n)| n.is("Conv")) {
            if let Some(input) = node.input_name(0)
                && inputs.insert(input)
            {
                folding.fold_before(input);
            }
        }
        folding.store();
        Ok(folding.rewrite.finish(cx))
    }
}

struct Folding<'c, 'a, 'g> {
    graph: &'a Graph<'g>,
    site: Site<'c, 'g>,
    rewrite: Rewrite<'a, 'g>,
    /// Convolutions with what was folded into them.
    changed: BTreeMap<NodeId, Convolution>,
}

/// One affine step: the value that it maps and what it does to each channel.
struct Step<'g> {
    data: &'g str,
    constant: Tensor,
    kind: StepKind,
}

#[derive(Clone, Copy)]
enum StepKind {
    Multiply,
    Divide,
    Add,
    Subtract,
    SubtractFrom,
}

impl<'g> Step<'g> {
    /// The step that a node is; `None` if it is none with a float32 constant.
    fn of(site: &Site<'_, 'g>, node: &'g NodeProto) -> Option<Self> {
        if !node.domain_name().is_empty() {
            return None;
        }
        let (a, b) = (node.input_name(0)?, node.input_name(1)?);
        let (data, constant, first) = match (site.float_constant(a), site.float_constant(b)) {
            (None, Some(constant)) => (a, constant, false),
            (Some(constant), None) => (b, constant, true),
            _ => return None,
        };
        let kind = match (node.op(), first) {
            ("Mul", _) => StepKind::Multiply,
            ("Add", _) => StepKind::Add,
            ("Sub", false) => StepKind::Subtract,
            ("Sub", true) => StepKind::SubtractFrom,
            ("Div", false) => StepKind::Divide,
            _ => return None,
        };
        Some(Self {
            data,
            constant,
            kind,
        })
    }

    fn map(&self, rank: usize, n_channels: usize) -> Result<ChannelAffine, String> {
        let values = channel_vector(&self.constant, rank, n_channels)?;
        let ones = vec![1.0; n_channels];
        let zeros = vec![0.0; n_channels];
        let negated = |values: Vec<f64>| values.into_iter().map(|v| -v).collect();
        Ok(match self.kind {
            StepKind::Multiply => ChannelAffine::new(values, zeros),
            StepKind::Divide => {
                ChannelAffine::new(values.into_iter().map(f64::recip).collect(), zeros)
            }
            StepKind::Add => ChannelAffine::new(ones, values),
            StepKind::Subtract => ChannelAffine::new(ones, negated(values)),
            StepKind::SubtractFrom => ChannelAffine::new(negated(ones), values),
        })
    }
}

impl<'g> Folding<'_, '_, 'g> {
    /// The convolution as folded so far.
    fn convolution(&self, id: NodeId) -> Result<Convolution, String> {
        match self.changed.get(&id) {
            Some(convolution) => Ok(convolution.clone()),
            None => Convolution::read(&self.site, id),
        }
    }

    /// Folds the steps that follow a convolution, nearest first, until one cannot be.
    fn fold_behind(&mut self, id: NodeId) {
        let graph = self.graph;
        let Some(mut output) = graph.node(id).output_name(0) else {
            return;
        };
        loop {
            let step = graph.uses(output).iter().find_map(|u| {
                let node = graph.node(u.node);
                let step = Step::of(&self.site, node).filter(|s| s.data == output)?;
                Some((u.node, node, step))
            });
            let Some((step_id, node, step)) = step else {
                return;
            };
            let folded = self.site.check_one_reader(output).and_then(|()| {
                let convolution = self.convolution(id)?;
                let map = step.map(convolution.rank(), convolution.n_outputs())?;
                convolution.followed_by(&map)
            });
            match folded {
                Ok(convolution) => {
                    self.changed.insert(id, convolution);
                    self.rewrite.edit(id).output[0].clone_from(&node.output[0]);
                    self.rewrite.remove(step_id);
                    output = &node.output[0];
                }
                Err(reason) => {
                    self.rewrite.decline(step_id, reason);
                    return;
                }
            }
        }
    }

    /// Folds the steps that end in `input` into the convolutions that read it.
    fn fold_before(&mut self, input: &'g str) {
        let graph = self.graph;
        let mut root = input;
        let mut steps = Vec::new();
        while let Some((id, _)) = graph.producer(root) {
            let free =
                !self.rewrite.touched(id) && (root == input || graph.only_use(root).is_some());
            let Some(step) = Step::of(&self.site, graph.node(id)).filter(|_| free) else {
                break;
            };
            root = step.data;
            steps.push((id, step));
        }
        // The longest run of steps that ends in `input` and can be folded; usually all of them.
        while let Some(&(farthest, _)) = steps.last() {
            match self.convolutions_with(input, &steps) {
                Ok(folded) => {
                    self.changed.extend(folded);
                    let root = steps.last().map_or(input, |(_, step)| step.data);
                    for reader in graph.uses(input) {
                        root.clone_into(&mut self.rewrite.edit(reader.node).input[0]);
                    }
                    for (id, _) in &steps {
                        self.rewrite.remove(*id);
                    }
                    return;
                }
                Err(reason) => {
                    self.rewrite.decline(farthest, reason);
                    steps.pop();
                }
            }
        }
    }

    /// Every reader of `input` with these steps (nearest to the reader first) folded into it.
    fn convolutions_with(
        &self,
        input: &str,
        steps: &[(NodeId, Step<'g>)],
    ) -> Result<Vec<(NodeId, Convolution)>, String> {
        let graph = self.graph;
        if graph.is_output(input) {
            return Err(format!("`{input}` is an output of the graph"));
        }
        let mut folded = Vec::new();
        for reader in graph.uses(input) {
            if reader.slot != Some(0) || !graph.node(reader.node).is("Conv") {
                return Err(format!(
                    "`{input}` is also read by {}, which is no convolution of it",
                    graph.path(reader.node)
                ));
            }
            let convolution = self.convolution(reader.node)?;
            let (rank, n_channels) = (convolution.rank(), convolution.n_inputs());
            let mut map = ChannelAffine::identity(n_channels);
            for (_, step) in steps.iter().rev() {
                self.check_not_stretched(step, rank, n_channels)?;
                map = map.then(&step.map(rank, n_channels)?);
            }
            folded.push((reader.node, convolution.preceded_by(&map)?));
        }
        Ok(folded)
    }

    /// The value without the constant must have the shape that it has with it.
    fn check_not_stretched(
        &self,
        step: &Step<'_>,
        rank: usize,
        n_channels: usize,
    ) -> Result<(), String> {
        let data = step.data;
        let same_rank = step.constant.dims().is_empty() || self.site.rank(data) == Some(rank);
        let same_channels =
            step.constant.len() == 1 || self.site.extent(data, 1) == Some(n_channels);
        if same_rank && same_channels {
            Ok(())
        } else {
            Err(format!(
                "it is not known that `{data}` has {n_channels} channels"
            ))
        }
    }

    /// Writes the folded constants.
    fn store(&mut self) {
        for (id, convolution) in std::mem::take(&mut self.changed) {
            convolution.store(&mut self.rewrite, self.graph, id);
        }
    }
}
