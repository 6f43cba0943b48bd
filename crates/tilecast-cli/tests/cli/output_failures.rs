//! A failing run leaves the files of earlier runs as they were.

use std::fs;

use crate::support::{Folder, SRVGG};

const EARLIER: &str = "what an earlier run has written";

#[test]
fn an_earlier_output_outlives_a_failing_run() {
    let folder = Folder::with_images();
    folder.truncate("images/3.png");
    let model = folder.read(SRVGG);
    folder.write("half.onnx", &model[..model.len() / 2]);
    folder.write("earlier.onnx", EARLIER);
    folder.write("earlier.png", EARLIER);
    let cases = [
        ("convert half.onnx --to fp16 -o earlier.onnx", 3),
        ("convert srvgg-x2.onnx --to int8 -o earlier.onnx", 2),
        (
            "convert srvgg-x2.onnx --to int8 -o earlier.onnx --calibration images",
            4,
        ),
        ("run half.onnx images/1.png -o earlier.png", 3),
        ("run srvgg-x2.onnx images/3.png -o earlier.png", 4),
        ("run srvgg-x2.onnx images/2.png -o earlier.png --tile 16", 2),
    ];
    for (line, code) in cases {
        folder.fail(line, code);
        for name in ["earlier.onnx", "earlier.png"] {
            assert_eq!(folder.read(name), EARLIER.as_bytes(), "{line}");
        }
    }
}

#[test]
fn a_folder_run_keeps_the_images_before_the_corrupt_one_and_no_part_of_it() {
    let folder = Folder::with_images();
    folder.truncate("images/3.png");
    let outcome = folder.fail(&format!("run {SRVGG} images -o results"), 4);
    outcome.assert_says(&["images/3.png"]);
    let results: Vec<String> = folder
        .files()
        .into_iter()
        .filter(|name| name.starts_with("results/"))
        .collect();
    assert_eq!(results, ["results/1.png", "results/2.png"]);
    for name in results {
        image::open(folder.path(&name)).unwrap();
    }
}

#[test]
fn outputs_that_cannot_be_written_are_named() {
    let folder = Folder::with_images();
    fs::create_dir(folder.path("folder.png")).unwrap();
    folder.write("file", EARLIER);
    let cases = [
        (
            "run srvgg-x2.onnx images/1.png -o absent/new.png",
            "`absent/new.png`",
        ),
        (
            "run srvgg-x2.onnx images/1.png -o folder.png",
            "`folder.png`",
        ),
        ("run srvgg-x2.onnx images -o file", "`file`"),
        (
            "convert srvgg-x2.onnx --to fp16 -o absent/new.onnx",
            "`absent/new.onnx`",
        ),
        ("quantize recipe.yaml --out file", "`file`"),
    ];
    for (line, named) in cases {
        let outcome = folder.fail(line, 4);
        assert!(outcome.stderr.contains(named), "{line}: {}", outcome.stderr);
    }
    assert_eq!(folder.read("file"), EARLIER.as_bytes());
}

#[test]
fn an_image_format_that_does_not_exist_is_refused_before_the_work() {
    let folder = Folder::with_images();
    let outcome = folder.fail("run srvgg-x2.onnx images/1.png -o new.gif", 2);
    outcome.assert_says(&["`new.gif`", "png"]);
}

#[test]
fn a_run_that_fails_after_saving_leaves_no_report_about_other_artifacts() {
    let folder = Folder::with_images();
    folder.succeed("quantize recipe.yaml --out out");
    assert!(folder.path("out/report.json").exists());
    folder.truncate("images/2.png");
    folder.fail(
        "quantize recipe.yaml --out out --set calibration.range=minmax",
        4,
    );
    assert!(!folder.path("out/report.json").exists() && !folder.path("out/report.md").exists());
}
