//! Writing planes of floats to an image file.

use std::error::Error;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::tiff::TiffEncoder;
use image::error::{LimitError, LimitErrorKind};
use image::{
    EncodableLayout, ImageBuffer, ImageEncoder, ImageError, ImageResult, Luma, PixelWithColorType,
    Rgb,
};
use tilecast_onnx::write_atomically;

use super::{Format, IMAGE_EXTENSIONS, format_of};
use crate::{BitDepth, PlanarImage};

/// Quality of JPEG files, 1 to 100. Colour is not subsampled.
pub const JPEG_QUALITY: u8 = 95;

/// What kind of failure a [`WriteImageError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteImageErrorKind {
    /// The folder is missing or cannot be written.
    Io,
    /// The format is unknown or cannot hold such an image.
    Unsupported,
}

/// Why an image could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write image `{}`: {reason}", path.display())]
pub struct WriteImageError {
    kind: WriteImageErrorKind,
    path: PathBuf,
    reason: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl WriteImageError {
    fn new(kind: WriteImageErrorKind, path: &Path, reason: impl Into<String>) -> Self {
        Self {
            kind,
            path: path.to_owned(),
            reason: reason.into(),
            source: None,
        }
    }

    /// The category that decides what the user can do.
    #[must_use]
    pub fn kind(&self) -> WriteImageErrorKind {
        self.kind
    }
}

/// Writes an image in the format that the extension names, whole or not at all.
///
/// Values are clamped to [0, 1] and rounded to the nearest sample; what is not a number becomes 0. Samples have the bit
/// depth of the image, in JPEG 8 bits. The colour profile is kept.
///
/// # Errors
/// The extension is none of [`IMAGE_EXTENSIONS`], the image has neither one nor three planes or is too large for the
/// format, or the folder cannot be written.
pub fn write_image(path: &Path, image: &PlanarImage) -> Result<(), WriteImageError> {
    let unsupported =
        |reason: String| WriteImageError::new(WriteImageErrorKind::Unsupported, path, reason);
    let format = known_format(path)?;
    if !matches!(image.channels(), 1 | 3) {
        let n = image.channels();
        return Err(unsupported(format!(
            "it has {n} channels; image files hold 1 (grey) or 3 (RGB)"
        )));
    }
    let bytes = encode(image, format).map_err(|error| WriteImageError {
        source: Some(error.into()),
        ..unsupported(format!(
            "the format cannot hold {} px; choose another",
            image.size()
        ))
    })?;
    write_atomically(path, &bytes).map_err(|source| {
        let reason = match source.kind() {
            io::ErrorKind::NotFound => NO_FOLDER.to_owned(),
            _ => source.to_string(),
        };
        WriteImageError {
            source: Some(source.into()),
            ..WriteImageError::new(WriteImageErrorKind::Io, path, reason)
        }
    })
}

/// Checks before the work what [`write_image`] would find out after it: that the extension names a format and that the
/// folder exists.
///
/// # Errors
/// One of the two does not hold.
pub fn check_image_target(path: &Path) -> Result<(), WriteImageError> {
    known_format(path)?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => Err(
            WriteImageError::new(WriteImageErrorKind::Io, path, NO_FOLDER),
        ),
        _ => Ok(()),
    }
}

const NO_FOLDER: &str = "there is no such folder; create it first";

fn known_format(path: &Path) -> Result<Format, WriteImageError> {
    format_of(path).ok_or_else(|| {
        let known = IMAGE_EXTENSIONS.join(", ");
        let reason = format!("its extension names no known format; use one of {known}");
        WriteImageError::new(WriteImageErrorKind::Unsupported, path, reason)
    })
}

fn encode(image: &PlanarImage, format: Format) -> ImageResult<Vec<u8>> {
    let bit_depth = match format {
        Format::Jpeg => BitDepth::Eight,
        Format::Png | Format::Tiff => image.bit_depth(),
    };
    let max = bit_depth.max_sample();
    // Casts of floats saturate, and take what is not a number to 0.
    match (bit_depth, image.channels()) {
        (BitDepth::Eight, 1) => encode_as::<Luma<u8>>(image, format, |v| round_to(v, max) as u8),
        (BitDepth::Eight, _) => encode_as::<Rgb<u8>>(image, format, |v| round_to(v, max) as u8),
        (BitDepth::Sixteen, 1) => {
            encode_as::<Luma<u16>>(image, format, |v| round_to(v, max) as u16)
        }
        (BitDepth::Sixteen, _) => encode_as::<Rgb<u16>>(image, format, |v| round_to(v, max) as u16),
    }
}

fn round_to(value: f32, max: f32) -> f32 {
    (value.clamp(0.0, 1.0) * max).round()
}

fn encode_as<P>(
    image: &PlanarImage,
    format: Format,
    to_sample: impl Fn(f32) -> P::Subpixel,
) -> ImageResult<Vec<u8>>
where
    P: PixelWithColorType,
    [P::Subpixel]: EncodableLayout,
{
    let (size, channels) = (image.size(), image.channels());
    let mut samples = Vec::with_capacity(image.data().len());
    for y in 0..size.height {
        for x in 0..size.width {
            samples.extend((0..channels).map(|channel| to_sample(image.row(channel, y)[x])));
        }
    }
    let too_large = |_| ImageError::Limits(LimitError::from_kind(LimitErrorKind::DimensionError));
    let width = u32::try_from(size.width).map_err(too_large)?;
    let height = u32::try_from(size.height).map_err(too_large)?;
    let buffer = ImageBuffer::<P, _>::from_raw(width, height, samples)
        .expect("the buffer was filled with one sample per pixel and channel");
    let mut bytes = Vec::new();
    match format {
        Format::Png => {
            let encoder = PngEncoder::new(&mut bytes);
            buffer.write_with_encoder(with_profile(encoder, image)?)?;
        }
        Format::Jpeg => {
            let encoder = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY);
            buffer.write_with_encoder(with_profile(encoder, image)?)?;
        }
        Format::Tiff => {
            let encoder = TiffEncoder::new(Cursor::new(&mut bytes));
            buffer.write_with_encoder(with_profile(encoder, image)?)?;
        }
    }
    Ok(bytes)
}

/// Hands the image's RGB profile to an encoder; a grey image has none that fits.
fn with_profile<E: ImageEncoder>(mut encoder: E, image: &PlanarImage) -> ImageResult<E> {
    if let Some(profile) = image.icc_profile()
        && image.channels() == 3
    {
        encoder
            .set_icc_profile(profile.to_vec())
            .map_err(ImageError::Unsupported)?;
    }
    Ok(encoder)
}
