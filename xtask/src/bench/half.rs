//! `bench half`: FP16 models of tilecast beside those of onnxconverter-common: bytes and PSNR of the samples and exports, the
//! models that break converters, and the time and memory of converting a NAFNet of 29 M parameters.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::process::{self, Run};
use super::python::{self, Dialog};
use super::report::{Report, Table};
use super::simplify::models;
use super::statistics::Quartiles;
use super::{BenchError, Options, checkout, nafnet, progress, scratch};

const SCRIPT: &str = "half_judge.py";

/// Side of the input that both are judged on.
const SIDE_PX: usize = 96;
/// That of the models that break converters.
const TRAP_PX: usize = 8;

/// Images that tilecast calibrates on, in `calibration/noisy`.
const IMAGES: [&str; 3] = [
    "01-s10-256x256.png",
    "04-s05-256x256.png",
    "14-s05-320x256.png",
];

/// What `half_judge.py` says of a model.
#[derive(Debug, Deserialize, Serialize)]
struct Answer {
    name: String,
    floor: f64,
    ratio: f64,
    ours_ort: Quality,
    ours_rounded: Quality,
    peer_ort: Quality,
    peer_rounded: Quality,
}

/// One model on one executor.
#[derive(Debug, Deserialize, Serialize)]
struct Quality {
    #[serde(default)]
    finite: bool,
    psnr_db: Option<f64>,
    largest: Option<f64>,
    error: Option<String>,
}

impl Quality {
    fn decibels(&self) -> String {
        match self.psnr_db {
            Some(psnr) => format!("{psnr:.1}"),
            None => self.trouble().into(),
        }
    }

    fn largest(&self) -> String {
        match self.largest {
            Some(largest) => format!("{largest:.1e}"),
            None => self.trouble().into(),
        }
    }

    fn trouble(&self) -> &'static str {
        if self.error.is_some() {
            "does not run"
        } else {
            "not finite"
        }
    }
}

/// Measures.
///
/// # Errors
/// See [`BenchError`].
pub(super) fn run(options: &Options) -> Result<Report, BenchError> {
    let mut versions = vec![("tilecast".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    let packages = ["onnx", "onnxruntime", "numpy", "onnxconverter-common"];
    versions.extend(python::versions(&options.python, &packages, &[])?);
    let folder = scratch()?;
    let images = folder.path().join("images");
    fs::create_dir(&images).map_err(|e| BenchError::file(&images, e))?;
    for name in IMAGES {
        let source = checkout().join("calibration/noisy").join(name);
        fs::copy(&source, images.join(name)).map_err(|e| BenchError::file(&source, e))?;
    }
    let exports = judged(
        options,
        folder.path(),
        &models()?,
        Some(&images),
        SIDE_PX,
        3,
    )?;
    let traps = traps(options, folder.path())?;
    let speed = if options.rounds > 0 && options.wants("29 M") {
        Some(convert_in_pairs(options, folder.path())?)
    } else {
        None
    };
    Ok(report(versions, &exports, &traps, speed.as_deref()))
}

/// Converts models and has both conversions judged.
fn judged(
    options: &Options,
    folder: &Path,
    models: &[(PathBuf, usize)],
    images: Option<&Path>,
    side_px: usize,
    channels: usize,
) -> Result<Vec<Answer>, BenchError> {
    let mut cases = Vec::new();
    for (path, _) in models {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if !options.wants(&name) {
            continue;
        }
        progress(&format!("converting {name}"));
        let ours = folder.join(format!("{name}-fp16.onnx"));
        let mut command = process::tilecast()?;
        command
            .arg("convert")
            .arg(path)
            .args(["--to", "fp16", "-o"])
            .arg(&ours);
        if let Some(images) = images {
            command.arg("--calibration").arg(images);
        }
        finish("`tilecast convert`", &mut command)?;
        cases.push(json!({
            "name": name,
            "reference": path,
            "ours": ours,
            "shape": [1, channels, side_px, side_px],
            "low": 0.0,
            "high": 1.0,
        }));
    }
    let n_cases = cases.len();
    let mut script = Dialog::start_with(&options.python, SCRIPT, &["judge"])?;
    script.say(&json!({ "cases": cases }).to_string())?;
    script.hush();
    (0..n_cases)
        .map(|_| {
            serde_json::from_str(&script.hear()?)
                .map_err(|e| BenchError::step(format!("reading what {SCRIPT} said"), e))
        })
        .collect()
}

/// The models that break converters, converted without any option.
fn traps(options: &Options, folder: &Path) -> Result<Vec<Answer>, BenchError> {
    let folder = folder.join("traps");
    fs::create_dir(&folder).map_err(|e| BenchError::file(&folder, e))?;
    let output = python::run(&options.python, SCRIPT, &[Path::new("traps"), &folder])?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(BenchError::step(
            "writing the models that break converters",
            message,
        ));
    }
    let entries = fs::read_dir(&folder).map_err(|e| BenchError::file(&folder, e))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    let models: Vec<(PathBuf, usize)> = paths.into_iter().map(|path| (path, TRAP_PX)).collect();
    judged(options, &folder, &models, None, TRAP_PX, 2)
}

fn finish(what: &str, command: &mut Command) -> Result<(), BenchError> {
    let output = command
        .output()
        .map_err(|e| BenchError::step(format!("starting {what}"), e))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(BenchError::step(what, message))
}

/// One pair of conversions of the large network.
#[derive(Clone, Copy, Debug)]
struct Pair {
    ours: Run,
    peer: Run,
    /// What the peer says it took without the start of Python and its imports.
    peer_inside_seconds: f64,
    source_bytes: u64,
}

fn convert_in_pairs(options: &Options, folder: &Path) -> Result<Vec<Pair>, BenchError> {
    let source = folder.join("nafnet-29m.onnx");
    progress("building the network");
    nafnet::write(&nafnet::PUBLISHED, &source)?;
    let source_bytes = fs::metadata(&source).map_or(0, |m| m.len());
    let mut pairs = Vec::new();
    for _ in 0..options.rounds {
        progress("converting the network");
        let target = folder.join("ours.onnx");
        let mut command = process::tilecast()?;
        command.arg("convert").arg(&source).args([
            "--to",
            "fp16",
            "--no-simplify",
            "--no-check",
            "-o",
        ]);
        let ours = process::watch("`tilecast convert`", command.arg(&target))?;
        let target = folder.join("peer.onnx");
        let mut command = Command::new(&options.python);
        command
            .arg(python::script_path(SCRIPT))
            .arg("convert")
            .arg(&source)
            .arg(&target);
        let peer = process::watch("onnxconverter-common", &mut command)?;
        let seconds = target.with_extension("onnx.seconds");
        let text = fs::read_to_string(&seconds).map_err(|e| BenchError::file(&seconds, e))?;
        let peer_inside_seconds = text
            .trim()
            .parse()
            .map_err(|e: std::num::ParseFloatError| BenchError::step("reading a time", e))?;
        pairs.push(Pair {
            ours,
            peer,
            peer_inside_seconds,
            source_bytes,
        });
    }
    Ok(pairs)
}

fn report(
    versions: Vec<(String, String)>,
    exports: &[Answer],
    traps: &[Answer],
    speed: Option<&[Pair]>,
) -> Report {
    let columns = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
    let mut tables = vec![
        Table {
            title: "Bytes over those of the FP32 file, and PSNR against FP32, dB".into(),
            columns: columns(&[
                "model",
                "least possible",
                "tilecast",
                "tilecast, rounded",
                "converter, rounded",
                "tilecast, onnxruntime",
                "converter, onnxruntime",
            ]),
            rows: exports
                .iter()
                .map(|a| {
                    vec![
                        a.name.clone(),
                        format!("{:.3}", a.floor),
                        format!("{:.3}", a.ratio),
                        a.ours_rounded.decibels(),
                        a.peer_rounded.decibels(),
                        a.ours_ort.decibels(),
                        a.peer_ort.decibels(),
                    ]
                })
                .collect(),
        },
        Table {
            title: "Models that break converters: largest difference over the range of the output, rounded after every node".into(),
            columns: columns(&["model", "tilecast", "converter"]),
            rows: traps
                .iter()
                .map(|a| vec![a.name.clone(), a.ours_rounded.largest(), a.peer_rounded.largest()])
                .collect(),
        },
    ];
    if let Some(pairs) = speed {
        tables.push(speed_table(pairs));
    }
    let remarks = exports.iter().chain(traps).flat_map(|a| {
        [
            ("tilecast", &a.ours_ort),
            ("onnxconverter-common", &a.peer_ort),
            ("tilecast", &a.ours_rounded),
            ("onnxconverter-common", &a.peer_rounded),
        ]
        .into_iter()
        .filter_map(|(who, quality)| {
            Some(format!(
                "{} of {who} does not run: {}",
                a.name,
                quality.error.as_ref()?
            ))
        })
    });
    let mut remarks: Vec<String> = remarks.collect();
    remarks.dedup();
    Report {
        method: vec![
            format!(
                "tilecast calibrates on three images of this repository, and converts the models that break converters without any; the converter has its defaults and keeps input and output types. \
                 Inputs are uniform noise, {SIDE_PX}×{SIDE_PX} pixels. \"Rounded\" is float32 arithmetic with a rounding to float16 after every node, what a GPU stores; onnxruntime's CPU provider computes in float32 and drops most roundings, \
                 so that its column shows the roundings of the weights and little else, and a luckier draw of these is worth a few dB."
            ),
            "Least possible: two bytes less for each float32 weight; simplification gets below it."
                .into(),
        ],
        tables,
        remarks,
        versions,
        results: json!({ "exports": exports, "traps": traps }),
        ..Report::default()
    }
}

fn speed_table(pairs: &[Pair]) -> Table {
    let quartiles =
        |values: Vec<f64>| Quartiles::of(&values).map_or_else(String::new, Quartiles::text);
    let of = |f: &dyn Fn(&Pair) -> f64| quartiles(pairs.iter().map(f).collect());
    let file = |p: &Pair| p.source_bytes as f64;
    let row = |what: &str, ours: String, peer: String, ratio: String| {
        vec![what.to_owned(), ours, peer, ratio]
    };
    Table {
        title: "Converting a NAFNet of 29 M parameters, 117 MB: median (quartiles) of pairs".into(),
        columns: ["", "tilecast", "converter", "ratio"]
            .map(str::to_owned)
            .to_vec(),
        rows: vec![
            row(
                "seconds, whole process",
                of(&|p| p.ours.seconds),
                of(&|p| p.peer.seconds),
                of(&|p| p.peer.seconds / p.ours.seconds),
            ),
            row(
                "seconds, without the start of Python",
                of(&|p| p.ours.seconds),
                of(&|p| p.peer_inside_seconds),
                of(&|p| p.peer_inside_seconds / p.ours.seconds),
            ),
            row(
                "resident peak over the size of the file",
                of(&|p| p.ours.resident as f64 / file(p)),
                of(&|p| p.peer.resident as f64 / file(p)),
                of(&|p| p.peer.resident as f64 / p.ours.resident as f64),
            ),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_shown() {
        let line = r#"{"name": "m", "floor": 0.5, "ratio": 0.51,
            "ours_ort": {"finite": true, "psnr_db": 70.0, "largest": 1e-3}, "ours_rounded": {"finite": true, "psnr_db": 65.04, "largest": 2e-3},
            "peer_ort": {"error": "Fail: no"}, "peer_rounded": {"finite": false}}"#;
        let answer: Answer = serde_json::from_str(line).unwrap();
        let report = report(vec![], &[answer], &[], None);
        assert_eq!(
            report.tables[0].rows[0].join("|"),
            "m|0.500|0.510|65.0|not finite|70.0|does not run"
        );
        assert_eq!(
            report.remarks,
            ["m of onnxconverter-common does not run: Fail: no"]
        );
    }
}
