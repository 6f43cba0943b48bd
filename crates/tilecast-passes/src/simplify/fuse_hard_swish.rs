//! Decomposed hard swish as one operator.

use std::collections::BTreeSet;

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, NodeId, node};

use super::rewrite::Rewrite;
use super::site::{Site, other_operand, stands_for};
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// The operator came with it.
pub(super) const MIN_OPSET: i64 = 14;
/// Defaults of `HardSigmoid`.
const DEFAULT_ALPHA: f32 = 0.2;
const DEFAULT_BETA: f32 = 0.5;

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "fuse_hard_swish",
    summary: "recognize x * HardSigmoid(x) and x * clip(x + 3, 0, 6) / 6 as HardSwish",
    numerics: Numerics::Reassociates,
    explanation: "\
**What it does.** `x * HardSigmoid(x)` with α = 1/6 and β = 1/2, and `x * clip(x + 3, 0, 6) / 6` with the division
anywhere in the product, become `HardSwish(x)`.

**Why.** One pass over the activation instead of two to four; MobileNet-style networks have one behind most
convolutions.

**Before / After.** `s = HardSigmoid(x, alpha=1/6, beta=0.5); y = Mul(x, s)` becomes `y = HardSwish(x)`.

**Preconditions.** Opset 14, the constants above up to their rounding to float32, and nothing else reads what is between.

**Numerics.** Reassociates: the factor 1/6 is applied in another place.

**References.** A. Howard et al., *Searching for MobileNetV3*, 2019, <https://arxiv.org/abs/1905.02244>, section 5.2.",
};

/// Fuses hard swish; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct FuseHardSwish;

impl Pass for FuseHardSwish {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let site = Site::of(graph, cx);
        let mut rewrite = Rewrite::of(graph);
        for (id, _) in graph.nodes() {
            let Some(found) = find(&site, id) else {
                continue;
            };
            match found.and_then(|f| f.check(&site)) {
                Ok(found) => found.write(&mut rewrite, graph),
                Err(reason) => rewrite.decline(id, reason),
            }
        }
        Ok(rewrite.finish(cx))
    }
}

/// A hard swish of `x` that ends in `last`.
struct Found<'g> {
    x: &'g str,
    nodes: BTreeSet<NodeId>,
    last: NodeId,
}

impl Found<'_> {
    fn check(self, site: &Site<'_, '_>) -> Result<Self, String> {
        site.check_opset("HardSwish", MIN_OPSET)?;
        site.check_closed(&self.nodes, self.last)?;
        Ok(self)
    }

    fn write(&self, rewrite: &mut Rewrite<'_, '_>, graph: &Graph<'_>) {
        let output = &graph.node(self.last).output[0];
        let name = rewrite.fresh(output, "_HardSwish");
        let fused = node("HardSwish", &name, &[self.x], &[output]);
        rewrite.replace_pattern(&self.nodes, self.last, vec![fused]);
    }
}

/// The hard swish that begins at `id`, a `HardSigmoid` or a `Clip`; an error where only its constants differ.
fn find<'g>(site: &Site<'_, 'g>, id: NodeId) -> Option<Result<Found<'g>, String>> {
    let node = site.graph.node(id);
    if node.is("HardSigmoid") {
        from_hard_sigmoid(site, id, node)
    } else if node.is("Clip") {
        from_clip(site, id, node)
    } else {
        None
    }
}

fn from_hard_sigmoid<'g>(
    site: &Site<'_, 'g>,
    id: NodeId,
    node: &'g NodeProto,
) -> Option<Result<Found<'g>, String>> {
    let x = node.input_name(0)?;
    let (last, _) = product_with(site, node.output_name(0)?, x)?;
    let alpha = node.float("alpha").ok()?.unwrap_or(DEFAULT_ALPHA);
    let beta = node.float("beta").ok()?.unwrap_or(DEFAULT_BETA);
    if !stands_for(alpha, 1.0 / 6.0) || !stands_for(beta, 0.5) {
        return Some(Err(format!(
            "its gate is {alpha} * x + {beta}, hard swish has 1/6 * x + 0.5"
        )));
    }
    Some(Ok(Found {
        x,
        nodes: BTreeSet::from([id, last]),
        last,
    }))
}

fn from_clip<'g>(
    site: &Site<'_, 'g>,
    id: NodeId,
    clip: &'g NodeProto,
) -> Option<Result<Found<'g>, String>> {
    let (add_id, add) = site.produced_by(clip.input_name(0)?, "Add")?;
    let (x, offset) = site.with_scalar(add)?;
    let (low, high) = (
        site.scalar(clip.input_name(1)?)?,
        site.scalar(clip.input_name(2)?)?,
    );
    let gate = clip.output_name(0)?;
    let mut nodes = BTreeSet::from([add_id, id]);
    // The sixth is taken of the gate or of the product.
    let (last, factor) = if let Some((scaled_id, scaled, factor)) = scaled(site, gate) {
        let (last, _) = product_with(site, scaled.output_name(0)?, x)?;
        nodes.insert(scaled_id);
        (last, factor)
    } else {
        let (product_id, product) = product_with(site, gate, x)?;
        let (last, _, factor) = scaled(site, product.output_name(0)?)?;
        nodes.insert(product_id);
        (last, factor)
    };
    nodes.insert(last);
    let exact = stands_for(offset, 3.0) && low == 0.0 && stands_for(high, 6.0);
    if !exact || (factor * 6.0 - 1.0).abs() > 1e-6 {
        return Some(Err(format!(
            "it is x * clip(x + {offset}, {low}, {high}) * {factor}, hard swish has 3, 0, 6 and 1/6"
        )));
    }
    Some(Ok(Found { x, nodes, last }))
}

/// The `Mul` of a value and `x`, where nothing else reads the value.
fn product_with<'g>(site: &Site<'_, 'g>, value: &str, x: &str) -> Option<(NodeId, &'g NodeProto)> {
    let product = site
        .graph
        .uses(value)
        .iter()
        .map(|u| (u.node, site.graph.node(u.node)))
        .find(|(_, n)| n.is("Mul") && other_operand(n, value) == Some(x))?;
    Some(product)
}

/// The multiplication of a value by a constant, or its division, and the factor.
fn scaled<'g>(site: &Site<'_, 'g>, value: &str) -> Option<(NodeId, &'g NodeProto, f64)> {
    site.graph.uses(value).iter().find_map(|u| {
        let node = site.graph.node(u.node);
        if node.is("Mul") {
            let factor = site.scalar(other_operand(node, value)?)?;
            Some((u.node, node, f64::from(factor)))
        } else if node.is("Div") && node.input_name(0) == Some(value) {
            let divisor = site.scalar(node.input_name(1)?)?;
            Some((u.node, node, f64::from(divisor).recip()))
        } else {
            None
        }
    })
}
