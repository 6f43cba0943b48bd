//! Tests of the recipe as its writer sees it: what loads, what is refused, and in which words.

mod overrides;
mod refusals;
mod robustness;
mod values;

use std::path::{Path, PathBuf};

use super::{
    Artifact, ArtifactPrecision, ByteSize, GlobalStatistics, LoadedRecipe, PinPrecision,
    Preprocess, RangeMethod, Recipe, RecipeError, RecipeErrorKind, TargetName, TileMode,
    json_schema,
};

/// A recipe with every optional section left out.
const SMALLEST: &str = "\
version: 1
model: m.onnx
calibration:
  images: images
artifacts:
  - precision: fp16
";

/// A recipe with every section, to be spoilt by replacing one piece of text.
const FULL: &str = "\
version: 1
model: m.onnx
calibration:
  images: noisy
  references: clean
  holdout: 0.25
  range: minmax
preprocess: { layout: nchw, color: rgb, range: [0, 1] }
artifacts:
  - precision: fp16
    name: small
    keep_io_types: true
    gate: { min_psnr_db: 60, max_drop_db: 0.1, min_ssim: 0.99 }
  - precision: int8
    target: ort-cpu
    per_channel: true
    pin:
      first_conv: fp16
      norms: fp32
    overrides:
      - { nodes: '/mid/*', precision: fp32 }
tiling:
  memory: 1GiB
  mode: exact
  validate_tile: 128
  global_statistics: local
lint:
  allow: [H21]
  deny: [P04]
";

/// Requires that [`FULL`] with `from` replaced by `to` is refused with `message` (which starts with line and column) and
/// a help that contains `help`.
#[track_caller]
fn check_refused(from: &str, to: &str, message: &str, help: &str) {
    assert_eq!(FULL.matches(from).count(), 1, "{from:?} must be unique");
    let text = FULL.replace(from, to);
    let error = parse(&text, &[]).expect_err(&format!("{to:?} was accepted"));
    assert_eq!(error.kind(), RecipeErrorKind::Invalid);
    assert_eq!(error.to_string(), format!("recipes/x.yaml:{message}"));
    let actual = error.help().unwrap_or("");
    assert!(actual.contains(help), "help for {to:?} is {actual:?}");
    assert!(!error.to_string().contains('\n'));
}

fn parse(text: &str, overrides: &[&str]) -> Result<LoadedRecipe, RecipeError> {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    LoadedRecipe::from_text(Path::new("recipes/x.yaml"), text, &overrides)
}

fn repository_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

#[test]
fn sample_recipe_loads() {
    let path = repository_file("recipes/nafnet.yaml");
    let loaded = LoadedRecipe::load(&path, &[]).expect("the sample recipe is valid");
    assert_eq!(loaded.name, "nafnet");
    assert_eq!(loaded.folder, path.parent().expect("a folder"));
    assert!(loaded.text.starts_with("# yaml-language-server"));

    let recipe = &loaded.recipe;
    for file in [
        Some(&recipe.model),
        Some(&recipe.calibration.images),
        recipe.calibration.references.as_ref(),
    ] {
        let file = file.expect("given");
        assert!(file.exists(), "{} is missing", file.display());
    }
    assert_eq!(recipe.calibration.range, RangeMethod::Percentile);
    let names: Vec<String> = recipe
        .artifacts
        .iter()
        .map(Artifact::effective_name)
        .collect();
    assert_eq!(names, ["fp16-generic", "int8-generic", "int8-ort-cpu"]);
    assert_eq!(recipe.artifacts[0].gate.min_psnr_db, Some(60.0));
    assert_eq!(recipe.artifacts[0].gate.max_drop_db, None);
    for artifact in &recipe.artifacts[1..] {
        assert_eq!(artifact.precision, ArtifactPrecision::Int8);
        assert_eq!(artifact.gate.min_psnr_db, Some(46.0));
        assert_eq!(artifact.gate.max_drop_db, Some(0.15));
        assert_eq!(artifact.pin.norms, PinPrecision::Fp16);
    }
    assert_eq!(recipe.artifacts[2].target, TargetName::OrtCpu);
}

#[test]
fn optional_keys_have_their_documented_defaults() {
    let loaded = parse(SMALLEST, &[]).expect("valid");
    let recipe = loaded.recipe;
    assert_eq!(recipe.calibration.references, None);
    assert!((recipe.calibration.holdout - 0.25).abs() < f64::EPSILON);
    assert_eq!(recipe.calibration.range, RangeMethod::Percentile);
    assert_eq!(recipe.preprocess, Preprocess::default());
    let artifact = &recipe.artifacts[0];
    assert_eq!(artifact.target, TargetName::Generic);
    assert!(artifact.per_channel && artifact.keep_io_types && artifact.gate.is_empty());
    assert_eq!(recipe.tiling.memory.bytes(), 2 << 30);
    assert_eq!(recipe.tiling.mode, TileMode::Exact);
    assert_eq!(recipe.tiling.validate_tile, 256);
    assert_eq!(recipe.tiling.global_statistics, GlobalStatistics::Local);
    assert!(recipe.lint.allow.is_empty() && recipe.lint.deny.is_empty());
}

#[test]
fn paths_are_relative_to_the_recipe_file() {
    let loaded = parse(SMALLEST, &[]).expect("valid");
    assert_eq!(loaded.folder, Path::new("recipes"));
    assert_eq!(loaded.recipe.model, Path::new("recipes/m.onnx"));
    assert_eq!(
        loaded.recipe.calibration.images,
        Path::new("recipes/images")
    );

    let here = LoadedRecipe::from_text(Path::new("x.yaml"), SMALLEST, &[]).expect("valid");
    assert_eq!(here.folder, Path::new("."));
    assert_eq!(here.recipe.model, Path::new("m.onnx"));
}

#[test]
fn a_recipe_reads_back_as_it_prints() {
    let loaded = parse(
        SMALLEST,
        &[
            "tiling.memory=1.5GB",
            "artifacts.0.overrides=[{nodes: '/a/*', precision: fp32}]",
        ],
    )
    .expect("valid");
    let printed = serde_json::to_string(&loaded.recipe).expect("printable");
    let path = Path::new("x.yaml");
    let again = LoadedRecipe::from_text(path, &printed, &[]).expect("JSON is YAML");
    assert_eq!(again.recipe, loaded.recipe);
    assert_eq!(
        again.recipe.tiling.memory,
        "1.5GB".parse::<ByteSize>().expect("a size")
    );
}

#[test]
fn missing_files_and_wrong_files_are_told_apart() {
    let missing = LoadedRecipe::load(Path::new("no/such/recipe.yaml"), &[]).expect_err("missing");
    assert_eq!(missing.kind(), RecipeErrorKind::Missing);
    let text = missing.to_string();
    assert!(
        text.starts_with("no/such/recipe.yaml: recipe cannot be read"),
        "{text}"
    );

    let folder = LoadedRecipe::load(&repository_file("recipes"), &[]).expect_err("a folder");
    assert_eq!(folder.kind(), RecipeErrorKind::Missing);

    let model = repository_file("models/nafnet-denoise.onnx");
    let model = LoadedRecipe::load(&model, &[]).expect_err("a model is no recipe");
    assert_eq!(model.kind(), RecipeErrorKind::Invalid);
    assert!(
        model.to_string().contains("too many for a recipe"),
        "{model}"
    );

    let image = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(image.path(), b"\x89PNG\r\n\x1a\n").expect("written");
    let image = LoadedRecipe::load(image.path(), &[]).expect_err("an image is no recipe");
    assert_eq!(image.kind(), RecipeErrorKind::Invalid);
    assert!(image.to_string().contains("not UTF-8"), "{image}");
}

#[test]
fn schema_file_is_up_to_date() {
    let path = repository_file("docs/recipe.schema.json");
    let on_disk = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        on_disk == json_schema(),
        "docs/recipe.schema.json does not match the types; regenerate it with `cargo xtask gen`"
    );
}

#[test]
fn schema_describes_every_key() {
    fn walk(node: &serde_json::Value, path: &str) {
        if let Some(properties) = node.get("properties").and_then(|p| p.as_object()) {
            for (key, property) in properties {
                assert!(property.get("description").is_some(), "{path}.{key}");
                walk(property, &format!("{path}.{key}"));
            }
        }
        if let Some(items) = node.get("items") {
            walk(items, path);
        }
    }
    let schema: serde_json::Value = serde_json::from_str(&json_schema()).expect("JSON");
    assert!(schema["properties"]["artifacts"]["items"]["properties"]["gate"].is_object());
    walk(&schema, "recipe");
}
