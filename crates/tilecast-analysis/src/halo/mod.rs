//! Halo, alignment period, scale and class of a graph.
//!
//! # How
//! 1. Shapes are inferred at two image sizes ([`probe`]): an axis whose extent follows the image holds rows or columns.
//! 2. One walk in graph order ([`trace`]) gives every value that carries pixels its axes and its stride relative to the
//!    image, and every node a map of positions ([`axis_map`]). The alignment period is the least common multiple of the
//!    strides: an origin that is a multiple of it is a whole position in every tensor.
//! 3. The interval of output positions of an aligned block is pulled back, node by node against graph order, to the
//!    interval of image pixels it needs; where a value is used twice, to the hull of both.
//!
//! # Why one block is enough
//! Each position map treats the two ends of an interval independently, and so does the hull. Hence the halo on the left
//! depends on where the block begins and not on where it ends, and the other way round: the block's size does not
//! matter. Each map also commutes with a shift by one period, so neither does its position, as long as both are
//! multiples of the alignment period. Intervals are not clipped, so the block at the origin stands for all of them.
//!
//! # What is left out
//! A statistic over the whole image (a pooling, a normalization over positions) reads every pixel. It is listed in
//! [`TilingAnalysis::global_nodes`] and asks for no halo: no halo could serve it. What it feeds has no pixels of its own
//! and asks for none either.

pub(crate) mod axis_map;
pub(crate) mod error;
pub(crate) mod layout;
mod operators;
mod padding;
pub(crate) mod period;
mod position_tensors;
pub(crate) mod probe;
pub(crate) mod ratio;
mod rolls;
pub(crate) mod trace;

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;
use tilecast_onnx::{Graph, Model};

pub use error::{AnalyzeError, AnalyzeErrorKind};
pub use padding::PadFill;

use axis_map::Interval;
use period::{MAX_PERIOD_PX, period_bound};
use probe::{Probes, image_inputs};
use ratio::{Ratio, lcm};
use trace::{Trace, trace};

/// How many multiples of a candidate period are tried before a graph counts as dependent on the absolute size.
const MAX_PERIOD_MULTIPLE: usize = 64;

/// What a tiler must know of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct TilingAnalysis {
    /// Image pixels that an aligned block of output needs beyond itself, the most of the four sides, rounded up to a
    /// multiple of `alignment_px`: the local part of the graph. `None` where an operator reads pixels from anywhere.
    pub halo_px: Option<usize>,
    /// The same for each side, before rounding.
    pub reach: Option<Reach>,
    /// Tile origins and sizes must be multiples of this many pixels.
    pub alignment_px: usize,
    /// Output pixels per input pixel.
    pub scale: Scale,
    /// Whether tiles can equal the whole image, and what it takes.
    pub tiling_class: TilingClass,
    /// Paths of the nodes that see more than a neighbourhood, in graph order.
    pub global_nodes: Vec<String>,
    /// With what the graph itself fills the image right and bottom up to the alignment; `None` where it does not.
    pub pads_itself: Option<PadFill>,
    /// Height and width that the model declares for its image input, where both are fixed: an engine that honours the
    /// declaration accepts no other tile.
    pub declared_size: Option<[usize; 2]>,
}

/// Image pixels that an aligned block of output needs beyond its own, on each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the left.
    pub left: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Reach {
    /// The largest of the four.
    #[must_use]
    pub fn max(self) -> usize {
        self.top.max(self.bottom).max(self.left).max(self.right)
    }
}

/// Output pixels per input pixel, a fraction in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Output pixels …
    pub numerator: usize,
    /// … for this many input pixels.
    pub denominator: usize,
}

impl Scale {
    /// The factor, where it is a whole number.
    #[must_use]
    pub fn as_integer(self) -> Option<usize> {
        (self.denominator == 1).then_some(self.numerator)
    }

    /// The factor as a float.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_integer() {
            Some(factor) => write!(f, "{factor}"),
            None => write!(f, "{}/{}", self.numerator, self.denominator),
        }
    }
}

/// Whether tiles can equal the whole image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum TilingClass {
    /// With a halo.
    A,
    /// With a halo and an aligned grid.
    B,
    /// Only if statistics of the whole image are shared among tiles; approximately otherwise.
    C,
    /// Not: the result depends on absolute position, size or order.
    D,
    /// Not: the result depends on pixels at distances that the data decides, or on chance.
    E,
}

impl TilingClass {
    /// Whether halo and alignment alone make tiles equal to the whole image.
    #[must_use]
    pub fn is_exact(self) -> bool {
        matches!(self, Self::A | Self::B)
    }
}

impl fmt::Display for TilingClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Derives what a tiler must know from the graph.
///
/// Image inputs are those with four axes, [N, C, height, width]; all of them are taken to have the same size.
///
/// # Errors
/// An operator whose effect on pixels is not known lies between input and output, or part of the graph depends on the
/// absolute size of the image; with the node's path.
pub fn analyze(model: &Model) -> Result<TilingAnalysis, AnalyzeError> {
    Ok(Derivation::new(model)?.analysis(model))
}

/// What the analysis rests on: rules of the lint look at it, too.
#[derive(Debug)]
pub(crate) struct Derivation<'a> {
    pub(crate) probes: Probes,
    pub(crate) trace: Trace<'a>,
    scale: Scale,
    alignment_px: usize,
}

impl<'a> Derivation<'a> {
    pub(crate) fn new(model: &'a Model) -> Result<Self, AnalyzeError> {
        let graph = model.graph();
        let graph_name = || {
            format!(
                "graph `{}`",
                model.graph_proto().name.as_deref().unwrap_or_default()
            )
        };
        if image_inputs(&graph).next().is_none() {
            return Err(AnalyzeError::unsupported(
                graph_name(),
                "no input has four axes [N, C, height, width] or [N, height, width, C], so there is no image to tile",
            ));
        }
        // From a multiple of the period to the strides; from those up to the smallest multiple that the graph's own
        // padding agrees with.
        let (_, _, found) = first_regular(&graph, model.opset(), period_bound(&graph)?)?;
        let strides = stride_period(&found).ok_or_else(|| {
            AnalyzeError::unsupported(graph_name(), "its strides have no common multiple in reach")
        })?;
        let (alignment_px, probes, trace) = first_regular(&graph, model.opset(), strides)?;
        let scale = output_scale(&graph, &trace, &probes)?;
        Ok(Self {
            probes,
            trace,
            scale,
            alignment_px,
        })
    }

    pub(crate) fn analysis(&self, model: &Model) -> TilingAnalysis {
        let graph = model.graph();
        let Self {
            probes,
            trace,
            scale,
            alignment_px,
        } = self;
        let (scale, alignment_px) = (*scale, *alignment_px);
        let class = trace.global.iter().map(|&(_, class)| class).max();
        let local_class = if alignment_px > 1 {
            TilingClass::B
        } else {
            TilingClass::A
        };
        let tiling_class = class.unwrap_or(local_class);
        let reach = (tiling_class <= TilingClass::C)
            .then(|| block_reach(&graph, trace, scale, alignment_px));
        let mut global: Vec<_> = trace.global.iter().map(|&(id, _)| id).collect();
        global.sort_by_key(|id| id.0);
        global.dedup();
        TilingAnalysis {
            halo_px: reach.map(|r| r.max().next_multiple_of(alignment_px)),
            reach,
            alignment_px,
            scale,
            tiling_class,
            global_nodes: global.into_iter().map(|id| graph.path(id)).collect(),
            pads_itself: padding::pads_itself(&graph, trace, probes, scale, alignment_px),
            declared_size: declared_size(&graph),
        }
    }
}

/// Shapes at multiples of the first multiple of `unit_px` at which the graph is regular: every value grows as its stride
/// says.
pub(crate) fn first_regular<'a>(
    graph: &Graph<'a>,
    opset: i64,
    unit_px: usize,
) -> Result<(usize, Probes, Trace<'a>), AnalyzeError> {
    // Of the attempts that fail, the one that comes farthest has the reason that no period would cure.
    let mut farthest: Option<AnalyzeError> = None;
    for period_px in (1..=MAX_PERIOD_MULTIPLE).map(|n| n * unit_px) {
        let attempt = Probes::new(graph, period_px)
            .and_then(|probes| trace(graph, opset, &probes).map(|trace| (probes, trace)));
        match attempt {
            Ok((probes, trace)) => return Ok((period_px, probes, trace)),
            Err(error) if error.kind() != AnalyzeErrorKind::SizeDependent => return Err(error),
            Err(error) => {
                let place = |e: &AnalyzeError| e.node().map(|node| node.0);
                if farthest.as_ref().is_none_or(|f| place(f) < place(&error)) {
                    farthest = Some(error);
                }
            }
        }
        if period_px as u64 >= MAX_PERIOD_PX {
            break;
        }
    }
    Err(farthest.unwrap_or_else(|| {
        AnalyzeError::unsupported(
            "graph",
            format!("its period is longer than {MAX_PERIOD_PX} pixels"),
        )
    }))
}

/// Least common multiple of the strides and windows of all values that carry pixels.
fn stride_period(trace: &Trace<'_>) -> Option<usize> {
    let mut period = 1;
    for layout in trace.layouts.values() {
        for side in 0..2 {
            let Some(stride) = layout.stride[side] else {
                continue;
            };
            // The leading digit counts windows, and a window is not cut.
            let leading = layout.digits(side).filter(|(_, d)| d.is_leading());
            for unit in leading.map(|(_, d)| d.unit).chain([1]) {
                let step = Ratio::new(unit, 1)?.times(stride)?;
                period = lcm(period, step.numerator()).filter(|&p| p <= MAX_PERIOD_PX)?;
            }
        }
    }
    usize::try_from(period).ok()
}

/// Rows and columns of a value that is an image: their axes, and image pixels per position.
#[derive(Clone, Copy, Debug)]
struct Grid {
    axes: [usize; 2],
    stride: [Ratio; 2],
}

fn grid(trace: &Trace<'_>, name: &str) -> Option<Grid> {
    let layout = trace.layouts.get(name)?;
    Some(Grid {
        axes: layout.grid_axes()?,
        stride: [layout.stride[0]?, layout.stride[1]?],
    })
}

/// Outputs that carry pixels, in the graph's order.
fn image_outputs<'a>(graph: &Graph<'a>, trace: &Trace<'_>) -> Vec<(&'a str, Grid)> {
    let names = graph
        .proto()
        .output
        .iter()
        .filter_map(|v| v.name.as_deref());
    names
        .filter_map(|name| Some((name, grid(trace, name)?)))
        .collect()
}

/// The scale that all image outputs share, exactly.
fn output_scale(
    graph: &Graph<'_>,
    trace: &Trace<'_>,
    probes: &Probes,
) -> Result<Scale, AnalyzeError> {
    let outputs = image_outputs(graph, trace);
    let fail = |name: &str, reason: &str| {
        Err(AnalyzeError::unsupported(
            format!("output `{name}`"),
            reason,
        ))
    };
    let Some(&(_, first)) = outputs.first() else {
        let name = graph.proto().name.as_deref().unwrap_or_default();
        return Err(AnalyzeError::unsupported(
            format!("graph `{name}`"),
            "no output is an image; there is nothing to put tiles together to",
        ));
    };
    let stride = first.stride[0];
    for (name, grid) in outputs {
        if grid.stride != [stride; 2] {
            return fail(
                name,
                "its height and width, or those of another output, have a different scale",
            );
        }
        let shape = probes.small.shape(name).unwrap_or_default();
        let exact = |side: usize| {
            let have = shape
                .get(grid.axes[side])
                .map(|&n| n as u128 * u128::from(stride.numerator()));
            have == Some(probes.small_px[side] as u128 * u128::from(stride.denominator()))
        };
        if !exact(0) || !exact(1) {
            return fail(
                name,
                "it is not the image's size times its scale: the graph crops or extends the image, which tiles cannot follow",
            );
        }
    }
    Ok(Scale {
        numerator: stride.denominator() as usize,
        denominator: stride.numerator() as usize,
    })
}

/// What the aligned block of one period at the origin needs beyond itself.
fn block_reach(graph: &Graph<'_>, trace: &Trace<'_>, scale: Scale, block_px: usize) -> Reach {
    let needed = needed_by_block(graph, trace, scale, block_px);
    let beyond = |interval: Interval| {
        let before = -interval.first;
        let after = interval.last - (block_px as i128 - 1);
        [before, after].map(|px| usize::try_from(px).unwrap_or(0))
    };
    let [top, bottom] = beyond(needed[0]);
    let [left, right] = beyond(needed[1]);
    Reach {
        top,
        bottom,
        left,
        right,
    }
}

/// Rows and columns of the image that a block of output at the origin needs.
pub(crate) fn needed_by_block(
    graph: &Graph<'_>,
    trace: &Trace<'_>,
    scale: Scale,
    block_px: usize,
) -> [Interval; 2] {
    let block = Interval {
        first: 0,
        last: (block_px * scale.numerator / scale.denominator) as i128 - 1,
    };
    // None along a side that a value has no position on.
    let mut wanted: HashMap<&str, [Option<Interval>; 2]> = image_outputs(graph, trace)
        .into_iter()
        .map(|(name, _)| (name, [Some(block); 2]))
        .collect();
    for step in trace.steps.iter().rev() {
        let demand = step
            .node
            .output
            .iter()
            .filter_map(|name| wanted.get(name.as_str()).copied())
            .reduce(hull);
        let Some(demand) = demand else { continue };
        for (name, paths) in &step.inputs {
            let pulled = [0, 1].map(|side| Some(paths[side].as_ref()?.pull(demand[side]?)));
            wanted
                .entry(name)
                .and_modify(|other| *other = hull(*other, pulled))
                .or_insert(pulled);
        }
    }
    // An output that needs no pixel of an input (a constant image) needs no halo either.
    let own = Interval {
        first: 0,
        last: block_px as i128 - 1,
    };
    let needed = image_inputs(graph)
        .filter_map(|(name, _)| wanted.get(name).copied())
        .fold([Some(own); 2], hull);
    needed.map(|interval| interval.unwrap_or(own))
}

fn hull(a: [Option<Interval>; 2], b: [Option<Interval>; 2]) -> [Option<Interval>; 2] {
    [0, 1].map(|side| match (a[side], b[side]) {
        (Some(a), Some(b)) => Some(a.hull(b)),
        (a, b) => a.or(b),
    })
}

pub(crate) fn declared_size(graph: &Graph<'_>) -> Option<[usize; 2]> {
    image_inputs(graph).find_map(|(_, axes)| {
        let [height, width] = axes.size;
        Some([height?, width?])
    })
}
