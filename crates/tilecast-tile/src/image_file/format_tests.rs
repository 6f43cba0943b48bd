//! Rows of every format that is read and written.

use std::fs::File;
use std::path::Path;

use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};
use tempfile::TempDir;
use tiff::encoder::{TiffEncoder, TiffKindBig, colortype};

use super::row_writer::{needs_big_tiff, write_tiff};
use super::*;
use crate::Size;

const SIZE: Size = Size {
    height: 11,
    width: 13,
};

fn format(colour: Colour, alpha: Alpha, samples: SampleType) -> PixelFormat {
    PixelFormat {
        colour,
        alpha,
        samples,
    }
}

/// Samples that are all different and exact in their type. Floats go beyond [0, 1].
fn pixels(format: PixelFormat) -> Vec<f32> {
    let n = SIZE.height * SIZE.width * format.planes();
    let value = |i: usize| match format.samples {
        SampleType::U8 => (i * 37 % 256) as f32 / 255.0,
        SampleType::U16 => (i * 7919 % 65536) as f32 / 65535.0,
        SampleType::F32 => i as f32 / 300.0 - 0.25,
    };
    (0..n).map(value).collect()
}

fn read(path: &Path) -> (PixelFormat, Vec<f32>) {
    let mut reader = ImageReader::open(path, &ReadLimits::default()).unwrap();
    let mut pixels = vec![0.0; SIZE.height * SIZE.width * reader.format().planes()];
    for row in pixels.chunks_exact_mut(SIZE.width * reader.format().planes()) {
        reader.read_row(row).unwrap();
    }
    (reader.format(), pixels)
}

fn target<'a>(path: &'a Path, format: PixelFormat, metadata: &'a Metadata) -> ImageTarget<'a> {
    ImageTarget {
        path,
        size: SIZE,
        format,
        metadata,
    }
}

fn write_all(sink: &mut dyn RowSink, format: PixelFormat) -> Result<(), WriteImageError> {
    for row in pixels(format).chunks_exact(SIZE.width * format.planes()) {
        sink.write_row(row)?;
    }
    Ok(())
}

#[test]
fn every_kind_of_pixel_survives_rows() {
    let folder = TempDir::new().unwrap();
    let none = Metadata::default();
    let mut n_kinds = 0;
    for colour in [Colour::Grey, Colour::Rgb] {
        for alpha in [Alpha::None, Alpha::Straight, Alpha::Premultiplied] {
            for samples in [SampleType::U8, SampleType::U16, SampleType::F32] {
                for name in ["a.tif", "a.png"] {
                    let path = folder.path().join(name);
                    let wanted = format(colour, alpha, samples);
                    let format = format_in_file(&path, wanted).unwrap();
                    if format != wanted {
                        // PNG has neither floats nor premultiplied alpha.
                        assert_eq!(name, "a.png");
                        continue;
                    }
                    write_rows(&target(&path, format, &none), |sink| {
                        write_all(sink, format)
                    })
                    .unwrap();
                    let (found, values) = read(&path);
                    assert_eq!(found, format, "{name}");
                    assert_eq!(values, pixels(format), "{name} {format:?}");
                    n_kinds += 1;
                }
            }
        }
    }
    assert_eq!(n_kinds, 18 + 8);
}

#[test]
fn big_tiff_is_written_from_four_gigabytes_on_and_read_back() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("big.tif");
    let none = Metadata::default();
    let rgb = format(Colour::Rgb, Alpha::None, SampleType::U16);
    let of_size = |height, width| ImageTarget {
        size: Size { height, width },
        ..target(&path, rgb, &none)
    };
    // 6 bytes a pixel: 3.96 and 4.56 GB; 4.29 GB is what 32 bits count to.
    assert!(!needs_big_tiff(&of_size(22_000, 30_000)));
    assert!(needs_big_tiff(&of_size(22_000, 34_500)));

    let mut file = File::create(&path).unwrap();
    write_tiff::<TiffKindBig, _>(&mut file, &target(&path, rgb, &none), |sink| {
        write_all(sink, rgb)
    })
    .unwrap();
    // Version 43 instead of 42 (TIFF Technical Note on BigTIFF).
    let bytes = std::fs::read(&path).unwrap();
    assert!([bytes[2], bytes[3]].contains(&43));
    assert_eq!(read(&path), (rgb, pixels(rgb)));
}

#[test]
fn big_tiff_of_another_writer_is_read_by_rows() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("other.tif");
    let grey = format(Colour::Grey, Alpha::None, SampleType::U16);
    let samples: Vec<u16> = pixels(grey)
        .iter()
        .map(|v| (v * 65535.0).round() as u16)
        .collect();
    let mut encoder = TiffEncoder::new_big(File::create(&path).unwrap()).unwrap();
    encoder
        .write_image::<colortype::Gray16>(SIZE.width as u32, SIZE.height as u32, &samples)
        .unwrap();
    assert_eq!(read(&path), (grey, pixels(grey)));
}

/// A PNG of 8-bit RGB in the seven passes of Adam7, deflated without compression (PNG specification, section 8.2).
fn interlaced_png(pixels: &[u8]) -> Vec<u8> {
    const PASSES: [[usize; 4]; 7] = [
        [0, 0, 8, 8],
        [4, 0, 8, 8],
        [0, 4, 4, 8],
        [2, 0, 4, 4],
        [0, 2, 2, 4],
        [1, 0, 2, 2],
        [0, 1, 1, 2],
    ];
    let mut data = Vec::new();
    for [left, top, across, down] in PASSES {
        for y in (top..SIZE.height).step_by(down) {
            if left >= SIZE.width {
                continue;
            }
            data.push(0); // no filter
            for x in (left..SIZE.width).step_by(across) {
                let at = 3 * (y * SIZE.width + x);
                data.extend_from_slice(&pixels[at..at + 3]);
            }
        }
    }
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in &data {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    let length = u16::try_from(data.len()).unwrap();
    let mut stream = vec![0x78, 0x01, 1];
    stream.extend(length.to_le_bytes());
    stream.extend((!length).to_le_bytes());
    stream.extend(data);
    stream.extend((b << 16 | a).to_be_bytes());

    let mut header = Vec::new();
    header.extend((SIZE.width as u32).to_be_bytes());
    header.extend((SIZE.height as u32).to_be_bytes());
    header.extend([8, 2, 0, 0, 1]);
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, body) in [
        (b"IHDR", &header),
        (b"IDAT", &stream),
        (b"IEND", &Vec::new()),
    ] {
        png.extend((body.len() as u32).to_be_bytes());
        let mut checked = kind.to_vec();
        checked.extend(body);
        let mut crc = u32::MAX;
        for byte in &checked {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0xEDB8_8320 * (crc & 1));
            }
        }
        png.extend(checked);
        png.extend((!crc).to_be_bytes());
    }
    png
}

#[test]
fn an_interlaced_png_is_decoded_whole_and_counted() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("interlaced.png");
    let rgb = format(Colour::Rgb, Alpha::None, SampleType::U8);
    let samples: Vec<u8> = pixels(rgb)
        .iter()
        .map(|v| (v * 255.0).round() as u8)
        .collect();
    let bytes = interlaced_png(&samples);
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(read(&path), (rgb, pixels(rgb)));

    let n_bytes = (samples.len() + bytes.len()) as u64;
    let limits = |max_bytes| ReadLimits {
        max_bytes,
        ..ReadLimits::default()
    };
    let reader = ImageReader::open(&path, &limits(n_bytes)).unwrap();
    assert_eq!(reader.resident_bytes(), n_bytes);
    let error = ImageReader::open(&path, &limits(n_bytes - 1))
        .err()
        .unwrap();
    assert!(error.to_string().contains("interlac"), "{error}");
}

#[test]
fn a_webp_is_counted_with_what_its_decoder_holds() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.webp");
    let mut bytes = Vec::new();
    let n_pixels = SIZE.height * SIZE.width;
    WebPEncoder::new_lossless(&mut bytes)
        .write_image(
            &vec![100; 3 * n_pixels],
            SIZE.width as u32,
            SIZE.height as u32,
            ExtendedColorType::Rgb8,
        )
        .unwrap();
    std::fs::write(&path, &bytes).unwrap();
    // Its own four planes, the three that it gives, and the file.
    let n_bytes = (7 * n_pixels + bytes.len()) as u64;
    for (max_bytes, fits) in [(n_bytes, true), (n_bytes - 1, false)] {
        let limits = ReadLimits {
            max_bytes,
            ..ReadLimits::default()
        };
        assert_eq!(ImageReader::open(&path, &limits).is_ok(), fits);
    }
}
