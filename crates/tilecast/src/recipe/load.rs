//! From a file, with `--set` arguments, to a checked [`Recipe`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::Sources;
use super::set;
use super::tree::{Node, Value};
use super::validate::validate;
use super::{Recipe, RecipeError};

/// A larger file is no recipe, but perhaps a model given in its place.
const MAX_RECIPE_BYTES: u64 = 1 << 20;

/// A recipe that was read and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedRecipe {
    /// Name of the recipe file without its extension; outputs go to a folder of this name.
    pub name: String,
    /// What it says, with every path resolved against [`Self::folder`].
    pub recipe: Recipe,
    /// Folder of the recipe file, `.` for the current one.
    pub folder: PathBuf,
    /// The file as it was read, without a byte order mark and without the `--set` arguments.
    pub text: String,
    /// The `--set` arguments, as typed.
    pub overrides: Vec<String>,
}

impl LoadedRecipe {
    /// Reads and checks the recipe file at `path`, changed by `overrides` (`key=value` each, as typed after `--set`).
    ///
    /// A key is a dotted path such as `tiling.validate_tile`; artifacts go by index or name (`artifacts.0.gate.min_psnr_db`,
    /// `artifacts.fp16-generic.gate.min_psnr_db`). A value is YAML. Overrides apply in order; paths in them are relative to the
    /// recipe file, as all others.
    ///
    /// # Errors
    /// The file is missing or unreadable ([`RecipeErrorKind::Missing`](super::RecipeErrorKind)), or the recipe or an
    /// override is not accepted: not YAML, unknown or missing keys, values of the wrong type, out of range or not built
    /// yet.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        let unreadable = |cause: io::Error| RecipeError::unreadable(path, &cause);
        let size_bytes = fs::metadata(path).map_err(unreadable)?.len();
        if size_bytes > MAX_RECIPE_BYTES {
            return Err(RecipeError::no_recipe(
                path,
                &format!("{size_bytes} bytes are too many for a recipe"),
                "give the recipe file here; the model goes into its key `model`",
            ));
        }
        let bytes = fs::read(path).map_err(unreadable)?;
        let text = String::from_utf8(bytes).map_err(|_| {
            RecipeError::no_recipe(
                path,
                "the recipe is not UTF-8 text",
                "save it as UTF-8, and check that it is the recipe and not the model",
            )
        })?;
        Self::from_text(path, &text, overrides)
    }

    /// Checks `text` as if it had been read from the file at `path`.
    ///
    /// # Errors
    /// As [`Self::load`], apart from those of reading the file.
    pub fn from_text(path: &Path, text: &str, overrides: &[String]) -> Result<Self, RecipeError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let sources = Sources {
            path,
            text,
            overrides,
        };
        let invalid = |problem| RecipeError::invalid(problem, sources);

        let mut tree = Node::parse(text).map_err(invalid)?;
        if tree.value == Value::Null {
            return Err(RecipeError::no_recipe(
                path,
                "the recipe is empty",
                "it needs at least the keys `version`, `model`, `calibration` and `artifacts`",
            ));
        }
        for (idx, argument) in overrides.iter().enumerate() {
            set::apply(&mut tree, idx, argument).map_err(invalid)?;
        }
        let mut recipe = Recipe::deserialize(&tree).map_err(|error| invalid(error.into()))?;
        validate(&recipe, &tree).map_err(invalid)?;

        let folder = path.parent().unwrap_or(Path::new(""));
        resolve(&mut recipe, folder);
        Ok(Self {
            name: path.file_stem().map_or_else(
                || "recipe".to_owned(),
                |stem| stem.to_string_lossy().into_owned(),
            ),
            recipe,
            folder: if folder.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                folder.to_owned()
            },
            text: text.to_owned(),
            overrides: overrides.to_vec(),
        })
    }
}

/// Makes every path of `recipe` relative to what `folder` is relative to.
fn resolve(recipe: &mut Recipe, folder: &Path) {
    let calibration = &mut recipe.calibration;
    recipe.model = folder.join(&recipe.model);
    calibration.images = folder.join(&calibration.images);
    calibration.references = calibration
        .references
        .as_ref()
        .map(|references| folder.join(references));
}
