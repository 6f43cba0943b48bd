//! The result depends on the model, the images and the recipe: not on threads, and ranges not on the images' order.

use std::fs;

use serde_json::Value;

use crate::support::{Folder, Outcome};

/// Runs the recipe on this many threads, and returns the report.
fn quantize(folder: &Folder, out: &str, n_threads: usize) -> Value {
    let line = format!("quantize recipe.yaml --out {out} --no-cache --json");
    let output = folder
        .command(&line)
        .env("RAYON_NUM_THREADS", n_threads.to_string())
        .output()
        .unwrap();
    let outcome = Outcome::new(&line, &output);
    outcome.assert_code(0);
    outcome.json()
}

fn paths(report: &Value) -> Vec<&str> {
    let artifacts = report["artifacts"].as_array().unwrap();
    artifacts
        .iter()
        .map(|artifact| artifact["path"].as_str().unwrap())
        .collect()
}

#[test]
fn threads_leave_no_trace() {
    let folder = Folder::with_images();
    let one = quantize(&folder, "one", 1);
    let two = quantize(&folder, "two", 2);
    assert_eq!(paths(&one).len(), 2);
    for path in paths(&one) {
        assert_eq!(
            folder.read(&format!("one/{path}")),
            folder.read(&format!("two/{path}")),
            "{path}"
        );
    }
    for key in ["artifacts", "calibration", "tiling"] {
        assert_eq!(one[key], two[key], "{key}");
    }
}

#[test]
fn the_order_of_calibration_images_leaves_no_trace() {
    let first = Folder::with_images();
    let second = Folder::with_images();
    // Images 1 and 3 are calibrated on, 2 and 4 are held out. They differ in size, so that the engine also prepares
    // sessions in another order.
    for kind in ["images", "references"] {
        for (from, to) in [("1.png", "3.png"), ("3.png", "1.png")] {
            let from = first.path(kind).join(from);
            fs::copy(from, second.path(kind).join(to)).unwrap();
        }
    }
    let first_report = quantize(&first, "out", 2);
    let second_report = quantize(&second, "out", 2);

    let [before, after] = [&first_report, &second_report].map(|report| &report["calibration"]);
    let hash = |facts: &Value, index: usize| facts["images"][index]["sha256"].clone();
    assert_eq!(
        [hash(before, 0), hash(before, 1)],
        [hash(after, 1), hash(after, 0)]
    );
    assert_ne!(hash(before, 0), hash(before, 1));
    assert_eq!(before["holdout"], after["holdout"]);

    assert!(!before["ranges"].as_object().unwrap().is_empty());
    assert_eq!(before["ranges"], after["ranges"]);
    for path in paths(&first_report) {
        let path = format!("out/{path}");
        assert_eq!(first.read(&path), second.read(&path), "{path}");
    }
}
