//! One walk over the nodes: which values carry pixels, on which axes, at which stride, and how each node maps positions.

use std::collections::BTreeMap;

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, NodeId};

use super::TilingClass;
use super::axis_map::AxisMap;
use super::error::{AnalyzeError, Refusal};
use super::operators;
use super::probe::{Probes, image_inputs};
use super::ratio::Ratio;

/// What a value is, seen from the image. A value that depends on no pixel has no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It has a row axis and a column axis.
    Pixels(Grid),
    /// It is computed from pixels and has no axis that follows the image: a gate, a pooled vector.
    Statistic,
}

/// Where a value's pixels lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    /// Which axes are rows and columns.
    pub(crate) axes: [usize; 2],
    /// Image pixels per position, along rows and columns.
    pub(crate) stride: [Ratio; 2],
}

/// What a node does to pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effect {
    /// Each output position depends on nearby input positions only.
    Local(Motion),
    /// As `Local`, with statistics of the whole input besides.
    WithStatistics(Motion),
    /// The image is reduced to something without pixels.
    Reduction,
    /// Output positions depend on far or unknown input positions; the class says why.
    Unbounded(TilingClass, Motion),
}

/// How positions move from the inputs to the outputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Motion {
    /// Row and column axis of the outputs.
    pub(crate) axes: [usize; 2],
    /// Along rows and columns.
    pub(crate) maps: [AxisMap; 2],
}

/// A node with local effect: demand on its outputs becomes demand on its pixel inputs.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub(crate) node: &'a NodeProto,
    pub(crate) maps: [AxisMap; 2],
}

/// The result of the walk.
#[derive(Debug, Default)]
pub(crate) struct Trace<'a> {
    pub(crate) roles: BTreeMap<&'a str, Role>,
    /// In graph order.
    pub(crate) steps: Vec<Step<'a>>,
    /// Nodes that see more than a neighbourhood, and the class that they put the graph in.
    pub(crate) global: Vec<(NodeId, TilingClass)>,
}

/// What an operator's rule sees.
pub(crate) struct Site<'a, 't> {
    pub(crate) node: &'a NodeProto,
    pub(crate) probes: &'t Probes,
    pub(crate) opset: i64,
    roles: &'t BTreeMap<&'a str, Role>,
}

impl Site<'_, '_> {
    /// The grid of an input that carries pixels.
    pub(crate) fn grid(&self, slot: usize) -> Option<Grid> {
        match self.roles.get(self.node.input_name(slot)?)? {
            Role::Pixels(grid) => Some(*grid),
            Role::Statistic => None,
        }
    }

    /// The grid of input 0, where no other input carries pixels.
    pub(crate) fn only_grid(&self) -> Result<Grid, Refusal> {
        if let Some(slot) = (1..self.node.input.len()).find(|&s| self.grid(s).is_some()) {
            return Err(Refusal::unsupported(format!(
                "its input {slot} carries pixels, which tiling does not support here"
            )));
        }
        self.grid(0)
            .ok_or_else(|| Refusal::unsupported("its input 0 carries no pixels"))
    }

    /// Dimensions of an input for the small probe image.
    pub(crate) fn dims(&self, slot: usize) -> Result<&[usize], Refusal> {
        self.node
            .input_name(slot)
            .and_then(|name| self.probes.small.shape(name))
            .ok_or_else(|| {
                Refusal::unsupported(format!("the shape of its input {slot} is unknown"))
            })
    }
}

/// Walks the graph.
pub(crate) fn trace<'a>(
    graph: &Graph<'a>,
    opset: i64,
    probes: &Probes,
) -> Result<Trace<'a>, AnalyzeError> {
    let mut trace = Trace::default();
    for (name, _) in image_inputs(graph) {
        let grid = Grid {
            axes: [2, 3],
            stride: [Ratio::ONE; 2],
        };
        trace.roles.insert(name, Role::Pixels(grid));
    }
    for (id, node) in graph.nodes() {
        visit(&mut trace, opset, probes, id, node).map_err(|r| r.at(graph, id))?;
    }
    Ok(trace)
}

fn visit<'a>(
    trace: &mut Trace<'a>,
    opset: i64,
    probes: &Probes,
    id: NodeId,
    node: &'a NodeProto,
) -> Result<(), Refusal> {
    let role = |name: &String| trace.roles.get(name.as_str()).copied();
    let has_subgraph = node
        .attribute
        .iter()
        .any(|a| a.g.is_some() || !a.graphs.is_empty());
    if has_subgraph {
        return Err(Refusal::unsupported(
            "control flow is not supported; export the model without it",
        ));
    }
    // The shape of an image holds no pixel.
    if node.is("Shape") || node.is("Size") || node.input.iter().all(|n| role(n).is_none()) {
        return Ok(());
    }
    let grids: Vec<Grid> = node
        .input
        .iter()
        .filter_map(role)
        .filter_map(|role| match role {
            Role::Pixels(grid) => Some(grid),
            Role::Statistic => None,
        })
        .collect();
    let Some(&first) = grids.first() else {
        return spread_statistic(trace, probes, node);
    };
    refuse_position_tensors(trace, probes, node)?;
    let site = Site {
        node,
        probes,
        opset,
        roles: &trace.roles,
    };
    let effect = operators::effect(&site)?;
    let motion = match effect {
        Effect::Reduction => {
            trace.global.push((id, TilingClass::C));
            trace
                .roles
                .extend(outputs(node).map(|name| (name, Role::Statistic)));
            return Ok(());
        }
        Effect::Local(motion) => motion,
        Effect::WithStatistics(motion) => {
            trace.global.push((id, TilingClass::C));
            motion
        }
        Effect::Unbounded(class, motion) => {
            trace.global.push((id, class));
            motion
        }
    };
    if grids.iter().any(|g| g.stride != first.stride) {
        return Err(Refusal::unsupported(
            "its inputs have different strides relative to the image",
        ));
    }
    let mut stride = first.stride;
    for (stride, map) in stride.iter_mut().zip(&motion.maps) {
        *stride = map
            .stride()
            .and_then(|s| stride.times(s))
            .ok_or_else(|| Refusal::unsupported("its stride is too large"))?;
    }
    let grid = Grid {
        axes: motion.axes,
        stride,
    };
    for name in outputs(node) {
        let role = output_role(probes, name, grid)?;
        trace.roles.insert(name, role);
    }
    trace.steps.push(Step {
        node,
        maps: motion.maps,
    });
    Ok(())
}

fn outputs(node: &NodeProto) -> impl Iterator<Item = &str> {
    (0..node.output.len()).filter_map(|slot| node.output_name(slot))
}

/// Checks that an output grows with the image as its stride says, on the axes expected and no other.
fn output_role(probes: &Probes, name: &str, grid: Grid) -> Result<Role, Refusal> {
    let (Some(small), Some(large), Some(varying)) = (
        probes.small.shape(name),
        probes.large.shape(name),
        probes.varying_axes(name),
    ) else {
        return Err(Refusal::unsupported(format!(
            "the shape of its output `{name}` is unknown"
        )));
    };
    if varying.is_empty() {
        return Ok(Role::Statistic);
    }
    let mut expected = grid.axes;
    expected.sort_unstable();
    let as_expected = varying == expected
        && grid.axes.iter().zip(grid.stride).all(|(&axis, stride)| {
            let positions = large[axis].abs_diff(small[axis]) as u128;
            large[axis] > small[axis]
                && positions * u128::from(stride.numerator())
                    == probes.growth_px as u128 * u128::from(stride.denominator())
        });
    if !as_expected {
        return Err(Refusal::size_dependent(format!(
            "its output `{name}` does not grow with the image as its stride says ({small:?} and then {large:?}), so it depends on the absolute size"
        )));
    }
    Ok(Role::Pixels(grid))
}

/// A node that reads statistics and no pixels: its outputs are statistics, wherever they came from.
fn spread_statistic<'a>(
    trace: &mut Trace<'a>,
    probes: &Probes,
    node: &'a NodeProto,
) -> Result<(), Refusal> {
    for name in outputs(node) {
        if probes
            .varying_axes(name)
            .is_none_or(|axes| !axes.is_empty())
        {
            return Err(Refusal::unsupported(format!(
                "it spreads a statistic of the image to the unknown or image-sized output `{name}`"
            )));
        }
        trace.roles.insert(name, Role::Statistic);
    }
    Ok(())
}

/// Refuses image-sized inputs that depend on no pixel: coordinate grids, position embeddings.
fn refuse_position_tensors(
    trace: &Trace<'_>,
    probes: &Probes,
    node: &NodeProto,
) -> Result<(), Refusal> {
    for name in node.input.iter().filter(|name| !name.is_empty()) {
        if trace.roles.contains_key(name.as_str()) {
            continue;
        }
        let problem = match probes.varying_axes(name) {
            Some(axes) if axes.is_empty() => continue,
            Some(_) => {
                "has the size of the image and depends on no pixel; a tile would see other positions"
            }
            None => "has an unknown shape",
        };
        return Err(Refusal::unsupported(format!(
            "its input `{name}` {problem}"
        )));
    }
    Ok(())
}
