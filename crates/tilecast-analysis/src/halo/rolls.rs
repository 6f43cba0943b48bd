//! Cyclic shifts of rows or columns, which exporters write as two slices of a value that change places.

use std::collections::{BTreeMap, BTreeSet};

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, NodeId, ShapeMap};

use super::probe::Probes;

/// The cyclic shifts of a graph.
#[derive(Debug)]
pub(crate) struct Rolls<'a> {
    /// Of each `Concat` that joins the two parts: the whole, the axis, and by how much positions move. Position q of the
    /// result is position `q + by` of the whole.
    joins: BTreeMap<usize, (&'a str, usize, i128)>,
    parts: BTreeSet<usize>,
}

impl<'a> Rolls<'a> {
    pub(crate) fn new(graph: &Graph<'a>, probes: &Probes) -> Self {
        let mut rolls = Self {
            joins: BTreeMap::new(),
            parts: BTreeSet::new(),
        };
        for (id, node) in graph.nodes().filter(|(_, node)| node.is("Concat")) {
            if let Some((parts, roll)) = roll(graph, probes, node) {
                rolls.parts.extend(parts.map(|part| part.0));
                rolls.joins.insert(id.0, roll);
            }
        }
        rolls
    }

    /// The shift that a node ends.
    pub(crate) fn of_join(&self, id: NodeId) -> Option<&(&'a str, usize, i128)> {
        self.joins.get(&id.0)
    }

    /// Whether a node makes one of the two parts.
    pub(crate) fn is_part(&self, id: NodeId) -> bool {
        self.parts.contains(&id.0)
    }
}

type Roll<'a> = ([NodeId; 2], (&'a str, usize, i128));

fn roll<'a>(graph: &Graph<'a>, probes: &Probes, node: &'a NodeProto) -> Option<Roll<'a>> {
    let [first, second] = node.input.as_slice() else {
        return None;
    };
    let part = |name: &str| {
        let (id, _) = graph.producer(name)?;
        let slice = graph.node(id);
        (slice.is("Slice") && graph.only_use(name).is_some()).then_some((id, slice))
    };
    let ((first_id, first), (second_id, second)) = (part(first)?, part(second)?);
    let whole = first.input_name(0)?;
    if second.input_name(0) != Some(whole) {
        return None;
    }
    let at = |shapes: &ShapeMap| {
        let (a, b) = (
            bounds(graph, first, shapes)?,
            bounds(graph, second, shapes)?,
        );
        let length = *shapes.shape(whole)?.get(a.axis)? as i128;
        let joined = node.int("axis").ok()??;
        let rank = shapes.shape(whole)?.len() as i64;
        let joined = if joined < 0 { joined + rank } else { joined };
        let fits = a.axis == b.axis && joined == a.axis as i64;
        // From some position to the end, and then what comes before it.
        let turned = a.end == length && b.start == 0 && b.end == a.start;
        (fits && turned).then_some((a.axis, a.start, length))
    };
    let (axis, near, length) = at(&probes.small)?;
    let (other_axis, other_near, other_length) = at(&probes.large)?;
    let by = if near == other_near {
        near
    } else if length - near == other_length - other_near {
        near - length
    } else {
        return None;
    };
    (axis == other_axis).then_some(([first_id, second_id], (whole, axis, by)))
}

struct Bounds {
    axis: usize,
    start: i128,
    end: i128,
}

/// What a slice along a single axis with step 1 takes.
fn bounds(graph: &Graph<'_>, node: &NodeProto, shapes: &ShapeMap) -> Option<Bounds> {
    let dims = shapes.shape(node.input_name(0)?)?;
    let listed = |name: &str, slot: usize| -> Option<Vec<i64>> {
        match node.input_name(slot) {
            None => node.ints(name).ok()?.map(<[i64]>::to_vec),
            Some(value) => match shapes.integers(value) {
                Some(integers) => Some(integers.to_vec()),
                None => graph.constant(value).ok()??.to_i64_vec(),
            },
        }
    };
    let (starts, ends) = (listed("starts", 1)?, listed("ends", 2)?);
    let axes = listed("axes", 3).unwrap_or_else(|| vec![0]);
    let steps = listed("steps", 4).unwrap_or_else(|| vec![1]);
    let ([start], [end], [axis], [1]) = (&starts[..], &ends[..], &axes[..], &steps[..]) else {
        return None;
    };
    let axis = if *axis < 0 {
        axis + dims.len() as i64
    } else {
        *axis
    };
    let axis = usize::try_from(axis).ok()?;
    let length = *dims.get(axis)? as i128;
    let resolve = |bound: i64| {
        let bound = i128::from(bound);
        let from_front = if bound < 0 { bound + length } else { bound };
        from_front.clamp(0, length)
    };
    Some(Bounds {
        axis,
        start: resolve(*start),
        end: resolve(*end),
    })
}
