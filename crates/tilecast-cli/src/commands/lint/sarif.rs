//! SARIF 2.1.0 (OASIS, 2020), the format of code scanning.
//!
//! A node of a graph has no line in a file: the file is the physical location, the node a logical one.

use std::fmt::Write;

use serde::Serialize;
use tilecast::{LintOutcome, LintSeverity, lint_rules};

/// Id under which disagreements of probes are reported.
const PROBE_RULE: &str = "probe";

/// Keys are those of the standard.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    results: Vec<ResultItem>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tool {
    driver: Driver,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver {
    name: &'static str,
    version: &'static str,
    rules: Vec<RuleItem>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RuleItem {
    id: &'static str,
    name: &'static str,
    short_description: Text,
    help: Text,
    default_configuration: Configuration,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    level: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Text {
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    markdown: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultItem {
    rule_id: &'static str,
    rule_index: usize,
    level: &'static str,
    message: Text,
    locations: [Location; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: PhysicalLocation,
    logical_locations: Vec<LogicalLocation>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactLocation {
    uri: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LogicalLocation {
    fully_qualified_name: String,
    kind: &'static str,
}

pub(super) fn document(outcome: &LintOutcome) -> Document {
    let mut rules: Vec<RuleItem> = lint_rules()
        .map(|rule| RuleItem {
            id: rule.code,
            name: rule.name,
            short_description: plain(rule.summary),
            help: Text {
                text: rule.summary.to_owned(),
                markdown: Some(rule.explanation),
            },
            default_configuration: Configuration {
                level: level(rule.severity),
            },
        })
        .collect();
    rules.push(RuleItem {
        id: PROBE_RULE,
        name: PROBE_RULE,
        short_description: plain("A run of the model disagrees with what its graph says."),
        help: plain("A disagreement is a defect of tilecast: report it with the model."),
        default_configuration: Configuration { level: "error" },
    });
    let index_of = |id: &str| rules.iter().position(|r| r.id == id).unwrap_or_default();
    let location = |node: Option<&str>| Location {
        physical_location: PhysicalLocation {
            artifact_location: ArtifactLocation {
                uri: uri(&outcome.model),
            },
        },
        logical_locations: node
            .map(|name| LogicalLocation {
                fully_qualified_name: name.to_owned(),
                kind: "element",
            })
            .into_iter()
            .collect(),
    };
    let findings = outcome.findings.iter().map(|finding| ResultItem {
        rule_id: finding.code,
        rule_index: index_of(finding.code),
        level: level(finding.severity),
        message: plain(&format!(
            "{}: {}. What to do: {}.",
            finding.node, finding.message, finding.help
        )),
        locations: [location(Some(&finding.node))],
    });
    let probes = outcome.disagreements().map(|check| ResultItem {
        rule_id: PROBE_RULE,
        rule_index: index_of(PROBE_RULE),
        level: "error",
        message: plain(&format!("{}: {}", check.probe, check.message)),
        locations: [location(None)],
    });
    let results = findings.chain(probes).collect();
    Document {
        schema: "https://json.schemastore.org/sarif-2.1.0.json",
        version: "2.1.0",
        runs: [Run {
            tool: Tool {
                driver: Driver {
                    name: "tilecast",
                    version: env!("CARGO_PKG_VERSION"),
                    rules,
                },
            },
            results,
        }],
    }
}

fn plain(text: &str) -> Text {
    Text {
        text: text.to_owned(),
        markdown: None,
    }
}

fn level(severity: LintSeverity) -> &'static str {
    match severity {
        LintSeverity::Error => "error",
        LintSeverity::Warning => "warning",
        LintSeverity::Note => "note",
    }
}

/// A path as a relative reference: slashes, and everything else that has a meaning in one in percent signs.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'\\' => uri.push('/'),
            b'/' | b'-' | b'.' | b'_' | b'~' => uri.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => uri.push(char::from(byte)),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_references() {
        assert_eq!(uri("models/a b#1.onnx"), "models/a%20b%231.onnx");
        assert_eq!(uri("models\\ü.onnx"), "models/%C3%BC.onnx");
    }
}
