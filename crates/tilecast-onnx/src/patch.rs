//! How a graph is changed: a pass proposes a [`Patch`], the driver applies it.
//!
//! Everything that a patch does not name stays as it was, message by message.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::proto::{
    DimValue, Dimension, DimensionFields, GraphProto, NodeProto, OperatorSetIdFields,
    OperatorSetIdProto, TensorProto, TensorShapeFields, TensorShapeProto, TensorType,
    TensorTypeFields, TypeFields, TypeProto, TypeValue, ValueInfoFields, ValueInfoProto,
};
use crate::{Model, NodeId, Tensor, Violation, verify};

/// A set of edits to one graph, in terms of the node ids that the graph had when the patch was made.
#[derive(Clone, Debug, Default)]
pub struct Patch {
    removed: BTreeSet<NodeId>,
    replaced: BTreeMap<NodeId, NodeProto>,
    before: BTreeMap<NodeId, Vec<NodeProto>>,
    after: BTreeMap<NodeId, Vec<NodeProto>>,
    at_end: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    removed_initializers: BTreeSet<String>,
    removed_inputs: BTreeSet<String>,
    added_inputs: Vec<ValueInfoProto>,
    added_outputs: Vec<ValueInfoProto>,
    redirected_outputs: BTreeMap<String, String>,
    strips_metadata: bool,
    value_types: BTreeMap<String, Option<crate::DataType>>,
    recorded: BTreeMap<String, ValueInfoProto>,
    declared: BTreeMap<String, Vec<(usize, DimValue)>>,
    forgets_values: bool,
    opset: Option<i64>,
    ir_version: Option<i64>,
}

/// A patch that would have broken the model; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("the rewritten graph is invalid: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct ApplyError(pub Vec<Violation>);

impl Patch {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty()
            && self.replaced.is_empty()
            && self.before.is_empty()
            && self.after.is_empty()
            && self.at_end.is_empty()
            && self.initializers.is_empty()
            && self.removed_initializers.is_empty()
            && self.removed_inputs.is_empty()
            && self.added_inputs.is_empty()
            && self.added_outputs.is_empty()
            && self.redirected_outputs.is_empty()
            && !self.strips_metadata
            && self.value_types.is_empty()
            && self.recorded.is_empty()
            && self.declared.is_empty()
            && !self.forgets_values
    }

    /// Removes a node.
    pub fn remove_node(&mut self, id: NodeId) {
        self.removed.insert(id);
    }

    /// The node as the patch leaves it so far, for editing in place.
    pub fn edit_node<'a>(&'a mut self, graph: &crate::Graph<'_>, id: NodeId) -> &'a mut NodeProto {
        self.replaced
            .entry(id)
            .or_insert_with(|| graph.node(id).clone())
    }

    /// Inserts a node directly before another; several keep the order in which they were added.
    pub fn insert_before(&mut self, id: NodeId, node: NodeProto) {
        self.before.entry(id).or_default().push(node);
    }

    /// Inserts a node directly after another; several keep the order in which they were added.
    pub fn insert_after(&mut self, id: NodeId, node: NodeProto) {
        self.after.entry(id).or_default().push(node);
    }

    /// Inserts a node before the first one of the graph: for what reads only graph inputs and initializers.
    pub fn insert_first(&mut self, node: NodeProto) {
        self.insert_before(NodeId(0), node);
    }

    /// Appends a node behind all others.
    pub fn append(&mut self, node: NodeProto) {
        self.at_end.push(node);
    }

    /// Adds an initializer, or replaces the one of the same name in its place.
    pub fn set_initializer(&mut self, name: &str, tensor: &Tensor) {
        self.initializers.push(tensor.to_proto(name));
    }

    /// As [`Patch::set_initializer`], for a message that holds its own name.
    pub fn set_initializer_message(&mut self, message: TensorProto) {
        self.initializers.push(message);
    }

    /// Removes an initializer.
    pub fn remove_initializer(&mut self, name: &str) {
        self.removed_initializers.insert(name.to_owned());
    }

    /// Removes a graph input. One that is an initializer too stays a constant of the graph.
    pub fn remove_input(&mut self, name: &str) {
        self.removed_inputs.insert(name.to_owned());
    }

    /// Adds a graph input behind the others.
    pub fn add_input(&mut self, input: ValueInfoProto) {
        self.added_inputs.push(input);
    }

    /// Adds a graph output behind the others.
    pub fn add_output(&mut self, output: ValueInfoProto) {
        self.added_outputs.push(output);
    }

    /// Drops documentation strings and metadata of the graph, its nodes, values and initializers, and of graphs inside nodes,
    /// and recorded types and shapes that follow from standard operators. What the model itself says in `metadata_props`
    /// stays: programs read it.
    pub fn strip_metadata(&mut self) {
        self.strips_metadata = true;
    }

    /// Makes another value the graph output that `name` was. For graphs inside nodes, whose outputs are known by position;
    /// the outputs of a model keep their names.
    pub fn redirect_output(&mut self, name: &str, to: &str) {
        self.redirected_outputs
            .insert(name.to_owned(), to.to_owned());
    }

    /// Corrects the recorded element type of a value (`value_info`, graph inputs and outputs); `None` drops a
    /// `value_info` that no longer holds.
    pub fn set_value_type(&mut self, name: &str, data_type: Option<crate::DataType>) {
        self.value_types.insert(name.to_owned(), data_type);
    }

    /// Records type and shape of a value that a node computes (`value_info`), in the place of what was recorded before.
    pub fn record_value(&mut self, name: &str, data_type: crate::DataType, dims: Vec<DimValue>) {
        let value = value_info(name, data_type, dims);
        self.recorded.insert(name.to_owned(), value);
    }

    /// Declares dimensions of a graph input or output anew, by axis. An axis that it does not have is left out.
    pub fn declare_dims(&mut self, name: &str, dims: &[(usize, DimValue)]) {
        self.declared.insert(name.to_owned(), dims.to_vec());
    }

    /// Removes what is recorded of values that nodes compute (`value_info`), other than what this patch records.
    pub fn forget_values(&mut self) {
        self.forgets_values = true;
    }

    /// Raises the default domain's opset version to at least this; the caller answers for the operators between.
    pub fn require_opset(&mut self, version: i64, ir_version: i64) {
        self.opset = self.opset.max(Some(version));
        self.ir_version = self.ir_version.max(Some(ir_version));
    }

    /// Applies the patch and verifies the result.
    ///
    /// # Errors
    /// Every violation of the patched model, which is then discarded: `model` is unchanged.
    pub fn apply(self, model: &mut Model) -> Result<(), ApplyError> {
        let mut proto = model.proto().clone();
        if let Some(version) = self.opset {
            raise_opset(&mut proto.opset_import, version);
        }
        if let Some(version) = self.ir_version {
            proto.ir_version = proto.ir_version.max(Some(version));
        }
        if self.strips_metadata {
            proto.doc_string = None;
        }
        if let Some(graph) = proto.graph.as_mut() {
            self.apply_to(graph);
        }
        let violations = verify(&proto);
        if !violations.is_empty() {
            return Err(ApplyError(violations));
        }
        *model.proto_mut() = proto;
        Ok(())
    }

    /// Applies the patch to a graph inside a node, or to one that is verified later. What it asks of the opset is left to
    /// the model's own patch.
    pub fn apply_to(mut self, graph: &mut GraphProto) {
        let old_nodes = std::mem::take(&mut graph.node);
        let mut nodes = Vec::with_capacity(old_nodes.len());
        for (index, node) in old_nodes.into_iter().enumerate() {
            let id = NodeId(index);
            nodes.extend(self.before.remove(&id).unwrap_or_default());
            if !self.removed.contains(&id) {
                nodes.push(self.replaced.remove(&id).unwrap_or(node));
            }
            nodes.extend(self.after.remove(&id).unwrap_or_default());
        }
        nodes.extend(self.at_end);
        graph.node = nodes;

        graph.initializer.retain(|t| {
            !self
                .removed_initializers
                .contains(t.name.as_deref().unwrap_or_default())
        });
        let mut places: HashMap<Option<String>, usize> = graph
            .initializer
            .iter()
            .enumerate()
            .map(|(place, tensor)| (tensor.name.clone(), place))
            .collect();
        for tensor in self.initializers {
            let place = *places
                .entry(tensor.name.clone())
                .or_insert(graph.initializer.len());
            match graph.initializer.get_mut(place) {
                Some(slot) => *slot = tensor,
                None => graph.initializer.push(tensor),
            }
        }

        if self.strips_metadata {
            strip_metadata(graph);
        }
        let graph = &mut graph.fields;
        for output in &mut graph.output {
            let name = output.name.as_deref().unwrap_or_default();
            if let Some(to) = self.redirected_outputs.get(name) {
                output.name = Some(to.clone());
            }
        }
        graph.input.retain(|v| {
            !self
                .removed_inputs
                .contains(v.name.as_deref().unwrap_or_default())
        });
        graph.input.append(&mut self.added_inputs);
        graph.output.append(&mut self.added_outputs);
        let defined: HashSet<&str> = graph
            .node
            .iter()
            .flat_map(|n| &n.output)
            .map(String::as_str)
            .collect();
        graph.value_info.retain(|v| {
            let name = v.name.as_deref().unwrap_or_default();
            let holds = defined.contains(name)
                && self.value_types.get(name) != Some(&None)
                && !self.forgets_values;
            holds && !self.recorded.contains_key(name)
        });
        graph.value_info.extend(self.recorded.values().cloned());
        for value in graph.input.iter_mut().chain(&mut graph.output) {
            let declared = self.declared.get(value.name.as_deref().unwrap_or_default());
            if let Some(declared) = declared
                && let Some(crate::proto::TypeValue::Tensor(tensor)) =
                    value.r#type.as_mut().and_then(|t| t.value.as_mut())
                && let Some(shape) = tensor.shape.as_mut()
            {
                for (axis, dim) in declared {
                    if let Some(place) = shape.dim.get_mut(*axis) {
                        place.value = Some(dim.clone());
                    }
                }
            }
        }
        for value in graph
            .value_info
            .iter_mut()
            .chain(&mut graph.input)
            .chain(&mut graph.output)
        {
            let Some(Some(data_type)) = self
                .value_types
                .get(value.name.as_deref().unwrap_or_default())
            else {
                continue;
            };
            if let Some(crate::proto::TypeValue::Tensor(tensor)) =
                value.r#type.as_mut().and_then(|t| t.value.as_mut())
            {
                tensor.elem_type = Some(data_type.code());
            }
        }
    }
}

/// A tensor by name, element type and shape, sizes as numbers or names: for graph inputs and outputs, and for
/// `value_info`.
#[must_use]
pub fn value_info(name: &str, data_type: crate::DataType, dims: Vec<DimValue>) -> ValueInfoProto {
    let dim = dims.into_iter().map(|value| {
        Dimension::from(DimensionFields {
            value: Some(value),
            ..DimensionFields::default()
        })
    });
    let shape = TensorShapeProto::from(TensorShapeFields { dim: dim.collect() });
    let tensor = TensorType::from(TensorTypeFields {
        elem_type: Some(data_type.code()),
        shape: Some(shape),
    });
    ValueInfoProto::from(ValueInfoFields {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto::from(TypeFields {
            value: Some(TypeValue::Tensor(tensor)),
            ..TypeFields::default()
        })),
        ..ValueInfoFields::default()
    })
}

fn strip_metadata(graph: &mut GraphProto) {
    let graph = &mut graph.fields;
    graph.doc_string = None;
    graph.metadata_props.clear();
    let standard: HashSet<&str> = graph
        .node
        .iter()
        .filter(|node| node.domain_name().is_empty())
        .flat_map(|node| node.output.iter().map(String::as_str))
        .collect();
    graph
        .value_info
        .retain(|v| !standard.contains(v.name.as_deref().unwrap_or_default()));
    let values = graph.value_info.iter_mut().chain(&mut graph.input);
    for value in values.chain(&mut graph.output) {
        value.doc_string = None;
        value.metadata_props.clear();
    }
    for tensor in &mut graph.initializer {
        tensor.doc_string = None;
        tensor.metadata_props.clear();
    }
    for node in &mut graph.node {
        node.doc_string = None;
        node.metadata_props.clear();
        for attribute in &mut node.attribute {
            attribute.doc_string = None;
            let bodies = attribute.fields.g.as_deref_mut().into_iter();
            bodies
                .chain(&mut attribute.fields.graphs)
                .for_each(strip_metadata);
        }
    }
}

pub(crate) fn raise_opset(imports: &mut Vec<OperatorSetIdProto>, version: i64) {
    let default =
        |i: &&mut OperatorSetIdProto| matches!(i.domain.as_deref(), None | Some("" | "ai.onnx"));
    match imports.iter_mut().find(default) {
        Some(import) => import.version = import.version.max(Some(version)),
        None => imports.push(OperatorSetIdProto::from(OperatorSetIdFields {
            domain: None,
            version: Some(version),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node;
    use std::path::Path;

    fn sample() -> Model {
        Model::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/srvgg-x2.onnx"))
            .unwrap()
    }

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let mut model = sample();
        let before = model.clone();
        let mut patch = Patch::default();
        patch.insert_before(
            NodeId(1),
            node("Identity", "id", &["/body/body.0/Conv_output_0"], &["copy"]),
        );
        patch.edit_node(&before.graph(), NodeId(1)).input[0] = "copy".into();
        patch.apply(&mut model).unwrap();
        assert_eq!(
            model.graph_proto().node.len(),
            before.graph_proto().node.len() + 1
        );
        assert_eq!(model.graph_proto().node[1].op(), "Identity");
        assert_eq!(model.graph_proto().node[2].input[0], "copy");
        assert_eq!(
            model.graph_proto().node[3..],
            before.graph_proto().node[2..]
        );
        assert_eq!(
            model.graph_proto().initializer,
            before.graph_proto().initializer
        );
    }

    #[test]
    fn a_patch_that_breaks_the_graph_is_refused_and_changes_nothing() {
        let mut model = sample();
        let before = model.to_bytes();
        let mut patch = Patch::default();
        patch.remove_node(NodeId(0));
        let error = patch.apply(&mut model).unwrap_err().to_string();
        assert!(error.contains("is produced nowhere"), "{error}");
        assert!(model.to_bytes() == before);
    }

    #[test]
    fn an_initializer_is_replaced_in_its_place() {
        let mut model = sample();
        let name = model.graph_proto().initializer[1].name.clone().unwrap();
        let n = model.graph_proto().initializer.len();
        let mut patch = Patch::default();
        patch.set_initializer(&name, &Tensor::from_f32(vec![1], &[2.0]));
        patch.apply(&mut model).unwrap();
        assert_eq!(model.graph_proto().initializer.len(), n);
        assert_eq!(model.graph_proto().initializer[1].dims, [1]);
    }
}
