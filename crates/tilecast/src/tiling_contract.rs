//! `<artifact>.tiling.json`: what an application must know to run an artifact in tiles. `docs/tiling-contract.md` is written for those
//! who read it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tilecast_analysis::{PadFill, Reach, SweepContract};
use tilecast_onnx::proto::{TypeValue, ValueInfoProto};
use tilecast_onnx::{DataType, ImageAxes, Model, infer_shapes};
use tilecast_passes::Decline;
use tilecast_tile::{Fill, Size, UnalignedSizes};

use crate::geometry::Geometry;
use crate::recipe::{Layout, Preprocess};
use crate::report::{FileFacts, TilingError};

/// Version of the format.
pub const TILING_SCHEMA: &str = "tilecast.tiling/1";

/// How an artifact is run in tiles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TilingContract {
    /// [`TILING_SCHEMA`].
    pub schema: String,
    /// The artifact.
    pub model: FileFacts,
    /// The FP32 model that it was made from.
    pub made_from: FileFacts,
    /// What it takes.
    pub input: ImagePort,
    /// What it gives.
    pub output: ImagePort,
    /// Values of the inputs beside the image, by name: a number, or a map of the image's size filled with it.
    #[serde(default)]
    pub other_inputs: BTreeMap<String, f64>,
    /// Output pixels per input pixel and axis.
    pub scale: usize,
    /// Class A to E: whether tiles can equal the whole image.
    pub tiling_class: String,
    /// What the tiles that this document describes equal.
    pub equivalence: Equivalence,
    /// The FP32 model in such tiles against the FP32 model run whole; null where no image was more than one tile.
    pub error: Option<ContractError>,
    /// Origins and sizes of tiles are multiples of this, pixels.
    pub alignment_px: usize,
    /// Pixels around what is kept of a tile, a multiple of `alignment_px`; null where no number is enough.
    pub halo_px: Option<usize>,
    /// The same for each side, before it is rounded up.
    pub reach_px: Option<ReachPx>,
    /// Smallest side of a tile that an image can be cut into; null where it cannot be cut.
    pub minimum_tile_px: Option<usize>,
    /// Largest tile whose predicted peak fits into the memory that the recipe gives, up to 1024 px a side; the fixed one where there is one.
    pub recommended_tile_px: PixelSize,
    /// The one size that the file takes; null where it takes any.
    pub fixed_tile_px: Option<PixelSize>,
    /// What stands right of and below an image whose sides are no multiples of the alignment.
    pub padding: ContractPadding,
    /// Predicted peak of one tile, by its size.
    pub peak_bytes: Vec<TilePeak>,
    /// Side of the window that the means over the whole image were replaced by, pixels; null where they were not.
    pub local_window_px: Option<usize>,
    /// How the statistics of the whole image are swept; null where each tile has its own.
    pub sweeps: Option<SweptArtifact>,
}

/// An image that goes into a model or comes out of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImagePort {
    /// Name of the graph input or output.
    pub name: String,
    /// Element type.
    pub data_type: String,
    /// Order of the axes: `nchw` or `nhwc`, with a batch of 1.
    pub layout: String,
    /// Number of channels; null where the model does not say.
    pub channels: Option<usize>,
    /// Order of the channels: `rgb` or `bgr`.
    pub color: String,
    /// Values of black and white, before `mean` and `std` at the input, after them at the output.
    pub range: [f32; 2],
    /// Mean of each channel, in the order of `color`, in units of `range`; null where the network has values in `range` itself.
    #[serde(default)]
    pub mean: Option<[f32; 3]>,
    /// Standard deviation of each channel, likewise.
    #[serde(default)]
    pub std: Option<[f32; 3]>,
}

/// What tiles equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Equivalence {
    /// The whole-image run, up to the rounding of sums.
    Exact,
    /// The same, after as many sweeps as [`SweptArtifact::exact_after`] says.
    ExactWithSweeps,
    /// Something near it: [`TilingContract::error`] says how near.
    Approximate,
}

/// The error of tiling, as it was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContractError {
    /// Tile that was measured with.
    pub tile_px: PixelSize,
    /// Mean over images of their PSNR, dB; null where an output is not finite.
    pub psnr_mean_db: Option<f64>,
    /// PSNR of the worst image, dB.
    pub psnr_min_db: Option<f64>,
    /// Largest absolute difference.
    pub max_abs: Option<f64>,
    /// Images that were measured on.
    pub images: usize,
    /// Most sweeps over all tiles that an image took.
    pub sweeps: usize,
    /// Most drafts that it took before them.
    pub drafts: usize,
}

/// Pixels of context on each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachPx {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the left.
    pub left: usize,
    /// Columns to the right.
    pub right: usize,
}

/// Width and height, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PixelSize {
    /// Number of columns.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
}

/// Padding of images whose sides are no multiples of the alignment period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContractPadding {
    /// `zero`, `reflect` (about the last pixel, which is not repeated), or `none`: such images cannot be cut into tiles.
    pub fill: String,
    /// Whether an image that is one tile is fed without padding, which the graph then does itself.
    pub whole_image_unpadded: bool,
}

/// Predicted peak of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TilePeak {
    /// Columns of the tile.
    pub width: usize,
    /// Rows of the tile.
    pub height: usize,
    /// Weights and live tensors in float32, bytes.
    pub bytes: u64,
}

/// The artifact with statistics as inputs and outputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweptArtifact {
    /// The file.
    pub model: FileFacts,
    /// Inputs and outputs beside those of the image.
    #[serde(flatten)]
    pub contract: SweepContract,
    /// Sweeps over all tiles after which the last one computed with exact statistics.
    pub exact_after: usize,
    /// Halo of drafts, pixels; null where they save nothing.
    pub draft_halo_px: Option<usize>,
    /// Movement of the statistics below which two successive sweeps may be the last ones.
    pub tolerance: f64,
    /// Nodes whose statistics stay those of the tile, and why.
    pub left_out: Vec<Decline>,
    /// Predicted peak of one tile of this file, by its size.
    pub peak_bytes: Vec<TilePeak>,
}

impl From<Size> for PixelSize {
    fn from(size: Size) -> Self {
        Self {
            width: size.width,
            height: size.height,
        }
    }
}

impl From<Reach> for ReachPx {
    fn from(reach: Reach) -> Self {
        Self {
            top: reach.top,
            bottom: reach.bottom,
            left: reach.left,
            right: reach.right,
        }
    }
}

impl ImagePort {
    /// The image input and the first output of a model that takes tiles of this size, fed as a recipe says.
    pub(crate) fn of(model: &Model, tile: Size, preprocess: &Preprocess) -> [Self; 2] {
        let graph = model.graph();
        let is_image = |v: &&ValueInfoProto| {
            !preprocess
                .inputs
                .contains_key(v.name.as_deref().unwrap_or(""))
        };
        let value = graph.inputs().find(is_image);
        let input = Self::of_value(value, preprocess);
        let mut output = Self::of_value(graph.proto().output.first(), preprocess);
        if output.channels.is_none() {
            output.layout.clone_from(&input.layout);
        }
        if !preprocess.normalized_output {
            (output.mean, output.std) = (None, None);
        }
        // Exporters leave the channels of an output open that is cropped to the size of the input.
        if let (None, Some(channels)) = (output.channels, input.channels) {
            let size = [tile.height, tile.width];
            let axes = value.and_then(ImageAxes::of);
            let dims = axes.map(|axes| axes.dims(channels, size).to_vec());
            let axis = if axes.is_some_and(|axes| axes.channels_last) {
                3
            } else {
                1
            };
            let shapes =
                dims.and_then(|dims| infer_shapes(&graph, &[(input.name.as_str(), dims)]).ok());
            output.channels = shapes.and_then(|s| s.shape(&output.name)?.get(axis).copied());
        }
        [input, output]
    }

    fn of_value(value: Option<&ValueInfoProto>, preprocess: &Preprocess) -> Self {
        let r#type = value.and_then(|v| v.r#type.as_ref()?.value.as_ref());
        let data_type = match r#type {
            Some(TypeValue::Tensor(tensor)) => tensor.elem_type.and_then(DataType::from_code),
            _ => None,
        };
        let axes = value.and_then(ImageAxes::of);
        let layout = match axes {
            Some(axes) if axes.channels_last => Layout::Nhwc,
            _ => Layout::Nchw,
        };
        let is_normalized = preprocess.mean.is_some() || preprocess.std.is_some();
        let single = |values: Option<[f64; 3]>, otherwise: f64| {
            is_normalized.then(|| values.unwrap_or([otherwise; 3]).map(|v| v as f32))
        };
        Self {
            name: value.and_then(|v| v.name.clone()).unwrap_or_default(),
            data_type: data_type.map_or("unknown", DataType::name).to_owned(),
            layout: layout.to_string(),
            channels: axes.and_then(|axes| axes.channels),
            color: preprocess.color.to_string(),
            range: preprocess.range.map(|v| v as f32),
            mean: single(preprocess.mean, 0.0),
            std: single(preprocess.std, 1.0),
        }
    }
}

impl ContractError {
    /// What the report states of tiling alone.
    pub(crate) fn of(error: &TilingError, tile: Size, sweeps: usize, drafts: usize) -> Self {
        Self {
            tile_px: tile.into(),
            psnr_mean_db: error.psnr_db.map(|p| p.mean),
            psnr_min_db: error.psnr_db.map(|p| p.min),
            max_abs: error.max_abs,
            images: error.images,
            sweeps,
            drafts,
        }
    }
}

impl ContractPadding {
    /// How images are padded for tiles of this geometry.
    pub(crate) fn of(geometry: &Geometry) -> Self {
        let smallest = geometry.smallest_tile();
        let request = geometry.request(smallest, None);
        let fill = match (geometry.analysis().pads_itself, request.fill) {
            (Some(PadFill::Constant(_) | PadFill::Edge | PadFill::Wrap), _) => "none",
            (_, Fill::Zero) => "zero",
            (_, Fill::Reflect) => "reflect",
        };
        Self {
            fill: fill.to_owned(),
            whole_image_unpadded: request.unaligned == UnalignedSizes::Accepted,
        }
    }
}
