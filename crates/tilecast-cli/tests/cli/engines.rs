//! `--engine`: the embedded one by default, ONNX Runtime where the build and the machine have it.

use crate::support::{Folder, Outcome};

const RUN: &str = "run srvgg-x2.onnx images/2.png -o out.png --tile 64 --json";

#[test]
fn an_engine_that_is_not_there_is_refused_by_name() {
    let folder = Folder::with_images();
    assert_eq!(folder.succeed_with_json(RUN)["engine"], "tract");
    let line = RUN.replace("out.png", "ort.png") + " --engine ort";
    let output = folder
        .command(&line)
        .env("ORT_DYLIB_PATH", "missing.so")
        .output()
        .unwrap();
    let outcome = Outcome::new(&line, &output);
    let said = String::from_utf8_lossy(&output.stderr);
    if cfg!(feature = "ort") {
        outcome.assert_failure(4);
        assert!(said.contains("missing.so"), "{said}");
    } else {
        outcome.assert_failure(2);
        assert!(said.contains("--features ort"), "{said}");
    }
    assert!(!folder.path("ort.png").exists());
}

/// Without ONNX Runtime this checks nothing, and says so.
#[test]
fn both_engines_give_the_same_image() {
    let folder = Folder::with_images();
    folder.succeed(RUN);
    let line = RUN.replace("out.png", "ort.png") + " --engine ort";
    let output = folder.command(&line).output().unwrap();
    let code = if cfg!(feature = "ort") { 4 } else { 2 };
    if output.status.code() == Some(code) {
        eprintln!("skipped: {}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let outcome = Outcome::new(&line, &output);
    outcome.assert_code(0);
    assert_eq!(outcome.json()["engine"], "ort");
    let [ours, theirs] =
        ["out.png", "ort.png"].map(|name| image::open(folder.path(name)).unwrap().into_rgb8());
    assert_eq!(ours.dimensions(), theirs.dimensions());
    for (a, b) in ours.as_raw().iter().zip(theirs.as_raw()) {
        assert!(a.abs_diff(*b) <= 1, "{a} and {b}");
    }
}
