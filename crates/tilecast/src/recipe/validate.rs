//! Checks of values that the types alone do not make: ranges, names, and keys that need each other.

use std::collections::BTreeMap;

use tilecast_passes::MITIGATIONS;

use super::built::refuse_unbuilt;
use super::error::Problem;
use super::suggest;
use super::tree::{Node, shortened};
use super::{Artifact, Gate, Recipe};

/// The version of the recipe format that this module reads.
const VERSION: u32 = 1;

/// Side of the smallest tile that artifacts can be checked with, in pixels: SSIM needs a window of 11, and a network
/// halves its input a few times.
const MIN_VALIDATE_TILE_PX: u32 = 16;

/// Checks `recipe`; `tree` is what it was made from and tells where its values were written.
pub(super) fn validate(recipe: &Recipe, tree: &Node) -> Result<(), Problem> {
    let refuse = |path: &str, message: String| Err(problem(tree, path, message));

    if recipe.version != VERSION {
        let message = format!(
            "recipe version {} is not known; this version of tilecast reads version {VERSION}",
            recipe.version
        );
        return refuse("version", message);
    }
    for (path, file) in [
        ("model", Some(&recipe.model)),
        ("calibration.images", Some(&recipe.calibration.images)),
        (
            "calibration.references",
            recipe.calibration.references.as_ref(),
        ),
    ] {
        if file.is_some_and(|file| file.as_os_str().is_empty()) {
            return refuse(path, format!("`{path}`: the path is empty"));
        }
    }
    let holdout = recipe.calibration.holdout;
    if !(holdout > 0.0 && holdout < 1.0) {
        let message = format!("`calibration.holdout`: {holdout} is not between 0 and 1");
        return refuse("calibration.holdout", message);
    }
    let [black, white] = recipe.preprocess.range;
    if !(black.is_finite() && white.is_finite() && black < white) {
        let message = format!("`preprocess.range`: [{black}, {white}] is not ascending");
        return refuse("preprocess.range", message);
    }
    let (mean, std) = (recipe.preprocess.mean, recipe.preprocess.std);
    if mean.is_some_and(|mean| mean.iter().any(|m| !(*m as f32).is_finite())) {
        let message = "`preprocess.mean`: a mean is not finite".to_owned();
        return refuse("preprocess.mean", message);
    }
    let is_std = |s: &f64| *s as f32 > 0.0 && (*s as f32).is_finite();
    if std.is_some_and(|std| !std.iter().all(is_std)) {
        let message = "`preprocess.std`: a standard deviation is not above 0".to_owned();
        return refuse("preprocess.std", message);
    }
    if recipe.preprocess.normalized_output && mean.is_none() && std.is_none() {
        let message = "`preprocess.normalized_output` needs `mean` or `std`".to_owned();
        return refuse("preprocess.normalized_output", message);
    }
    for (name, value) in &recipe.preprocess.inputs {
        if !(*value as f32).is_finite() {
            let path = format!("preprocess.inputs.{name}");
            return refuse(&path, format!("`{path}`: {value} is no value for an input"));
        }
    }
    let tile_px = recipe.tiling.validate_tile;
    if tile_px < MIN_VALIDATE_TILE_PX {
        let message = format!(
            "`tiling.validate_tile`: {tile_px} is too small; use {MIN_VALIDATE_TILE_PX} or more"
        );
        return refuse("tiling.validate_tile", message);
    }
    let free = recipe.tiling.free_memory;
    for (key, size, next, smaller) in [
        ("whole", free.whole, "side_512", free.side_512),
        ("side_512", free.side_512, "side_256", free.side_256),
    ] {
        if size < smaller {
            let path = format!("tiling.free_memory.{key}");
            let message = format!("`{path}` is less than `{next}`; larger tiles need more memory");
            return refuse(&path, message);
        }
    }
    check_artifacts(recipe, tree)?;
    check_lint(recipe, tree)?;
    refuse_unbuilt(recipe, tree)
}

fn check_artifacts(recipe: &Recipe, tree: &Node) -> Result<(), Problem> {
    if recipe.artifacts.is_empty() {
        let message = "`artifacts`: the list is empty; name at least one artifact".to_owned();
        return Err(problem(tree, "artifacts", message));
    }
    // Names become file names, and some file systems do not tell `A` from `a`.
    let mut index_by_name = BTreeMap::new();
    for (idx, artifact) in recipe.artifacts.iter().enumerate() {
        check_name(artifact, idx, tree)?;
        let name = artifact.effective_name();
        if let Some(first) = index_by_name.insert(name.to_ascii_lowercase(), idx) {
            let message = format!(
                "`artifacts.{idx}`: `{name}` is also the name of `artifacts.{first}`; give one of them another `name`"
            );
            let key = if artifact.name.is_some() { ".name" } else { "" };
            return Err(problem(tree, &format!("artifacts.{idx}{key}"), message));
        }
        for (pattern_idx, node_override) in artifact.overrides.iter().enumerate() {
            if node_override.nodes.is_empty() {
                let path = format!("artifacts.{idx}.overrides.{pattern_idx}.nodes");
                let message = format!("`{path}`: the pattern is empty and matches nothing");
                return Err(problem(tree, &path, message));
            }
        }
        check_gate(&artifact.gate, idx, recipe, tree)?;
    }
    Ok(())
}

fn check_name(artifact: &Artifact, idx: usize, tree: &Node) -> Result<(), Problem> {
    const MAX_BYTES: usize = 64;
    let Some(name) = &artifact.name else {
        return Ok(());
    };
    let is_safe = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    // A number would be an index in `--set artifacts.0.…`.
    let has_letter = name.bytes().any(|byte| byte.is_ascii_alphabetic());
    if is_safe && has_letter && name.len() <= MAX_BYTES {
        return Ok(());
    }
    let path = format!("artifacts.{idx}.name");
    let message = format!(
        "`{path}`: `{}` is no name for a file; use up to {MAX_BYTES} letters, digits, `-` and `_`, with at least one letter",
        shortened(name)
    );
    Err(problem(tree, &path, message))
}

fn check_gate(gate: &Gate, idx: usize, recipe: &Recipe, tree: &Node) -> Result<(), Problem> {
    let limits = [
        ("min_psnr_db", gate.min_psnr_db, f64::INFINITY),
        ("min_worst_psnr_db", gate.min_worst_psnr_db, f64::INFINITY),
        ("max_drop_db", gate.max_drop_db, f64::INFINITY),
        ("max_worst_drop_db", gate.max_worst_drop_db, f64::INFINITY),
        ("min_ssim", gate.min_ssim, 1.0),
    ];
    for (key, value, largest) in limits {
        let Some(value) = value else { continue };
        if value.is_finite() && (0.0..=largest).contains(&value) {
            continue;
        }
        let path = format!("artifacts.{idx}.gate.{key}");
        let allowed = if largest.is_finite() {
            format!("between 0 and {largest}")
        } else {
            "0 or more".to_owned()
        };
        let message = format!("`{path}`: {value} is not {allowed}");
        return Err(problem(tree, &path, message));
    }
    for (key, value) in [
        ("max_drop_db", gate.max_drop_db),
        ("max_worst_drop_db", gate.max_worst_drop_db),
    ] {
        if value.is_some() && recipe.calibration.references.is_none() {
            let path = format!("artifacts.{idx}.gate.{key}");
            let message = format!(
                "`{path}`: a drop is measured against ground truth; give its folder in `calibration.references`"
            );
            return Err(problem(tree, &path, message));
        }
    }
    Ok(())
}

fn check_lint(recipe: &Recipe, tree: &Node) -> Result<(), Problem> {
    let lint = &recipe.lint;
    for (key, codes) in [
        ("allow", &lint.allow),
        ("deny", &lint.deny),
        ("fix", &lint.fix),
    ] {
        for (idx, code) in codes.iter().enumerate() {
            check_code(code, &format!("lint.{key}.{idx}"), tree)?;
        }
    }
    for (idx, code) in lint.fix.iter().enumerate() {
        if MITIGATIONS
            .iter()
            .all(|m| !m.code.eq_ignore_ascii_case(code))
        {
            let path = format!("lint.fix.{idx}");
            let message = format!(
                "`{path}`: no pass repairs what rule `{}` finds",
                shortened(code)
            );
            let known: Vec<&str> = MITIGATIONS.iter().map(|m| m.code).collect();
            return Err(Problem {
                help: Some(format!(
                    "those that have one are {}",
                    suggest::listed(&known)
                )),
                ..problem(tree, &path, message)
            });
        }
    }
    for (idx, code) in recipe.lint.deny.iter().enumerate() {
        let is_same = |allowed: &String| allowed.eq_ignore_ascii_case(code);
        if recipe.lint.allow.iter().any(is_same) {
            let path = format!("lint.deny.{idx}");
            let message = format!(
                "`{path}`: `{}` is also in `lint.allow`; keep one of them",
                shortened(code)
            );
            return Err(problem(tree, &path, message));
        }
    }
    Ok(())
}

fn check_code(code: &str, path: &str, tree: &Node) -> Result<(), Problem> {
    let codes: Vec<&str> = tilecast_analysis::rules().map(|rule| rule.code).collect();
    if codes.iter().any(|known| known.eq_ignore_ascii_case(code)) {
        return Ok(());
    }
    let message = format!("`{path}`: no rule has the code `{}`", shortened(code));
    let help = match suggest::closest(code, &codes) {
        Some(meant) => {
            format!("did you mean `{meant}`? `tilecast explain {meant}` says what it is")
        }
        None => {
            "the codes are in docs/generated/rules.md; `tilecast explain CODE` shows one".to_owned()
        }
    };
    Err(Problem {
        help: Some(help),
        ..problem(tree, path, message)
    })
}

fn problem(tree: &Node, path: &str, message: String) -> Problem {
    let segments: Vec<String> = path.split('.').map(str::to_owned).collect();
    Problem {
        origin: Some(tree.origin_of(path)),
        message,
        label: "not accepted".to_owned(),
        help: suggest::description(&segments),
    }
}
