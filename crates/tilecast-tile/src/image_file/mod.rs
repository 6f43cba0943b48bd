//! Image files: PNG, JPEG and TIFF with 8 or 16 bits per sample, RGB or grey; read and written row by row also with
//! alpha, and TIFF of floats. WebP is read only.

mod encode_png;
mod exif;
mod jpeg_end;
mod list;
mod metadata;
mod pending_file;
mod pixel_format;
mod png_rows;
mod read;
mod row_reader;
mod row_writer;
mod tiff_rows;
mod write;

pub use encode_png::{PngPixels, encode_png};
pub use exif::{Exif, ExifDirectory, ExifField};

pub use list::{ListImagesError, ListImagesErrorKind, list_images};
pub use metadata::Metadata;
pub use pixel_format::{Alpha, Colour, PixelFormat, SampleType};
pub use read::{
    ReadImageError, ReadImageErrorKind, ReadLimits, read_image, read_image_size, read_image_within,
};
pub use row_reader::{ImageReader, RowSource};
pub use row_writer::{ImageTarget, RowSink, format_in_file, write_rows, writer_resident_bytes};
pub use write::{
    JPEG_QUALITY, WriteImageError, WriteImageErrorKind, check_image_target, write_image,
};

use std::path::Path;

/// Extensions of files that are read, lower case: those that are written, and WebP.
pub const IMAGE_EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "tif", "tiff", "webp"];

/// Extensions of files that are written, lower case.
pub(crate) const WRITTEN_EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "tif", "tiff"];

/// The file formats behind [`WRITTEN_EXTENSIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Png,
    Jpeg,
    Tiff,
}

/// Whether a file's name says that it is an image of a kind that is read.
fn has_image_extension(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| IMAGE_EXTENSIONS.contains(&&*extension.to_ascii_lowercase()))
}

/// The format in which a file of this name is written.
fn format_of(path: &Path) -> Option<Format> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    match extension.as_str() {
        "png" => Some(Format::Png),
        "jpg" | "jpeg" => Some(Format::Jpeg),
        "tif" | "tiff" => Some(Format::Tiff),
        _ => None,
    }
}

#[cfg(test)]
mod format_tests;
#[cfg(test)]
mod tests;
