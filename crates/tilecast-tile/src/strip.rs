//! Rows of a result in the making.

/// Consecutive rows of an image that tiles are put into, plane after plane. Rows leave at the top when they are complete;
/// those that are not yet stay for what the next row of tiles adds to them.
#[derive(Debug)]
pub(crate) struct Strip {
    width: usize,
    planes: usize,
    /// Row of the image that is the first here.
    first_row: usize,
    n_rows: usize,
    values: Vec<f32>,
}

impl Strip {
    /// No rows yet, of an image of this width.
    pub(crate) fn new(width: usize, planes: usize) -> Self {
        Self {
            width,
            planes,
            first_row: 0,
            n_rows: 0,
            values: Vec::new(),
        }
    }

    /// Row of the image that is the first here.
    pub(crate) fn first_row(&self) -> usize {
        self.first_row
    }

    /// Adds rows of zeros up to row `end` of the image.
    pub(crate) fn extend_to(&mut self, end: usize) {
        let (old, new) = (self.n_rows, (end - self.first_row).max(self.n_rows));
        self.values.resize(self.planes * new * self.width, 0.0);
        for plane in (0..self.planes).rev() {
            let from = plane * old * self.width;
            let to = plane * new * self.width;
            let n_kept = old * self.width;
            self.values.copy_within(from..from + n_kept, to);
            self.values[to + n_kept..to + new * self.width].fill(0.0);
        }
        self.n_rows = new;
    }

    /// A row of the image that is here, from a column on.
    pub(crate) fn row_mut(&mut self, plane: usize, row: usize, column: usize) -> &mut [f32] {
        let start = (plane * self.n_rows + row - self.first_row) * self.width;
        &mut self.values[start + column..start + self.width]
    }

    /// A row of the image that is here, pixel after pixel.
    pub(crate) fn copy_pixels(&self, row: usize, pixels: &mut [f32]) {
        for plane in 0..self.planes {
            let start = (plane * self.n_rows + row - self.first_row) * self.width;
            let places = pixels.iter_mut().skip(plane).step_by(self.planes);
            for (place, value) in places.zip(&self.values[start..start + self.width]) {
                *place = *value;
            }
        }
    }

    /// Forgets the rows above row `end` of the image.
    pub(crate) fn drop_to(&mut self, end: usize) {
        let n_dropped = end - self.first_row;
        let n_left = self.n_rows - n_dropped;
        for plane in 0..self.planes {
            let from = (plane * self.n_rows + n_dropped) * self.width;
            let to = plane * n_left * self.width;
            self.values
                .copy_within(from..from + n_left * self.width, to);
        }
        self.values.truncate(self.planes * n_left * self.width);
        (self.first_row, self.n_rows) = (end, n_left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_stay_are_added_to() {
        let mut strip = Strip::new(2, 2);
        strip.extend_to(3);
        for (plane, row) in [(0, 0), (0, 2), (1, 1), (1, 2)] {
            strip.row_mut(plane, row, 0)[1] = (10 * plane + row) as f32;
        }
        let mut pixels = vec![0.0; 4];
        strip.copy_pixels(1, &mut pixels);
        assert_eq!(pixels, [0.0, 0.0, 0.0, 11.0]);
        strip.drop_to(2);
        strip.extend_to(4);
        assert_eq!(strip.first_row(), 2);
        for value in strip.row_mut(1, 2, 1) {
            *value += 0.5;
        }
        strip.copy_pixels(2, &mut pixels);
        assert_eq!(pixels, [0.0, 0.0, 2.0, 12.5]);
        strip.copy_pixels(3, &mut pixels);
        assert_eq!(pixels, [0.0; 4]);
        strip.drop_to(4);
        strip.extend_to(5);
        strip.copy_pixels(4, &mut pixels);
        assert_eq!(pixels, [0.0; 4]);
    }
}
