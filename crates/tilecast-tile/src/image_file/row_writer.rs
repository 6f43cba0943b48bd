//! Image files, written row by row.
//!
//! PNG and TIFF rows go to the file as they come; JPEG is encoded at the end. The file has a temporary name until its
//! last row is written, so that a run that ends early leaves no half image.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError};
use png::text_metadata::ITXtChunk;
use png::{DeflateCompression, EncodingError, StreamWriter};
use tiff::encoder::{DirectoryEncoder, TiffEncoder, TiffKind, TiffKindBig, TiffKindStandard};
use tiff::tags::{Tag, Type};
use tiff::{Directory, TiffError, TiffResult};

use super::exif::{Exif, ExifDirectory, ExifField, write_linked, write_main};
use super::metadata::{Metadata, XMP_KEYWORD};
use super::pending_file::PendingFile;
use super::pixel_format::{Alpha, Colour, PixelFormat, SampleType};
use super::tiff_rows::is_structural;
use super::write::{JPEG_QUALITY, NO_FOLDER, WriteImageError, WriteImageErrorKind, known_format};
use super::{Format, row_reader};
use crate::Size;

/// Bytes of a TIFF strip, at least one row.
const STRIP_BYTES: usize = 1 << 18;
/// Bytes of a PNG's pieces.
const PNG_CHUNK_BYTES: usize = 1 << 16;

/// Takes an image row by row, from the top.
pub trait RowSink: Send {
    /// Writes the next row: values in [0, 1], pixel by pixel. They are clamped and rounded to the nearest sample, what is
    /// not a number becomes 0; float samples are written as they are.
    ///
    /// # Errors
    /// The file cannot be written.
    fn write_row(&mut self, row: &[f32]) -> Result<(), WriteImageError>;
}

/// A file to be written.
#[derive(Clone, Copy, Debug)]
pub struct ImageTarget<'a> {
    /// Where; the extension names the file format.
    pub path: &'a Path,
    /// Size of the image.
    pub size: Size,
    /// What its pixels consist of; see [`format_in_file`].
    pub format: PixelFormat,
    /// What it says besides.
    pub metadata: &'a Metadata,
}

/// What of a format of pixels a file with such a name can hold: JPEG has 8 bits, PNG 8 or 16 and straight alpha, TIFF all.
///
/// # Errors
/// The extension names no format that is written, or alpha is to be written to JPEG.
pub fn format_in_file(path: &Path, format: PixelFormat) -> Result<PixelFormat, WriteImageError> {
    let (samples, alpha) = match known_format(path)? {
        Format::Tiff => (format.samples, format.alpha),
        Format::Png => (
            match format.samples {
                SampleType::F32 => SampleType::U16,
                samples => samples,
            },
            match format.alpha {
                Alpha::Premultiplied => Alpha::Straight,
                alpha => alpha,
            },
        ),
        Format::Jpeg if format.has_alpha() => {
            return Err(WriteImageError::new(
                WriteImageErrorKind::Unsupported,
                path,
                "JPEG has no alpha channel; write a PNG or TIFF",
            ));
        }
        Format::Jpeg => (SampleType::U8, Alpha::None),
    };
    Ok(PixelFormat {
        colour: format.colour,
        alpha,
        samples,
    })
}

/// Bytes that writing such an image holds at a time: a few rows or a strip; for JPEG the whole image.
///
/// # Errors
/// The extension names no format that is written.
pub fn writer_resident_bytes(
    path: &Path,
    size: Size,
    format: PixelFormat,
) -> Result<u64, WriteImageError> {
    /// What a compressor holds: window, hash chains, pending output.
    const COMPRESSOR_BYTES: u64 = 512 << 10;
    let row_bytes = (size.width * format.planes() * format.samples.bytes()) as u64;
    Ok(match known_format(path)? {
        Format::Png => 5 * row_bytes + COMPRESSOR_BYTES,
        Format::Tiff => row_bytes.max(STRIP_BYTES as u64) + row_bytes,
        Format::Jpeg => 2 * row_bytes * size.height as u64,
    })
}

/// Writes an image row by row, whole or not at all: `work` gets a sink for exactly the rows of the image. The image takes
/// its name once `work` has ended well.
///
/// # Errors
/// The format cannot hold the image, the file cannot be written, or what `work` fails with.
pub fn write_rows<E: From<WriteImageError>>(
    target: &ImageTarget<'_>,
    work: impl FnOnce(&mut dyn RowSink) -> Result<(), E>,
) -> Result<(), E> {
    let fail = |source: io::Error| io_failure(target.path, source);
    let format = known_format(target.path)?;
    let mut pending = PendingFile::beside(target.path).map_err(fail)?;
    let file = pending.file_mut();
    match format {
        Format::Png => write_png(file, target, work)?,
        Format::Jpeg => write_jpeg(file, target, work)?,
        Format::Tiff if needs_big_tiff(target) => {
            write_tiff::<TiffKindBig, E>(file, target, work)?;
        }
        Format::Tiff => write_tiff::<TiffKindStandard, E>(file, target, work)?,
    }
    pending.persist(target.path).map_err(fail)?;
    Ok(())
}

fn io_failure(path: &Path, source: io::Error) -> WriteImageError {
    let reason = match source.kind() {
        io::ErrorKind::NotFound => NO_FOLDER.to_owned(),
        io::ErrorKind::StorageFull => "the disk is full; make room, or write elsewhere".to_owned(),
        _ => source.to_string(),
    };
    WriteImageError::new(WriteImageErrorKind::Io, path, reason).caused_by(source)
}

fn unsupported(
    target: &ImageTarget<'_>,
    cause: impl Into<Box<dyn Error + Send + Sync>>,
) -> WriteImageError {
    let reason = format!("the format cannot hold {} px; choose another", target.size);
    WriteImageError::new(WriteImageErrorKind::Unsupported, target.path, reason).caused_by(cause)
}

/// Sides as file formats store them.
fn sides(target: &ImageTarget<'_>) -> Result<(u32, u32), WriteImageError> {
    let side = |side: usize| u32::try_from(side).map_err(|e| unsupported(target, e));
    Ok((side(target.size.width)?, side(target.size.height)?))
}

/// The profile of the source, where the image still has the colours that it describes.
fn profile<'a>(target: &ImageTarget<'a>) -> Option<&'a [u8]> {
    let profile = target.metadata.icc_profile.as_deref()?;
    row_reader::fits(profile, target.format.colour).then_some(profile)
}

/// EXIF of the source, with the size of the image that is written.
fn exif(target: &ImageTarget<'_>) -> Option<Exif> {
    let exif = target.metadata.exif.clone()?;
    Some(exif.with_size(target.size))
}

fn write_png<E: From<WriteImageError>>(
    file: &mut File,
    target: &ImageTarget<'_>,
    work: impl FnOnce(&mut dyn RowSink) -> Result<(), E>,
) -> Result<(), E> {
    let fail = |error: EncodingError| match error {
        EncodingError::IoError(source) => io_failure(target.path, source),
        other => unsupported(target, other),
    };
    let (width, height) = sides(target)?;
    // Chunks of another PNG are kept, apart from those about how its pixels were stored.
    let mut info = match &target.metadata.png {
        Some(info) => png::Info::clone(info),
        None => png::Info::with_size(width, height),
    };
    (info.width, info.height) = (width, height);
    info.interlaced = false;
    (info.palette, info.trns, info.sbit, info.bkgd) = (None, None, None, None);
    (info.animation_control, info.frame_control) = (None, None);
    info.color_type = match (target.format.colour, target.format.has_alpha()) {
        (Colour::Grey, false) => png::ColorType::Grayscale,
        (Colour::Grey, true) => png::ColorType::GrayscaleAlpha,
        (Colour::Rgb, false) => png::ColorType::Rgb,
        (Colour::Rgb, true) => png::ColorType::Rgba,
    };
    info.bit_depth = match target.format.samples {
        SampleType::U8 => png::BitDepth::Eight,
        SampleType::U16 | SampleType::F32 => png::BitDepth::Sixteen,
    };
    info.icc_profile = profile(target).map(|profile| profile.to_vec().into());
    info.exif_metadata = exif(target).map(|exif| exif.block().to_vec().into());
    if let Some(xmp) = &target.metadata.xmp
        && target.metadata.png.is_none()
        && let Ok(text) = String::from_utf8(xmp.clone())
    {
        info.utf8_text.push(ITXtChunk::new(XMP_KEYWORD, text));
    }
    let mut out = BufWriter::new(file);
    let mut encoder = png::Encoder::with_info(&mut out, info).map_err(fail)?;
    // The fast compressor is made for bytes; the low bytes of 16-bit samples would grow.
    encoder.set_compression(png::Compression::Fast);
    if target.format.samples == SampleType::U16 {
        encoder.set_deflate_compression(DeflateCompression::Level(WIDE_SAMPLES_LEVEL));
    }
    let mut writer = encoder.write_header().map_err(fail)?;
    {
        let stream = writer
            .stream_writer_with_size(PNG_CHUNK_BYTES)
            .map_err(fail)?;
        let mut sink = PngSink {
            path: target.path,
            samples: target.format.samples,
            stream,
            bytes: Vec::new(),
        };
        work(&mut sink)?;
        sink.stream.finish().map_err(fail)?;
    }
    writer.finish().map_err(fail)?;
    out.flush().map_err(|e| io_failure(target.path, e))?;
    Ok(())
}

/// Compression of 16-bit samples: what more takes longer than the network.
const WIDE_SAMPLES_LEVEL: u8 = 4;

struct PngSink<'a, 's, W: Write> {
    path: &'a Path,
    samples: SampleType,
    stream: StreamWriter<'s, W>,
    bytes: Vec<u8>,
}

impl<W: Write + Send> RowSink for PngSink<'_, '_, W> {
    fn write_row(&mut self, row: &[f32]) -> Result<(), WriteImageError> {
        self.bytes.clear();
        self.samples.encode(row, &mut self.bytes);
        if self.samples == SampleType::U16 && cfg!(target_endian = "little") {
            // PNG stores the high byte first.
            for sample in self.bytes.as_chunks_mut::<2>().0 {
                sample.reverse();
            }
        }
        self.stream
            .write_all(&self.bytes)
            .map_err(|e| io_failure(self.path, e))
    }
}

fn write_jpeg<E: From<WriteImageError>>(
    file: &mut File,
    target: &ImageTarget<'_>,
    work: impl FnOnce(&mut dyn RowSink) -> Result<(), E>,
) -> Result<(), E> {
    let (width, height) = sides(target)?;
    let color_type = match target.format.colour {
        Colour::Grey => ExtendedColorType::L8,
        Colour::Rgb => ExtendedColorType::Rgb8,
    };
    // Refused before the work: the format has 16 bits for a side.
    for side in [width, height] {
        u16::try_from(side).map_err(|e| unsupported(target, e))?;
    }
    let mut sink = JpegSink { bytes: Vec::new() };
    work(&mut sink)?;
    let mut out = BufWriter::new(file);
    let mut encoder = JpegEncoder::new_with_quality(&mut out, JPEG_QUALITY);
    let encoded = (|| -> Result<(), ImageError> {
        if let Some(profile) = profile(target) {
            let set = encoder.set_icc_profile(profile.to_vec());
            set.map_err(ImageError::Unsupported)?;
        }
        if let Some(exif) = exif(target) {
            let set = encoder.set_exif_metadata(exif.block().to_vec());
            set.map_err(ImageError::Unsupported)?;
        }
        encoder.write_image(&sink.bytes, width, height, color_type)
    })();
    encoded.map_err(|error| match error {
        ImageError::IoError(source) => io_failure(target.path, source),
        other => unsupported(target, other),
    })?;
    out.flush().map_err(|e| io_failure(target.path, e))?;
    Ok(())
}

struct JpegSink {
    bytes: Vec<u8>,
}

impl RowSink for JpegSink {
    fn write_row(&mut self, row: &[f32]) -> Result<(), WriteImageError> {
        SampleType::U8.encode(row, &mut self.bytes);
        Ok(())
    }
}

/// Whether offsets in the file exceed 32 bits. Pixels are not compressed, so that their size is known in advance.
pub(super) fn needs_big_tiff(target: &ImageTarget<'_>) -> bool {
    /// Room for tags and strip tables beside what is counted.
    const SLACK_BYTES: usize = 64 << 20;
    let metadata = target.metadata;
    let pixels = target
        .size
        .width
        .saturating_mul(target.size.height)
        .saturating_mul(target.format.planes() * target.format.samples.bytes());
    let tags = metadata.exif.as_ref().map_or(0, |exif| exif.block().len())
        + metadata
            .icc_profile
            .as_ref()
            .map_or(0, |profile| profile.len())
        + metadata.xmp.as_ref().map_or(0, Vec::len);
    pixels.saturating_add(tags).saturating_add(SLACK_BYTES) > u32::MAX as usize
}

pub(super) fn write_tiff<K: TiffKind + Send, E: From<WriteImageError>>(
    file: &mut File,
    target: &ImageTarget<'_>,
    work: impl FnOnce(&mut dyn RowSink) -> Result<(), E>,
) -> Result<(), E>
where
    K::OffsetType: Send,
{
    let fail = |error: TiffError| tiff_failure(target, error);
    let (width, height) = sides(target)?;
    let format = target.format;
    let row_bytes = target.size.width * format.planes() * format.samples.bytes();
    let rows_per_strip = (STRIP_BYTES / row_bytes).clamp(1, target.size.height);
    let fields: Vec<ExifField> = exif(target)
        .map(|exif| exif.fields())
        .unwrap_or_default()
        .into_iter()
        .filter(|f| f.directory != ExifDirectory::Main || !is_structural(f.tag))
        .collect();
    let mut out = BufWriter::new(file);
    let mut encoder = TiffEncoder::<_, K>::new_generic(&mut out).map_err(fail)?;
    let pointers = write_linked(&mut encoder, &fields).map_err(fail)?;
    let mut directory = encoder.image_directory().map_err(fail)?;
    let mut sink = TiffSink {
        target,
        directory: &mut directory,
        strip: Vec::with_capacity(rows_per_strip * row_bytes),
        strip_bytes: rows_per_strip * row_bytes,
        offsets: Vec::new(),
        byte_counts: Vec::new(),
    };
    work(&mut sink)?;
    sink.flush().map_err(fail)?;
    let (offsets, byte_counts) = (sink.offsets, sink.byte_counts);
    let finished = (|| -> TiffResult<()> {
        let d = &mut directory;
        let rows_per_strip = u32::try_from(rows_per_strip)?;
        d.write_tag(Tag::ImageWidth, width)?;
        d.write_tag(Tag::ImageLength, height)?;
        d.write_tag(Tag::RowsPerStrip, rows_per_strip)?;
        d.write_tag(Tag::StripOffsets, K::convert_slice(&offsets))?;
        d.write_tag(Tag::StripByteCounts, K::convert_slice(&byte_counts))?;
        write_pixel_tags(d, format)?;
        write_main(d, &fields, &pointers)?;
        if let Some(profile) = profile(target) {
            write_bytes(d, Tag::IccProfile, Type::UNDEFINED, profile)?;
        }
        if let Some(xmp) = &target.metadata.xmp {
            write_bytes(d, Tag::Unknown(700), Type::BYTE, xmp)?;
        }
        directory.finish()
    })();
    finished.map_err(fail)?;
    out.flush().map_err(|e| io_failure(target.path, e))?;
    Ok(())
}

fn tiff_failure(target: &ImageTarget<'_>, error: TiffError) -> WriteImageError {
    match error {
        TiffError::IoError(source) => io_failure(target.path, source),
        other => unsupported(target, other),
    }
}

/// How the samples are stored.
fn write_pixel_tags<W: Write + Seek, K: TiffKind>(
    directory: &mut DirectoryEncoder<'_, W, K>,
    format: PixelFormat,
) -> TiffResult<()> {
    let n = format.planes();
    let bits = 8 * format.samples.bytes() as u16;
    let (black_is_zero, rgb, unsigned, float) = (1u16, 2u16, 1u16, 3u16);
    let sample_format = match format.samples {
        SampleType::U8 | SampleType::U16 => unsigned,
        SampleType::F32 => float,
    };
    let photometric = match format.colour {
        Colour::Grey => black_is_zero,
        Colour::Rgb => rgb,
    };
    directory.write_tag(Tag::BitsPerSample, &vec![bits; n][..])?;
    directory.write_tag(Tag::SampleFormat, &vec![sample_format; n][..])?;
    directory.write_tag(Tag::SamplesPerPixel, n as u16)?;
    directory.write_tag(Tag::PhotometricInterpretation, photometric)?;
    let (uncompressed, pixel_by_pixel) = (1u16, 1u16);
    directory.write_tag(Tag::Compression, uncompressed)?;
    directory.write_tag(Tag::PlanarConfiguration, pixel_by_pixel)?;
    let (associated, unassociated) = (1u16, 2u16);
    match format.alpha {
        Alpha::None => Ok(()),
        Alpha::Premultiplied => directory.write_tag(Tag::ExtraSamples, &[associated][..]),
        Alpha::Straight => directory.write_tag(Tag::ExtraSamples, &[unassociated][..]),
    }
}

fn write_bytes<W: Write + Seek, K: TiffKind>(
    directory: &mut DirectoryEncoder<'_, W, K>,
    tag: Tag,
    kind: Type,
    bytes: &[u8],
) -> TiffResult<()> {
    let entry = directory.write_entry_bytes(kind, bytes)?;
    directory.extend_from(&Directory::from_iter([(tag, entry)]));
    Ok(())
}

struct TiffSink<'a, 'd, W: Write + Seek, K: TiffKind> {
    target: &'a ImageTarget<'a>,
    directory: &'a mut DirectoryEncoder<'d, W, K>,
    /// Rows of the strip that is being filled.
    strip: Vec<u8>,
    strip_bytes: usize,
    offsets: Vec<K::OffsetType>,
    byte_counts: Vec<K::OffsetType>,
}

impl<W: Write + Seek, K: TiffKind> TiffSink<'_, '_, W, K> {
    fn flush(&mut self) -> TiffResult<()> {
        if self.strip.is_empty() {
            return Ok(());
        }
        let offset = self.directory.write_data(&self.strip[..])?;
        self.offsets.push(K::convert_offset(offset)?);
        self.byte_counts
            .push(K::convert_offset(self.strip.len() as u64)?);
        self.strip.clear();
        Ok(())
    }
}

impl<W: Write + Seek + Send, K: TiffKind + Send> RowSink for TiffSink<'_, '_, W, K>
where
    K::OffsetType: Send,
{
    fn write_row(&mut self, row: &[f32]) -> Result<(), WriteImageError> {
        self.target.format.samples.encode(row, &mut self.strip);
        if self.strip.len() >= self.strip_bytes {
            self.flush().map_err(|e| tiff_failure(self.target, e))?;
        }
        Ok(())
    }
}
