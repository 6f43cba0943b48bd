//! `bench simplify`: the sample models and the exports, simplified for each target and by two other tools, run in
//! onnxruntime in pairs with the model as it was exported.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;
use tilecast_onnx::Model;
use tilecast_passes::{SimplifyOptions, TARGETS, Target, simplify};

use super::pairs::{self, Case, Run, Runs, THREADS, speed};
use super::python;
use super::report::{Report, Table};
use super::{BenchError, Options, checkout, progress, scratch};

/// The other tools.
const OTHERS: [&str; 2] = ["onnxslim", "onnxsim"];

/// Height and width of the input: samples are trained on such crops, exports are small networks.
pub(super) const SAMPLE_PX: usize = 256;
pub(super) const EXPORT_PX: usize = 96;

/// A model and what the tools made of it.
#[derive(Debug, Serialize)]
struct Subject {
    name: String,
    side_px: usize,
    nodes: usize,
    candidates: Vec<Candidate>,
}

/// What one tool made of a model.
#[derive(Debug, Serialize)]
struct Candidate {
    tool: String,
    /// Nodes that are left, or why the tool failed.
    nodes: Result<usize, String>,
    #[serde(skip)]
    path: PathBuf,
    /// By number of threads.
    runs: Runs,
}

/// Measures.
///
/// # Errors
/// See [`BenchError`].
pub(super) fn run(options: &Options) -> Result<Report, BenchError> {
    let mut versions = vec![("tilecast".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    versions.extend(python::versions(
        &options.python,
        &["onnx", "onnxruntime", "numpy"],
        &OTHERS,
    )?);
    let others: Vec<&str> = OTHERS
        .into_iter()
        .filter(|tool| versions.iter().any(|(name, _)| name == tool))
        .collect();
    let folder = scratch()?;
    let mut subjects = Vec::new();
    for (path, side_px) in models()? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if !options.wants(&name) {
            continue;
        }
        progress(&format!("simplifying {name}"));
        let prefix = folder.path().join(name.as_ref());
        let model = Model::load(&path).map_err(|e| BenchError::step("loading a model", e))?;
        let mut candidates = Vec::new();
        for target in TARGETS {
            candidates.push(ours(&model, target, &prefix)?);
        }
        for tool in &others {
            candidates.push(other(options, tool, &path, &prefix)?);
        }
        subjects.push((
            path.clone(),
            Subject {
                name: name.into_owned(),
                side_px,
                nodes: model.graph_proto().node.len(),
                candidates,
            },
        ));
    }
    measure(options, &mut subjects)?;
    let subjects: Vec<Subject> = subjects.into_iter().map(|(_, subject)| subject).collect();
    Ok(report(options, versions, &subjects))
}

/// The samples and the exports, with the side of their input.
pub(super) fn models() -> Result<Vec<(PathBuf, usize)>, BenchError> {
    let root = checkout().join("models");
    let mut found = Vec::new();
    for (folder, side_px) in [(root.clone(), SAMPLE_PX), (root.join("exports"), EXPORT_PX)] {
        let entries = fs::read_dir(&folder).map_err(|e| BenchError::file(&folder, e))?;
        let mut paths: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|e| e == "onnx"))
            .collect();
        paths.sort();
        found.extend(paths.into_iter().map(|path| (path, side_px)));
    }
    Ok(found)
}

fn ours(model: &Model, target: &'static Target, prefix: &Path) -> Result<Candidate, BenchError> {
    let mut simplified = model.clone();
    simplify(&mut simplified, SimplifyOptions::for_target(target))
        .map_err(|e| BenchError::step("simplifying", e))?;
    let path = with_suffix(prefix, target.name);
    simplified
        .save(&path)
        .map_err(|e| BenchError::step("saving", e))?;
    Ok(Candidate {
        tool: format!("tilecast {}", target.name),
        nodes: Ok(simplified.graph_proto().node.len()),
        path,
        runs: BTreeMap::new(),
    })
}

fn other(
    options: &Options,
    tool: &str,
    source: &Path,
    prefix: &Path,
) -> Result<Candidate, BenchError> {
    let path = with_suffix(prefix, tool);
    let output = python::run(
        &options.python,
        "other_simplifiers.py",
        &[Path::new(tool), source, &path],
    )?;
    let nodes = String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("nodes ")?.parse().ok());
    let nodes = match nodes {
        Some(nodes) if output.status.success() => Ok(nodes),
        _ => Err(python::complaint(&output)),
    };
    Ok(Candidate {
        tool: tool.to_owned(),
        nodes,
        path,
        runs: BTreeMap::new(),
    })
}

fn with_suffix(prefix: &Path, suffix: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(format!("-{suffix}.onnx"));
    name.into()
}

/// Has onnxruntime run everything.
fn measure(options: &Options, subjects: &mut [(PathBuf, Subject)]) -> Result<(), BenchError> {
    let cases: Vec<Case> = subjects
        .iter()
        .map(|(path, subject)| {
            let made = subject.candidates.iter().filter(|c| c.nodes.is_ok());
            Case {
                name: subject.name.clone(),
                reference: path.clone(),
                shape: [1, 3, subject.side_px, subject.side_px],
                candidates: made.map(|c| (c.tool.clone(), c.path.clone())).collect(),
            }
        })
        .collect();
    let answers = pairs::measure(options, &cases)?;
    for ((_, subject), mut runs) in subjects.iter_mut().zip(answers) {
        for candidate in &mut subject.candidates {
            candidate.runs = runs.remove(&candidate.tool).unwrap_or_default();
        }
    }
    Ok(())
}

fn report(options: &Options, versions: Vec<(String, String)>, subjects: &[Subject]) -> Report {
    let tools: Vec<&str> = subjects
        .first()
        .map(|s| s.candidates.iter().map(|c| c.tool.as_str()).collect())
        .unwrap_or_default();
    let table = |title: String, before: &[&str], cells: &dyn Fn(&Subject) -> Vec<String>| Table {
        title,
        columns: before.iter().chain(&tools).map(|&c| c.to_owned()).collect(),
        rows: subjects
            .iter()
            .map(|s| [s.name.clone()].into_iter().chain(cells(s)).collect())
            .collect(),
    };
    let mut tables = vec![table("Nodes".into(), &["model", "exported"], &|s| {
        let left = s.candidates.iter().map(|c| match c.nodes {
            Ok(nodes) => nodes.to_string(),
            Err(_) => "fails".into(),
        });
        [s.nodes.to_string()].into_iter().chain(left).collect()
    })];
    if options.rounds > 0 {
        for threads in THREADS {
            tables.push(table(
                format!("Times as fast as exported, {threads} thread(s), median (quartiles)"),
                &["model"],
                &|s| {
                    s.candidates
                        .iter()
                        .map(|c| speed(c.runs.get(&threads)))
                        .collect()
                },
            ));
        }
    }
    tables.push(table(
        "Largest difference of an output, share of its range".into(),
        &["model"],
        &|s| s.candidates.iter().map(difference).collect(),
    ));
    Report {
        method: vec![
            "A round runs exported, simplified, simplified, exported in onnxruntime's CPU provider with all graph optimizations; \
             its ratio is the time of the two outer runs over that of the two inner ones."
                .into(),
            format!("Samples run at {SAMPLE_PX}×{SAMPLE_PX} pixels, exports at {EXPORT_PX}×{EXPORT_PX}."),
        ],
        tables,
        remarks: failures(subjects),
        versions,
        results: json!(subjects),
        ..Report::default()
    }
}

/// The worst over the numbers of threads.
fn difference(candidate: &Candidate) -> String {
    let mut worst: Option<f64> = None;
    for run in candidate.runs.values() {
        match run {
            Run::Done { difference, .. } => {
                worst = Some(worst.map_or(*difference, |w| w.max(*difference)));
            }
            Run::Failed { .. } => return "does not run".into(),
        }
    }
    match worst {
        None => "–".into(),
        Some(0.0) => "0".into(),
        Some(difference) => format!("{difference:.1e}"),
    }
}

/// Who failed on what, in the tool's own words.
fn failures(subjects: &[Subject]) -> Vec<String> {
    let mut remarks = Vec::new();
    for subject in subjects {
        for candidate in &subject.candidates {
            if let Err(reason) = &candidate.nodes {
                remarks.push(format!(
                    "{} fails on {}: {reason}",
                    candidate.tool, subject.name
                ));
            }
            for (threads, run) in &candidate.runs {
                if let Run::Failed { error } = run {
                    remarks.push(format!(
                        "onnxruntime does not run {} of {} with {threads} thread(s): {error}",
                        subject.name, candidate.tool
                    ));
                }
            }
        }
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_shown() {
        let done = Run::Done {
            ratios: vec![1.0, 1.2, 1.4],
            difference: 2e-7,
        };
        let failed = Run::Failed {
            error: "Fail: no".into(),
        };
        let candidate = |tool: &str, nodes, run: Option<Run>| Candidate {
            tool: tool.into(),
            nodes,
            path: PathBuf::new(),
            runs: run.map(|run| (2, run)).into_iter().collect(),
        };
        let subjects = [Subject {
            name: "m".into(),
            side_px: 8,
            nodes: 9,
            candidates: vec![
                candidate("a", Ok(3), Some(done)),
                candidate("b", Ok(4), Some(failed)),
                candidate("c", Err("ValueError: no (exit status: 1)".into()), None),
            ],
        }];
        let options = Options {
            python: PathBuf::new(),
            rounds: 3,
            only: None,
        };
        let report = report(&options, vec![], &subjects);
        let rows: Vec<_> = report.tables.iter().map(|t| t.rows[0].join("|")).collect();
        assert_eq!(
            rows,
            [
                "m|9|3|4|fails",
                "m|–|–|–",
                "m|1.20 (1.10–1.30)|does not run|–",
                "m|2.0e-7|does not run|–",
            ]
        );
        assert_eq!(
            report.remarks,
            [
                "onnxruntime does not run m of b with 2 thread(s): Fail: no",
                "c fails on m: ValueError: no (exit status: 1)",
            ]
        );
    }
}
