//! `cargo xtask calibration`: draws the calibration set that is checked in under `calibration/`.
//!
//! Every pair is a dead-leaves image (Lee, Mumford, Huang, "Occlusion models for natural images: a
//! statistical study of a scale-invariant dead leaves model", IJCV 41, 2001): opaque shapes of power-law
//! size that occlude each other have the edges and the scale statistics of photographs, and nobody owns
//! them. `clean/` holds the image, `noisy/` the same image with Gaussian-Poisson noise.
//!
//! **Determinism.** The pixels depend on this source and on the versions in `Cargo.lock`, not on the
//! machine:
//! - random numbers are PCG-64 words; each image has its own two streams, one for the scene, one for the
//!   noise, so adding an image changes no other;
//! - besides the operations that IEEE 754 rounds exactly (`+ - * /`, square root, floor, round), only
//!   functions of `libm` are called, which are plain Rust; those of `std` come from the platform;
//! - Rust neither fuses nor reorders floating-point operations, and everything runs on one thread in one
//!   order.
//!
//! PNG bytes depend on the encoder's version besides, so the tests compare decoded pixels.

mod noise;
mod plan;
mod plane;
mod random;
mod scene;
mod shape;
mod style;
#[cfg(test)]
mod tests;
mod texture;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, ImageError, RgbImage};

use plan::{PAIRS, Pair};

/// The folder under the set's folder that holds what the sample denoiser is given.
const NOISY: &str = "noisy";
/// The folder under the set's folder that holds the ground truth.
const CLEAN: &str = "clean";

/// Why the calibration set could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GenerateError {
    /// The command line holds something other than `--out DIR`.
    #[error("unexpected argument `{}`; usage: cargo xtask calibration [--out DIR]", .0.display())]
    UnexpectedArgument(OsString),
    /// `--out` is the last argument.
    #[error("`--out` needs a folder; usage: cargo xtask calibration [--out DIR]")]
    MissingFolder,
    /// A folder could not be made, or a file in it could not be written.
    #[error("cannot write `{}`; check that the folder is writable and the disk not full", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The PNG encoder refused an image.
    #[error("cannot encode `{name}` as PNG")]
    Encode {
        /// The file's name.
        name: String,
        /// What the encoder said.
        source: ImageError,
    },
}

/// Runs `cargo xtask calibration` with the arguments after the verb: nothing, or `--out DIR`.
///
/// Without `--out` the set of this checkout is written.
///
/// # Errors
/// [`GenerateError::UnexpectedArgument`] and [`GenerateError::MissingFolder`] for a wrong command line,
/// otherwise those of [`generate`].
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> Result<(), GenerateError> {
    let mut args = args.into_iter();
    let mut out_dir = checked_in();
    while let Some(argument) = args.next() {
        if argument != "--out" {
            return Err(GenerateError::UnexpectedArgument(argument));
        }
        out_dir = args.next().ok_or(GenerateError::MissingFolder)?.into();
    }
    generate(&out_dir)
}

/// Writes every pair as 8-bit RGB PNG to `out_dir/noisy` and `out_dir/clean`, under equal names.
///
/// Folders are made where they are missing; files of the set are replaced, others are left alone.
///
/// # Errors
/// [`GenerateError::Write`] when a folder or file cannot be written, [`GenerateError::Encode`] when an
/// image cannot be encoded.
pub(crate) fn generate(out_dir: &Path) -> Result<(), GenerateError> {
    let (noisy_dir, clean_dir) = (out_dir.join(NOISY), out_dir.join(CLEAN));
    for dir in [&noisy_dir, &clean_dir] {
        fs::create_dir_all(dir).map_err(|source| GenerateError::Write {
            path: dir.clone(),
            source,
        })?;
    }
    for pair in &PAIRS {
        let (clean, noisy) = draw(pair);
        write_png(&clean_dir, &pair.file_name(), &clean)?;
        write_png(&noisy_dir, &pair.file_name(), &noisy)?;
    }
    Ok(())
}

/// The clean and the noisy image of `pair`.
fn draw(pair: &Pair) -> (RgbImage, RgbImage) {
    let clean = scene::render(pair);
    let noisy = noise::add(&clean, pair);
    (clean, noisy)
}

/// The set's folder in this checkout.
fn checked_in() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../calibration")
}

/// Writes to a temporary name first, so that an interrupted run leaves no half image.
fn write_png(dir: &Path, name: &str, image: &RgbImage) -> Result<(), GenerateError> {
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::Adaptive)
        .write_image(
            image.as_raw(),
            image.width(),
            image.height(),
            ExtendedColorType::Rgb8,
        )
        .map_err(|source| GenerateError::Encode {
            name: name.to_owned(),
            source,
        })?;
    let (partial, path) = (dir.join(format!("{name}.partial")), dir.join(name));
    fs::write(&partial, bytes)
        .and_then(|()| fs::rename(&partial, &path))
        .map_err(|source| GenerateError::Write { path, source })
}
