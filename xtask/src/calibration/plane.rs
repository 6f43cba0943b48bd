//! One colour channel in floating point, and the separable filters that a scene needs.

/// One colour channel, row by row.
#[derive(Debug, Clone)]
pub(super) struct Plane {
    /// Width in pixels.
    pub(super) width: usize,
    /// Samples, `width` to a row.
    pub(super) samples: Vec<f32>,
}

impl Plane {
    /// Blurs with a Gaussian of this standard deviation, cut off at three deviations.
    pub(super) fn blur(&self, sigma_px: f64) -> Self {
        let reach = (3.0 * sigma_px).ceil() as i32;
        let weights = (-reach..=reach).map(|tap| {
            let distance = f64::from(tap) / sigma_px;
            libm::exp(-0.5 * distance * distance)
        });
        self.filter(&normalized(weights), 1)
    }

    /// Halves both sides with a Lanczos filter of three lobes.
    pub(super) fn halve(&self) -> Self {
        // Between an output pixel's centre and its twelve nearest input pixels lie ±0.5, ±1.5, … ±5.5.
        let weights = (0..12).map(|tap| {
            let distance = (f64::from(tap) - 5.5) / 2.0;
            sinc(distance) * sinc(distance / 3.0)
        });
        self.filter(&normalized(weights), 2)
    }

    /// Filters along both axes and keeps every `stride`-th pixel of each; pixels beyond the edge repeat it.
    fn filter(&self, weights: &[f32], stride: usize) -> Self {
        self.filter_and_transpose(weights, stride)
            .filter_and_transpose(weights, stride)
    }

    /// Filters the rows, which become the columns of the result.
    fn filter_and_transpose(&self, weights: &[f32], stride: usize) -> Self {
        let height = self.samples.len() / self.width;
        let width_out = self.width / stride;
        let before = (weights.len() - 1) / 2;
        let after = weights.len() - 1 - before;
        let mut samples = vec![0.0; width_out * height];
        let mut padded = Vec::with_capacity(before + self.width + after);
        for (y, row) in self.samples.chunks_exact(self.width).enumerate() {
            padded.clear();
            padded.extend(std::iter::repeat_n(row[0], before));
            padded.extend_from_slice(row);
            padded.extend(std::iter::repeat_n(row[self.width - 1], after));
            for x in 0..width_out {
                samples[x * height + y] = weights
                    .iter()
                    .zip(&padded[x * stride..])
                    .map(|(weight, sample)| weight * sample)
                    .sum();
            }
        }
        Self {
            width: height,
            samples,
        }
    }
}

/// The weights divided by their sum.
fn normalized(weights: impl Iterator<Item = f64>) -> Vec<f32> {
    let weights: Vec<f64> = weights.collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| (weight / sum) as f32).collect()
}

/// sin(πx) / (πx), for x other than 0.
fn sinc(x: f64) -> f64 {
    let angle = std::f64::consts::PI * x;
    libm::sin(angle) / angle
}
