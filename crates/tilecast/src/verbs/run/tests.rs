//! Files that `run` writes, against what the same plan gives in memory.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use tempfile::TempDir;
use tilecast_analysis::analyze;
use tilecast_exec::TractEngine;
use tilecast_tile::{
    Alpha, Colour, Exif, ExifDirectory, ExifField, Metadata, PixelFormat, PlanarImage, SampleType,
    read_image, write_image,
};

use super::*;
use crate::Silent;

const SRVGG: &str = "models/srvgg-x2.onnx";
const PHOTO: &str = "calibration/noisy/06-s10-257x391.png";

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

fn run_file(model: &str, input: &Path, output: &Path, tiles: TileSelection) -> RunImage {
    let settings = RunSettings {
        sweeps: None,
        local_window: None,
        model: repository(model),
        input: input.to_owned(),
        output: output.to_owned(),
        tiles,
        memory_bytes: 2 << 30,
        engine: EngineChoice::Tract,
    };
    let never = AtomicBool::new(false);
    let outcome = run(&settings, &Context::new(&Silent, &never)).unwrap();
    outcome.images.into_iter().next().unwrap()
}

/// What the whole-image path gives for the same tiles.
fn in_memory(model: &str, image: &PlanarImage, tile_px: usize) -> PlanarImage {
    let model = Model::load(&repository(model)).unwrap();
    let geometry = Geometry::new(analyze(&model).unwrap()).unwrap();
    let engine = TractEngine::new();
    let runner = TiledRunner::new(&engine, &model, ValueRange::UNIT).unwrap();
    let plan = geometry.plan(image.size(), Some(tile_px)).unwrap();
    runner.run(image, &plan, &RunControl::default()).unwrap()
}

/// Rows of a file, pixel by pixel, and what it says besides.
fn read_rows(path: &Path) -> (PixelFormat, Vec<f32>, Metadata) {
    let mut reader = ImageReader::open(path, &ReadLimits::default()).unwrap();
    let n = reader.size().width * reader.format().planes();
    let mut pixels = vec![0.0; n * reader.size().height];
    for row in pixels.chunks_exact_mut(n) {
        reader.read_row(row).unwrap();
    }
    (reader.format(), pixels, reader.metadata().clone())
}

/// The top left corner of an image's rows.
fn corner(rows: &[f32], width: usize, size: Size) -> Vec<f32> {
    rows.chunks_exact(3 * width)
        .take(size.height)
        .flat_map(|row| row[..3 * size.width].to_vec())
        .collect()
}

/// Writes a file of these pixels.
fn write_pixels(path: &Path, size: Size, format: PixelFormat, pixels: &[f32], metadata: &Metadata) {
    let target = ImageTarget {
        path,
        size,
        format,
        metadata,
    };
    write_rows(&target, |sink| {
        for row in pixels.chunks_exact(size.width * format.planes()) {
            sink.write_row(row)?;
        }
        Ok::<(), tilecast_tile::WriteImageError>(())
    })
    .unwrap();
}

fn format(colour: Colour, alpha: Alpha, samples: SampleType) -> PixelFormat {
    PixelFormat {
        colour,
        alpha,
        samples,
    }
}

#[test]
fn rows_give_the_same_file_as_the_whole_image() {
    let folder = TempDir::new().unwrap();
    for (model, photo, tile_px) in [
        (SRVGG, PHOTO, 100),
        (
            "models/nafnet-denoise.onnx",
            "calibration/noisy/02-s25-300x260.png",
            240,
        ),
    ] {
        let input = repository(photo);
        let expected = in_memory(model, &read_image(&input).unwrap(), tile_px);
        for name in ["out.png", "out.tif"] {
            let output = folder.path().join(name);
            let image = run_file(model, &input, &output, TileSelection::Side(tile_px));
            assert!(image.tiles > 1, "{model}");
            let whole = folder.path().join(format!("whole-{name}"));
            write_image(&whole, &expected).unwrap();
            assert_eq!(
                read_image(&output).unwrap(),
                read_image(&whole).unwrap(),
                "{model} {name}"
            );
        }
    }
}

#[test]
fn fitting_tiles_stay_below_the_memory_that_they_are_given() {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("out.png");
    let image = run_file(SRVGG, &repository(PHOTO), &output, TileSelection::Fitting);
    assert!(image.peak_bytes.unwrap() <= 2 << 30);
    assert!(!image.decisions.is_empty());
    // An exact network: other tiles give the same picture.
    let expected = in_memory(SRVGG, &read_image(&repository(PHOTO)).unwrap(), 100);
    let found = read_image(&output).unwrap();
    let worst = (found.data().iter().zip(expected.data()))
        .map(|(a, b)| (a - b.clamp(0.0, 1.0)).abs())
        .fold(0.0, f32::max);
    assert!(worst <= 0.51 / 255.0 + 2e-5, "{worst}");
}

#[test]
fn grey_stays_grey_and_opaque_alpha_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (_, rows, _) = read_rows(&repository(PHOTO));
    let size = Size {
        height: 70,
        width: 90,
    };
    let rgb = corner(&rows, 257, size);
    let none = Metadata::default();

    let grey: Vec<f32> = rgb.chunks_exact(3).map(|pixel| pixel[0]).collect();
    let grey_format = format(Colour::Grey, Alpha::None, SampleType::U8);
    write_pixels(&path("grey.png"), size, grey_format, &grey, &none);
    run_file(
        SRVGG,
        &path("grey.png"),
        &path("grey-out.tif"),
        TileSelection::Side(50),
    );
    let (found, values, _) = read_rows(&path("grey-out.tif"));
    assert_eq!(found, grey_format);
    assert_eq!(values.len(), 4 * grey.len());

    let rgb_format = format(Colour::Rgb, Alpha::None, SampleType::U8);
    write_pixels(&path("rgb.png"), size, rgb_format, &rgb, &none);
    let rgba: Vec<f32> = rgb
        .chunks_exact(3)
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 1.0])
        .collect();
    let alpha_format = format(Colour::Rgb, Alpha::Straight, SampleType::U8);
    write_pixels(&path("rgba.png"), size, alpha_format, &rgba, &none);
    // The denoiser's halo leaves no tiles in so small an image.
    for (model, is_scaled, tile_px) in
        [(SRVGG, true, 64), ("models/nafnet-denoise.onnx", false, 96)]
    {
        let tiles = TileSelection::Side(tile_px);
        run_file(model, &path("rgba.png"), &path("rgba-out.png"), tiles);
        run_file(model, &path("rgb.png"), &path("rgb-out.png"), tiles);
        let (found, with_alpha, _) = read_rows(&path("rgba-out.png"));
        assert_eq!(found, alpha_format);
        let (_, without, _) = read_rows(&path("rgb-out.png"));
        for (a, b) in with_alpha.chunks_exact(4).zip(without.chunks_exact(3)) {
            if is_scaled {
                // The network's own alpha of an opaque image is near 1, not 1.
                assert!(a[3] > 0.97, "{a:?}");
            } else {
                assert_eq!((&a[..3], a[3]), (b, 1.0));
            }
        }
    }
}

#[test]
fn profile_and_exif_move_between_formats() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (_, rows, _) = read_rows(&repository(PHOTO));
    let size = Size {
        height: 40,
        width: 50,
    };
    let pixels = corner(&rows, 257, size);
    let mut profile = vec![3u8; 300];
    profile[16..20].copy_from_slice(b"RGB ");
    let field = |directory, tag, kind, value: &[u8]| ExifField {
        directory,
        tag,
        kind,
        value: value.to_vec(),
    };
    let (width, height) = (0xa002, 0xa003);
    let fields = [
        field(ExifDirectory::Main, 0x010f, 2, b"Maker of cameras\0"),
        // To be turned by 90 degrees for viewing: pixels stay as they are stored, and so does this.
        field(ExifDirectory::Main, 0x0112, 3, &6u16.to_ne_bytes()),
        field(ExifDirectory::Exif, 0x927c, 7, &[9; 77]),
        field(ExifDirectory::Exif, width, 4, &50u32.to_ne_bytes()),
        field(ExifDirectory::Exif, height, 4, &40u32.to_ne_bytes()),
        field(ExifDirectory::Gps, 0x0001, 2, b"N\0"),
    ];
    let mut metadata = Metadata::default();
    metadata.icc_profile = Some(profile.clone().into());
    metadata.exif = Exif::from_fields(&fields);
    let mut expected = fields.clone();
    expected[3].value = 100u32.to_ne_bytes().to_vec();
    expected[4].value = 80u32.to_ne_bytes().to_vec();
    for input in ["in.png", "in.tif", "in.jpg"] {
        let rgb = format(Colour::Rgb, Alpha::None, SampleType::U8);
        write_pixels(&path(input), size, rgb, &pixels, &metadata);
        for output in ["out.png", "out.tif", "out.jpg"] {
            run_file(SRVGG, &path(input), &path(output), TileSelection::Side(48));
            let (_, _, found) = read_rows(&path(output));
            let case = format!("{input} to {output}");
            assert_eq!(found.icc_profile.as_deref(), Some(&profile[..]), "{case}");
            assert_eq!(found.exif.unwrap().fields(), expected, "{case}");
        }
    }
}
