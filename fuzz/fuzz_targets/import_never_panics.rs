//! Runs the property of the same name; see `properties.rs`.

#![no_main]

#[path = "../allocations.rs"]
mod allocations;
#[path = "../properties.rs"]
#[expect(dead_code, reason = "each target runs one property")]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::import_never_panics(bytes));
