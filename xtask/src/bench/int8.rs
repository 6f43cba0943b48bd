//! `bench int8`: INT8 models of tilecast for ONNX Runtime's CPU provider beside those of onnxruntime's `quantize_static`:
//! PSNR, speed and bytes, what calibration takes, and whether tilecast is as much better as it is meant to be.
//!
//! Reading order: this file (what is measured) → `make` (models and images) → `calibration` → `goals` → `tables`.

mod calibration;
mod goals;
mod make;
mod tables;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use self::make::{Folders, Source};
use super::pairs::{self, Case, Runs};
use super::python::{self, Dialog};
use super::report::Report;
use super::{BenchError, Options, progress, scratch};

const SCRIPT: &str = "int8_peer.py";

/// What INT8 models are made for here: a name, and the target. The second runs on processors with VNNI only.
const OURS: [(&str, &str); 2] = [("tilecast", "ort-cpu"), ("tilecast, VNNI", "ort-cpu-vnni")];

/// The command line that makes them; `{…}` are filled in.
const CONVERT: &[&str] = &[
    "convert",
    "{model}",
    "--to",
    "int8",
    "--target",
    "{target}",
    "--calibration",
    "{images}",
    "--tile",
    "{tile}",
    "-o",
    "{output}",
];

/// The command line that calibrates. One table serves every estimator but the one of extremes, which needs no more than these.
const CALIBRATE: &[&str] = &[
    "calibrate",
    "{model}",
    "--target",
    "ort-cpu",
    "--images",
    "{images}",
    "-o",
    "{output}",
];

/// `quantize_static` on the model as it was exported.
const PEER: &str = "quantize_static";
/// The same behind `quant_pre_process`.
const PEER_PREPARED: &str = "pre-processed";

/// A model and what became of it.
#[derive(Debug, Serialize)]
struct Subject {
    name: String,
    kind: Kind,
    /// Of the FP32 file.
    bytes: u64,
    made: Vec<Made>,
}

/// Which goals a model is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Trained, judged on whole held-out images.
    Sample,
    /// Random weights at the published size.
    Published,
    /// Random weights, reduced size.
    Export,
}

/// What one tool made of a model.
#[derive(Debug, Serialize)]
struct Made {
    by: &'static str,
    /// Size of the file, or why there is none.
    bytes: Result<u64, String>,
    /// What the tool had to be helped with.
    note: Option<String>,
    #[serde(skip)]
    path: PathBuf,
    judged: Option<Judged>,
    /// FP32's time over this one's.
    over_fp32: Runs,
    /// That of [`PEER`] over this one's.
    over_peer: Runs,
}

/// What `int8_peer.py` says of a model.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Judged {
    Done(Quality),
    Failed { error: String },
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Quality {
    /// Per image, against FP32.
    psnr_db: Vec<f64>,
    /// The same where sums of 8-bit products do not saturate.
    exact_psnr_db: Vec<f64>,
    /// Convolutions that onnxruntime runs in INT8.
    int8_convolutions: usize,
    /// All convolutions that it runs.
    convolutions: usize,
    /// Nodes between INT8 and float that it runs.
    conversions: usize,
}

impl Made {
    fn quality(&self) -> Option<&Quality> {
        match &self.judged {
            Some(Judged::Done(quality)) => Some(quality),
            _ => None,
        }
    }

    fn is_ours(&self) -> bool {
        OURS.iter().any(|(name, _)| *name == self.by)
    }
}

impl Subject {
    fn ours(&self) -> impl Iterator<Item = &Made> {
        self.made.iter().filter(|made| made.is_ours())
    }

    fn peer(&self) -> Option<&Made> {
        self.made.iter().find(|made| made.by == PEER)
    }
}

/// Measures.
///
/// # Errors
/// See [`BenchError`].
pub(super) fn run(options: &Options) -> Result<Report, BenchError> {
    let mut versions = vec![("tilecast".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    let packages = ["onnx", "onnxruntime", "numpy", "pillow"];
    versions.extend(python::versions(&options.python, &packages, &[])?);
    let folder = scratch()?;
    let folders = Folders::write(folder.path())?;
    let sources = make::sources(options, &folders, folder.path())?;
    let mut subjects = Vec::new();
    for source in &sources {
        progress(&format!("making {}", source.name));
        subjects.push(make::subject(options, source)?);
    }
    judge(options, &sources, &mut subjects)?;
    if options.rounds > 0 {
        time(options, &sources, &mut subjects)?;
    }
    let costs = if options.rounds > 0 && options.wants("calibration") {
        calibration::measure(options, &folders, folder.path())?
    } else {
        Vec::new()
    };
    let goals = goals::of(&subjects, &costs);
    Ok(Report {
        method: tables::method(),
        tables: tables::all(&subjects, &costs, &goals),
        remarks: tables::remarks(&subjects, &costs),
        versions,
        results: json!({ "models": subjects, "calibration": costs, "goals": goals }),
        ..Report::default()
    })
}

/// Whether the processor adds 8-bit products into 32 bits; nothing where the system does not tell.
fn has_vnni() -> Option<bool> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let flags = info.lines().find(|line| line.starts_with("flags"))?;
    let mut flags = flags.split_whitespace();
    Some(flags.any(|flag| matches!(flag, "avx512_vnni" | "avx_vnni")))
}

/// What was made, by label.
fn candidates(subject: &Subject) -> BTreeMap<String, PathBuf> {
    let done = subject.made.iter().filter(|made| made.bytes.is_ok());
    done.map(|made| (made.by.to_owned(), made.path.clone()))
        .collect()
}

/// Has the images run through everything.
fn judge(
    options: &Options,
    sources: &[Source],
    subjects: &mut [Subject],
) -> Result<(), BenchError> {
    #[derive(Deserialize)]
    struct Answer {
        candidates: BTreeMap<String, Judged>,
    }
    let cases: Vec<_> = sources
        .iter()
        .zip(&*subjects)
        .map(|(source, subject)| {
            json!({
                "name": source.name,
                "reference": source.model,
                "images": source.judge,
                "peak": source.peak,
                "candidates": candidates(subject),
            })
        })
        .collect();
    let mut script = Dialog::start_with(&options.python, SCRIPT, &["judge"])?;
    script.say(&json!({ "cases": cases }).to_string())?;
    script.hush();
    for subject in subjects {
        progress(&format!("judging {}", subject.name));
        let mut answer: Answer = serde_json::from_str(&script.hear()?)
            .map_err(|e| BenchError::step(format!("reading what {SCRIPT} said"), e))?;
        for made in &mut subject.made {
            made.judged = answer.candidates.remove(made.by);
        }
    }
    Ok(())
}

/// Has onnxruntime run everything against FP32, and against the peer.
fn time(options: &Options, sources: &[Source], subjects: &mut [Subject]) -> Result<(), BenchError> {
    for (source, subject) in sources.iter().zip(subjects) {
        let runnable = |made: &Made| made.quality().is_some();
        let mut against_fp32 = candidates(subject);
        against_fp32.retain(|by, _| subject.made.iter().any(|m| m.by == by && runnable(m)));
        let mut cases = vec![Case {
            name: source.name.clone(),
            reference: source.model.clone(),
            shape: [1, 3, source.side_px, source.side_px],
            candidates: against_fp32.clone(),
        }];
        if let Some(peer) = against_fp32.remove(PEER) {
            cases.push(Case {
                name: format!("{} beside {PEER}", source.name),
                reference: peer,
                candidates: against_fp32,
                ..cases[0].clone()
            });
        }
        let mut answers = pairs::measure(options, &cases)?.into_iter();
        let mut over_fp32 = answers.next().unwrap_or_default();
        let mut over_peer = answers.next().unwrap_or_default();
        for made in &mut subject.made {
            made.over_fp32 = over_fp32.remove(made.by).unwrap_or_default();
            made.over_peer = over_peer.remove(made.by).unwrap_or_default();
        }
    }
    Ok(())
}

/// A command line with its places filled in.
fn fill(template: &[&str], places: &[(&str, &Path)]) -> Vec<OsString> {
    let filled = template.iter().map(|&word| {
        let place = places.iter().find(|(name, _)| *name == word);
        place.map_or_else(|| word.into(), |(_, path)| path.as_os_str().to_owned())
    });
    filled.collect()
}
