//! Whether a graph pads its image to the alignment period by itself, and with what.
//!
//! Seen in the shapes, whatever arithmetic the exporter wrote: a `Pad` that adds nothing to aligned images and adds rows
//! below or columns to the right of others, in a graph whose output has the size of the image all the same.

use tilecast_onnx::Graph;
use tilecast_onnx::proto::NodeProto;

use super::Scale;
use super::probe::{Probes, shapes_at};
use super::trace::Trace;

/// With what a graph fills the image right and bottom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PadFill {
    /// Zeros.
    Zero,
    /// Another constant.
    Constant(f32),
    /// The image mirrored about its last pixel.
    Reflect,
    /// The last pixel repeated.
    Edge,
    /// The image from its first pixel on.
    Wrap,
}

/// The fill, where the graph pads misaligned images by itself.
pub(super) fn pads_itself(
    graph: &Graph<'_>,
    trace: &Trace<'_>,
    probes: &Probes,
    scale: Scale,
    alignment_px: usize,
) -> Option<PadFill> {
    if alignment_px == 1 {
        return None;
    }
    let misaligned_px = probes.small_px.map(|px| px + 1);
    let shapes = shapes_at(graph, misaligned_px).ok()?;
    // Without the matching crop the graph would return more pixels than it was given.
    let crops = graph.proto().output.iter().all(|output| {
        let name = output.name.as_deref().unwrap_or_default();
        let Some(grid) = super::grid(trace, name) else {
            return true;
        };
        shapes.shape(name).is_some_and(|shape| {
            (0..2).all(|side| {
                shape.get(grid.axes[side]).map(|n| n * scale.denominator)
                    == Some(misaligned_px[side] * scale.numerator)
            })
        })
    });
    if !crops {
        return None;
    }
    graph
        .nodes()
        .map(|(_, node)| node)
        .filter(|node| node.is("Pad"))
        .find(|node| {
            let Some(grid) = node.input_name(0).and_then(|n| super::grid(trace, n)) else {
                return false;
            };
            let grown = |shapes: &tilecast_onnx::ShapeMap, axis: usize| {
                let extent = |name: Option<&str>| shapes.shape(name?)?.get(axis).copied();
                Some(extent(node.output_name(0))? > extent(node.input_name(0))?)
            };
            grid.axes.iter().any(|&axis| {
                grown(&shapes, axis) == Some(true) && grown(&probes.small, axis) == Some(false)
            })
        })
        .and_then(|node| fill(graph, node))
}

fn fill(graph: &Graph<'_>, node: &NodeProto) -> Option<PadFill> {
    match node.string("mode").ok()?.unwrap_or("constant") {
        "reflect" => Some(PadFill::Reflect),
        "edge" => Some(PadFill::Edge),
        "wrap" => Some(PadFill::Wrap),
        _ => {
            let value = match node.input_name(2) {
                None => node.float("value").ok()?.unwrap_or(0.0),
                Some(name) => *graph.constant(name).ok()??.to_f32_vec()?.first()?,
            };
            Some(if value == 0.0 {
                PadFill::Zero
            } else {
                PadFill::Constant(value)
            })
        }
    }
}
