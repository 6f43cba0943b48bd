//! `--set key=value`.

use super::{
    LoadedRecipe, PinPrecision, RangeMethod, Recipe, SMALLEST, TargetName, parse, repository_file,
};

fn sample(overrides: &[&str]) -> Result<Recipe, String> {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    LoadedRecipe::load(&repository_file("recipes/nafnet.yaml"), &overrides)
        .map(|loaded| loaded.recipe)
        .map_err(|error| format!("{error} | {}", error.help().unwrap_or("")))
}

#[test]
fn values_are_replaced() {
    let recipe = sample(&[
        "tiling.validate_tile=448",
        "calibration.range=minmax",
        "artifacts.0.gate.min_psnr_db=99",
        "artifacts.int8-ort-cpu.gate={min_psnr_db: 40, min_ssim: 0.9}",
        "artifacts.1.pin.norms=fp32",
        "artifacts.1.overrides=[{nodes: \"/mid/*\", precision: fp32}]",
        "artifacts.1.name=small",
        "artifacts.small.per_channel=false",
        "lint.allow=[H21, P04]",
        "lint.fix=[h16]",
        "artifacts.small.shape=640x480",
        "tiling.global_statistics={window: 64}",
        " tiling.memory = 3GiB",
    ])
    .expect("valid");
    assert_eq!(recipe.tiling.validate_tile, 448);
    assert_eq!(recipe.tiling.memory.bytes(), 3 << 30);
    assert_eq!(recipe.calibration.range, RangeMethod::Minmax);
    assert_eq!(recipe.artifacts[0].gate.min_psnr_db, Some(99.0));
    assert_eq!(recipe.artifacts[1].pin.norms, PinPrecision::Fp32);
    assert_eq!(recipe.artifacts[1].pin.first_conv, PinPrecision::Fp16);
    assert_eq!(recipe.artifacts[1].overrides[0].nodes, "/mid/*");
    assert_eq!(recipe.artifacts[1].effective_name(), "small");
    assert!(!recipe.artifacts[1].per_channel);
    assert_eq!(recipe.artifacts[2].gate.min_psnr_db, Some(40.0));
    assert_eq!(recipe.artifacts[2].gate.max_drop_db, None);
    assert_eq!(recipe.lint.allow, ["H21", "P04"]);
    assert_eq!(recipe.lint.fix, ["h16"]);
    let shape = recipe.artifacts[1].shape.expect("given");
    assert_eq!((shape.width, shape.height), (640, 480));
    assert_eq!(recipe.tiling.global_statistics.to_string(), "{window: 64}");
}

#[test]
fn artifacts_go_by_their_default_names() {
    let recipe = sample(&[
        "artifacts.fp16-generic.gate.min_psnr_db=50",
        "artifacts.int8-generic.gate.max_drop_db=1",
    ])
    .expect("valid");
    assert_eq!(recipe.artifacts[0].gate.min_psnr_db, Some(50.0));
    assert_eq!(recipe.artifacts[1].gate.max_drop_db, Some(1.0));
}

#[test]
fn sections_that_are_absent_or_empty_are_created() {
    let with_empty_gate = format!("{SMALLEST}    gate:\n");
    for text in [SMALLEST, &with_empty_gate] {
        let recipe = parse(
            text,
            &[
                "artifacts.fp16-generic.gate.min_ssim=0.5",
                "tiling.validate_tile=64",
            ],
        )
        .expect("valid")
        .recipe;
        assert_eq!(recipe.artifacts[0].gate.min_ssim, Some(0.5));
        assert_eq!(recipe.tiling.validate_tile, 64);
    }
}

#[test]
fn an_empty_value_removes_an_optional_key() {
    let recipe = sample(&[
        "artifacts.1.gate.max_drop_db=",
        "artifacts.2.gate.max_drop_db=null",
        "calibration.references=",
    ])
    .expect("valid");
    assert_eq!(recipe.calibration.references, None);
    assert_eq!(recipe.artifacts[1].gate.max_drop_db, None);
    assert_eq!(recipe.artifacts[1].target, TargetName::Generic);
}

#[test]
fn refusals_name_the_argument() {
    for (argument, message) in [
        (
            "tiling.validate_tiles=64",
            "unknown key `validate_tiles` in `tiling` | did you mean `validate_tile`?",
        ),
        (
            "tilling.mode=exact",
            "unknown key `tilling` | did you mean `tiling`?",
        ),
        (
            "artifacts.fp16-generic.gate.min_psnr=1",
            "unknown key `min_psnr` in `artifacts.0.gate` | did you mean `min_psnr_db`?",
        ),
        (
            "artifacts.int8.gate.min_psnr_db=1",
            "no artifact `int8` | did you mean `int8-generic`?",
        ),
        (
            "artifacts.7.gate.min_psnr_db=1",
            "no artifact `7` | the artifacts are `fp16-generic`, `int8-generic` and `int8-ort-cpu`, or by index 0 to 2",
        ),
        (
            "preprocess.range.2=1",
            "`preprocess.range` has no element `2` | it has 2 elements, counted from 0",
        ),
        (
            "tiling.validate_tile=big",
            "`tiling.validate_tile`: expected a whole number from 0 to 4294967295, found `big` | Side of the tile",
        ),
        (
            "tiling.validate_tile=8",
            "`tiling.validate_tile`: 8 is too small; use 16 or more | Side of the tile",
        ),
        (
            "artifacts.fp16-generic.gate.max_worst_drop_db=-1",
            "`artifacts.0.gate.max_worst_drop_db`: -1 is not 0 or more | Largest loss of PSNR",
        ),
        (
            "tiling.mode=measured",
            "`mode: measured` is not built yet; use exact | ",
        ),
        (
            "model=",
            "`model`: expected a path, found nothing | put the value in quotes",
        ),
        ("model", "no `=` between key and value | write for example"),
        ("=1", "not a key of a recipe | write names with dots"),
        (
            "tiling..mode=exact",
            "not a key of a recipe | write names with dots",
        ),
        ("tiling.mode=[exact", "not valid YAML: "),
    ] {
        let error = sample(&[argument]).expect_err(argument);
        let expected = format!("--set {argument}: {message}");
        assert!(error.starts_with(&expected), "{error}\nis not\n{expected}");
    }
    let error = parse(SMALLEST, &["artifacts.0.gate.max_worst_drop_db=1"]).expect_err("no truth");
    assert!(
        error
            .to_string()
            .ends_with("give its folder in `calibration.references`"),
        "{error}"
    );
    let deep = format!("{}=1", vec!["a"; 100_000].join("."));
    assert!(
        sample(&[&deep])
            .expect_err("too deep")
            .contains("not a key of a recipe")
    );
}

#[test]
fn overrides_apply_in_order_and_each_is_named() {
    let recipe = sample(&["tiling.validate_tile=64", "tiling.validate_tile=128"]).expect("valid");
    assert_eq!(recipe.tiling.validate_tile, 128);
    let error = sample(&["tiling.validate_tile=64", "tiling.mode=exactly"]).expect_err("no mode");
    assert!(
        error.starts_with("--set tiling.mode=exactly: `tiling.mode`: unknown value `exactly`"),
        "{error}"
    );
}
