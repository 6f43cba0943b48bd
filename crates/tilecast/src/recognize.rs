//! What a model says of the images it wants, and what has to be guessed.

use tilecast_onnx::proto::{NodeProto, ValueInfoProto};
use tilecast_onnx::{Graph, ImageAxes, Model, declared_extents};

/// Operators that move elements or change their type: what stands behind them has the same values.
const MOVERS: &[&str] = &[
    "Cast",
    "Identity",
    "Transpose",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Slice",
    "Pad",
    "DepthToSpace",
    "SpaceToDepth",
    "Concat",
    "Split",
];

/// Most nodes that are followed from an input or an output.
const MAX_STEPS: usize = 16;

/// Values of black and white, and how they were found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RangeGuess {
    /// Black and white.
    pub(crate) range: [f64; 2],
    /// What in the model says so; `None` where nothing does.
    pub(crate) reason: Option<String>,
}

/// The input that takes the image, and the others.
pub(crate) struct Inputs<'a> {
    /// The image; `None` where no input has four axes.
    pub(crate) image: Option<(&'a ValueInfoProto, ImageAxes)>,
    /// All others, each with whether it is a map of the image's size.
    pub(crate) others: Vec<(&'a str, OtherInput)>,
}

/// What an input beside the image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherInput {
    /// One number, or a few that do not depend on the image's size.
    Number,
    /// A value per pixel.
    Map,
}

/// Tells the image from the other inputs: it has three channels, or else one, or else is the first with four axes.
pub(crate) fn inputs<'a>(graph: &Graph<'a>) -> Inputs<'a> {
    let all: Vec<&'a ValueInfoProto> = graph.inputs().collect();
    let rank = |axes: &ImageAxes| match axes.channels {
        Some(3) => 0,
        Some(1) => 1,
        _ => 2,
    };
    let image = all
        .iter()
        .filter_map(|input| Some((*input, ImageAxes::of(input)?)))
        .filter(|(_, axes)| axes.size != [Some(1); 2])
        .min_by_key(|(_, axes)| rank(axes));
    let is_image =
        |input: &ValueInfoProto| image.is_some_and(|(image, _)| image.name == input.name);
    let others = all
        .iter()
        .filter(|input| !is_image(input))
        .map(|input| {
            let open =
                declared_extents(input).is_some_and(|dims| dims.len() == 4 && dims[2].is_none());
            let kind = if open {
                OtherInput::Map
            } else {
                OtherInput::Number
            };
            (input.name.as_deref().unwrap_or_default(), kind)
        })
        .collect();
    Inputs { image, others }
}

/// Black and white at the input, from what the network does first, or at the output, from what it does last.
pub(crate) fn value_range(model: &Model, image: &str) -> RangeGuess {
    let graph = model.graph();
    let known = at_input(&graph, image).or_else(|| at_output(&graph));
    known.map_or(
        RangeGuess {
            range: [0.0, 1.0],
            reason: None,
        },
        |(range, reason)| RangeGuess {
            range,
            reason: Some(reason),
        },
    )
}

fn at_input(graph: &Graph<'_>, image: &str) -> Option<([f64; 2], String)> {
    let mut value = image;
    for _ in 0..MAX_STEPS {
        let uses = graph.uses(value);
        let node = uses.iter().map(|of| graph.node(of.node)).find(|node| {
            MOVERS.contains(&node.op()) || ["Mul", "Div", "Sub", "Add"].contains(&node.op())
        })?;
        if MOVERS.contains(&node.op()) {
            value = node.output_name(0)?;
            continue;
        }
        let other = (0..2).find(|&slot| node.input_name(slot) != Some(value))?;
        let factor = same_everywhere(graph, node.input_name(other)?)?;
        let near = |wanted: f64| (factor - wanted).abs() < 0.02 * wanted;
        let of_bytes = match node.op() {
            "Div" => near(255.0) || near(127.5),
            "Mul" => near(1.0 / 255.0) || near(1.0 / 127.5),
            "Sub" => near(127.5),
            _ => false,
        };
        return of_bytes.then(|| {
            let reason = format!("the network begins with {} of {factor}", node.op());
            ([0.0, 255.0], reason)
        });
    }
    None
}

fn at_output(graph: &Graph<'_>) -> Option<([f64; 2], String)> {
    let mut value = graph.proto().output.first()?.name.as_deref()?;
    for _ in 0..MAX_STEPS {
        let node = graph.producer_node(value)?;
        match node.op() {
            "Tanh" => return Some(([-1.0, 1.0], "the network ends with Tanh".to_owned())),
            "Sigmoid" => return Some(([0.0, 1.0], "the network ends with Sigmoid".to_owned())),
            "Clip" => {
                let [low, high] = [bound(graph, node, 1, "min")?, bound(graph, node, 2, "max")?];
                let reason = format!("the network ends with Clip to [{low}, {high}]");
                return (low < high).then_some(([low, high], reason));
            }
            op if MOVERS.contains(&op) => value = node.input_name(0)?,
            _ => return None,
        }
    }
    None
}

/// A bound of `Clip`: an input since opset 11, an attribute before.
fn bound(graph: &Graph<'_>, node: &NodeProto, slot: usize, attribute: &str) -> Option<f64> {
    match node.input_name(slot) {
        Some(name) => same_everywhere(graph, name),
        None => node.float(attribute).ok()?.map(f64::from),
    }
}

/// The one value that a constant has everywhere.
fn same_everywhere(graph: &Graph<'_>, name: &str) -> Option<f64> {
    let values = graph.constant(name).ok()??.to_f32_vec()?;
    let first = *values.first()?;
    let same = values
        .iter()
        .all(|value| value.to_bits() == first.to_bits());
    same.then_some(f64::from(first))
}
