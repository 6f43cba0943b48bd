//! Stage 2: hazards are found and facts about tiling derived; errors end the job unless the recipe allows them.

use tilecast_analysis::{Finding, Severity, analyze, dynamic_quantization};
use tilecast_passes::RangeSource;
use tilecast_tile::read_image_size;

use super::load_stage::LoadedJob;
use crate::context::{Context, Event};
use crate::geometry::Geometry;
use crate::recipe::GlobalStatistics;
use crate::stages::StageClock;
use crate::tiled::Sweeping;
use crate::{Failure, FailureKind};

/// A job whose model may be tiled.
pub(super) struct LintedJob {
    pub(super) job: LoadedJob,
    pub(super) findings: Vec<Finding>,
    pub(super) geometry: Geometry,
    /// How statistics of the whole image are shared among tiles, where the recipe asks for it and the model has some.
    pub(super) sweeping: Option<Sweeping>,
}

pub(super) fn lint(
    job: LoadedJob,
    clock: &mut StageClock,
    cx: &Context<'_>,
) -> Result<LintedJob, Failure> {
    clock.run(cx, "lint", "rules", 0, || {
        let rules = &job.recipe.recipe.lint;
        let listed = |codes: &[String], finding: &Finding| codes.iter().any(|c| c.eq_ignore_ascii_case(finding.code));
        let dynamic = job.artifacts.iter().map(|(request, _)| request).filter(|r| r.range_source == RangeSource::Dynamic);
        let findings: Vec<Finding> = tilecast_analysis::lint(&job.model)
            .into_iter()
            .chain(dynamic.map(|request| dynamic_quantization(&request.name)))
            .filter(|f| !listed(&rules.allow, f))
            .map(|f| if listed(&rules.deny, &f) { Finding { severity: Severity::Error, ..f } } else { f })
            .collect();
        let errors: Vec<&Finding> = findings.iter().filter(|f| f.severity == Severity::Error).collect();
        if let Some(first) = errors.first() {
            return Err(Failure::new(
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
            .with_help(format!("{}; or list {} under `lint: allow` in the recipe", first.help, first.code)));
        }
        let n_warnings = findings.iter().filter(|f| f.severity == Severity::Warning && f.is_about_tiles()).count();
        let geometry = Geometry::new(analyze(&job.model)?)?;
        // A tile that is too small is better found before hours of calibration.
        for image in &job.images.holdout {
            geometry
                .plan(read_image_size(&image.path)?, Some(job.tile_px()))
                .map_err(|failure| failure.about(image.path.display()))?;
        }
        let sweeping = match job.recipe.recipe.tiling.global_statistics {
            GlobalStatistics::Sweeps(sweeps) => Sweeping::of(&job.model, geometry.analysis(), sweeps)?,
            // A window is refused where the recipe is read.
            GlobalStatistics::Local | GlobalStatistics::Window(_) => None,
        };
        let swept = sweeping.as_ref().is_some_and(|s| s.facts().left_out.is_empty());
        if n_warnings > 0 && !swept {
            cx.emit(&Event::Warning(&format!(
                "lint: {n_warnings} node(s) take statistics from the tile, so tiles differ from a whole-image run; the \
                 report states by how much"
            )));
        }
        Ok(LintedJob { job, findings, geometry, sweeping })
    })
}
