//! Stage 2: what the recipe asks to be repaired is; hazards are found and facts about tiling derived. Errors end the job unless the
//! recipe allows them, and so do tiles that the model cannot be cut into.

use tilecast_analysis::{Finding, Severity, analyze, dynamic_quantization};
use tilecast_onnx::Model;
use tilecast_passes::{MITIGATIONS, PassReport, RangeSource, run_pass};
use tilecast_tile::read_image_size;

use super::load_stage::LoadedJob;
use crate::context::{Context, Event};
use crate::geometry::Geometry;
use crate::recipe::GlobalStatistics;
use crate::stages::StageClock;
use crate::tiled::Sweeping;
use crate::windows::Windowed;
use crate::{Failure, FailureKind};

/// A job whose model may be tiled.
pub(super) struct LintedJob {
    pub(super) job: LoadedJob,
    /// What was repaired in the job's model.
    pub(super) fixes: Vec<PassReport>,
    pub(super) findings: Vec<Finding>,
    pub(super) geometry: Geometry,
    /// How statistics of the whole image are shared among tiles, where the recipe asks for it and the model has some.
    pub(super) sweeping: Option<Sweeping>,
    /// The model that looks at windows, where the recipe asks for one and there is something to look at.
    pub(super) windowed: Option<Windowed>,
}

impl LintedJob {
    /// The FP32 model that artifacts are made from: the job's own, or the one that looks at windows.
    pub(super) fn model(&self) -> &Model {
        match &self.windowed {
            Some(windowed) => &windowed.model,
            None => &self.job.model,
        }
    }
}

pub(super) fn lint(
    mut job: LoadedJob,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<LintedJob, Failure> {
    clock.run(cx, "lint", "rules", 0, || {
        let fixes = repair(&mut job, cx)?;
        let windowed = match job.recipe.recipe.tiling.global_statistics {
            GlobalStatistics::Window(px) => {
                Windowed::of(&job.model, &analyze(&job.model)?, px.get() as usize)?
            }
            GlobalStatistics::Local | GlobalStatistics::Sweeps(_) => None,
        };
        let model = windowed.as_ref().map_or(&job.model, |w| &w.model);
        let findings = findings(&job, model)?;
        let geometry = Geometry::new(match &windowed {
            Some(windowed) => windowed.analysis.clone(),
            None => analyze(&job.model)?,
        })?;
        let sweeping = match job.recipe.recipe.tiling.global_statistics {
            GlobalStatistics::Sweeps(sweeps) => {
                Sweeping::of(&job.model, geometry.analysis(), sweeps)?
            }
            GlobalStatistics::Local | GlobalStatistics::Window(_) => None,
        };
        check_tiles(&job, &geometry)?;
        let about_tiles = |f: &&Finding| f.severity == Severity::Warning && f.is_about_tiles();
        let n_warnings = findings.iter().filter(about_tiles).count();
        let swept = sweeping.as_ref().is_some_and(|s| s.facts().left_out.is_empty());
        if n_warnings > 0 && !swept {
            cx.emit(&Event::Warning(&format!(
                "lint: {n_warnings} node(s) take statistics from the tile, so tiles differ from a whole-image run; the \
                 report states by how much"
            )));
        }
        Ok(LintedJob {
            job,
            fixes,
            findings,
            geometry,
            sweeping,
            windowed,
        })
    })
}

/// Repairs in the job's model what the recipe asks for.
fn repair(job: &mut LoadedJob, cx: &Context<'_>) -> Result<Vec<PassReport>, Failure> {
    let wanted = &job.recipe.recipe.lint.fix;
    let mut reports = Vec::new();
    for mitigation in MITIGATIONS {
        if !wanted
            .iter()
            .any(|code| code.eq_ignore_ascii_case(mitigation.code))
        {
            continue;
        }
        let report = run_pass((mitigation.pass)().as_ref(), &mut job.model)?;
        for decline in &report.declined {
            cx.emit(&Event::Warning(&format!(
                "{}: {} is not repaired: {}",
                decline.node, mitigation.code, decline.reason
            )));
        }
        reports.push(report);
    }
    Ok(reports)
}

/// What the rules find in a model and in what is asked of it, with the levels that the recipe gives.
fn findings(job: &LoadedJob, model: &Model) -> Result<Vec<Finding>, Failure> {
    let rules = &job.recipe.recipe.lint;
    let listed = |codes: &[String], finding: &Finding| {
        codes.iter().any(|c| c.eq_ignore_ascii_case(finding.code))
    };
    let requests = job.artifacts.iter().map(|(request, _)| request);
    let dynamic = requests.filter(|r| r.range_source == RangeSource::Dynamic);
    let findings: Vec<Finding> = tilecast_analysis::lint(model)
        .into_iter()
        .chain(dynamic.map(|request| dynamic_quantization(&request.name)))
        .filter(|f| !listed(&rules.allow, f))
        .map(|f| {
            if listed(&rules.deny, &f) {
                Finding {
                    severity: Severity::Error,
                    ..f
                }
            } else {
                f
            }
        })
        .collect();
    let errors: Vec<&Finding> = findings
        .iter()
        .filter(|f| f.severity == Severity::Error)
        .collect();
    let Some(first) = errors.first() else {
        return Ok(findings);
    };
    let was_tried = rules
        .fix
        .iter()
        .any(|code| code.eq_ignore_ascii_case(first.code));
    let repair = if !was_tried && MITIGATIONS.iter().any(|m| m.code == first.code) {
        format!("have it repaired by `lint: {{ fix: [{}] }}`, ", first.code)
    } else {
        String::new()
    };
    Err(Failure::new(
        FailureKind::Gate,
        format!(
            "lint found {} error(s) in `{}`; the first: {} at `{}`: {}",
            errors.len(),
            job.model.path().display(),
            first.code,
            first.node,
            first.message
        ),
    )
    .with_help(format!(
        "{}; or {repair}list {} under `lint: allow` in the recipe",
        first.help, first.code
    )))
}

/// Refuses tiles that the held-out images cannot be cut into, before anything is computed.
fn check_tiles(job: &LoadedJob, geometry: &Geometry) -> Result<(), Failure> {
    for image in &job.images.holdout {
        let size = read_image_size(&image.path)?;
        geometry
            .plan(size, Some(job.tile_px()))
            .map_err(|f| f.about(image.path.display()))?;
        for (request, _) in &job.artifacts {
            if let Some(shape) = request.shape {
                geometry
                    .with_fixed_tile(shape)
                    .plan(size, Some(job.tile_px()))
                    .map_err(|f| {
                        f.about(format!(
                            "artifact `{}` on {}",
                            request.name,
                            image.path.display()
                        ))
                    })?;
            }
        }
    }
    Ok(())
}
