//! Writing planes of floats to an image file.

use std::error::Error;
use std::path::{Path, PathBuf};

use super::metadata::Metadata;
use super::pixel_format::{Alpha, Colour, PixelFormat, SampleType};
use super::row_writer::{ImageTarget, format_in_file, write_rows};
use super::{Format, WRITTEN_EXTENSIONS, format_of};
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
    pub(super) fn new(kind: WriteImageErrorKind, path: &Path, reason: impl Into<String>) -> Self {
        Self {
            kind,
            path: path.to_owned(),
            reason: reason.into(),
            source: None,
        }
    }

    pub(super) fn caused_by(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            source: Some(source.into()),
            ..self
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
/// The extension names no format that is written, the image has neither one nor three planes or is too large for the
/// format, or the folder cannot be written.
pub fn write_image(path: &Path, image: &PlanarImage) -> Result<(), WriteImageError> {
    let colour = match image.channels() {
        1 => Colour::Grey,
        3 => Colour::Rgb,
        n => {
            let reason = format!("it has {n} channels; image files hold 1 (grey) or 3 (RGB)");
            return Err(WriteImageError::new(
                WriteImageErrorKind::Unsupported,
                path,
                reason,
            ));
        }
    };
    let format = PixelFormat {
        colour,
        alpha: Alpha::None,
        samples: match image.bit_depth() {
            BitDepth::Eight => SampleType::U8,
            BitDepth::Sixteen => SampleType::U16,
        },
    };
    let metadata = Metadata {
        icc_profile: image.icc_profile().cloned(),
        ..Metadata::default()
    };
    let target = ImageTarget {
        path,
        size: image.size(),
        format: format_in_file(path, format)?,
        metadata: &metadata,
    };
    write_rows(&target, |sink| {
        let mut row = vec![0.0; image.size().width * image.channels()];
        for y in 0..image.size().height {
            for channel in 0..image.channels() {
                let places = row.iter_mut().skip(channel).step_by(image.channels());
                for (place, value) in places.zip(image.row(channel, y)) {
                    *place = *value;
                }
            }
            sink.write_row(&row)?;
        }
        Ok(())
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

pub(super) const NO_FOLDER: &str = "there is no such folder; create it first";

pub(super) fn known_format(path: &Path) -> Result<Format, WriteImageError> {
    format_of(path).ok_or_else(|| {
        let known = WRITTEN_EXTENSIONS.join(", ");
        let reason = format!("its extension names no format that is written; use one of {known}");
        WriteImageError::new(WriteImageErrorKind::Unsupported, path, reason)
    })
}
