//! `explain`: the documentation of one lint rule or pass.

use tilecast_passes::PASSES;

use crate::{Failure, FailureKind};

/// Markdown about the rule with this code or the pass with this id; upper and lower case alike.
///
/// # Errors
/// There is neither; the failure's hint lists what there is.
pub fn explain(code: &str) -> Result<String, Failure> {
    if let Some(rule) = tilecast_analysis::explain(code) {
        return Ok(format!(
            "# {} {} ({})\n\n{}\n\n{}\n",
            rule.code, rule.name, rule.severity, rule.summary, rule.explanation
        ));
    }
    if let Some(pass) = PASSES.iter().find(|p| p.id.eq_ignore_ascii_case(code)) {
        return Ok(format!(
            "# {}\n\n{}\n\n{}\n",
            pass.id, pass.summary, pass.explanation
        ));
    }
    let known: Vec<&str> = tilecast_analysis::rules()
        .map(|r| r.code)
        .chain(PASSES.iter().map(|p| p.id))
        .collect();
    Err(Failure::new(
        FailureKind::Usage,
        format!("there is no rule or pass `{code}`"),
    )
    .with_help(format!("known: {}", known.join(", "))))
}
