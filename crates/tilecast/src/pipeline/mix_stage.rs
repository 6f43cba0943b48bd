//! Stage 8: INT8 artifacts that miss their gates are mixed with wider nodes until they meet them.
//!
//! Nodes are ranked, and mixtures searched, on the middle tile of every held-out image; what is found is saved and validated
//! like any artifact. Where tiles and images disagree, the search goes on from there.

use std::collections::BTreeMap;

use tilecast_exec::Engine;
use tilecast_passes::Precision;
use tilecast_quant::Range;

use super::save_stage::write_artifact;
use super::validate_stage::{ValidatedJob, compare_options, validate_again};
use crate::Failure;
use crate::context::Context;
use crate::images::Sample;
use crate::report::Quality;
use crate::sensitivity::{Mixture, MixturePoint, Probe};
use crate::stages::StageClock;

/// Searches per artifact: the second and third only where the first one's tiles were too kind.
const MAX_SEARCHES: usize = 3;

/// A job whose artifacts meet their gates where a mixture can.
pub(super) struct MixedJob {
    pub(super) validated: ValidatedJob,
    /// One per artifact that needed it.
    pub(super) mixtures: Vec<Option<Mixture>>,
}

pub(super) fn mix(
    mut validated: ValidatedJob,
    folder: &std::path::Path,
    engine: &dyn Engine,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<MixedJob, Failure> {
    let mut mixtures = Vec::new();
    for index in 0..validated.saved.files.len() {
        mixtures.push(mix_one(&mut validated, index, folder, engine, clock, cx)?);
    }
    Ok(MixedJob {
        validated,
        mixtures,
    })
}

fn mix_one(
    validated: &mut ValidatedJob,
    index: usize,
    folder: &std::path::Path,
    engine: &dyn Engine,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<Option<Mixture>, Failure> {
    let prepared = &validated.saved.rewritten.calibrated.prepared;
    let (request, gates) = prepared.linted.job.artifacts[index].clone();
    let missed = |v: &ValidatedJob| !Quality::new(&v.images, index, &gates).passed;
    if request.precision != Precision::Int8 || !gates.any() || !missed(validated) {
        return Ok(None);
    }
    let target = prepared.target_of(index);
    let samples = middle_tiles(validated)?;
    let ranges: BTreeMap<String, Range> = validated.saved.rewritten.calibrated.ranges[target]
        .iter()
        .map(|(name, range)| (name.clone(), range.range()))
        .collect();
    let all_int8 = validated.saved.rewritten.calibrated.plans[index].clone();
    let mut mixture: Option<Mixture> = None;
    for _ in 0..MAX_SEARCHES {
        let saved = &validated.saved;
        let calibrated = &saved.rewritten.calibrated;
        let probe = Probe {
            engine,
            model: &calibrated.prepared.targets[target].prepared.model,
            request: &request,
            plan: &all_int8,
            ranges: &ranges,
            evidence: calibrated.evidence[target].as_ref(),
            samples: &samples,
            options: compare_options(saved),
        };
        let mut found = match mixture.take() {
            Some(mixture) => mixture,
            None => clock.run(cx, "rank nodes", "nodes", probe.n_candidates(), || {
                Ok::<_, Failure>(Mixture {
                    tiles: samples.len(),
                    ranking: probe.rank(cx)?,
                    kept: 0,
                    points: Vec::new(),
                })
            })?,
        };
        let next = clock.run(cx, "mix precisions", "mixtures", 0, || {
            let whole = Quality::new(&validated.images, index, &gates);
            let (point, sample) = probe.measure(&found.ranking[..found.kept], &gates, cx)?;
            if found.points.is_empty() {
                found.points.push(point);
            }
            let limits = gates.on_sample(&whole, &sample);
            let points = &mut found.points;
            probe.fewest_kept(&found.ranking, found.kept, &limits, points, cx)
        })?;
        let kept = next.unwrap_or(0);
        let plan = probe.keeping(&found.ranking[..kept]);
        found.kept = kept;
        mixture = Some(found);
        let model = &calibrated.prepared.targets[target].prepared.model;
        let evidence = calibrated.evidence[target].as_ref();
        let rewritten = request.rewrite(model, &plan, &ranges, evidence)?;
        let job = &calibrated.prepared.linted.job;
        validated.saved.files[index] = write_artifact(job, &request, &rewritten.0, folder)?;
        validated.saved.rewritten.models[index] = rewritten;
        validated.saved.rewritten.calibrated.plans[index] = plan;
        validate_again(validated, index, engine, clock, cx)?;
        if next.is_none() || !missed(validated) {
            break;
        }
    }
    if let Some(mixture) = &mut mixture {
        mixture.points.sort_by_key(|p| p.kept);
        mixture.points.dedup();
        MixturePoint::mark_front(&mut mixture.points);
    }
    Ok(mixture)
}

/// The middle of every held-out image, as large as the tiles of the validation.
fn middle_tiles(validated: &ValidatedJob) -> Result<Vec<Sample>, Failure> {
    let linted = &validated.saved.rewritten.calibrated.prepared.linted;
    let job = &linted.job;
    let scale = linted.geometry.scale();
    job.images
        .holdout
        .iter()
        .map(|file| {
            let sample = file.read_both()?.middle(job.tile_px(), scale);
            sample.map_err(|f| f.about(file.path.display()))
        })
        .collect()
}
