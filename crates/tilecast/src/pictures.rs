//! Pictures of errors: the part of an image where a candidate is farthest from its reference, and maps of the error.
//!
//! The error of a pixel is the largest |difference| over its channels. Maps show it amplified by a power of two, chosen so
//! that an eighth of the scale is the image's root mean square error, and cut off at the end of the scale.

use tilecast_metrics::SquaredError;
use tilecast_tile::{PlanarImage, PngPixels, Rect, Size, TilePlan, encode_png};

use crate::{Failure, FailureKind};

/// Longest side of the part that is shown pixel by pixel, pixels.
const PART_PX: usize = 288;

/// Longest side of the map of the whole image, pixels: larger images have the largest error of each block there.
const MAP_PX: usize = 384;

/// The part is looked for in steps of so many pixels.
const CELL_PX: usize = 16;

/// How many root mean square errors the scale of a map holds.
const SCALE_RMS: f64 = 8.0;

/// Largest amplification, a power of two: beyond the rounding of single precision there is nothing to see.
const MAX_LOG2_AMPLIFICATION: i32 = 20;

/// One candidate beside its reference, on one image.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    /// Size of both output images.
    pub(crate) image_px: Size,
    /// The part with the largest squared error, in pixels of the output.
    pub(crate) part: Rect,
    /// That part of the reference, PNG.
    pub(crate) reference: Vec<u8>,
    /// That part of the candidate, PNG.
    pub(crate) candidate: Vec<u8>,
    /// The error of that part, PNG.
    pub(crate) error: Vec<u8>,
    /// The error of the whole image, PNG; `None` where the part is all of it.
    pub(crate) map: Option<Vec<u8>>,
    /// What errors are multiplied with before they are shown.
    pub(crate) amplification: u32,
    /// Where tiles meet, in pixels of the output.
    pub(crate) lines: TileLines,
}

/// Where the cores of tiles meet, in pixels of the output: the first row and column of each tile but the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TileLines {
    /// Rows.
    pub(crate) rows: Vec<usize>,
    /// Columns.
    pub(crate) columns: Vec<usize>,
}

impl TileLines {
    /// The lines of a plan.
    pub(crate) fn of(plan: &TilePlan) -> Self {
        let scale = plan.request().scale;
        let firsts = |first: &dyn Fn(usize) -> usize, n: usize| -> Vec<usize> {
            (1..n).map(|index| first(index) * scale).collect()
        };
        let n_columns = plan.n_columns();
        Self {
            rows: firsts(
                &|row| plan.tile(row * n_columns).core.top,
                plan.n_tile_rows(),
            ),
            columns: firsts(&|column| plan.tile(column).core.left, n_columns),
        }
    }
}

impl Picture {
    /// Draws a candidate beside its reference; both have one shape.
    ///
    /// # Errors
    /// An image without pixels.
    pub(crate) fn new(
        reference: &PlanarImage,
        candidate: &PlanarImage,
        difference: &SquaredError,
        lines: TileLines,
    ) -> Result<Self, Failure> {
        let error = ErrorMap::new(reference, candidate, difference);
        let part = error.worst_part();
        let crop = |image: &PlanarImage| encode_rgb(&image.crop(part, 1));
        let is_whole = (part.height, part.width) == (error.size.height, error.size.width);
        Ok(Self {
            image_px: error.size,
            part,
            reference: crop(reference)?,
            candidate: crop(candidate)?,
            error: error.crop(part).encode()?,
            map: if is_whole {
                None
            } else {
                Some(error.shrink(MAP_PX).encode()?)
            },
            amplification: error.amplification,
            lines,
        })
    }
}

/// The error of every pixel of an image.
pub(crate) struct ErrorMap {
    size: Size,
    /// Largest |difference| over the channels, row by row.
    values: Vec<f32>,
    amplification: u32,
}

impl ErrorMap {
    /// The error of a candidate; both images have one shape.
    pub(crate) fn new(
        reference: &PlanarImage,
        candidate: &PlanarImage,
        difference: &SquaredError,
    ) -> Self {
        let size = reference.size();
        let n_pixels = size.height * size.width;
        let mut values = vec![0.0_f32; n_pixels];
        for channel in 0..reference.channels() {
            let plane = channel * n_pixels..(channel + 1) * n_pixels;
            let pairs = reference.data()[plane.clone()]
                .iter()
                .zip(&candidate.data()[plane]);
            for (value, (a, b)) in values.iter_mut().zip(pairs) {
                let error = (a - b).abs();
                // What is no number is as wrong as can be.
                *value = value.max(if error.is_nan() { f32::INFINITY } else { error });
            }
        }
        Self {
            size,
            values,
            amplification: amplification(difference),
        }
    }

    /// What errors are multiplied with before they are shown.
    pub(crate) fn amplification(&self) -> u32 {
        self.amplification
    }

    /// A PNG file in which no error is black, and the end of the scale a light yellow.
    ///
    /// # Errors
    /// The map has no pixels.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Failure> {
        let amplification = self.amplification as f32;
        let index = |value: &f32| (value * amplification * 255.0).min(255.0) as u8;
        let indices: Vec<u8> = self.values.iter().map(index).collect();
        let palette = palette();
        let pixels = PngPixels::Indexed {
            palette: &palette,
            indices: &indices,
        };
        encode_png(self.size, pixels).map_err(|e| cannot_encode(&e))
    }

    /// The part with the largest squared error, at most [`PART_PX`] on each side.
    fn worst_part(&self) -> Rect {
        let Size { height, width } = self.size;
        let (rows, columns) = (height.div_ceil(CELL_PX), width.div_ceil(CELL_PX));
        // Sums over all cells above and to the left, with a row and a column of zeros before them.
        let mut sums = vec![0.0_f64; (rows + 1) * (columns + 1)];
        let at = |row: usize, column: usize| row * (columns + 1) + column;
        for (index, value) in self.values.iter().enumerate() {
            let (row, column) = (index / width / CELL_PX, index % width / CELL_PX);
            // One infinity would hide where the others are.
            let value = f64::from(value.min(1.0));
            sums[at(row + 1, column + 1)] += value * value;
        }
        for row in 1..=rows {
            for column in 1..=columns {
                sums[at(row, column)] += sums[at(row - 1, column)] + sums[at(row, column - 1)]
                    - sums[at(row - 1, column - 1)];
            }
        }
        let side = PART_PX / CELL_PX;
        let (part_rows, part_columns) = (side.min(rows), side.min(columns));
        let mut best = (f64::NEG_INFINITY, 0, 0);
        for top in 0..=rows - part_rows {
            for left in 0..=columns - part_columns {
                let (bottom, right) = (top + part_rows, left + part_columns);
                let sum = sums[at(bottom, right)] - sums[at(top, right)] - sums[at(bottom, left)]
                    + sums[at(top, left)];
                if sum > best.0 {
                    best = (sum, top, left);
                }
            }
        }
        let (part_height, part_width) = (PART_PX.min(height), PART_PX.min(width));
        Rect {
            top: (best.1 * CELL_PX).min(height - part_height),
            left: (best.2 * CELL_PX).min(width - part_width),
            height: part_height,
            width: part_width,
        }
    }

    fn crop(&self, part: Rect) -> Self {
        let rows = part.top..part.bottom();
        let values = rows.flat_map(|row| {
            let start = row * self.size.width + part.left;
            &self.values[start..start + part.width]
        });
        Self {
            size: Size {
                height: part.height,
                width: part.width,
            },
            values: values.copied().collect(),
            amplification: self.amplification,
        }
    }

    /// The same with the largest error of each block, no side longer than `side_px`.
    fn shrink(&self, side_px: usize) -> Self {
        let Size { height, width } = self.size;
        let block = height.max(width).div_ceil(side_px).max(1);
        let size = Size {
            height: height.div_ceil(block),
            width: width.div_ceil(block),
        };
        let mut values = vec![0.0_f32; size.height * size.width];
        for (index, &value) in self.values.iter().enumerate() {
            let (row, column) = (index / width / block, index % width / block);
            let largest = &mut values[row * size.width + column];
            *largest = largest.max(value);
        }
        Self {
            size,
            values,
            amplification: self.amplification,
        }
    }
}

/// The power of two by which an image of this error is amplified.
fn amplification(difference: &SquaredError) -> u32 {
    let Some(mse) = difference.mse().filter(|&mse| mse > 0.0) else {
        return 1;
    };
    let log2 = -(SCALE_RMS * mse.sqrt()).log2();
    1 << (log2.floor() as i32).clamp(0, MAX_LOG2_AMPLIFICATION)
}

/// Black over violet and orange to a light yellow: lightness alone tells the error, also in grey.
pub(crate) fn palette() -> [[u8; 3]; 256] {
    const STOPS: [[f32; 3]; 5] = [
        [0.0, 0.0, 4.0],
        [87.0, 16.0, 110.0],
        [188.0, 55.0, 84.0],
        [249.0, 142.0, 9.0],
        [252.0, 255.0, 164.0],
    ];
    let mut palette = [[0; 3]; 256];
    for (index, colour) in palette.iter_mut().enumerate() {
        let place = index as f32 / 255.0 * (STOPS.len() - 1) as f32;
        let stop = (place as usize).min(STOPS.len() - 2);
        let share = place - stop as f32;
        for (channel, value) in colour.iter_mut().enumerate() {
            let (from, to) = (STOPS[stop][channel], STOPS[stop + 1][channel]);
            *value = (from + (to - from) * share).round() as u8;
        }
    }
    palette
}

/// An image as people see it, 8 bits; its first three channels, or its first one as grey.
fn encode_rgb(image: &PlanarImage) -> Result<Vec<u8>, Failure> {
    let size = image.size();
    let n_pixels = size.height * size.width;
    let channels = if image.channels() < 3 {
        [0, 0, 0]
    } else {
        [0, 1, 2]
    };
    let mut rgb = Vec::with_capacity(3 * n_pixels);
    for pixel in 0..n_pixels {
        for channel in channels {
            let value = image.data()[channel * n_pixels + pixel];
            rgb.push((value.clamp(0.0, 1.0) * 255.0).round() as u8);
        }
    }
    encode_png(size, PngPixels::Rgb(&rgb)).map_err(|e| cannot_encode(&e))
}

fn cannot_encode(error: &dyn std::error::Error) -> Failure {
    Failure::new(
        FailureKind::Internal,
        format!("cannot draw the error of an image: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use tilecast_tile::BitDepth;

    use super::*;

    const SIZE: Size = Size {
        height: 700,
        width: 500,
    };

    fn image(value: impl Fn(usize, usize) -> f32) -> PlanarImage {
        let pixels = (0..SIZE.height * SIZE.width).map(|i| value(i / SIZE.width, i % SIZE.width));
        let plane: Vec<f32> = pixels.collect();
        PlanarImage::new(3, SIZE, plane.repeat(3), BitDepth::Eight)
    }

    fn difference(a: &PlanarImage, b: &PlanarImage) -> SquaredError {
        let mut error = SquaredError::new();
        error.add(a.data(), b.data()).unwrap();
        error
    }

    #[test]
    fn the_part_is_where_the_error_is() {
        let reference = image(|_, _| 0.5);
        let spot = |y: usize, x: usize| y.abs_diff(610) < 20 && x.abs_diff(410) < 20;
        let candidate = image(|y, x| if spot(y, x) { 0.6 } else { 0.5 });
        let error = difference(&reference, &candidate);
        let picture = Picture::new(&reference, &candidate, &error, TileLines::default()).unwrap();
        let part = picture.part;
        assert!(part.top <= 591 && part.bottom() >= 630, "{part}");
        assert!(part.left <= 391 && part.right() >= 430, "{part}");
        assert_eq!((part.height, part.width), (PART_PX, PART_PX));
        let map = picture.map.unwrap();
        let (width, height) = png_size(&map);
        assert!(width <= MAP_PX as u32 && height <= MAP_PX as u32);
        // RMS: 0.1 on 1521 of 350000 pixels; an eighth of the scale is at most twice that.
        assert_eq!(picture.amplification, 16);
    }

    /// Width and height, from the header of a PNG file.
    fn png_size(file: &[u8]) -> (u32, u32) {
        let number = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
        (number(16), number(20))
    }

    #[test]
    fn equal_images_and_infinite_ones_can_be_drawn() {
        let reference = image(|y, x| (y + x) as f32 / 1200.0);
        let same = difference(&reference, &reference);
        let picture = Picture::new(&reference, &reference, &same, TileLines::default()).unwrap();
        assert_eq!(picture.amplification, 1);
        let broken = image(|y, x| if (y, x) == (650, 3) { f32::NAN } else { 0.5 });
        let error = difference(&reference, &broken);
        let picture = Picture::new(&reference, &broken, &error, TileLines::default()).unwrap();
        assert_eq!(picture.amplification, 1);
    }

    #[test]
    fn the_palette_gets_lighter() {
        let lightness = |c: &[u8; 3]| 0.3 * f32::from(c[0]) + 0.6 * f32::from(c[1]);
        let palette = palette();
        let steps: Vec<f32> = palette.iter().map(lightness).collect();
        assert!(steps.windows(2).all(|pair| pair[0] <= pair[1] + 1.0));
    }
}
