//! Reading an image file into planes of floats.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::tiff::TiffDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, Limits};

use super::has_image_extension;
use super::jpeg_end::has_end;

use crate::{BitDepth, PlanarImage, Size};

/// Planes of every image that is read: grey is expanded.
const RGB_CHANNELS: usize = 3;

/// What kind of failure a [`ReadImageError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadImageErrorKind {
    /// The file is missing or cannot be read.
    Io,
    /// The file is damaged, cut short or no image.
    Corrupt,
    /// A sound image of a kind that is not supported.
    Unsupported,
    /// A sound image that exceeds the [`ReadLimits`].
    TooLarge,
}

/// Why an image could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read image `{}`: {reason}", path.display())]
pub struct ReadImageError {
    kind: ReadImageErrorKind,
    path: PathBuf,
    reason: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ReadImageError {
    /// The category that decides what the user can do.
    #[must_use]
    pub fn kind(&self) -> ReadImageErrorKind {
        self.kind
    }
}

/// How large an image may be. A file of a few kilobytes can claim any size, so there is always a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Longest side, pixels.
    pub max_side_px: u32,
    /// Bytes of the float image, and of what the decoder allocates on the way to it.
    pub max_bytes: u64,
}

impl Default for ReadLimits {
    /// 131 072 pixels a side and 4 GiB: an RGB image of 357 megapixels.
    fn default() -> Self {
        Self {
            max_side_px: 1 << 17,
            max_bytes: 4 << 30,
        }
    }
}

/// Reads an image within the default [`ReadLimits`].
///
/// # Errors
/// As [`read_image_within`].
pub fn read_image(path: &Path) -> Result<PlanarImage, ReadImageError> {
    read_image_within(path, &ReadLimits::default())
}

/// Reads a PNG, JPEG, TIFF or WebP file, whatever its extension, as three planes of values in [0, 1]: samples divided by 255
/// or 65535. Grey is repeated in all three. The EXIF orientation is applied, an RGB colour profile is kept.
///
/// # Errors
/// See [`ReadImageErrorKind`]. Images with an alpha channel and of float samples are not supported.
pub fn read_image_within(path: &Path, limits: &ReadLimits) -> Result<PlanarImage, ReadImageError> {
    decode(path, limits).map_err(|failure| failure.about(path))
}

/// Height and width that [`read_image`] would give, from the file's header.
///
/// # Errors
/// As [`read_image`], as far as the header tells.
pub fn read_image_size(path: &Path) -> Result<Size, ReadImageError> {
    decode_size(path).map_err(|failure| failure.about(path))
}

fn decode_size(path: &Path) -> Result<Size, Failure> {
    let limits = ReadLimits::default();
    let mut decoder = open(path, &limits)?;
    check(&decoder, &limits)?;
    let (width, height) = decoder.dimensions();
    let (width, height) = match decoder.orientation()? {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => (height, width),
        _ => (width, height),
    };
    Ok(Size {
        height: height as usize,
        width: width as usize,
    })
}

/// A [`ReadImageError`] that does not know its file yet.
pub(super) struct Failure {
    kind: ReadImageErrorKind,
    reason: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    pub(super) fn new(kind: ReadImageErrorKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
            source: None,
        }
    }

    /// A failure that a decoder has reported.
    pub(super) fn caused(
        kind: ReadImageErrorKind,
        reason: String,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            reason,
            source: Some(source.into()),
        }
    }

    pub(super) fn about(self, path: &Path) -> ReadImageError {
        ReadImageError {
            kind: self.kind,
            path: path.to_owned(),
            reason: self.reason,
            source: self.source,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
        let (kind, reason) = match error.kind() {
            NotFound => (
                ReadImageErrorKind::Io,
                "no such file; check the path".to_owned(),
            ),
            // Decoders report the end of the data and what they cannot parse as failures to read.
            UnexpectedEof | InvalidData => (ReadImageErrorKind::Corrupt, damaged(&error)),
            _ => (ReadImageErrorKind::Io, error.to_string()),
        };
        Self {
            kind,
            reason,
            source: Some(error.into()),
        }
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        let (kind, reason) = match error {
            ImageError::IoError(error) => return error.into(),
            ImageError::Limits(_) => (
                ReadImageErrorKind::TooLarge,
                format!("decoding it exceeds the limits ({error}); split or shrink it"),
            ),
            ImageError::Unsupported(_) => (
                ReadImageErrorKind::Unsupported,
                format!("{error}; save it as an RGB PNG, JPEG or TIFF with 8 or 16 bits"),
            ),
            _ => (ReadImageErrorKind::Corrupt, damaged(&error)),
        };
        Self {
            kind,
            reason,
            source: Some(error.into()),
        }
    }
}

pub(super) fn damaged(cause: &dyn Error) -> String {
    format!("it is damaged or cut short ({cause}); export or copy it again")
}

fn decode(path: &Path, limits: &ReadLimits) -> Result<PlanarImage, Failure> {
    let mut decoder = open(path, limits)?;
    let bit_depth = check(&decoder, limits)?;
    let orientation = decoder.orientation()?;
    // What is read is RGB from here on, so the profile of a grey or CMYK file no longer describes it.
    let is_grey = matches!(decoder.color_type(), ColorType::L8 | ColorType::L16);
    let icc_profile = decoder
        .icc_profile()?
        .filter(|profile| !is_grey && profile.get(16..20) == Some(b"RGB "))
        .map(Arc::from);
    // Last, because the TIFF decoder measures tags against a limit for pixels, and drops the profile of a small image.
    decoder.set_limits(decoder_limits(limits))?;
    let mut decoded = DynamicImage::from_decoder(decoder)?;
    decoded.apply_orientation(orientation);
    Ok(to_planar(&decoded, bit_depth)?.with_icc_profile(icc_profile))
}

/// The decoder for what the file is, whatever its name says.
pub(super) fn open(path: &Path, limits: &ReadLimits) -> Result<Box<dyn ImageDecoder>, Failure> {
    let mut file = BufReader::new(File::open(path)?);
    let format = guess_format(file.fill_buf()?);
    let decoder: Box<dyn ImageDecoder> = match format {
        Some(ImageFormat::Png) => Box::new(PngDecoder::with_limits(file, decoder_limits(limits))?),
        Some(ImageFormat::Jpeg) => {
            if !has_end(&mut file)? {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            file.rewind()?;
            Box::new(JpegDecoder::new(file)?)
        }
        Some(ImageFormat::Tiff) => Box::new(TiffDecoder::new(file)?),
        Some(ImageFormat::WebP) => {
            let decoder = WebPDecoder::new(file)?;
            if decoder.has_animation() {
                let reason =
                    "it is an animation; save the picture that you want as PNG, JPEG or TIFF";
                return Err(Failure::new(ReadImageErrorKind::Unsupported, reason));
            }
            Box::new(decoder)
        }
        None if has_image_extension(path) => {
            let reason =
                "it does not start like a PNG, JPEG, TIFF or WebP file; export or copy it again";
            return Err(Failure::new(ReadImageErrorKind::Corrupt, reason));
        }
        _ => {
            let reason = "it is no PNG, JPEG, TIFF or WebP file; convert it to one of these";
            return Err(Failure::new(ReadImageErrorKind::Unsupported, reason));
        }
    };
    Ok(decoder)
}

/// What a file is by its first bytes. Unlike that of `image` it knows a `BigTIFF`, whose version is 43.
pub(super) fn guess_format(first: &[u8]) -> Option<ImageFormat> {
    if first.starts_with(b"II+\0") || first.starts_with(b"MM\0+") {
        return Some(ImageFormat::Tiff);
    }
    image::guess_format(first).ok()
}

pub(super) fn decoder_limits(limits: &ReadLimits) -> Limits {
    let mut decoder_limits = Limits::no_limits();
    decoder_limits.max_alloc = Some(limits.max_bytes);
    decoder_limits
}

/// Checks what the header says before anything of its size is allocated.
fn check(decoder: &impl ImageDecoder, limits: &ReadLimits) -> Result<BitDepth, Failure> {
    let (width, height) = decoder.dimensions();
    let n_bytes = u64::from(width)
        .saturating_mul(u64::from(height))
        .saturating_mul((RGB_CHANNELS * size_of::<f32>()) as u64);
    if width.max(height) > limits.max_side_px || n_bytes > limits.max_bytes {
        let ReadLimits {
            max_side_px,
            max_bytes,
        } = limits;
        return Err(Failure::new(
            ReadImageErrorKind::TooLarge,
            format!(
                "{width}x{height} px take {n_bytes} bytes; the limits are {max_side_px} px a side and {max_bytes} \
                 bytes; split or shrink it"
            ),
        ));
    }
    match decoder.color_type() {
        ColorType::L8 | ColorType::Rgb8 => Ok(BitDepth::Eight),
        ColorType::L16 | ColorType::Rgb16 => Ok(BitDepth::Sixteen),
        color_type if color_type.has_alpha() => Err(Failure::new(
            ReadImageErrorKind::Unsupported,
            "it has an alpha channel, which is not supported yet; flatten it onto a background first",
        )),
        color_type => Err(Failure::new(
            ReadImageErrorKind::Unsupported,
            format!("samples are {color_type:?}; save it with 8 or 16 bits per sample"),
        )),
    }
}

fn to_planar(decoded: &DynamicImage, bit_depth: BitDepth) -> Result<PlanarImage, Failure> {
    let size = Size {
        height: decoded.height() as usize,
        width: decoded.width() as usize,
    };
    let max = bit_depth.max_sample();
    let data = match decoded {
        DynamicImage::ImageLuma8(grey) => expand(grey.as_raw(), |v| f32::from(v) / max),
        DynamicImage::ImageLuma16(grey) => expand(grey.as_raw(), |v| f32::from(v) / max),
        DynamicImage::ImageRgb8(rgb) => split(rgb.as_raw(), |v| f32::from(v) / max),
        DynamicImage::ImageRgb16(rgb) => split(rgb.as_raw(), |v| f32::from(v) / max),
        other => {
            let reason = format!("samples are {:?}", other.color());
            return Err(Failure::new(ReadImageErrorKind::Unsupported, reason));
        }
    };
    Ok(PlanarImage::new(RGB_CHANNELS, size, data, bit_depth))
}

/// One plane, three times.
fn expand<T: Copy>(grey: &[T], to_value: impl Fn(T) -> f32) -> Vec<f32> {
    let mut planes = Vec::with_capacity(grey.len() * RGB_CHANNELS);
    planes.extend(grey.iter().map(|sample| to_value(*sample)));
    for _ in 1..RGB_CHANNELS {
        planes.extend_from_within(..grey.len());
    }
    planes
}

/// `[H, W, C]` as `[C, H, W]`.
fn split<T: Copy>(rgb: &[T], to_value: impl Fn(T) -> f32) -> Vec<f32> {
    let mut planes = Vec::with_capacity(rgb.len());
    for channel in 0..RGB_CHANNELS {
        let plane = rgb.iter().skip(channel).step_by(RGB_CHANNELS);
        planes.extend(plane.map(|sample| to_value(*sample)));
    }
    planes
}
