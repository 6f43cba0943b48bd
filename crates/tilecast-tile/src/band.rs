//! The rows of an image that are in memory at a time.

use std::collections::VecDeque;

use crate::Size;
use crate::crop::PlaneRows;
use crate::image_file::{Alpha, ReadImageError, RowSource};

/// Consecutive rows of an image, plane by plane. Colours are multiplied by alpha, so that a network does not smear what
/// is hidden into what is seen.
#[derive(Debug)]
pub(crate) struct Band {
    size: Size,
    planes: usize,
    alpha: Alpha,
    first_row: usize,
    /// Each row: plane after plane.
    rows: VecDeque<Vec<f32>>,
    /// Rows whose memory is used again.
    spare: Vec<Vec<f32>>,
    /// A row as it is read: pixel after pixel.
    pixels: Vec<f32>,
}

impl Band {
    /// No rows yet.
    pub(crate) fn new(source: &dyn RowSource) -> Self {
        let (size, format) = (source.size(), source.format());
        Self {
            size,
            planes: format.planes(),
            alpha: format.alpha,
            first_row: 0,
            rows: VecDeque::new(),
            spare: Vec::new(),
            pixels: vec![0.0; size.width * format.planes()],
        }
    }

    /// Forgets rows above `keep_from` and reads on until row `end` is next.
    pub(crate) fn advance(
        &mut self,
        source: &mut dyn RowSource,
        keep_from: usize,
        end: usize,
    ) -> Result<(), ReadImageError> {
        while self.first_row < keep_from
            && let Some(row) = self.rows.pop_front()
        {
            self.spare.push(row);
            self.first_row += 1;
        }
        while self.first_row + self.rows.len() < end {
            source.read_row(&mut self.pixels)?;
            let mut row = self.spare.pop().unwrap_or_default();
            row.resize(self.pixels.len(), 0.0);
            self.split(&mut row);
            self.rows.push_back(row);
        }
        // What is left over is a difference between rows of tiles, and they are all alike from the second on.
        self.spare.clear();
        Ok(())
    }

    /// The pixels just read, as planes.
    fn split(&self, row: &mut [f32]) {
        for (plane, values) in row.chunks_exact_mut(self.size.width).enumerate() {
            let samples = self.pixels.iter().skip(plane).step_by(self.planes);
            for (value, sample) in values.iter_mut().zip(samples) {
                *value = *sample;
            }
        }
        if self.alpha == Alpha::Straight {
            let (colours, alpha) = row.split_at_mut((self.planes - 1) * self.size.width);
            for plane in colours.chunks_exact_mut(self.size.width) {
                for (value, alpha) in plane.iter_mut().zip(alpha.iter()) {
                    *value *= *alpha;
                }
            }
        }
    }
}

impl PlaneRows for Band {
    fn size(&self) -> Size {
        self.size
    }

    fn channels(&self) -> usize {
        self.planes
    }

    fn row(&self, channel: usize, row: usize) -> &[f32] {
        let start = channel * self.size.width;
        &self.rows[row - self.first_row][start..start + self.size.width]
    }
}
