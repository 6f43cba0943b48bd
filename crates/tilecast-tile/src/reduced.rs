//! The rows of an image, made smaller on the way.

use crate::Size;
use crate::image_file::{Alpha, PixelFormat, ReadImageError, RowSource};

/// An image whose pixels are means of squares of another one's, for a preview. Squares that reach over the right or lower
/// border are smaller. Holds one row.
pub struct ReducedRows<'a> {
    source: Box<dyn RowSource + 'a>,
    factor: usize,
    /// Rows of the source that are left.
    n_left: usize,
    /// A row of the source.
    row: Vec<f32>,
}

impl<'a> ReducedRows<'a> {
    /// The image at 1/`factor` of its width and height, rounded up; `factor` is at least 1.
    pub fn new(source: impl RowSource + 'a, factor: usize) -> Self {
        let size = source.size();
        Self {
            n_left: size.height,
            row: vec![0.0; size.width * source.format().planes()],
            factor: factor.max(1),
            source: Box::new(source),
        }
    }
}

impl RowSource for ReducedRows<'_> {
    fn size(&self) -> Size {
        let size = self.source.size();
        Size {
            height: size.height.div_ceil(self.factor),
            width: size.width.div_ceil(self.factor),
        }
    }

    fn format(&self) -> PixelFormat {
        self.source.format()
    }

    fn read_row(&mut self, row: &mut [f32]) -> Result<(), ReadImageError> {
        let format = self.source.format();
        let planes = format.planes();
        // Colours count as much as they are seen.
        let weighs = format.alpha == Alpha::Straight;
        row.fill(0.0);
        // At the end the source says that there is no row.
        let n_rows = self.factor.min(self.n_left).max(1);
        for _ in 0..n_rows {
            self.source.read_row(&mut self.row)?;
            self.n_left -= 1;
            let squares = self.row.chunks(planes * self.factor);
            for (sum, square) in row.chunks_exact_mut(planes).zip(squares) {
                for pixel in square.chunks_exact(planes) {
                    let alpha = if weighs { pixel[planes - 1] } else { 1.0 };
                    for (plane, (sum, value)) in sum.iter_mut().zip(pixel).enumerate() {
                        let is_alpha = weighs && plane + 1 == planes;
                        *sum += if is_alpha { *value } else { *value * alpha };
                    }
                }
            }
        }
        let width = self.source.size().width;
        for (x, pixel) in row.chunks_exact_mut(planes).enumerate() {
            let n_columns = self.factor.min(width - x * self.factor);
            for value in pixel.iter_mut() {
                *value /= (n_rows * n_columns) as f32;
            }
            if weighs && let Some((alpha, colours)) = pixel.split_last_mut() {
                for colour in colours {
                    *colour = if *alpha > 0.0 { *colour / *alpha } else { 0.0 };
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Colour, SampleType};

    struct Rows {
        format: PixelFormat,
        width: usize,
        left: std::vec::IntoIter<Vec<f32>>,
    }

    impl RowSource for Rows {
        fn size(&self) -> Size {
            Size {
                height: 3,
                width: self.width,
            }
        }
        fn format(&self) -> PixelFormat {
            self.format
        }
        fn read_row(&mut self, row: &mut [f32]) -> Result<(), ReadImageError> {
            row.copy_from_slice(&self.left.next().unwrap());
            Ok(())
        }
    }

    fn reduced(colour: Colour, alpha: Alpha, width: usize, rows: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
        let format = PixelFormat {
            colour,
            alpha,
            samples: SampleType::U8,
        };
        let mut source = Rows {
            format,
            width,
            left: rows.into_iter(),
        };
        let mut reduced = ReducedRows::new(&mut source, 2);
        let Size { height, width } = reduced.size();
        (0..height)
            .map(|_| {
                let mut row = vec![9.0; width * format.planes()];
                reduced.read_row(&mut row).unwrap();
                row
            })
            .collect()
    }

    #[test]
    fn pixels_are_means_also_at_the_border() {
        let rows = vec![
            vec![1.0, 3.0, 5.0],
            vec![5.0, 7.0, 7.0],
            vec![2.0, 4.0, 8.0],
        ];
        let found = reduced(Colour::Grey, Alpha::None, 3, rows);
        assert_eq!(found, [[4.0, 6.0], [3.0, 8.0]]);
    }

    #[test]
    fn what_is_not_seen_does_not_colour() {
        let rows = vec![vec![1.0, 0.0, 0.5, 1.0]; 3];
        let found = reduced(Colour::Grey, Alpha::Straight, 2, rows);
        assert_eq!(found, [[0.5, 0.5], [0.5, 0.5]]);
    }
}
