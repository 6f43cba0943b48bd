//! Spoilt recipes: whatever the bytes are, loading ends in a recipe or in an error that can be shown.

use super::{parse, repository_file};

/// Xorshift, so that a failing case fails again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// Text with a meaning in YAML or in a recipe, to be put in random places.
const PIECES: [&str; 24] = [
    ":",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "\n",
    "  ",
    "&a ",
    "*a",
    "<<: *a",
    "!!int ",
    "|\n",
    "'",
    "\"",
    "#",
    "\t",
    "---\n",
    "null",
    ".nan",
    "-1",
    "1e400",
    "é",
    "artifacts:",
];

fn spoil(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len());
    let end = (at + 1 + random.below(40)).min(bytes.len());
    match random.below(5) {
        0 => drop(bytes.drain(at..end)),
        1 => {
            let copy = bytes[at..end].to_vec();
            let to = random.below(bytes.len());
            drop(bytes.splice(to..to, copy));
        }
        2 if !bytes.is_empty() => bytes[at] = random.below(256) as u8,
        3 => bytes.truncate(at),
        _ => {
            let piece = PIECES[random.below(PIECES.len())];
            drop(bytes.splice(at..at, piece.bytes()));
        }
    }
}

fn check(text: &str, overrides: &[&str]) -> bool {
    match parse(text, overrides) {
        Ok(_) => true,
        Err(error) => {
            let message = error.to_string();
            assert!(!message.contains('\n'), "{message:?}");
            let mut rendered = String::new();
            miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor())
                .render_report(&mut rendered, &error)
                .expect("every error can be shown");
            false
        }
    }
}

#[test]
fn spoilt_recipes_never_panic() {
    let sample = std::fs::read(repository_file("recipes/nafnet.yaml")).expect("the sample recipe");
    let mut random = Random(0x5eed_0001);
    let mut n_valid = 0;
    for _ in 0..5000 {
        let mut bytes = sample.clone();
        for _ in 0..=random.below(3) {
            spoil(&mut bytes, &mut random);
        }
        let text = String::from_utf8_lossy(&bytes);
        n_valid += usize::from(check(&text, &[]));
    }
    // Changes to comments keep a recipe valid; were all accepted or all refused, the loop would test nothing.
    assert!(
        (100..4900).contains(&n_valid),
        "{n_valid} of 5000 are valid"
    );
}

#[test]
fn spoilt_overrides_never_panic() {
    let sample =
        std::fs::read_to_string(repository_file("recipes/nafnet.yaml")).expect("the sample recipe");
    let mut random = Random(0x5eed_0002);
    for argument in [
        "artifacts.0.gate.min_psnr_db=99",
        "artifacts.1.overrides=[{nodes: \"/mid/*\", precision: fp16}]",
        "tiling.global_statistics={sweeps: 3}",
    ] {
        for _ in 0..500 {
            let mut bytes = argument.as_bytes().to_vec();
            spoil(&mut bytes, &mut random);
            check(&sample, &[&String::from_utf8_lossy(&bytes)]);
        }
    }
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", "")] {
        for depth in [60, 70, 300, 100_000] {
            let text = format!("model: \n  {}1{}", open.repeat(depth), close.repeat(depth));
            assert!(!check(&text, &[]), "{open:?} {depth} times was accepted");
            let argument = format!("model={}1{}", open.repeat(depth), close.repeat(depth));
            assert!(!check("version: 1", &[&argument]));
        }
    }
}
