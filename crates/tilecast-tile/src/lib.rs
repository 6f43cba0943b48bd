//! Tile plan, tiled runtime and image files.
//!
//! Reading order: [`TilePlan`] (which pixels each tile is fed and which it keeps) → [`TiledRunner`] (a model run over an
//! image by such a plan) → [`SweptRunner`] (the same, with statistics of the whole image) → [`predicted_peak_bytes`] (what that will take) → [`compare_images`] (what it
//! did to the image) → [`read_image`], [`write_image`], [`list_images`] (files).
//!
//! A tiled run equals the whole-image run up to the reassociation of float sums if the plan's halo is the graph's and
//! every operator is local; the plan cannot know that, `tilecast-analysis` does.
//!
//! ```
//! use tilecast_tile::{Fill, Size, TilePlan, TileRequest, UnalignedSizes};
//!
//! let plan = TilePlan::new(&TileRequest {
//!     image_px: Size { height: 1080, width: 1920 },
//!     tile_px: Some(512),
//!     halo_px: Some(32),
//!     alignment_px: 16,
//!     scale: 1,
//!     fill: Fill::Zero,
//!     unaligned: UnalignedSizes::Accepted,
//! })?;
//! assert_eq!((plan.n_tiles(), plan.core_px()), (3 * 5, 448));
//! # Ok::<(), tilecast_tile::PlanError>(())
//! ```

mod plan;
mod planar_image;
mod value_range;

mod crop;
mod session_cache;

mod in_flight;
mod pixels;
mod runtime;
mod sweeps;

mod band;
mod reduced;
mod stream;
mod strip;

mod choose;
mod measure;
mod process_memory;

mod compare;
mod predict;

mod image_file;

pub use choose::{ChooseTilesError, ChosenTiles, TileChoice, TileMemory, fallback_side};
pub use compare::{CompareImagesError, Comparison, Values, compare_images};
pub use crop::crop_tile;
pub use image_file::{
    Alpha, Colour, Exif, ExifDirectory, ExifField, IMAGE_EXTENSIONS, ImageReader, ImageTarget,
    JPEG_QUALITY, ListImagesError, ListImagesErrorKind, Metadata, PixelFormat, PngPixels,
    ReadImageError, ReadImageErrorKind, ReadLimits, RowSink, RowSource, SampleType,
    WriteImageError, WriteImageErrorKind, check_image_target, encode_png, format_in_file,
    list_images, read_image, read_image_size, read_image_within, write_image, write_rows,
    writer_resident_bytes,
};
pub use measure::TileStudy;
pub use plan::{Fill, PlanError, Rect, Size, Tile, TilePlan, TileRequest, UnalignedSizes};
pub use planar_image::{BitDepth, PlanarImage};
pub use predict::{PeakFactors, predicted_peak_bytes};
pub use process_memory::{ProcessMemory, available_memory_bytes};
pub use reduced::ReducedRows;
pub use runtime::{CreateRunnerError, RunControl, RunTiledError, TileObserver, TiledRunner};
pub use stream::{RunRowsError, Wiring, resident_rows_bytes};
pub use sweeps::{
    ContractError, NextSweep, SweepCount, SweepRun, SweptFacts, SweptImage, SweptRunner,
    draft_halo_px,
};
pub use value_range::{CheckValueRangeError, ValueRange};
