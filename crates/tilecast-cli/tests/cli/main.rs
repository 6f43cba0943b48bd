//! The built binary, run as users run it: what it prints, what it leaves on disk, and how it ends.
//!
//! Every test has a folder of its own, which is the current folder of the commands it runs, so that messages name short
//! relative paths.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod bind;
mod calibrate;
#[cfg(unix)]
mod ci;
// The one test that takes a minute; tests start in the order of their names.
#[cfg(target_os = "linux")]
mod bounded_memory;
mod closed_pipe;
mod determinism;
#[cfg(unix)]
mod documents;
mod engines;
mod gates;
#[cfg(unix)]
mod hostile_models;
mod interruption;
mod json;
mod kinds;
mod model_failures;
mod newcomer;
mod output_failures;
mod page;
mod recipe_failures;
mod recipes;
mod schemas;
mod sensitivity;
mod simplify;
mod support;
mod text;
mod tiles;
mod verdicts;
