//! One walk over the nodes: which values carry pixels, where and at which stride, and how each node maps positions.

use std::collections::BTreeMap;

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{Graph, NodeId};

use super::TilingClass;
use super::axis_map::{AxisMap, Path};
use super::error::{AnalyzeError, Refusal};
use super::layout::{Extents, Layout, Pairs, Roll};
use super::operators;
use super::position_tensors::{Content, PositionTensors};
use super::probe::{Probes, image_inputs};
use super::ratio::Ratio;
use super::rolls::Rolls;

/// What a node does to the pixels among its inputs.
#[derive(Clone, Debug)]
pub(crate) struct Effect {
    /// Where its outputs hold pixels; extents of channels are filled in from the shapes.
    pub(crate) layout: Layout,
    /// From output positions to those of the inputs, along rows and columns.
    pub(crate) paths: [Path; 2],
    /// The class that it puts the graph in, where it reads more than a neighbourhood.
    pub(crate) class: Option<TilingClass>,
    /// What it does to positions that a cyclic shift made neighbours.
    pub(crate) mixing: Mixing,
}

/// Whether an operator mixes elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mixing {
    /// Each element of a result comes from one element of each operand.
    None,
    /// It does.
    Any,
    /// As `Any`, but positions meet in a table of pairs only, or under a mask.
    Pairs,
}

impl Effect {
    /// Elements stay or move, and none is mixed with another.
    pub(crate) fn moves(layout: Layout) -> Self {
        Self {
            layout,
            paths: [Path::default(), Path::default()],
            class: None,
            mixing: Mixing::None,
        }
    }

    /// As [`Effect::moves`], reading further positions.
    pub(crate) fn reads(layout: Layout, paths: [Path; 2]) -> Self {
        Self {
            paths,
            mixing: Mixing::Any,
            ..Self::moves(layout)
        }
    }

    /// The same, in this class.
    pub(crate) fn in_class(self, class: TilingClass) -> Self {
        Self {
            class: Some(class),
            ..self
        }
    }
}

/// An input of a node and the paths to it.
pub(crate) type Operand<'a> = (&'a str, [Option<Path>; 2]);

/// A node between pixels: demand on its outputs becomes demand on its inputs.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub(crate) node: &'a NodeProto,
    /// Inputs that carry pixels, with their paths; none along a side where the input has no position.
    pub(crate) inputs: Vec<Operand<'a>>,
}

/// The result of the walk.
#[derive(Debug, Default)]
pub(crate) struct Trace<'a> {
    /// Of each value that is computed from pixels, how it holds them; without positions it is a statistic of the image.
    pub(crate) layouts: BTreeMap<&'a str, Layout>,
    /// In graph order.
    pub(crate) steps: Vec<Step<'a>>,
    /// Nodes that see more than a neighbourhood, and the class that they put the graph in.
    pub(crate) global: Vec<(NodeId, TilingClass)>,
    /// Products that mix the positions of a window, and the window's rows and columns in image pixels.
    pub(crate) windows: Vec<(NodeId, [u64; 2])>,
    /// Reshapes that turn blocks of so many rows and columns into channels.
    pub(crate) unshuffles: Vec<(NodeId, [u64; 2])>,
}

/// What an operator's rule sees.
pub(crate) struct Site<'a, 't> {
    pub(crate) node: &'a NodeProto,
    pub(crate) probes: &'t Probes,
    pub(crate) opset: i64,
    layouts: &'t BTreeMap<&'a str, Layout>,
}

impl Site<'_, '_> {
    /// Dimensions of a value for both probe images.
    fn extents(&self, name: &str) -> Option<Vec<Extents>> {
        self.probes.extents(name)
    }

    /// Dimensions of an input.
    pub(crate) fn input_extents(&self, slot: usize) -> Result<Vec<Extents>, Refusal> {
        let name = self.node.input_name(slot);
        name.and_then(|name| self.extents(name)).ok_or_else(|| {
            Refusal::unsupported(format!("the shape of its input {slot} is unknown"))
        })
    }

    /// Dimensions of an output.
    pub(crate) fn output_extents(&self, slot: usize) -> Result<Vec<Extents>, Refusal> {
        let name = self.node.output_name(slot);
        name.and_then(|name| self.extents(name)).ok_or_else(|| {
            Refusal::unsupported(format!("the shape of its output {slot} is unknown"))
        })
    }

    /// How an input holds pixels; without positions where it does not depend on any.
    pub(crate) fn layout(&self, slot: usize) -> Result<Layout, Refusal> {
        let unknown = || Refusal::unsupported(format!("the shape of its input {slot} is unknown"));
        let name = self.node.input_name(slot).ok_or_else(unknown)?;
        if let Some(layout) = self.layouts.get(name) {
            return Ok(layout.clone());
        }
        let extents = self.extents(name).ok_or_else(unknown)?;
        Ok(Layout::without_positions(&extents))
    }

    /// Whether an input has positions.
    pub(crate) fn has_positions(&self, slot: usize) -> bool {
        let name = self.node.input_name(slot);
        name.and_then(|name| self.layouts.get(name))
            .is_some_and(Layout::has_positions)
    }

    /// The layout of input 0, where no other input has positions.
    pub(crate) fn only_layout(&self) -> Result<Layout, Refusal> {
        if let Some(slot) = (1..self.node.input.len()).find(|&s| self.has_positions(s)) {
            return Err(Refusal::unsupported(format!(
                "its input {slot} carries pixels, which tiling does not support here"
            )));
        }
        if !self.has_positions(0) {
            return Err(Refusal::unsupported("its input 0 carries no pixels"));
        }
        self.layout(0)
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
    let mut walk = Walk {
        opset,
        probes,
        rolls: Rolls::new(graph, probes),
        positions: PositionTensors::new(graph, probes),
        trace: Trace::default(),
    };
    for (name, axes) in image_inputs(graph) {
        let extents = probes.extents(name).unwrap_or_default();
        let rows_axis = if axes.channels_last { 1 } else { 2 };
        let layout = Layout::image(&extents, rows_axis);
        walk.trace.layouts.insert(name, layout);
    }
    for (id, node) in graph.nodes() {
        walk.visit(id, node).map_err(|r| r.at(graph, id))?;
    }
    Ok(walk.trace)
}

struct Walk<'a, 't> {
    opset: i64,
    probes: &'t Probes,
    rolls: Rolls<'a>,
    positions: PositionTensors<'a, 't>,
    trace: Trace<'a>,
}

impl<'a> Walk<'a, '_> {
    fn visit(&mut self, id: NodeId, node: &'a NodeProto) -> Result<(), Refusal> {
        let has_subgraph = node
            .attribute
            .iter()
            .any(|a| a.g.is_some() || !a.graphs.is_empty());
        if has_subgraph {
            return Err(Refusal::unsupported(
                "control flow is not supported; export the model without it",
            ));
        }
        // The shape of an image holds no pixel, and neither does its type.
        let is_type_only = |name: &String| !self.trace.layouts.contains_key(name.as_str());
        if node.is("Shape")
            || node.is("Size")
            || (node.is("CastLike") && node.input.first().is_some_and(is_type_only))
        {
            return Ok(());
        }
        if let Some(roll) = self.rolls.of_join(id) {
            let (source, axis, by) = *roll;
            if self.trace.layouts.contains_key(source) {
                return self.roll(id, node, source, axis, by);
            }
        }
        let from_pixels = |name: &str| self.trace.layouts.contains_key(name);
        if !node.input.iter().any(|name| from_pixels(name)) || self.rolls.is_part(id) {
            return Ok(());
        }
        let has_positions = |name: &str| {
            self.trace
                .layouts
                .get(name)
                .is_some_and(Layout::has_positions)
        };
        if !node.input.iter().any(|name| has_positions(name)) {
            return self.spread_statistic(node);
        }
        let masked = self.check_position_tensors(id, node)?;
        let site = Site {
            node,
            probes: self.probes,
            opset: self.opset,
            layouts: &self.trace.layouts,
        };
        let mut effect = operators::effect(&site)?;
        if masked {
            effect.layout.pairs = Pairs::Masked;
        }
        self.check_rolls(node, &mut effect);
        self.record(id, node, &effect)
    }

    /// A cyclic shift, which exporters write as two slices that change places.
    fn roll(
        &mut self,
        id: NodeId,
        node: &'a NodeProto,
        source: &'a str,
        axis: usize,
        by: i128,
    ) -> Result<(), Refusal> {
        let mut layout = self.trace.layouts[source].clone();
        let side = [0, 1]
            .into_iter()
            .find(|&side| {
                let digits: Vec<_> = layout.digits(side).collect();
                matches!(digits.as_slice(), [(a, digit)] if *a == axis && digit.unit == 1)
                    && layout.axes[axis].len() == 1
            })
            .ok_or_else(|| {
                Refusal::unsupported(
                    "it shifts an axis that is neither rows nor columns cyclically",
                )
            })?;
        let before = layout.roll[side];
        let by_now = before.map_or(0, |r| r.by) + by;
        layout.roll[side] = (by_now != 0).then(|| Roll {
            by: by_now,
            node: before.map_or(id, |r| r.node),
        });
        let mut paths = [Path::default(), Path::default()];
        paths[side].then(AxisMap::Strided { start: by, step: 1 });
        for name in outputs(node) {
            self.trace.layouts.insert(name, layout.clone());
        }
        self.trace.steps.push(Step {
            node,
            inputs: vec![(source, paths.map(Some))],
        });
        Ok(())
    }

    /// What a node reads that has the size of the image and depends on no pixel. The same everywhere, it is harmless; as the
    /// mask of a shifted window, too (`true`); otherwise a tile sees other values than its place in the image has.
    fn check_position_tensors(&mut self, id: NodeId, node: &'a NodeProto) -> Result<bool, Refusal> {
        for name in node.input.iter().filter(|name| !name.is_empty()) {
            if self.trace.layouts.contains_key(name.as_str()) {
                continue;
            }
            match self.probes.varying_axes(name) {
                Some(axes) if axes.is_empty() => continue,
                Some(_) => {}
                None => {
                    return Err(Refusal::unsupported(format!(
                        "its input `{name}` has an unknown shape"
                    )));
                }
            }
            if self.positions.content(name) == Content::Uniform {
                continue;
            }
            let pairs = node.input.iter().find_map(|other| {
                let layout = self.trace.layouts.get(other.as_str())?;
                (layout.pairs == Pairs::Unmasked).then_some(layout)
            });
            if node.is("Add") && pairs.is_some_and(|p| self.positions.masks(name, p)) {
                return Ok(true);
            }
            self.trace.global.push((id, TilingClass::D));
        }
        Ok(false)
    }

    /// A cyclic shift brings opposite borders of the image together. In a tile these are the tile's, so nothing may mix
    /// them: where something does, the shift is what ties the result to the size of the image.
    fn check_rolls(&mut self, node: &NodeProto, effect: &mut Effect) {
        let inputs = node.input.iter();
        let layouts: Vec<&Layout> = inputs
            .filter_map(|name| self.trace.layouts.get(name.as_str()))
            .collect();
        let unmasked =
            effect.mixing != Mixing::None && layouts.iter().any(|l| l.pairs == Pairs::Unmasked);
        for side in 0..2 {
            let mut rolls = layouts
                .iter()
                .filter(|l| l.stride[side].is_some())
                .map(|l| l.roll[side]);
            let Some(first) = rolls.next() else { continue };
            let other = rolls.find(|&roll| roll.map(|r| r.by) != first.map(|r| r.by));
            let Some(roll) = first.or(other.flatten()) else {
                continue;
            };
            let mixes = !effect.paths[side].is_shift() && effect.mixing != Mixing::Pairs;
            if other.is_some() || mixes || unmasked || effect.class.is_some() {
                self.trace.global.push((roll.node, TilingClass::D));
                effect.layout.roll[side] = None;
                effect.layout.pairs = Pairs::None;
            }
        }
    }

    fn record(&mut self, id: NodeId, node: &'a NodeProto, effect: &Effect) -> Result<(), Refusal> {
        if let Some(class) = effect.class {
            self.trace.global.push((id, class));
        }
        let largest = |of: &dyn Fn(&Path) -> u64| [of(&effect.paths[0]), of(&effect.paths[1])];
        if matches!(node.op(), "MatMul" | "Einsum" | "Gemm") {
            let window = largest(&Path::largest_block);
            if window != [1, 1] {
                let px = |side: usize| {
                    let stride = effect.layout.stride[side];
                    let px = stride.map(|s| window[side] * s.numerator() / s.denominator());
                    px.unwrap_or(window[side])
                };
                self.trace.windows.push((id, [px(0), px(1)]));
            }
        }
        let gathered = largest(&Path::gathered);
        if node.is("Reshape") && gathered != [1, 1] {
            self.trace.unshuffles.push((id, gathered));
        }
        let inputs = self.operands(node, effect)?;
        for (slot, name) in outputs(node).enumerate() {
            let layout = self.fitted(name, slot, &effect.layout)?;
            self.trace.layouts.insert(name, layout);
        }
        self.trace.steps.push(Step { node, inputs });
        Ok(())
    }

    /// The layout of an output, checked against its shape: it grows with the image as the strides say, on the axes expected
    /// and no other.
    fn fitted(&self, name: &str, slot: usize, layout: &Layout) -> Result<Layout, Refusal> {
        let extents = self.probes.extents(name).ok_or_else(|| {
            Refusal::unsupported(format!("the shape of its output `{name}` is unknown"))
        })?;
        // Statistics beside the result, as those of a normalization in training.
        if slot > 0 && extents.iter().all(|[small, large]| small == large) {
            return Ok(Layout::without_positions(&extents));
        }
        let fitted = layout.clone().fitted(&extents, self.probes.growth_px);
        fitted.ok_or_else(|| {
            let at = |n: usize| -> Vec<usize> { extents.iter().map(|e| e[n]).collect() };
            Refusal::size_dependent(format!(
                "its output `{name}` does not grow with the image as its stride says ({:?} and then {:?}), so it depends on the absolute size",
                at(0),
                at(1)
            ))
        })
    }

    /// The pixel inputs of a node, each with its path: where its positions are coarser than the finest, one stands for
    /// several.
    fn operands(&self, node: &'a NodeProto, effect: &Effect) -> Result<Vec<Operand<'a>>, Refusal> {
        let mut operands: Vec<Operand<'a>> = Vec::new();
        for name in &node.input {
            let Some(layout) = self.trace.layouts.get(name.as_str()) else {
                continue;
            };
            let mut paths = [None, None];
            for (side, path) in paths.iter_mut().enumerate() {
                let (Some(own), Some(result)) = (layout.stride[side], effect.layout.stride[side])
                else {
                    continue;
                };
                let finest = effect.paths[side]
                    .stride()
                    .and_then(|s| result.times(s.inverse()));
                let coarser = finest.and_then(|f| own.times(f.inverse()));
                let factor = coarser
                    .filter(|c| c.denominator() == 1)
                    .map(Ratio::numerator);
                let factor = factor.ok_or_else(|| {
                    Refusal::unsupported("its inputs have different strides relative to the image")
                })?;
                let spread = if factor == 1 {
                    AxisMap::Same
                } else {
                    AxisMap::Spread {
                        factor: i128::from(factor),
                    }
                };
                *path = Some(effect.paths[side].clone().followed_by(spread.into()));
            }
            operands.push((name, paths));
        }
        Ok(operands)
    }

    /// A node that reads statistics and no positions: its outputs are statistics, or copies of one.
    fn spread_statistic(&mut self, node: &'a NodeProto) -> Result<(), Refusal> {
        for name in outputs(node) {
            let extents = self.probes.extents(name).ok_or_else(|| {
                Refusal::unsupported(format!("the shape of its output `{name}` is unknown"))
            })?;
            self.trace
                .layouts
                .insert(name, Layout::without_positions(&extents));
        }
        Ok(())
    }
}

fn outputs(node: &NodeProto) -> impl Iterator<Item = &str> {
    (0..node.output.len()).filter_map(|slot| node.output_name(slot))
}
