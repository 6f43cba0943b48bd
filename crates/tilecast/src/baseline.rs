//! Regressions: what an artifact has lost against the report of an earlier run, beyond stated tolerances.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::{Context, Event};
use crate::identity::{file_name, sha256};
use crate::report::{ArtifactReport, FileFacts, Quality};
use crate::{Failure, FailureKind};

/// An earlier report, and how much worse than it an artifact may be.
#[derive(Clone, Debug)]
pub struct BaselineSettings {
    /// `report.json` of an earlier `quantize`, or the JSON of an earlier `verify`.
    pub path: PathBuf,
    /// How much worse is no regression.
    pub tolerances: Tolerances,
}

/// How much worse than the baseline is no regression.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Tolerances {
    /// Of PSNR in the mean and on the worst image, and of what is lost against the ground truth, dB.
    pub db: f64,
    /// Of the mean SSIM.
    pub ssim: f64,
    /// Of the file size, percent of the baseline.
    pub bytes_percent: f64,
    /// Of the predicted peak of a tile, percent of the baseline.
    pub peak_percent: f64,
    /// Of the share of nodes that run in INT8, percentage points.
    pub int8_points: f64,
}

impl Default for Tolerances {
    fn default() -> Self {
        Self {
            db: 0.1,
            ssim: 0.001,
            bytes_percent: 1.0,
            peak_percent: 5.0,
            int8_points: 1.0,
        }
    }
}

/// What came of the comparison with the baseline.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BaselineReport {
    /// The baseline.
    pub file: FileFacts,
    /// How much worse was no regression.
    pub tolerances: Tolerances,
    /// Every measure of every artifact.
    pub checks: Vec<BaselineCheck>,
    /// Whether nothing is worse.
    pub passed: bool,
}

/// One measure of one artifact.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct BaselineCheck {
    /// Name of the artifact, or the candidate's file.
    pub artifact: String,
    /// Its key in the report; `artifact` where the question is whether it is there.
    pub measure: &'static str,
    /// What the baseline has; null where it does not have this measure, which passes.
    pub baseline: Option<f64>,
    /// What the value may be; null without a baseline.
    pub limit: Option<f64>,
    /// What was measured now; null where it could not be, which fails where the baseline has it.
    pub value: Option<f64>,
    /// Whether it is no regression.
    pub passed: bool,
}

impl BaselineReport {
    /// The regressions.
    pub fn failed(&self) -> impl Iterator<Item = &BaselineCheck> {
        self.checks.iter().filter(|check| !check.passed)
    }
}

impl BaselineCheck {
    /// What was found, as a sentence without its period.
    #[must_use]
    pub fn found(&self) -> String {
        let measure = self.measure;
        match (measure, self.baseline) {
            ("artifact", Some(_)) => "the baseline has this artifact, this run has not".to_owned(),
            (_, None) => format!("{measure} is not in the baseline"),
            (_, Some(_)) => format!(
                "{measure} is {}, {} in the baseline; {} is tolerated",
                self.show(self.value),
                self.show(self.baseline),
                self.show(self.limit)
            ),
        }
    }

    /// A value of this measure in the precision that suits it.
    #[must_use]
    pub fn show(&self, value: Option<f64>) -> String {
        let Some(value) = value else {
            return "not measurable".to_owned();
        };
        match self.measure {
            "bytes" | "peak_bytes" => format!("{value:.0} bytes"),
            "ssim.mean" => format!("{value:.5}"),
            "int8_share" => format!("{:.1} %", 100.0 * value),
            "artifact" => "there".to_owned(),
            _ => format!("{value:.3} dB"),
        }
    }
}

/// Which way a measure gets better, and what its tolerance is measured in.
#[derive(Clone, Copy)]
enum Kind {
    /// Larger is better; the tolerance is a difference.
    Up,
    /// Smaller is better; the tolerance is a difference.
    Down,
    /// Smaller is better; the tolerance is a percentage.
    DownPercent,
}

/// The figures of an artifact that a baseline is compared by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    psnr_mean_db: Option<f64>,
    psnr_min_db: Option<f64>,
    ssim_mean: Option<f64>,
    drop_db: Option<f64>,
    bytes: Option<f64>,
    peak_bytes: Option<f64>,
    int8_share: Option<f64>,
}

impl Figures {
    /// Those of an artifact's quality; sizes are still missing.
    fn of_quality(quality: &Quality) -> Self {
        Self {
            psnr_mean_db: quality.psnr_db.map(|p| p.mean),
            psnr_min_db: quality.psnr_db.map(|p| p.min),
            ssim_mean: quality.ssim.map(|s| s.mean),
            drop_db: quality.truth.map(|t| t.drop_db),
            ..Self::default()
        }
    }

    /// Those of an artifact.
    pub(crate) fn of_artifact(artifact: &ArtifactReport) -> Self {
        Self {
            bytes: Some(artifact.bytes as f64),
            peak_bytes: artifact.peak_bytes.map(|bytes| bytes as f64),
            int8_share: Some(artifact.int8_share),
            ..Self::of_quality(&artifact.quality)
        }
    }

    /// Those of a candidate of `verify`, of which nobody says what a runtime makes of it.
    pub(crate) fn of_candidate(quality: &Quality, bytes: usize, peak_bytes: Option<usize>) -> Self {
        Self {
            bytes: Some(bytes as f64),
            peak_bytes: peak_bytes.map(|bytes| bytes as f64),
            ..Self::of_quality(quality)
        }
    }

    /// Every measure that is compared: its key, its value, and how.
    fn measures(&self, tolerances: &Tolerances) -> [(&'static str, Option<f64>, Kind, f64); 7] {
        let t = tolerances;
        [
            ("psnr_db.mean", self.psnr_mean_db, Kind::Up, t.db),
            ("psnr_db.min", self.psnr_min_db, Kind::Up, t.db),
            ("ssim.mean", self.ssim_mean, Kind::Up, t.ssim),
            ("truth.drop_db", self.drop_db, Kind::Down, t.db),
            ("bytes", self.bytes, Kind::DownPercent, t.bytes_percent),
            (
                "peak_bytes",
                self.peak_bytes,
                Kind::DownPercent,
                t.peak_percent,
            ),
            (
                "int8_share",
                self.int8_share,
                Kind::Up,
                t.int8_points / 100.0,
            ),
        ]
    }

    /// Every measure of both, judged.
    fn checks(self, name: &str, baseline: &Self, tolerances: &Tolerances) -> Vec<BaselineCheck> {
        let now = self.measures(tolerances);
        let before = baseline.measures(tolerances);
        now.into_iter()
            .zip(before)
            .filter(|((_, value, ..), (_, baseline, ..))| value.is_some() || baseline.is_some())
            .map(|((measure, value, kind, tolerance), (_, baseline, ..))| {
                let limit = baseline.map(|b| match kind {
                    // A tolerance larger than the value tolerates everything, and reads better so.
                    Kind::Up => (b - tolerance).max(0.0_f64.min(b)),
                    Kind::Down => b + tolerance,
                    Kind::DownPercent => b * (1.0 + tolerance / 100.0),
                });
                let holds = |value: f64, limit: f64| match kind {
                    Kind::Up => value >= limit,
                    Kind::Down | Kind::DownPercent => value <= limit,
                };
                BaselineCheck {
                    artifact: name.to_owned(),
                    measure,
                    baseline,
                    limit,
                    value,
                    passed: match limit {
                        None => true,
                        Some(limit) => value.is_some_and(|value| holds(value, limit)),
                    },
                }
            })
            .collect()
    }
}

/// An earlier report, read.
#[derive(Clone, Debug)]
pub(crate) struct Baseline {
    file: FileFacts,
    tolerances: Tolerances,
    entries: Vec<Entry>,
}

/// What is read of an artifact, or of the whole JSON of `verify`.
#[derive(Clone, Debug, Deserialize)]
struct Entry {
    name: Option<String>,
    /// Of an artifact: its file.
    path: Option<String>,
    /// Of `verify`: its file, as it was given.
    candidate: Option<String>,
    psnr_db: Option<PsnrEntry>,
    ssim: Option<MeanEntry>,
    truth: Option<TruthEntry>,
    bytes: Option<f64>,
    peak_bytes: Option<f64>,
    int8_share: Option<f64>,
    #[serde(default)]
    images: Vec<ImageEntry>,
}

#[derive(Clone, Debug, Deserialize)]
struct PsnrEntry {
    mean: f64,
    min: f64,
}

#[derive(Clone, Debug, Deserialize)]
struct MeanEntry {
    mean: f64,
}

#[derive(Clone, Debug, Deserialize)]
struct TruthEntry {
    drop_db: f64,
}

#[derive(Clone, Debug, Deserialize)]
struct ImageEntry {
    name: String,
}

impl Entry {
    fn figures(&self) -> Figures {
        Figures {
            psnr_mean_db: self.psnr_db.as_ref().map(|p| p.mean),
            psnr_min_db: self.psnr_db.as_ref().map(|p| p.min),
            ssim_mean: self.ssim.as_ref().map(|s| s.mean),
            drop_db: self.truth.as_ref().map(|t| t.drop_db),
            bytes: self.bytes,
            peak_bytes: self.peak_bytes,
            int8_share: self.int8_share,
        }
    }

    /// Name of its file without folders.
    fn file(&self) -> String {
        let path = self.path.as_ref().or(self.candidate.as_ref());
        path.map_or_else(String::new, |path| file_name(Path::new(path)))
    }

    /// What messages call it.
    fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.file())
    }
}

impl Baseline {
    /// Reads a baseline.
    ///
    /// # Errors
    /// The file is missing, or no report of this program.
    pub(crate) fn load(settings: &BaselineSettings) -> Result<Self, Failure> {
        let path = &settings.path;
        let bytes = std::fs::read(path).map_err(|e| {
            Failure::new(
                FailureKind::Io,
                format!("cannot read the baseline `{}`: {e}", path.display()),
            )
            .with_help("give the report.json of an earlier run, or leave `--baseline` out")
        })?;
        let no_report = |reason: String| {
            Failure::new(
                FailureKind::Usage,
                format!("`{}` is no baseline: {reason}", path.display()),
            )
            .with_help("give the report.json of `quantize`, or what `verify --json` printed")
        };
        let document: Value =
            serde_json::from_slice(&bytes).map_err(|e| no_report(format!("no JSON: {e}")))?;
        let entries = match document.get("schema").and_then(Value::as_str) {
            Some("tilecast.report/1") => document
                .get("artifacts")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default(),
            Some("tilecast.verify/1") => vec![document],
            Some(other) => {
                return Err(no_report(format!(
                    "its `schema` is `{other}`, which this version does not read"
                )));
            }
            None => return Err(no_report("it has no `schema`".to_owned())),
        };
        let entries = entries
            .into_iter()
            .map(|entry| serde_json::from_value(entry).map_err(|e| no_report(e.to_string())))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            file: FileFacts {
                name: file_name(path),
                sha256: sha256(&bytes),
            },
            tolerances: settings.tolerances,
            entries,
        })
    }

    /// Judges the artifacts of a report, and marks those that are worse; those that are gone fail.
    pub(crate) fn judge_artifacts(
        &self,
        artifacts: &mut [ArtifactReport],
        cx: &Context<'_>,
    ) -> BaselineReport {
        let mut checks = Vec::new();
        for artifact in artifacts.iter_mut() {
            let entry = self
                .entries
                .iter()
                .find(|e| e.label() == artifact.name || e.file() == artifact.path);
            match entry {
                Some(entry) => {
                    self.warn_of_other_images(entry, &artifact.quality, cx);
                    let figures = Figures::of_artifact(artifact);
                    let found = figures.checks(&artifact.name, &entry.figures(), &self.tolerances);
                    artifact.quality.passed &= found.iter().all(|check| check.passed);
                    checks.extend(found);
                }
                None => checks.push(presence(&artifact.name, None, Some(1.0))),
            }
        }
        for entry in &self.entries {
            let is_there = |a: &ArtifactReport| entry.label() == a.name || entry.file() == a.path;
            if !artifacts.iter().any(is_there) {
                checks.push(presence(&entry.label(), Some(1.0), None));
            }
        }
        self.report(checks)
    }

    /// Judges the candidate of `verify` by the entry with the name of its file, or the only one.
    ///
    /// # Errors
    /// The baseline has several artifacts, and none with the file's name.
    pub(crate) fn judge_candidate(
        &self,
        candidate: &Path,
        quality: &Quality,
        figures: Figures,
        cx: &Context<'_>,
    ) -> Result<BaselineReport, Failure> {
        let file = file_name(candidate);
        let entry = match self.entries.as_slice() {
            [only] => Some(only),
            entries => entries.iter().find(|entry| entry.file() == file),
        };
        let Some(entry) = entry else {
            let files: Vec<String> = self.entries.iter().map(Entry::file).collect();
            return Err(Failure::new(
                FailureKind::Usage,
                format!("the baseline has no artifact `{file}`"),
            )
            .with_help(format!("it has: {}", files.join(", "))));
        };
        self.warn_of_other_images(entry, quality, cx);
        Ok(self.report(figures.checks(&file, &entry.figures(), &self.tolerances)))
    }

    fn report(&self, checks: Vec<BaselineCheck>) -> BaselineReport {
        BaselineReport {
            file: self.file.clone(),
            tolerances: self.tolerances,
            passed: checks.iter().all(|check| check.passed),
            checks,
        }
    }

    /// Decibels on other images say nothing of a regression.
    fn warn_of_other_images(&self, entry: &Entry, quality: &Quality, cx: &Context<'_>) {
        let before: BTreeSet<&str> = entry.images.iter().map(|i| i.name.as_str()).collect();
        let now: BTreeSet<&str> = quality.images.iter().map(|i| i.name.as_str()).collect();
        if before != now {
            cx.emit(&Event::Warning(&format!(
                "the baseline `{}` measured `{}` on {} image(s), of which {} are the same now: \
                 its decibels are those of other images",
                self.file.name,
                entry.label(),
                before.len(),
                before.intersection(&now).count()
            )));
        }
    }
}

/// Whether an artifact is there, before and now.
fn presence(name: &str, baseline: Option<f64>, value: Option<f64>) -> BaselineCheck {
    BaselineCheck {
        artifact: name.to_owned(),
        measure: "artifact",
        baseline,
        limit: baseline,
        value,
        passed: value.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: Figures = Figures {
        psnr_mean_db: Some(50.0),
        psnr_min_db: Some(48.0),
        ssim_mean: Some(0.99),
        drop_db: Some(0.1),
        bytes: Some(1000.0),
        peak_bytes: Some(1e6),
        int8_share: Some(0.8),
    };

    fn failed(now: Figures, before: &Figures) -> Vec<&'static str> {
        let checks = now.checks("a", before, &Tolerances::default());
        let failed = checks.iter().filter(|check| !check.passed);
        failed.map(|check| check.measure).collect()
    }

    #[test]
    fn each_measure_fails_beyond_its_tolerance_and_not_within() {
        type Change = fn(&mut Figures);
        let cases: [(&str, Change, Change); 7] = [
            (
                "psnr_db.mean",
                |f| f.psnr_mean_db = Some(49.91),
                |f| f.psnr_mean_db = Some(49.89),
            ),
            (
                "psnr_db.min",
                |f| f.psnr_min_db = Some(47.91),
                |f| f.psnr_min_db = None,
            ),
            (
                "ssim.mean",
                |f| f.ssim_mean = Some(0.9891),
                |f| f.ssim_mean = Some(0.9889),
            ),
            (
                "truth.drop_db",
                |f| f.drop_db = Some(0.19),
                |f| f.drop_db = Some(0.21),
            ),
            (
                "bytes",
                |f| f.bytes = Some(1009.0),
                |f| f.bytes = Some(1011.0),
            ),
            (
                "peak_bytes",
                |f| f.peak_bytes = Some(1.04e6),
                |f| f.peak_bytes = Some(1.06e6),
            ),
            (
                "int8_share",
                |f| f.int8_share = Some(0.791),
                |f| f.int8_share = Some(0.789),
            ),
        ];
        for (measure, within, beyond) in cases {
            let mut now = BEFORE;
            within(&mut now);
            assert!(failed(now, &BEFORE).is_empty(), "{measure}");
            beyond(&mut now);
            assert_eq!(failed(now, &BEFORE), [measure]);
        }
    }

    #[test]
    fn what_got_better_or_was_not_measured_before_is_no_regression() {
        let better = Figures {
            psnr_mean_db: Some(60.0),
            bytes: Some(500.0),
            drop_db: Some(-0.5),
            ..BEFORE
        };
        assert!(failed(better, &BEFORE).is_empty());
        assert!(failed(BEFORE, &Figures::default()).is_empty());
        let checks = Figures::default().checks("a", &Figures::default(), &Tolerances::default());
        assert_eq!(checks, []);
    }
}
