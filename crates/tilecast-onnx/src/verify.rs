//! What makes a model invalid: every violation, each with the path of its node.

use std::collections::HashSet;
use std::fmt;

use crate::graph::{MAX_NAME_CHARS, node_path, shortened, subgraphs};
use crate::proto::{FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto};
use crate::{DataType, Tensor};

/// One way in which a model breaks the ONNX specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// `graph/node "name" (Op)`, or the graph or model itself.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Graphs that nest deeper than this are refused. Decoding stops earlier; a model built in memory has no other limit.
const MAX_NESTING: usize = 48;

/// No more violations than this are collected, and no message is longer: a report must not outgrow a hostile file.
const MAX_REPORTED: usize = 1000;
const MAX_MESSAGE_CHARS: usize = 600;

/// All violations of a model: structure, names, order of nodes, payload sizes. Empty for a valid model; a thousand at
/// most.
///
/// Operator signatures are not checked here: shape and type inference do that where they meet the operator. The
/// payloads of strings, and of external data that was not opened, are not checked either.
#[must_use]
pub fn verify(model: &ModelProto) -> Vec<Violation> {
    let mut verifier = Verifier {
        domains: domains(&model.opset_import),
        local_functions: model
            .functions
            .iter()
            .map(|f| {
                (
                    f.domain.as_deref().unwrap_or_default(),
                    f.name.as_deref().unwrap_or_default(),
                )
            })
            .collect(),
        found: Vec::new(),
    };
    if model.opset_import.is_empty() {
        verifier.report(
            "model",
            "no opset_import; the file is truncated or not an ONNX model",
        );
    }
    match &model.graph {
        None => verifier.report(
            "model",
            "no graph; the file is truncated or not an ONNX model",
        ),
        Some(graph) => {
            let name = graph.name.as_deref().unwrap_or_default();
            verifier.graph(graph, &shortened(name, MAX_NAME_CHARS), &[]);
        }
    }
    for function in &model.functions {
        verifier.function(function);
    }
    verifier.found
}

fn domains(imports: &[OperatorSetIdProto]) -> HashSet<&str> {
    let domains = imports.iter().map(|i| i.domain.as_deref());
    domains.map(Option::unwrap_or_default).collect()
}

struct Verifier<'a> {
    domains: HashSet<&'a str>,
    local_functions: HashSet<(&'a str, &'a str)>,
    found: Vec<Violation>,
}

impl<'a> Verifier<'a> {
    fn report(&mut self, path: &str, message: impl Into<String>) {
        if self.found.len() < MAX_REPORTED {
            self.found.push(Violation {
                path: path.to_owned(),
                message: shortened(&message.into(), MAX_MESSAGE_CHARS).into_owned(),
            });
        }
    }

    /// `outer` holds the scopes around a subgraph, innermost last.
    fn graph(&mut self, graph: &'a GraphProto, path: &str, outer: &[&HashSet<&'a str>]) {
        if outer.len() > MAX_NESTING {
            self.report(
                path,
                format!("graphs nest deeper than {MAX_NESTING} levels"),
            );
            return;
        }
        let mut scope: HashSet<&str> = HashSet::new();
        let inputs = graph.input.iter().map(|v| v.name.as_deref());
        self.inputs(inputs, path, &mut scope);
        self.initializers(graph, path, &mut scope);
        self.nodes(&graph.node, path, &mut scope, outer);
        if graph.output.is_empty() {
            self.report(path, "the graph has no output");
        }
        for output in &graph.output {
            let name = output.name.as_deref().unwrap_or_default();
            if !scope.contains(name) && !outer.iter().any(|s| s.contains(name)) {
                self.report(path, format!("graph output `{name}` is produced nowhere"));
            }
        }
    }

    /// The body of a function imports operator sets of its own and sees nothing of the graphs that call it.
    fn function(&mut self, function: &'a FunctionProto) {
        let name = function.name.as_deref().unwrap_or_default();
        let path = format!("function {}", shortened(name, MAX_NAME_CHARS));
        let of_model = std::mem::replace(&mut self.domains, domains(&function.opset_import));
        let mut scope: HashSet<&str> = HashSet::new();
        let inputs = function.input.iter().map(|name| Some(name.as_str()));
        self.inputs(inputs, &path, &mut scope);
        self.nodes(&function.node, &path, &mut scope, &[]);
        for name in &function.output {
            if !scope.contains(name.as_str()) {
                self.report(&path, format!("output `{name}` is produced nowhere"));
            }
        }
        self.domains = of_model;
    }

    fn inputs(
        &mut self,
        names: impl Iterator<Item = Option<&'a str>>,
        path: &str,
        scope: &mut HashSet<&'a str>,
    ) {
        for name in names {
            match name {
                None | Some("") => self.report(path, "an input has no name"),
                Some(name) if !scope.insert(name) => {
                    self.report(path, format!("input `{name}` is there twice"));
                }
                Some(_) => {}
            }
        }
    }

    fn nodes(
        &mut self,
        nodes: &'a [NodeProto],
        path: &str,
        scope: &mut HashSet<&'a str>,
        outer: &[&HashSet<&'a str>],
    ) {
        let all_outputs: HashSet<&str> = nodes
            .iter()
            .flat_map(|n| &n.output)
            .map(String::as_str)
            .collect();
        for (index, node) in nodes.iter().enumerate() {
            let path = node_path(path, index, node);
            self.operator(node, &path);
            for (slot, name) in node
                .input
                .iter()
                .enumerate()
                .filter(|(_, name)| !name.is_empty())
            {
                let known = scope.contains(name.as_str())
                    || outer.iter().any(|s| s.contains(name.as_str()));
                if !known && all_outputs.contains(name.as_str()) {
                    self.report(
                        &path,
                        format!("input {slot} `{name}` is produced by this or a later node: nodes are out of order or form a cycle"),
                    );
                } else if !known {
                    self.report(&path, format!("input {slot} `{name}` is produced nowhere"));
                }
            }
            for subgraph in subgraphs(node) {
                let nested: Vec<_> = outer.iter().copied().chain([&*scope]).collect();
                let name = subgraph.name.as_deref().unwrap_or_default();
                let name = format!("{path}/{}", shortened(name, MAX_NAME_CHARS));
                self.graph(subgraph, &name, &nested);
            }
            for name in node.output.iter().filter(|name| !name.is_empty()) {
                if !scope.insert(name) {
                    self.report(
                        &path,
                        format!("output `{name}` is already the name of another value"),
                    );
                }
            }
        }
    }

    fn initializers(&mut self, graph: &'a GraphProto, path: &str, scope: &mut HashSet<&'a str>) {
        let mut names = HashSet::new();
        for tensor in &graph.initializer {
            let name = tensor.name.as_deref().unwrap_or_default();
            if name.is_empty() {
                self.report(path, "an initializer has no name");
            } else if !names.insert(name) {
                self.report(path, format!("initializer `{name}` is there twice"));
            }
            scope.insert(name);
            // Strings and unopened files are kept as they are; what uses them refuses them where it cannot.
            let kept = tensor.is_external() && tensor.external.byte_len().is_none()
                || tensor.data_type == Some(DataType::String.code());
            if let (false, Err(error)) = (kept, Tensor::check(tensor)) {
                self.report(path, error.to_string());
            }
        }
        for sparse in &graph.sparse_initializer {
            if let Some(name) = sparse.values.as_ref().and_then(|v| v.name.as_deref()) {
                scope.insert(name);
            }
        }
    }

    fn operator(&mut self, node: &NodeProto, path: &str) {
        if node.op().is_empty() {
            self.report(path, "the node names no operator");
        }
        let domain = node.domain_name();
        let imported = self.domains.contains(domain)
            || (domain.is_empty() && self.domains.contains("ai.onnx"));
        if !imported && !self.local_functions.contains(&(domain, node.op())) {
            self.report(path, format!("domain `{domain}` is not in opset_import"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node;
    use crate::proto::{
        GraphFields, ModelFields, OperatorSetIdFields, OperatorSetIdProto, TensorProto,
        ValueInfoFields, ValueInfoProto,
    };

    fn value(name: &str) -> ValueInfoProto {
        ValueInfoProto::from(ValueInfoFields {
            name: Some(name.into()),
            ..ValueInfoFields::default()
        })
    }

    fn model(nodes: Vec<NodeProto>, initializers: Vec<TensorProto>) -> ModelProto {
        ModelProto::from(ModelFields {
            opset_import: vec![OperatorSetIdProto::from(OperatorSetIdFields {
                domain: None,
                version: Some(17),
            })],
            graph: Some(GraphProto::from(GraphFields {
                name: Some("g".into()),
                input: vec![value("x")],
                output: vec![value("y")],
                node: nodes,
                initializer: initializers,
                ..GraphFields::default()
            })),
            ..ModelFields::default()
        })
    }

    #[test]
    fn a_valid_graph_has_no_violation() {
        assert_eq!(
            verify(&model(vec![node("Relu", "r", &["x"], &["y"])], vec![])),
            []
        );
    }

    #[test]
    fn every_violation_is_reported_with_its_node() {
        let mut damaged = Tensor::from_f32(vec![2], &[1.0, 2.0]).to_proto("w");
        damaged.dims = vec![3];
        let mut foreign = node("Magic", "m", &["x"], &["z"]);
        foreign.domain = Some("com.example".into());
        for (nodes, initializers, expected) in [
            (
                vec![node("Relu", "r", &["nope"], &["y"])],
                vec![],
                "g/node \"r\" (Relu): input 0 `nope` is produced nowhere",
            ),
            (
                vec![
                    node("Relu", "a", &["b"], &["y"]),
                    node("Relu", "", &["y"], &["b"]),
                ],
                vec![],
                "g/node \"a\" (Relu): input 0 `b` is produced by this or a later node: nodes are out of order or form a cycle",
            ),
            (
                vec![
                    node("Relu", "a", &["x"], &["y"]),
                    node("Abs", "", &["x"], &["y"]),
                ],
                vec![],
                "g/node #1 (Abs): output `y` is already the name of another value",
            ),
            (
                vec![node("Relu", "r", &["x"], &["z"])],
                vec![],
                "g: graph output `y` is produced nowhere",
            ),
            (
                vec![node("", "r", &["x"], &["y"])],
                vec![],
                "g/node \"r\" (): the node names no operator",
            ),
            (
                vec![node("Relu", "r", &["x"], &["y"])],
                vec![damaged],
                "g: tensor `w`: payload has 8 bytes, float32 [3] needs 12; the file is damaged",
            ),
            (
                vec![node("Relu", "r", &["x"], &["y"]), foreign],
                vec![],
                "g/node \"m\" (com.example::Magic): domain `com.example` is not in opset_import",
            ),
        ] {
            let found: Vec<String> = verify(&model(nodes, initializers))
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, [expected]);
        }
    }

    #[test]
    fn an_empty_file_is_no_model() {
        assert_eq!(verify(&ModelProto::default()).len(), 2);
    }
}
