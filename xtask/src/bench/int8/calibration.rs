//! What it takes to have ranges: time and memory of calibrating the sample, here and with onnxruntime's calibrators.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use super::super::process::{self, Run};
use super::super::statistics::Quartiles;
use super::super::{BenchError, Options, checkout, progress, python};
use super::make::{Folders, N_CALIBRATION};
use super::{CALIBRATE, SCRIPT, fill};

const SAMPLE: &str = "models/nafnet-denoise.onnx";

/// Histograms are made at most so often: the peer takes a minute for each.
const MOST_ROUNDS: usize = 3;

/// Our name of an estimator, what it lets `calibrate` leave out, and the peer's name.
const METHODS: [(&str, &[&str], &str); 3] = [
    ("minmax", &["--extremes-only"], "MinMax"),
    ("percentile", &[], "Percentile"),
    ("entropy", &[], "Entropy"),
];

/// What calibrating took.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Cost {
    pub(super) estimator: &'static str,
    pub(super) n_images: usize,
    /// One per round; none where this cannot be had.
    pub(super) ours: Vec<Process>,
    pub(super) peer: Vec<Process>,
    /// Why one of both could not do it.
    pub(super) failure: Option<String>,
}

/// One process.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Process {
    pub(super) seconds: f64,
    /// Without the start of Python and its imports.
    pub(super) inside_seconds: Option<f64>,
    /// Largest resident set.
    pub(super) peak_bytes: u64,
}

impl Cost {
    /// Peer over ours, per round.
    pub(super) fn ratios(&self, of: impl Fn(&Process) -> f64) -> Vec<f64> {
        let pairs = self.peer.iter().zip(&self.ours);
        pairs.map(|(peer, ours)| of(peer) / of(ours)).collect()
    }

    /// Largest peak over the rounds.
    pub(super) fn peak_bytes(processes: &[Process]) -> Option<u64> {
        processes.iter().map(|p| p.peak_bytes).max()
    }

    /// Median and quartiles of the times.
    pub(super) fn seconds(processes: &[Process]) -> Option<Quartiles> {
        let seconds: Vec<f64> = processes.iter().map(|p| p.seconds).collect();
        Quartiles::of(&seconds)
    }
}

impl From<Run> for Process {
    fn from(run: Run) -> Self {
        Self {
            seconds: run.seconds,
            inside_seconds: None,
            peak_bytes: run.resident,
        }
    }
}

/// Calibrates in pairs, and once more on twice the images.
///
/// # Errors
/// A file cannot be written. That a program fails is a result.
pub(super) fn measure(
    options: &Options,
    folders: &Folders,
    folder: &Path,
) -> Result<Vec<Cost>, BenchError> {
    let model = folder.join("calibrated.onnx");
    let source = checkout().join(SAMPLE);
    fs::copy(&source, &model).map_err(|e| BenchError::file(&source, e))?;
    let rounds = options.rounds.min(MOST_ROUNDS);
    let [few, twice] = &folders.calibration;
    let mut costs = Vec::new();
    for (estimator, extra, method) in METHODS {
        let mut cost = Cost {
            estimator,
            n_images: N_CALIBRATION[0],
            ..Cost::default()
        };
        let rounds = if extra.is_empty() {
            rounds
        } else {
            options.rounds
        };
        for _ in 0..rounds {
            progress(&format!("calibrating, {estimator}"));
            cost.keep(ours(&model, few, extra), |c| &mut c.ours);
            cost.keep(peer(options, method, &model, few), |c| &mut c.peer);
        }
        costs.push(cost);
    }
    let mut cost = Cost {
        estimator: METHODS[1].0,
        n_images: N_CALIBRATION[1],
        ..Cost::default()
    };
    for _ in 0..rounds {
        cost.keep(ours(&model, twice, METHODS[1].1), |c| &mut c.ours);
    }
    costs.push(cost);
    Ok(costs)
}

impl Cost {
    fn keep(
        &mut self,
        process: Result<Process, BenchError>,
        place: impl Fn(&mut Self) -> &mut Vec<Process>,
    ) {
        match process {
            Ok(process) => place(self).push(process),
            Err(BenchError::Step { what, source }) => {
                self.failure = Some(format!("{what} fails: {source}"));
            }
            Err(other) => self.failure = Some(other.to_string()),
        }
    }
}

fn ours(model: &Path, images: &Path, extra: &[&str]) -> Result<Process, BenchError> {
    let mut command = process::tilecast()?;
    command.args(fill(
        CALIBRATE,
        &[
            ("{model}", model),
            ("{images}", images),
            ("{output}", &model.with_extension("table")),
        ],
    ));
    command.args(extra);
    process::watch("tilecast", &mut command).map(Process::from)
}

fn peer(
    options: &Options,
    method: &str,
    model: &Path,
    images: &Path,
) -> Result<Process, BenchError> {
    let inside = model.with_extension("seconds");
    let mut command = Command::new(&options.python);
    command
        .arg(python::script_path(SCRIPT))
        .arg("calibrate")
        .args([model, images])
        .arg(method)
        .arg(&inside)
        .current_dir(model.parent().unwrap_or(Path::new(".")));
    let run = process::watch(&format!("onnxruntime's {method}"), &mut command)?;
    let text = fs::read_to_string(&inside).map_err(|e| BenchError::file(&inside, e))?;
    Ok(Process {
        inside_seconds: text.trim().parse().ok(),
        ..run.into()
    })
}
