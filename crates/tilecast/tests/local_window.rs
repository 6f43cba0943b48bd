//! Windows in the place of the whole image: the network that they make is one that tiles suit, and what it costs is measured.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde_json::Value;
use tilecast::report::Gates;
use tilecast::{Context, EngineChoice, Silent, VerifySettings, verify};
use tilecast_analysis::{TilingClass, analyze};
use tilecast_exec::TractEngine;
use tilecast_onnx::Model;
use tilecast_passes::{PoolInWindows, run_pass};
use tilecast_tile::{
    Fill, RunControl, TilePlan, TileRequest, TiledRunner, UnalignedSizes, ValueRange, Values,
    compare_images, read_image,
};

const MODEL: &str = "models/exports/nafnet-pad-ts17.onnx";
const WINDOW_PX: usize = 16;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

#[test]
fn tiles_of_a_network_with_windows_equal_its_whole_image_run() {
    let mut model = Model::load(&repository(MODEL)).unwrap();
    let before = analyze(&model).unwrap();
    assert_eq!(before.tiling_class, TilingClass::C);
    let pass = PoolInWindows {
        window_px: WINDOW_PX,
        alignment_px: before.alignment_px,
    };
    let report = run_pass(&pass, &mut model).unwrap();
    assert_eq!(report.declined, []);
    let after = analyze(&model).unwrap();
    assert_eq!(after.tiling_class, TilingClass::B);
    assert_eq!(after.alignment_px, before.alignment_px);
    // Half a window more for every pooling that follows another.
    let n_pools = report.nodes[1] - report.nodes[0];
    assert_eq!(n_pools, before.global_nodes.len());
    let (halo, local) = (after.halo_px.unwrap(), before.halo_px.unwrap());
    let windows = n_pools * WINDOW_PX / 2;
    assert!(
        (local + windows / 2..=local + windows + after.alignment_px).contains(&halo),
        "{halo} px with {n_pools} windows, {local} px without"
    );

    let image = read_image(&repository("calibration/noisy/10-s40-333x277.png")).unwrap();
    let engine = TractEngine::new();
    let runner = TiledRunner::new(&engine, &model, ValueRange::UNIT).unwrap();
    let run = |tile_px| {
        let request = TileRequest {
            image_px: image.size(),
            tile_px,
            halo_px: after.halo_px,
            alignment_px: after.alignment_px,
            scale: 1,
            fill: Fill::Zero,
            unaligned: UnalignedSizes::Accepted,
        };
        let plan = TilePlan::new(&request).unwrap();
        assert_eq!(plan.n_tiles() > 1, tile_px.is_some());
        runner.run(&image, &plan, &RunControl::default()).unwrap()
    };
    let tile_px = 2 * halo + 4 * after.alignment_px;
    let compared = compare_images(&run(None), &run(Some(tile_px)), Values::Unclamped).unwrap();
    let worst = compared.error.max_abs().unwrap();
    assert!(worst <= 2e-5, "{worst}");
}

#[test]
fn what_windows_cost_is_measured_against_the_whole_image() {
    let folder = tempfile::tempdir().unwrap();
    let name = "10-s40-333x277.png";
    std::fs::copy(
        repository("calibration/noisy").join(name),
        folder.path().join(name),
    )
    .unwrap();
    let never = AtomicBool::new(false);
    let error_db = |window_px: Option<u32>| -> f64 {
        let settings = VerifySettings {
            reference: repository(MODEL),
            candidate: repository(MODEL),
            images: folder.path().to_owned(),
            references: None,
            tile_px: Some(256),
            sweeps: None,
            local_window: window_px.and_then(NonZeroU32::new),
            memory_bytes: 2 << 30,
            engine: EngineChoice::Tract,
            preprocess: None,
            judging: tilecast::Judging::default(),
            error_maps: None,
            gates: Gates::default(),
        };
        let verified = verify(&settings, &Context::new(&Silent, &never)).unwrap();
        let verified: Value = serde_json::to_value(verified).unwrap();
        // Both models are made alike.
        assert_eq!(verified["max_abs"], 0.0);
        let tiling = &verified["tiling"];
        assert_eq!(tiling["equivalence"], "approximate");
        match window_px {
            Some(px) => {
                assert_eq!(tiling["tiling_class"], "B");
                assert_eq!(tiling["local_window"]["window_px"], px);
                assert_eq!(tiling["local_window"]["left_out"], serde_json::json!([]));
            }
            None => assert!(tiling["local_window"].is_null()),
        }
        tiling["error"]["psnr_db"]["mean"].as_f64().unwrap()
    };
    let (small, large) = (error_db(Some(8)), error_db(Some(16)));
    assert!(large.is_finite() && small < large, "{small} dB, {large} dB");
}
