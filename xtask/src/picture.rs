//! `cargo xtask picture`: the picture of the README, from the artifacts that the main job wrote.
//!
//! One crop of a held-out image, side by side: noisy, FP32, INT8, and the difference between the two, amplified.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use tilecast_exec::{Engine, HostTensor, SessionOptions, TractEngine};
use tilecast_onnx::Model;
use tilecast_tile::{PlanarImage, read_image};

/// The held-out image, and where the crop lies in it.
const IMAGE: &str = "calibration/noisy/24-s25-1024x1024.png";
const TOP: usize = 384;
const LEFT: usize = 256;
const SIDE: usize = 256;

/// White between the parts, pixels.
const GAP: usize = 8;

/// How much the difference is amplified.
const AMPLIFICATION: f32 = 32.0;

/// Where the picture goes.
const TARGET: &str = "docs/images/result.png";

/// Why the picture could not be drawn.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DrawError {
    /// The command line holds something other than `--dist DIR`.
    #[error("unexpected argument `{}`; usage: cargo xtask picture [--dist DIR]", .0.display())]
    UnexpectedArgument(OsString),
    /// A model or an image cannot be read or run.
    #[error("cannot make the picture from `{}`; run `cargo xtask quantize recipes/nafnet.yaml` first", path.display())]
    Input {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error>,
    },
    /// The picture cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the encoder or the system said.
        source: image::ImageError,
    },
}

/// Draws the picture; the only argument is the folder of the artifacts, `--dist DIR`, `dist/nafnet` by default.
///
/// # Errors
/// See [`DrawError`].
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> Result<(), DrawError> {
    let mut dist = PathBuf::from("dist/nafnet");
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match (arg.to_str(), args.next()) {
            (Some("--dist"), Some(folder)) => dist = folder.into(),
            _ => return Err(DrawError::UnexpectedArgument(arg)),
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = root.join(IMAGE);
    let noisy = crop(&read_image(&path).map_err(|e| DrawError::Input {
        path,
        source: e.into(),
    })?);
    let fp32 = denoise(&root.join("models/nafnet-denoise.onnx"), &noisy)?;
    let int8 = denoise(&dist.join("nafnet-denoise-int8-ort-cpu.onnx"), &noisy)?;
    let error: Vec<f32> = fp32
        .iter()
        .zip(&int8)
        .map(|(a, b)| (a - b).abs() * AMPLIFICATION)
        .collect();
    let picture = side_by_side(&[&noisy, &fp32, &int8, &error]);
    let path = root.join(TARGET);
    picture
        .save(&path)
        .map_err(|source| DrawError::Write { path, source })
}

/// The crop's planes, `[3, SIDE, SIDE]`.
fn crop(image: &PlanarImage) -> Vec<f32> {
    let rows = |channel| (TOP..TOP + SIDE).map(move |y| &image.row(channel, y)[LEFT..LEFT + SIDE]);
    (0..3).flat_map(rows).flatten().copied().collect()
}

fn denoise(path: &Path, input: &[f32]) -> Result<Vec<f32>, DrawError> {
    let run = || -> Result<Vec<f32>, Box<dyn std::error::Error>> {
        let model = Model::load(path)?;
        let dims = vec![1, 3, SIDE, SIDE];
        let options = SessionOptions {
            input_shapes: vec![("input".to_owned(), dims.clone())],
            observe: Vec::new(),
            ..SessionOptions::default()
        };
        let mut outputs = TractEngine::new()
            .load(&model, &options)?
            .run(&[HostTensor::new(dims, input.to_vec())])?;
        Ok(outputs.swap_remove(0).into_data())
    };
    run().map_err(|source| DrawError::Input {
        path: path.to_owned(),
        source,
    })
}

fn side_by_side(parts: &[&[f32]]) -> RgbImage {
    let width = parts.len() * SIDE + (parts.len() - 1) * GAP;
    let mut picture = RgbImage::from_pixel(width as u32, SIDE as u32, Rgb([255; 3]));
    for (index, part) in parts.iter().enumerate() {
        for y in 0..SIDE {
            for x in 0..SIDE {
                let sample = |channel: usize| {
                    (part[(channel * SIDE + y) * SIDE + x].clamp(0.0, 1.0) * 255.0).round() as u8
                };
                let left = index * (SIDE + GAP);
                picture.put_pixel(
                    (left + x) as u32,
                    y as u32,
                    Rgb([sample(0), sample(1), sample(2)]),
                );
            }
        }
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_side_by_side_and_are_clamped() {
        let dark = vec![-1.0; 3 * SIDE * SIDE];
        let bright = vec![2.0; 3 * SIDE * SIDE];
        let picture = side_by_side(&[&dark, &bright]);
        assert_eq!(picture.dimensions(), ((2 * SIDE + GAP) as u32, SIDE as u32));
        assert_eq!(picture.get_pixel(0, 0), &Rgb([0; 3]));
        assert_eq!(picture.get_pixel((SIDE + GAP) as u32, 0), &Rgb([255; 3]));
    }

    #[test]
    fn other_arguments_are_refused() {
        let error = run(["--folder".into(), "x".into()]).unwrap_err();
        assert!(error.to_string().contains("`--folder`"), "{error}");
    }
}
