//! Image files: PNG, JPEG and TIFF with 8 or 16 bits per sample, RGB or grey.

mod jpeg_end;
mod list;
mod read;
mod write;

pub use list::{ListImagesError, ListImagesErrorKind, list_images};
pub use read::{
    ReadImageError, ReadImageErrorKind, ReadLimits, read_image, read_image_size, read_image_within,
};
pub use write::{
    JPEG_QUALITY, WriteImageError, WriteImageErrorKind, check_image_target, write_image,
};

use std::path::Path;

/// Extensions of files that are read and written, lower case.
pub const IMAGE_EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "tif", "tiff"];

/// The file formats behind [`IMAGE_EXTENSIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Png,
    Jpeg,
    Tiff,
}

/// The format that a file's name asks for.
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
mod tests;
