//! The `tilecast` binary.

use std::process::ExitCode;

/// Freed tensors do not raise the peak, so that what `--memory` promises holds.
#[global_allocator]
static ALLOCATOR: tilecast_alloc::Allocator = tilecast_alloc::Allocator;

#[expect(
    unsafe_code,
    reason = "the environment can only be changed safely before there are threads, which is here"
)]
fn main() -> ExitCode {
    // SAFETY: nothing has started a thread yet.
    unsafe { tilecast::pin_kernels() };
    tilecast_cli::main()
}
