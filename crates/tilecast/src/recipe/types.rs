//! The keys of a recipe. Comments on the fields are the descriptions of the JSON schema and the help of error messages.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ArtifactPrecision, ByteSize, Color, GlobalStatistics, ImageShape, Layout, OverridePrecision,
    PinPrecision, RangeMethod, TargetName, TileMode,
};

/// What to quantize, on which images, for which targets, and what quality must be left.
///
/// Paths are relative to the recipe file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Version of the recipe format: 1.
    #[schemars(extend("const" = 1))]
    pub version: u32,
    /// FP32 ONNX model to quantize, a path relative to the recipe file.
    pub model: PathBuf,
    /// Images that ranges are taken from and artifacts are checked on.
    pub calibration: Calibration,
    /// How pixels become the model's input. Default: RGB in `[0, 1]`, axes `[N, C, H, W]`.
    #[serde(default)]
    pub preprocess: Preprocess,
    /// Models to write, at least one.
    #[schemars(length(min = 1))]
    pub artifacts: Vec<Artifact>,
    /// How artifacts are run in tiles when they are checked.
    #[serde(default)]
    pub tiling: Tiling,
    /// Which findings of the lint stop the run. Default: those of level error.
    #[serde(default)]
    pub lint: Lint,
}

/// Images that ranges are taken from and artifacts are checked on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Folder of input images (PNG, JPEG, TIFF or WebP, any sizes), a path relative to the recipe file.
    pub images: PathBuf,
    /// Folder of ground truth with the same file names as `images`, a path relative to the recipe file. Optional: with
    /// it, quality is also reported against the truth.
    #[serde(default)]
    pub references: Option<PathBuf>,
    /// Share of the images that is kept from calibration and used only to check artifacts. Between 0 and 1, both
    /// excluded. Default: 0.25.
    #[serde(default = "default_holdout")]
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub holdout: f64,
    /// How the range of an activation is chosen. Default: `percentile`.
    #[serde(default = "default_range")]
    pub range: RangeMethod,
}

/// How pixels become the model's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Preprocess {
    /// Order of the axes. Default: `nchw`.
    pub layout: Layout,
    /// Order of the color channels, at the input and at the output. Default: `rgb`.
    pub color: Color,
    /// Values of black and white in the model's input, ascending. Default: `[0, 1]`.
    pub range: [f64; 2],
    /// Mean per channel in the order of `color` and in units of `range`: the model gets `(x - mean) / std`, where `x` is scaled
    /// to `range`. Default: 0.
    pub mean: Option<[f64; 3]>,
    /// Standard deviation per channel, in the same order and units, above 0. Default: 1.
    pub std: Option<[f64; 3]>,
    /// Whether the model's output is normalized too, so that `y * std + mean` is in `range`. Default: false, the output is in
    /// `range` as it is.
    pub normalized_output: bool,
    /// Values of the model's inputs beside the image, by name: a number is given as it is, a map of the image's size has
    /// it at every position. For example `{ sigma: 0.1 }`. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, f64>,
}

/// One model to write. Its file is `<model>-<name>.onnx`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Name in the file name, the report and `--set`: letters, digits, `-` and `_`, with at least one letter. Default:
    /// `<precision>-<target>`.
    #[serde(default)]
    #[schemars(extend("pattern" = "^[0-9_-]*[A-Za-z][A-Za-z0-9_-]*$"))]
    pub name: Option<String>,
    /// Precision of the artifact.
    pub precision: ArtifactPrecision,
    /// Runtime that the artifact is made for. Default: `generic`.
    #[serde(default = "default_target")]
    pub target: TargetName,
    /// Whether weights get one scale per output channel (INT8 only) instead of one per tensor. Default: true.
    #[serde(default = "default_true")]
    pub per_channel: bool,
    /// Whether inputs and outputs keep the types of the FP32 model. Default: true. Otherwise those of FP16 and BF16
    /// artifacts get the artifact's precision.
    #[serde(default = "default_true")]
    pub keep_io_types: bool,
    /// Names of inputs and outputs that keep their type though `keep_io_types` is false. Default: none.
    #[serde(default)]
    pub keep_io: Vec<String>,
    /// Whether documentation strings, metadata and recorded shapes of intermediate values are left out of the file.
    /// Default: false.
    #[serde(default)]
    pub strip_metadata: bool,
    /// Width and height that the artifact is bound to, such as `512x512`, for runtimes that want fixed shapes; it is then
    /// checked with tiles of this size. Multiples of the model's alignment period. Default: any size.
    #[serde(default)]
    pub shape: Option<ImageShape>,
    /// Nodes that keep a higher precision than the artifact's.
    #[serde(default)]
    pub pin: Pin,
    /// Precision of single nodes, by name. The last pattern that matches a node counts.
    #[serde(default)]
    pub overrides: Vec<NodeOverride>,
    /// Quality that the artifact must reach; without it the artifact is only measured.
    #[serde(default)]
    pub gate: Gate,
}

/// Nodes that keep a higher precision than the artifact's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pin {
    /// First convolution behind the inputs. Default: `fp16`.
    pub first_conv: PinPrecision,
    /// Last convolution before the outputs. Default: `fp16`.
    pub last_conv: PinPrecision,
    /// Normalizations, as operators or decomposed. Default: `fp16`.
    pub norms: PinPrecision,
}

/// Precision of the nodes whose name matches a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeOverride {
    /// Pattern of node names: `*` matches any characters (also `/`), `?` one, `[ab]` one of a set.
    #[schemars(length(min = 1))]
    pub nodes: String,
    /// Precision of these nodes.
    pub precision: OverridePrecision,
}

/// Quality that an artifact must reach on the held-out images, run in tiles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gate {
    /// Smallest PSNR against the FP32 model, in dB, in the mean over images. At least 0.
    #[schemars(range(min = 0))]
    pub min_psnr_db: Option<f64>,
    /// Smallest PSNR against the FP32 model of any single image, in dB. At least 0.
    #[schemars(range(min = 0))]
    pub min_worst_psnr_db: Option<f64>,
    /// Largest loss of PSNR against the ground truth relative to the FP32 model, in dB, in the mean over images. At
    /// least 0; needs `calibration.references`.
    #[schemars(range(min = 0))]
    pub max_drop_db: Option<f64>,
    /// Largest loss of PSNR against the ground truth of any single image, in dB. At least 0; needs
    /// `calibration.references`.
    #[schemars(range(min = 0))]
    pub max_worst_drop_db: Option<f64>,
    /// Smallest SSIM against the FP32 model, in the mean over images. Between 0 and 1.
    #[schemars(range(min = 0, max = 1))]
    pub min_ssim: Option<f64>,
}

/// How artifacts are run in tiles when they are checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tiling {
    /// Memory that one run may use, for example `2GiB` or `512MiB`. Default: `2GiB`.
    pub memory: ByteSize,
    /// Rule for the halo around a tile. Default: `exact`.
    pub mode: TileMode,
    /// Side of the tile that artifacts are checked with, in pixels of the input. At least 16. Default: 256.
    #[schemars(range(min = 16))]
    pub validate_tile: u32,
    /// What operators that look at the whole image see when the image is cut into tiles: `local` (their tile),
    /// `{window: n}` (around each position a window of n pixels, by another network that is made of the model) or `{sweeps: n}` / `{sweeps: auto}` (the whole image, after
    /// n passes over all tiles). Default: `local`.
    pub global_statistics: GlobalStatistics,
    /// How much memory must be free for tiles of a size, where `run --recipe` is given neither `--memory` nor `--tile`.
    pub free_memory: FreeMemory,
}

/// Free memory above which tiles are of a size. Each is at least as large as the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FreeMemory {
    /// Images run whole. Default: `2GiB`.
    pub whole: ByteSize,
    /// Tiles of 512 px. Default: `512MiB`.
    pub side_512: ByteSize,
    /// Tiles of 256 px; below, the smallest that keep a third of their side. Default: `200MiB`.
    pub side_256: ByteSize,
}

/// Which findings of the lint stop the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lint {
    /// Codes of rules whose findings are left out, errors included. Upper and lower case are the same. Default: none.
    pub allow: Vec<String>,
    /// Codes of rules whose warnings and notes stop the run too. Upper and lower case are the same. Default: none.
    pub deny: Vec<String>,
    /// Codes of rules whose findings are repaired before anything else is done, by a pass that changes what the model computes
    /// (`tilecast explain freeze_batch_norm`). Default: none.
    pub fix: Vec<String>,
}

impl Artifact {
    /// The name that the recipe gives, otherwise `<precision>-<target>`.
    #[must_use]
    pub fn effective_name(&self) -> String {
        self.name
            .clone()
            .unwrap_or_else(|| format!("{}-{}", self.precision, self.target))
    }
}

impl Gate {
    /// Whether nothing is required.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Preprocess {
    fn default() -> Self {
        Self {
            layout: Layout::Nchw,
            color: Color::Rgb,
            range: [0.0, 1.0],
            mean: None,
            std: None,
            normalized_output: false,
            inputs: BTreeMap::new(),
        }
    }
}

impl Default for Pin {
    fn default() -> Self {
        Self {
            first_conv: PinPrecision::Fp16,
            last_conv: PinPrecision::Fp16,
            norms: PinPrecision::Fp16,
        }
    }
}

impl Default for Tiling {
    fn default() -> Self {
        Self {
            memory: ByteSize::from_gibibytes(2),
            mode: TileMode::Exact,
            validate_tile: 256,
            global_statistics: GlobalStatistics::Local,
            free_memory: FreeMemory::default(),
        }
    }
}

impl Default for FreeMemory {
    fn default() -> Self {
        Self {
            whole: ByteSize::from_gibibytes(2),
            side_512: ByteSize::from_mebibytes(512),
            side_256: ByteSize::from_mebibytes(200),
        }
    }
}

fn default_holdout() -> f64 {
    0.25
}

fn default_range() -> RangeMethod {
    RangeMethod::Percentile
}

fn default_target() -> TargetName {
    TargetName::Generic
}

fn default_true() -> bool {
    true
}
