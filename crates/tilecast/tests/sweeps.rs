//! Swept statistics against whole-image runs: how near each sweep comes, and that threads leave no trace.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use tilecast_analysis::analyze;
use tilecast_exec::TractEngine;
use tilecast_metrics::OutputRange;
use tilecast_onnx::Model;
use tilecast_passes::{SweptModel, cut_statistics};
use tilecast_tile::{
    Fill, PlanarImage, Rect, RunControl, SweepCount, SweptImage, SweptRunner, TilePlan,
    TileRequest, TiledRunner, UnalignedSizes, ValueRange, Values, compare_images, read_image,
};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// A model and an image, with the geometry of the model.
struct Setting {
    model: Model,
    swept: SweptModel,
    image: PlanarImage,
    halo_px: usize,
    alignment_px: usize,
    fill: Fill,
}

impl Setting {
    /// The upper left part of an image of the calibration set; halo and alignment come from the graph where none are given.
    fn new(
        model: &str,
        image: &str,
        [height, width]: [usize; 2],
        geometry: Option<(usize, usize)>,
    ) -> Self {
        let model = Model::load(&repository(model)).unwrap();
        let (halo_px, alignment_px) = geometry.unwrap_or_else(|| {
            let analysis = analyze(&model).unwrap();
            (analysis.halo_px.unwrap(), analysis.alignment_px)
        });
        let swept = cut_statistics(&model, alignment_px).unwrap();
        assert_eq!(swept.declined, []);
        let image = read_image(&repository("calibration/noisy").join(image)).unwrap();
        let part = Rect {
            top: 0,
            left: 0,
            height,
            width,
        };
        Self {
            image: image.crop(part, 1),
            fill: Fill::Zero,
            model,
            swept,
            halo_px,
            alignment_px,
        }
    }

    fn plan(&self, tile_px: Option<usize>) -> TilePlan {
        let request = TileRequest {
            image_px: self.image.size(),
            tile_px,
            halo_px: Some(self.halo_px),
            alignment_px: self.alignment_px,
            scale: 1,
            fill: self.fill,
            unaligned: UnalignedSizes::Refused,
        };
        TilePlan::new(&request).unwrap()
    }

    fn whole(&self) -> PlanarImage {
        let engine = TractEngine::new();
        let runner = TiledRunner::new(&engine, &self.model, ValueRange::UNIT).unwrap();
        let plan = self.plan(None);
        runner
            .run(&self.image, &plan, &RunControl::default())
            .unwrap()
    }

    fn run(&self, tile_px: usize, count: SweepCount) -> SweptImage {
        let SweptModel {
            model, contract, ..
        } = self.swept.clone();
        let engine = TractEngine::new();
        let runner = SweptRunner::new(&engine, model, contract, ValueRange::UNIT).unwrap();
        let plan = self.plan(Some(tile_px));
        assert!(plan.n_tiles() > 1);
        runner
            .run(&self.image, &plan, count, &RunControl::default())
            .unwrap()
    }

    fn depth(&self) -> usize {
        self.swept.contract.depth
    }
}

fn exactly(n: usize) -> SweepCount {
    SweepCount::Exactly(NonZeroU32::new(u32::try_from(n).unwrap()).unwrap())
}

fn psnr_db(whole: &PlanarImage, tiled: &PlanarImage) -> f64 {
    let compared = compare_images(whole, tiled, Values::Unclamped).unwrap();
    compared.error.psnr_db(OutputRange::UNIT.peak()).unwrap()
}

/// PSNR after each of these numbers of sweeps against the least that is asked.
#[track_caller]
fn check(setting: &Setting, tile_px: usize, least: &[(usize, f64)]) {
    let whole = setting.whole();
    let found: Vec<(usize, f64)> = least
        .iter()
        .map(|&(n, _)| {
            let swept = setting.run(tile_px, exactly(n));
            assert_eq!(swept.facts.n_sweeps, n);
            assert_eq!(swept.facts.is_exact, n > setting.depth());
            (n, psnr_db(&whole, &swept.image))
        })
        .collect();
    let missed = found
        .iter()
        .zip(least)
        .any(|(found, least)| found.1 < least.1);
    assert!(!missed, "sweeps and dB: {found:.2?}, asked: {least:?}");
}

#[test]
fn the_sample_comes_nearer_with_each_sweep() {
    let setting = Setting::new(
        "models/nafnet-denoise.onnx",
        "11-s10-512x384.png",
        [288, 320],
        None,
    );
    assert_eq!(
        (setting.depth(), setting.swept.contract.statistics.len()),
        (12, 12)
    );
    check(&setting, 256, &[(2, 65.0), (6, 85.0), (13, 100.0)]);
}

#[test]
fn an_image_that_has_to_be_padded_is_swept_with_its_padding() {
    // 277 rows and 333 columns are no multiples of 16.
    let setting = Setting::new(
        "models/nafnet-denoise.onnx",
        "10-s40-333x277.png",
        [277, 333],
        None,
    );
    // In four tiles, which overlap so much that a draft takes as many, and smaller ones.
    check(&setting, 256, &[(2, 65.0), (6, 85.0), (13, 100.0)]);
    let two = setting.run(256, exactly(2)).facts;
    assert_eq!((two.n_drafts, two.n_tiles_run), (1, 3 * 4));
    let of_sweep = setting.plan(Some(256)).pixels_fed();
    assert!(4 * (two.pixels_fed - 2 * of_sweep) <= 3 * of_sweep);
}

#[test]
fn instance_norms_are_exact_after_as_many_sweeps_as_levels() {
    let setting = Setting::new(
        "models/statistics/instance-norm.onnx",
        "02-s25-300x260.png",
        [130, 162],
        None,
    );
    assert_eq!(setting.depth(), 9);
    check(&setting, 80, &[(10, 90.0)]);
}

#[test]
fn group_norms_are_exact_after_as_many_sweeps_as_levels() {
    // Eight convolutions of 3x3.
    let setting = Setting::new(
        "models/statistics/group-norm.onnx",
        "02-s25-300x260.png",
        [130, 161],
        Some((8, 1)),
    );
    assert_eq!(setting.depth(), 7);
    check(&setting, 80, &[(8, 90.0)]);
}

#[test]
fn attention_among_channels_is_exact_after_as_many_sweeps_as_levels() {
    for export in ["restormer-ts17", "restormer-dy20"] {
        let setting = Setting::new(
            &format!("models/exports/{export}.onnx"),
            "02-s25-300x260.png",
            [128, 192],
            // More than its depthwise convolutions reach.
            Some((32, 4)),
        );
        // Two norms and a product each; that they are one level is what the depth says.
        assert_eq!(setting.swept.contract.statistics.len(), 3 * setting.depth());
        check(&setting, 96, &[(setting.depth() + 1, 90.0)]);
    }
}

#[test]
fn auto_stops_when_nothing_moves_any_more() {
    // The halo is a tenth of the tile, and the tiles fill the image: drafts would save too little.
    let setting = Setting::new(
        "models/statistics/group-norm.onnx",
        "02-s25-300x260.png",
        [144, 144],
        Some((8, 1)),
    );
    let patient = setting.run(80, SweepCount::Auto { tolerance: 0.0 });
    let same = setting.run(80, exactly(8));
    assert!(same.image == patient.image && same.facts == patient.facts);
    let facts = patient.facts;
    assert_eq!(
        (facts.n_drafts, facts.n_sweeps, facts.is_exact),
        (0, 8, true)
    );
    // More sweeps than change anything are not made.
    assert_eq!(setting.run(80, exactly(50)).facts.n_sweeps, 8);
    let hasty = setting.run(80, SweepCount::Auto { tolerance: 1e9 });
    assert_eq!((hasty.facts.n_sweeps, hasty.facts.is_exact), (3, false));
    assert!(hasty.image == setting.run(80, exactly(3)).image);
}

#[test]
fn drafts_come_nearer_for_less() {
    let setting = Setting::new(
        "models/nafnet-denoise.onnx",
        "24-s25-1024x1024.png",
        [448, 448],
        None,
    );
    let whole = setting.whole();
    let n_tiles = setting.plan(Some(256)).n_tiles();
    let two = setting.run(256, exactly(2));
    assert_eq!((two.facts.n_drafts, two.facts.n_sweeps), (1, 2));
    // One draft takes at most three quarters of the tiles.
    assert!(two.facts.n_tiles_run > 2 * n_tiles);
    assert!(4 * (two.facts.n_tiles_run - 2 * n_tiles) <= 3 * n_tiles);
    assert!(psnr_db(&whole, &two.image) >= 65.0);
    // What a count makes exact needs no drafts.
    let all = setting.depth() + 1;
    let auto = setting.run(256, SweepCount::Auto { tolerance: 1e-3 });
    assert!(auto.facts.n_drafts > 1 && auto.facts.n_sweeps >= 2);
    assert!(auto.facts.n_tiles_run < all * n_tiles);
    let [.., before, last] = auto.facts.movements[..] else {
        panic!("no movements")
    };
    assert!(before <= 1e-3 && last <= 1e-3, "{before} {last}");
    assert!(psnr_db(&whole, &auto.image) >= 85.0);
}

#[test]
fn threads_leave_no_trace() {
    let setting = Setting::new(
        "models/statistics/instance-norm.onnx",
        "01-s10-256x256.png",
        [128, 162],
        None,
    );
    let run = |n_threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new();
        let pool = pool.num_threads(n_threads).build().unwrap();
        pool.install(|| setting.run(80, exactly(3)))
    };
    let (one, five) = (run(1), run(5));
    assert!(one.image == five.image && one.facts == five.facts);
}

#[test]
fn sweeps_take_the_memory_of_one_run() {
    for (model, geometry, most) in [
        ("models/nafnet-denoise.onnx", None, 1.02),
        ("models/statistics/instance-norm.onnx", None, 1.05),
        // The prediction counts operands and results of an elementwise product apart, although it is computed in place.
        ("models/statistics/group-norm.onnx", Some((8, 1)), 1.35),
    ] {
        let setting = Setting::new(model, "11-s10-512x384.png", [384, 512], geometry);
        let engine = TractEngine::new();
        let plan = setting.plan(Some(256));
        let plain = TiledRunner::new(&engine, &setting.model, ValueRange::UNIT).unwrap();
        let plain = plain.session(&plan, 3).unwrap().peak_live_bytes();
        let SweptModel {
            model: cut,
            contract,
            ..
        } = setting.swept;
        let swept = SweptRunner::new(&engine, cut, contract, ValueRange::UNIT).unwrap();
        let swept = swept.session(&plan, 3).unwrap().peak_live_bytes();
        let ratio = swept as f64 / plain as f64;
        assert!(
            ratio <= most,
            "{model}: {swept} bytes, {ratio:.3} of {plain}"
        );
    }
}
