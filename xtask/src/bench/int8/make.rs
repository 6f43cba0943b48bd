//! The models, the images that they are calibrated and judged on, and what the tools make of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tilecast_tile::list_images;

use super::super::simplify::{EXPORT_PX, SAMPLE_PX, models};
use super::super::{BenchError, Options, checkout, nafnet, process, progress, python};
use super::{CONVERT, Kind, Made, OURS, PEER, PEER_PREPARED, SCRIPT, Subject, fill, has_vnni};

/// The images, as `recipes/nafnet.yaml` uses them: of the names in order every fourth is held out.
const IMAGES: &str = "calibration/noisy";
const HOLDOUT_EVERY: usize = 4;

/// Crops that reduced networks are calibrated and judged on.
const N_EXPORT: [usize; 2] = [16, 6];
/// The same of the network at the published size.
const N_PUBLISHED: [usize; 2] = [4, 2];
const PUBLISHED_PX: usize = 256;

/// Images that calibration is timed on, and twice as many.
pub(super) const N_CALIBRATION: [usize; 2] = [16, 32];
const CALIBRATION_PX: usize = 256;

/// Folders of images, each to calibrate and to judge on.
pub(super) struct Folders {
    whole: [PathBuf; 2],
    export: [PathBuf; 2],
    published: [PathBuf; 2],
    /// What calibration is timed on, by [`N_CALIBRATION`].
    pub(super) calibration: [PathBuf; 2],
}

/// A model in FP32, and what is done with it.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// In a folder where tools may leave files.
    pub(super) model: PathBuf,
    calibrate: PathBuf,
    /// Folder of images.
    pub(super) judge: PathBuf,
    /// Width of the output's range; that of FP32's output where it is not known.
    pub(super) peak: Option<f64>,
    /// Of the input that is timed, pixels.
    pub(super) side_px: usize,
}

impl Folders {
    /// # Errors
    /// An image cannot be read or written.
    pub(super) fn write(folder: &Path) -> Result<Self, BenchError> {
        let all = list_images(&checkout().join(IMAGES))
            .map_err(|e| BenchError::step("listing the calibration images", e))?;
        let is_held_out = |index: usize| index % HOLDOUT_EVERY == HOLDOUT_EVERY - 1;
        let numbered = || all.iter().cloned().enumerate();
        let (held_out, used): (Vec<_>, Vec<_>) = numbered().partition(|(i, _)| is_held_out(*i));
        let parts = [used, held_out].map(|part| part.into_iter().map(|(_, p)| p).collect());
        let crops = |name: &str, images: &Vec<PathBuf>, side_px, n| {
            let folder = folder.join(format!("{name}-{n}x{side_px}"));
            crops(images, side_px, n, &folder).map(|()| folder)
        };
        let both = |side_px, [n_calibrate, n_judge]: [usize; 2]| {
            Ok::<_, BenchError>([
                crops("calibrate", &parts[0], side_px, n_calibrate)?,
                crops("judge", &parts[1], side_px, n_judge)?,
            ])
        };
        let [few, twice] = N_CALIBRATION;
        Ok(Self {
            whole: [
                copies(&parts[0], folder.join("calibrate"))?,
                copies(&parts[1], folder.join("judge"))?,
            ],
            export: both(EXPORT_PX, N_EXPORT)?,
            published: both(PUBLISHED_PX, N_PUBLISHED)?,
            calibration: [
                crops("cost", &all, CALIBRATION_PX, few)?,
                crops("cost", &all, CALIBRATION_PX, twice)?,
            ],
        })
    }
}

fn create(folder: &Path) -> Result<(), BenchError> {
    fs::create_dir(folder).map_err(|e| BenchError::file(folder, e))
}

fn copies(images: &[PathBuf], folder: PathBuf) -> Result<PathBuf, BenchError> {
    create(&folder)?;
    for image in images {
        let target = folder.join(image.file_name().unwrap_or_default());
        fs::copy(image, target).map_err(|e| BenchError::file(image, e))?;
    }
    Ok(folder)
}

/// Writes `n` square crops that do not overlap: one of each image, then a second of each that has room for it, and so on.
fn crops(images: &[PathBuf], side_px: usize, n: usize, folder: &Path) -> Result<(), BenchError> {
    create(folder)?;
    let mut opened = Vec::new();
    for path in images {
        let image = image::open(path).map_err(|e| BenchError::step("reading an image", e))?;
        opened.push(image);
    }
    let side = u32::try_from(side_px).unwrap_or(u32::MAX);
    let mut written = 0;
    for turn in 0.. {
        let before = written;
        for image in &opened {
            let (columns, rows) = (image.width() / side, image.height() / side);
            if turn >= columns * rows || written == n {
                continue;
            }
            let crop = image.crop_imm(turn % columns * side, turn / columns * side, side, side);
            crop.save(folder.join(format!("{written:02}.png")))
                .map_err(|e| BenchError::step("writing a crop", e))?;
            written += 1;
        }
        if written == n {
            return Ok(());
        }
        if written == before {
            break;
        }
    }
    let reason = format!("the images hold {written} of {n}");
    Err(BenchError::step("cutting crops", reason))
}

/// The models that the options want.
///
/// # Errors
/// A model cannot be read or written.
pub(super) fn sources(
    options: &Options,
    folders: &Folders,
    folder: &Path,
) -> Result<Vec<Source>, BenchError> {
    let folder = folder.join("models");
    create(&folder)?;
    let mut sources = Vec::new();
    for (path, side_px) in models()? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if !options.wants(&name) {
            continue;
        }
        let model = folder.join(path.file_name().unwrap_or_default());
        fs::copy(&path, &model).map_err(|e| BenchError::file(&path, e))?;
        let (kind, [calibrate, judge], peak) = if side_px == SAMPLE_PX {
            (Kind::Sample, folders.whole.clone(), Some(1.0))
        } else {
            (Kind::Export, folders.export.clone(), None)
        };
        sources.push(Source {
            name: name.into_owned(),
            kind,
            model,
            calibrate,
            judge,
            peak,
            side_px,
        });
    }
    let name = "nafnet-width32";
    if options.wants(name) {
        progress("building the network");
        let model = folder.join(format!("{name}.onnx"));
        nafnet::write(&nafnet::PUBLISHED, &model)?;
        let [calibrate, judge] = folders.published.clone();
        sources.push(Source {
            name: name.into(),
            kind: Kind::Published,
            model,
            calibrate,
            judge,
            peak: None,
            side_px: PUBLISHED_PX,
        });
    }
    Ok(sources)
}

/// Makes everything of a model.
///
/// # Errors
/// A program cannot be started. That one fails is a result.
pub(super) fn subject(options: &Options, source: &Source) -> Result<Subject, BenchError> {
    let mut made = Vec::new();
    let n_ours = if has_vnni() == Some(true) { 2 } else { 1 };
    for (by, runtime) in OURS.into_iter().take(n_ours) {
        let path = target(source, runtime);
        let mut command = process::tilecast()?;
        command.args(fill(
            CONVERT,
            &[
                ("{model}", &source.model),
                ("{target}", Path::new(runtime)),
                ("{images}", &source.calibrate),
                ("{tile}", Path::new(&source.side_px.to_string())),
                ("{output}", &path),
            ],
        ));
        let output = output(&mut command)?;
        made.push(Made::new(by, path, &output, None));
    }
    let quantized = |by: &'static str, model: &Path, note| -> Result<Made, BenchError> {
        let path = target(source, by);
        let output = output(peer(options, source).args([
            "quantize".as_ref(),
            model.as_os_str(),
            path.as_os_str(),
            source.calibrate.as_os_str(),
        ]))?;
        Ok(Made::new(by, path, &output, note))
    };
    made.push(quantized(PEER, &source.model, None)?);
    let prepared = target(source, "prepared");
    let output = output(peer(options, source).args([
        "prepare".as_ref(),
        source.model.as_os_str(),
        prepared.as_os_str(),
    ]))?;
    made.push(if output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        let note = said.lines().next().map(str::to_owned);
        quantized(PEER_PREPARED, &prepared, note)?
    } else {
        Made::new(PEER_PREPARED, prepared, &output, None)
    });
    Ok(Subject {
        name: source.name.clone(),
        kind: source.kind,
        bytes: size(&source.model)?,
        made,
    })
}

impl Made {
    fn new(by: &'static str, path: PathBuf, output: &Output, note: Option<String>) -> Self {
        let bytes = if output.status.success() {
            size(&path).map_err(|e| e.to_string())
        } else {
            Err(python::complaint(output))
        };
        Self {
            by,
            bytes,
            note,
            path,
            judged: None,
            over_fp32: super::Runs::new(),
            over_peer: super::Runs::new(),
        }
    }
}

fn target(source: &Source, by: &str) -> PathBuf {
    source
        .model
        .with_file_name(format!("{}-{by}.onnx", source.name))
}

/// The other tool, where it may leave files behind.
fn peer(options: &Options, source: &Source) -> Command {
    let mut command = Command::new(&options.python);
    command.arg(python::script_path(SCRIPT));
    command.current_dir(source.model.parent().unwrap_or(Path::new(".")));
    command
}

fn output(command: &mut Command) -> Result<Output, BenchError> {
    let output = command.output();
    output.map_err(|e| BenchError::step(format!("starting {}", command.get_program().display()), e))
}

fn size(path: &Path) -> Result<u64, BenchError> {
    let metadata = fs::metadata(path).map_err(|e| BenchError::file(path, e))?;
    Ok(metadata.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crops_cover_all_images_before_any_gives_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let images: Vec<PathBuf> = [(5, 2), (2, 4)]
            .into_iter()
            .enumerate()
            .map(|(index, (width, height))| {
                let path = folder.path().join(format!("{index}.png"));
                let value = |x, y| image::Luma([(100 * index as u32 + 10 * y + x) as u8]);
                let image = image::GrayImage::from_fn(width, height, value);
                image.save(&path).unwrap();
                path
            })
            .collect();
        let target = folder.path().join("crops");
        crops(&images, 2, 4, &target).unwrap();
        let first_pixels: Vec<u8> = list_images(&target)
            .unwrap()
            .iter()
            .map(|path| image::open(path).unwrap().to_luma8()[(0, 0)].0[0])
            .collect();
        assert_eq!(first_pixels, [0, 100, 2, 120]);
        let error = crops(&images, 2, 5, &folder.path().join("more")).unwrap_err();
        assert_eq!(error.to_string(), "cutting crops failed");
    }
}
