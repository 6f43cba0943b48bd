//! Recipes and command lines that are wrong, and files that a recipe names in vain.

use std::fs;

use crate::support::{Folder, RECIPE, SRVGG, assert_text};

#[test]
fn a_misspelt_key_is_shown_in_its_line_with_the_key_that_was_meant() {
    let folder = Folder::with_images();
    folder.write("recipe.yaml", RECIPE.replace("holdout", "holdut"));
    let outcome = folder.fail("quantize recipe.yaml --out out", 2);
    assert_text(
        &outcome.talk(),
        "
    error: recipe.yaml:6:3: unknown key `holdut` in `calibration`
       ╭─[recipe.yaml:6:3]
     5 │   references: references
     6 │   holdut: 0.5
       ·   ───┬──
       ·      ╰── unknown key
     7 │ artifacts:
       ╰────
      help: did you mean `holdout`?
    ",
    );
    assert!(!folder.path("out").exists());
}

#[test]
fn an_empty_calibration_folder_is_a_usage_error() {
    let folder = Folder::with_images();
    fs::create_dir(folder.path("empty")).unwrap();
    let line = "quantize recipe.yaml --out out --set calibration.images=empty";
    assert_text(
        &folder.fail(line, 2).talk(),
        "error: cannot list images in `empty`: there are none; put files ending in png, jpg, jpeg, tif, tiff, webp there",
    );
    assert!(!folder.path("out").exists());

    let verify = format!("verify {SRVGG} {SRVGG} --images empty");
    folder.fail(&verify, 2).assert_says(&["`empty`"]);
    let convert = format!("convert {SRVGG} --to int8 -o new.onnx --calibration empty");
    folder.fail(&convert, 2).assert_says(&["`empty`"]);
    let run = format!("run {SRVGG} empty -o results");
    folder.fail(&run, 2).assert_says(&["`empty`"]);
}

#[test]
fn a_value_that_is_not_built_yet_is_refused_by_name() {
    let folder = Folder::with_images();
    let measured = RECIPE.replace("validate_tile: 64", "mode: measured");
    folder.write("recipe.yaml", measured);
    let outcome = folder.fail("quantize recipe.yaml --out out", 2);
    assert_text(
        &outcome.talk(),
        "
    error: recipe.yaml:13:17: `mode: measured` is not built yet; use exact
        ╭─[recipe.yaml:13:17]
     12 │     gate: { min_psnr_db: 35, max_drop_db: 3 }
     13 │ tiling: { mode: measured }
        ·                 ────┬───
        ·                     ╰── not built yet
        ╰────
    ",
    );

    folder.write("recipe.yaml", RECIPE);
    let line = "quantize recipe.yaml --out out --set tiling.mode=measured";
    assert_text(
        &folder.fail(line, 2).talk(),
        "error: --set tiling.mode=measured: `mode: measured` is not built yet; use exact",
    );
}

#[test]
fn a_missing_recipe_is_a_file_error() {
    let folder = Folder::new();
    let outcome = folder.fail("quantize absent.yaml --out out", 4);
    outcome.assert_says(&[
        "error: absent.yaml: recipe cannot be read",
        "help: check the path",
    ]);
    assert_eq!(folder.files(), Vec::<String>::new());
}

#[test]
fn files_that_a_recipe_names_in_vain_are_named() {
    let folder = Folder::with_images();
    let cases = [
        ("model=absent.onnx", "`absent.onnx`"),
        ("calibration.images=absent", "`absent`"),
        ("calibration.references=absent", "absent/1.png`"),
    ];
    for (change, named) in cases {
        let line = format!("quantize recipe.yaml --out out --set {change}");
        folder.fail(&line, 4).assert_says(&[named]);
        assert!(!folder.path("out").exists(), "{change}");
    }
}

#[test]
fn a_corrupt_image_is_named_wherever_it_is_met() {
    // Image 1 is calibrated on, image 2 is held out; a reference is read while artifacts are measured.
    for name in ["images/1.png", "images/2.png", "references/4.png"] {
        let folder = Folder::with_images();
        folder.truncate(name);
        let outcome = folder.fail("quantize recipe.yaml --out out", 4);
        outcome.assert_says(&[name, "damaged or cut short"]);
    }
}

#[test]
fn unknown_verbs_flags_and_values_are_usage_errors() {
    let folder = Folder::with_images();
    let cases = [
        ("quantise recipe.yaml", "'quantize'"),
        ("quantize recipe.yaml --ouut out", "'--out'"),
        ("quantize", "<RECIPE>"),
        ("quantize recipe.yaml --set tiling", "no `=`"),
        (
            "lint srvgg-x2.onnx --format xml",
            "human, json, sarif, github",
        ),
        (
            "convert srvgg-x2.onnx --to int7 -o new.onnx",
            "fp16, bf16, int8",
        ),
        (
            "convert srvgg-x2.onnx --to int8 -o new.onnx",
            "--calibration",
        ),
        (
            "convert srvgg-x2.onnx --to fp16 -o new.onnx --target cobol",
            "generic, ort-cpu",
        ),
        ("run srvgg-x2.onnx images/1.png -o new.png --tile 0", "0"),
        (
            "run srvgg-x2.onnx images/2.png -o new.png --tile 24",
            "the minimum is 25 px",
        ),
        ("explain H99", "H21"),
    ];
    for (line, said) in cases {
        let outcome = folder.fail(line, 2);
        assert!(outcome.stderr.contains(said), "{line}: {}", outcome.stderr);
    }
}
