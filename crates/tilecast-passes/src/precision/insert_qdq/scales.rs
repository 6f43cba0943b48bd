//! Scale and zero point of every activation that gets a pair.

use std::collections::{BTreeMap, HashMap};

use tilecast_onnx::Graph;
use tilecast_quant::{QuantParams, Range, Scale};

use super::absorb::bounds;
use super::sites::{SharedScales, Site};
use crate::Target;

/// Parameters by value name; values that share a scale have the same, which covers the ranges of all of them. A value
/// that was not calibrated has none, nor have those that share its scale.
pub(super) fn parameters(
    graph: &Graph<'_>,
    sites: &[Site],
    ranges: &BTreeMap<String, Range>,
    target: &Target,
) -> BTreeMap<String, QuantParams> {
    let shared = SharedScales::of(graph, sites);
    let values: Vec<&str> = sites.iter().flat_map(|s| s.values(graph)).collect();
    let bounded = |value: &str| Some(within_bounds(graph, value, *ranges.get(value)?));
    let mut hulls: HashMap<usize, Option<Range>> = HashMap::new();
    for value in &values {
        if let Some(set) = shared.set_of(value) {
            let range = bounded(value);
            let hull = hulls.entry(set).or_insert(range);
            *hull = hull
                .zip(range)
                .and_then(|(a, b)| Range::new(a.min().min(b.min()), a.max().max(b.max())).ok());
        }
    }
    let mut parameters = BTreeMap::new();
    for value in values {
        let range = match shared.set_of(value) {
            Some(set) => hulls[&set],
            None => bounded(value),
        };
        if let Some(range) = range {
            let params =
                QuantParams::from_range(range, target.activation_type, target.activation_symmetry);
            parameters.insert(value.to_owned(), no_further(graph, value, params));
        }
    }
    parameters
}

/// What a Clip may give at most, where `value` comes out of one.
fn upper_bound(graph: &Graph<'_>, value: &str) -> Option<f32> {
    let (lower, upper) = bounds(graph, graph.producer_node(value)?)?;
    (lower == 0.0 && upper.is_finite()).then_some(upper)
}

/// No integer is spent on what the activation before the value cuts off anyway: an estimated range may reach further.
fn within_bounds(graph: &Graph<'_>, value: &str, range: Range) -> Range {
    match upper_bound(graph, value) {
        Some(upper) if range.max() > upper => {
            Range::new(range.min().min(upper), upper).unwrap_or(range)
        }
        _ => range,
    }
}

/// The scale one step smaller where the rounding of it lets the largest integer stand for more than a Clip gives: the
/// runtime compares the two before it drops the Clip.
fn no_further(graph: &Graph<'_>, value: &str, params: QuantParams) -> QuantParams {
    let steps = params.quant_type().qmax() - params.zero_point().get();
    let scale = params.scale().get();
    match upper_bound(graph, value) {
        Some(upper) if scale * steps as f32 > upper && upper > scale => {
            let smaller = Scale::new(scale.next_down());
            smaller
                .ok()
                .and_then(|s| QuantParams::new(s, params.zero_point(), params.quant_type()).ok())
                .unwrap_or(params)
        }
        _ => params,
    }
}
