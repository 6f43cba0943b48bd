//! `run --mode measured`: the least context of tiles with which an image comes out as it does with more.
//!
//! On three places along a diagonal of the image, a block of pixels is run with as much context as the graph asks for, and
//! with less and less of it. The least context whose results differ by no more than the tolerance is taken for all tiles.
//! It is a measurement on this image, not a bound: what is far away counts as little as it does there.

use serde::Serialize;
use tilecast_tile::{BitDepth, PlanarImage, Rect, RowSource, RunControl, Size, TiledRunner};

use crate::context::Context;
use crate::geometry::Geometry;
use crate::{Failure, FailureKind};

/// Side of the blocks that are compared, pixels, before it is aligned.
const BLOCK_PX: usize = 64;

/// Context of the reference where the graph has no bound, pixels, before it is aligned.
const UNBOUNDED_CONTEXT_PX: usize = 192;

/// Half of the band in which tiles fade into each other, pixels, before it is aligned.
const HALF_RAMP_PX: usize = 8;

/// Places on the image, in quarters of the way from its top left to its bottom right.
const QUARTERS: [usize; 3] = [1, 2, 3];

/// The context that was found, and what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MeasuredContext {
    /// Context per side that is discarded, pixels.
    pub context_px: usize,
    /// Width of the band in which tiles fade into each other, pixels.
    pub ramp_px: usize,
    /// The largest difference that was allowed, as a share of the range of values.
    pub tolerance: f32,
    /// The largest difference that was found with this context.
    pub error: f32,
    /// Places of the image that were looked at.
    pub places: usize,
}

impl MeasuredContext {
    /// Pixels of a tile beside its core, per side.
    pub(super) fn halo_px(&self) -> usize {
        self.context_px + self.ramp_px / 2
    }

    /// For people.
    pub(super) fn sentence(&self) -> String {
        format!(
            "a context of {} px differs by {:.5} from more, in {} place(s), within {:.5}; tiles fade into each other over {} px",
            self.context_px, self.error, self.places, self.tolerance, self.ramp_px
        )
    }
}

/// Finds the context for an image that is open at its first row; `None` where the image is too small to be worth it, and
/// the graph's own context is taken.
///
/// # Errors
/// The image cannot be read, the model not be run, or no context keeps within the tolerance.
pub(super) fn measure(
    runner: &TiledRunner<'_>,
    geometry: &Geometry,
    source: &mut dyn RowSource,
    tolerance: f32,
    cx: &Context<'_>,
) -> Result<Option<MeasuredContext>, Failure> {
    let analysis = geometry.analysis();
    let alignment = analysis.alignment_px.max(1);
    let most = analysis
        .halo_px
        .unwrap_or(UNBOUNDED_CONTEXT_PX)
        .next_multiple_of(alignment);
    let block = BLOCK_PX.next_multiple_of(alignment);
    let Some(patches) = Patches::of(source.size(), block, most, alignment) else {
        return Ok(None);
    };
    let images = patches.read(source, runner.network_planes())?;
    let run = |image: &PlanarImage| -> Result<PlanarImage, Failure> {
        cx.check()?;
        let plan = geometry.plan(image.size(), None)?;
        Ok(runner.run(image, &plan, &RunControl::default())?)
    };
    let references = images
        .iter()
        .map(|image| Ok(run(image)?.crop(patches.block, geometry.scale())))
        .collect::<Result<Vec<_>, Failure>>()?;
    let error_with = |context: usize| -> Result<f32, Failure> {
        let (part, within) = patches.with_context(context);
        let mut largest = 0.0_f32;
        for (image, reference) in images.iter().zip(&references) {
            let found = run(&image.crop(part, 1))?.crop(within, geometry.scale());
            let differences = found.data().iter().zip(reference.data());
            largest = differences.fold(largest, |most, (a, b)| most.max((a - b).abs()));
        }
        Ok(largest)
    };
    // With all of the context there is no difference, so the search ends with some.
    let all = patches.context / alignment;
    let (mut too_few, mut enough) = (None, (all, 0.0));
    loop {
        let lowest = too_few.map_or(0, |n: usize| n + 1);
        if lowest >= enough.0 {
            break;
        }
        let tried = usize::midpoint(lowest, enough.0 - 1);
        let error = error_with(tried * alignment)?;
        if error <= tolerance {
            enough = (tried, error);
        } else {
            too_few = Some(tried);
        }
    }
    let (n, error) = enough;
    if n == all && !analysis.tiling_class.is_exact() {
        let error = error_with(patches.context.saturating_sub(alignment))?;
        return Err(Failure::new(
            FailureKind::Usage,
            format!(
                "no context below {} px keeps within a tolerance of {tolerance}: the difference is {error:.5} still, since {} \
                 node(s) look at the whole image",
                patches.context,
                analysis.global_nodes.len()
            ),
        )
        .with_help("allow more with --tolerance, run with --sweeps, or with --mode exact"));
    }
    Ok(Some(MeasuredContext {
        context_px: n * alignment,
        ramp_px: 2 * HALF_RAMP_PX.next_multiple_of(alignment),
        tolerance,
        error,
        places: images.len(),
    }))
}

/// Parts of an image, all of one size, each with the same block in it.
struct Patches {
    size: Size,
    /// Top left corners, from top to bottom.
    corners: Vec<(usize, usize)>,
    /// What is compared, in the coordinates of a part.
    block: Rect,
    /// Context of the block on every side.
    context: usize,
    /// All corners are multiples of this.
    alignment: usize,
}

impl Patches {
    /// Parts of an image of this size; `None` where it has no room for a block with some context.
    fn of(image: Size, block: usize, most: usize, alignment: usize) -> Option<Self> {
        let shorter = image.height.min(image.width);
        let room = shorter.checked_sub(block)? / 2;
        let context = most.min(room - room % alignment);
        if context == 0 {
            return None;
        }
        let side = block + 2 * context;
        let mut corners: Vec<(usize, usize)> = QUARTERS
            .iter()
            .map(|quarter| {
                let at = |length: usize| {
                    let offset = (length - side) * quarter / 4;
                    offset - offset % alignment
                };
                (at(image.height), at(image.width))
            })
            .collect();
        corners.dedup();
        Some(Self {
            size: Size {
                height: side,
                width: side,
            },
            corners,
            block: Rect {
                top: context,
                left: context,
                height: block,
                width: block,
            },
            context,
            alignment,
        })
    }

    /// The block with so much context, and where the block is in that.
    fn with_context(&self, context: usize) -> (Rect, Rect) {
        debug_assert!(context.is_multiple_of(self.alignment));
        let Rect {
            top,
            left,
            height,
            width,
        } = self.block;
        let part = Rect {
            top: top - context,
            left: left - context,
            height: height + 2 * context,
            width: width + 2 * context,
        };
        let within = Rect {
            top: context,
            left: context,
            height,
            width,
        };
        (part, within)
    }

    /// Reads the parts, as many planes of each as a network is fed: a grey image is repeated, and of a colour image a
    /// network of one plane sees the first.
    fn read(&self, source: &mut dyn RowSource, planes: usize) -> Result<Vec<PlanarImage>, Failure> {
        let format = source.format();
        let n_pixels = self.size.height * self.size.width;
        let mut parts = vec![vec![0.0; planes * n_pixels]; self.corners.len()];
        let mut row = vec![0.0; source.size().width * format.planes()];
        let end = self
            .corners
            .last()
            .map_or(0, |(top, _)| top + self.size.height);
        for y in 0..end {
            source.read_row(&mut row)?;
            for ((top, left), part) in self.corners.iter().zip(&mut parts) {
                if !(*top..top + self.size.height).contains(&y) {
                    continue;
                }
                for plane in 0..planes {
                    let from = plane.min(format.colour_planes() - 1);
                    let start = plane * n_pixels + (y - top) * self.size.width;
                    let values = row[left * format.planes()..]
                        .iter()
                        .skip(from)
                        .step_by(format.planes());
                    for (place, value) in
                        part[start..start + self.size.width].iter_mut().zip(values)
                    {
                        *place = *value;
                    }
                }
            }
        }
        let image = |part| PlanarImage::new(planes, self.size, part, BitDepth::Sixteen);
        Ok(parts.into_iter().map(image).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_on_the_grid_and_have_the_context_that_there_is_room_for() {
        let size = |height, width| Size { height, width };
        let patches = Patches::of(size(1000, 700), 64, 80, 16).unwrap();
        assert_eq!(patches.corners, [(192, 112), (384, 224), (576, 352)]);
        assert_eq!((patches.context, patches.size), (80, size(224, 224)));
        let (part, within) = patches.with_context(32);
        assert_eq!((part.top, part.height, within.top), (48, 128, 32));
        let small = Patches::of(size(130, 500), 64, 80, 16).unwrap();
        assert_eq!(small.context, 32);
        assert!(Patches::of(size(90, 500), 64, 80, 16).is_none());
        assert!(Patches::of(size(10, 10), 64, 80, 16).is_none());
    }
}
