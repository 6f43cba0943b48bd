//! Shapes at two image sizes: which extents follow the image, and by how much.
//!
//! An axis that carries image rows or columns is one whose extent changes with the image. That holds in every layout,
//! for every exporter, and is all that is needed to tell channels from positions.

use tilecast_onnx::{Graph, ImageAxes, ShapeMap, infer_shapes};

use super::error::AnalyzeError;

/// Probe images have at least this many pixels on each side: more than the padding, cropping and receptive field of any
/// network in sight. Shapes cost nothing to compute.
const MIN_PROBE_PX: usize = 2048;

/// The same for graphs that refuse images of that size: tables of all pairs of positions exceed what shapes may hold.
const MIN_SMALL_PROBE_PX: usize = 512;

/// Channels of an image input that does not say how many it has.
const DEFAULT_CHANNELS: usize = 3;

/// Height and width of an image, pixels.
pub(crate) type Size = [usize; 2];

/// Shapes of all values at two image sizes, both multiples of one period on both axes.
#[derive(Debug)]
pub(crate) struct Probes {
    pub(crate) small: ShapeMap,
    pub(crate) large: ShapeMap,
    pub(crate) small_px: Size,
    /// By how much the large image is larger, per axis.
    pub(crate) growth_px: usize,
}

impl Probes {
    /// Infers the shapes for images whose sides are multiples of `period_px`. The two heights are consecutive multiples,
    /// and so are the two widths: anything with a longer period shows itself.
    pub(crate) fn new(graph: &Graph<'_>, period_px: usize) -> Result<Self, AnalyzeError> {
        Self::of_at_least(MIN_PROBE_PX, graph, period_px)
            .or_else(|_| Self::of_at_least(MIN_SMALL_PROBE_PX, graph, period_px))
    }

    fn of_at_least(
        side_px: usize,
        graph: &Graph<'_>,
        period_px: usize,
    ) -> Result<Self, AnalyzeError> {
        let n = side_px.div_ceil(period_px);
        // Heights and widths differ, so that a value that swaps them is noticed.
        let small_px = [n * period_px, (n + 2) * period_px];
        let large_px = small_px.map(|px| px + period_px);
        Ok(Self {
            small: shapes_at(graph, small_px)?,
            large: shapes_at(graph, large_px)?,
            small_px,
            growth_px: period_px,
        })
    }

    /// Axes of a value whose extents follow the image; `None` where its shape is not known.
    pub(crate) fn varying_axes(&self, value: &str) -> Option<Vec<usize>> {
        let (small, large) = (self.small.shape(value)?, self.large.shape(value)?);
        if small.len() != large.len() {
            return None;
        }
        Some((0..small.len()).filter(|&a| small[a] != large[a]).collect())
    }

    /// Dimensions of a value for both images; `None` where they are not known.
    pub(crate) fn extents(&self, value: &str) -> Option<Vec<[usize; 2]>> {
        let (small, large) = (self.small.shape(value)?, self.large.shape(value)?);
        let same_rank = small.len() == large.len();
        same_rank.then(|| small.iter().zip(large).map(|(&s, &l)| [s, l]).collect())
    }

    /// Integers that are the same at both sizes.
    pub(crate) fn constant_integers(&self, value: &str) -> Option<&[i64]> {
        let integers = self.small.integers(value)?;
        (self.large.integers(value) == Some(integers)).then_some(integers)
    }
}

/// Shapes of all values for an image of this size.
pub(crate) fn shapes_at(graph: &Graph<'_>, size: Size) -> Result<ShapeMap, AnalyzeError> {
    let inputs: Vec<(&str, Vec<usize>)> = image_inputs(graph)
        .map(|(name, axes)| {
            let channels = axes.channels.unwrap_or(DEFAULT_CHANNELS);
            (name, axes.dims(channels, size).to_vec())
        })
        .collect();
    infer_shapes(graph, &inputs).map_err(|e| AnalyzeError::of_shapes(&e, size[0], size[1]))
}

/// Graph inputs that take an image, and their axes: those with four, and more than a single pixel.
pub(crate) fn image_inputs<'a>(
    graph: &Graph<'a>,
) -> impl Iterator<Item = (&'a str, ImageAxes)> + use<'a> {
    let images: Vec<(&str, ImageAxes)> = graph
        .inputs()
        .filter_map(|input| {
            let axes = ImageAxes::of(input).filter(|axes| axes.size != [Some(1); 2])?;
            Some((input.name.as_deref().unwrap_or_default(), axes))
        })
        .collect();
    images.into_iter()
}
