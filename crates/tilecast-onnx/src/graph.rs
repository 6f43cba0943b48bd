//! An indexed, read-only view of a graph: who produces a value, who consumes it, what is constant.
//!
//! ONNX links nodes by value names, and this crate keeps it so: a name is the one identity that survives load, rewrite
//! and save. The index is rebuilt after a patch is applied; building it is linear in the graph.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::proto::{GraphProto, NodeProto, TensorProto};
use crate::{Tensor, TensorError};

/// Position of a node in `GraphProto.node`; valid until the graph is patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// One use of a value: input `slot` of `node`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Use {
    /// The consumer.
    pub node: NodeId,
    /// Which of its inputs; `None` where a subgraph of the consumer captures the value by name.
    pub slot: Option<usize>,
}

/// The index of one graph.
#[derive(Debug)]
pub struct Graph<'a> {
    proto: &'a GraphProto,
    producers: HashMap<&'a str, (NodeId, usize)>,
    uses: HashMap<&'a str, Vec<Use>>,
    initializers: HashMap<&'a str, &'a TensorProto>,
    inputs: HashSet<&'a str>,
    outputs: HashSet<&'a str>,
}

impl<'a> Graph<'a> {
    /// Builds the index. Where a broken graph defines a name twice the first definition wins; [`crate::verify`] reports it.
    #[must_use]
    pub fn new(proto: &'a GraphProto) -> Self {
        let mut producers = HashMap::with_capacity(proto.node.len());
        let mut uses: HashMap<&str, Vec<Use>> = HashMap::with_capacity(proto.node.len());
        for (index, node) in proto.node.iter().enumerate() {
            let id = NodeId(index);
            for (slot, name) in node
                .output
                .iter()
                .enumerate()
                .filter(|(_, name)| !name.is_empty())
            {
                producers.entry(name.as_str()).or_insert((id, slot));
            }
            for (slot, name) in node
                .input
                .iter()
                .enumerate()
                .filter(|(_, name)| !name.is_empty())
            {
                uses.entry(name).or_default().push(Use {
                    node: id,
                    slot: Some(slot),
                });
            }
            for subgraph in subgraphs(node) {
                for name in captured_names(subgraph) {
                    uses.entry(name).or_default().push(Use {
                        node: id,
                        slot: None,
                    });
                }
            }
        }
        let initializers = proto
            .initializer
            .iter()
            .filter_map(|t| t.name.as_deref().map(|name| (name, t)))
            .collect::<HashMap<_, _>>();
        let inputs = proto.input.iter().filter_map(|v| v.name.as_deref());
        let outputs = proto.output.iter().filter_map(|v| v.name.as_deref());
        Self {
            proto,
            producers,
            uses,
            initializers,
            inputs: inputs.collect(),
            outputs: outputs.collect(),
        }
    }

    /// The messages behind the index.
    #[must_use]
    pub fn proto(&self) -> &'a GraphProto {
        self.proto
    }

    /// Nodes in graph order.
    #[must_use]
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &'a NodeProto)> + use<'a> {
        self.proto
            .node
            .iter()
            .enumerate()
            .map(|(index, node)| (NodeId(index), node))
    }

    /// The node with this id.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &'a NodeProto {
        &self.proto.node[id.0]
    }

    /// The node that computes a value, and which of its outputs it is.
    #[must_use]
    pub fn producer(&self, value: &str) -> Option<(NodeId, usize)> {
        self.producers.get(value).copied()
    }

    /// The node that computes a value.
    #[must_use]
    pub fn producer_node(&self, value: &str) -> Option<&'a NodeProto> {
        self.producer(value).map(|(id, _)| self.node(id))
    }

    /// Uses of a value by nodes, in graph order; uses as a graph output are told by [`Graph::is_output`].
    #[must_use]
    pub fn uses(&self, value: &str) -> &[Use] {
        self.uses.get(value).map_or(&[], Vec::as_slice)
    }

    /// The only node that reads this value, where there is exactly one use and the value is no graph output.
    #[must_use]
    pub fn only_use(&self, value: &str) -> Option<Use> {
        match self.uses(value) {
            [only] if !self.is_output(value) => Some(*only),
            _ => None,
        }
    }

    /// Whether the value is an output of the graph.
    #[must_use]
    pub fn is_output(&self, value: &str) -> bool {
        self.outputs.contains(value)
    }

    /// Graph inputs that are not initializers: what a caller must feed.
    pub fn inputs(&self) -> impl Iterator<Item = &'a crate::proto::ValueInfoProto> + use<'a, '_> {
        let fed = |name: &str| !self.initializers.contains_key(name);
        self.proto
            .input
            .iter()
            .filter(move |v| v.name.as_deref().is_some_and(fed))
    }

    /// Whether a value is an initializer that a caller may replace, because it is a graph input too.
    ///
    /// That is so since IR version 4. Before, every initializer had to be listed among the inputs, and runtimes take it for
    /// a constant.
    #[must_use]
    pub fn is_default_only(&self, value: &str, ir_version: i64) -> bool {
        const FIRST_IR_WITH_DEFAULTS: i64 = 4;
        ir_version >= FIRST_IR_WITH_DEFAULTS && self.inputs.contains(value)
    }

    /// The initializer message of this name.
    #[must_use]
    pub fn initializer(&self, value: &str) -> Option<&'a TensorProto> {
        self.initializers.get(value).copied()
    }

    /// The constant behind a value: an initializer or the value of a `Constant` node.
    ///
    /// # Errors
    /// The constant exists and its payload is damaged.
    pub fn constant(&self, value: &str) -> Result<Option<Tensor>, TensorError> {
        if let Some(proto) = self.initializer(value) {
            return Tensor::from_proto(proto).map(Some);
        }
        match self.producer_node(value) {
            Some(node) => node.constant_value(),
            None => Ok(None),
        }
    }

    /// Where a node is, for messages: `graph/node "name" (Op)`, or its index where it has no name.
    #[must_use]
    pub fn path(&self, id: NodeId) -> String {
        let graph = self.proto.name.as_deref().unwrap_or_default();
        node_path(&shortened(graph, MAX_NAME_CHARS), id.0, self.node(id))
    }
}

/// Names in paths are cut behind this many characters: a name may be as long as its file.
pub(crate) const MAX_NAME_CHARS: usize = 300;

/// `graph/node "name" (Op)`, with the node's index where it has no name. Overlong names are cut.
#[must_use]
pub fn node_path(graph: &str, index: usize, node: &NodeProto) -> String {
    let short = |name| shortened(name, MAX_NAME_CHARS);
    let op = match node.domain_name() {
        "" => short(node.op()),
        domain => format!("{}::{}", short(domain), short(node.op())).into(),
    };
    match node.label() {
        "" => format!("{graph}/node #{index} ({op})"),
        name => format!("{graph}/node \"{}\" ({op})", short(name)),
    }
}

/// The text, cut behind so many characters.
pub(crate) fn shortened(text: &str, max_chars: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// Graphs nested in a node's attributes.
pub(crate) fn subgraphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute
        .iter()
        .flat_map(|a| a.g.as_deref().into_iter().chain(&a.graphs))
}

/// Every name of a value, in the graph and in those nested in it.
pub(crate) fn value_names(graph: &GraphProto) -> HashSet<String> {
    let mut names = HashSet::new();
    let mut pending = vec![graph];
    while let Some(graph) = pending.pop() {
        let values = graph.input.iter().chain(&graph.output);
        names.extend(values.filter_map(|v| v.name.clone()));
        names.extend(graph.initializer.iter().filter_map(|t| t.name.clone()));
        for node in &graph.node {
            names.extend(node.input.iter().chain(&node.output).cloned());
            pending.extend(subgraphs(node));
        }
    }
    names
}

/// Names that a subgraph (and those nested in it) reads from outside itself, sorted.
///
/// A loop rather than a recursion: how deep graphs nest is the choice of whoever made the model.
fn captured_names(graph: &GraphProto) -> Vec<&str> {
    struct Scope<'a> {
        defined: HashSet<&'a str>,
        parent: Option<usize>,
    }
    let mut scopes: Vec<Scope<'_>> = Vec::new();
    let mut pending = vec![(graph, None)];
    let mut captured = Vec::new();
    while let Some((graph, parent)) = pending.pop() {
        let inputs = graph.input.iter().filter_map(|v| v.name.as_deref());
        let initializers = graph.initializer.iter().filter_map(|t| t.name.as_deref());
        let outputs = graph
            .node
            .iter()
            .flat_map(|n| &n.output)
            .map(String::as_str);
        let defined = inputs.chain(initializers).chain(outputs).collect();
        let current = scopes.len();
        scopes.push(Scope { defined, parent });
        let results = graph.output.iter().filter_map(|v| v.name.as_deref());
        let reads = graph.node.iter().flat_map(|n| &n.input).map(String::as_str);
        for name in results.chain(reads).filter(|name| !name.is_empty()) {
            let mut scope = Some(current);
            while let Some(index) = scope.filter(|&index| !scopes[index].defined.contains(name)) {
                scope = scopes[index].parent;
            }
            if scope.is_none() {
                captured.push(name);
            }
        }
        let nested = graph.node.iter().flat_map(subgraphs);
        pending.extend(nested.map(|graph| (graph, Some(current))));
    }
    captured.sort_unstable();
    captured.dedup();
    captured
}
