//! How images and other inputs reach a model: the recipe's `preprocess`, held against what the model declares.

use std::collections::BTreeMap;

use tilecast_exec::{Engine, FedEngine, ImagePort, PlaneMap};
use tilecast_onnx::Model;
use tilecast_tile::ValueRange;

use crate::recipe::{Color, Layout, Preprocess};
use crate::{Failure, FailureKind};

/// What a model is fed with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Feeding {
    /// Values that stand for black and white on both sides of the network.
    pub(crate) value_range: ValueRange,
    /// Values of the inputs beside the image, by name.
    values: BTreeMap<String, f32>,
    /// What is done to the planes of the image.
    planes: PlaneMap,
}

impl Feeding {
    /// What a recipe says of a model; without one, images in [0, 1], their axes as the model declares them.
    ///
    /// # Errors
    /// The recipe contradicts the model: another layout, a name that is no input, or no input left for the image.
    pub(crate) fn new(preprocess: Option<&Preprocess>, model: &Model) -> Result<Self, Failure> {
        let Some(preprocess) = preprocess else {
            return Ok(Self {
                value_range: ValueRange::UNIT,
                values: BTreeMap::new(),
                planes: PlaneMap::IDENTITY,
            });
        };
        let [low, high] = preprocess.range;
        let value_range = ValueRange::new(low as f32, high as f32)
            .map_err(|e| Failure::new(FailureKind::Usage, e.to_string()))?;
        let planes = plane_map(preprocess);
        let mut zeros = planes.mean;
        if planes.bgr {
            zeros.reverse();
        }
        let feeding = Self {
            value_range: value_range.with_zeros(zeros),
            planes,
            values: preprocess
                .inputs
                .iter()
                .map(|(name, value)| (name.clone(), *value as f32))
                .collect(),
        };
        feeding.check(preprocess.layout, model)?;
        Ok(feeding)
    }

    /// The engine, shown as one that runs models from one image to one image.
    #[must_use]
    pub(crate) fn engine<'a>(&self, inner: &'a dyn Engine) -> FedEngine<'a> {
        FedEngine::new(inner, self.values.clone()).with_planes(self.planes.clone())
    }

    fn check(&self, layout: Layout, model: &Model) -> Result<(), Failure> {
        let graph = model.graph();
        let names: Vec<&str> = graph.inputs().filter_map(|v| v.name.as_deref()).collect();
        let fail = |message: String| Failure::new(FailureKind::Usage, message);
        if let Some(unknown) = self
            .values
            .keys()
            .find(|name| !names.contains(&name.as_str()))
        {
            return Err(fail(format!(
                "`preprocess.inputs` gives a value to `{unknown}`, and `{}` has no such input",
                model.path().display()
            ))
            .with_help(format!("its inputs are {}", names.join(", "))));
        }
        if !names.is_empty() && names.iter().all(|name| self.values.contains_key(*name)) {
            return Err(fail(format!(
                "`preprocess.inputs` gives a value to every input of `{}`, and none is left for the image",
                model.path().display()
            ))
            .with_help("leave the input out that takes the image"));
        }
        let image = graph.inputs().find(|v| {
            !self
                .values
                .contains_key(v.name.as_deref().unwrap_or_default())
        });
        let axes = image.and_then(tilecast_onnx::ImageAxes::of);
        if let Some(channels) = axes.and_then(|axes| axes.channels)
            && channels != 3
            && self.planes != PlaneMap::IDENTITY
        {
            return Err(fail(format!(
                "the recipe gives `preprocess` a `color`, `mean` or `std` for three channels, and `{}` takes {channels}",
                model.path().display()
            ))
            .with_help("leave them out; for one channel, `range` can express a mean and a standard deviation"));
        }
        let found = match axes {
            Some(axes) if axes.channels_last => Layout::Nhwc,
            Some(_) => Layout::Nchw,
            None => return Ok(()),
        };
        if found == layout {
            return Ok(());
        }
        let help = match found {
            Layout::Nhwc => "write `preprocess: { layout: nhwc }`",
            Layout::Nchw => {
                "write `preprocess: { layout: nchw }`; a model whose channels stand last must declare their number, 1 to 4, on \
                 the last axis of its input"
            }
        };
        Err(fail(format!(
            "the recipe says `layout: {layout}`, and `{}` declares its input as {found}",
            model.path().display()
        ))
        .with_help(help))
    }
}

/// What a recipe says of the planes of an image.
fn plane_map(preprocess: &Preprocess) -> PlaneMap {
    let single = |values: [f64; 3]| values.map(|value| value as f32);
    PlaneMap {
        bgr: preprocess.color == Color::Bgr,
        mean: preprocess.mean.map_or(PlaneMap::IDENTITY.mean, single),
        std: preprocess.std.map_or(PlaneMap::IDENTITY.std, single),
        normalized_output: preprocess.normalized_output,
    }
}

/// Planes of the images that a model takes, where it says so.
pub(crate) fn network_planes(model: &Model, engine: &dyn Engine) -> Option<usize> {
    ImagePort::of(model, engine)?.planes()
}
