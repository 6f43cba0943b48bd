//! Image files, read row by row.
//!
//! Non-interlaced PNG files and TIFF files in strips or tiles are decoded as rows are asked for. Everything else is
//! decoded whole when it is opened, if the limit allows it. Pixels stay as they are stored: the orientation is metadata.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::{Path, PathBuf};

use image::{ColorType, DynamicImage, ImageFormat};

use super::exif::Exif;
use super::metadata::Metadata;
use super::pixel_format::{Alpha, Colour, PixelFormat, SampleType};
use super::png_rows::PngRows;
use super::read::{
    Failure, ReadImageError, ReadImageErrorKind, ReadLimits, decoder_limits, guess_format, open,
};
use super::tiff_rows::TiffRows;
use crate::Size;

/// An image that is read row by row, from the top.
pub trait RowSource: Send {
    /// Size, in the orientation in which rows come.
    fn size(&self) -> Size;

    /// What pixels consist of.
    fn format(&self) -> PixelFormat;

    /// Reads the next row: values in [0, 1] (floats as they are), pixel by pixel, [`PixelFormat::planes`] each.
    ///
    /// # Errors
    /// The file is damaged, or there are no more rows.
    fn read_row(&mut self, row: &mut [f32]) -> Result<(), ReadImageError>;
}

impl<T: RowSource + ?Sized> RowSource for &mut T {
    fn size(&self) -> Size {
        (**self).size()
    }

    fn format(&self) -> PixelFormat {
        (**self).format()
    }

    fn read_row(&mut self, row: &mut [f32]) -> Result<(), ReadImageError> {
        (**self).read_row(row)
    }
}

/// An open image file.
pub struct ImageReader {
    path: PathBuf,
    size: Size,
    next_row: usize,
    opened: Opened,
}

/// What is known of a file once it is open.
pub(super) struct Opened {
    pub(super) size: (u32, u32),
    pub(super) format: PixelFormat,
    pub(super) metadata: Metadata,
    pub(super) notes: Vec<String>,
    /// Bytes that reading holds at a time.
    pub(super) resident_bytes: u64,
    pub(super) rows: Box<dyn Rows>,
}

/// Decodes one row after another.
pub(super) trait Rows: Send {
    fn next(&mut self, row: &mut [f32]) -> Result<(), Failure>;
}

impl ImageReader {
    /// Opens a PNG, JPEG, TIFF or WebP file, whatever its extension.
    ///
    /// # Errors
    /// The file is missing, damaged or of a kind that is not supported; a side is too long; or it must be decoded whole
    /// and that takes more than [`ReadLimits::max_bytes`].
    pub fn open(path: &Path, limits: &ReadLimits) -> Result<Self, ReadImageError> {
        let opened = open_rows(path, limits).map_err(|failure| failure.about(path))?;
        let (width, height) = opened.size;
        Ok(Self {
            path: path.to_owned(),
            size: Size {
                height: height as usize,
                width: width as usize,
            },
            next_row: 0,
            opened,
        })
    }

    /// What the file says besides the pixels.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.opened.metadata
    }

    /// What of the file will not be in a file made from it, in words.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.opened.notes
    }

    /// Bytes that reading holds at a time, whatever the height: a few rows, a strip or a row of tiles; the whole image
    /// where it has to be decoded whole.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.opened.resident_bytes
    }
}

impl RowSource for ImageReader {
    fn size(&self) -> Size {
        self.size
    }

    fn format(&self) -> PixelFormat {
        self.opened.format
    }

    fn read_row(&mut self, row: &mut [f32]) -> Result<(), ReadImageError> {
        let result = if self.next_row < self.size.height {
            self.opened.rows.next(row)
        } else {
            let reason = format!("it has no more than {} rows", self.size.height);
            Err(Failure::new(ReadImageErrorKind::Corrupt, reason))
        };
        self.next_row += 1;
        result.map_err(|failure| failure.about(&self.path))
    }
}

fn open_rows(path: &Path, limits: &ReadLimits) -> Result<Opened, Failure> {
    let mut file = BufReader::new(File::open(path)?);
    let format = guess_format(file.fill_buf()?);
    file.rewind()?;
    match format {
        Some(ImageFormat::Png) => {
            let (png, metadata, notes) = PngRows::open(file, limits)?;
            if !png.is_interlaced() {
                return Ok(png.into_opened(metadata, notes));
            }
            let reason = "an interlaced PNG; saving it without interlacing lets it be read by rows";
            let whole = decode_whole(path, ImageFormat::Png, limits, reason)?;
            Ok(Opened {
                metadata,
                notes,
                ..whole
            })
        }
        Some(ImageFormat::Tiff) => {
            let mut tiff = TiffRows::open(file, limits)?;
            let (metadata, notes) = (tiff.metadata(), tiff.notes());
            match tiff.format() {
                Some(format) => tiff.into_opened(format, limits, metadata, notes),
                None => Ok(Opened {
                    notes,
                    ..decode_whole(
                        path,
                        ImageFormat::Tiff,
                        limits,
                        "a TIFF of unusual colours; an RGB one is read by rows",
                    )?
                }),
            }
        }
        Some(ImageFormat::WebP) => decode_whole(path, ImageFormat::WebP, limits, "a WebP"),
        // `open` says what is wrong with what is none of these.
        _ => decode_whole(path, ImageFormat::Jpeg, limits, "a JPEG"),
    }
}

/// Checks the sides that a header claims.
pub(super) fn check_sides(width: u32, height: u32, limits: &ReadLimits) -> Result<(), Failure> {
    if width == 0 || height == 0 {
        let reason = format!("its header claims {width}x{height} px; export it again");
        return Err(Failure::new(ReadImageErrorKind::Corrupt, reason));
    }
    if width.max(height) > limits.max_side_px {
        return Err(Failure::new(
            ReadImageErrorKind::TooLarge,
            format!(
                "it has {width}x{height} px; the limit is {} px a side; split or shrink it",
                limits.max_side_px
            ),
        ));
    }
    Ok(())
}

/// Checks that so much of an image may be in memory at a time.
pub(super) fn check_bytes(n_bytes: u64, what: &str, limits: &ReadLimits) -> Result<(), Failure> {
    if n_bytes <= limits.max_bytes {
        return Ok(());
    }
    Err(Failure::new(
        ReadImageErrorKind::TooLarge,
        format!(
            "it is {what}, and decoding it takes {n_bytes} bytes at once; the limit is {} bytes: allow more memory, or \
             convert the file",
            limits.max_bytes
        ),
    ))
}

/// Decodes an image at once; `what` says why that has to be.
fn decode_whole(
    path: &Path,
    kind: ImageFormat,
    limits: &ReadLimits,
    what: &str,
) -> Result<Opened, Failure> {
    let mut decoder = open(path, limits)?;
    let (width, height) = decoder.dimensions();
    check_sides(width, height, limits)?;
    let color_type = decoder.color_type();
    let format = format_of_color(color_type).ok_or_else(|| {
        let reason = format!("samples are {color_type:?}; save it with 8 or 16 bits per sample");
        Failure::new(ReadImageErrorKind::Unsupported, reason)
    })?;
    // The decoder holds the file itself, too, and besides the pixels that it gives those of its own: WebP in four planes.
    let own_bytes = match kind {
        ImageFormat::WebP => u64::from(width) * u64::from(height) * 4,
        _ => 0,
    };
    let n_bytes = decoder
        .total_bytes()
        .saturating_add(own_bytes)
        .saturating_add(std::fs::metadata(path)?.len());
    check_bytes(n_bytes, what, limits)?;
    let metadata = Metadata {
        icc_profile: decoder
            .icc_profile()?
            .filter(|profile| fits(profile, format.colour))
            .map(Into::into),
        exif: decoder.exif_metadata()?.map(Exif::from_block),
        xmp: decoder.xmp_metadata()?,
        png: None,
    };
    // Last, because the TIFF decoder measures tags against a limit for pixels.
    decoder.set_limits(decoder_limits(limits))?;
    let image = DynamicImage::from_decoder(decoder)?;
    Ok(Opened {
        size: (width, height),
        format,
        metadata,
        notes: Vec::new(),
        resident_bytes: n_bytes,
        rows: Box::new(WholeRows {
            image,
            row_bytes: width as usize * format.planes() * format.samples.bytes(),
            samples: format.samples,
            next: 0,
        }),
    })
}

/// Whether an ICC profile describes such colours. What is decoded as RGB may have been CMYK.
pub(super) fn fits(profile: &[u8], colour: Colour) -> bool {
    let space: &[u8] = match colour {
        Colour::Grey => b"GRAY",
        Colour::Rgb => b"RGB ",
    };
    profile.get(16..20) == Some(space)
}

fn format_of_color(color_type: ColorType) -> Option<PixelFormat> {
    use ColorType::{L8, L16, La8, La16, Rgb8, Rgb16, Rgb32F, Rgba8, Rgba16, Rgba32F};
    Some(PixelFormat {
        colour: match color_type {
            L8 | L16 | La8 | La16 => Colour::Grey,
            _ => Colour::Rgb,
        },
        alpha: if color_type.has_alpha() {
            Alpha::Straight
        } else {
            Alpha::None
        },
        samples: match color_type {
            L8 | La8 | Rgb8 | Rgba8 => SampleType::U8,
            L16 | La16 | Rgb16 | Rgba16 => SampleType::U16,
            Rgb32F | Rgba32F => SampleType::F32,
            _ => return None,
        },
    })
}

/// Rows of an image that is decoded already.
struct WholeRows {
    image: DynamicImage,
    row_bytes: usize,
    samples: SampleType,
    next: usize,
}

impl Rows for WholeRows {
    fn next(&mut self, row: &mut [f32]) -> Result<(), Failure> {
        let start = self.next * self.row_bytes;
        self.next += 1;
        let bytes = &self.image.as_bytes()[start..start + self.row_bytes];
        self.samples.decode(bytes, row);
        Ok(())
    }
}
