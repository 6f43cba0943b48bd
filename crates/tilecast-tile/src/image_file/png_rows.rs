//! PNG files, row by row.

use std::fs::File;
use std::io::BufReader;

use png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Reader, Transformations};

use super::exif::Exif;
use super::metadata::{Metadata, XMP_KEYWORD};
use super::pixel_format::{Alpha, Colour, PixelFormat, SampleType};
use super::read::{Failure, ReadImageErrorKind, ReadLimits, damaged};
use super::row_reader::{Opened, Rows, check_bytes, check_sides, fits};

/// A PNG file whose header has been read.
pub(super) struct PngRows {
    reader: Reader<BufReader<File>>,
    format: PixelFormat,
    bytes: Vec<u8>,
}

impl PngRows {
    /// Reads everything in front of the pixels.
    pub(super) fn open(
        file: BufReader<File>,
        limits: &ReadLimits,
    ) -> Result<(Self, Metadata, Vec<String>), Failure> {
        let bytes = usize::try_from(limits.max_bytes).unwrap_or(usize::MAX);
        let mut decoder = Decoder::new_with_limits(file, Limits { bytes });
        // Palettes become RGB, less than eight bits become eight, a transparent colour becomes alpha.
        decoder.set_transformations(Transformations::EXPAND);
        let header = decoder.read_header_info()?;
        let (width, height) = header.size();
        check_sides(width, height, limits)?;
        let reader = decoder.read_info()?;
        let (color_type, depth) = reader.output_color_type();
        let format = PixelFormat {
            colour: match color_type {
                ColorType::Grayscale | ColorType::GrayscaleAlpha => Colour::Grey,
                ColorType::Rgb | ColorType::Rgba | ColorType::Indexed => Colour::Rgb,
            },
            alpha: match color_type {
                ColorType::GrayscaleAlpha | ColorType::Rgba => Alpha::Straight,
                _ => Alpha::None,
            },
            samples: match depth {
                BitDepth::Sixteen => SampleType::U16,
                _ => SampleType::U8,
            },
        };
        let row_bytes = width as usize * format.planes() * format.samples.bytes();
        check_bytes(row_bytes as u64, "a PNG with very long rows", limits)?;
        let info = reader.info();
        let metadata = Metadata {
            icc_profile: info
                .icc_profile
                .as_deref()
                .filter(|profile| fits(profile, format.colour))
                .map(Into::into),
            exif: info
                .exif_metadata
                .as_ref()
                .map(|block| Exif::from_block(block.to_vec())),
            xmp: info
                .utf8_text
                .iter()
                .find(|text| text.keyword == XMP_KEYWORD)
                .and_then(|text| text.get_text().ok())
                .map(String::into_bytes),
            png: Some(Box::new(info.clone())),
        };
        let mut notes = Vec::new();
        if info.is_animated() {
            notes.push("it is animated, only its first frame is taken".to_owned());
        }
        let rows = Self {
            reader,
            format,
            bytes: vec![0; row_bytes],
        };
        Ok((rows, metadata, notes))
    }

    pub(super) fn is_interlaced(&self) -> bool {
        self.reader.info().interlaced
    }

    pub(super) fn into_opened(self, metadata: Metadata, notes: Vec<String>) -> Opened {
        /// What the decompressor holds: its window and what it has read ahead.
        const DECOMPRESSOR_BYTES: usize = 256 << 10;
        Opened {
            size: self.reader.info().size(),
            format: self.format,
            metadata,
            notes,
            // The row, the one above it, and what is being unfiltered.
            resident_bytes: (4 * self.bytes.len() + DECOMPRESSOR_BYTES) as u64,
            rows: Box::new(self),
        }
    }
}

impl Rows for PngRows {
    fn next(&mut self, row: &mut [f32]) -> Result<(), Failure> {
        if self.reader.read_row(&mut self.bytes)?.is_none() {
            let reason = "it ends before its last row; export or copy it again";
            return Err(Failure::new(ReadImageErrorKind::Corrupt, reason));
        }
        if self.format.samples == SampleType::U16 && cfg!(target_endian = "little") {
            // PNG stores the high byte first.
            for sample in self.bytes.as_chunks_mut::<2>().0 {
                sample.reverse();
            }
        }
        self.format.samples.decode(&self.bytes, row);
        Ok(())
    }
}

impl From<DecodingError> for Failure {
    fn from(error: DecodingError) -> Self {
        let (kind, reason) = match error {
            DecodingError::IoError(error) => return error.into(),
            DecodingError::LimitsExceeded => (
                ReadImageErrorKind::TooLarge,
                "decoding it exceeds the memory limit; split or shrink it".to_owned(),
            ),
            DecodingError::Format(_) | DecodingError::Parameter(_) => {
                (ReadImageErrorKind::Corrupt, damaged(&error))
            }
        };
        Self::caused(kind, reason, error)
    }
}
