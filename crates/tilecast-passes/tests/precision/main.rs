//! The precision plan and the passes that carry it out, on graphs built for each case.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

mod convert_half;
mod dynamic_int8;
mod insert_qdq;
mod keep_channels_last;
mod keep_in_range;
mod precision_plan;
mod round_filters;
mod targets;
mod traps;
