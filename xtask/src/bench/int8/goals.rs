//! Whether tilecast is as much better as it is meant to be.

use serde::Serialize;

use super::super::pairs::{Run, Runs};
use super::super::statistics::Quartiles;
use super::calibration::{Cost, Process};
use super::make::N_CALIBRATION;
use super::{Kind, Made, Subject};

/// One claim.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Goal {
    pub(super) claim: String,
    pub(super) measured: String,
    pub(super) holds: bool,
}

/// A model must be this many times as fast as the peer's at one thread, and this many dB better.
const FAST: [f64; 2] = [1.4, 0.0];
const GOOD: [f64; 2] = [1.1, 4.0];
/// At the published size, over FP32.
const FAST_OVER_FP32: f64 = 2.0;
/// An INT8 model may not be slower than this share of FP32's speed.
const LEAST_OVER_FP32: f64 = 0.97;
/// Estimator, times as fast as the peer's, and the peer's memory over ours.
const CALIBRATION: [(&str, f64, f64); 3] = [
    ("percentile", 8.0, 10.0),
    ("entropy", 8.0, 10.0),
    ("minmax", 3.0, 0.0),
];
/// What peaks of equal memory may differ by.
const SAME_PEAK: f64 = 0.05;

/// All claims about what was measured.
pub(super) fn of(subjects: &[Subject], costs: &[Cost]) -> Vec<Goal> {
    let mut goals = Vec::new();
    for subject in subjects.iter().filter(|s| s.kind != Kind::Export) {
        // Weights that are random say nothing about quality.
        let judged = subject.kind == Kind::Sample;
        goals.push(one_model(subject, FAST, judged));
        if judged {
            goals.push(one_model(subject, GOOD, judged));
        }
        goals.push(two_threads(subject));
        if subject.kind == Kind::Published {
            goals.push(fast_over_fp32(subject));
        }
    }
    if subjects.iter().any(|s| s.kind == Kind::Export) {
        let exports: Vec<&Subject> = subjects.iter().filter(|s| s.kind == Kind::Export).collect();
        goals.push(no_export_worse(&exports));
        goals.push(no_export_slower(&exports));
    }
    goals.extend(calibration(costs));
    goals
}

/// How much better than the peer's a model is, dB: as onnxruntime runs both here, and without saturation.
pub(super) fn gain_db(subject: &Subject, made: &Made) -> Option<[f64; 2]> {
    let (ours, peer) = (made.quality()?, subject.peer()?.quality()?);
    Some([
        mean(&ours.psnr_db) - mean(&peer.psnr_db),
        mean(&ours.exact_psnr_db) - mean(&peer.exact_psnr_db),
    ])
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn ratio(runs: &Runs, threads: usize) -> Option<f64> {
    runs.get(&threads).and_then(Run::median)
}

fn times(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "not run".into(), |r| format!("{r:.2} times"))
}

/// Both of [`gain_db`], or why there is none.
fn gain(gain: Option<[f64; 2]>) -> String {
    match gain {
        Some([here, exact]) => format!("{here:+.1} dB ({exact:+.1} without saturation)"),
        None => "not judged".into(),
    }
}

/// Some model of ours is both fast and good.
fn one_model(subject: &Subject, [speed, least_db]: [f64; 2], judged: bool) -> Goal {
    let speed_of = |made: &Made| ratio(&made.over_peer, 1);
    let holds = subject.ours().any(|made| {
        let fast = speed_of(made).is_some_and(|r| r >= speed);
        let gain = gain_db(subject, made);
        fast && (!judged || gain.is_some_and(|g| g.iter().all(|&db| db >= least_db)))
    });
    let measured: Vec<String> = subject
        .ours()
        .map(|made| {
            let speed = times(speed_of(made));
            if judged {
                format!("{speed} at {}", gain(gain_db(subject, made)))
            } else {
                speed
            }
        })
        .collect();
    let quality = match (judged, least_db > 0.0) {
        (false, _) => String::new(),
        (true, false) => " at no lower PSNR".into(),
        (true, true) => format!(", {least_db} dB better"),
    };
    Goal {
        claim: format!(
            "{}: a model at least {speed} times as fast as the peer's{quality}, 1 thread",
            subject.name
        ),
        measured: measured.join("; "),
        holds,
    }
}

fn two_threads(subject: &Subject) -> Goal {
    let ratios: Vec<Option<f64>> = subject.ours().map(|m| ratio(&m.over_peer, 2)).collect();
    Goal {
        claim: format!("{}: never slower than the peer's, 2 threads", subject.name),
        measured: join(ratios.iter().map(|&r| times(r))),
        holds: ratios.iter().all(|r| r.is_some_and(|r| r >= 1.0)),
    }
}

fn fast_over_fp32(subject: &Subject) -> Goal {
    let ratios: Vec<Option<f64>> = subject.ours().map(|m| ratio(&m.over_fp32, 1)).collect();
    Goal {
        claim: format!(
            "{}: a model at least {FAST_OVER_FP32} times as fast as FP32, 1 thread",
            subject.name
        ),
        measured: join(ratios.iter().map(|&r| times(r))),
        holds: ratios.iter().flatten().any(|&r| r >= FAST_OVER_FP32),
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("; ")
}

/// The goal that no export breaks; what breaks it is measured.
fn none_of(
    claim: String,
    exports: &[&Subject],
    broken: impl Fn(&Subject, &Made) -> Option<String>,
) -> Goal {
    let mut offenders = Vec::new();
    for subject in exports {
        for made in subject.ours() {
            if let Some(how) = broken(subject, made) {
                offenders.push(format!("{} by {} {how}", subject.name, made.by));
            }
        }
    }
    Goal {
        claim,
        holds: offenders.is_empty(),
        measured: match offenders.len() {
            0 => format!("none of {}", exports.len()),
            _ => offenders.join("; "),
        },
    }
}

fn no_export_worse(exports: &[&Subject]) -> Goal {
    let claim = "exports: PSNR never below the peer's".to_owned();
    none_of(claim, exports, |subject, made| {
        // Where the peer has no model there is nothing to be worse than.
        subject.peer()?.quality()?;
        match gain_db(subject, made) {
            Some(db) if db.iter().all(|&db| db >= 0.0) => None,
            found => Some(gain(found)),
        }
    })
}

fn no_export_slower(exports: &[&Subject]) -> Goal {
    let claim = format!("exports: never below {LEAST_OVER_FP32} of FP32's speed, 1 thread");
    none_of(claim, exports, |_, made| match ratio(&made.over_fp32, 1) {
        Some(ratio) if ratio >= LEAST_OVER_FP32 => None,
        found => Some(times(found)),
    })
}

fn calibration(costs: &[Cost]) -> Vec<Goal> {
    let mut goals = Vec::new();
    let find = |estimator: &str, n_images| {
        costs
            .iter()
            .find(|c| c.estimator == estimator && c.n_images == n_images)
    };
    for (estimator, faster, smaller) in CALIBRATION {
        let Some(cost) = find(estimator, N_CALIBRATION[0]) else {
            continue;
        };
        let median = |of: fn(&Process) -> f64| Quartiles::of(&cost.ratios(of)).map(|q| q.median);
        let speed = median(|p| p.seconds);
        let memory = median(|p| p.peak_bytes as f64);
        let memory_claim = if smaller > 0.0 {
            format!(" and {smaller} times less memory")
        } else {
            String::new()
        };
        goals.push(Goal {
            claim: format!("calibration, {estimator}: {faster} times as fast{memory_claim}"),
            measured: match (speed, memory) {
                (Some(s), Some(m)) => format!("{s:.1} times as fast, {m:.1} times less memory"),
                _ => "not measured".into(),
            },
            holds: speed.is_some_and(|s| s >= faster) && memory.is_some_and(|m| m >= smaller),
        });
    }
    for cost in costs.iter().filter(|c| c.n_images == N_CALIBRATION[1]) {
        let peak = |cost: &Cost| Cost::peak_bytes(&cost.ours).map(|b| b as f64);
        let growth =
            find(cost.estimator, N_CALIBRATION[0]).and_then(|few| Some(peak(cost)? / peak(few)?));
        goals.push(Goal {
            claim: format!(
                "calibration, {}: twice the images, the same peak memory (within {:.0} %)",
                cost.estimator,
                100.0 * SAME_PEAK
            ),
            measured: growth.map_or_else(|| "not measured".into(), |g| format!("{g:.3} times")),
            holds: growth.is_some_and(|g| g <= 1.0 + SAME_PEAK),
        });
    }
    goals
}

#[cfg(test)]
mod tests {
    use super::super::{Judged, OURS, PEER, Quality};
    use super::*;

    fn made(by: &'static str, psnr_db: f64, over: [f64; 2]) -> Made {
        let runs = |ratio: f64| {
            let run = |ratio| Run::Done {
                ratios: vec![ratio],
                difference: 0.0,
            };
            [(1, run(ratio)), (2, run(ratio - 0.1))].into()
        };
        Made {
            by,
            bytes: Ok(1),
            note: None,
            path: "".into(),
            judged: Some(Judged::Done(Quality {
                psnr_db: vec![psnr_db],
                exact_psnr_db: vec![psnr_db],
                int8_convolutions: 1,
                convolutions: 1,
                conversions: 1,
            })),
            over_fp32: runs(over[0]),
            over_peer: runs(over[1]),
        }
    }

    fn subject(kind: Kind, psnr_db: f64, over: [f64; 2]) -> Subject {
        Subject {
            name: "m".into(),
            kind,
            bytes: 2,
            made: vec![made(OURS[0].0, psnr_db, over), made(PEER, 40.0, [1.0, 1.0])],
        }
    }

    fn held(subject: Subject) -> Vec<bool> {
        of(&[subject], &[]).iter().map(|goal| goal.holds).collect()
    }

    #[test]
    fn models_are_held_to_the_goals_of_their_kind() {
        // Fast, good, two threads.
        assert_eq!(held(subject(Kind::Sample, 44.0, [1.5, 1.4])), [true; 3]);
        assert_eq!(
            held(subject(Kind::Sample, 43.9, [1.5, 1.05])),
            [false, false, false]
        );
        assert_eq!(
            held(subject(Kind::Sample, 39.0, [1.5, 1.5])),
            [false, false, true]
        );
        // Fast, two threads, over FP32; quality is not asked for.
        assert_eq!(
            held(subject(Kind::Published, 20.0, [1.9, 1.4])),
            [true, true, false]
        );
        // PSNR, over FP32; the peer's speed is not asked for.
        assert_eq!(held(subject(Kind::Export, 40.0, [0.97, 0.5])), [true, true]);
        let goals = of(&[subject(Kind::Export, 39.5, [0.96, 2.0])], &[]);
        assert_eq!(
            goals[0].measured,
            "m by tilecast -0.5 dB (-0.5 without saturation)"
        );
        assert_eq!(goals[1].measured, "m by tilecast 0.96 times");
    }

    #[test]
    fn a_model_that_is_missing_breaks_the_goals() {
        let mut broken = subject(Kind::Export, 40.0, [1.0, 1.0]);
        broken.made[0].judged = None;
        broken.made[0].over_fp32.clear();
        assert_eq!(held(broken), [false, false]);
        // Not where it is the peer's.
        let mut alone = subject(Kind::Export, 40.0, [1.0, 1.0]);
        alone.made[1].judged = None;
        assert_eq!(held(alone), [true, true]);
    }

    #[test]
    fn calibration_is_held_to_time_and_memory() {
        let cost = |estimator, n_images, seconds, peak_bytes| Cost {
            estimator,
            n_images,
            ours: vec![Process {
                seconds: 1.0,
                peak_bytes,
                ..Process::default()
            }],
            peer: vec![Process {
                seconds,
                peak_bytes: 1000,
                ..Process::default()
            }],
            failure: None,
        };
        let goals = of(
            &[],
            &[
                cost("percentile", 16, 8.0, 100),
                cost("minmax", 16, 2.9, 100),
                cost("percentile", 32, 0.0, 106),
            ],
        );
        let held: Vec<bool> = goals.iter().map(|goal| goal.holds).collect();
        assert_eq!(held, [true, false, false]);
        assert_eq!(
            goals[0].measured,
            "8.0 times as fast, 10.0 times less memory"
        );
        assert_eq!(goals[2].measured, "1.060 times");
    }
}
