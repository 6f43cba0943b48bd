//! Who may depend on whom, and which crates from elsewhere there are.

use std::collections::BTreeSet;

use crate::assert_none;
use crate::checkout::{crate_arrows, third_party_dependencies};
use crate::tables::{crate_table, dependency_table};

#[test]
fn crates_depend_on_what_the_table_allows_and_says() {
    let (arrows, table) = (crate_arrows(), crate_table());
    let mut violations = Vec::new();
    for name in arrows.keys().chain(table.keys()).collect::<BTreeSet<_>>() {
        let (Some(actual), Some(row)) = (arrows.get(name), table.get(name)) else {
            violations.push(format!("{name} is not in both the workspace and the table"));
            continue;
        };
        for forbidden in actual.difference(&row.allowed) {
            violations.push(format!("{name} may not depend on {forbidden}"));
        }
        for missing in actual.difference(&row.actual) {
            violations.push(format!(
                "{name} depends on {missing}, which its row leaves out"
            ));
        }
        for gone in row.actual.difference(actual) {
            violations.push(format!("{name} does not depend on {gone}, as its row says"));
        }
    }
    assert_none(
        &violations,
        "the crates of the workspace and the crate table of ARCHITECTURE.md differ",
    );
}

#[test]
fn every_third_party_dependency_has_its_reason() {
    let (manifest, listed) = (third_party_dependencies(), dependency_table());
    let table: BTreeSet<String> = listed.iter().cloned().collect();
    let mut violations = Vec::new();
    for name in manifest.difference(&table) {
        violations.push(format!("{name} has no row"));
    }
    for name in table.difference(&manifest) {
        violations.push(format!("{name} has a row and is not used"));
    }
    if table.len() < listed.len() {
        violations.push("a dependency has two rows".to_owned());
    }
    assert_none(
        &violations,
        "[workspace.dependencies] and the dependency table of ARCHITECTURE.md differ",
    );
}
