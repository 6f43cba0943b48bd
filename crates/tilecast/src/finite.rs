//! Whether a converted model stays finite: every node of it is looked at while it runs, because a later node may hide what
//! an earlier one has lost.

use std::sync::atomic::AtomicUsize;

use schemars::JsonSchema;
use serde::Serialize;
use tilecast_exec::{Engine, Unseen};
use tilecast_onnx::Model;
use tilecast_passes::{RangeEvidence, RangeStudy};

use crate::Failure;
use crate::calibrate::{CalibrateOptions, calibrate};
use crate::context::Context;
use crate::images::ImageFile;
use crate::prepare::{noise_inputs, sizes};

/// What was found when the converted model ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct FiniteCheck {
    /// What it ran on: `calibration images`, `held-out images` or `noise`.
    pub on: &'static str,
    /// NaN and infinite elements of its outputs.
    pub in_outputs: u64,
    /// Nodes that gave a NaN or an infinity where the FP32 model gave none, in graph order: the first is to blame.
    pub nodes: Vec<NonFiniteNode>,
}

/// A node whose result was not finite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NonFiniteNode {
    /// Path of the node.
    pub node: String,
    /// Its output.
    pub value: String,
    /// NaN and infinite elements, over all runs.
    pub count: u64,
}

impl FiniteCheck {
    /// From what was seen of the converted model and, by the same names, of the FP32 model.
    pub(crate) fn new(
        on: &'static str,
        converted: &Model,
        found: &RangeEvidence,
        before: &RangeEvidence,
    ) -> Self {
        let graph = converted.graph();
        let count = |value: &str| found.magnitude(value).map_or(0, |m| m.non_finite);
        let was_finite = |value: &str| before.magnitude(value).is_none_or(|m| m.non_finite == 0);
        let mut check = Self {
            on,
            ..Self::default()
        };
        for (id, node) in graph.nodes() {
            for value in (0..node.output.len()).filter_map(|slot| node.output_name(slot)) {
                if count(value) > 0 && was_finite(value) {
                    check.nodes.push(NonFiniteNode {
                        node: graph.path(id),
                        value: value.to_owned(),
                        count: count(value),
                    });
                }
            }
        }
        let outputs = &graph.proto().output;
        let names = outputs.iter().filter_map(|v| v.name.as_deref());
        check.in_outputs = names.filter(|name| was_finite(name)).map(count).sum();
        check
    }

    /// The first node to blame, in words that continue a sentence; empty where there is none.
    #[must_use]
    pub fn blame(&self) -> String {
        self.nodes.first().map_or_else(String::new, |first| {
            format!(
                "; first at {}, {} of whose elements are NaN or infinite",
                first.node, first.count
            )
        })
    }

    /// Runs both models on noise.
    ///
    /// # Errors
    /// The engine cannot run one of them.
    pub(crate) fn on_noise(
        engine: &dyn Engine,
        before: &Model,
        converted: &Model,
    ) -> Result<Self, Failure> {
        let mut evidence = Vec::new();
        for model in [before, converted] {
            let study = RangeStudy::of(model);
            let mut tally = study.tally();
            for size_px in sizes(before) {
                let (inputs, mut options) = noise_inputs(before, size_px)?;
                options.observe = study.values().to_vec();
                options.unseen = Unseen::Skipped;
                engine.load(model, &options)?.run_observed(
                    &inputs,
                    &mut |value, dims, elements| {
                        study.observe(&mut tally, value, dims, elements);
                    },
                )?;
            }
            evidence.push(study.evidence(&tally));
        }
        Ok(Self::new("noise", converted, &evidence[1], &evidence[0]))
    }
}

/// Extremes of every value of a model over all tiles of all images. `options` say how these are tiled.
///
/// # Errors
/// As [`calibrate`].
pub(crate) fn observe_all(
    engine: &dyn Engine,
    model: &Model,
    images: &[ImageFile],
    options: &CalibrateOptions<'_>,
    done: &AtomicUsize,
    cx: &Context<'_>,
) -> Result<RangeEvidence, Failure> {
    let options = CalibrateOptions {
        values: Vec::new(),
        bins: false,
        study: Some(RangeStudy::of(model)),
        ..options.clone()
    };
    let table = calibrate(engine, model, images, &options, done, cx)?;
    Ok(options.evidence(&table).unwrap_or_default())
}
