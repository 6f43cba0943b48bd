//! The cleanup passes on graphs built for each case, and the driver on the sample models and exports.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

mod driver;
mod exports;
mod folding;
mod merging;
mod opset;
mod removal;
mod samples;
