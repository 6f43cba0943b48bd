//! Which of its kernels tract takes.

use tract_onnx::tract_core::internal::inventory;
use tract_onnx::tract_core::tract_linalg::isa::{Arch, Isa, IsaSet};
use tract_onnx::tract_core::tract_linalg::mmm::{Query, Suitable};
use tract_onnx::tract_core::tract_linalg::mmm_tiers::MmmTier;
use tract_onnx::tract_hir::internal::DatumType;

/// Products with fewer rows are left to tract.
const FEWEST_ROWS: usize = 512;
/// Above so many products per number the arithmetic counts, not the way to memory.
const SHALLOW: usize = 64;

inventory::submit! {
    MmmTier {
        arch: Some(Arch::X86_64),
        // Above all of tract's own, the highest of which is 8.
        precedence: 100,
        name: "pointwise convolutions",
        applies: |isa| isa.has(Isa::X86_64Avx2) && isa.has(Isa::X86_64Fma),
        preferred,
    }
}

/// The kernel for a float32 product that is a pointwise convolution: its rows are positions, its columns output channels.
///
/// tract's choice was fitted to operands that lie in a cache. Activations of images do not: there the kernel that writes the
/// longest runs wins, 1.4 to 2.1 times over tract's choice for up to 64 channels, and of those with two or more columns the
/// one that keeps the most rows (measured on an AMD EPYC with AVX-512, one product at a time, tract-linalg 0.23.9).
/// All of them add up in the same order, so the numbers are the same.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "a signature of tract's")]
fn preferred(
    isa: &IsaSet,
    accumulator: DatumType,
    query: &Query,
    _: &[Suitable],
) -> Option<&'static str> {
    let (rows, depth, columns) = (query.m?, query.k?, query.n?);
    let is_pointwise =
        accumulator == DatumType::F32 && columns > 1 && rows >= columns.max(FEWEST_ROWS);
    is_pointwise.then(|| {
        if !isa.has(Isa::X86_64Avx512f) {
            "fma_mmm_f32_32x3"
        } else if depth <= SHALLOW {
            "avx512_mmm_f32_128x1"
        } else {
            "avx512_mmm_f32_32x6"
        }
    })
}

/// Tells tract which processor's preferences to go by.
const VARIABLE: &str = "TRACT_X86_KIND";
/// Those of AMD: on an Intel Xeon they took 52 instead of 50 s of processor time for 24 images through the sample in tiles of
/// 256 px, the mean of two runs each.
const KIND: &str = "amd";

/// Lets results depend on the instruction set of a processor and not on who made it.
///
/// tract picks among kernels for the same instructions by the maker of the processor, and kernels add up in different
/// orders: FP16 and INT8 models that were made on two makers' processors differed in some weights. Where the user has set
/// the variable, it stands.
///
/// # Safety
/// It changes the environment of the process: no other thread may run yet.
#[expect(
    unsafe_code,
    reason = "tract offers no other way to choose, and the same recipe is to give the same bytes"
)]
pub unsafe fn pin_kernels() {
    if std::env::var_os(VARIABLE).is_none() {
        // SAFETY: the caller says that no other thread runs, so none reads the environment meanwhile.
        unsafe { std::env::set_var(VARIABLE, KIND) };
    }
}
