//! Runs the property of the same name; see `passes/mod.rs`.

#![no_main]

#[path = "../allocations.rs"]
mod allocations;
#[path = "../passes/mod.rs"]
#[expect(unused_imports, reason = "choices are the fuzzer's here")]
mod passes;

libfuzzer_sys::fuzz_target!(
    // The hook of libfuzzer-sys ends the process at any panic. Those inside of the engine are caught and become errors;
    // one that is caught by nobody still ends the process.
    init: drop(std::panic::take_hook()),
    |bytes: &[u8]| {
        passes::passes_preserve_outputs(bytes);
    }
);
