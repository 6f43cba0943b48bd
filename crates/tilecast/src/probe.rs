//! Probes: small runs that put the static verdict about tiles to the test.
//!
//! The analysis reads the graph; a probe runs it, on images of noise as small as the halo allows, and knows nothing of the
//! graph. Each probe says what it measured and whether that agrees with the verdict. A disagreement is a defect, of the
//! analysis or of the engine, and is reported as one.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use tilecast_analysis::{AnalyzeError, Reach, TilingAnalysis, TilingClass, analyze};
use tilecast_exec::{Engine, HostTensor, Session, SessionOptions, TractEngine};
use tilecast_onnx::{ImageAxes, Model};

use crate::context::Context;
use crate::{Failure, FailureKind};

/// What two runs may differ by, of the range of the output: the order of float sums.
const TOLERANCE: f32 = 2e-5;

/// Influence smaller than this, of the range of the output, is rounding.
const INFLUENCE: f32 = 1e-6;

/// Positions around the smallest image that the halo allows, pixels.
const MARGIN_PX: usize = 16;

/// Longer sides are not run: a probe is to be quick.
const MAX_SIDE_PX: usize = 1024;

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProbeCheck {
    /// Stable name: `aligned-tile`, `misaligned-tile`, `far-pixel`, `border`, `two-sizes`.
    pub probe: &'static str,
    /// Whether it agrees with the static verdict; null where it was not run.
    pub agrees: Option<bool>,
    /// The largest difference, of the range of the output, or how far an influence reaches, pixels.
    pub measured: Option<f64>,
    /// What was measured, what the verdict implies, or why it was not run.
    pub message: String,
}

impl ProbeCheck {
    fn of(probe: &'static str, agrees: bool, measured: f64, message: String) -> Self {
        Self {
            probe,
            agrees: Some(agrees),
            measured: Some(measured),
            message,
        }
    }

    fn skipped(probe: &'static str, reason: impl Into<String>) -> Self {
        Self {
            probe,
            agrees: None,
            measured: None,
            message: reason.into(),
        }
    }
}

/// Runs all probes of a model.
///
/// # Errors
/// The engine cannot run the model, or the user interrupts.
pub(crate) fn probe(model: &Model, cx: &Context<'_>) -> Result<Vec<ProbeCheck>, Failure> {
    let verdict = analyze(model);
    let prober = Prober::new(model)?;
    let names = ["aligned-tile", "misaligned-tile", "far-pixel", "border"];
    let skip_all = |reason: &str| -> Vec<ProbeCheck> {
        let skipped = names.iter().map(|name| ProbeCheck::skipped(name, reason));
        skipped.collect()
    };
    let mut checks = match &verdict {
        Err(error) => skip_all(&format!("there is no verdict to test: {error}")),
        Ok(facts) => match Setup::new(facts) {
            None => skip_all(&format!(
                "images that hold the halo would be longer than {MAX_SIDE_PX} px"
            )),
            Some(setup) => vec![
                prober.aligned_tile(&setup, cx)?,
                prober.misaligned_tile(&setup, cx)?,
                prober.far_pixel(&setup, cx)?,
                prober.border(&setup, cx)?,
            ],
        },
    };
    checks.push(prober.two_sizes(&verdict, cx)?);
    Ok(checks)
}

/// An image or a result, [channels, height, width].
struct Picture {
    channels: usize,
    size: [usize; 2],
    data: Vec<f32>,
}

impl Picture {
    /// Noise in [0, 1), the same for the same size.
    fn noise(channels: usize, size: [usize; 2]) -> Self {
        let value = |index: usize| {
            let mixed = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed >> 40) as f32 / (1u32 << 24) as f32
        };
        Self {
            channels,
            size,
            data: (0..channels * size[0] * size[1]).map(value).collect(),
        }
    }

    fn constant(channels: usize, size: [usize; 2], value: f32) -> Self {
        Self {
            channels,
            size,
            data: vec![value; channels * size[0] * size[1]],
        }
    }

    fn at(&self, channel: usize, row: usize, column: usize) -> f32 {
        self.data[(channel * self.size[0] + row) * self.size[1] + column]
    }

    fn crop(&self, rows: Range<usize>, columns: Range<usize>) -> Self {
        let mut data = Vec::with_capacity(self.channels * rows.len() * columns.len());
        for channel in 0..self.channels {
            for row in rows.clone() {
                data.extend(columns.clone().map(|column| self.at(channel, row, column)));
            }
        }
        Self {
            channels: self.channels,
            size: [rows.len(), columns.len()],
            data,
        }
    }

    /// The same with one block replaced by its complement.
    fn with_inverted(mut self, rows: Range<usize>, columns: Range<usize>) -> Self {
        for channel in 0..self.channels {
            for row in rows.clone() {
                for column in columns.clone() {
                    let index = (channel * self.size[0] + row) * self.size[1] + column;
                    self.data[index] = 1.0 - self.data[index];
                }
            }
        }
        self
    }

    /// Width of the range of its values; 1 where they are all the same.
    fn range(&self) -> f32 {
        let ends = |(low, high): (f32, f32), &v: &f32| (low.min(v), high.max(v));
        let (low, high) = self.data.iter().fold((f32::MAX, f32::MIN), ends);
        if high > low { high - low } else { 1.0 }
    }
}

/// Sizes and places that a verdict implies.
struct Setup {
    class: TilingClass,
    reach: Reach,
    halo_px: usize,
    period_px: usize,
    /// Output pixels for so many image pixels.
    scale: [usize; 2],
    /// Side of the block that is looked at.
    core_px: usize,
    /// Distance of tiles from the border of the image.
    step_px: usize,
    is_fixed: bool,
}

impl Setup {
    fn new(facts: &TilingAnalysis) -> Option<Self> {
        let period_px = facts.alignment_px;
        let unbounded = Reach {
            top: MARGIN_PX,
            bottom: MARGIN_PX,
            left: MARGIN_PX,
            right: MARGIN_PX,
        };
        let reach = facts.reach.unwrap_or(unbounded);
        let setup = Self {
            class: facts.tiling_class,
            reach,
            halo_px: reach.max().next_multiple_of(period_px),
            period_px,
            scale: [facts.scale.numerator, facts.scale.denominator],
            core_px: MARGIN_PX.next_multiple_of(period_px),
            step_px: MARGIN_PX.next_multiple_of(period_px),
            is_fixed: facts.declared_size.is_some(),
        };
        (setup.image_px()[1] <= MAX_SIDE_PX).then_some(setup)
    }

    fn tile_px(&self) -> usize {
        self.core_px + 2 * self.halo_px
    }

    /// Height and width differ, so that a mix-up shows.
    fn image_px(&self) -> [usize; 2] {
        let height = self.tile_px() + 2 * self.step_px;
        [height, height + self.period_px]
    }

    fn to_output(&self, px: usize) -> usize {
        px * self.scale[0] / self.scale[1]
    }

    fn output_range(&self, px: Range<usize>) -> Range<usize> {
        self.to_output(px.start)..self.to_output(px.end)
    }
}

struct Prober<'a> {
    model: &'a Model,
    engine: TractEngine,
    input: String,
    channels: usize,
    /// By height and width.
    sessions: RefCell<BTreeMap<[usize; 2], Arc<dyn Session>>>,
    /// The result of the image that all probes of a verdict start from.
    whole: OnceCell<Picture>,
}

impl<'a> Prober<'a> {
    fn new(model: &'a Model) -> Result<Self, Failure> {
        let graph = model.graph();
        let inputs: Vec<_> = graph.inputs().collect();
        let [input] = inputs.as_slice() else {
            return Err(Failure::new(
                FailureKind::Model,
                format!(
                    "`{}` has {} inputs; probes run models from one image to one image",
                    model.path().display(),
                    inputs.len()
                ),
            )
            .with_help("lint it without --probe"));
        };
        let axes = ImageAxes::of(input);
        if axes.is_some_and(|axes| axes.channels_last) {
            return Err(Failure::new(
                FailureKind::Model,
                format!(
                    "`{}` takes images with channels last; probes run models that take them first",
                    model.path().display()
                ),
            )
            .with_help("lint it without --probe"));
        }
        let channels = axes.and_then(|axes| axes.channels);
        Ok(Self {
            model,
            engine: TractEngine::new(),
            input: input.name.clone().unwrap_or_default(),
            channels: channels.unwrap_or(3),
            sessions: RefCell::default(),
            whole: OnceCell::new(),
        })
    }

    fn session(&self, size: [usize; 2]) -> Result<Arc<dyn Session>, Failure> {
        if let Some(session) = self.sessions.borrow().get(&size) {
            return Ok(Arc::clone(session));
        }
        let session = self.load(size)?;
        self.sessions
            .borrow_mut()
            .insert(size, Arc::clone(&session));
        Ok(session)
    }

    fn image(&self, setup: &Setup) -> Picture {
        Picture::noise(self.channels, setup.image_px())
    }

    /// What the model makes of [`Prober::image`].
    fn whole(&self, setup: &Setup, cx: &Context<'_>) -> Result<&Picture, Failure> {
        if let Some(whole) = self.whole.get() {
            return Ok(whole);
        }
        let whole = self.run(&self.image(setup), cx)?;
        Ok(self.whole.get_or_init(|| whole))
    }

    fn load(&self, size: [usize; 2]) -> Result<Arc<dyn Session>, Failure> {
        let options = SessionOptions {
            input_shapes: vec![(self.input.clone(), vec![1, self.channels, size[0], size[1]])],
            ..SessionOptions::default()
        };
        let loaded = self.engine.load(self.model, &options);
        loaded.map_err(|error| {
            Failure::new(FailureKind::Model, error.to_string()).about(format!(
                "{}, probed at {}x{} px",
                self.model.path().display(),
                size[1],
                size[0]
            ))
        })
    }

    fn run(&self, image: &Picture, cx: &Context<'_>) -> Result<Picture, Failure> {
        cx.check()?;
        let session = self.session(image.size)?;
        let dims = vec![1, image.channels, image.size[0], image.size[1]];
        let inputs = [HostTensor::new(dims, image.data.clone())];
        let failed = |message: String| {
            Failure::new(FailureKind::Model, message)
                .about(self.model.path().display())
                .with_help("lint it without --probe")
        };
        let outputs = session.run(&inputs).map_err(|e| failed(e.to_string()))?;
        match outputs.into_iter().next() {
            Some(output) if output.dims().len() == 4 && output.dims()[0] == 1 => Ok(Picture {
                channels: output.dims()[1],
                size: [output.dims()[2], output.dims()[3]],
                data: output.into_data(),
            }),
            _ => Err(failed("its first output is no image".into())),
        }
    }

    /// The largest difference between the whole image's core and that of a tile whose origin is moved by `shift_px`, and
    /// the part of the core that is equal.
    fn tile_against_whole(
        &self,
        setup: &Setup,
        shift_px: usize,
        cx: &Context<'_>,
    ) -> Result<(f32, f64), Failure> {
        let image = self.image(setup);
        let whole = self.whole(setup, cx)?;
        let origin = setup.step_px + shift_px;
        let tile = image.crop(
            origin..origin + setup.tile_px(),
            origin..origin + setup.tile_px(),
        );
        let tiled = self.run(&tile, cx)?;
        let inside = setup.output_range(setup.halo_px..setup.halo_px + setup.core_px);
        let place = setup.to_output(origin);
        let range = whole.range();
        let (mut largest, mut n_equal, mut n) = (0.0_f32, 0usize, 0usize);
        for channel in 0..whole.channels {
            for row in inside.clone() {
                for column in inside.clone() {
                    let a = whole.at(channel, place + row, place + column);
                    let b = tiled.at(channel, row, column);
                    let difference = (a - b).abs() / range;
                    largest = if difference.is_nan() {
                        f32::INFINITY
                    } else {
                        largest.max(difference)
                    };
                    n_equal += usize::from(difference <= TOLERANCE);
                    n += 1;
                }
            }
        }
        Ok((largest, n_equal as f64 / n.max(1) as f64))
    }

    fn aligned_tile(&self, setup: &Setup, cx: &Context<'_>) -> Result<ProbeCheck, Failure> {
        let (largest, _) = self.tile_against_whole(setup, 0, cx)?;
        let is_equal = largest <= TOLERANCE;
        let (agrees, implied) = match setup.class {
            TilingClass::A | TilingClass::B => (is_equal, "tiles with their halo are exact"),
            TilingClass::C => (!is_equal, "statistics of the tile show"),
            _ => (!is_equal, "no tile is exact"),
        };
        let message = format!(
            "a tile at an aligned origin differs from the whole image by {largest:.1e} of the range at most; class {} says that {implied}",
            setup.class
        );
        Ok(ProbeCheck::of(
            "aligned-tile",
            agrees,
            largest.into(),
            message,
        ))
    }

    fn misaligned_tile(&self, setup: &Setup, cx: &Context<'_>) -> Result<ProbeCheck, Failure> {
        let name = "misaligned-tile";
        // Whether some origin differs by less than the scale of the output, one of them can.
        if setup.period_px == 1 {
            return Ok(ProbeCheck::skipped(name, "every origin is aligned"));
        }
        if setup.scale[1] != 1 {
            return Ok(ProbeCheck::skipped(
                name,
                "a pixel is less than one of the output",
            ));
        }
        if !setup.class.is_exact() {
            return Ok(ProbeCheck::skipped(name, "aligned tiles differ already"));
        }
        let (largest, equal) = self.tile_against_whole(setup, 1, cx)?;
        let message = format!(
            "a tile one pixel off the grid differs by {largest:.1e} of the range, and {:.1} % of its core is equal; a period of {} px says that it differs",
            100.0 * equal,
            setup.period_px
        );
        Ok(ProbeCheck::of(
            name,
            largest > TOLERANCE,
            largest.into(),
            message,
        ))
    }

    /// Inverts one aligned block of the image and looks how far that is felt.
    fn far_pixel(&self, setup: &Setup, cx: &Context<'_>) -> Result<ProbeCheck, Failure> {
        let [height, width] = setup.image_px();
        let period = setup.period_px;
        let place = |side: usize| side / 2 / period * period;
        let (top, left) = (place(height), place(width));
        let image = self.image(setup);
        let before = self.whole(setup, cx)?;
        let changed = image.with_inverted(top..top + period, left..left + period);
        let after = self.run(&changed, cx)?;
        let range = before.range();
        // Of all output pixels that change, how far before and behind the block they lie, in image pixels.
        let (mut beyond, mut felt) = ([0usize; 4], false);
        for channel in 0..before.channels {
            for row in 0..before.size[0] {
                for column in 0..before.size[1] {
                    let difference =
                        (before.at(channel, row, column) - after.at(channel, row, column)).abs();
                    if difference <= INFLUENCE * range {
                        continue;
                    }
                    felt = true;
                    let to_image = |at: usize| at * setup.scale[1] / setup.scale[0];
                    let (row, column) = (to_image(row), to_image(column));
                    let far = [
                        top.saturating_sub(row),
                        (row + 1).saturating_sub(top + period),
                        left.saturating_sub(column),
                        (column + 1).saturating_sub(left + period),
                    ];
                    beyond = [0, 1, 2, 3].map(|i| beyond[i].max(far[i]));
                }
            }
        }
        let farthest = beyond.into_iter().max().unwrap_or(0);
        let Reach {
            top,
            bottom,
            left,
            right,
        } = setup.reach;
        // An output block above the changed one is reached by what it needs below.
        let allowed = [bottom, top, right, left].map(|px| px.next_multiple_of(period));
        let is_inside = beyond
            .iter()
            .zip(allowed)
            .all(|(&px, allowed)| px <= allowed);
        let (agrees, implied) = match setup.class {
            TilingClass::A | TilingClass::B => {
                (is_inside, format!("no farther than {} px", setup.halo_px))
            }
            TilingClass::C => (
                !is_inside,
                "across the image, by a statistic of it".to_owned(),
            ),
            _ => (true, "to no known distance".to_owned()),
        };
        let message = if felt {
            format!(
                "a change of one block is felt up to {farthest} px beyond it; class {} says {implied}",
                setup.class
            )
        } else {
            format!(
                "a change of one block is not felt at all; class {} says {implied}",
                setup.class
            )
        };
        Ok(ProbeCheck::of(
            "far-pixel",
            agrees,
            farthest as f64,
            message,
        ))
    }

    /// Runs a constant image: what differs from block to block is the border's doing, or that of absolute positions.
    fn border(&self, setup: &Setup, cx: &Context<'_>) -> Result<ProbeCheck, Failure> {
        let name = "border";
        if setup.scale[1] != 1 {
            return Ok(ProbeCheck::skipped(
                name,
                "a pixel is less than one of the output",
            ));
        }
        let image = Picture::constant(self.channels, setup.image_px(), 0.5);
        let result = self.run(&image, cx)?;
        let range = self.whole(setup, cx)?.range();
        let step = setup.to_output(setup.period_px);
        let mut depth = 0;
        for channel in 0..result.channels {
            for row in 0..result.size[0] {
                for column in 0..result.size[1] {
                    // The same place of the block in the middle.
                    let middle = |at: usize, n: usize| n / 2 / step * step + at % step;
                    let inner = result.at(
                        channel,
                        middle(row, result.size[0]),
                        middle(column, result.size[1]),
                    );
                    if (result.at(channel, row, column) - inner).abs() <= TOLERANCE * range {
                        continue;
                    }
                    let from_edge = |at: usize, n: usize| (at + 1).min(n - at);
                    let distance =
                        from_edge(row, result.size[0]).min(from_edge(column, result.size[1]));
                    depth = depth.max(distance.div_ceil(setup.scale[0]));
                }
            }
        }
        let agrees = setup.class > TilingClass::C || depth <= setup.halo_px;
        let message = format!(
            "with a constant image the border is felt up to {depth} px inside; the verdict says up to {} px",
            setup.halo_px
        );
        Ok(ProbeCheck::of(name, agrees, depth as f64, message))
    }

    fn two_sizes(
        &self,
        verdict: &Result<TilingAnalysis, AnalyzeError>,
        cx: &Context<'_>,
    ) -> Result<ProbeCheck, Failure> {
        let name = "two-sizes";
        let setup = verdict.as_ref().ok().and_then(Setup::new);
        if setup.as_ref().is_some_and(|s| s.is_fixed) {
            return Ok(ProbeCheck::skipped(name, "the model declares one size"));
        }
        let [height, width] = setup.as_ref().map_or([128, 192], Setup::image_px);
        let more = setup.as_ref().map_or(64, |s| s.period_px);
        let mut sizes = Vec::new();
        for size in [[height, width], [height + more, width + more]] {
            match self.run(&Picture::noise(self.channels, size), cx) {
                Ok(result) => sizes.push((size, result.size)),
                Err(failure) if failure.kind() == FailureKind::Interrupted => return Err(failure),
                Err(failure) => {
                    let agrees = verdict.is_err();
                    let message = format!("at {}x{} px: {failure}", size[1], size[0]);
                    return Ok(ProbeCheck::of(name, agrees, sizes.len() as f64, message));
                }
            }
        }
        let follows = setup.as_ref().is_none_or(|setup| {
            let scaled = |size: [usize; 2]| size.map(|px| setup.to_output(px));
            sizes.iter().all(|&(size, result)| scaled(size) == result)
        });
        let results: Vec<String> = sizes
            .iter()
            .map(|(size, result)| format!("{}x{} to {}x{}", size[1], size[0], result[1], result[0]))
            .collect();
        let message = format!("runs at two sizes: {}", results.join(", "));
        Ok(ProbeCheck::of(name, follows, sizes.len() as f64, message))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::context::Silent;

    fn probed(file: &str) -> Vec<ProbeCheck> {
        static NEVER: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
        let model = Model::load(&models.join(file)).unwrap();
        probe(&model, &Context::new(&Silent, &NEVER)).unwrap()
    }

    /// One file of each architecture and class; both exporters' files have the same verdict, which is tested elsewhere.
    #[test]
    fn no_probe_disagrees_with_the_verdict_on_any_export() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/exports");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| Path::new(name).extension().is_some_and(|e| e == "onnx"))
            .collect();
        files.sort();
        files.push("../srvgg-x2.onnx".into());
        for file in files {
            for check in probed(&format!("exports/{file}")) {
                assert_ne!(check.agrees, Some(false), "{file}: {check:?}");
                if check.agrees.is_none() {
                    assert!(check.probe == "misaligned-tile", "{file}: {check:?}");
                }
            }
        }
    }
}
