//! Rules that the sources of this repository keep and that no compiler checks.
//!
//! Reading order: `checkout` (the files and the dependency graph) → `tables` (the tables of ARCHITECTURE.md) → the rules:
//! `layers`, `sources`, `registries`.

mod checkout;
mod layers;
mod registries;
mod sources;
mod tables;

/// Fails with every violation, one to a line, after a sentence that says what to do.
fn assert_none(violations: &[String], advice: &str) {
    assert!(
        violations.is_empty(),
        "{advice}:\n  {}",
        violations.join("\n  ")
    );
}
