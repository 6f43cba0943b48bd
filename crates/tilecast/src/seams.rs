//! How visible the lines between tiles are in what a model gives.

use schemars::JsonSchema;
use serde::Serialize;
use tilecast_metrics::{OverlapDisagreement, PlanarShape, overlap_disagreement, seam_gradient};
use tilecast_tile::{PlanarImage, Rect, Size, TilePlan};

use crate::pictures::TileLines;

/// Neighbouring tiles are compared so many pixels to both sides of their line, before scaling: near enough for both to have
/// nearly all of their context there.
const BESIDE_LINE_PX: usize = 4;

/// The lines of one image, in tiles.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Seams {
    /// How much steeper the candidate is across tile lines than beside them: 1 where nothing is to be seen. Null where it is
    /// flat there, a line lies at the border, or it is not finite.
    pub ratio: Option<f64>,
    /// The same for the reference, tiled alike.
    pub reference_ratio: Option<f64>,
    /// The same for the reference run whole, in which there are no lines: what the image itself gives there.
    pub whole_ratio: Option<f64>,
    /// How far two neighbouring tiles in the middle disagree beside their line; null where statistics are swept or the
    /// tiles reach beyond the image.
    pub overlap: Option<OverlapDisagreement>,
    /// The same for the reference.
    pub reference_overlap: Option<OverlapDisagreement>,
}

/// The lines of all images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SeamSummary {
    /// Mean of the images' ratios.
    pub mean_ratio: f64,
    /// The largest of them.
    pub max_ratio: f64,
    /// Largest step in brightness from one tile to the next, as a share of the range; null where no pair was compared.
    pub max_dc_step: Option<f64>,
}

impl SeamSummary {
    /// Over the images that have lines; `None` where none has a ratio.
    pub(crate) fn of<'a>(images: impl Iterator<Item = &'a Seams> + Clone) -> Option<Self> {
        let ratios: Vec<f64> = images.clone().filter_map(|seams| seams.ratio).collect();
        let steps = images.filter_map(|seams| Some(seams.overlap?.dc_step.abs()));
        (!ratios.is_empty()).then(|| Self {
            mean_ratio: ratios.iter().sum::<f64>() / ratios.len() as f64,
            max_ratio: ratios.iter().copied().fold(0.0, f64::max),
            max_dc_step: steps.reduce(f64::max),
        })
    }
}

/// What the metrics call the shape of an image.
pub(crate) fn shape_of(image: &PlanarImage) -> PlanarShape {
    let Size { height, width } = image.size();
    PlanarShape {
        channels: image.channels(),
        height,
        width,
    }
}

/// [`Seams::ratio`] of an image.
pub(crate) fn gradient_ratio(image: &PlanarImage, lines: &TileLines) -> Option<f64> {
    seam_gradient(image.data(), shape_of(image), &lines.rows, &lines.columns)?.ratio()
}

/// Two neighbouring tiles, side by side or one above the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinePair {
    /// What each is fed, in pixels of the image.
    pub(crate) inputs: [Rect; 2],
    /// Pixels beside their line, which both give; in pixels of the image.
    beside: Rect,
}

impl LinePair {
    /// The pair in the middle; `None` where there is one tile only, or one of the two reaches beyond the image.
    pub(crate) fn of(plan: &TilePlan) -> Option<Self> {
        let (rows, columns) = (plan.n_tile_rows(), plan.n_columns());
        let at = |row: usize, column: usize| plan.tile(row * columns + column);
        // Tiles at the far borders may be fed padding; those before the middle are not.
        let (row, column) = ((rows - 1) / 2, (columns - 1) / 2);
        let first = at(row, column);
        let (second, side_by_side) = if columns > 1 {
            (at(row, column + 1), true)
        } else if rows > 1 {
            (at(row + 1, column), false)
        } else {
            return None;
        };
        let Size { height, width } = plan.request().image_px;
        let is_inside = |part: &Rect| part.bottom() <= height && part.right() <= width;
        let inputs = [first.input, second.input];
        let near = |line: usize, from: usize, to: usize| {
            let start = line.saturating_sub(BESIDE_LINE_PX).max(from);
            let end = (line + BESIDE_LINE_PX).min(to);
            (start, end.saturating_sub(start))
        };
        let beside = if side_by_side {
            let (left, width) = near(second.core.left, second.input.left, first.input.right());
            Rect {
                top: first.core.top,
                left,
                height: first.core.height,
                width,
            }
        } else {
            let (top, height) = near(second.core.top, second.input.top, first.input.bottom());
            Rect {
                top,
                left: first.core.left,
                height,
                width: first.core.width,
            }
        };
        (inputs.iter().all(is_inside) && beside.height > 0 && beside.width > 0)
            .then_some(Self { inputs, beside })
    }

    /// How far what the two give is apart beside their line; each image is a whole tile's output.
    pub(crate) fn disagreement(
        &self,
        first: &PlanarImage,
        second: &PlanarImage,
        scale: usize,
    ) -> Option<OverlapDisagreement> {
        let part = |image: &PlanarImage, input: Rect| {
            let inside = Rect {
                top: self.beside.top - input.top,
                left: self.beside.left - input.left,
                ..self.beside
            };
            image.crop(inside, scale)
        };
        let first = part(first, self.inputs[0]);
        let second = part(second, self.inputs[1]);
        overlap_disagreement(first.data(), second.data())
    }
}

#[cfg(test)]
mod tests {
    use tilecast_tile::{BitDepth, Fill, TileRequest, UnalignedSizes};

    use super::*;

    fn plan(width: usize) -> TilePlan {
        TilePlan::new(&TileRequest {
            image_px: Size { height: 64, width },
            tile_px: Some(64),
            halo_px: Some(8),
            alignment_px: 8,
            scale: 2,
            fill: Fill::Zero,
            unaligned: UnalignedSizes::Accepted,
        })
        .unwrap()
    }

    fn output(value: f32) -> PlanarImage {
        let size = Size {
            height: 128,
            width: 128,
        };
        PlanarImage::new(1, size, vec![value; 128 * 128], BitDepth::Eight)
    }

    #[test]
    fn a_brighter_neighbour_is_a_step() {
        let pair = LinePair::of(&plan(160)).unwrap();
        assert_eq!(pair.beside.width, 2 * BESIDE_LINE_PX);
        let found = pair.disagreement(&output(0.25), &output(0.75), 2).unwrap();
        assert_eq!((found.mean, found.max, found.dc_step), (0.5, 0.5, 0.5));
    }

    #[test]
    fn one_tile_and_tiles_beyond_the_image_have_no_pair() {
        assert_eq!(LinePair::of(&plan(64)), None);
        assert_eq!(LinePair::of(&plan(66)), None);
    }

    #[test]
    fn a_summary_is_of_the_images_with_lines() {
        let seams = |ratio, step| Seams {
            ratio,
            reference_ratio: None,
            whole_ratio: None,
            overlap: Some(OverlapDisagreement {
                mean: 0.1,
                max: 0.2,
                dc_step: step,
            }),
            reference_overlap: None,
        };
        let images = [
            seams(Some(1.0), -0.5),
            seams(None, 0.1),
            seams(Some(2.0), 0.0),
        ];
        let summary = SeamSummary::of(images.iter()).unwrap();
        assert_eq!((summary.mean_ratio, summary.max_ratio), (1.5, 2.0));
        assert_eq!(summary.max_dc_step, Some(0.5));
        assert_eq!(SeamSummary::of(images[1..2].iter()), None);
    }
}
