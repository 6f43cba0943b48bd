//! Files that `run` writes, against what the same plan gives in memory.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tempfile::TempDir;
use tilecast_analysis::analyze;
use tilecast_exec::{
    HostTensor, LoadError, Observer, RunError, Session, SessionOptions, TractEngine,
};
use tilecast_tile::{
    Alpha, Colour, Exif, ExifDirectory, ExifField, ImageReader, ImageTarget, Metadata, PixelFormat,
    PlanarImage, ReadLimits, RowSource, RunControl, SampleType, Size, ValueRange, read_image,
    write_image, write_rows,
};

use super::*;
use crate::Silent;
use crate::tiled::{ImageRunner, TiledImage};

const SRVGG: &str = "models/srvgg-x2.onnx";
const INSTANCE_NORM: &str = "models/statistics/instance-norm.onnx";
const PHOTO: &str = "calibration/noisy/06-s10-257x391.png";

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

fn settings(model: &str, input: &Path, output: &Path, tiles: TileSelection) -> RunSettings {
    RunSettings {
        sweeps: None,
        local_window: None,
        mode: TileMode::Exact,
        preview: None,
        model: repository(model),
        input: input.to_owned(),
        output: output.to_owned(),
        tiles,
        memory_bytes: 2 << 30,
        engine: EngineChoice::Tract,
        preprocess: None,
    }
}

fn run_file(model: &str, input: &Path, output: &Path, tiles: TileSelection) -> RunImage {
    let settings = settings(model, input, output, tiles);
    run_with(&settings)
}

fn run_with(settings: &RunSettings) -> RunImage {
    let never = AtomicBool::new(false);
    let outcome = run(settings, &Context::new(&Silent, &never)).unwrap();
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

/// The largest difference of two files, as a share of their range.
fn difference(a: &Path, b: &Path) -> f32 {
    let (a, b) = (read_image(a).unwrap(), read_image(b).unwrap());
    let pairs = a.data().iter().zip(b.data());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_measured_context_is_smaller_and_keeps_within_its_tolerance() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let photo = repository(PHOTO);
    let tiles = TileSelection::Side(100);
    run_file(SRVGG, &photo, &path("exact.png"), tiles);
    let tolerance = 0.004;
    let image = run_with(&RunSettings {
        mode: TileMode::Measured { tolerance },
        ..settings(SRVGG, &photo, &path("measured.png"), tiles)
    });
    let measured = image.measured.unwrap();
    assert!(image.tiles > 1);
    assert!(measured.context_px < 12, "{measured:?}");
    assert!(measured.error <= tolerance, "{measured:?}");
    // Elsewhere it may be more than on the places that were looked at, but not by much; and a step of 8 bits is rounding.
    let found = difference(&path("exact.png"), &path("measured.png"));
    assert!(found <= 3.0 * tolerance + 1.0 / 255.0, "{found}");
}

#[test]
fn a_context_that_never_suffices_is_an_error_that_says_why() {
    let folder = TempDir::new().unwrap();
    let settings = RunSettings {
        mode: TileMode::Measured { tolerance: 1e-6 },
        ..settings(
            "models/nafnet-denoise.onnx",
            &repository("calibration/noisy/02-s25-300x260.png"),
            &folder.path().join("out.png"),
            TileSelection::Side(240),
        )
    };
    let never = AtomicBool::new(false);
    let failure = run(&settings, &Context::new(&Silent, &never)).unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Usage);
    let text = failure.to_string();
    assert!(text.contains("look at the whole image"), "{text}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_preview_comes_beside_the_image() {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("out.png");
    let image = run_with(&RunSettings {
        preview: NonZeroUsize::new(4),
        ..settings(SRVGG, &repository(PHOTO), &output, TileSelection::Side(100))
    });
    let preview = folder.path().join("out-preview.png");
    assert_eq!(image.preview, Some(preview.display().to_string()));
    let (small, whole) = (read_image(&preview).unwrap(), read_image(&output).unwrap());
    let size = |height, width| Size { height, width };
    // 391 and 257 rows and columns, a quarter of each rounded up, and twice as large.
    assert_eq!(small.size(), size(2 * 98, 2 * 65));
    assert_eq!(whole.size(), size(2 * 391, 2 * 257));
    let mean = |image: &PlanarImage| image.data().iter().sum::<f32>() / image.data().len() as f32;
    assert!((mean(&small) - mean(&whole)).abs() < 0.01);
}

#[test]
fn free_memory_decides_where_nothing_else_is_said() {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("out.png");
    let run_with_levels = |whole, side_512, side_256| {
        let levels = FreeMemoryLevels {
            whole,
            side_512,
            side_256,
        };
        let tiles = TileSelection::Adaptive(levels);
        run_file(SRVGG, &repository(PHOTO), &output, tiles)
    };
    let never = u64::MAX;
    let whole = run_with_levels(0, 0, 0);
    assert_eq!(whole.tiles, 1);
    assert!(
        whole.decisions[0].contains("are free"),
        "{:?}",
        whole.decisions
    );
    let some = run_with_levels(never, never, 0);
    assert_eq!((some.tile_width, some.tile_height), (256, 256));
    assert!(
        some.decisions[0].ends_with("tiles of 256 px"),
        "{:?}",
        some.decisions
    );
    let smallest = run_with_levels(never, never, never);
    assert_eq!(smallest.tile, 128);
}

/// tract with a limit on the tiles that it has memory for, or takes too long for.
#[derive(Debug)]
struct Poor {
    most_px: usize,
    is_slow: bool,
}

#[derive(Debug)]
struct PoorSession {
    session: Arc<dyn Session>,
    is_slow: bool,
    is_poor: bool,
}

impl Engine for Poor {
    fn name(&self) -> &'static str {
        "poor"
    }

    fn load(&self, model: &Model, options: &SessionOptions) -> Result<Arc<dyn Session>, LoadError> {
        let dims = &options.input_shapes[0].1;
        Ok(Arc::new(PoorSession {
            session: TractEngine::new().load(model, options)?,
            is_slow: self.is_slow,
            is_poor: dims[2] * dims[3] > self.most_px,
        }))
    }
}

impl Session for PoorSession {
    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>, RunError> {
        if self.is_poor && self.is_slow {
            std::thread::sleep(Duration::from_secs(2));
        } else if self.is_poor {
            return Err(RunError {
                engine: "poor",
                reason: "Failed to allocate memory for requested buffer".to_owned(),
            });
        }
        self.session.run(inputs)
    }

    fn run_observed(
        &self,
        inputs: &[HostTensor],
        observer: &mut Observer<'_>,
    ) -> Result<Vec<HostTensor>, RunError> {
        self.session.run_observed(inputs, observer)
    }

    fn peak_live_bytes(&self) -> usize {
        self.session.peak_live_bytes()
    }
}

#[test]
fn want_of_memory_and_slow_first_tiles_lead_to_smaller_ones() {
    let folder = TempDir::new().unwrap();
    let photo = repository(PHOTO);
    let expected = folder.path().join("expected.png");
    run_file(SRVGG, &photo, &expected, TileSelection::Side(128));
    let levels = FreeMemoryLevels {
        whole: u64::MAX,
        side_512: u64::MAX,
        side_256: 0,
    };
    // The study of the model runs 256 px, which it must not fail on. A single tile that was slow is done.
    for (is_slow, most_px, tiles) in [
        (false, 256 * 256, TileSelection::Fitting),
        (true, 128 * 128, TileSelection::Adaptive(levels)),
    ] {
        let output = folder.path().join("out.png");
        let settings = RunSettings {
            memory_bytes: 8 << 30,
            ..settings(SRVGG, &photo, &output, tiles)
        };
        let engine = Poor { most_px, is_slow };
        let never = AtomicBool::new(false);
        let patience = Patience {
            factor: 0.0,
            slack: Duration::from_secs(1),
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let outcome = pool
            .install(|| run_on(&engine, &settings, patience, &Context::new(&Silent, &never)))
            .unwrap();
        let image = &outcome.images[0];
        assert!(image.tile_width * image.tile_height <= most_px);
        assert!(
            image.decisions[0].contains("tiles of "),
            "{:?}",
            image.decisions
        );
        // Tiles of another size may round a sample the other way.
        assert!(difference(&expected, &output) < 1.01 / 255.0);
    }
}

#[test]
fn swept_runs_keep_pixels_as_they_are_stored_and_what_the_file_says() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (_, rows, _) = read_rows(&repository(PHOTO));
    let size = Size {
        height: 40,
        width: 50,
    };
    let pixels = corner(&rows, 257, size);
    let orientation = ExifField {
        directory: ExifDirectory::Main,
        tag: 0x0112,
        kind: 3,
        value: 6u16.to_ne_bytes().to_vec(),
    };
    let mut metadata = Metadata::default();
    metadata.exif = Exif::from_fields(std::slice::from_ref(&orientation));
    metadata.xmp = Some(b"<x:xmpmeta/>".to_vec());
    let grey: Vec<f32> = pixels.chunks_exact(3).map(|pixel| pixel[1]).collect();
    for (colour, pixels) in [(Colour::Rgb, &pixels), (Colour::Grey, &grey)] {
        let format = format(colour, Alpha::None, SampleType::U16);
        write_pixels(&path("in.tif"), size, format, pixels, &metadata);
        let run_to = |output: &str, sweeps| {
            run_with(&RunSettings {
                sweeps,
                ..settings(
                    "models/nafnet-denoise.onnx",
                    &path("in.tif"),
                    &path(output),
                    TileSelection::Side(256),
                )
            })
        };
        run_to("plain.tif", None);
        run_to("swept.tif", Some(Sweeps::Auto));
        let (found, swept, said) = read_rows(&path("swept.tif"));
        assert_eq!(found, format);
        assert_eq!(
            said.exif.unwrap().fields(),
            std::slice::from_ref(&orientation)
        );
        assert_eq!(said.xmp, metadata.xmp);
        // One tile: nothing is swept.
        assert_eq!(swept, read_rows(&path("plain.tif")).1);
    }
}

/// What the whole-image path gives for the same tiles and sweeps.
fn swept_in_memory(model: &str, image: &PlanarImage, tile_px: usize, sweeps: Sweeps) -> TiledImage {
    let model = Model::load(&repository(model)).unwrap();
    let geometry = Geometry::new(analyze(&model).unwrap()).unwrap();
    let engine = TractEngine::new();
    let sweeping = Sweeping::of(&model, geometry.analysis(), sweeps).unwrap();
    let range = ValueRange::UNIT;
    let runner = ImageRunner::new(&engine, &model, sweeping.as_ref(), range, 2 << 30).unwrap();
    let plan = geometry.plan(image.size(), Some(tile_px)).unwrap();
    runner
        .run(image, &plan, &RunControl::default(), None)
        .unwrap()
}

#[test]
fn swept_rows_give_the_same_file_as_the_whole_image() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (_, rows, _) = read_rows(&repository(PHOTO));
    let size = Size {
        height: 160,
        width: 130,
    };
    let pixels = corner(&rows, 257, size);
    let none = Metadata::default();
    for input in ["in.png", "in.tif", "in.jpg"] {
        let samples = match input {
            "in.jpg" => SampleType::U8,
            _ => SampleType::U16,
        };
        let rgb = format(Colour::Rgb, Alpha::None, samples);
        write_pixels(&path(input), size, rgb, &pixels, &none);
        // Drafts, two sweeps, and a last sweep that is known to be the last when its tiles have run.
        for sweeps in [Sweeps::Count(NonZeroU32::new(2).unwrap()), Sweeps::Auto] {
            let image = read_image(&path(input)).unwrap();
            let expected = swept_in_memory(INSTANCE_NORM, &image, 80, sweeps);
            write_image(&path("expected.tif"), &expected.image).unwrap();
            let done = run_with(&RunSettings {
                sweeps: Some(sweeps),
                ..settings(
                    INSTANCE_NORM,
                    &path(input),
                    &path("out.tif"),
                    TileSelection::Side(80),
                )
            });
            let facts = expected.swept;
            assert!(done.tiles > 1 && facts.n_sweeps > 1);
            assert_eq!((done.drafts, done.sweeps), (facts.n_drafts, facts.n_sweeps));
            assert_eq!(done.statistics_exact, facts.is_exact);
            let [(found, pixels, _), (wanted, expected, _)] =
                ["out.tif", "expected.tif"].map(|name| read_rows(&path(name)));
            assert!(found == wanted && pixels == expected, "{input} {sweeps:?}");
        }
    }
    // Neither half files nor files of sweeps that were not the last.
    let n_files = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(n_files, 5);
}

#[test]
fn swept_runs_carry_alpha_over() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (_, rows, _) = read_rows(&repository(PHOTO));
    let size = Size {
        height: 100,
        width: 130,
    };
    let rgb = corner(&rows, 257, size);
    let none = Metadata::default();
    let rgba: Vec<f32> = rgb
        .chunks_exact(3)
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 1.0])
        .collect();
    for (alpha, pixels, name) in [
        (Alpha::None, &rgb, "rgb.tif"),
        (Alpha::Straight, &rgba, "rgba.tif"),
    ] {
        let format = format(Colour::Rgb, alpha, SampleType::U16);
        write_pixels(&path(name), size, format, pixels, &none);
        let output = path(&format!("out-{name}"));
        run_with(&RunSettings {
            sweeps: NonZeroU32::new(2).map(Sweeps::Count),
            ..settings(INSTANCE_NORM, &path(name), &output, TileSelection::Side(80))
        });
    }
    let [(_, without, _), (format, with, _)] =
        ["rgb.tif", "rgba.tif"].map(|name| read_rows(&path(&format!("out-{name}"))));
    assert_eq!(format.alpha, Alpha::Straight);
    for (a, b) in with.chunks_exact(4).zip(without.chunks_exact(3)) {
        assert_eq!((&a[..3], a[3]), (b, 1.0));
    }
}

#[test]
fn results_of_webp_images_are_png_and_take_nobodys_name() {
    let images = ["a.webp", "b.WebP", "b.png", "c.jpg"].map(PathBuf::from);
    let names = images.each_ref().map(|image| output_name(image, &images));
    let expected = ["a.png", "b.WebP.png", "b.png", "c.jpg"];
    assert_eq!(names, expected.map(PathBuf::from));
}
