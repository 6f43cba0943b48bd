//! What the measurement looks like on the page.

use super::super::pairs::{Runs, THREADS, speed};
use super::super::report::Table;
use super::super::simplify::{EXPORT_PX, SAMPLE_PX};
use super::super::statistics::Quartiles;
use super::calibration::{Cost, Process};
use super::goals::{Goal, mean};
use super::{Judged, Made, PEER, Subject, has_vnni};

const ABSENT: &str = "–";

/// How it was measured.
pub(super) fn method() -> Vec<String> {
    let saturation = match has_vnni() {
        Some(true) => {
            "This processor has VNNI: sums of 8-bit products do not saturate, and both PSNR columns agree."
        }
        Some(false) => {
            "This processor lacks VNNI: onnxruntime adds pairs of 8-bit products into 16 bits that can saturate. \"Exact\" is with \
             `session.x64quantprecision`, what a processor with VNNI gives."
        }
        None => {
            "Whether this processor has VNNI, without which sums of 8-bit products can saturate, could not be told. \"Exact\" is without saturation."
        }
    };
    vec![
        "tilecast converts with `--to int8 --target ort-cpu`, and on a processor with VNNI with `ort-cpu-vnni` too. quantize_static has u8 activations and s8 weights per channel in QDQ format and the defaults of everything else, \
         on the model as it was exported and behind `quant_pre_process`; both calibrate on the same images.".into(),
        format!(
            "PSNR is against FP32 in onnxruntime's CPU provider, the mean over images and the least. The samples calibrate on the images that their recipe calibrates on, and are judged on the whole \
             held-out ones, of range 1; the others on crops of these, and the range is that of FP32's output. Times are at {SAMPLE_PX}×{SAMPLE_PX} pixels, of exports at {EXPORT_PX}×{EXPORT_PX}."
        ),
        "A round runs reference, candidate, candidate, reference; its ratio is the time of the two outer runs over that of the two inner ones.".into(),
        saturation.into(),
    ]
}

pub(super) fn all(subjects: &[Subject], costs: &[Cost], goals: &[Goal]) -> Vec<Table> {
    let mut tables = Vec::new();
    if !goals.is_empty() {
        tables.push(Table {
            title: "What is meant to hold".into(),
            columns: columns(&["claim", "measured", "holds"]),
            rows: goals.iter().map(goal).collect(),
        });
    }
    tables.push(Table {
        title: "PSNR against FP32: mean (least), dB; bytes over FP32's; what onnxruntime runs"
            .into(),
        columns: columns(&[
            "model",
            "made by",
            "PSNR",
            "PSNR, exact",
            "bytes",
            "convolutions in INT8",
            "Q and DQ nodes",
        ]),
        rows: rows(subjects, quality),
    });
    let timed = |made: &Made| !made.over_fp32.is_empty();
    if subjects.iter().flat_map(|s| &s.made).any(timed) {
        let by_threads = |what: &str| THREADS.map(|n| format!("{what}, {n} thread(s)"));
        let titles = by_threads("FP32").into_iter().chain(by_threads(PEER));
        tables.push(Table {
            title: "Times as fast: median (quartiles)".into(),
            columns: columns(&["model", "made by"])
                .into_iter()
                .chain(titles.map(|title| format!("as {title}")))
                .collect(),
            rows: rows(subjects, |_, made| {
                let cells = |runs: &Runs| THREADS.map(|n| speed(runs.get(&n)));
                let over_fp32 = cells(&made.over_fp32).into_iter();
                over_fp32.chain(cells(&made.over_peer)).collect()
            }),
        });
    }
    if !costs.is_empty() {
        tables.push(Table {
            title: "Calibrating nafnet-denoise on images of 256×256, whole processes: median (quartiles)".into(),
            columns: columns(&[
                "estimator",
                "images",
                "tilecast, s",
                "onnxruntime, s",
                "without imports, s",
                "times as fast",
                "tilecast, peak MB",
                "onnxruntime, peak MB",
                "times less",
            ]),
            rows: costs.iter().map(cost).collect(),
        });
    }
    tables
}

fn columns(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn rows(subjects: &[Subject], cells: impl Fn(&Subject, &Made) -> Vec<String>) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for subject in subjects {
        for made in &subject.made {
            let mut row = vec![subject.name.clone(), made.by.to_owned()];
            row.extend(cells(subject, made));
            rows.push(row);
        }
    }
    rows
}

fn goal(goal: &Goal) -> Vec<String> {
    let holds = if goal.holds { "yes" } else { "**no**" };
    vec![goal.claim.clone(), goal.measured.clone(), holds.into()]
}

fn quality(subject: &Subject, made: &Made) -> Vec<String> {
    let bytes = match &made.bytes {
        Ok(bytes) => format!("{:.3}", *bytes as f64 / subject.bytes as f64),
        Err(_) => "fails".into(),
    };
    let Some(quality) = made.quality() else {
        let trouble = if made.judged.is_some() {
            "does not run"
        } else {
            ABSENT
        };
        let absent = || ABSENT.to_owned();
        return vec![trouble.into(), absent(), bytes, absent(), absent()];
    };
    let psnr = |values: &[f64]| {
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        format!("{:.1} ({least:.1})", mean(values))
    };
    vec![
        psnr(&quality.psnr_db),
        psnr(&quality.exact_psnr_db),
        bytes,
        format!("{} of {}", quality.int8_convolutions, quality.convolutions),
        quality.conversions.to_string(),
    ]
}

fn cost(cost: &Cost) -> Vec<String> {
    let absent = || ABSENT.to_owned();
    let text = |q: Option<Quartiles>| q.map_or_else(absent, Quartiles::text);
    let ratio = |of: fn(&Process) -> f64| text(Quartiles::of(&cost.ratios(of)));
    let megabytes = |processes: &[Process]| {
        Cost::peak_bytes(processes).map_or_else(absent, |b| format!("{:.0}", b as f64 / 1e6))
    };
    let inside: Vec<f64> = cost.peer.iter().filter_map(|p| p.inside_seconds).collect();
    vec![
        cost.estimator.to_owned(),
        cost.n_images.to_string(),
        text(Cost::seconds(&cost.ours)),
        text(Cost::seconds(&cost.peer)),
        text(Quartiles::of(&inside)),
        ratio(|p| p.seconds),
        megabytes(&cost.ours),
        megabytes(&cost.peer),
        ratio(|p| p.peak_bytes as f64),
    ]
}

/// Who failed on what, and who needed help, in the tool's own words.
pub(super) fn remarks(subjects: &[Subject], costs: &[Cost]) -> Vec<String> {
    let mut remarks = Vec::new();
    for subject in subjects {
        for made in &subject.made {
            let (name, by) = (&subject.name, made.by);
            if let Some(note) = &made.note {
                remarks.push(format!(
                    "{name}, {by}: `quant_pre_process` fails with symbolic shapes and ran without: {note}"
                ));
            }
            if let Err(reason) = &made.bytes {
                remarks.push(format!("{name}, {by}: fails: {reason}"));
            }
            if let Some(Judged::Failed { error }) = &made.judged {
                remarks.push(format!("{name}, {by}: does not run: {error}"));
            }
        }
    }
    let failures = costs
        .iter()
        .filter_map(|c| c.failure.as_ref().map(|f| (c.estimator, f)));
    remarks.extend(failures.map(|(estimator, f)| format!("calibration, {estimator}: {f}")));
    remarks
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::super::{Kind, PEER_PREPARED, Quality};
    use super::*;

    #[test]
    fn failures_are_results() {
        let made = |by, bytes, judged| Made {
            by,
            bytes,
            note: None,
            path: PathBuf::new(),
            judged,
            over_fp32: BTreeMap::new(),
            over_peer: BTreeMap::new(),
        };
        let done = Judged::Done(Quality {
            psnr_db: vec![40.0, 42.0],
            exact_psnr_db: vec![43.0, 43.0],
            int8_convolutions: 3,
            convolutions: 4,
            conversions: 9,
        });
        let failed = Judged::Failed {
            error: "Fail: no kernel".into(),
        };
        let mut noted = made(
            PEER_PREPARED,
            Err("Exception: shapes (exit status: 1)".into()),
            None,
        );
        noted.note = Some("Exception: symbols".into());
        let subjects = [Subject {
            name: "m".into(),
            kind: Kind::Export,
            bytes: 100,
            made: vec![
                made("tilecast", Ok(30), Some(done)),
                made(PEER, Ok(40), Some(failed)),
                noted,
            ],
        }];
        let tables = all(&subjects, &[], &[]);
        assert_eq!(tables.len(), 1, "nothing was timed");
        let rows: Vec<String> = tables[0].rows.iter().map(|row| row.join("|")).collect();
        assert_eq!(
            rows,
            [
                "m|tilecast|41.0 (40.0)|43.0 (43.0)|0.300|3 of 4|9",
                "m|quantize_static|does not run|–|0.400|–|–",
                "m|pre-processed|–|–|fails|–|–",
            ]
        );
        assert_eq!(
            remarks(&subjects, &[]),
            [
                "m, quantize_static: does not run: Fail: no kernel",
                "m, pre-processed: `quant_pre_process` fails with symbolic shapes and ran without: Exception: symbols",
                "m, pre-processed: fails: Exception: shapes (exit status: 1)",
            ]
        );
    }
}
