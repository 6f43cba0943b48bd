//! The `tilecast` binary.

use std::process::ExitCode;

/// Freed tensors do not raise the peak, so that what `--memory` promises holds.
#[global_allocator]
static ALLOCATOR: tilecast_alloc::Allocator = tilecast_alloc::Allocator;

fn main() -> ExitCode {
    tilecast_cli::main()
}
