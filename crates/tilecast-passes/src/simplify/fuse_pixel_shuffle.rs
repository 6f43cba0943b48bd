//! Pixel shuffle and unshuffle written with Reshape and Transpose as one operator.

use std::collections::BTreeSet;

use tilecast_onnx::{Extent, Graph, NodeId, attribute, node};

use super::rewrite::Rewrite;
use super::site::Site;
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// From here on `DepthToSpace` has a mode; before, it is `DCR`.
pub(super) const MODE_OPSET: i64 = 11;

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "fuse_pixel_shuffle",
    summary: "recognize pixel shuffle and unshuffle written with Reshape and Transpose",
    numerics: Numerics::Exact,
    explanation: "\
**What it does.** `Reshape` to six dimensions, `Transpose`, `Reshape` to four becomes `DepthToSpace` (both orders of
channels) or `SpaceToDepth`.

**Why.** A six-dimensional transpose is slow, many accelerators refuse it, and the operator says what happens to image
size and halo.

**Before / After.** `a = Reshape(x, [1, 3, 2, 2, H, W]); b = Transpose(a, [0, 1, 4, 2, 5, 3]);
y = Reshape(b, [1, 3, 2*H, 2*W])` becomes `y = DepthToSpace(x, blocksize=2, mode=CRD)`.

**Preconditions.** The shapes are those of a shuffle with one block size for both axes at every input size, and nothing
else reads what is between. PyTorch's unshuffle puts the channel before the position in the block and `SpaceToDepth`
behind it, so it is recognized for one channel only, where both are the same. The order `CRD` needs opset 11.

**Numerics.** Exact: elements are moved.

**References.** W. Shi et al., *Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
Convolutional Neural Network*, 2016, <https://arxiv.org/abs/1609.05158>; ONNX operators DepthToSpace and SpaceToDepth.",
};

/// Fuses pixel shuffles; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct FusePixelShuffle;

impl Pass for FusePixelShuffle {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let site = Site::of(graph, cx);
        let mut rewrite = Rewrite::of(graph);
        for (id, node) in graph.nodes().filter(|(_, n)| n.is("Transpose")) {
            let perm = node.ints("perm").ok().flatten();
            let order = ORDERS.iter().find(|o| Some(&o.perm[..]) == perm);
            let Some((order, found)) = order.and_then(|o| Some((o, Found::at(&site, id)?))) else {
                continue;
            };
            match found.block(&site, order) {
                Ok(block) => found.write(&mut rewrite, graph, order, block),
                Err(reason) => rewrite.decline(id, reason),
            }
        }
        Ok(rewrite.finish(cx))
    }
}

/// What the six axes mean, in the order in which the first Reshape makes them, and what the transposition computes.
#[derive(Debug)]
struct Order {
    perm: [i64; 6],
    op: &'static str,
    mode: Option<&'static str>,
    /// Where among the six axes the channels, the two axes of a block, and the two of the image are.
    channels: usize,
    blocks: [usize; 2],
    image: [usize; 2],
}

const ORDERS: [Order; 4] = [
    Order {
        perm: [0, 1, 4, 2, 5, 3],
        op: "DepthToSpace",
        mode: Some("CRD"),
        channels: 1,
        blocks: [2, 3],
        image: [4, 5],
    },
    Order {
        perm: [0, 3, 4, 1, 5, 2],
        op: "DepthToSpace",
        mode: Some("DCR"),
        channels: 3,
        blocks: [1, 2],
        image: [4, 5],
    },
    Order {
        perm: [0, 3, 5, 1, 2, 4],
        op: "SpaceToDepth",
        mode: None,
        channels: 1,
        blocks: [3, 5],
        image: [2, 4],
    },
    // PyTorch's unshuffle.
    Order {
        perm: [0, 1, 3, 5, 2, 4],
        op: "SpaceToDepth",
        mode: None,
        channels: 1,
        blocks: [3, 5],
        image: [2, 4],
    },
];

impl Order {
    /// Whether channels come before the position in the block, which `SpaceToDepth` does not do.
    fn is_channel_first_unshuffle(&self) -> bool {
        self.op == "SpaceToDepth" && self.perm[1] == 1
    }
}

/// A transposition between two reshapes.
struct Found<'g> {
    x: &'g str,
    six: &'g str,
    y: &'g str,
    nodes: BTreeSet<NodeId>,
    last: NodeId,
}

impl<'g> Found<'g> {
    fn at(site: &Site<'_, 'g>, id: NodeId) -> Option<Self> {
        let transpose = site.graph.node(id);
        let six = transpose.input_name(0)?;
        let (first_id, first) = site.produced_by(six, "Reshape")?;
        let (last, reshape) = site.reader(transpose.output_name(0)?, "Reshape")?;
        Some(Self {
            x: first.input_name(0)?,
            six,
            y: reshape.output_name(0)?,
            nodes: BTreeSet::from([first_id, id, last]),
            last,
        })
    }

    /// The block size, if all shapes are those of a shuffle.
    fn block(&self, site: &Site<'_, '_>, order: &Order) -> Result<usize, String> {
        let dims = |value: &str| {
            site.dims(value)
                .ok_or_else(|| format!("the shape of `{value}` is not known"))
        };
        let (x, six, y) = (dims(self.x)?, dims(self.six)?, dims(self.y)?);
        let number = |axis: usize| {
            site.extent(self.six, axis)
                .ok_or_else(|| format!("axis {axis} of `{}` depends on the input", self.six))
        };
        let n_channels = number(order.channels)?;
        if order.is_channel_first_unshuffle() && n_channels != 1 {
            return Err(format!(
                "it puts each of {n_channels} channels before the position in the block, SpaceToDepth behind it"
            ));
        }
        let block = number(order.blocks[0])?;
        if block < 2 || number(order.blocks[1])? != block {
            return Err("its blocks are not square".into());
        }
        let (small, large, n_small, n_large) = if order.op == "DepthToSpace" {
            (x, y, n_channels * block * block, n_channels)
        } else {
            (y, x, n_channels * block * block, n_channels)
        };
        let consistent = small.len() == 4
            && large.len() == 4
            && six[0] == x[0]
            && y[0] == x[0]
            && known(&small[1]) == Some(n_small)
            && known(&large[1]) == Some(n_large)
            && order.image.iter().zip([2, 3]).all(|(&axis, image)| {
                six[axis] == small[image] && is_multiple(&large[image], &small[image], block)
            });
        if !consistent {
            return Err("its shapes are not provably those of a pixel shuffle".into());
        }
        if order.mode == Some("CRD") {
            site.check_opset("DepthToSpace in the order CRD", MODE_OPSET)?;
        }
        site.check_closed(&self.nodes, self.last)?;
        Ok(block)
    }

    fn write(&self, rewrite: &mut Rewrite<'_, '_>, graph: &Graph<'_>, order: &Order, block: usize) {
        let output = graph.node(self.last).output[0].as_str();
        let name = rewrite.fresh(output, &format!("_{}", order.op));
        let mut fused = node(order.op, &name, &[self.x], &[output])
            .with_attribute(attribute::int("blocksize", block as i64));
        // Without a mode it is DCR, in every opset.
        if let Some(mode) = order.mode.filter(|&m| m != "DCR") {
            fused = fused.with_attribute(attribute::string("mode", mode));
        }
        rewrite.replace_pattern(&self.nodes, self.last, vec![fused]);
    }
}

fn known(extent: &Extent) -> Option<usize> {
    usize::try_from(extent.known()?).ok()
}

fn is_multiple(large: &Extent, small: &Extent, factor: usize) -> bool {
    i64::try_from(factor)
        .ok()
        .and_then(|f| small.scale(f))
        .is_some_and(|product| product == *large)
}
