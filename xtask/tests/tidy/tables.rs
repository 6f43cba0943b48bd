//! The tables of ARCHITECTURE.md that are checked against the code.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkout;

/// Cell that stands for no crate.
const NONE: &str = "–";
/// Cell that stands for every other crate of the table.
const ANYTHING: &str = "anything";

/// What the crate table says of one crate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CrateRow {
    /// Crates that it may depend on.
    pub(crate) allowed: BTreeSet<String>,
    /// Crates that it does depend on.
    pub(crate) actual: BTreeSet<String>,
}

/// The crate table: crate → what it may and what it does depend on.
pub(crate) fn crate_table() -> BTreeMap<String, CrateRow> {
    parse_crate_table(&checkout::read("ARCHITECTURE.md"))
}

/// The names in the first column of the dependency table.
pub(crate) fn dependency_table() -> Vec<String> {
    let text = checkout::read("ARCHITECTURE.md");
    rows(&text, &["dependency", "what for", "why this one"])
        .into_iter()
        .flat_map(|cells| names(&cells[0]))
        .collect()
}

fn parse_crate_table(text: &str) -> BTreeMap<String, CrateRow> {
    let rows = rows(text, &["crate", "may depend on", "depends on"]);
    let all: BTreeSet<String> = rows.iter().flat_map(|cells| names(&cells[0])).collect();
    let crates = |own: &str, cell: &str| match cell {
        NONE => BTreeSet::new(),
        ANYTHING => all.iter().filter(|name| *name != own).cloned().collect(),
        _ => names(cell).into_iter().collect(),
    };
    rows.iter()
        .map(|cells| {
            let own = cells[0].trim_matches('`');
            let row = CrateRow {
                allowed: crates(own, &cells[1]),
                actual: crates(own, &cells[2]),
            };
            (own.to_owned(), row)
        })
        .collect()
}

/// The cells of the body of the one table that has this header.
fn rows(text: &str, header: &[&str]) -> Vec<Vec<String>> {
    let mut lines = text
        .lines()
        .skip_while(|line| cells(line) != header)
        // The header and the line of dashes below it.
        .skip(2)
        .peekable();
    assert!(
        lines.peek().is_some(),
        "ARCHITECTURE.md has no table with the columns {header:?}"
    );
    lines
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .inspect(|cells| assert_eq!(cells.len(), header.len(), "cells of {cells:?}"))
        .collect()
}

fn cells(line: &str) -> Vec<String> {
    let Some(inside) = line
        .strip_prefix('|')
        .and_then(|rest| rest.strip_suffix('|'))
    else {
        return Vec::new();
    };
    inside
        .split('|')
        .map(|cell| cell.trim().to_owned())
        .collect()
}

/// The names that a cell holds between backticks.
fn names(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn tables_are_found_by_their_columns() {
    let text = "| x | y |\n|---|---|\n| `no` | 1 |\n\n| crate | may depend on | depends on |\n|---|---|---|\n\
        | `a` | – | – |\n| `b` | `a`, `c` | `a` |\n| `c` | anything | – |\n\n| `d` | – | – |\n";
    let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let row = |allowed, actual| CrateRow {
        allowed: set(allowed),
        actual: set(actual),
    };
    assert_eq!(
        parse_crate_table(text).into_iter().collect::<Vec<_>>(),
        [
            ("a".to_owned(), row(&[], &[])),
            ("b".to_owned(), row(&["a", "c"], &["a"])),
            ("c".to_owned(), row(&["a", "b"], &[])),
        ]
    );
}
