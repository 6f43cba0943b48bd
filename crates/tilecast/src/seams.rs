//! How visible the lines between tiles are in what a model gives.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use tilecast_exec::HostTensor;
use tilecast_metrics::{OverlapDisagreement, PlanarShape, overlap_disagreement, seam_gradient};
use tilecast_tile::{PlanarImage, Rect, Size, Tile, TileObserver, TilePlan, ValueRange};

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
    /// How far neighbouring tiles disagree beside their lines, over all pairs; null where nothing is finite.
    pub overlap: Option<LineDisagreement>,
    /// The same for the reference.
    pub reference_overlap: Option<LineDisagreement>,
}

/// What neighbouring tiles give for the same pixels beside the line between them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct LineDisagreement {
    /// Pairs of neighbours.
    pub pairs: usize,
    /// Mean over pairs of the step in brightness, without its sign, as a share of the range.
    pub mean_dc_step: f64,
    /// The pair with the largest step in brightness.
    #[serde(flatten)]
    pub worst: OverlapDisagreement,
}

/// The lines of all images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SeamSummary {
    /// Mean of the images' ratios.
    pub mean_ratio: f64,
    /// The largest of them.
    pub max_ratio: f64,
    /// Largest step in brightness from one tile to the next over all pairs, as a share of the range; null where no pair was
    /// compared.
    pub max_dc_step: Option<f64>,
}

impl SeamSummary {
    /// Over the images that have lines; `None` where none has a ratio.
    pub(crate) fn of<'a>(images: impl Iterator<Item = &'a Seams> + Clone) -> Option<Self> {
        let ratios: Vec<f64> = images.clone().filter_map(|seams| seams.ratio).collect();
        let steps = images.filter_map(|seams| Some(seams.overlap?.worst.dc_step.abs()));
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

/// Watches a run for what neighbouring tiles give for the same pixels beside the line between them. Holds narrow strips, and
/// each only until its other tile is seen.
#[derive(Debug)]
pub(crate) struct LineWatch<'a> {
    plan: &'a TilePlan,
    range: ValueRange,
    /// What the first of a pair gave, by the two tiles.
    open: BTreeMap<[usize; 2], Vec<f32>>,
    /// How far pairs are apart.
    pairs: BTreeMap<[usize; 2], OverlapDisagreement>,
}

impl<'a> LineWatch<'a> {
    pub(crate) fn new(plan: &'a TilePlan, range: ValueRange) -> Self {
        Self {
            plan,
            range,
            open: BTreeMap::new(),
            pairs: BTreeMap::new(),
        }
    }

    /// What was seen; `None` where there was no pair, or none of finite values.
    pub(crate) fn finish(self) -> Option<LineDisagreement> {
        let worst = self.pairs.values().copied().reduce(|worst, pair| {
            if pair.dc_step.abs() > worst.dc_step.abs() {
                pair
            } else {
                worst
            }
        })?;
        let steps = self.pairs.values().map(|pair| pair.dc_step.abs());
        Some(LineDisagreement {
            pairs: self.pairs.len(),
            mean_dc_step: steps.sum::<f64>() / self.pairs.len() as f64,
            worst,
        })
    }

    /// The neighbours of a tile, and the pixels of the image beside the line to each: in the order of tiles, so that both ends of
    /// a pair name it alike.
    fn neighbours(&self, index: usize) -> Vec<([usize; 2], Rect)> {
        let plan = self.plan;
        let n_columns = plan.n_columns();
        let (row, column) = (index / n_columns, index % n_columns);
        let mut found = Vec::new();
        let mut add = |pair: [usize; 2], is_side_by_side: bool| {
            let beside = beside_line(plan.tile(pair[0]), plan.tile(pair[1]), is_side_by_side);
            if beside.height > 0 && beside.width > 0 {
                found.push((pair, beside));
            }
        };
        if column > 0 {
            add([index - 1, index], true);
        }
        if column + 1 < n_columns {
            add([index, index + 1], true);
        }
        if row > 0 {
            add([index - n_columns, index], false);
        }
        if row + 1 < plan.n_tile_rows() {
            add([index, index + n_columns], false);
        }
        found
    }

    /// The part of a tile's output that lies on these pixels of the image.
    fn strip(&self, tile: &Tile, output: &HostTensor, part: Rect) -> Vec<f32> {
        let scale = self.plan.request().scale;
        let [_, channels, height, width] = *output.dims() else {
            return Vec::new();
        };
        let (top, left) = (part.top - tile.input.top, part.left - tile.input.left);
        let mut strip = Vec::new();
        for channel in 0..channels {
            for y in top * scale..(top + part.height) * scale {
                let row = (channel * height + y) * width;
                let values = &output.data()[row + left * scale..row + (left + part.width) * scale];
                strip.extend(values.iter().map(|v| self.range.to_image(*v)));
            }
        }
        strip
    }
}

impl TileObserver for LineWatch<'_> {
    fn begin(&mut self) {
        self.open.clear();
        self.pairs.clear();
    }

    fn tile(&mut self, index: usize, tile: &Tile, output: &HostTensor) {
        for (pair, beside) in self.neighbours(index) {
            let strip = self.strip(tile, output, beside);
            let Some(other) = self.open.remove(&pair) else {
                self.open.insert(pair, strip);
                continue;
            };
            let (first, second) = if pair[0] == index {
                (strip, other)
            } else {
                (other, strip)
            };
            if let Some(apart) = overlap_disagreement(&first, &second) {
                self.pairs.insert(pair, apart);
            }
        }
    }
}

/// The pixels near the line between two neighbours that both are fed, along the part of the line where both have their cores.
fn beside_line(first: Tile, second: Tile, is_side_by_side: bool) -> Rect {
    let near = |line: usize, from: usize, to: usize| {
        let start = line.saturating_sub(BESIDE_LINE_PX).max(from);
        let end = (line + BESIDE_LINE_PX).min(to);
        (start, end.saturating_sub(start))
    };
    let Rect {
        mut top,
        mut left,
        mut height,
        mut width,
    } = first.core;
    if is_side_by_side {
        // The last column is slid back: its core begins where the one before ends.
        let to = first.input.right().min(second.core.right());
        (left, width) = near(second.core.left, second.input.left, to);
    } else {
        let to = first.input.bottom().min(second.core.bottom());
        (top, height) = near(second.core.top, second.input.top, to);
    }
    Rect {
        top,
        left,
        height,
        width,
    }
}

#[cfg(test)]
mod tests {
    use tilecast_tile::{Fill, TileRequest, UnalignedSizes};

    use super::*;

    fn plan(height: usize, width: usize) -> TilePlan {
        TilePlan::new(&TileRequest {
            image_px: Size { height, width },
            tile_px: Some(64),
            halo_px: Some(8),
            alignment_px: 8,
            scale: 2,
            fill: Fill::Zero,
            unaligned: UnalignedSizes::Accepted,
        })
        .unwrap()
    }

    /// Tiles of one plane, each of one value, seen in this order.
    fn watch(
        plan: &TilePlan,
        order: &[usize],
        value: impl Fn(usize) -> f32,
    ) -> Option<LineDisagreement> {
        let mut watch = LineWatch::new(plan, ValueRange::UNIT);
        watch.begin();
        for &index in order {
            let Size { height, width } = plan.tile_size();
            let dims = vec![1, 1, 2 * height, 2 * width];
            let output = HostTensor::new(dims, vec![value(index); 4 * height * width]);
            watch.tile(index, &plan.tile(index), &output);
        }
        assert!(watch.open.is_empty(), "strips that nobody waits for");
        watch.finish()
    }

    #[test]
    fn a_tile_brighter_than_its_neighbours_is_a_step_to_each_of_them() {
        // Three columns, two rows, sizes that are no multiples of the core: seven pairs.
        let plan = plan(97, 130);
        assert_eq!((plan.n_tile_rows(), plan.n_columns()), (2, 3));
        for order in [[0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 4, 2]] {
            let found = watch(&plan, &order, |index| if index == 4 { 0.75 } else { 0.25 }).unwrap();
            assert_eq!(found.pairs, 7);
            assert_eq!(
                (found.worst.mean, found.worst.max, found.worst.dc_step.abs()),
                (0.5, 0.5, 0.5)
            );
            // Tile 4 has three neighbours.
            assert!((found.mean_dc_step - 0.5 * 3.0 / 7.0).abs() < 1e-12);
        }
    }

    #[test]
    fn one_tile_has_no_pair() {
        assert_eq!(watch(&plan(64, 64), &[0], |_| 0.5), None);
    }

    #[test]
    fn both_tiles_of_a_pair_have_what_is_compared() {
        for plan in [plan(97, 130), plan(200, 66), plan(65, 300)] {
            let watch = LineWatch::new(&plan, ValueRange::UNIT);
            for index in 0..plan.n_tiles() {
                for (pair, beside) in watch.neighbours(index) {
                    for input in pair.map(|tile| plan.tile(tile).input) {
                        assert!(beside.top >= input.top && beside.bottom() <= input.bottom());
                        assert!(beside.left >= input.left && beside.right() <= input.right());
                    }
                    let image = plan.request().image_px;
                    assert!(beside.bottom() <= image.height && beside.right() <= image.width);
                }
            }
        }
    }

    #[test]
    fn a_summary_is_of_the_images_with_lines() {
        let seams = |ratio, step| Seams {
            ratio,
            reference_ratio: None,
            whole_ratio: None,
            overlap: Some(LineDisagreement {
                pairs: 1,
                mean_dc_step: step,
                worst: OverlapDisagreement {
                    mean: 0.1,
                    max: 0.2,
                    dc_step: step,
                },
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
