//! `bench stream`: a 100-megapixel image through `tilecast run --memory 512MiB`, as 16-bit TIFF and PNG, in a process whose
//! memory is watched; and predicted against measured peaks for five tile sizes of three models.
//!
//! `--only large` or `--only predict` runs one of the two. The former takes some twenty minutes on two cores.

use std::path::Path;

use serde_json::{Value, json};
use tilecast_tile::{
    Alpha, Colour, Exif, ExifDirectory, ExifField, ImageReader, ImageTarget, Metadata, PixelFormat,
    ReadLimits, RowSource, SampleType, Size, WriteImageError, write_rows,
};

use super::process::{self, Run};
use super::report::{Report, Table};
use super::{BenchError, Options, checkout, progress, scratch};

/// 100 megapixels, of sides that are multiples of nothing.
const LARGE: Size = Size {
    height: 8167,
    width: 12_247,
};
const MEMORY: &str = "512MiB";
const MEMORY_BYTES: u64 = 512 << 20;

/// An image of many tiles of the sizes below.
const SMALL: Size = Size {
    height: 1536,
    width: 2048,
};
const TILES_PX: [usize; 5] = [256, 320, 384, 512, 640];
const MODELS: [&str; 3] = [
    "models/nafnet-denoise.onnx",
    "models/srvgg-x2.onnx",
    "models/exports/unet-bn-dy20.onnx",
];

/// A prediction may be off by this share.
const TOLERANCE: f64 = 0.10;

/// Measures.
///
/// # Errors
/// See [`BenchError`].
pub(super) fn run(options: &Options) -> Result<Report, BenchError> {
    let folder = scratch()?;
    let mut report = Report {
        method: vec![
            "`tilecast run` in a process of its own; the measured peak is that of the system (VmHWM), the predicted one what \
             `--json` states before the run. Predictions are of the most that a run may take, and it is chance whether \
             two workers take theirs at once: both figures are the largest of the rounds."
                .into(),
        ],
        versions: vec![("tilecast".to_owned(), env!("CARGO_PKG_VERSION").to_owned())],
        ..Report::default()
    };
    let (mut large, mut predicted) = (Value::Null, Value::Null);
    if options.wants("large") {
        let (table, results, remarks) = run_large(folder.path())?;
        report.tables.push(table);
        report.remarks.extend(remarks);
        large = results;
    }
    if options.wants("predict") {
        let (table, results, remarks) = run_predictions(folder.path(), options.rounds)?;
        report.tables.push(table);
        report.remarks.extend(remarks);
        predicted = results;
    }
    report.results = json!({ "large": large, "predict": predicted });
    Ok(report)
}

type Part = (Table, Value, Vec<String>);

fn run_large(folder: &Path) -> Result<Part, BenchError> {
    let (mut rows, mut results, mut remarks) = (Vec::new(), Vec::new(), Vec::new());
    for name in ["large.tif", "large.png"] {
        let (input, output) = (folder.join(name), folder.join(format!("out-{name}")));
        progress(&format!("writing {name}"));
        write_image(&input, LARGE)?;
        progress(&format!("running {name}"));
        let (run, document) = tilecast_run(MODELS[0], &input, &output, &["--memory", MEMORY])?;
        let image = &document["images"][0];
        let metadata = compare_metadata(&input, &output)?;
        rows.push(vec![
            name.to_owned(),
            format!("{:.0}", run.seconds),
            megabytes(run.resident),
            megabytes(image["peak_bytes"].as_u64().unwrap_or(0)),
            format!("{}x{}", image["tile_width"], image["tile_height"]),
            metadata.unwrap_or_else(|| "kept".to_owned()),
        ]);
        if run.resident > MEMORY_BYTES {
            remarks.push(format!("{name}: the peak is above {MEMORY}"));
        }
        results.push(json!({
            "image": name,
            "seconds": run.seconds,
            "peak_resident_bytes": run.resident,
            "run": image,
        }));
        for path in [&input, &output] {
            std::fs::remove_file(path).map_err(|e| BenchError::file(path, e))?;
        }
    }
    let columns = [
        "image",
        "seconds",
        "peak, MB",
        "predicted, MB",
        "tile",
        "ICC and EXIF",
    ];
    let table = Table {
        title: format!("{LARGE} px, 16 bits, the sample, `--memory {MEMORY}`"),
        columns: columns.map(str::to_owned).to_vec(),
        rows,
    };
    Ok((table, Value::from(results), remarks))
}

fn run_predictions(folder: &Path, rounds: usize) -> Result<Part, BenchError> {
    let (mut rows, mut results, mut remarks) = (Vec::new(), Vec::new(), Vec::new());
    let (input, output) = (folder.join("small.tif"), folder.join("out.tif"));
    write_image(&input, SMALL)?;
    for model in MODELS {
        for tile in TILES_PX {
            progress(&format!("{model} in tiles of {tile}"));
            let side = tile.to_string();
            let (mut predicted, mut resident) = (0, 0);
            for _ in 0..rounds.max(1) {
                let (run, document) = tilecast_run(model, &input, &output, &["--tile", &side])?;
                let bytes = document["images"][0]["peak_bytes"].as_u64().unwrap_or(0);
                predicted = predicted.max(bytes);
                resident = resident.max(run.resident);
            }
            let ratio = predicted as f64 / resident as f64;
            rows.push(vec![
                format!("{model}, {tile} px"),
                megabytes(predicted),
                megabytes(resident),
                format!("{ratio:.2}"),
            ]);
            if (ratio - 1.0).abs() > TOLERANCE {
                remarks.push(format!("{model}, {tile} px: off by more than 10 %"));
            }
            results.push(json!({
                "model": model,
                "tile": tile,
                "predicted_bytes": predicted,
                "peak_resident_bytes": resident,
            }));
        }
    }
    let columns = ["model and tile", "predicted, MB", "peak, MB", "ratio"];
    let table = Table {
        title: format!("Predicted and measured peaks, {SMALL} px of 16 bits"),
        columns: columns.map(str::to_owned).to_vec(),
        rows,
    };
    Ok((table, Value::from(results), remarks))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

fn tilecast_run(
    model: &str,
    input: &Path,
    output: &Path,
    options: &[&str],
) -> Result<(Run, Value), BenchError> {
    let mut command = process::tilecast()?;
    command
        .arg("run")
        .arg(checkout().join(model))
        .arg(input)
        .arg("-o")
        .arg(output)
        .args(options)
        .arg("--json");
    let (run, text) = process::watch_output("`tilecast run`", &mut command)?;
    let document = serde_json::from_str(&text);
    Ok((
        run,
        document.map_err(|e| BenchError::step("reading the JSON of `tilecast run`", e))?,
    ))
}

/// Gradients with noise, so that compression has something to do, and metadata of every directory.
fn write_image(path: &Path, size: Size) -> Result<(), BenchError> {
    let mut profile = vec![0u8; 3144];
    profile[16..20].copy_from_slice(b"RGB ");
    let field = |directory, tag, kind, value: &[u8]| ExifField {
        directory,
        tag,
        kind,
        value: value.to_vec(),
    };
    let side = |px: usize| (px as u32).to_ne_bytes();
    let mut metadata = Metadata::default();
    metadata.icc_profile = Some(profile.into());
    metadata.exif = Exif::from_fields(&[
        field(ExifDirectory::Main, 0x010f, 2, b"A maker of cameras\0"),
        field(ExifDirectory::Main, 0x0112, 3, &8u16.to_ne_bytes()),
        field(ExifDirectory::Exif, 0x829a, 5, &[1, 0, 0, 0, 125, 0, 0, 0]),
        field(ExifDirectory::Exif, 0x927c, 7, &[42; 2000]),
        field(ExifDirectory::Exif, 0xa002, 4, &side(size.width)),
        field(ExifDirectory::Exif, 0xa003, 4, &side(size.height)),
        field(ExifDirectory::Gps, 0x0001, 2, b"N\0"),
        field(ExifDirectory::Interoperability, 0x0001, 2, b"R98\0"),
    ]);
    let target = ImageTarget {
        path,
        size,
        format: PixelFormat {
            colour: Colour::Rgb,
            alpha: Alpha::None,
            samples: SampleType::U16,
        },
        metadata: &metadata,
    };
    let written = write_rows(&target, |sink| -> Result<(), WriteImageError> {
        let mut row = vec![0.0; size.width * 3];
        let mut state = 1u32;
        for y in 0..size.height {
            for (index, value) in row.iter_mut().enumerate() {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = (state >> 16) as f32 / 65_536.0 - 0.5;
                let (x, channel) = (index / 3, index % 3);
                let wave = ((x + channel * 40) as f32 / 97.0).sin() + (y as f32 / 61.0).cos();
                *value = 0.5 + 0.2 * wave + 0.1 * noise;
            }
            sink.write_row(&row)?;
        }
        Ok(())
    });
    written.map_err(|e| BenchError::step("writing an image", e))
}

/// What differs between what two files say besides their pixels; `None` where nothing does.
fn compare_metadata(a: &Path, b: &Path) -> Result<Option<String>, BenchError> {
    let open = |path| {
        ImageReader::open(path, &ReadLimits::default())
            .map_err(|e| BenchError::step("opening an image", e))
    };
    let (a, b) = (open(a)?, open(b)?);
    let fields = |reader: &ImageReader| {
        let exif = reader.metadata().exif.as_ref();
        exif.map(Exif::fields).unwrap_or_default()
    };
    Ok(if a.metadata().icc_profile != b.metadata().icc_profile {
        Some("the ICC profile differs".to_owned())
    } else if fields(&a) != fields(&b) || fields(&a).is_empty() {
        Some("EXIF differs".to_owned())
    } else if (a.size(), a.format()) != (b.size(), b.format()) {
        Some("size or format differ".to_owned())
    } else {
        None
    })
}
