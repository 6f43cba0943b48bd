//! TIFF and `BigTIFF` files in strips or tiles, row by row.

use std::fs::File;
use std::io::BufReader;

use tiff::decoder::{ChunkType, Decoder, Limits, TiffCodingUnit};
use tiff::tags::{ByteOrder, IfdPointer, Tag, Type, ValueBuffer};
use tiff::{ColorType, TiffError};

use super::exif::{Exif, ExifDirectory, ExifField};
use super::metadata::Metadata;
use super::pixel_format::{Alpha, Colour, PixelFormat, SampleType};
use super::read::{Failure, ReadImageErrorKind, ReadLimits, damaged};
use super::row_reader::{Opened, Rows, check_bytes, check_sides, fits};

/// Sample format of TIFF: unsigned integer, IEEE float.
const UNSIGNED: u16 = 1;
const FLOAT: u16 = 3;

/// Kinds of alpha in TIFF.
const ASSOCIATED: u16 = 1;
const UNASSOCIATED: u16 = 2;

const XMP: u16 = 700;
const ICC_PROFILE: u16 = 34675;
const EXIF_DIRECTORY: u16 = 0x8769;
const GPS_DIRECTORY: u16 = 0x8825;
const INTEROPERABILITY_DIRECTORY: u16 = 0xa005;

/// Whether a tag of the main directory says how pixels are stored, or where something is in this file: such tags are
/// made anew for the file that is written.
pub(super) fn is_structural(tag: u16) -> bool {
    matches!(tag,
        // Size, storage of samples, compression, photometric interpretation, cells and fill order.
        256..=259 | 262 | 264..=266
        // Strips; samples per pixel; extremes of samples; planes; free bytes.
        | 273 | 277..=281 | 284 | 288 | 289
        // Transfer function of the stored samples is colour and kept; predictor, palette, halftones, tiles are not.
        | 317 | 320..=325
        // Directories of other images; extra samples; sample format and its extremes; JPEG tables.
        | 330 | 338..=341 | 347
        // Old JPEG, YCbCr.
        | 512..=521 | 529..=532
    ) || matches!(
        tag,
        XMP | ICC_PROFILE | EXIF_DIRECTORY | GPS_DIRECTORY | INTEROPERABILITY_DIRECTORY
    )
}

/// A TIFF file whose first directory has been read.
pub(super) struct TiffRows {
    decoder: Decoder<BufReader<File>>,
    size: (u32, u32),
    band: Band,
}

/// A row of strips or tiles, decoded.
#[derive(Default)]
struct Band {
    /// Pixel by pixel, in the machine's byte order.
    bytes: Vec<u8>,
    /// One tile, or one strip in planes.
    unit: Vec<u8>,
    /// Rows in it.
    n_rows: usize,
    /// Rows of it that have been given away.
    n_taken: usize,
    /// Which one comes next.
    next: u32,
}

/// How the decoded rows lie.
struct TiffLayout {
    decoder: Decoder<BufReader<File>>,
    format: PixelFormat,
    width: usize,
    n_across: u32,
    band: Band,
}

impl TiffRows {
    pub(super) fn open(file: BufReader<File>, limits: &ReadLimits) -> Result<Self, Failure> {
        let mut decoder = Decoder::new(file)?;
        let size = decoder.dimensions()?;
        check_sides(size.0, size.1, limits)?;
        let bytes = usize::try_from(limits.max_bytes).unwrap_or(usize::MAX);
        let mut decoder_limits = Limits::default();
        decoder_limits.decoding_buffer_size = bytes;
        decoder_limits.intermediate_buffer_size = bytes;
        Ok(Self {
            decoder: decoder.with_limits(decoder_limits),
            size,
            band: Band::default(),
        })
    }

    /// What the pixels consist of; `None` where they are not grey or RGB with 8 or 16 bits or float32.
    pub(super) fn format(&mut self) -> Option<PixelFormat> {
        let extra = self
            .decoder
            .find_tag_unsigned_vec::<u16>(Tag::ExtraSamples)
            .ok()?
            .unwrap_or_default();
        let alpha = match extra.first() {
            Some(&ASSOCIATED) => Alpha::Premultiplied,
            _ => Alpha::Straight,
        };
        let (colour, alpha, bits) = match self.decoder.colortype().ok()? {
            ColorType::Gray(bits) => (Colour::Grey, Alpha::None, bits),
            ColorType::GrayA(bits) => (Colour::Grey, alpha, bits),
            ColorType::RGB(bits) => (Colour::Rgb, Alpha::None, bits),
            ColorType::RGBA(bits) => (Colour::Rgb, alpha, bits),
            // The decoder's word for grey with alpha.
            ColorType::Multiband {
                bit_depth,
                num_samples: 2,
            } if matches!(extra[..], [ASSOCIATED | UNASSOCIATED]) => {
                (Colour::Grey, alpha, bit_depth)
            }
            _ => return None,
        };
        let sample_format = self
            .decoder
            .find_tag_unsigned_vec::<u16>(Tag::SampleFormat)
            .ok()?
            .and_then(|formats| formats.first().copied())
            .unwrap_or(UNSIGNED);
        let samples = match (bits, sample_format) {
            (8, UNSIGNED) => SampleType::U8,
            (16, UNSIGNED) => SampleType::U16,
            (32, FLOAT) => SampleType::F32,
            _ => return None,
        };
        Some(PixelFormat {
            colour,
            alpha,
            samples,
        })
    }

    pub(super) fn notes(&self) -> Vec<String> {
        if self.decoder.more_images() {
            vec!["it holds more than one image, only the first is taken".to_owned()]
        } else {
            Vec::new()
        }
    }

    /// Everything besides the pixels. A tag that cannot be read is left out.
    pub(super) fn metadata(&mut self) -> Metadata {
        let icc_profile = self.bytes_of(ICC_PROFILE).filter(|profile| {
            let colour = self.format().map_or(Colour::Rgb, |format| format.colour);
            fits(profile, colour)
        });
        let mut fields = self.main_fields();
        for (directory, tag) in [
            (ExifDirectory::Exif, EXIF_DIRECTORY),
            (ExifDirectory::Gps, GPS_DIRECTORY),
        ] {
            let pointer = self.decoder.find_tag(Tag::from_u16_exhaustive(tag));
            if let Some(pointer) = pointer.ok().flatten().and_then(|v| v.into_u64().ok()) {
                self.add_fields(directory, IfdPointer(pointer), &mut fields);
            }
        }
        Metadata {
            icc_profile: icc_profile.map(Into::into),
            exif: Exif::from_fields(&fields),
            xmp: self.bytes_of(XMP),
            png: None,
        }
    }

    fn bytes_of(&mut self, tag: u16) -> Option<Vec<u8>> {
        let mut value = ValueBuffer::empty(Type::BYTE);
        let tag = Tag::from_u16_exhaustive(tag);
        let found = self.decoder.image_ifd().find_tag_buf(tag, &mut value);
        found.ok()??;
        Some(value.as_bytes().to_vec())
    }

    fn main_fields(&mut self) -> Vec<ExifField> {
        let tags: Vec<Tag> = {
            let directory = self.decoder.image_ifd();
            directory.directory().iter().map(|(tag, _)| tag).collect()
        };
        let mut fields = Vec::new();
        for tag in tags.into_iter().filter(|tag| !is_structural(tag.to_u16())) {
            let mut value = ValueBuffer::empty(Type::BYTE);
            let found = self.decoder.image_ifd().find_tag_buf(tag, &mut value);
            if let Ok(Some(_)) = found {
                fields.push(field(ExifDirectory::Main, tag, value));
            }
        }
        fields
    }

    fn add_fields(&mut self, which: ExifDirectory, at: IfdPointer, fields: &mut Vec<ExifField>) {
        let Ok(directory) = self.decoder.read_directory(at) else {
            return;
        };
        let tags: Vec<Tag> = directory.iter().map(|(tag, _)| tag).collect();
        for tag in tags {
            let mut values = self.decoder.read_directory_tags(&directory);
            if which == ExifDirectory::Exif && tag.to_u16() == INTEROPERABILITY_DIRECTORY {
                let pointer = values.find_tag_unsigned::<u64>(tag);
                if let Ok(Some(at)) = pointer {
                    self.add_fields(ExifDirectory::Interoperability, IfdPointer(at), fields);
                }
                continue;
            }
            let mut value = ValueBuffer::empty(Type::BYTE);
            if let Ok(Some(_)) = values.find_tag_buf(tag, &mut value) {
                fields.push(field(which, tag, value));
            }
        }
    }

    pub(super) fn into_opened(
        mut self,
        format: PixelFormat,
        limits: &ReadLimits,
        metadata: Metadata,
        notes: Vec<String>,
    ) -> Result<Opened, Failure> {
        let (width, height) = self.size;
        let (unit_width, unit_height) = self.decoder.chunk_dimensions();
        let (n_across, what) = match self.decoder.get_chunk_type() {
            ChunkType::Strip => (1, "a TIFF in large strips"),
            ChunkType::Tile => (width.div_ceil(unit_width.max(1)), "a TIFF in large tiles"),
        };
        let band_bytes = u64::from(width)
            * u64::from(unit_height.min(height))
            * (format.planes() * format.samples.bytes()) as u64;
        let unit = self.decoder.image_coding_unit_layout(TiffCodingUnit(0))?;
        let is_direct = n_across == 1 && unit.planes == 1;
        let unit_bytes = if is_direct {
            0
        } else {
            unit.complete_len as u64
        };
        let resident_bytes = band_bytes.saturating_add(unit_bytes);
        check_bytes(resident_bytes, what, limits)?;
        Ok(Opened {
            size: self.size,
            format,
            metadata,
            notes,
            resident_bytes,
            rows: Box::new(TiffLayout {
                decoder: self.decoder,
                format,
                width: width as usize,
                n_across,
                band: self.band,
            }),
        })
    }
}

fn field(directory: ExifDirectory, tag: Tag, mut value: ValueBuffer) -> ExifField {
    value.set_byte_order(ByteOrder::native());
    ExifField {
        directory,
        tag: tag.to_u16(),
        kind: value.data_type().to_u16(),
        value: value.as_bytes().to_vec(),
    }
}

impl TiffLayout {
    fn pixel_bytes(&self) -> usize {
        self.format.planes() * self.format.samples.bytes()
    }

    /// Decodes the next row of strips or tiles.
    fn load_band(&mut self) -> Result<(), Failure> {
        let row_bytes = self.width * self.pixel_bytes();
        let first = self.band.next * self.n_across;
        self.band.next += 1;
        self.band.n_taken = 0;
        self.band.n_rows = self.decoder.chunk_data_dimensions(first).1 as usize;
        self.band.bytes.resize(self.band.n_rows * row_bytes, 0);
        let mut left = 0;
        for index in first..first + self.n_across {
            let (width, height) = self.decoder.chunk_data_dimensions(index);
            let layout = self
                .decoder
                .image_coding_unit_layout(TiffCodingUnit(index))?;
            if self.n_across == 1 && layout.planes == 1 {
                let bytes = &mut self.band.bytes;
                self.decoder
                    .read_coding_unit_bytes(TiffCodingUnit(index), bytes)?;
                continue;
            }
            self.band.unit.resize(layout.complete_len, 0);
            let unit = &mut self.band.unit;
            self.decoder
                .read_coding_unit_bytes(TiffCodingUnit(index), unit)?;
            let strides = layout.row_stride.zip(layout.plane_stride);
            let (row_stride, plane_stride) = strides.map_or((0, 0), |(r, p)| (r.get(), p.get()));
            self.place(
                left,
                width as usize,
                height as usize,
                row_stride,
                plane_stride,
            )?;
            left += width as usize;
        }
        Ok(())
    }

    /// Copies a decoded tile to its place in the band; planes become pixels.
    fn place(
        &mut self,
        left: usize,
        width: usize,
        height: usize,
        row_stride: usize,
        plane_stride: usize,
    ) -> Result<(), Failure> {
        let pixel_bytes = self.pixel_bytes();
        let sample_bytes = self.format.samples.bytes();
        let n_planes = self.band.unit.len() / plane_stride.max(1);
        let row_bytes = self.width * pixel_bytes;
        let too_short = || {
            let reason = "its tiles do not fit its size; export it again";
            Failure::new(ReadImageErrorKind::Corrupt, reason)
        };
        for y in 0..height {
            let to = y * row_bytes + left * pixel_bytes;
            let target = self
                .band
                .bytes
                .get_mut(to..to + width * pixel_bytes)
                .ok_or_else(too_short)?;
            if n_planes <= 1 {
                let from = y * row_stride;
                let source = self.band.unit.get(from..from + target.len());
                target.copy_from_slice(source.ok_or_else(too_short)?);
                continue;
            }
            for plane in 0..self.format.planes() {
                let from = plane * plane_stride + y * row_stride;
                let source = self.band.unit.get(from..from + width * sample_bytes);
                let samples = source.ok_or_else(too_short)?.chunks_exact(sample_bytes);
                let places = target[plane * sample_bytes..].chunks_mut(pixel_bytes);
                for (place, sample) in places.zip(samples) {
                    place[..sample_bytes].copy_from_slice(sample);
                }
            }
        }
        Ok(())
    }
}

impl Rows for TiffLayout {
    fn next(&mut self, row: &mut [f32]) -> Result<(), Failure> {
        if self.band.n_taken == self.band.n_rows {
            self.load_band()?;
        }
        let row_bytes = self.width * self.pixel_bytes();
        let start = self.band.n_taken * row_bytes;
        self.band.n_taken += 1;
        let bytes = &self.band.bytes[start..start + row_bytes];
        self.format.samples.decode(bytes, row);
        Ok(())
    }
}

impl From<TiffError> for Failure {
    fn from(error: TiffError) -> Self {
        let (kind, reason) = match error {
            TiffError::IoError(error) => return error.into(),
            TiffError::LimitsExceeded => (
                ReadImageErrorKind::TooLarge,
                "decoding it exceeds the memory limit; allow more memory, or save it in smaller strips"
                    .to_owned(),
            ),
            TiffError::UnsupportedError(_) => (
                ReadImageErrorKind::Unsupported,
                format!("{error}; save it as an RGB TIFF with 8 or 16 bits"),
            ),
            TiffError::FormatError(_) | TiffError::IntSizeError | TiffError::UsageError(_) => {
                (ReadImageErrorKind::Corrupt, damaged(&error))
            }
        };
        Self::caused(kind, reason, error)
    }
}
