//! What every cut needs: the switch, weight maps, statistic inputs and outputs, and nodes that tell one from the other.

use std::collections::HashMap;

use tilecast_analysis::{Merge, SweepContract, SweptStatistic, WeightMap};
use tilecast_onnx::proto::{DimValue, NodeProto};
use tilecast_onnx::{
    DataType, Graph, NodeId, Patch, Tensor, TypeMap, attribute, infer_types, node, value_info,
};

use super::grid::{Grid, Grids, Layout};
use crate::names::FreshNames;

/// What a value is multiplied by before a statistic is taken of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weighting {
    /// The weights.
    Plain,
    /// Their roots, for what is squared afterwards.
    Root,
}

/// The parts of a weight map, by name of the value.
#[derive(Clone, Debug)]
struct Weights {
    grid: Grid,
    /// `[1, 1, h, w]`, or `[1, h·w]` for merged positions.
    map: String,
    root: Option<String>,
    inside: Option<String>,
}

/// A patch in the making, and the contract that goes with it.
pub(super) struct Cutter<'a, 'g> {
    pub(super) graph: &'a Graph<'g>,
    pub(super) grids: &'a Grids,
    types: TypeMap<'g>,
    names: FreshNames,
    patch: Patch,
    contract: SweepContract,
    /// Boolean `[1]`, once it is needed.
    switched: Option<String>,
    weights: Vec<Weights>,
    /// Float32 forms of values that have another type.
    casts: HashMap<String, String>,
    /// Nodes that read nothing but added inputs and initializers.
    first: Vec<NodeProto>,
    /// Nodes of the cut in the making, behind the node that is cut.
    nodes: Vec<NodeProto>,
}

impl<'a, 'g> Cutter<'a, 'g> {
    pub(super) fn new(graph: &'a Graph<'g>, grids: &'a Grids) -> Self {
        let mut names = FreshNames::of(graph);
        let switch = names.fresh("sweep", ".switch");
        Self {
            graph,
            grids,
            types: infer_types(graph),
            names,
            patch: Patch::default(),
            contract: SweepContract {
                switch,
                weights: Vec::new(),
                statistics: Vec::new(),
                depth: 0,
            },
            switched: None,
            weights: Vec::new(),
            casts: HashMap::new(),
            first: Vec::new(),
            nodes: Vec::new(),
        }
    }

    /// The patch and the contract, whose levels are still open.
    pub(super) fn finish(mut self) -> (Patch, SweepContract) {
        if self.contract.statistics.is_empty() {
            return (Patch::default(), self.contract);
        }
        let number = |n: usize| DimValue::DimValue(n as i64);
        self.patch.add_input(value_info(
            &self.contract.switch,
            DataType::F32,
            vec![number(1)],
        ));
        for (index, map) in self.contract.weights.iter().enumerate() {
            let side = |side: &str| DimValue::DimParam(format!("sweep_{side}_{index}"));
            let dims = vec![number(1), number(1), side("rows"), side("columns")];
            self.patch
                .add_input(value_info(&map.input, DataType::F32, dims));
        }
        for statistic in &self.contract.statistics {
            let dims = || statistic.dims.iter().map(|&n| number(n)).collect();
            self.patch
                .add_input(value_info(&statistic.input, DataType::F32, dims()));
            self.patch
                .add_output(value_info(&statistic.output, DataType::F32, dims()));
        }
        for node in self.first {
            self.patch.insert_first(node);
        }
        (self.patch, self.contract)
    }

    /// Adds a node to the cut in the making and returns the name of its output.
    pub(super) fn add(&mut self, op: &str, inputs: &[&str]) -> String {
        let output = self.names.fresh("sweep", &format!(".{op}"));
        self.nodes.push(node(op, &output, inputs, &[&output]));
        output
    }

    /// Adds a copy of a node with other first inputs; returns the name of its output.
    pub(super) fn add_like(&mut self, id: NodeId, inputs: &[&str]) -> String {
        let mut copy = self.graph.node(id).clone();
        let output = self.names.fresh("sweep", &format!(".{}", copy.op()));
        for (slot, name) in inputs.iter().enumerate() {
            (*name).clone_into(&mut copy.input[slot]);
        }
        copy.output = vec![output.clone()];
        copy.name = Some(output.clone());
        self.nodes.push(copy);
        output
    }

    /// Adds a constant; returns its name.
    pub(super) fn constant(&mut self, tensor: &Tensor) -> String {
        let name = self.names.fresh("sweep", ".constant");
        self.patch.set_initializer(&name, tensor);
        name
    }

    /// A reshaped value; the target may hold the 0 and -1 of the operator.
    pub(super) fn reshape(&mut self, value: &str, target: &[i64]) -> String {
        let target = self.constant(&Tensor::from_i64(vec![target.len()], target));
        self.add("Reshape", &[value, &target])
    }

    /// The element type of a value.
    ///
    /// # Errors
    /// It is no float type.
    pub(super) fn float_type(&self, value: &str) -> Result<DataType, String> {
        match self.types.get(value) {
            Some(&float @ (DataType::F32 | DataType::F16 | DataType::BF16)) => Ok(float),
            Some(other) => Err(format!("`{value}` is {other}, not a float tensor")),
            None => Err(format!("the element type of `{value}` is not known")),
        }
    }

    /// The value in float32.
    pub(super) fn as_f32(&mut self, value: &str) -> Result<String, String> {
        let from = self.float_type(value)?;
        if let Some(known) = self.casts.get(value) {
            return Ok(known.clone());
        }
        let cast = self.cast(value, from, DataType::F32);
        self.casts.insert(value.to_owned(), cast.clone());
        Ok(cast)
    }

    /// The value in another type; itself where that is its type.
    pub(super) fn cast(&mut self, value: &str, from: DataType, to: DataType) -> String {
        if from == to {
            return value.to_owned();
        }
        let cast = self.add("Cast", &[value]);
        let last = self.nodes.last_mut().expect("a node was just added");
        let to = attribute::int("to", i64::from(to.code()));
        last.attribute.push(to);
        cast
    }

    /// A value times the weights of its positions, in float32.
    pub(super) fn weighted(
        &mut self,
        value: &str,
        grid: Grid,
        weighting: Weighting,
    ) -> Result<String, String> {
        let value = self.as_f32(value)?;
        Ok(self.weighted_f32(&value, grid, weighting))
    }

    /// The same for a value that is float32 and may be one that the cut in the making adds.
    pub(super) fn weighted_f32(&mut self, value: &str, grid: Grid, weighting: Weighting) -> String {
        let weights = self.weights(grid);
        let by = match weighting {
            Weighting::Plain => self.weights[weights].map.clone(),
            Weighting::Root => {
                if let Some(root) = &self.weights[weights].root {
                    root.clone()
                } else {
                    let map = self.weights[weights].map.clone();
                    let root = self.add_first("Sqrt", &[&map]);
                    self.weights[weights].root = Some(root.clone());
                    root
                }
            }
        };
        self.add("Mul", &[value, &by])
    }

    /// A value with axes in another order.
    pub(super) fn transpose(&mut self, value: &str, perm: &[i64]) -> String {
        let transposed = self.add("Transpose", &[value]);
        let last = self.nodes.last_mut().expect("a node was just added");
        last.attribute.push(attribute::ints("perm", perm));
        transposed
    }

    /// A value in float32, with another number at all positions outside of the core.
    pub(super) fn masked(
        &mut self,
        value: &str,
        grid: Grid,
        outside: f32,
    ) -> Result<String, String> {
        let value = self.as_f32(value)?;
        let weights = self.weights(grid);
        let inside = if let Some(inside) = &self.weights[weights].inside {
            inside.clone()
        } else {
            let map = self.weights[weights].map.clone();
            let zero = self.constant(&Tensor::from_f32(vec![], &[0.0]));
            let inside = self.add_first("Greater", &[&map, &zero]);
            self.weights[weights].inside = Some(inside.clone());
            inside
        };
        let outside = self.constant(&Tensor::from_f32(vec![], &[outside]));
        Ok(self.add("Where", &[&inside, &value, &outside]))
    }

    /// Makes a float32 value an output of the graph, and adds the input that stands for the same of the whole image. Returns the
    /// name of the input.
    pub(super) fn statistic(
        &mut self,
        id: NodeId,
        merge: Merge,
        output: &str,
        dims: Vec<usize>,
    ) -> String {
        let index = self.contract.statistics.len();
        let input = self.names.fresh("sweep", &format!(".in.{index}"));
        let named = self.names.fresh("sweep", &format!(".out.{index}"));
        self.nodes
            .push(node("Identity", &named, &[output], &[&named]));
        self.contract.statistics.push(SweptStatistic {
            node: self.graph.path(id),
            input: input.clone(),
            output: named,
            dims,
            merge,
            level: 0,
        });
        input
    }

    /// Position that the next statistic will have.
    pub(super) fn next_statistic(&self) -> usize {
        self.contract.statistics.len()
    }

    /// `swept` where the switch is on, `own` where it is off.
    pub(super) fn choose(&mut self, swept: &str, own: &str) -> String {
        let switched = self.switched();
        self.add("Where", &[&switched, swept, own])
    }

    /// Renames what a node computes, and gives its old name to the choice between that and `swept`, which has the same type.
    pub(super) fn replace(&mut self, id: NodeId, swept: &str) -> Result<(), String> {
        let output = super::output(self.graph, id)?.to_owned();
        let own = self.names.fresh("sweep", ".own");
        self.patch.edit_node(self.graph, id).output[0].clone_from(&own);
        let switched = self.switched();
        let name = self.names.fresh("sweep", ".Where");
        self.nodes
            .push(node("Where", &name, &[&switched, swept, &own], &[&output]));
        Ok(())
    }

    /// Adds a node whose output has this name, which nothing else defines any more.
    pub(super) fn define(&mut self, op: &str, inputs: &[&str], output: &str) {
        let name = self.names.fresh("sweep", &format!(".{op}"));
        self.nodes.push(node(op, &name, inputs, &[output]));
    }

    /// Adds a conversion whose output has this name.
    pub(super) fn define_cast(&mut self, value: &str, to: DataType, output: &str) {
        self.define("Cast", &[value], output);
        let last = self.nodes.last_mut().expect("a node was just added");
        last.attribute
            .push(attribute::int("to", i64::from(to.code())));
    }

    /// Removes a node.
    pub(super) fn remove(&mut self, id: NodeId) {
        self.patch.remove_node(id);
    }

    /// Puts the nodes of the cut behind a node.
    pub(super) fn place_after(&mut self, id: NodeId) {
        for node in std::mem::take(&mut self.nodes) {
            self.patch.insert_after(id, node);
        }
        // A cast stands where the value was first cut, which need not be before the next place.
        self.casts.clear();
    }

    /// Forgets the cut in the making.
    pub(super) fn abandon(&mut self) {
        self.nodes.clear();
        self.casts.clear();
    }

    fn switched(&mut self) -> String {
        if let Some(known) = &self.switched {
            return known.clone();
        }
        let half = self.constant(&Tensor::from_f32(vec![], &[0.5]));
        let switch = self.contract.switch.clone();
        let switched = self.add_first("Greater", &[&switch, &half]);
        self.switched = Some(switched.clone());
        switched
    }

    fn add_first(&mut self, op: &str, inputs: &[&str]) -> String {
        let output = self.names.fresh("sweep", &format!(".{op}"));
        self.first.push(node(op, &output, inputs, &[&output]));
        output
    }

    /// The weights for values on this grid; their position in the list.
    fn weights(&mut self, grid: Grid) -> usize {
        if let Some(known) = self.weights.iter().position(|w| w.grid == grid) {
            return known;
        }
        let map = match grid.layout {
            Layout::Separate => {
                let names = &mut self.names;
                let input = names.fresh(
                    "sweep",
                    &format!(".weights.{}", self.contract.weights.len()),
                );
                self.contract.weights.push(WeightMap {
                    input: input.clone(),
                    positions: grid.positions,
                    pixels: grid.pixels,
                });
                input
            }
            Layout::Merged => {
                let separate = self.weights(Grid {
                    layout: Layout::Separate,
                    ..grid
                });
                let map = self.weights[separate].map.clone();
                let target = self.constant(&Tensor::from_i64(vec![2], &[1, -1]));
                self.add_first("Reshape", &[&map, &target])
            }
        };
        self.weights.push(Weights {
            grid,
            map,
            root: None,
            inside: None,
        });
        self.weights.len() - 1
    }
}
