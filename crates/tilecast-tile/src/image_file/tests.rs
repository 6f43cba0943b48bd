//! Files written and read back, and files that must be refused.

use std::path::PathBuf;
use std::sync::Arc;

use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ImageBuffer, ImageEncoder, Luma, LumaA, Rgb, Rgb32FImage, Rgba};
use tempfile::TempDir;

use super::*;
use crate::{BitDepth, PlanarImage, Size};

const SIZE: Size = Size {
    height: 5,
    width: 7,
};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// An image whose samples are all different, and exact at its bit depth.
fn ramp(bit_depth: BitDepth, channels: usize) -> PlanarImage {
    let n = channels * SIZE.height * SIZE.width;
    let step = match bit_depth {
        BitDepth::Eight => 2,
        BitDepth::Sixteen => 607,
    };
    let data = (0..n)
        .map(|i| (i * step) as f32 / bit_depth.max_sample())
        .collect();
    PlanarImage::new(channels, SIZE, data, bit_depth)
}

#[test]
fn lossless_formats_keep_every_sample() {
    let folder = folder();
    for bit_depth in [BitDepth::Eight, BitDepth::Sixteen] {
        for name in ["a.png", "b.tiff", "c.TIF"] {
            let path = folder.path().join(name);
            let image = ramp(bit_depth, 3);
            write_image(&path, &image).unwrap();
            assert_eq!(read_image(&path).unwrap(), image, "{name} {bit_depth:?}");
        }
    }
}

#[test]
fn grey_is_repeated_in_three_planes() {
    let folder = folder();
    for bit_depth in [BitDepth::Eight, BitDepth::Sixteen] {
        for name in ["grey.png", "grey.tif"] {
            let path = folder.path().join(name);
            let grey = ramp(bit_depth, 1);
            write_image(&path, &grey).unwrap();
            let read = read_image(&path).unwrap();
            assert_eq!(
                (read.channels(), read.bit_depth()),
                (3, bit_depth),
                "{name}"
            );
            assert_eq!(read.data(), grey.data().repeat(3), "{name} {bit_depth:?}");
        }
    }
}

#[test]
fn values_are_clamped_and_rounded_to_the_nearest_sample() {
    let folder = folder();
    let path = folder.path().join("values.png");
    let cases = [
        (-0.5, 0.0),
        (0.49 / 255.0, 0.0),
        (0.51 / 255.0, 1.0),
        (254.51 / 255.0, 255.0),
        (7.0, 255.0),
        (f32::INFINITY, 255.0),
        (f32::NAN, 0.0),
    ];
    let size = Size {
        height: 1,
        width: cases.len(),
    };
    let values = cases.iter().map(|(value, _)| *value).collect();
    write_image(&path, &PlanarImage::new(1, size, values, BitDepth::Eight)).unwrap();
    let read = read_image(&path).unwrap();
    let samples = cases.map(|(_, sample)| sample / 255.0);
    assert_eq!(read.row(0, 0), samples);
}

#[test]
fn jpeg_has_eight_bits_and_is_close() {
    let folder = folder();
    let path = folder.path().join("photo.jpg");
    let image = ramp(BitDepth::Sixteen, 3);
    write_image(&path, &image).unwrap();
    let read = read_image(&path).unwrap();
    assert_eq!((read.size(), read.bit_depth()), (SIZE, BitDepth::Eight));
    let error = |(a, b): (&f32, &f32)| (a - b).abs();
    let worst = image
        .data()
        .iter()
        .zip(read.data())
        .map(error)
        .fold(0.0, f32::max);
    assert!(worst > 0.0 && worst < 0.05, "worst error {worst}");
}

#[test]
fn webp_is_read_and_not_written() {
    let folder = folder();
    let path = folder.path().join("photo.WEBP");
    let mut profile = vec![0u8; 128];
    profile[16..20].copy_from_slice(b"RGB ");
    let image = ramp(BitDepth::Eight, 3);
    let interleaved = |planes: usize| -> Vec<u8> {
        let samples =
            (0..SIZE.height * SIZE.width).flat_map(|px| (0..planes).map(move |plane| (px, plane)));
        let value = |(px, plane): (usize, usize)| match plane {
            3 => px as u8,
            _ => (image.data()[plane * SIZE.height * SIZE.width + px] * 255.0).round() as u8,
        };
        samples.map(value).collect()
    };
    let (width, height) = (SIZE.width as u32, SIZE.height as u32);
    let mut bytes = Vec::new();
    let mut encoder = WebPEncoder::new_lossless(&mut bytes);
    encoder.set_icc_profile(profile.clone()).unwrap();
    let rgb = interleaved(3);
    encoder
        .write_image(&rgb, width, height, image::ExtendedColorType::Rgb8)
        .unwrap();
    std::fs::write(&path, &bytes).unwrap();
    let read = read_image(&path).unwrap();
    assert_eq!(read.data(), image.data());
    assert_eq!(read.icc_profile().map(|p| p.to_vec()), Some(profile));
    assert_eq!(
        list_images(folder.path()).unwrap(),
        std::slice::from_ref(&path)
    );

    for n in 0..bytes.len() {
        std::fs::write(&path, &bytes[..n]).unwrap();
        assert!(read_image(&path).is_err(), "{n} of {} bytes", bytes.len());
    }

    let mut bytes = Vec::new();
    let rgba = interleaved(4);
    WebPEncoder::new_lossless(&mut bytes)
        .write_image(&rgba, width, height, image::ExtendedColorType::Rgba8)
        .unwrap();
    std::fs::write(&path, &bytes).unwrap();
    let mut reader = ImageReader::open(&path, &ReadLimits::default()).unwrap();
    assert!(reader.format().has_alpha());
    for samples in rgba.chunks(4 * SIZE.width) {
        let mut row = vec![0.0; 4 * SIZE.width];
        reader.read_row(&mut row).unwrap();
        let found: Vec<u8> = row.iter().map(|v| (v * 255.0).round() as u8).collect();
        assert_eq!(found, samples);
    }

    let error = write_image(&path, &image).unwrap_err();
    assert_eq!(error.kind(), WriteImageErrorKind::Unsupported);
    assert!(error.to_string().contains("png"), "{error}");
}

#[test]
fn the_orientation_is_applied() {
    let folder = folder();
    let path = folder.path().join("turned.png");
    // A TIFF header and one entry: orientation (0x0112), one short, 6 = turn by 90 degrees clockwise to view.
    let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let mut bytes = Vec::new();
    let mut encoder = PngEncoder::new(&mut bytes);
    encoder.set_exif_metadata(exif.to_vec()).unwrap();
    let stored =
        ImageBuffer::<Luma<u8>, _>::from_raw(3, 2, vec![0u8, 51, 102, 153, 204, 255]).unwrap();
    stored.write_with_encoder(encoder).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let read = read_image(&path).unwrap();
    assert_eq!(
        read.size(),
        Size {
            height: 3,
            width: 2
        }
    );
    let plane: Vec<_> = read.data()[..6].iter().map(|v| (v * 5.0).round()).collect();
    assert_eq!(plane, [3.0, 0.0, 4.0, 1.0, 5.0, 2.0]);
}

#[test]
fn rgb_profiles_survive_and_others_do_not() {
    let folder = folder();
    for name in ["a.png", "b.jpg", "c.tif"] {
        for (space, kept) in [(b"RGB ", true), (b"CMYK", false)] {
            let path = folder.path().join(name);
            let mut profile = vec![0u8; 128];
            profile[16..20].copy_from_slice(space);
            let profile: Arc<[u8]> = profile.into();
            let image = ramp(BitDepth::Eight, 3).with_icc_profile(Some(Arc::clone(&profile)));
            write_image(&path, &image).unwrap();
            let read = read_image(&path).unwrap();
            assert_eq!(read.icc_profile(), kept.then_some(&profile), "{name}");
        }
    }
}

#[test]
fn alpha_and_float_samples_are_refused_with_advice() {
    let folder = folder();
    let [grey_alpha, rgba, float] =
        ["la.png", "rgba.png", "float.tif"].map(|n| folder.path().join(n));
    ImageBuffer::<LumaA<u8>, _>::from_raw(1, 1, vec![1u8, 2])
        .unwrap()
        .save(&grey_alpha)
        .unwrap();
    ImageBuffer::<Rgba<u16>, _>::from_raw(1, 1, vec![1u16, 2, 3, 4])
        .unwrap()
        .save(&rgba)
        .unwrap();
    Rgb32FImage::from_pixel(1, 1, Rgb([0.5; 3]))
        .save(&float)
        .unwrap();
    for (path, advice) in [
        (grey_alpha, "flatten it"),
        (rgba, "flatten it"),
        (float, "8 or 16 bits"),
    ] {
        let error = read_image(&path).unwrap_err();
        assert_eq!(error.kind(), ReadImageErrorKind::Unsupported, "{error}");
        let text = error.to_string();
        assert!(
            text.contains(advice) && text.contains(&path.display().to_string()),
            "{text}"
        );
    }
}

/// An image that does not compress, so that its pixels are most of its file.
fn noise() -> PlanarImage {
    let size = Size {
        height: 64,
        width: 64,
    };
    let value = |i: usize| (i.wrapping_mul(2_654_435_761) >> 9 & 255) as f32 / 255.0;
    PlanarImage::new(
        3,
        size,
        (0..3 * 64 * 64).map(value).collect(),
        BitDepth::Eight,
    )
}

/// Files that a decoder has to give up on.
fn damaged(folder: &TempDir) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for name in ["a.png", "b.tif", "c.jpg"] {
        let path = folder.path().join(name);
        write_image(&path, &noise()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for kept in [1, 5, 9].map(|tenths| bytes.len() * tenths / 10) {
            let cut = folder.path().join(format!("cut-{kept}-{name}"));
            std::fs::write(&cut, &bytes[..kept]).unwrap();
            paths.push(cut);
        }
    }
    for (name, bytes) in [
        ("empty.png", &b""[..]),
        ("text.png", b"not an image"),
        ("text.jpg", b"not an image"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        paths.push(path);
    }
    paths
}

#[test]
fn damaged_files_are_corrupt() {
    let folder = folder();
    for path in damaged(&folder) {
        let name = path.file_name().unwrap().display().to_string();
        let error = read_image(&path).map(drop).expect_err(&name);
        assert_eq!(error.kind(), ReadImageErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(&name), "{error}");
    }
}

#[test]
fn missing_files_foreign_formats_and_large_images_are_told_apart() {
    let folder = folder();
    let missing = read_image(&folder.path().join("missing.png")).unwrap_err();
    assert_eq!(missing.kind(), ReadImageErrorKind::Io);
    assert!(missing.to_string().contains("no such file"), "{missing}");

    let gif = folder.path().join("really-a-gif.png");
    std::fs::write(&gif, b"GIF89a\x01\0\x01\0\0\0\0").unwrap();
    assert_eq!(
        read_image(&gif).unwrap_err().kind(),
        ReadImageErrorKind::Unsupported
    );

    let path = folder.path().join("large.png");
    write_image(&path, &ramp(BitDepth::Eight, 3)).unwrap();
    let n_bytes = (SIZE.height * SIZE.width * 3 * 4) as u64;
    let exact = ReadLimits {
        max_side_px: 7,
        max_bytes: n_bytes.max(1 << 20),
    };
    assert!(read_image_within(&path, &exact).is_ok());
    for limits in [
        ReadLimits {
            max_side_px: 6,
            ..exact
        },
        ReadLimits {
            max_bytes: n_bytes - 1,
            ..exact
        },
    ] {
        let error = read_image_within(&path, &limits).unwrap_err();
        assert_eq!(error.kind(), ReadImageErrorKind::TooLarge, "{error}");
    }
}

#[test]
fn what_cannot_be_written_leaves_the_old_file() {
    let folder = folder();
    let path = folder.path().join("kept.png");
    let image = ramp(BitDepth::Eight, 3);
    write_image(&path, &image).unwrap();
    let two_planes = PlanarImage::new(
        2,
        Size {
            height: 1,
            width: 1,
        },
        vec![0.0; 2],
        BitDepth::Eight,
    );
    let cases = [
        (
            path.clone(),
            &two_planes,
            WriteImageErrorKind::Unsupported,
            "2 channels",
        ),
        (
            folder.path().join("a.webp"),
            &image,
            WriteImageErrorKind::Unsupported,
            "use one of png",
        ),
        (
            folder.path().join("none"),
            &image,
            WriteImageErrorKind::Unsupported,
            "use one of png",
        ),
        (
            folder.path().join("no/such.png"),
            &image,
            WriteImageErrorKind::Io,
            "no such folder",
        ),
    ];
    for (path, image, kind, message) in cases {
        let error = write_image(&path, image).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
    assert_eq!(read_image(&path).unwrap(), image);
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["kept.png"], "no temporary files");
}

#[test]
fn jpeg_sides_have_a_limit() {
    let folder = folder();
    let size = Size {
        height: 1,
        width: 1 << 16,
    };
    let wide = PlanarImage::new(1, size, vec![0.0; size.width], BitDepth::Eight);
    let error = write_image(&folder.path().join("wide.jpg"), &wide).unwrap_err();
    assert_eq!(error.kind(), WriteImageErrorKind::Unsupported, "{error}");
    assert!(write_image(&folder.path().join("wide.png"), &wide).is_ok());
}
