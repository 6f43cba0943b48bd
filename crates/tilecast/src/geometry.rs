//! From facts about a graph to tile plans.

use tilecast_analysis::{PadFill, TilingAnalysis};
use tilecast_tile::{Fill, Size, TilePlan, TileRequest, UnalignedSizes};

use crate::{Failure, FailureKind};

/// What tile plans of one model have in common.
#[derive(Clone, Debug)]
pub(crate) struct Geometry {
    analysis: TilingAnalysis,
    scale: usize,
}

impl Geometry {
    /// The geometry that an analysis implies.
    ///
    /// # Errors
    /// The output is not a whole number of times as large as the input.
    pub(crate) fn new(analysis: TilingAnalysis) -> Result<Self, Failure> {
        let scale = analysis.scale.as_integer().ok_or_else(|| {
            Failure::new(
                FailureKind::Model,
                format!(
                    "the output is {} times the size of the input; only whole factors can be tiled",
                    analysis.scale
                ),
            )
        })?;
        Ok(Self { analysis, scale })
    }

    /// The facts behind the plans.
    #[must_use]
    pub(crate) fn analysis(&self) -> &TilingAnalysis {
        &self.analysis
    }

    /// The plan for an image; `tile_px` None runs it whole.
    ///
    /// # Errors
    /// The tile is too small for the halo, or the halo has no bound.
    pub(crate) fn plan(&self, image_px: Size, tile_px: Option<usize>) -> Result<TilePlan, Failure> {
        let pads_itself = self.analysis.pads_itself;
        Ok(TilePlan::new(&TileRequest {
            image_px,
            tile_px,
            halo_px: self.analysis.halo_px,
            alignment_px: self.analysis.alignment_px,
            scale: self.scale,
            fill: match pads_itself {
                Some(PadFill::Zero) => Fill::Zero,
                _ => Fill::Reflect,
            },
            unaligned: if pads_itself.is_some() {
                UnalignedSizes::Accepted
            } else {
                UnalignedSizes::Refused
            },
        })?)
    }
}
