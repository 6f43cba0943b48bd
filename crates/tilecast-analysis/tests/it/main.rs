//! Tests of the public interface, in one binary.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that unwraps fails its test, as it should"
)]

mod exactness;
mod exports;
mod halo;
mod lint;
mod refusals;
mod signal;
mod support;
mod windows;
