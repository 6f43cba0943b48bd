//! From facts about a graph to tile plans.

use tilecast_analysis::{PadFill, Scale, TilingAnalysis, TilingClass, analyze};
use tilecast_onnx::{Model, declared_extents, infer_shapes};
use tilecast_tile::{Fill, Size, TilePlan, TileRequest, UnalignedSizes};

use crate::{Failure, FailureKind};

/// What tile plans of one model have in common.
#[derive(Clone, Debug)]
pub(crate) struct Geometry {
    analysis: TilingAnalysis,
    scale: usize,
    /// The one size of tiles that the network takes, where it takes no other.
    fixed_px: Option<Size>,
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
        let declared = analysis.declared_size;
        Ok(Self {
            analysis,
            scale,
            fixed_px: declared.map(|[height, width]| Size { height, width }),
        })
    }

    /// The geometry of a model. One that depends on the absolute size of its image, and declares that size, has a geometry for
    /// images of that size only.
    ///
    /// # Errors
    /// The model cannot be analysed, or its output is not a whole number of times as large as the input.
    pub(crate) fn of_model(model: &Model) -> Result<Self, Failure> {
        match analyze(model) {
            Ok(analysis) => Self::new(analysis),
            Err(error) => match fixed_analysis(model) {
                Some(analysis) => Self::new(analysis),
                None => Err(error.into()),
            },
        }
    }

    /// The one size of tiles that the network takes; `None` where it takes any.
    #[must_use]
    pub(crate) fn fixed_tile(&self) -> Option<Size> {
        self.fixed_px
    }

    /// The same for a copy of the model that takes tiles of one size only.
    #[must_use]
    pub(crate) fn with_fixed_tile(&self, fixed_px: Size) -> Self {
        Self {
            fixed_px: Some(fixed_px),
            ..self.clone()
        }
    }

    /// The same with so much context per side, a multiple of the alignment, instead of what the graph asks for.
    #[must_use]
    pub(crate) fn with_halo(&self, halo_px: usize) -> Self {
        Self {
            analysis: TilingAnalysis {
                halo_px: Some(halo_px),
                ..self.analysis.clone()
            },
            ..self.clone()
        }
    }

    /// The facts behind the plans.
    #[must_use]
    pub(crate) fn analysis(&self) -> &TilingAnalysis {
        &self.analysis
    }

    /// How many times larger than its input the output is.
    #[must_use]
    pub(crate) fn scale(&self) -> usize {
        self.scale
    }

    /// A square that the network takes, pixels.
    #[must_use]
    pub(crate) fn smallest_tile(&self) -> Size {
        if let Some(fixed_px) = self.fixed_px {
            return fixed_px;
        }
        let side = UNKNOWN_ALIGNMENT_PX.next_multiple_of(self.analysis.alignment_px.max(1));
        Size {
            height: side,
            width: side,
        }
    }

    /// What a plan for an image is made from.
    #[must_use]
    pub(crate) fn request(&self, image_px: Size, tile_px: Option<usize>) -> TileRequest {
        let (fill, unaligned) = padding(&self.analysis);
        TileRequest {
            image_px,
            tile_px,
            halo_px: self.analysis.halo_px,
            alignment_px: self.analysis.alignment_px,
            scale: self.scale,
            fill,
            unaligned,
        }
    }

    /// The plan for an image; `tile_px` None runs it whole, and any other is that of a model with a fixed tile.
    ///
    /// # Errors
    /// The tile is too small for the halo, the halo has no bound, or the image must be padded in a way that tiles
    /// cannot reproduce.
    pub(crate) fn plan(&self, image_px: Size, tile_px: Option<usize>) -> Result<TilePlan, Failure> {
        let request = self.request(image_px, tile_px);
        let plan = match (tile_px, self.fixed_px) {
            (Some(_), Some(fixed_px)) => TilePlan::with_fixed_size(&request, fixed_px)?,
            _ => TilePlan::new(&request)?,
        };
        self.check(&plan)?;
        Ok(plan)
    }

    /// Refuses a plan whose image must be padded in a way that tiles cannot reproduce.
    ///
    /// # Errors
    /// The plan is one.
    pub(crate) fn check(&self, plan: &TilePlan) -> Result<(), Failure> {
        let image_px = plan.request().image_px;
        let aligned = [image_px.height, image_px.width]
            .iter()
            .all(|side| side % self.analysis.alignment_px == 0);
        match self.analysis.pads_itself {
            Some(other @ (PadFill::Constant(_) | PadFill::Edge | PadFill::Wrap)) if plan.n_tiles() > 1 && !aligned => {
                Err(Failure::new(
                    FailureKind::Model,
                    format!(
                        "the graph pads an image of {image_px} px by itself ({other:?}), and tiles cannot do the same"
                    ),
                )
                .with_help(format!(
                    "crop the image to a multiple of {} px, or use a tile as large as the image",
                    self.analysis.alignment_px
                )))
            }
            _ => Ok(()),
        }
    }
}

/// Period to which an image is padded for a model whose own is not known: windows and strides are rarely larger.
const UNKNOWN_ALIGNMENT_PX: usize = 64;

/// Tiles that together show every pixel to the network, for observing it: they are as large as those that it will be fed,
/// but their results are not put together, so they need no halo. Works for models that cannot be tiled, too.
///
/// # Errors
/// The tile is smaller than the model's alignment period.
pub(crate) fn observation_plan(
    analysis: Option<&TilingAnalysis>,
    image_px: Size,
    tile_px: Option<usize>,
) -> Result<TilePlan, Failure> {
    let (fill, unaligned) = analysis.map_or((Fill::Reflect, UnalignedSizes::Refused), padding);
    let request = TileRequest {
        image_px,
        tile_px,
        halo_px: Some(0),
        alignment_px: analysis.map_or(UNKNOWN_ALIGNMENT_PX, |a| a.alignment_px),
        scale: 1,
        fill,
        unaligned,
    };
    Ok(match analysis.and_then(|a| a.declared_size) {
        Some([height, width]) => TilePlan::with_fixed_size(&request, Size { height, width })?,
        None => TilePlan::new(&request)?,
    })
}

/// What there is to know of a model that can be run at the size it declares and at no other; `None` where it declares none, or has
/// more than one image input.
fn fixed_analysis(model: &Model) -> Option<TilingAnalysis> {
    let graph = model.graph();
    let mut inputs = graph.inputs();
    let (input, None) = (inputs.next()?, inputs.next()) else {
        return None;
    };
    let [Some(batch), Some(channels), Some(height), Some(width)] = declared_extents(input)?[..]
    else {
        return None;
    };
    let name = input.name.as_deref()?;
    let shapes = infer_shapes(&graph, &[(name, vec![batch, channels, height, width])]).ok()?;
    let output = graph.proto().output.first()?.name.as_deref()?;
    let &[_, _, rows, columns] = shapes.shape(output)? else {
        return None;
    };
    // One factor for both sides.
    (rows * width == columns * height && rows.is_multiple_of(height)).then(|| TilingAnalysis {
        halo_px: None,
        reach: None,
        alignment_px: 1,
        scale: Scale {
            numerator: rows / height,
            denominator: 1,
        },
        tiling_class: TilingClass::D,
        global_nodes: Vec::new(),
        pads_itself: None,
        declared_size: Some([height, width]),
    })
}

/// How the network expects sides that are no multiples of its period.
fn padding(analysis: &TilingAnalysis) -> (Fill, UnalignedSizes) {
    match analysis.pads_itself {
        Some(PadFill::Zero) => (Fill::Zero, UnalignedSizes::Accepted),
        // For fills other than reflection this one is not used where tiles are put together.
        Some(_) => (Fill::Reflect, UnalignedSizes::Accepted),
        None => (Fill::Reflect, UnalignedSizes::Refused),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tilecast_analysis::analyze;
    use tilecast_exec::TractEngine;
    use tilecast_onnx::Model;
    use tilecast_tile::{
        BitDepth, PlanarImage, Rect, RunControl, TiledRunner, ValueRange, read_image,
    };

    use super::*;

    fn repository(path: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(path)
    }

    /// The image whole, and in tiles of `tile_px`.
    fn whole_and_tiled(
        model: &str,
        image: &str,
        tile_px: usize,
    ) -> (PlanarImage, PlanarImage, usize) {
        let model = Model::load(&repository(model)).unwrap();
        let image = read_image(&repository(image)).unwrap();
        let geometry = Geometry::new(analyze(&model).unwrap()).unwrap();
        let engine = TractEngine::new();
        let runner = TiledRunner::new(&engine, &model, ValueRange::UNIT).unwrap();
        let run = |tile| {
            let plan = geometry.plan(image.size(), tile).unwrap();
            (
                runner.run(&image, &plan, &RunControl::default()).unwrap(),
                plan.n_tiles(),
            )
        };
        let (whole, _) = run(None);
        let (tiled, n_tiles) = run(Some(tile_px));
        (whole, tiled, n_tiles)
    }

    #[test]
    fn a_network_without_global_operators_is_the_same_in_tiles() {
        // Sides that are multiples of nothing, tiles that do not divide them.
        let (whole, tiled, n_tiles) = whole_and_tiled(
            "models/srvgg-x2.onnx",
            "calibration/noisy/06-s10-257x391.png",
            100,
        );
        assert_eq!(
            whole.size(),
            Size {
                height: 782,
                width: 514
            }
        );
        assert_eq!(n_tiles, 4 * 5);
        let difference = whole
            .data()
            .iter()
            .zip(tiled.data())
            .map(|(a, b)| (a - b).abs())
            .fold(0.0_f32, f32::max);
        assert!(difference <= 2e-5, "{difference}");
    }

    /// An image of values in [0, 1) without structure.
    fn noise(size: Size) -> PlanarImage {
        let value = |index: usize| {
            let mixed = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed >> 40) as f32 / (1u32 << 24) as f32
        };
        let data = (0..3 * size.height * size.width).map(value).collect();
        PlanarImage::new(3, size, data, BitDepth::Sixteen)
    }

    /// The largest difference, of the range of the first.
    fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        let low = a.iter().copied().fold(f32::MAX, f32::min);
        let high = a.iter().copied().fold(f32::MIN, f32::max);
        let pairs = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        pairs.fold(0.0, f32::max) / (high - low)
    }

    /// Every export that is exact in tiles: on an image whose sides are odd, with three sizes of tiles, and not with the same
    /// grid one pixel off, which tests the test.
    #[test]
    fn exports_of_class_a_and_b_are_the_same_in_tiles() {
        let mut exact = Vec::new();
        let mut names: Vec<String> = std::fs::read_dir(repository("models/exports"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| Path::new(name).extension().is_some_and(|e| e == "onnx"))
            .collect();
        names.sort();
        for name in names {
            let model = Model::load(&repository(&format!("models/exports/{name}"))).unwrap();
            let geometry = Geometry::new(analyze(&model).unwrap()).unwrap();
            let facts = geometry.analysis().clone();
            if !facts.tiling_class.is_exact() {
                continue;
            }
            let period = facts.alignment_px;
            let smallest = 2 * facts.halo_px.unwrap() + 32;
            let tiles =
                [smallest, smallest + 8, smallest + 24].map(|px| px.next_multiple_of(period));
            let size = Size {
                height: (tiles[2] + 20) | 1,
                width: (tiles[2] + 34) | 1,
            };
            let engine = TractEngine::new();
            let runner = TiledRunner::new(&engine, &model, ValueRange::UNIT).unwrap();
            let run = |image: &PlanarImage, tile: Option<usize>| {
                let plan = geometry.plan(image.size(), tile).unwrap();
                assert_eq!(plan.n_tiles() > 1, tile.is_some(), "{name}");
                runner.run(image, &plan, &RunControl::default()).unwrap()
            };
            let image = noise(size);
            let whole = run(&image, None);
            for tile in tiles {
                let tiled = run(&image, Some(tile));
                let difference = largest_difference(whole.data(), tiled.data());
                assert!(
                    difference <= 2e-5,
                    "{name} in tiles of {tile} px: {difference}"
                );
            }
            if period > 1 {
                // The same tiles of the image without its first row and column.
                let rest = Rect {
                    top: 1,
                    left: 1,
                    height: size.height - 1,
                    width: size.width - 1,
                };
                let shifted = run(&image.crop(rest, 1), Some(tiles[0]));
                let whole = whole.crop(rest, geometry.scale());
                // Away from the borders, where the padding differs, too.
                let border = facts.halo_px.unwrap() + period;
                let inner = Rect {
                    top: border,
                    left: border,
                    height: rest.height - 2 * border,
                    width: rest.width - 2 * border,
                };
                let [whole, shifted] =
                    [whole, shifted].map(|result| result.crop(inner, geometry.scale()));
                let difference = largest_difference(whole.data(), shifted.data());
                assert!(difference > 1e-3, "{name} off the grid: {difference}");
            }
            exact.push(name);
        }
        // Four of Real-ESRGAN, two of SwinIR, three U-Nets.
        assert_eq!(exact.len(), 9, "{exact:?}");
    }

    #[test]
    fn a_tile_as_large_as_the_image_is_the_whole_image_run() {
        let (whole, tiled, n_tiles) = whole_and_tiled(
            "models/nafnet-denoise.onnx",
            "calibration/noisy/02-s25-300x260.png",
            304,
        );
        assert_eq!(n_tiles, 1);
        assert_eq!(whole, tiled);
    }

    #[test]
    fn padding_that_tiles_cannot_reproduce_is_refused() {
        let model = Model::load(&repository("models/nafnet-denoise.onnx")).unwrap();
        let analysis = TilingAnalysis {
            pads_itself: Some(PadFill::Edge),
            ..analyze(&model).unwrap()
        };
        let geometry = Geometry::new(analysis).unwrap();
        let size = Size {
            height: 1000,
            width: 1024,
        };
        let error = geometry.plan(size, Some(512)).unwrap_err().to_string();
        assert!(
            error.contains("1024x1000") && error.contains("Edge"),
            "{error}"
        );
        assert!(geometry.plan(size, None).is_ok());
        assert!(
            geometry
                .plan(
                    Size {
                        height: 1008,
                        width: 1024
                    },
                    Some(512)
                )
                .is_ok()
        );
    }
}
