//! What this version can do, out of everything that a recipe may ask for. The one place to edit when more is built.

use std::fmt;

use super::error::Problem;
use super::tree::Node;
use super::{ArtifactPrecision, Layout, Recipe, TileMode};

const LAYOUTS: &[Layout] = &[Layout::Nchw, Layout::Nhwc];
const PRECISIONS: &[ArtifactPrecision] = &[
    ArtifactPrecision::Fp16,
    ArtifactPrecision::Bf16,
    ArtifactPrecision::Int8,
    ArtifactPrecision::Int8Dynamic,
];
const TILE_MODES: &[TileMode] = &[TileMode::Exact];

/// Refuses by name what is not built yet. `tree` is what `recipe` was made from.
pub(super) fn refuse_unbuilt(recipe: &Recipe, tree: &Node) -> Result<(), Problem> {
    let Recipe {
        preprocess, tiling, ..
    } = recipe;
    check(tree, "preprocess.layout", &preprocess.layout, LAYOUTS)?;
    for (idx, artifact) in recipe.artifacts.iter().enumerate() {
        let path = |key: &str| format!("artifacts.{idx}.{key}");
        check(tree, &path("precision"), &artifact.precision, PRECISIONS)?;
    }
    check(tree, "tiling.mode", &tiling.mode, TILE_MODES)
}

fn check<T: PartialEq + fmt::Display>(
    tree: &Node,
    path: &str,
    value: &T,
    built: &[T],
) -> Result<(), Problem> {
    if built.contains(value) {
        return Ok(());
    }
    let key = path.rsplit('.').next().unwrap_or(path);
    let alternatives: Vec<String> = built.iter().map(T::to_string).collect();
    let message = format!(
        "`{key}: {value}` is not built yet; use {}",
        alternatives.join(" or ")
    );
    Err(not_built(tree, path, message))
}

fn not_built(tree: &Node, path: &str, message: String) -> Problem {
    Problem {
        origin: Some(tree.origin_of(path)),
        message,
        label: "not built yet".to_owned(),
        help: None,
    }
}
