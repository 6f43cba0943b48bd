//! What a benchmark gives back: tables with what is needed to judge and repeat them, as text, Markdown or JSON.

use std::fmt::Write;
use std::thread::available_parallelism;

use serde::Serialize;
use serde_json::{Value, json};

/// Version of the JSON document.
const SCHEMA: &str = "tilecast.bench/1";

/// Numbers of one kind.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Table {
    /// What the numbers are, with the statistic.
    pub(super) title: String,
    /// The first names what a row is about.
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// A result.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    /// How it was measured; sentences.
    pub(super) method: Vec<String>,
    pub(super) tables: Vec<Table>,
    /// What went wrong with whom; sentences.
    pub(super) remarks: Vec<String>,
    /// Name and version of everything that took part.
    pub(super) versions: Vec<(String, String)>,
    /// The numbers behind the tables.
    pub(super) results: Value,
    /// The command that gives this result; [`Report::reproduce`] sets it.
    pub(super) command: String,
}

impl Report {
    /// Says which command gives this result.
    pub(super) fn reproduce(&mut self, name: &str, rounds: usize, only: Option<&str>) {
        self.command = format!("cargo xtask bench {name} --rounds {rounds}");
        if let Some(text) = only {
            let _ = write!(self.command, " --only {text}");
        }
    }

    pub(super) fn json(&self) -> Value {
        let versions: serde_json::Map<String, Value> = self
            .versions
            .iter()
            .map(|(name, version)| (name.clone(), version.as_str().into()))
            .collect();
        json!({
            "schema": SCHEMA,
            "command": self.command,
            "machine": { "cores": cores(), "processor": processor() },
            "versions": versions,
            "method": self.method,
            "tables": self.tables,
            "remarks": self.remarks,
            "results": self.results,
        })
    }

    pub(super) fn text(&self) -> String {
        let mut lines = vec![self.command.clone(), self.circumstances()];
        lines.extend_from_slice(&self.method);
        for table in &self.tables {
            lines.extend([String::new(), table.title.clone()]);
            let widths = table.widths();
            for row in [&table.columns].into_iter().chain(&table.rows) {
                let cells = row.iter().zip(&widths).map(|(c, &w)| format!("{c:w$}"));
                let line = cells.collect::<Vec<_>>().join("  ");
                lines.push(line.trim_end().to_owned());
            }
        }
        lines.push(String::new());
        lines.extend_from_slice(&self.remarks);
        format!("{}\n", lines.join("\n").trim_end())
    }

    pub(super) fn markdown(&self) -> String {
        let mut lines = vec![format!("`{}`. {}", self.command, self.circumstances())];
        lines.extend_from_slice(&self.method);
        for table in &self.tables {
            lines.extend([String::new(), format!("**{}**", table.title), String::new()]);
            let rule = vec!["---".to_owned(); table.columns.len()];
            for cells in [&table.columns, &rule].into_iter().chain(&table.rows) {
                lines.push(format!("| {} |", cells.join(" | ")));
            }
        }
        lines.push(String::new());
        lines.extend(self.remarks.iter().map(|remark| format!("- {remark}")));
        format!("{}\n", lines.join("\n").trim_end())
    }

    /// The page with this result between the marks of the benchmark.
    ///
    /// # Errors
    /// The page has no such marks.
    pub(super) fn within(&self, name: &str, page: &str) -> Result<String, String> {
        let [begin, end] =
            ["begin", "end"].map(|side| format!("<!-- cargo xtask bench {name}: {side} -->\n"));
        let place = page
            .split_once(&begin)
            .and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
        let (before, after) = place
            .ok_or_else(|| format!("it has no lines `{}` and `{}`", begin.trim(), end.trim()))?;
        Ok(format!(
            "{before}{begin}\n{}\n{end}{after}",
            self.markdown()
        ))
    }

    fn circumstances(&self) -> String {
        let versions: Vec<String> = self
            .versions
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        format!(
            "{} core(s), {}; {}.",
            cores(),
            processor(),
            versions.join(", ")
        )
    }
}

impl Table {
    fn widths(&self) -> Vec<usize> {
        let rows = || [&self.columns].into_iter().chain(&self.rows);
        (0..self.columns.len())
            .map(|column| {
                let cells = rows().filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect()
    }
}

/// Cores that this process may use.
fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Name of the processor, where the system tells.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned());
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report {
            method: vec!["Pairs.".into()],
            tables: vec![Table {
                title: "Ratios".into(),
                columns: vec!["model".into(), "ours".into()],
                rows: vec![vec!["a".into(), "1.5 (1.4–1.6)".into()]],
            }],
            remarks: vec!["b fails.".into()],
            versions: vec![("onnx".into(), "1".into())],
            ..Report::default()
        };
        report.reproduce("parse", 3, Some("a"));
        report
    }

    #[test]
    fn every_form_has_the_numbers_and_how_to_get_them() {
        let report = report();
        let json = report.json();
        assert_eq!(json["schema"], SCHEMA);
        assert_eq!(json["tables"][0]["rows"][0][1], "1.5 (1.4–1.6)");
        for text in [report.text(), report.markdown(), json.to_string()] {
            for part in [
                "bench parse --rounds 3 --only a",
                "1.5 (1.4–1.6)",
                "b fails.",
                "Pairs.",
            ] {
                assert!(text.contains(part), "{part} in {text}");
            }
        }
        assert!(
            report
                .markdown()
                .contains("| model | ours |\n| --- | --- |\n| a | 1.5")
        );
    }

    #[test]
    fn a_page_keeps_what_is_around_the_marks() {
        let mark = |side: &str| format!("<!-- cargo xtask bench parse: {side} -->\n");
        let page = format!("before\n{}old\n{}after\n", mark("begin"), mark("end"));
        let once = report().within("parse", &page).unwrap();
        assert!(once.starts_with("before\n") && once.ends_with("after\n"));
        assert!(once.contains("b fails.") && !once.contains("old"));
        assert_eq!(report().within("parse", &once).unwrap(), once);
        assert!(report().within("large", &page).is_err());
    }
}
