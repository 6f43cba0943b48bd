//! Decomposed GELU as one operator.

use std::collections::BTreeSet;
use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

use tilecast_onnx::{Graph, NodeId, attribute, node};

use super::rewrite::Rewrite;
use super::site::{Site, other_operand, stands_for};
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta};

/// The operator came with it.
pub(super) const MIN_OPSET: i64 = 20;
/// `sqrt(2 / π)`.
const TANH_FACTOR: f64 = 0.797_884_560_802_865_4;
/// Weight of the cubic term.
const CUBIC: f64 = 0.044_715;

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "fuse_gelu",
    summary: "recognize GELU written with Erf or Tanh as Gelu",
    numerics: Numerics::Reassociates,
    explanation: "\
**What it does.** `0.5 * x * (1 + erf(x / √2))` becomes `Gelu(x)`, and
`0.5 * x * (1 + tanh(√(2/π) * (x + 0.044715 * x³)))` becomes `Gelu(x, approximate=\"tanh\")`, with the factors in any
order.

**Why.** One pass over the activation instead of five to eight. It is the activation of most transformers.

**Before / After.** `d = Div(x, 1.4142135); e = Erf(d); a = Add(e, 1); m = Mul(x, a); y = Mul(m, 0.5)` becomes
`y = Gelu(x)`.

**Preconditions.** Opset 20, the constants above up to their rounding to float32, and nothing else reads what is between.

**Numerics.** Reassociates.

**References.** D. Hendrycks, K. Gimpel, *Gaussian Error Linear Units*, 2016, <https://arxiv.org/abs/1606.08415>.",
};

/// Fuses GELU; see the pass's explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct FuseGelu;

impl Pass for FuseGelu {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, cx: &mut PassContext) -> Result<Outcome, PassError> {
        let site = Site::of(graph, cx);
        let mut rewrite = Rewrite::of(graph);
        for (id, node) in graph.nodes() {
            let found = match node.op() {
                "Erf" if node.is("Erf") => inside_erf(&site, id),
                "Tanh" if node.is("Tanh") => inside_tanh(&site, id),
                _ => None,
            };
            let Some(found) = found.and_then(|inside| inside.whole(&site, id)) else {
                continue;
            };
            match found.check(&site) {
                Ok(()) => found.write(&mut rewrite, graph),
                Err(reason) => rewrite.decline(id, reason),
            }
        }
        Ok(rewrite.finish(cx))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Erf,
    Tanh,
}

/// A GELU, or its part up to the `Erf` or `Tanh`.
struct Found<'g> {
    x: &'g str,
    form: Form,
    nodes: BTreeSet<NodeId>,
    last: NodeId,
    /// A constant that is not that of a GELU.
    odd_constant: Option<String>,
}

impl<'g> Found<'g> {
    /// The product `0.5 * x * (1 + f)` around node `id`, which computes `f`.
    fn whole(mut self, site: &Site<'_, 'g>, id: NodeId) -> Option<Self> {
        self.nodes.insert(id);
        let bent = site.graph.node(id).output_name(0)?;
        let (add_id, add) = site.reader(bent, "Add")?;
        let one = site.scalar(other_operand(add, bent)?)?;
        self.expect("summand", one, 1.0);
        self.nodes.insert(add_id);
        let gate = add.output_name(0)?;
        let (first_id, first) = site.reader(gate, "Mul")?;
        let other = other_operand(first, gate)?;
        self.nodes.insert(first_id);
        let (last, factor) = if other == self.x || site.scalar(other).is_some() {
            // (gate * x) * 0.5 or (gate * 0.5) * x
            let product = first.output_name(0)?;
            let (last, node) = site.reader(product, "Mul")?;
            let rest = other_operand(node, product)?;
            match (site.scalar(other), site.scalar(rest)) {
                (None, Some(factor)) => (last, factor),
                (Some(factor), None) if rest == self.x => (last, factor),
                _ => return None,
            }
        } else {
            // gate * (x * 0.5)
            let (half_id, half) = site.produced_by(other, "Mul")?;
            let (x, factor) = site.with_scalar(half).filter(|h| h.0 == self.x)?;
            debug_assert_eq!(x, self.x);
            self.nodes.insert(half_id);
            (first_id, factor)
        };
        self.expect("factor", factor, 0.5);
        self.nodes.insert(last);
        self.last = last;
        Some(self)
    }

    fn expect(&mut self, what: &str, constant: f32, number: f64) {
        if self.odd_constant.is_none() && !stands_for(constant, number) {
            self.odd_constant = Some(format!("a {what} is {constant}, GELU has {number}"));
        }
    }

    fn check(&self, site: &Site<'_, '_>) -> Result<(), String> {
        if let Some(reason) = &self.odd_constant {
            return Err(reason.clone());
        }
        site.check_opset("Gelu", MIN_OPSET)?;
        site.check_closed(&self.nodes, self.last)
    }

    fn write(&self, rewrite: &mut Rewrite<'_, '_>, graph: &Graph<'_>) {
        let output = &graph.node(self.last).output[0];
        let name = rewrite.fresh(output, "_Gelu");
        let mut fused = node("Gelu", &name, &[self.x], &[output]);
        if self.form == Form::Tanh {
            fused = fused.with_attribute(attribute::string("approximate", "tanh"));
        }
        rewrite.replace_pattern(&self.nodes, self.last, vec![fused]);
    }
}

/// `erf(x / √2)`.
fn inside_erf<'g>(site: &Site<'_, 'g>, erf: NodeId) -> Option<Found<'g>> {
    let (id, _) = site.graph.producer(site.graph.node(erf).input_name(0)?)?;
    let node = site.graph.node(id);
    let (x, factor, expected) = if node.is("Div") {
        (
            node.input_name(0)?,
            site.scalar(node.input_name(1)?)?,
            SQRT_2,
        )
    } else if node.is("Mul") {
        let (x, factor) = site.with_scalar(node)?;
        (x, factor, FRAC_1_SQRT_2)
    } else {
        return None;
    };
    let mut found = Found {
        x,
        form: Form::Erf,
        nodes: BTreeSet::from([id]),
        last: erf,
        odd_constant: None,
    };
    found.expect("constant beside Erf", factor, expected);
    Some(found)
}

/// `tanh(√(2/π) * (x + 0.044715 * x³))`.
fn inside_tanh<'g>(site: &Site<'_, 'g>, tanh: NodeId) -> Option<Found<'g>> {
    let (outer_id, outer) = site.produced_by(site.graph.node(tanh).input_name(0)?, "Mul")?;
    let (sum, factor) = site.with_scalar(outer)?;
    let (sum_id, sum) = site.produced_by(sum, "Add")?;
    let (a, b) = (sum.input_name(0)?, sum.input_name(1)?);
    let ((scaled_id, cube, weight), x) = [(a, b), (b, a)].into_iter().find_map(|(term, x)| {
        let (id, node) = site.produced_by(term, "Mul")?;
        let (cube, weight) = site.with_scalar(node)?;
        Some(((id, cube, weight), x))
    })?;
    let mut nodes = BTreeSet::from([outer_id, sum_id, scaled_id]);
    nodes.extend(cube_of(site, cube, x)?);
    let mut found = Found {
        x,
        form: Form::Tanh,
        nodes,
        last: tanh,
        odd_constant: None,
    };
    found.expect("factor beside Tanh", factor, TANH_FACTOR);
    found.expect("cubic weight", weight, CUBIC);
    Some(found)
}

/// The nodes that compute `cube = x³`.
fn cube_of(site: &Site<'_, '_>, cube: &str, x: &str) -> Option<Vec<NodeId>> {
    if let Some((id, power)) = site.produced_by(cube, "Pow") {
        let exponent = site.scalar(power.input_name(1)?)?;
        let is_cube = power.input_name(0) == Some(x) && stands_for(exponent, 3.0);
        return is_cube.then(|| vec![id]);
    }
    let (id, product) = site.produced_by(cube, "Mul")?;
    let square = other_operand(product, x)?;
    let (square_id, square) = site.produced_by(square, "Mul")?;
    let is_square = square.input_name(0) == Some(x) && square.input_name(1) == Some(x);
    is_square.then(|| vec![id, square_id])
}
