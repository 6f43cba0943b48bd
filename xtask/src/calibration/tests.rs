//! The checked-in set is what the generator draws, and the plan is what recipes rely on.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;

use image::{Rgb, RgbImage};

use super::plan::{PAIRS, Pair};
use super::plane::Plane;
use super::random::{Purpose, Random};
use super::shape::Shape;
use super::style::Look;
use super::texture::Texture;
use super::{CLEAN, GenerateError, NOISY, checked_in, draw, noise, run};

/// Every fourth file in name order: `holdout: 0.25` of a recipe.
fn is_held_out(pair: &Pair) -> bool {
    pair.number.is_multiple_of(4)
}

#[test]
fn checked_in_pixels_are_what_the_generator_draws() {
    let mut differences = Vec::new();
    for pair in &PAIRS {
        let (clean, noisy) = draw(pair);
        for (folder, drawn) in [(CLEAN, clean), (NOISY, noisy)] {
            let path = checked_in().join(folder).join(pair.file_name());
            let stored = image::open(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
                .into_rgb8();
            if stored.dimensions() != drawn.dimensions() {
                differences.push(format!("{folder}/{}: other size", pair.file_name()));
                continue;
            }
            let n_different = stored
                .iter()
                .zip(drawn.iter())
                .filter(|(a, b)| a != b)
                .count();
            if n_different > 0 {
                differences.push(format!(
                    "{folder}/{}: {n_different} samples differ",
                    pair.file_name()
                ));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "run `cargo xtask calibration` if the change is meant:\n{}",
        differences.join("\n")
    );
}

#[test]
fn the_folders_hold_the_planned_files_and_nothing_else() {
    let planned: BTreeSet<OsString> = PAIRS.iter().map(|pair| pair.file_name().into()).collect();
    for folder in [CLEAN, NOISY] {
        let found: BTreeSet<OsString> = fs::read_dir(checked_in().join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(found, planned, "{folder}");
    }
}

#[test]
fn names_sort_in_the_order_of_the_plan() {
    let names: Vec<String> = PAIRS.iter().map(Pair::file_name).collect();
    assert!(names.is_sorted(), "{names:?}");
    assert_eq!(names[2], "03-s05-384x256.png");
    for (index, pair) in PAIRS.iter().enumerate() {
        assert_eq!(pair.number as usize, index + 1);
    }
}

#[test]
fn the_hold_out_covers_every_noise_level_and_large_images() {
    let held_out: Vec<(u32, u32)> = PAIRS
        .iter()
        .filter(|pair| is_held_out(pair))
        .map(|pair| (pair.number, pair.sigma))
        .collect();
    assert_eq!(
        held_out,
        [(4, 5), (8, 10), (12, 25), (16, 40), (20, 10), (24, 25)]
    );
    for pair in &PAIRS {
        let allowed = match (pair.number, is_held_out(pair)) {
            (4, _) => 256..=256,
            (20 | 24, _) => 1024..=1024,
            (_, true) => 320..=512,
            (_, false) => 256..=512,
        };
        for side in [pair.width_px, pair.height_px] {
            assert!(allowed.contains(&side), "{}", pair.file_name());
        }
    }
}

#[test]
fn each_noise_level_has_four_calibration_images_at_least() {
    let mut n_images = BTreeMap::new();
    for pair in PAIRS.iter().filter(|pair| !is_held_out(pair)) {
        *n_images.entry(pair.sigma).or_insert(0) += 1;
    }
    assert_eq!(
        n_images.keys().copied().collect::<Vec<_>>(),
        [5, 10, 25, 40]
    );
    assert!(n_images.values().all(|&n| n >= 4), "{n_images:?}");
}

#[test]
fn the_readme_lists_every_pair() {
    let readme = fs::read_to_string(checked_in().join("README.md")).unwrap();
    let rows: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let expected: Vec<String> = PAIRS
        .iter()
        .map(|pair| {
            let set = if is_held_out(pair) {
                "hold-out"
            } else {
                "calibration"
            };
            format!(
                "| `{}` | {} | {}×{} | {:?} | {set} |",
                pair.file_name(),
                pair.sigma,
                pair.width_px,
                pair.height_px,
                pair.look
            )
        })
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn noise_has_the_variance_it_promises() {
    // Far from black and white, where clamping would narrow it. Rounding to 8 bits adds 1/12.
    for (sigma, level) in [(5, 50_u8), (5, 200), (10, 128), (25, 128)] {
        let pair = Pair { sigma, ..PAIRS[0] };
        let noisy = noise::add(&RgbImage::from_pixel(256, 256, Rgb([level; 3])), &pair);
        let n = noisy.len() as f64;
        let deviations = || noisy.iter().map(|&s| f64::from(s) - f64::from(level));
        let mean = deviations().sum::<f64>() / n;
        let variance = deviations().map(|d| d * d).sum::<f64>() / n;
        let expected =
            f64::from(sigma * sigma) + noise::GAIN * 255.0 * f64::from(level) + 1.0 / 12.0;
        assert!(mean.abs() < 0.2, "sigma {sigma}: mean {mean}");
        assert!(
            (variance / expected - 1.0).abs() < 0.02,
            "sigma {sigma}: variance {variance}, expected {expected}"
        );
    }
}

#[test]
fn mid_grey_has_the_deviation_of_the_file_name() {
    for pair in &PAIRS {
        let sigma = f64::from(pair.sigma);
        let deviation = (sigma * sigma + noise::GAIN * 0.5 * 255.0 * 255.0).sqrt();
        assert!(
            (deviation / sigma - 1.0).abs() < 0.1,
            "{}: {deviation}",
            pair.file_name()
        );
    }
}

#[test]
fn textures_are_centred_bounded_and_of_like_strength() {
    let mut random = Random::new(0, Purpose::Scene);
    for _ in 0..20 {
        let texture = Texture::draw(&mut random, &Look::Natural.style());
        let values: Vec<f64> = (0..1 << 16)
            .map(|i| texture.at(f64::from(i % 256) * 16.0, f64::from(i / 256) * 16.0))
            .collect();
        let deviation = (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt();
        assert!(values.iter().all(|v| v.abs() <= 1.5), "{texture:?}");
        assert!((0.4..0.8).contains(&deviation), "{deviation}: {texture:?}");
    }
}

#[test]
fn polygons_cover_the_pixels_whose_centres_they_hold() {
    let square = Shape::Polygon(vec![[1.0, 1.0], [4.4, 1.0], [4.4, 3.6], [1.0, 3.6]]);
    let outside = Shape::Polygon(vec![[-9.0, -9.0], [-5.0, -9.0], [-9.0, -5.0]]);
    let across = Shape::Polygon(vec![[-9.0, -9.0], [99.0, -9.0], [99.0, 99.0], [-9.0, 99.0]]);
    for (name, shape, expected) in [
        ("square", square, 9),
        ("outside", outside, 0),
        ("across", across, 64),
    ] {
        assert_eq!(covered(&shape, 8), expected, "{name}");
    }
}

#[test]
fn shapes_are_as_large_as_their_radius_says() {
    let mut random = Random::new(0, Purpose::Scene);
    for _ in 0..50 {
        let shape = Shape::draw(&mut random, [400.0, 400.0], 50.0);
        let area = covered(&shape, 800) as f64;
        // The least minor axis of an ellipse is 0.4 radii; a polygon may be a sliver.
        let allowed = match shape {
            Shape::Ellipse(_) => 0.39 * 7854.0..7900.0,
            Shape::Polygon(_) => 0.0..300.0 * 20.0 + 7854.0,
        };
        assert!(allowed.contains(&area), "{area}: {shape:?}");
    }
}

/// Pixels of a square image that the shape covers.
fn covered(shape: &Shape, side: usize) -> usize {
    let mut n_covered = 0;
    let mut crossings = Vec::new();
    for row in shape.rows(side) {
        shape.for_each_run(row, side, &mut crossings, |run| n_covered += run.len());
    }
    n_covered
}

#[test]
fn filters_keep_even_areas_and_halving_keeps_ramps() {
    let ramp = Plane {
        width: 64,
        samples: (0..64 * 32).map(|i| (i % 64) as f32).collect(),
    };
    let even = Plane {
        width: 64,
        samples: vec![0.25; 64 * 32],
    };
    let halved = ramp.halve();
    assert_eq!((halved.width, halved.samples.len()), (32, 32 * 16));
    // Away from the edges, where repeated pixels bend the ramp.
    for x in 3..29 {
        let expected = 2.0 * x as f32 + 0.5;
        assert!((halved.samples[5 * 32 + x] - expected).abs() < 1e-4);
    }
    for filtered in [even.halve(), even.blur(0.3), even.blur(4.0)] {
        assert!(filtered.samples.iter().all(|s| (s - 0.25).abs() < 1e-6));
    }
}

#[test]
fn wrong_arguments_are_refused_by_name() {
    let refused = |args: &[&str]| run(args.iter().map(OsString::from)).unwrap_err();
    assert!(matches!(
        refused(&["--output", "x"]),
        GenerateError::UnexpectedArgument(argument) if argument == "--output"
    ));
    assert!(matches!(refused(&["--out"]), GenerateError::MissingFolder));
}

#[test]
fn an_unwritable_folder_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = run(["--out".into(), file.clone().into_os_string()]).unwrap_err();
    assert!(
        error.to_string().contains(file.to_str().unwrap()),
        "{error}"
    );
}
