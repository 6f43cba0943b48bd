//! What a runtime must know of a model whose statistics of the whole image are swept.
//!
//! Such a model gives, beside its image, statistics of the tile it was fed, and takes statistics to compute with. A runtime
//! runs all tiles, merges the statistics of their cores, and runs all tiles again with the merged ones:
//!
//! 1. Feed 0 to [`SweepContract::switch`], anything finite to the statistic inputs, and the core of each tile to the weight
//!    maps. The model computes with the tile's own statistics.
//! 2. Merge each statistic over all tiles as its [`Merge`] says.
//! 3. Feed 1 to the switch and the merged statistics to the inputs; go on with 2.
//!
//! After `k` sweeps over all tiles, statistics of level `k` and below are those of the whole image up to the rounding of
//! sums, and with [`SweepContract::depth`]` + 1` sweeps so is the result. What is exact already should be kept and not merged
//! again.

use serde::{Deserialize, Serialize};

/// Inputs and outputs of a model with swept statistics, beside its image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepContract {
    /// Name of the graph input, float32 `[1]`: 0 for the statistics of the tile, 1 for those of the statistic inputs.
    pub switch: String,
    /// One map per resolution at which the model takes statistics.
    pub weights: Vec<WeightMap>,
    /// The statistics, in the order of the graph's outputs.
    pub statistics: Vec<SweptStatistic>,
    /// The highest level of a statistic; 0 for a model without any.
    pub depth: usize,
}

/// A graph input that tells the core of a tile, float32 `[1, 1, h, w]`: 0 outside of it and the same number everywhere inside,
/// such that the mean over the map is 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightMap {
    /// Name of the graph input.
    pub input: String,
    /// Rows and columns of the map …
    pub positions: [usize; 2],
    /// … for this many rows and columns of the tile.
    pub pixels: [usize; 2],
}

/// A statistic of the whole image: a graph output for that of a tile, and a graph input for that of the image. Both are float32
/// and of the same shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweptStatistic {
    /// Path of the node that takes it.
    pub node: String,
    /// Name of the graph input.
    pub input: String,
    /// Name of the graph output.
    pub output: String,
    /// Shape of both.
    pub dims: Vec<usize>,
    /// How those of tiles become that of the image.
    pub merge: Merge,
    /// 1 for a statistic of values that no other statistic reaches, otherwise one more than the highest that does.
    pub level: usize,
}

/// How the statistics of tiles become that of the image, element by element. A tile counts as much as its core has pixels, where
/// the core of a tile at the end of a padded image takes the padding in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Merge {
    /// A mean over positions: the weighted mean.
    Mean,
    /// A sum over positions, as if the whole tile were like its core: the weighted mean, times the pixels of the padded image
    /// over those of a tile.
    Sum,
    /// The root of such a sum of squares: the root of what [`Merge::Sum`] makes of the squares.
    Norm,
    /// The greatest.
    Maximum,
    /// The least.
    Minimum,
    /// A variance: the weighted mean of the variances plus the weighted variance of the means (Chan et al., *Updating formulae
    /// and a pairwise algorithm for computing sample variances*, 1979).
    Variance {
        /// Position of the means' statistic.
        mean: usize,
    },
}
