//! How much memory a tiled run will take, before it is made.

use crate::TilePlan;

/// What a prediction needs to know besides the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeakFactors {
    /// Peak of one run of one tile, bytes: [`tilecast_exec::Session::peak_live_bytes`] for the plan's tile size.
    pub session_bytes: usize,
    /// Tiles that run at the same time; more than the plan has count as many as it has.
    pub n_workers: usize,
    /// Planes of the input image.
    pub input_channels: usize,
    /// Planes of the output image.
    pub output_channels: usize,
}

/// Predicted peak of a tiled run, bytes: the tiles in flight, the input image and the output image.
///
/// Weights are part of each session's figure and so count once per worker although workers share them: a prediction
/// that is met is worth more than a tight one. Saturates instead of overflowing.
#[must_use]
pub fn predicted_peak_bytes(plan: &TilePlan, factors: &PeakFactors) -> usize {
    let image_bytes = |height: usize, width: usize, channels: usize| {
        height
            .saturating_mul(width)
            .saturating_mul(channels)
            .saturating_mul(size_of::<f32>())
    };
    let (input, output) = (plan.request().image_px, plan.output_px());
    let n_in_flight = factors.n_workers.clamp(1, plan.n_tiles());
    factors
        .session_bytes
        .saturating_mul(n_in_flight)
        .saturating_add(image_bytes(
            input.height,
            input.width,
            factors.input_channels,
        ))
        .saturating_add(image_bytes(
            output.height,
            output.width,
            factors.output_channels,
        ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fill, Size, TileRequest, UnalignedSizes};

    #[test]
    fn the_peak_is_tiles_in_flight_and_both_images() {
        let request = TileRequest {
            image_px: Size {
                height: 100,
                width: 200,
            },
            tile_px: Some(128),
            halo_px: Some(16),
            alignment_px: 16,
            scale: 2,
            fill: Fill::Zero,
            unaligned: UnalignedSizes::Accepted,
        };
        let plan = TilePlan::new(&request).unwrap();
        assert_eq!(plan.n_tiles(), 2);
        let factors = PeakFactors {
            session_bytes: 1000,
            n_workers: 1,
            input_channels: 3,
            output_channels: 1,
        };
        let images = 100 * 200 * 3 * 4 + 200 * 400 * 4;
        for (n_workers, tiles) in [(0, 1), (1, 1), (2, 2), (16, 2)] {
            let factors = PeakFactors {
                n_workers,
                ..factors
            };
            assert_eq!(
                predicted_peak_bytes(&plan, &factors),
                images + 1000 * tiles,
                "{n_workers} workers"
            );
        }
        let huge = PeakFactors {
            session_bytes: usize::MAX,
            ..factors
        };
        assert_eq!(predicted_peak_bytes(&plan, &huge), usize::MAX);
    }
}
