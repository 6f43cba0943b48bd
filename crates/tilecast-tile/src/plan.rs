//! Where the tiles of an image lie: which pixels each one is fed, and which of its output pixels are kept.
//!
//! Each axis is cut on its own, so a plan is two cuts and a handful of numbers however many tiles there are:
//!
//! - The image is padded once, right and bottom, to a multiple of the alignment period. A graph that pads itself takes
//!   an image that is one tile as it is.
//! - An axis that is not longer than the tile is one segment. Any other is cut into segments of exactly the tile's
//!   length whose origins step by `tile - 2 halo`; the last is slid back to end with the padded image. So every tile
//!   of a plan has the same size, and a session prepared for that size runs them all.
//! - A segment at the image's border lies flush with it: nothing is ever invented there for the halo, because the
//!   whole-image run does not see such pixels either. Everywhere else the kept core has at least the halo around it.
//!
//! Origins and sizes are multiples of the alignment period: a network that subsamples or works in windows gives other
//! values, at every pixel, when its grid is shifted.

use std::fmt;
use std::ops::Range;

use crate::crop::reflect;

/// Height and width, pixels; shown as `width`x`height`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rect {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
}

impl Rect {
    fn from_ranges(rows: Range<usize>, columns: Range<usize>) -> Self {
        Self {
            top: rows.start,
            left: columns.start,
            height: rows.len(),
            width: columns.len(),
        }
    }

    /// One past the last row.
    #[must_use]
    pub fn bottom(&self) -> usize {
        self.top + self.height
    }

    /// One past the last column.
    #[must_use]
    pub fn right(&self) -> usize {
        self.left + self.width
    }
}

impl fmt::Display for Rect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bottom, right) = (self.bottom(), self.right());
        write!(
            f,
            "rows {}..{bottom}, columns {}..{right}",
            self.top, self.left
        )
    }
}

/// What stands right of and below the image where its sides are no multiples of the alignment period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fill {
    /// Zeros, as the network sees them: right for graphs that pad themselves with zeros.
    Zero,
    /// The image mirrored about its last pixel, which is not repeated; mirrored again where the image is too short.
    Reflect,
}

/// Whether the graph runs on sides that are no multiples of its alignment period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnalignedSizes {
    /// It does: an image that is one tile is fed as it is, and equals the whole-image run by definition.
    Accepted,
    /// It does not: such images are padded even when they are one tile.
    Refused,
}

/// What a [`TilePlan`] is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TileRequest {
    /// Size of the image, at least 1x1.
    pub image_px: Size,
    /// Longest side to feed to the network; `None` feeds the whole image as one tile.
    pub tile_px: Option<usize>,
    /// Context that a kept pixel needs on each side, a multiple of `alignment_px`; `None` has no bound.
    pub halo_px: Option<usize>,
    /// Alignment period of the graph, at least 1.
    pub alignment_px: usize,
    /// Output pixels per input pixel and axis, at least 1.
    pub scale: usize,
    /// What pads the image to the alignment period.
    pub fill: Fill,
    /// Whether an image that is one tile needs that padding.
    pub unaligned: UnalignedSizes,
}

/// Why an image cannot be tiled as requested.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A size that must be positive is zero.
    #[error("the {what} is 0; it must be at least 1")]
    Zero {
        /// Which one.
        what: &'static str,
    },
    /// The halo does not keep tiles on the alignment grid.
    #[error(
        "a halo of {halo_px} px is no multiple of the alignment of {alignment_px} px; round it up"
    )]
    MisalignedHalo {
        /// Requested halo.
        halo_px: usize,
        /// Alignment period.
        alignment_px: usize,
    },
    /// The tile has no core left between its halos.
    #[error(
        "a tile of {tile_px} px is too small for a halo of {halo_px} px and an alignment of {alignment_px} px; \
         the minimum is {minimum_px} px"
    )]
    TileTooSmall {
        /// Requested tile side.
        tile_px: usize,
        /// Halo on each side.
        halo_px: usize,
        /// Alignment period.
        alignment_px: usize,
        /// Twice the halo and one period.
        minimum_px: usize,
    },
    /// A tile of fixed size does not stay on the alignment grid.
    #[error(
        "a tile of {tile} px does not have sides that are multiples of the alignment of {alignment_px} px; choose others"
    )]
    MisalignedTile {
        /// Requested size.
        tile: Size,
        /// Alignment period.
        alignment_px: usize,
    },
    /// The image does not fit a tile, and no amount of context is enough.
    #[error(
        "the graph looks at the whole image, so an image of {image_px} px cannot be cut into tiles of {tile_px} px; \
         run it as one tile, or choose a halo and accept an approximation"
    )]
    UnboundedHalo {
        /// Size of the image.
        image_px: Size,
        /// Requested tile side.
        tile_px: usize,
    },
    /// Sizes in bytes do not fit this machine's addresses.
    #[error(
        "an image of {image_px} px at scale {scale} is larger than memory can address; split it"
    )]
    TooLarge {
        /// Size of the image.
        image_px: Size,
        /// Output pixels per input pixel and axis.
        scale: usize,
    },
}

/// One tile of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// What is fed, in the coordinates of the padded image.
    pub input: Rect,
    /// What is kept, in the coordinates of the image (before scaling); lies inside `input`.
    pub core: Rect,
}

/// The tiles of one image. Cores cover the image exactly, without overlap; all inputs have the same size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TilePlan {
    request: TileRequest,
    rows: Cut,
    columns: Cut,
    /// See [`TilePlan::with_ramp`].
    ramp_px: usize,
    /// See [`TilePlan::with_fixed_size`].
    is_fixed: bool,
}

impl TilePlan {
    /// Places the tiles.
    ///
    /// # Errors
    /// The request contradicts itself, or the tile has no room for the halo where the image must be cut.
    pub fn new(request: &TileRequest) -> Result<Self, PlanError> {
        let tile = request.tile_px.map(|side| Size {
            height: side,
            width: side,
        });
        Self::with_tile_size(request, tile)
    }

    /// Places tiles that need not be square, at most of this size: full-width strips have the halo on one axis only.
    /// `None` feeds the whole image as one tile; [`TileRequest::tile_px`] does not count.
    ///
    /// # Errors
    /// As [`TilePlan::new`].
    pub fn with_tile_size(request: &TileRequest, tile: Option<Size>) -> Result<Self, PlanError> {
        let Size { height, width } = request.image_px;
        let sizes = [
            ("image height", height),
            ("image width", width),
            ("tile side", tile.map_or(1, |t| t.height.min(t.width))),
            ("alignment", request.alignment_px),
            ("scale", request.scale),
        ];
        if let Some((what, _)) = sizes.into_iter().find(|(_, size)| *size == 0) {
            return Err(PlanError::Zero { what });
        }
        if let Some(halo_px) = request.halo_px
            && !halo_px.is_multiple_of(request.alignment_px)
        {
            return Err(PlanError::MisalignedHalo {
                halo_px,
                alignment_px: request.alignment_px,
            });
        }
        let padded = padded_size(request).ok_or(PlanError::TooLarge {
            image_px: request.image_px,
            scale: request.scale,
        })?;
        let requested = tile.unwrap_or(padded);
        let aligned = |side: usize| side - side % request.alignment_px;
        let tile = Size {
            height: aligned(requested.height),
            width: aligned(requested.width),
        };
        // Of the sides that are cut, the shortest is the one that may have no room for the halo.
        let cut_px = [
            (padded.height > tile.height).then_some(requested.height),
            (padded.width > tile.width).then_some(requested.width),
        ]
        .into_iter()
        .flatten()
        .min();
        let (fed, halo_px) = match (cut_px, request.unaligned) {
            (Some(tile_px), _) => (padded, halo_of_cut(request, tile_px)?),
            (None, UnalignedSizes::Accepted) => (request.image_px, 0),
            (None, UnalignedSizes::Refused) => (padded, 0),
        };
        Ok(Self {
            request: *request,
            rows: Cut::new(height, fed.height, tile.height, halo_px),
            columns: Cut::new(width, fed.width, tile.width, halo_px),
            ramp_px: 0,
            is_fixed: false,
        })
    }

    /// Places tiles that all have exactly this size, for a network that takes no other: an image that is smaller is padded to
    /// it, right and bottom, as the request's fill says. [`TileRequest::tile_px`] does not count.
    ///
    /// # Errors
    /// As [`TilePlan::new`]; and the size is no multiple of the alignment period.
    pub fn with_fixed_size(request: &TileRequest, tile: Size) -> Result<Self, PlanError> {
        for side in [tile.height, tile.width] {
            if request.alignment_px == 0 || !side.is_multiple_of(request.alignment_px) {
                return Err(PlanError::MisalignedTile {
                    tile,
                    alignment_px: request.alignment_px,
                });
            }
        }
        let plan = Self::with_tile_size(request, Some(tile))?;
        let padded = plan.padded_px();
        let image_px = request.image_px;
        let halo_px = plan.rows.halo_px.max(plan.columns.halo_px);
        Ok(Self {
            rows: Cut::new(
                image_px.height,
                padded
                    .height
                    .next_multiple_of(request.alignment_px)
                    .max(tile.height),
                tile.height,
                halo_px,
            ),
            columns: Cut::new(
                image_px.width,
                padded
                    .width
                    .next_multiple_of(request.alignment_px)
                    .max(tile.width),
                tile.width,
                halo_px,
            ),
            is_fixed: true,
            ..plan
        })
    }

    /// The same tiles, which fade into each other across a band of `ramp_px` around every line between two cores, instead of
    /// meeting at it. Half of the band lies in the halo on either side, so the halo must have room for it beside the
    /// context that is discarded. `ramp_px` is even.
    ///
    /// # Errors
    /// A core is narrower than the band, so that more than two tiles would meet.
    pub fn with_ramp(self, ramp_px: usize) -> Result<Self, PlanError> {
        let is_narrow = |cut: &Cut| cut.n > 1 && cut.step_px < ramp_px;
        if is_narrow(&self.rows) || is_narrow(&self.columns) {
            let halo_px = self.rows.halo_px.max(self.columns.halo_px);
            return Err(PlanError::TileTooSmall {
                tile_px: self.tile_px(),
                halo_px,
                alignment_px: self.request.alignment_px,
                minimum_px: 2 * halo_px + ramp_px,
            });
        }
        Ok(Self { ramp_px, ..self })
    }

    /// Width of the band across which tiles fade into each other, pixels of the image; 0 where they meet at a line.
    #[must_use]
    pub fn ramp_px(&self) -> usize {
        self.ramp_px
    }

    /// Rows of the image that a row of tiles gives something to: those that it keeps, and half a band on either side.
    #[must_use]
    pub fn rows_given(&self, tile_row: usize) -> Range<usize> {
        self.rows.given(tile_row, self.ramp_px)
    }

    /// Columns of the image that a tile of this column gives something to.
    #[must_use]
    pub fn columns_given(&self, column: usize) -> Range<usize> {
        self.columns.given(column, self.ramp_px)
    }

    /// Rows above this one are complete once a row of tiles and those before it have given what they have.
    #[must_use]
    pub fn rows_complete(&self, tile_row: usize) -> usize {
        if tile_row + 1 == self.rows.n {
            self.request.image_px.height
        } else {
            self.rows_given(tile_row + 1).start
        }
    }

    /// Share that a row of tiles has in a row of the output image, of 1 in all: `position` counts output pixels from the
    /// first row of [`TilePlan::rows_given`].
    pub(crate) fn row_weight(&self, tile_row: usize, position: usize) -> f32 {
        self.rows
            .weight(tile_row, self.ramp_px, self.request.scale, position)
    }

    /// The same for columns.
    pub(crate) fn column_weight(&self, column: usize, position: usize) -> f32 {
        self.columns
            .weight(column, self.ramp_px, self.request.scale, position)
    }

    /// What the plan was made from.
    #[must_use]
    pub fn request(&self) -> &TileRequest {
        &self.request
    }

    /// Size of the image with the padding that some tile is fed.
    #[must_use]
    pub fn padded_px(&self) -> Size {
        Size {
            height: self.rows.fed_px,
            width: self.columns.fed_px,
        }
    }

    /// Size of the output image, padding removed.
    #[must_use]
    pub fn output_px(&self) -> Size {
        Size {
            height: self.request.image_px.height * self.request.scale,
            width: self.request.image_px.width * self.request.scale,
        }
    }

    /// Size fed to the network: one for all tiles of a plan.
    #[must_use]
    pub fn tile_size(&self) -> Size {
        Size {
            height: self.rows.tile_px,
            width: self.columns.tile_px,
        }
    }

    /// Pixels that all tiles are fed, overlaps counted as often as they are fed.
    #[must_use]
    pub fn pixels_fed(&self) -> u64 {
        let Size { height, width } = self.tile_size();
        [height, width]
            .into_iter()
            .fold(self.n_tiles() as u64, |n, side| {
                n.saturating_mul(side as u64)
            })
    }

    /// Whether its tiles have the one size that the network takes.
    pub(crate) fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// The smallest tile of which as many, with the same halo, cover an image that is several.
    pub(crate) fn smallest_tile(&self) -> Size {
        let alignment_px = self.request.alignment_px;
        Size {
            height: self.rows.shortest_segment(alignment_px),
            width: self.columns.shortest_segment(alignment_px),
        }
    }

    /// Longest side that is fed: the requested one rounded down to the alignment, less where the image is smaller.
    #[must_use]
    pub fn tile_px(&self) -> usize {
        self.rows.tile_px.max(self.columns.tile_px)
    }

    /// Side of the kept part of a tile with neighbours all around; the whole tile where the image is not cut.
    #[must_use]
    pub fn core_px(&self) -> usize {
        let step = |cut: &Cut| if cut.n > 1 { cut.step_px } else { 0 };
        match step(&self.rows).max(step(&self.columns)) {
            0 => self.tile_px(),
            step_px => step_px,
        }
    }

    /// Number of tiles.
    #[must_use]
    pub fn n_tiles(&self) -> usize {
        self.rows.n * self.columns.n
    }

    /// Number of tiles side by side.
    #[must_use]
    pub fn n_columns(&self) -> usize {
        self.columns.n
    }

    /// Number of tiles one above the other.
    #[must_use]
    pub fn n_tile_rows(&self) -> usize {
        self.rows.n
    }

    /// Rows of the image that one row of tiles is fed from: those in their inputs, and those that reflection at the
    /// bottom repeats.
    #[must_use]
    pub fn rows_fed(&self, tile_row: usize) -> Range<usize> {
        let (input, height) = (self.rows.input(tile_row), self.request.image_px.height);
        let reflected = match self.request.fill {
            Fill::Zero => None,
            Fill::Reflect => (height..input.end).map(|y| reflect(y, height)).min(),
        };
        let start = reflected.map_or(input.start, |row| row.min(input.start));
        start..input.end.min(height)
    }

    /// Rows of the image, before scaling, that one row of tiles keeps.
    #[must_use]
    pub fn rows_kept(&self, tile_row: usize) -> Range<usize> {
        self.rows.core(tile_row)
    }

    /// One tile; they are numbered row by row from the top left.
    ///
    /// # Panics
    /// `index` is not below [`TilePlan::n_tiles`].
    #[must_use]
    pub fn tile(&self, index: usize) -> Tile {
        assert!(index < self.n_tiles(), "tile {index} of {}", self.n_tiles());
        let (row, column) = (index / self.columns.n, index % self.columns.n);
        Tile {
            input: Rect::from_ranges(self.rows.input(row), self.columns.input(column)),
            core: Rect::from_ranges(self.rows.core(row), self.columns.core(column)),
        }
    }

    /// All tiles, row by row from the top left.
    #[must_use]
    pub fn tiles(&self) -> impl ExactSizeIterator<Item = Tile> + '_ {
        (0..self.n_tiles()).map(|index| self.tile(index))
    }
}

/// One axis, cut into segments of equal length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Cut {
    image_px: usize,
    /// Length with padding.
    fed_px: usize,
    /// Length of a segment.
    tile_px: usize,
    halo_px: usize,
    /// Distance of segment origins: the length of an inner core.
    step_px: usize,
    n: usize,
}

impl Cut {
    /// Cuts `fed_px`; where it is longer than the tile, the tile is longer than two halos.
    fn new(image_px: usize, fed_px: usize, tile_px: usize, halo_px: usize) -> Self {
        if fed_px <= tile_px {
            return Self {
                image_px,
                fed_px,
                tile_px: fed_px,
                halo_px: 0,
                step_px: fed_px,
                n: 1,
            };
        }
        let step_px = tile_px - 2 * halo_px;
        Self {
            image_px,
            fed_px,
            tile_px,
            halo_px,
            step_px,
            n: (fed_px - 2 * halo_px).div_ceil(step_px),
        }
    }

    /// Length of the shortest segments that are as many, a multiple of `alignment_px`.
    fn shortest_segment(&self, alignment_px: usize) -> usize {
        // Together the segments hold the axis, and two halos at each of the lines between them.
        let overlaps_px = 2 * self.halo_px * (self.n - 1);
        let shortest = (self.fed_px + overlaps_px).div_ceil(self.n);
        shortest.next_multiple_of(alignment_px).min(self.tile_px)
    }

    fn input(&self, idx: usize) -> Range<usize> {
        let origin = (idx * self.step_px).min(self.fed_px - self.tile_px);
        origin..origin + self.tile_px
    }

    /// A core starts where the previous one ends, also where its segment was slid back. The last is never empty: all
    /// lengths here are multiples of the alignment, so it holds a whole period of the padded image, and the padding is
    /// shorter than a period.
    fn core(&self, idx: usize) -> Range<usize> {
        let start = match idx {
            0 => 0,
            _ => idx * self.step_px + self.halo_px,
        };
        let end = match idx + 1 {
            next if next == self.n => self.image_px,
            next => next * self.step_px + self.halo_px,
        };
        start..end
    }

    /// What a segment gives something to: its core and half a band on the sides that have neighbours.
    fn given(&self, idx: usize, ramp_px: usize) -> Range<usize> {
        let core = self.core(idx);
        let half = ramp_px / 2;
        let start = if idx == 0 { 0 } else { core.start - half };
        let end = if idx + 1 == self.n {
            core.end
        } else {
            (core.end + half).min(self.image_px)
        };
        start..end
    }

    /// Share of a segment at an output pixel, counted from the first that it gives something to. Across a band the shares
    /// of the two neighbours are straight lines that add up to 1.
    fn weight(&self, idx: usize, ramp_px: usize, scale: usize, position: usize) -> f32 {
        let band = ramp_px * scale;
        let rising = |from: usize| (from as f32 + 0.5) / band as f32;
        let given = self.given(idx, ramp_px);
        if idx > 0 && position < band {
            return rising(position);
        }
        // Where the next one begins, which is where this one begins to fade.
        let end = self.core(idx).end;
        if idx + 1 < self.n {
            let fades_from = (end - ramp_px / 2 - given.start) * scale;
            if position >= fades_from {
                return 1.0 - rising(position - fades_from);
            }
        }
        1.0
    }
}

/// The image rounded up to the alignment; `None` where a channel of the input or output has no size in bytes.
fn padded_size(request: &TileRequest) -> Option<Size> {
    let align = |side: usize| side.checked_next_multiple_of(request.alignment_px);
    let padded = Size {
        height: align(request.image_px.height)?,
        width: align(request.image_px.width)?,
    };
    let bytes = padded
        .height
        .checked_mul(padded.width)?
        .checked_mul(request.scale)?
        .checked_mul(request.scale)?
        .checked_mul(size_of::<f32>())?;
    isize::try_from(bytes).ok().map(|_| padded)
}

/// The halo of an image that has to be cut.
///
/// Halo and tile are multiples of the alignment once the tile is rounded down, so `tile_px` may be the unrounded one.
fn halo_of_cut(request: &TileRequest, tile_px: usize) -> Result<usize, PlanError> {
    let image_px = request.image_px;
    let halo_px = request
        .halo_px
        .ok_or(PlanError::UnboundedHalo { image_px, tile_px })?;
    let minimum_px = halo_px
        .saturating_mul(2)
        .saturating_add(request.alignment_px);
    if tile_px < minimum_px {
        return Err(PlanError::TileTooSmall {
            tile_px,
            halo_px,
            alignment_px: request.alignment_px,
            minimum_px,
        });
    }
    Ok(halo_px)
}

#[cfg(test)]
mod tests;
