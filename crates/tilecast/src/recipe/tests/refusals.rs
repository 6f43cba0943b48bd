//! Recipes with misspelt keys or a broken structure, and the words in which they are refused.

use miette::Diagnostic;

use super::{FULL, RecipeError, RecipeErrorKind, SMALLEST, check_refused, parse};

#[test]
fn the_full_recipe_is_valid() {
    parse(FULL, &[]).expect("valid");
}

#[test]
fn misspelt_keys_are_named_with_a_suggestion() {
    for (from, to, message, help) in [
        (
            "model: m",
            "modell: m",
            "2:1: unknown key `modell`",
            "did you mean `model`?",
        ),
        (
            "  holdout:",
            "  holdOut:",
            "6:3: unknown key `holdOut` in `calibration`",
            "did you mean `holdout`?",
        ),
        (
            "color: rgb",
            "colour: rgb",
            "8:29: unknown key `colour` in `preprocess`",
            "did you mean `color`?",
        ),
        (
            "- precision: int8",
            "- precison: int8",
            "14:5: unknown key `precison` in `artifacts.1`",
            "did you mean `precision`?",
        ),
        (
            "first_conv:",
            "first-conv:",
            "18:7: unknown key `first-conv` in `artifacts.1.pin`",
            "did you mean `first_conv`?",
        ),
        (
            "nodes: '/mid",
            "node: '/mid",
            "21:11: unknown key `node` in `artifacts.1.overrides.0`",
            "did you mean `nodes`?",
        ),
        (
            "min_psnr_db: 60",
            "min_psnr: 60",
            "13:13: unknown key `min_psnr` in `artifacts.0.gate`",
            "did you mean `min_psnr_db`?",
        ),
        (
            "validate_tile",
            "tile_validate",
            "25:3: unknown key `tile_validate` in `tiling`",
            "the keys here are `memory`, `mode`, `validate_tile`, `global_statistics` and `free_memory`",
        ),
        (
            "  deny:",
            "  denny:",
            "29:3: unknown key `denny` in `lint`",
            "did you mean `deny`?",
        ),
        (
            "lint:",
            "validate_tile: 64\nlint:",
            "27:1: unknown key `validate_tile`",
            "`validate_tile` is a key of `tiling`",
        ),
        (
            "    target: ort-cpu",
            "    min_psnr_db: 40",
            "15:5: unknown key `min_psnr_db` in `artifacts.1`",
            "`min_psnr_db` is a key of `artifacts.gate`",
        ),
        (
            "global_statistics: local",
            "global_statistics: { windows: 3 }",
            "26:24: unknown key `windows` in `tiling.global_statistics`",
            "did you mean `window`?",
        ),
    ] {
        check_refused(from, to, message, help);
    }
}

#[test]
fn broken_structure_is_refused() {
    for (text, message, help) in [
        ("", "recipes/x.yaml: the recipe is empty", "`artifacts`"),
        ("# nothing\n", "recipes/x.yaml: the recipe is empty", ""),
        (
            "- a\n",
            "recipes/x.yaml:1:1: the recipe: expected a map of keys, found a list of 1 element",
            "What to quantize",
        ),
        (
            "version: 1\nmodel: [a\nb: 2\n",
            "recipes/x.yaml:3:2: not valid YAML: illegal placement of ':' indicator",
            "",
        ),
        (
            "version: 1\nmodel: a\nmodel: b\n",
            "recipes/x.yaml:3:1: key `model` is given twice",
            "",
        ),
        (
            "version: 1\n---\nversion: 1\n",
            "recipes/x.yaml:3:1: more than one YAML document; a recipe is one",
            "",
        ),
        (
            "version: 1\ncalibration: { images: a }\nartifacts: []\n",
            "recipes/x.yaml:1:1: missing key `model`",
            "`model`: FP32 ONNX model to quantize",
        ),
        (
            "version: 1\nmodel: a\ncalibration:\n  range: minmax\nartifacts: []\n",
            "recipes/x.yaml:4:3: missing key `images` in `calibration`",
            "`images`: Folder of input images",
        ),
        (
            "version: 1\nmodel: a\ncalibration: { images: a }\nartifacts:\n  - target: generic\n",
            "recipes/x.yaml:5:5: missing key `precision` in `artifacts.0`",
            "`precision`: Precision of the artifact.",
        ),
        (
            "version: 1\nmodel: a\ncalibration: { images: a }\nartifacts: []\n",
            "recipes/x.yaml:4:12: `artifacts`: the list is empty; name at least one artifact",
            "",
        ),
    ] {
        let error = parse(text, &[]).expect_err(text);
        assert_eq!(error.to_string(), message);
        assert_eq!(error.kind(), RecipeErrorKind::Invalid);
        let actual = RecipeError::help(&error).unwrap_or("");
        assert!(actual.contains(help), "{actual}");
    }
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_accepted() {
    let text = format!("\u{feff}{}", SMALLEST.replace('\n', "\r\n"));
    parse(&text, &[]).expect("valid");
    let text = text.replace("precision", "precison");
    let error = parse(&text, &[]).expect_err("misspelt");
    assert!(
        error.to_string().starts_with("recipes/x.yaml:6:5: "),
        "{error}"
    );
}

#[test]
fn a_terminal_can_show_the_place() {
    // Characters of more than one byte before the place, so that an offset in characters would be off.
    let text = FULL
        .replace("m.onnx", "größe.onnx # ⅓")
        .replace("per_channel: true", "per_chanel: true");
    let error = parse(&text, &[]).expect_err("misspelt");
    let label = error
        .labels()
        .and_then(|mut labels| labels.next())
        .expect("a label");
    assert_eq!(
        &text[label.offset()..label.offset() + label.len()],
        "per_chanel"
    );

    let mut rendered = String::new();
    miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::none())
        .render_report(&mut rendered, &error)
        .expect("rendered");
    for fragment in [
        "unknown key `per_chanel` in `artifacts.1`",
        "per_chanel: true",
        "did you mean `per_channel`?",
        "recipes/x.yaml:16:5",
    ] {
        assert!(
            rendered.contains(fragment),
            "{fragment:?} is not in\n{rendered}"
        );
    }
}
