//! SSIMULACRA2 against libjxl's own program, on pictures that a few lines make.
//!
//! The scores are those of `ssimulacra2` of libjxl as the crate `fast-ssim2` 0.9.1 publishes them (`src/reference_data.rs`).

use tilecast_metrics::{PlanarShape, ssimulacra2};

/// Largest difference. The crate's colours are a little coarser: it was measured up to 0.39 above libjxl where hardly anything
/// differs (at 32 px 1.2, which is why so small images are not measured), and within 0.06 where much does.
const TOLERANCE: f64 = 0.5;

/// A value of 0 to 255 at a column and row of a square of this side.
type Pattern = fn(usize, usize, usize) -> u8;

fn grey(_: usize, _: usize, _: usize) -> u8 {
    128
}

fn ramp(x: usize, _: usize, side: usize) -> u8 {
    (x * 255 / (side - 1)) as u8
}

fn edge(x: usize, _: usize, side: usize) -> u8 {
    if x < side / 2 { 0 } else { 255 }
}

/// The mean of the eight by eight pixels around one, from four before to three behind, of another pattern.
fn blurred(pattern: Pattern, x: usize, y: usize, side: usize) -> u8 {
    let at = |position: usize, offset: usize| (position + offset).saturating_sub(4).min(side - 1);
    let mut sum = 0_u32;
    for dy in 0..8 {
        for dx in 0..8 {
            sum += u32::from(pattern(at(x, dx), at(y, dy), side));
        }
    }
    (sum / 64) as u8
}

const CASES: [(&str, usize, Pattern, Pattern, f64); 9] = [
    ("shift 1", 64, grey, |_, _, _| 129, 97.986_721_26),
    ("shift 20", 64, grey, |_, _, _| 148, 56.058_555_84),
    ("shift 5", 128, grey, |_, _, _| 133, 88.540_708_76),
    ("shift 50", 128, grey, |_, _, _| 178, -9.823_833_15),
    ("shift 1", 256, grey, |_, _, _| 129, 96.150_270_98),
    ("shift 20", 256, grey, |_, _, _| 148, 59.778_929_18),
    ("ramp, grey", 64, ramp, grey, -64.568_721_48),
    (
        "ramp, blurred",
        64,
        ramp,
        |x, y, side| blurred(ramp, x, y, side),
        94.340_903_15,
    ),
    (
        "edge, blurred",
        64,
        edge,
        |x, y, side| blurred(edge, x, y, side),
        24.273_335_52,
    ),
];

#[test]
fn ssimulacra2_equals_libjxl() {
    let mut failures = Vec::new();
    for (name, side, reference, candidate, expected) in CASES {
        let image = |pattern: Pattern| -> Vec<f32> {
            let plane =
                (0..side * side).map(|i| f32::from(pattern(i % side, i / side, side)) / 255.0);
            let plane: Vec<f32> = plane.collect();
            plane.repeat(3)
        };
        let shape = PlanarShape {
            channels: 3,
            height: side,
            width: side,
        };
        let found =
            ssimulacra2(&image(reference), &image(candidate), shape).expect("finite images");
        if (found - expected).abs() > TOLERANCE {
            failures.push(format!(
                "{name} of {side} px: {found} instead of {expected}"
            ));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
