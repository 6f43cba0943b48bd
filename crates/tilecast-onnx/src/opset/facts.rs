//! What is known of the values of a model before its opset is raised.

use std::collections::HashMap;

use crate::graph::subgraphs;
use crate::proto::{GraphProto, NodeProto, TensorProto};
use crate::{DataType, Graph, Tensor, declared_extents, infer_shapes, infer_types};

/// Constants, element types and dimensions by name, of a graph and of those nested in it.
pub(super) struct Facts<'a> {
    /// `None` where two scopes use the name, so that it says nothing.
    constants: HashMap<&'a str, Option<Constant<'a>>>,
    types: HashMap<&'a str, DataType>,
    dims: HashMap<&'a str, Vec<Option<usize>>>,
}

#[derive(Clone, Copy)]
enum Constant<'a> {
    Initializer(&'a TensorProto),
    Node(&'a NodeProto),
}

impl<'a> Facts<'a> {
    /// Collects the facts of a main graph.
    pub(super) fn of(main: &'a GraphProto) -> Self {
        let mut facts = Self {
            constants: HashMap::new(),
            types: HashMap::new(),
            dims: HashMap::new(),
        };
        let index = Graph::new(main);
        if let Ok(shapes) = infer_shapes(&index, &[]) {
            for name in main.node.iter().flat_map(|n| &n.output) {
                if let Some(dims) = shapes.shape(name) {
                    let dims = dims.iter().copied().map(Some).collect();
                    facts.dims.insert(name, dims);
                }
            }
        }
        let mut pending = vec![main];
        while let Some(graph) = pending.pop() {
            facts.types.extend(infer_types(&Graph::new(graph)));
            facts.add(graph);
            pending.extend(graph.node.iter().flat_map(subgraphs));
        }
        facts
    }

    fn add(&mut self, graph: &'a GraphProto) {
        let values = graph.input.iter().chain(&graph.output);
        for value in values.chain(&graph.value_info) {
            if let (Some(name), Some(dims)) = (value.name.as_deref(), declared_extents(value)) {
                self.dims.entry(name).or_insert(dims);
            }
        }
        for tensor in &graph.initializer {
            let name = tensor.name.as_deref().unwrap_or_default();
            let dims = tensor.dims.iter().map(|&d| usize::try_from(d).ok());
            self.dims.insert(name, dims.collect());
            self.add_constant(name, Constant::Initializer(tensor));
        }
        for node in graph.node.iter().filter(|node| node.is("Constant")) {
            if let Some(name) = node.output_name(0) {
                self.add_constant(name, Constant::Node(node));
            }
        }
        // A caller may feed another value than the initializer of the same name.
        for input in &graph.input {
            self.constants
                .insert(input.name.as_deref().unwrap_or_default(), None);
        }
    }

    fn add_constant(&mut self, name: &'a str, constant: Constant<'a>) {
        self.constants
            .entry(name)
            .and_modify(|known| *known = None)
            .or_insert(Some(constant));
    }

    /// The value, if it is constant and readable.
    pub(super) fn constant(&self, name: &str) -> Option<Tensor> {
        match (*self.constants.get(name)?)? {
            Constant::Initializer(tensor) => Tensor::from_proto(tensor).ok(),
            Constant::Node(node) => node.constant_value().ok()?,
        }
    }

    /// Element type of a value.
    pub(super) fn data_type(&self, name: &str) -> Option<DataType> {
        self.types.get(name).copied()
    }

    /// Dimensions of a value, `None` where they are not fixed.
    pub(super) fn dims(&self, name: &str) -> Option<&[Option<usize>]> {
        self.dims.get(name).map(Vec::as_slice)
    }
}
