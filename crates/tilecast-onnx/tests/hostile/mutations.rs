//! What the fuzz targets check, over their seeds and a fixed set of mutations of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use tilecast_onnx::Model;

#[path = "../../../../fuzz/properties.rs"]
mod properties;

/// Mutations of all seeds together.
const N_MUTATIONS: usize = 2000;

fn seeds() -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

/// A small generator of numbers (`xorshift64*`, Vigna 2016): mutations must be the same everywhere.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}

/// Damages a file in one to three places: bits, numbers that mean much in this format, pieces of another file, losses.
fn mutated(seed: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    const TELLING: [u8; 8] = [0x00, 0x01, 0x02, 0x7f, 0x80, 0xff, 0x0a, 0x2a];
    let mut bytes = seed.to_vec();
    for _ in 0..=numbers.below(3) {
        if bytes.is_empty() {
            break;
        }
        let at = numbers.below(bytes.len());
        let end = (at + 1 + numbers.below(32)).min(bytes.len());
        let from = numbers.below(other.len());
        let piece = &other[from..(from + end - at).min(other.len())];
        match numbers.below(8) {
            0..=2 => bytes[at] ^= 1 << numbers.below(8),
            3 | 4 => bytes[at] = TELLING[numbers.below(TELLING.len())],
            5 => bytes[at..at + piece.len()].copy_from_slice(piece),
            6 => drop(bytes.splice(at..at, piece.iter().copied())),
            _ => drop(bytes.drain(at..end)),
        }
    }
    bytes
}

#[test]
fn the_properties_hold_for_the_seeds_and_their_mutations() {
    let seeds = seeds();
    assert!(seeds.len() >= 10, "the seeds of the fuzz targets are gone");
    let mut numbers = Numbers(0x7469_6c65_6361_7374);
    let mut inputs = seeds.clone();
    for index in 0..N_MUTATIONS {
        let (path, seed) = &seeds[index % seeds.len()];
        let (_, other) = &seeds[numbers.below(seeds.len())];
        let name = path.with_extension(format!("{index}"));
        inputs.push((name, mutated(seed, other, &mut numbers)));
    }
    let mut n_loaded = 0;
    for (name, bytes) in &inputs {
        let run = AssertUnwindSafe(|| {
            properties::import_never_panics(bytes);
            properties::roundtrip_is_identity(bytes);
        });
        assert!(catch_unwind(run).is_ok(), "{}", name.display());
        n_loaded += usize::from(Model::decode(bytes.clone().into(), Path::new("m")).is_ok());
    }
    assert!(
        (100..N_MUTATIONS).contains(&n_loaded),
        "{n_loaded} loaded: mutations must neither all be refused nor all be harmless"
    );
}

#[test]
fn every_seed_is_a_model_that_comes_back_unchanged() {
    for (path, bytes) in seeds() {
        assert!(bytes.len() < 5000, "{}", path.display());
        let loaded = Model::decode(bytes.clone().into(), &path);
        if path.ends_with("external_data.onnx") {
            let error = loaded.unwrap_err().to_string();
            assert!(error.contains("`weights.bin`"), "{error}");
            continue;
        }
        assert!(loaded.unwrap().to_bytes() == bytes, "{}", path.display());
    }
}
