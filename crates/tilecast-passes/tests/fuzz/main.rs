//! What the fuzz target `passes_preserve_outputs` checks, over its seeds and a fixed set of generated graphs.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[path = "../../../../fuzz/passes/mod.rs"]
mod passes;

use passes::{Verdict, passes_preserve_outputs, random_choices};

/// Generated graphs.
const N_GRAPHS: u64 = 600;
#[test]
fn generated_graphs_compute_the_same_when_simplified() {
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    let mut n_ill_conditioned = 0;
    let n_few = usize::try_from(N_GRAPHS / 20).unwrap();
    let mut failures = Vec::new();
    for index in 0..N_GRAPHS {
        let bytes = random_choices(0, index);
        match catch_unwind(AssertUnwindSafe(|| passes_preserve_outputs(&bytes))) {
            Ok(Verdict::Same) => {}
            Ok(Verdict::Refused(reason)) => *refused.entry(reason).or_default() += 1,
            Ok(Verdict::IllConditioned) => n_ill_conditioned += 1,
            Err(_) => failures.push(index),
        }
    }
    assert!(failures.is_empty(), "graphs {failures:?}");
    let n_refused: usize = refused.values().sum();
    assert!(n_refused <= n_few, "the engine runs too few: {refused:#?}");
    assert!(
        n_ill_conditioned <= n_few,
        "{n_ill_conditioned} prove nothing"
    );
}

#[test]
fn seeds_compute_the_same_when_simplified() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let mut n_same = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        n_same += usize::from(passes_preserve_outputs(&bytes) == Verdict::Same);
    }
    assert!(n_same >= 3, "only {n_same} of the seeds were run");
}
