//! Random graphs, one after the other, until the time is over.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

#[path = "../../../fuzz/passes/mod.rs"]
mod passes;

use super::{BLIND_TARGET, FuzzError, io_error};
use passes::{Verdict, passes_preserve_outputs, random_choices};

/// Checks graphs for as long as was asked for, and keeps the input of the first that fails.
pub(super) fn search(seed: u64, seconds: u64, artifacts: &Path) -> Result<(), FuzzError> {
    let begin = Instant::now();
    let (mut n_same, mut n_refused, mut n_ill_conditioned) = (0_u64, 0_u64, 0_u64);
    while begin.elapsed() < Duration::from_secs(seconds) {
        let index = n_same + n_refused + n_ill_conditioned;
        let bytes = random_choices(seed, index);
        match catch_unwind(AssertUnwindSafe(|| passes_preserve_outputs(&bytes))) {
            Ok(Verdict::Same) => n_same += 1,
            Ok(Verdict::Refused(_)) => n_refused += 1,
            Ok(Verdict::IllConditioned) => n_ill_conditioned += 1,
            Err(_) => {
                let file = artifacts.join(format!("blind-{seed}-{index}"));
                fs::write(&file, &bytes).map_err(io_error(&file))?;
                return Err(FuzzError::Found(BLIND_TARGET));
            }
        }
    }
    say(&format!(
        "{BLIND_TARGET}: {n_same} graphs compute the same when simplified, {n_refused} are refused by the engine, \
         {n_ill_conditioned} are too ill-conditioned to tell"
    ));
    Ok(())
}

#[expect(
    clippy::print_stderr,
    reason = "a developer tool talks to its terminal"
)]
fn say(text: &str) {
    eprintln!("{text}");
}
