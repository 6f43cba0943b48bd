//! How visible the lines between tiles are.
//!
//! PSNR over a whole image hides a seam, because few pixels lie on one. Three measures do not: how much steeper the image
//! is across tile lines than beside them, how far two tiles disagree on the pixels that both were fed, and whether one is
//! brighter than the other there, which the eye sees first.

use schemars::JsonSchema;
use serde::Serialize;

use crate::PlanarShape;

/// How steep an image is across the lines between tiles, and beside them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SeamGradient {
    /// Mean absolute difference of the two pixels at a tile line.
    pub on_lines: f64,
    /// Mean absolute difference of neighbours in the rows and columns on both sides of tile lines.
    pub beside_lines: f64,
}

impl SeamGradient {
    /// Steepness on lines in relation to that beside them: 1 where there are no seams to see. `None` where the image is
    /// flat beside the lines.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        (self.beside_lines > 0.0).then(|| self.on_lines / self.beside_lines)
    }
}

/// Measures an image, `shape`, across tile lines: `rows` and `columns` are the first rows and columns of tiles, without 0.
/// `None` where there are no lines, one lies too near a border, the shape is not that of the image, or it holds what is
/// not finite.
#[must_use]
pub fn seam_gradient(
    image: &[f32],
    shape: PlanarShape,
    rows: &[usize],
    columns: &[usize],
) -> Option<SeamGradient> {
    let PlanarShape {
        channels,
        height,
        width,
    } = shape;
    let n_values = channels.checked_mul(height)?.checked_mul(width)?;
    // A line needs a neighbour on each side to be compared with.
    let lie_inside = |lines: &[usize], length: usize| {
        lines
            .iter()
            .all(|&at| at >= 2 && length.checked_sub(at).is_some_and(|rest| rest >= 2))
    };
    if image.len() != n_values
        || (rows.is_empty() && columns.is_empty())
        || !lie_inside(rows, height)
        || !lie_inside(columns, width)
        || !image.iter().all(|value| value.is_finite())
    {
        return None;
    }
    let (mut on, mut beside) = (Mean::default(), Mean::default());
    for plane in image.chunks_exact(height * width) {
        let step = |from: usize, to: usize| f64::from((plane[from] - plane[to]).abs());
        for &row in rows {
            for x in 0..width {
                let at = |y: usize| y * width + x;
                on.add(step(at(row - 1), at(row)));
                beside.add(step(at(row - 2), at(row - 1)));
                beside.add(step(at(row), at(row + 1)));
            }
        }
        for &column in columns {
            for y in 0..height {
                let at = |x: usize| y * width + x;
                on.add(step(at(column - 1), at(column)));
                beside.add(step(at(column - 2), at(column - 1)));
                beside.add(step(at(column), at(column + 1)));
            }
        }
    }
    Some(SeamGradient {
        on_lines: on.value(),
        beside_lines: beside.value(),
    })
}

/// How far two tiles disagree on the pixels that both give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct OverlapDisagreement {
    /// Mean absolute difference.
    pub mean: f64,
    /// Largest absolute difference.
    pub max: f64,
    /// Mean difference, second minus first: the step in brightness from one tile to the other.
    pub dc_step: f64,
}

/// Compares what two tiles give for the same pixels; `None` where there are none, not as many, or some are not finite.
#[must_use]
pub fn overlap_disagreement(first: &[f32], second: &[f32]) -> Option<OverlapDisagreement> {
    if first.len() != second.len() || first.is_empty() {
        return None;
    }
    let (mut absolute, mut signed, mut max) = (Mean::default(), Mean::default(), 0.0_f64);
    for (first, second) in first.iter().zip(second) {
        let difference = f64::from(*second) - f64::from(*first);
        if !difference.is_finite() {
            return None;
        }
        absolute.add(difference.abs());
        signed.add(difference);
        max = max.max(difference.abs());
    }
    Some(OverlapDisagreement {
        mean: absolute.value(),
        max,
        dc_step: signed.value(),
    })
}

/// A mean as it is summed up, in order.
#[derive(Default)]
struct Mean {
    sum: f64,
    n: u64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.n += 1;
    }

    fn value(&self) -> f64 {
        self.sum / self.n.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: PlanarShape = PlanarShape {
        channels: 1,
        height: 8,
        width: 10,
    };

    /// A gradient from left to right, and a step down the middle.
    fn image(step: f32) -> Vec<f32> {
        (0..80)
            .map(|i| {
                let x = i % 10;
                0.01 * x as f32 + if x >= 5 { step } else { 0.0 }
            })
            .collect()
    }

    #[test]
    fn a_step_at_a_tile_line_stands_out_and_a_gradient_does_not() {
        let ratio = |step, column| {
            seam_gradient(&image(step), SHAPE, &[], &[column])
                .unwrap()
                .ratio()
                .unwrap()
        };
        assert!((ratio(0.0, 5) - 1.0).abs() < 1e-4);
        assert!((ratio(0.02, 5) - 3.0).abs() < 1e-4);
        assert!(ratio(0.02, 4) < 1.0, "the step is beside this line");
    }

    #[test]
    fn lines_without_neighbours_and_bad_images_are_refused() {
        let image = image(0.0);
        for (rows, columns) in [
            (&[][..], &[][..]),
            (&[1], &[]),
            (&[7], &[]),
            (&[], &[9]),
            (&[], &[usize::MAX - 1]),
        ] {
            assert_eq!(seam_gradient(&image, SHAPE, rows, columns), None);
        }
        assert_eq!(seam_gradient(&image[1..], SHAPE, &[4], &[]), None);
        let flat = seam_gradient(&[0.5; 80], SHAPE, &[4], &[5]).unwrap();
        assert_eq!(flat.ratio(), None);
    }

    #[test]
    fn a_brighter_tile_is_told_from_noise() {
        let first = [0.1, 0.2, 0.3, 0.4];
        let brighter = first.map(|v| v + 0.05);
        let found = overlap_disagreement(&first, &brighter).unwrap();
        assert!((found.dc_step - 0.05).abs() < 1e-7 && (found.mean - 0.05).abs() < 1e-7);
        let noisy = [0.15, 0.15, 0.35, 0.35];
        let found = overlap_disagreement(&first, &noisy).unwrap();
        assert!(found.dc_step.abs() < 1e-7 && (found.max - 0.05).abs() < 1e-6);
        assert_eq!(overlap_disagreement(&first, &noisy[1..]), None);
        assert_eq!(overlap_disagreement(&[f32::NAN], &[0.0]), None);
    }
}
