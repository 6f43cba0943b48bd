//! Which of its kernels tract takes.

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
