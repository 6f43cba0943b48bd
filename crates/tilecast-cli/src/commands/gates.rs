//! Options that verbs with gates have in common: a baseline, tolerances, and files for continuous integration.

use std::fmt::Write;
use std::path::PathBuf;

use tilecast::Judging;
use tilecast::report::{BaselineReport, BaselineSettings, Tolerances};

/// What a result is compared with besides its gates, and where the verdict goes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Continuous integration")]
pub(super) struct GateArguments {
    /// Write every gate as a test case, JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a short Markdown summary, as for a pull request.
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Fail where anything is worse than in this earlier report.
    #[arg(long, value_name = "REPORT.JSON")]
    baseline: Option<PathBuf>,
    /// Tolerated loss of PSNR, and against the ground truth, dB.
    #[arg(long, value_name = "DB", default_value = "0.1", value_parser = parse_amount, requires = "baseline")]
    tolerance_db: f64,
    /// Tolerated loss of mean SSIM.
    #[arg(long, value_name = "N", default_value = "0.001", value_parser = parse_amount, requires = "baseline")]
    tolerance_ssim: f64,
    /// Tolerated growth of the file.
    #[arg(long, value_name = "PERCENT", default_value = "1%", value_parser = parse_percent, requires = "baseline")]
    tolerance_bytes: f64,
    /// Tolerated growth of the predicted peak of a tile.
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = parse_percent, requires = "baseline")]
    tolerance_peak: f64,
    /// Tolerated loss of nodes in INT8.
    #[arg(long, value_name = "PERCENT", default_value = "1%", value_parser = parse_percent, requires = "baseline")]
    tolerance_int8: f64,
}

impl GateArguments {
    /// The same for the library.
    pub(super) fn judging(self) -> Judging {
        let tolerances = Tolerances {
            db: self.tolerance_db,
            ssim: self.tolerance_ssim,
            bytes_percent: self.tolerance_bytes,
            peak_percent: self.tolerance_peak,
            int8_points: self.tolerance_int8,
        };
        Judging {
            baseline: self
                .baseline
                .map(|path| BaselineSettings { path, tolerances }),
            junit: self.junit,
            summary: self.summary,
        }
    }
}

/// What the comparison with a baseline found, a line per regression.
pub(super) fn regressions(baseline: Option<&BaselineReport>, out: &mut String) -> std::fmt::Result {
    let Some(baseline) = baseline else {
        return Ok(());
    };
    for check in baseline.failed() {
        writeln!(out, "regression: {}: {}", check.artifact, check.found())?;
    }
    let n_compared = baseline.checks.iter().filter(|c| c.baseline.is_some());
    writeln!(
        out,
        "baseline {}: {} measures compared, {} worse beyond tolerance",
        baseline.file.name,
        n_compared.count(),
        baseline.failed().count()
    )
}

/// A finite number, 0 or more.
fn parse_amount(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(amount) if amount.is_finite() && amount >= 0.0 => Ok(amount),
        _ => Err("a number, 0 or more, is expected".to_owned()),
    }
}

/// Such a number of percent, with or without its sign.
fn parse_percent(text: &str) -> Result<f64, String> {
    parse_amount(text.strip_suffix('%').unwrap_or(text).trim_end())
        .map_err(|_| "a percentage such as `1%` is expected".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_may_leave_out_their_sign() {
        assert_eq!(parse_percent("1.5%"), Ok(1.5));
        assert_eq!(parse_percent("2 %"), Ok(2.0));
        assert_eq!(parse_percent("3"), Ok(3.0));
        for wrong in ["", "%", "-1%", "NaN", "inf", "1%%"] {
            assert!(parse_percent(wrong).is_err(), "{wrong}");
        }
        // Defaults of clap are text; those of the library are what they say.
        let Tolerances { db, ssim, .. } = Tolerances::default();
        assert_eq!(
            (parse_amount("0.1"), parse_amount("0.001")),
            (Ok(db), Ok(ssim))
        );
    }
}
