//! Running models over images side by side and measuring how far they are apart.
//!
//! One image at a time, one candidate at a time: beside the image itself, its reference output and one candidate's
//! output are all that is held, and a few drawn pictures.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use schemars::JsonSchema;
use tilecast_exec::Engine;
use tilecast_metrics::{
    DeltaESummary, OutputRange, PsnrSummary, SquaredError, SsimSummary, delta_e, ssimulacra2,
};
use tilecast_onnx::{Model, write_atomically};
use tilecast_tile::{
    Comparison, PlanarImage, RunControl, Size, SweptFacts, TileObserver, TilePlan, ValueRange,
    Values, compare_images, read_image_size,
};

use crate::context::{Context, Event};
use crate::geometry::Geometry;
use crate::images::{ImageFile, Sample};
use crate::pictures::{ErrorMap, Picture, TileLines};
use crate::seams::{LineDisagreement, LineWatch, Seams, gradient_ratio, shape_of};
use crate::tiled::{ImageRunner, Sweeping, TiledImage};
use crate::{Failure, FailureKind};

/// How models are compared.
#[derive(Clone, Debug)]
pub(crate) struct CompareOptions<'a> {
    /// Tile plans of the reference, used for every model alike.
    pub(crate) geometry: &'a Geometry,
    /// Side fed to the network; `None` runs every image whole.
    pub(crate) tile_px: Option<usize>,
    /// Most bytes that the tiles in flight may take together.
    pub(crate) memory_bytes: u64,
    /// How statistics of the whole image are shared among tiles; `None` leaves each tile with its own.
    pub(crate) sweeping: Option<&'a Sweeping>,
    /// Values that stand for black and white on both sides of the network.
    pub(crate) value_range: ValueRange,
    /// What is looked at besides PSNR and SSIM; `None` for neither colours nor seams nor pictures.
    pub(crate) looks: Option<Looks<'a>>,
    /// The model whose whole-image run tiles are measured against; `None` where that is the reference itself.
    pub(crate) whole_reference: Option<&'a Model>,
}

/// A closer look, which also measures colours and seams.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Looks<'a> {
    /// Whether pictures of the worst and the median image are kept.
    pub(crate) pictures: bool,
    /// Folder for a map of every image's error.
    pub(crate) error_maps: Option<&'a Path>,
}

/// Images per candidate whose pictures are kept while more may follow: the worst one, and those nearest the median.
const MAX_PICTURES: usize = 16;

impl CompareOptions<'_> {
    /// The plan of the whole image, where its run differs from one by `plan`.
    fn whole_plan(&self, image_px: Size, plan: &TilePlan) -> Result<Option<TilePlan>, Failure> {
        if self.geometry.analysis().declared_size.is_some() {
            // The reference itself has no other size to run at.
            return Ok(None);
        }
        let whole = self.geometry.plan(image_px, None)?;
        let differs = self.whole_reference.is_some() && self.tile_px.is_some();
        let is_same = plan.n_tiles() == 1 && plan.tile_size() == whole.tile_size();
        Ok((differs || !is_same).then_some(whole))
    }

    /// Most tiles that are run for a plan, over all sweeps.
    fn most_tiles(&self, plan: &TilePlan) -> usize {
        self.sweeping
            .map_or_else(|| plan.n_tiles(), |sweeping| sweeping.most_tiles(plan))
    }
}

/// One candidate on one image.
#[derive(Clone, Debug)]
pub(crate) struct ImageScore {
    /// Difference from the reference model, unclamped.
    pub(crate) difference: SquaredError,
    /// SSIM against the reference model; `None` for images smaller than its window or outputs that are not finite.
    pub(crate) ssim: Option<f64>,
    /// Differences of reference and candidate from the ground truth, clamped to the range.
    pub(crate) truth: Option<[SquaredError; 2]>,
    /// Colour difference from the reference; `None` where the image is not RGB, is not finite or was not looked at.
    pub(crate) delta_e: Option<DeltaESummary>,
    /// SSIMULACRA2 against the reference; `None` as for the colour difference, and for images that are very small or large.
    pub(crate) ssimulacra2: Option<f64>,
    /// How visible tile lines are; `None` where there are none or they were not looked at.
    pub(crate) seams: Option<Seams>,
    /// What it looks like; kept for few images.
    pub(crate) picture: Option<Picture>,
}

/// One image, on all models.
#[derive(Clone, Debug)]
pub(crate) struct ImageComparison {
    /// File name.
    pub(crate) name: String,
    /// Height and width, pixels.
    pub(crate) size_px: [usize; 2],
    /// Number of tiles.
    pub(crate) n_tiles: usize,
    /// How often the reference ran all tiles, and whether it had the statistics of the whole image in the last sweep.
    pub(crate) swept: SweptFacts,
    /// Reference tiled against reference whole; `None` where these are the same run.
    pub(crate) tiling: Option<SquaredError>,
    /// One score per candidate.
    pub(crate) scores: Vec<ImageScore>,
}

/// Runs the reference and every candidate over every image, tiled alike.
///
/// # Errors
/// An image cannot be read, a model cannot be run, or the user interrupts.
pub(crate) fn compare(
    engine: &dyn Engine,
    reference: &Model,
    candidates: &[&Model],
    images: &[ImageFile],
    options: &CompareOptions<'_>,
    cx: &Context<'_>,
) -> Result<Vec<ImageComparison>, Failure> {
    let runner = |model| {
        let CompareOptions {
            sweeping,
            value_range,
            memory_bytes,
            ..
        } = *options;
        ImageRunner::new(engine, model, sweeping, value_range, memory_bytes)
    };
    let reference = runner(reference)?;
    let whole = options.whole_reference.map(&runner).transpose()?;
    let whole = whole.as_ref().unwrap_or(&reference);
    let candidates = candidates
        .iter()
        .map(|model| runner(model))
        .collect::<Result<Vec<_>, _>>()?;
    for decline in candidates.iter().flat_map(ImageRunner::declined) {
        cx.emit(&Event::Warning(&format!(
            "{}: its statistic stays that of the tile: {}",
            decline.node, decline.reason
        )));
    }
    let tiles = TileCounter {
        cx,
        done: AtomicUsize::new(0),
    };
    let mut compared = Vec::with_capacity(images.len());
    for file in images {
        let sample = file.read_both()?;
        let image = compare_sample(&reference, whole, &candidates, &sample, options, &tiles)
            .map_err(|f| f.about(file.path.display()))?;
        compared.push(image);
        for index in 0..candidates.len() {
            drop_pictures(&mut compared, index);
        }
    }
    Ok(compared)
}

/// Forgets pictures of candidate `index` until [`MAX_PICTURES`] are left.
fn drop_pictures(images: &mut [ImageComparison], index: usize) {
    let order = by_quality(images, index);
    let mut drawn: Vec<usize> = (0..order.len())
        .filter(|&place| images[order[place]].scores[index].picture.is_some())
        .collect();
    let median = order.len() / 2;
    // The worst first, then the rest by how near it is to the median.
    drawn.sort_by_key(|&place| (place != 0, place.abs_diff(median)));
    for &place in drawn.iter().skip(MAX_PICTURES) {
        images[order[place]].scores[index].picture = None;
    }
}

/// Places of the images, the worst for candidate `index` first.
pub(crate) fn by_quality(images: &[ImageComparison], index: usize) -> Vec<usize> {
    let peak = OutputRange::UNIT.peak();
    let psnr_db = |image: &ImageComparison| {
        let difference = image.scores[index].difference;
        difference.psnr_db(peak).unwrap_or(f64::NEG_INFINITY)
    };
    let mut order: Vec<usize> = (0..images.len()).collect();
    order.sort_by(|&a, &b| psnr_db(&images[a]).total_cmp(&psnr_db(&images[b])));
    order
}

/// The same over images in memory, each run whole. They are shared out over the cores.
///
/// # Errors
/// A model cannot be run, or the user interrupts.
pub(crate) fn compare_whole(
    engine: &dyn Engine,
    reference: &Model,
    candidates: &[Model],
    samples: &[Sample],
    options: &CompareOptions<'_>,
    cx: &Context<'_>,
) -> Result<Vec<ImageComparison>, Failure> {
    let runner = |model| {
        ImageRunner::new(
            engine,
            model,
            None,
            options.value_range,
            options.memory_bytes,
        )
    };
    let reference = runner(reference)?;
    let candidates = candidates
        .iter()
        .map(runner)
        .collect::<Result<Vec<_>, _>>()?;
    let tiles = TileCounter {
        // What is done is counted by the caller, in units of its own.
        cx: &cx.silent(),
        done: AtomicUsize::new(0),
    };
    let options = CompareOptions {
        tile_px: None,
        looks: None,
        ..options.clone()
    };
    samples
        .par_iter()
        .map(|sample| {
            compare_sample(
                &reference,
                &reference,
                &candidates,
                sample,
                &options,
                &tiles,
            )
            .map_err(|f| f.about(&sample.name))
        })
        .collect()
}

/// Tiles that [`compare`] will run, for progress.
///
/// # Errors
/// An image cannot be read or planned.
pub(crate) fn count_tiles(
    images: &[ImageFile],
    n_candidates: usize,
    options: &CompareOptions<'_>,
) -> Result<usize, Failure> {
    let mut total = 0;
    for image in images {
        let size = read_image_size(&image.path)?;
        let plan = options
            .geometry
            .plan(size, options.tile_px)
            .map_err(|f| f.about(image.path.display()))?;
        let whole = usize::from(options.whole_plan(size, &plan)?.is_some());
        total += options.most_tiles(&plan) * (1 + n_candidates) + whole;
    }
    Ok(total)
}

fn compare_sample(
    reference: &ImageRunner<'_>,
    whole_reference: &ImageRunner<'_>,
    candidates: &[ImageRunner<'_>],
    sample: &Sample,
    options: &CompareOptions<'_>,
    tiles: &TileCounter<'_>,
) -> Result<ImageComparison, Failure> {
    let Sample { image, truth, .. } = sample;
    let image = &image.clone().with_planes(Some(reference.planes()));
    let plan = options.geometry.plan(image.size(), options.tile_px)?;
    let lines = TileLines::of(&plan);
    let looks_at_lines = options.looks.is_some() && plan.n_tiles() > 1;
    // The image, and how far tiles disagree beside their lines.
    let run =
        |runner: &ImageRunner<'_>| -> Result<(TiledImage, Option<LineDisagreement>), Failure> {
            let mut watch = LineWatch::new(&plan, options.value_range);
            let observer = looks_at_lines.then_some(&mut watch as &mut dyn TileObserver);
            let tiled = tiles.run(runner, image, &plan, options, observer)?;
            Ok((tiled, watch.finish()))
        };
    let (
        TiledImage {
            image: expected,
            swept,
        },
        reference_overlap,
    ) = run(reference)?;
    let mut whole_gradient = None;
    let tiling = match options.whole_plan(image.size(), &plan)? {
        Some(plan) => {
            let whole = tiles
                .run(whole_reference, image, &plan, options, None)?
                .image;
            if looks_at_lines {
                whole_gradient = gradient_ratio(&whole, &lines);
            }
            Some(compare_images(&whole, &expected, Values::Unclamped)?.error)
        }
        None => None,
    };
    let reference_ratio = looks_at_lines.then(|| gradient_ratio(&expected, &lines));
    let against_truth = |output: &PlanarImage| {
        let compared: Option<Comparison> = truth
            .as_ref()
            .map(|truth| {
                let truth = truth.clone().with_planes(Some(output.channels()));
                compare_images(&truth, output, Values::Clamped)
            })
            .transpose()?;
        Ok(compared.map(|c| c.error))
    };
    let reference_truth = against_truth(&expected)
        .map_err(|f: Failure| f.with_help("give ground truth of the output's size"))?;
    let mut scores = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let (TiledImage { image: output, .. }, overlap) = run(candidate)?;
        let compared = compare_images(&expected, &output, Values::Unclamped)?;
        let seams = reference_ratio.map(|reference_ratio| Seams {
            ratio: gradient_ratio(&output, &lines),
            reference_ratio,
            whole_ratio: whole_gradient,
            overlap,
            reference_overlap,
        });
        if let Some(folder) = options.looks.and_then(|looks| looks.error_maps) {
            write_error_map(folder, &sample.name, &expected, &output, &compared.error)?;
        }
        let picture = match options.looks {
            Some(looks) if looks.pictures => Some(Picture::new(
                &expected,
                &output,
                &compared.error,
                lines.clone(),
            )?),
            _ => None,
        };
        let is_rgb = options.looks.is_some() && output.channels() == 3;
        let colours = is_rgb.then(|| delta_e(expected.data(), output.data()));
        scores.push(ImageScore {
            delta_e: colours.flatten(),
            ssimulacra2: is_rgb
                .then(|| ssimulacra2(expected.data(), output.data(), shape_of(&output)))
                .flatten(),
            seams,
            picture,
            difference: compared.error,
            ssim: compared.ssim,
            truth: reference_truth
                .zip(against_truth(&output)?)
                .map(|(r, c)| [r, c]),
        });
    }
    let size = image.size();
    Ok(ImageComparison {
        name: sample.name.clone(),
        size_px: [size.height, size.width],
        n_tiles: plan.n_tiles(),
        swept,
        tiling,
        scores,
    })
}

/// Writes the error of an image as `<image>.error-32x.png`, with what it is amplified by.
fn write_error_map(
    folder: &Path,
    name: &str,
    reference: &PlanarImage,
    candidate: &PlanarImage,
    difference: &SquaredError,
) -> Result<(), Failure> {
    let map = ErrorMap::new(reference, candidate, difference);
    let path = folder.join(format!("{name}.error-{}x.png", map.amplification()));
    write_atomically(&path, &map.encode()?).map_err(|e| {
        Failure::new(
            FailureKind::Io,
            format!("cannot write `{}`: {e}", path.display()),
        )
    })
}

/// Runs plans and tells how many tiles are done over all of them.
struct TileCounter<'a> {
    cx: &'a Context<'a>,
    done: AtomicUsize,
}

impl TileCounter<'_> {
    fn run(
        &self,
        runner: &ImageRunner<'_>,
        image: &PlanarImage,
        plan: &TilePlan,
        options: &CompareOptions<'_>,
        observer: Option<&mut dyn TileObserver>,
    ) -> Result<TiledImage, Failure> {
        let progress = |_: usize, _: usize| {
            let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
            self.cx.emit(&Event::Progress { done });
        };
        let control = RunControl {
            cancelled: self.cx.cancelled(),
            progress: &progress,
            max_workers: None,
        };
        let tiled = runner.run(image, plan, &control, observer)?;
        // Tiles that were counted and turned out not to be needed.
        let skipped = options.most_tiles(plan) - tiled.swept.n_tiles_run;
        self.done.fetch_add(skipped, Ordering::Relaxed);
        Ok(tiled)
    }
}

/// Summary of one candidate over all images, in the terms of the report.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, JsonSchema)]
pub struct TruthSummary {
    /// PSNR of the candidate against the ground truth, mean over images, dB.
    pub psnr_db: f64,
    /// What the candidate loses against the reference there, mean over images, dB.
    pub drop_db: f64,
    /// The same on the worst image, dB.
    pub worst_drop_db: f64,
    /// PSNR of the reference against the ground truth, mean over images, dB.
    pub reference_psnr_db: f64,
}

/// PSNR, SSIM and truth of candidate `index`.
#[must_use]
pub(crate) fn summarize(
    images: &[ImageComparison],
    index: usize,
) -> (
    Option<PsnrSummary>,
    Option<SsimSummary>,
    Option<TruthSummary>,
) {
    let scores: Vec<&ImageScore> = images.iter().map(|i| &i.scores[index]).collect();
    let differences: Vec<SquaredError> = scores.iter().map(|s| s.difference).collect();
    let ssims: Vec<Option<f64>> = scores.iter().map(|s| s.ssim).collect();
    let truths: Option<Vec<(f64, f64)>> = scores.iter().map(|s| truth_psnr(s)).collect();
    let truth = truths.filter(|t| !t.is_empty()).map(|pairs| {
        let n = pairs.len() as f64;
        let mean = |f: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(f).sum::<f64>() / n;
        TruthSummary {
            psnr_db: mean(&|p| p.1),
            drop_db: mean(&|p| p.0 - p.1),
            worst_drop_db: pairs
                .iter()
                .map(|p| p.0 - p.1)
                .fold(f64::NEG_INFINITY, f64::max),
            reference_psnr_db: mean(&|p| p.0),
        }
    });
    let peak = OutputRange::UNIT.peak();
    (
        PsnrSummary::from_images(&differences, peak),
        SsimSummary::from_images(&ssims),
        truth,
    )
}

/// PSNR of reference and candidate against the ground truth, dB.
#[must_use]
pub(crate) fn truth_psnr(score: &ImageScore) -> Option<(f64, f64)> {
    let [reference, candidate] = score.truth?;
    let peak = OutputRange::UNIT.peak();
    Some((reference.psnr_db(peak)?, candidate.psnr_db(peak)?))
}

#[cfg(test)]
mod tests {
    use tilecast_tile::{BitDepth, Size};

    use super::*;

    /// An image with this error, and a picture.
    fn image(error: f32) -> ImageComparison {
        let size = Size {
            height: 1,
            width: 1,
        };
        let pixel = |value| PlanarImage::new(1, size, vec![value], BitDepth::Eight);
        let mut difference = SquaredError::new();
        difference.add(&[0.0], &[error]).unwrap();
        let lines = TileLines::default();
        let picture = Picture::new(&pixel(0.0), &pixel(error), &difference, lines);
        ImageComparison {
            name: error.to_string(),
            size_px: [1, 1],
            n_tiles: 1,
            swept: SweptFacts {
                n_drafts: 0,
                n_sweeps: 1,
                n_tiles_run: 1,
                pixels_fed: 1,
                movements: Vec::new(),
                is_exact: true,
            },
            tiling: None,
            scores: vec![ImageScore {
                difference,
                ssim: None,
                truth: None,
                delta_e: None,
                ssimulacra2: None,
                seams: None,
                picture: Some(picture.unwrap()),
            }],
        }
    }

    /// Places, the worst first, of the images whose pictures are left after so many in this order.
    fn drawn(errors: impl Iterator<Item = f32>) -> Vec<usize> {
        let mut images = Vec::new();
        for error in errors {
            images.push(image(error));
            drop_pictures(&mut images, 0);
        }
        let order = by_quality(&images, 0);
        let is_drawn = |&place: &usize| images[order[place]].scores[0].picture.is_some();
        (0..order.len()).filter(is_drawn).collect()
    }

    #[test]
    fn few_pictures_are_kept_and_the_worst_is_among_them() {
        let n = 97;
        let orders: [&dyn Fn(usize) -> usize; 3] = [&|i| i, &|i| n - 1 - i, &|i| i * 35 % n];
        for order in orders {
            let left = drawn((0..n).map(|i| (order(i) + 1) as f32 / 1000.0));
            assert_eq!((left.len(), left[0]), (MAX_PICTURES, 0));
        }
        // In no order at all, some picture is near the median.
        let left = drawn((0..n).map(|i| (i * 35 % n + 1) as f32 / 1000.0));
        assert!(
            left.iter().any(|place| place.abs_diff(n / 2) < 8),
            "{left:?}"
        );
        assert_eq!(
            drawn((1..=9).map(|i| i as f32 / 10.0)),
            (0..9).collect::<Vec<_>>()
        );
    }

    #[test]
    fn an_image_that_is_not_finite_is_the_worst() {
        let images = [image(0.1), image(f32::NAN), image(0.2)];
        assert_eq!(by_quality(&images, 0), [1, 2, 0]);
    }
}
