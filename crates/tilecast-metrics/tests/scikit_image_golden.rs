//! PSNR and SSIM against scikit-image.
//!
//! `tests/golden/metrics/generate.py` at the root of the repository made the results; the images are made here
//! by the same integer arithmetic.

use serde::Deserialize;
use tilecast_metrics::{PSNR_IDENTICAL_DB, PlanarShape, SquaredError, ssim};

/// Largest difference to scikit-image on `f64` images, where both sides round alike.
const F64_TOLERANCE: f64 = 1e-10;
/// Largest difference to scikit-image on `f32` images, where it filters in `f32`.
const F32_TOLERANCE: f64 = 1e-4;

#[derive(Debug, Deserialize)]
struct Case {
    image: String,
    height: usize,
    width: usize,
    channels: usize,
    seed: u32,
    amplitude: i32,
    offset: i32,
    peak: u16,
    ssim_f64: f64,
    ssim_f32: f64,
    psnr_db: Option<f64>,
}

fn noise(seed: u32, c: u32, y: u32, x: u32) -> i32 {
    let mut value = seed.wrapping_mul(0x9E37_79B1);
    for (coordinate, factor) in [(c, 0x85EB_CA77_u32), (y, 0xC2B2_AE3D), (x, 0x27D4_EB2F)] {
        value = value.wrapping_add(coordinate.wrapping_mul(factor));
    }
    value ^= value >> 15;
    value = value.wrapping_mul(0x2C1B_3C6D);
    value ^= value >> 12;
    (value % 1024) as i32
}

impl Case {
    fn pixel(&self, c: u32, y: u32, x: u32) -> i32 {
        let integer = match self.image.as_str() {
            "flat" => 512,
            "ramp" => (x * 17 + y * 9 + c * 200) % 1024,
            "texture" => (x * x * 3 + y * y * 5 + x * y * 7 + c * 131) % 1024,
            "noise" => return noise(self.seed, c, y, x),
            other => panic!("unknown image `{other}`"),
        };
        integer as i32
    }

    fn images(&self) -> (Vec<f32>, Vec<f32>) {
        let mut images = (Vec::new(), Vec::new());
        let to_float = |integer: i32| integer as f32 / 1024.0 * f32::from(self.peak);
        for c in 0..self.channels as u32 {
            for y in 0..self.height as u32 {
                for x in 0..self.width as u32 {
                    let value = self.pixel(c, y, x);
                    let centred = (noise(self.seed + 1, c, y, x) - 512) * self.amplitude;
                    images.0.push(to_float(value));
                    images
                        .1
                        .push(to_float(value + centred.div_euclid(1024) + self.offset));
                }
            }
        }
        images
    }
}

#[test]
fn psnr_and_ssim_equal_scikit_image() {
    let cases: Vec<Case> =
        serde_json::from_str(include_str!("../../../tests/golden/metrics/images.json"))
            .expect("golden file");
    assert!(cases.len() > 50, "the golden file is truncated");
    let mut failures = Vec::new();
    for case in &cases {
        let (reference, candidate) = case.images();
        let peak = f64::from(case.peak);
        let shape = PlanarShape {
            channels: case.channels,
            height: case.height,
            width: case.width,
        };
        let similarity = ssim(&reference, &candidate, shape, peak).expect("golden images");
        let mut error = SquaredError::new();
        error.add(&reference, &candidate).expect("same length");
        let decibels = error.psnr_db(peak).expect("finite images");
        if (similarity - case.ssim_f64).abs() > F64_TOLERANCE
            || (similarity - case.ssim_f32).abs() > F32_TOLERANCE
            || (decibels - case.psnr_db.unwrap_or(PSNR_IDENTICAL_DB)).abs() > F64_TOLERANCE
        {
            failures.push(format!("ssim {similarity}, psnr {decibels} for {case:?}"));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} differ:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}
