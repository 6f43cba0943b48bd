//! A first bound of the alignment period, from attributes alone.
//!
//! Shapes can only be inferred at sizes that the graph accepts, and those are multiples of a period that is not known
//! yet. The bound breaks the circle: multiply the strides along every path, divide by upscaling where an attribute or a
//! constant tells it. It is usually a multiple of the true period; where it is not (a resize to computed sizes), the
//! search in [`super::analyze`] goes on from it.

use std::collections::HashMap;

use tilecast_onnx::Graph;
use tilecast_onnx::proto::NodeProto;

use super::error::AnalyzeError;
use super::ratio::{Ratio, gcd, lcm};

/// Periods above this are refused: no tile could hold one.
pub(crate) const MAX_PERIOD_PX: u64 = 4096;

/// A multiple of the alignment period, pixels.
pub(crate) fn period_bound(graph: &Graph<'_>) -> Result<usize, AnalyzeError> {
    let mut strides: HashMap<&str, Ratio> = HashMap::new();
    let mut bound = 1;
    for (id, node) in graph.nodes() {
        let too_large = || {
            AnalyzeError::unsupported(
                graph.path(id),
                format!("strides up to here multiply to more than {MAX_PERIOD_PX} pixels"),
            )
        };
        let mut joined = Ratio::ONE;
        for name in &node.input {
            if let Some(&stride) = strides.get(name.as_str()) {
                joined = join(joined, stride).ok_or_else(too_large)?;
            }
        }
        let stride = joined.times(factor(graph, node)).ok_or_else(too_large)?;
        bound = lcm(bound, stride.numerator())
            .filter(|&b| b <= MAX_PERIOD_PX)
            .ok_or_else(too_large)?;
        if stride != Ratio::ONE {
            strides.extend(node.output.iter().map(|name| (name.as_str(), stride)));
        }
    }
    // At most MAX_PERIOD_PX.
    Ok(bound as usize)
}

/// A stride that is a multiple of both.
fn join(a: Ratio, b: Ratio) -> Option<Ratio> {
    Ratio::new(
        lcm(a.numerator(), b.numerator())?,
        gcd(a.denominator(), b.denominator()),
    )
}

/// Input positions per output position of one node, over both axes; 1 where only shapes could tell.
fn factor(graph: &Graph<'_>, node: &NodeProto) -> Ratio {
    let listed = |name: &str| -> Vec<u64> {
        let list = node.ints(name).ok().flatten().unwrap_or(&[]);
        list.iter().filter_map(|&v| u64::try_from(v).ok()).collect()
    };
    let block = || {
        let block = node.int("blocksize").ok().flatten().unwrap_or(1);
        u64::try_from(block).unwrap_or(1).max(1)
    };
    let down = |strides: Vec<u64>| {
        let common = strides.into_iter().try_fold(1, |a, b| lcm(a, b.max(1)));
        // An overflow shows itself as a period that is too large.
        Ratio::new(common.unwrap_or(u64::MAX), 1)
    };
    let up = |strides: Vec<u64>| Ratio::new(1, strides.into_iter().fold(0, gcd));
    match node.op() {
        "Conv" | "ConvInteger" | "QLinearConv" | "MaxPool" | "AveragePool" | "LpPool" => {
            down(listed("strides"))
        }
        "SpaceToDepth" => down(vec![block()]),
        "DepthToSpace" => up(vec![block()]),
        "ConvTranspose" => up(listed("strides")),
        "Slice" => {
            let steps = node.input_name(4).and_then(|s| graph.constant(s).ok()?);
            let steps = steps.and_then(|t| t.to_i64_vec()).unwrap_or_default();
            down(steps.into_iter().map(i64::unsigned_abs).collect())
        }
        "Resize" | "Upsample" => resized(graph, node),
        _ => None,
    }
    .unwrap_or(Ratio::ONE)
}

/// The factor of a resize by constant scales that are whole numbers or their reciprocals.
fn resized(graph: &Graph<'_>, node: &NodeProto) -> Option<Ratio> {
    let slot = if node.input.len() <= 2 { 1 } else { 2 };
    let scales = match node.floats("scales").ok()? {
        Some(scales) => scales.to_vec(),
        None => graph.constant(node.input_name(slot)?).ok()??.to_f32_vec()?,
    };
    let mut joined: Option<Ratio> = None;
    for &scale in &scales {
        let whole = |v: f32| (v.fract() == 0.0 && (1.0..4096.0).contains(&v)).then_some(v as u64);
        let ratio = match (whole(scale), whole(1.0 / scale)) {
            (Some(up), _) => Ratio::new(1, up)?,
            (_, Some(down)) => Ratio::new(down, 1)?,
            _ => return None,
        };
        if ratio == Ratio::ONE {
            continue;
        }
        joined = Some(match joined {
            None => ratio,
            Some(other) => join(other, ratio)?,
        });
    }
    joined
}
