//! The recipe: one YAML file that says what to quantize, on which images, and what quality must be left.
//!
//! Reading order: `types` (the keys) with `words`, `size`, `shape` and `statistics` (their values) → `load` (file to
//! [`LoadedRecipe`]) → `tree` and `deserialize` (YAML with the place of every value kept) → `set` (`--set key=value`) →
//! `validate` and `built` (what may be asked for) → `error` and `suggest` (how a refusal reads) → `schema`.
//!
//! Every value, from the file or from `--set`, travels through the same tree, so that every refusal can say where the
//! value came from. This module reads the recipe file and nothing else: whether the model and the images exist is found
//! out by whoever opens them.

mod built;
mod deserialize;
mod error;
mod load;
mod schema;
mod set;
mod shape;
mod size;
mod statistics;
mod suggest;
mod tree;
mod types;
mod validate;
mod words;

#[cfg(test)]
mod tests;

pub use error::{RecipeError, RecipeErrorKind};
pub use load::LoadedRecipe;
pub use schema::json_schema;
pub use shape::{ImageShape, ParseImageShapeError};
pub use size::{ByteSize, ParseByteSizeError};
pub use statistics::{GlobalStatistics, Sweeps};
pub use types::{
    Artifact, Calibration, FreeMemory, Gate, Lint, NodeOverride, Pin, Preprocess, Recipe, Tiling,
};
pub use words::{
    ArtifactPrecision, Color, Layout, OverridePrecision, PinPrecision, RangeMethod, TargetName,
    TileMode,
};
