//! Lint findings by rule, each rule with its explanation.

use maud::{Markup, html};
use tilecast_analysis::{Finding, Severity};

use super::super::Report;
use super::format::{inline, prose};

/// Nodes of a rule that are named without unfolding.
const SHOWN: usize = 4;

pub(super) fn section(report: &Report) -> Markup {
    let mut codes: Vec<&str> = Vec::new();
    for finding in &report.lint {
        if !codes.contains(&finding.code) {
            codes.push(finding.code);
        }
    }
    html! {
        @if codes.is_empty() { p { "Nothing found." } }
        @for code in codes {
            (rule(code, &report.lint))
        }
    }
}

fn rule(code: &str, findings: &[Finding]) -> Markup {
    let findings: Vec<&Finding> = findings.iter().filter(|f| f.code == code).collect();
    let Some(first) = findings.first() else {
        return Markup::default();
    };
    let meta = tilecast_analysis::rules().find(|rule| rule.code == code);
    let class = match first.severity {
        Severity::Error => "badge bad",
        Severity::Warning => "badge warn",
        Severity::Note => "badge",
    };
    let (named, rest) = findings.split_at(SHOWN.min(findings.len()));
    html! {
        h3 {
            (code) " " @if let Some(meta) = meta { (meta.name) " " }
            span class=(class) { (first.severity.to_string()) }
        }
        @if let Some(meta) = meta { p { (inline(meta.summary)) } }
        ul { @for finding in named { (item(finding)) } }
        @if !rest.is_empty() {
            details {
                summary { "The other " (rest.len()) " places" }
                ul { @for finding in rest { (item(finding)) } }
            }
        }
        p { strong { "What to do: " } (inline(&first.help)) "." }
        @if let Some(meta) = meta {
            details {
                summary { "Explanation of " (code) }
                (prose(meta.explanation))
            }
        }
    }
}

fn item(finding: &Finding) -> Markup {
    html! { li { code { (finding.node) } ": " (inline(&finding.message)) } }
}
