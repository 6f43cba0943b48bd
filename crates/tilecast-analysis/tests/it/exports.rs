//! The expected verdict of each exported model: class, halo, alignment, and the codes that the lint must find, no more.
//!
//! The table is what follows from the architectures, whose sources are beside the files, and not from what the code says.
//! Reach is counted from the output inwards, in positions of each level:
//!
//! - `nafnet`: two levels of one block, a middle block, and decoders; each block has one depthwise 3×3 convolution (the others
//!   are 1×1) and one global pool. Seven blocks, so seven pools.
//! - `realesrgan-x4v3`: ten 3×3 convolutions at the resolution of the input.
//! - `realesrgan-x4plus`: two blocks of fifteen 3×3 convolutions, one before and one after, one at twice the resolution and
//!   three at four times that together reach two pixels more.
//! - `restormer`: five blocks, each with two 3×3 convolutions and one attention over channels, which takes two vector norms and
//!   one product over all positions; two pixel unshuffles in reshaped form.
//! - `swinir`: for a block of output at 0..=7, the four convolutions behind the body need -4..=11; each group then widens by its
//!   convolution to -5..=12, by shifted windows to -12..=19 and by aligned ones to -16..=23, and the second to -24..=31; the first
//!   convolution makes it -25..=32. The mask leaves the borders of the image right, so the class is B and no shift is reported.
//! - `unet-bn`: two levels, two 3×3 convolutions each, with batch normalization in inference mode, which is not reported.
//! - `unet-mobile`: three squeeze-and-excite blocks; bilinear resizes to the size of the skip.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tilecast_analysis::{PadFill, TilingClass, analyze, lint};
use tilecast_onnx::Model;

struct Expected {
    /// First part of the file names: every exporter's file of the architecture.
    name: &'static str,
    class: TilingClass,
    /// The most of the four sides, pixels.
    reach_px: usize,
    alignment_px: usize,
    scale: usize,
    pads: Option<PadFill>,
    /// Codes about tiles, each with its number of findings.
    codes: &'static [(&'static str, usize)],
}

const EXPECTED: &[Expected] = &[
    Expected {
        name: "nafnet-pad-",
        class: TilingClass::C,
        reach_px: 24,
        alignment_px: 8,
        scale: 1,
        pads: Some(PadFill::Zero),
        codes: &[("H01", 1), ("H02", 1), ("H14", 1), ("H21", 7)],
    },
    Expected {
        name: "nafnet-",
        class: TilingClass::C,
        reach_px: 24,
        alignment_px: 8,
        scale: 1,
        pads: None,
        codes: &[("H01", 1), ("H02", 1), ("H21", 7), ("H36", 1)],
    },
    Expected {
        name: "realesrgan-x4plus-",
        class: TilingClass::A,
        reach_px: 34,
        alignment_px: 1,
        scale: 4,
        pads: None,
        codes: &[("H01", 1)],
    },
    Expected {
        name: "realesrgan-x4v3-",
        class: TilingClass::A,
        reach_px: 10,
        alignment_px: 1,
        scale: 4,
        pads: None,
        codes: &[("H01", 1)],
    },
    Expected {
        name: "restormer-",
        class: TilingClass::C,
        reach_px: 34,
        alignment_px: 4,
        scale: 1,
        pads: None,
        codes: &[
            ("H01", 1),
            ("H02", 1),
            ("H04", 2),
            ("H25", 10),
            ("H26", 5),
            ("H36", 1),
        ],
    },
    Expected {
        name: "swinir-",
        class: TilingClass::B,
        reach_px: 25,
        alignment_px: 8,
        scale: 2,
        pads: Some(PadFill::Reflect),
        codes: &[("H01", 1), ("H02", 1), ("H14", 1), ("H28", 1)],
    },
    Expected {
        name: "unet-bn-",
        class: TilingClass::B,
        reach_px: 22,
        alignment_px: 4,
        scale: 1,
        pads: None,
        codes: &[("H01", 1), ("H02", 1), ("H36", 1)],
    },
    Expected {
        name: "unet-mobile-",
        class: TilingClass::C,
        reach_px: 54,
        alignment_px: 8,
        scale: 1,
        pads: None,
        codes: &[("H01", 1), ("H02", 1), ("H21", 3)],
    },
];

fn exports() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/exports");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "onnx"));
    files.sort();
    files
}

#[test]
fn every_export_has_the_verdict_that_its_architecture_implies() {
    let files = exports();
    assert!(files.len() > EXPECTED.len());
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy();
        let expected = EXPECTED.iter().find(|e| name.starts_with(e.name)).unwrap();
        let model = Model::load(&path).unwrap();
        let facts = analyze(&model).unwrap();
        assert_eq!(
            (
                facts.tiling_class,
                facts.alignment_px,
                facts.scale.as_integer(),
                facts.pads_itself
            ),
            (
                expected.class,
                expected.alignment_px,
                Some(expected.scale),
                expected.pads
            ),
            "{name}"
        );
        assert_eq!(facts.reach.unwrap().max(), expected.reach_px, "{name}");
        let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
        for finding in lint(&model).iter().filter(|f| f.is_about_tiles()) {
            *codes.entry(finding.code).or_default() += 1;
        }
        let wanted: BTreeMap<&str, usize> = expected.codes.iter().copied().collect();
        assert_eq!(codes, wanted, "{name}");
    }
}
