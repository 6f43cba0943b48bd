//! Colour difference as people see it: CIEDE2000.
//!
//! Sharma, Wu, Dalal, *The CIEDE2000 Color-Difference Formula: Implementation Notes, Supplementary Test Data, and
//! Mathematical Observations*, Color Research and Application 30 (2005), equations 2 to 22, with kL = kC = kH = 1. About 1
//! is the least difference that people see side by side.
//!
//! Pixels are taken as sRGB (IEC 61966-2-1) under its white, D65, whatever profile an image has: both images have the
//! same, and the measure is about their difference.

use schemars::JsonSchema;
use serde::Serialize;

/// A colour in CIELAB, D65.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lab {
    /// Lightness, 0 to 100.
    pub l: f64,
    /// From green to red.
    pub a: f64,
    /// From blue to yellow.
    pub b: f64,
}

impl Lab {
    /// The colour of sRGB values in [0, 1]; values outside are clamped.
    #[must_use]
    pub fn from_srgb(rgb: [f32; 3]) -> Self {
        let [r, g, b] = rgb.map(|value| linear(f64::from(value).clamp(0.0, 1.0)));
        // Relative to the white of D65, so that white is (1, 1, 1).
        let x = (0.412_456_4 * r + 0.357_576_1 * g + 0.180_437_5 * b) / 0.950_47;
        let y = 0.212_672_9 * r + 0.715_152_2 * g + 0.072_175_0 * b;
        let z = (0.019_333_9 * r + 0.119_192_0 * g + 0.950_304_1 * b) / 1.088_83;
        let [fx, fy, fz] = [x, y, z].map(compress);
        Self {
            l: 116.0 * fy - 16.0,
            a: 500.0 * (fx - fy),
            b: 200.0 * (fy - fz),
        }
    }
}

fn linear(value: f64) -> f64 {
    if value <= 0.040_45 {
        value / 12.92
    } else {
        ((value + 0.055) / 1.055).powf(2.4)
    }
}

fn compress(value: f64) -> f64 {
    const EDGE: f64 = 6.0 / 29.0;
    if value > EDGE * EDGE * EDGE {
        value.cbrt()
    } else {
        value / (3.0 * EDGE * EDGE) + 4.0 / 29.0
    }
}

/// The difference of two colours.
#[must_use]
pub fn delta_e_2000(first: Lab, second: Lab) -> f64 {
    let chroma = |lab: Lab| lab.a.hypot(lab.b);
    let seventh = |c: f64| c.powi(7) / (c.powi(7) + 25.0_f64.powi(7));
    let mean_chroma = f64::midpoint(chroma(first), chroma(second));
    let stretch = 1.0 + 0.5 * (1.0 - seventh(mean_chroma).sqrt());
    let polar = |lab: Lab| {
        let a = stretch * lab.a;
        let hue = if a == 0.0 && lab.b == 0.0 {
            0.0
        } else {
            lab.b.atan2(a).to_degrees().rem_euclid(360.0)
        };
        (a.hypot(lab.b), hue)
    };
    let ((c1, h1), (c2, h2)) = (polar(first), polar(second));
    let is_grey = c1 * c2 == 0.0;

    let delta_l = second.l - first.l;
    let delta_c = c2 - c1;
    let turn = match h2 - h1 {
        _ if is_grey => 0.0,
        turn if turn > 180.0 => turn - 360.0,
        turn if turn < -180.0 => turn + 360.0,
        turn => turn,
    };
    let delta_h = 2.0 * (c1 * c2).sqrt() * (turn / 2.0).to_radians().sin();

    let l = f64::midpoint(first.l, second.l);
    let c = f64::midpoint(c1, c2);
    let h = match h1 + h2 {
        sum if is_grey => sum,
        sum if (h1 - h2).abs() <= 180.0 => sum / 2.0,
        sum if sum < 360.0 => f64::midpoint(sum, 360.0),
        sum => (sum - 360.0) / 2.0,
    };
    let cos = |degrees: f64| degrees.to_radians().cos();
    let t = 1.0 - 0.17 * cos(h - 30.0) + 0.24 * cos(2.0 * h) + 0.32 * cos(3.0 * h + 6.0)
        - 0.20 * cos(4.0 * h - 63.0);
    let rotation = 30.0 * (-((h - 275.0) / 25.0).powi(2)).exp();
    let weight_l = 1.0 + 0.015 * (l - 50.0).powi(2) / (20.0 + (l - 50.0).powi(2)).sqrt();
    let weight_c = 1.0 + 0.045 * c;
    let weight_h = 1.0 + 0.015 * c * t;
    let rotate = -(2.0 * rotation).to_radians().sin() * 2.0 * seventh(c).sqrt();
    let (l, c, h) = (delta_l / weight_l, delta_c / weight_c, delta_h / weight_h);
    (l * l + c * c + h * h + rotate * c * h).sqrt()
}

/// Colour differences of the pixels of images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct DeltaESummary {
    /// Mean over pixels.
    pub mean: f64,
    /// What 99 of 100 pixels do not exceed, in steps of 0.01 and at most 0.01 too much; 128 where it is more than that.
    pub p99: f64,
    /// The worst pixel.
    pub max: f64,
}

/// Steps of 1 in which [`DeltaESummary::p99`] is counted.
const STEPS: f64 = 100.0;

/// The largest difference that is told from larger ones: colours of sRGB are hardly further apart.
const LARGEST: f64 = 128.0;

/// CIEDE2000 of two sRGB images, `[3, H, W]`, values in [0, 1]; `None` where they are not of one such size, are empty, or
/// hold what is not finite.
#[must_use]
pub fn delta_e(reference: &[f32], candidate: &[f32]) -> Option<DeltaESummary> {
    let n_pixels = reference.len() / 3;
    let is_finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
    if reference.len() != candidate.len()
        || n_pixels * 3 != reference.len()
        || n_pixels == 0
        || !is_finite(reference)
        || !is_finite(candidate)
    {
        return None;
    }
    let color = |image: &[f32], pixel: usize| {
        Lab::from_srgb([0, 1, 2].map(|plane| image[plane * n_pixels + pixel]))
    };
    let (mut sum, mut max) = (0.0_f64, 0.0_f64);
    // Larger differences than those of black and white are counted as these.
    let last = (LARGEST * STEPS) as usize;
    let mut counts = vec![0_usize; last + 1];
    for pixel in 0..n_pixels {
        let difference = delta_e_2000(color(reference, pixel), color(candidate, pixel));
        sum += difference;
        max = max.max(difference);
        let step = (difference.min(LARGEST) * STEPS).ceil() as usize;
        counts[step.min(last)] += 1;
    }
    let needed = n_pixels - n_pixels / 100;
    let mut below = 0;
    let step = counts.iter().position(|count| {
        below += count;
        below >= needed
    });
    Some(DeltaESummary {
        mean: sum / n_pixels as f64,
        p99: step.unwrap_or(0) as f64 / STEPS,
        max,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pairs_of_the_paper_have_its_differences() {
        // Table 1 of Sharma et al.: grey, blue, hues on both sides of 0 and 180 degrees, large and small differences.
        let pairs = [
            ([50.0, 2.6772, -79.7751], [50.0, 0.0, -82.7485], 2.0425),
            ([50.0, 3.1571, -77.2803], [50.0, 0.0, -82.7485], 2.8615),
            ([50.0, -1.3802, -84.2814], [50.0, 0.0, -82.7485], 1.0),
            ([50.0, 0.0, 0.0], [50.0, -1.0, 2.0], 2.3669),
            ([50.0, 2.49, -0.001], [50.0, -2.49, 0.0009], 7.1792),
            ([50.0, 2.49, -0.001], [50.0, -2.49, 0.0011], 7.2195),
            ([50.0, 2.5, 0.0], [73.0, 25.0, -18.0], 27.1492),
            ([50.0, 2.5, 0.0], [61.0, -5.0, 29.0], 22.8977),
            ([50.0, 2.5, 0.0], [56.0, -27.0, -3.0], 31.9030),
            ([50.0, 2.5, 0.0], [58.0, 24.0, 15.0], 19.4535),
            (
                [60.2574, -34.0099, 36.2677],
                [60.4626, -34.1751, 39.4387],
                1.2644,
            ),
            (
                [2.0776, 0.0795, -1.1350],
                [0.9033, -0.0636, -0.5514],
                0.9082,
            ),
        ];
        let lab = |[l, a, b]: [f64; 3]| Lab { l, a, b };
        for (first, second, expected) in pairs {
            let (first, second) = (lab(first), lab(second));
            for found in [delta_e_2000(first, second), delta_e_2000(second, first)] {
                assert!(
                    (found - expected).abs() < 1e-4,
                    "{first:?} {second:?}: {found}"
                );
            }
        }
    }

    #[test]
    fn white_grey_and_primaries_are_where_they_belong() {
        let cases = [
            ([1.0, 1.0, 1.0], [100.0, 0.0, 0.0]),
            ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
            ([0.5, 0.5, 0.5], [53.389, 0.0, 0.0]),
            ([1.0, 0.0, 0.0], [53.241, 80.092, 67.203]),
            ([0.0, 0.0, 1.0], [32.297, 79.188, -107.860]),
        ];
        for (rgb, [l, a, b]) in cases {
            let lab = Lab::from_srgb(rgb);
            let far = [lab.l - l, lab.a - a, lab.b - b]
                .into_iter()
                .any(|difference| difference.abs() > 0.02);
            assert!(!far, "{rgb:?}: {lab:?}");
        }
    }

    #[test]
    fn images_are_summed_up_and_bad_ones_refused() {
        let reference = [0.5_f32; 12];
        let mut candidate = reference;
        candidate[0] = 0.6;
        let summary = delta_e(&reference, &candidate).unwrap();
        assert!((summary.max - 4.0 * summary.mean).abs() < 1e-12 && summary.max > 1.0);
        // One of four pixels is more than one of a hundred.
        assert!(
            (0.0..=0.01).contains(&(summary.p99 - summary.max)),
            "{summary:?}"
        );
        assert_eq!(
            delta_e(&reference, &reference),
            Some(DeltaESummary::default())
        );
        assert_eq!(delta_e(&reference, &reference[..9]), None);
        assert_eq!(delta_e(&[], &[]), None);
        // Two of 200 pixels may be worse than the percentile, three may not.
        for (n_worse, p99) in [(2, 0.0), (3, 1.0)] {
            let reference = vec![0.5_f32; 600];
            let mut candidate = reference.clone();
            candidate[..n_worse].fill(0.6);
            let found = delta_e(&reference, &candidate).unwrap();
            assert_eq!(found.p99 > p99, n_worse == 3, "{found:?}");
        }
        candidate[3] = f32::NAN;
        assert_eq!(delta_e(&reference, &candidate), None);
    }
}
