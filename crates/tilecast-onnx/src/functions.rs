//! Replacing calls of model-local functions by the functions' nodes.
//!
//! A function sees its arguments and nothing else. Its body refers to attributes of the call by name
//! (`ref_attr_name`); where the call leaves one out, the function may have a default. The values of a body get names that
//! begin with the name of the call, so that the same function can be inlined often.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use prost::Message;

use crate::graph::{MAX_NAME_CHARS, node_path, shortened, value_names};
use crate::opset::means_the_same;
use crate::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
};
use crate::{Model, node, verify};

/// Functions that call functions go no deeper than this.
const MAX_CALL_DEPTH: usize = 64;

/// Functions that call each other twice grow as a power of their number; no real model comes near this many nodes.
const MAX_NODES: usize = 1 << 18;

/// Encoded size of all copies of function bodies; a body may hold names as long as its file.
const MAX_COPIED_BYTES: usize = 512 << 20;

/// Why the functions of a model could not be inlined. The model is as it was.
#[derive(Debug, thiserror::Error)]
#[error("cannot inline functions: {path}: {reason}")]
pub struct InlineError {
    path: String,
    reason: String,
}

/// Replaces every call of a model-local function, in subgraphs and in other functions too, and removes the functions.
/// Returns the number of calls replaced.
///
/// # Errors
/// A function that calls itself or nests too deeply, a call with more arguments than the function has, or a function
/// whose operators mean something else in the model's opset.
pub fn inline_functions(model: &mut Model) -> Result<usize, InlineError> {
    let fail = |path: &str, reason: String| InlineError {
        path: path.to_owned(),
        reason,
    };
    if model.proto().functions.is_empty() {
        return Ok(0);
    }
    let mut after = model.proto().clone();
    let functions = std::mem::take(&mut after.functions);
    let mut inliner = Inliner {
        functions: functions.iter().map(|f| (key_of(f), f)).collect(),
        imports: &model.proto().opset_import,
        used_names: value_names(model.graph_proto()),
        prefixes: HashMap::new(),
        called: Vec::new(),
        n_calls: 0,
        n_nodes: 0,
        n_copied_bytes: 0,
        domains: BTreeSet::new(),
    };
    if let Some(graph) = after.graph.as_mut() {
        let path = graph.name.clone().unwrap_or_default();
        inliner.graph(graph, &path)?;
    }
    let Inliner {
        n_calls, domains, ..
    } = inliner;
    update_imports(&mut after, &functions, &domains)?;
    if let Some(violation) = verify(&after).first() {
        return Err(fail(&violation.path, violation.message.clone()));
    }
    *model.proto_mut() = after;
    Ok(n_calls)
}

/// Domain, name and overload.
type Key<'a> = (&'a str, &'a str, &'a str);

fn key_of(function: &FunctionProto) -> Key<'_> {
    (
        canonical(function.domain.as_deref().unwrap_or_default()),
        function.name.as_deref().unwrap_or_default(),
        function.overload.as_deref().unwrap_or_default(),
    )
}

fn canonical(domain: &str) -> &str {
    match domain {
        "ai.onnx" => "",
        domain => domain,
    }
}

fn version_in(imports: &[OperatorSetIdProto], domain: &str) -> Option<i64> {
    let same =
        |i: &&OperatorSetIdProto| canonical(i.domain.as_deref().unwrap_or_default()) == domain;
    Some(imports.iter().find(same)?.version.unwrap_or(1))
}

/// Imports what inlined nodes need, and no longer the domains that held nothing but functions.
fn update_imports(
    model: &mut ModelProto,
    functions: &[FunctionProto],
    used_domains: &BTreeSet<String>,
) -> Result<(), InlineError> {
    for domain in used_domains {
        if version_in(&model.opset_import, domain).is_some() {
            continue;
        }
        let import = functions
            .iter()
            .flat_map(|f| &f.opset_import)
            .find(|i| canonical(i.domain.as_deref().unwrap_or_default()) == domain);
        let import = import.ok_or_else(|| InlineError {
            path: "model".into(),
            reason: format!("domain `{domain}` is not in opset_import"),
        })?;
        model.opset_import.push(import.clone());
    }
    let of_functions: HashSet<&str> = functions.iter().map(|f| key_of(f).0).collect();
    model.opset_import.retain(|import| {
        let domain = canonical(import.domain.as_deref().unwrap_or_default());
        domain.is_empty() || !of_functions.contains(domain) || used_domains.contains(domain)
    });
    Ok(())
}

struct Inliner<'a> {
    functions: HashMap<Key<'a>, &'a FunctionProto>,
    imports: &'a [OperatorSetIdProto],
    used_names: HashSet<String>,
    /// How often each prefix was given out.
    prefixes: HashMap<String, usize>,
    /// The functions that are being expanded, outermost first.
    called: Vec<&'a FunctionProto>,
    n_calls: usize,
    n_nodes: usize,
    n_copied_bytes: usize,
    /// Of the operators that remain.
    domains: BTreeSet<String>,
}

impl<'a> Inliner<'a> {
    fn graph(&mut self, graph: &mut GraphProto, path: &str) -> Result<(), InlineError> {
        let nodes = std::mem::take(&mut graph.node);
        graph.node = self.nodes(nodes, path)?;
        Ok(())
    }

    fn nodes(&mut self, nodes: Vec<NodeProto>, path: &str) -> Result<Vec<NodeProto>, InlineError> {
        let mut expanded = Vec::with_capacity(nodes.len());
        for (index, mut node) in nodes.into_iter().enumerate() {
            let path = node_path(path, index, &node);
            let fail = |reason: String| InlineError {
                path: path.clone(),
                reason,
            };
            self.n_nodes += 1;
            if self.n_nodes > MAX_NODES {
                return Err(fail(format!("the model grows beyond {MAX_NODES} nodes")));
            }
            for attribute in &mut node.attribute {
                let attribute = &mut attribute.fields;
                for graph in attribute
                    .g
                    .as_deref_mut()
                    .into_iter()
                    .chain(&mut attribute.graphs)
                {
                    let name = graph.name.as_deref().unwrap_or_default();
                    let path = format!("{path}/{}", shortened(name, MAX_NAME_CHARS));
                    self.graph(graph, &path)?;
                }
            }
            let overload = node.overload.as_deref().unwrap_or_default();
            let key = (node.domain_name(), node.op(), overload);
            let Some(&function) = self.functions.get(&key) else {
                self.domains.insert(node.domain_name().to_owned());
                expanded.push(node);
                continue;
            };
            if self
                .called
                .iter()
                .any(|outer| std::ptr::eq(*outer, function))
            {
                return Err(fail("the function calls itself".into()));
            }
            if self.called.len() == MAX_CALL_DEPTH {
                return Err(fail(format!(
                    "calls nest deeper than {MAX_CALL_DEPTH} levels"
                )));
            }
            self.check_opsets(function).map_err(fail)?;
            let body = self.body(&node, function).map_err(fail)?;
            self.n_calls += 1;
            self.called.push(function);
            expanded.extend(self.nodes(body, &path)?);
            self.called.pop();
        }
        Ok(expanded)
    }

    /// A function may import other versions than the model, as long as its operators mean the same in both.
    fn check_opsets(&self, function: &FunctionProto) -> Result<(), String> {
        for import in &function.opset_import {
            let domain = canonical(import.domain.as_deref().unwrap_or_default());
            let (Some(of_model), of_function) = (
                version_in(self.imports, domain),
                import.version.unwrap_or(1),
            ) else {
                continue;
            };
            let differs = |operator: &str| {
                of_model != of_function
                    && !(domain.is_empty() && means_the_same(operator, of_function, of_model))
            };
            let mut pending: Vec<&NodeProto> = function.node.iter().collect();
            while let Some(node) = pending.pop() {
                if node.domain_name() == domain && differs(node.op()) {
                    return Err(format!(
                        "the function's `{}` is of opset {of_function} of domain `{domain}`, the model has {of_model}; export the model again with inlined functions",
                        node.op()
                    ));
                }
                pending.extend(crate::graph::subgraphs(node).flat_map(|g| &g.node));
            }
        }
        Ok(())
    }

    /// The nodes of a function for one call.
    fn body(
        &mut self,
        call: &NodeProto,
        function: &'a FunctionProto,
    ) -> Result<Vec<NodeProto>, String> {
        for (kind, given, known) in [
            ("inputs", call.input.len(), function.input.len()),
            ("outputs", call.output.len(), function.output.len()),
        ] {
            if given > known {
                return Err(format!(
                    "{given} {kind} are given, the function has {known}"
                ));
            }
        }
        let prefix = self.prefix(call);
        let mut names: Names<'a> = BTreeMap::new();
        for (slot, formal) in function.input.iter().enumerate() {
            let actual = call.input_name(slot).unwrap_or_default();
            names.insert(formal, actual.to_owned());
        }
        let mut copies = Vec::new();
        for (slot, formal) in function.output.iter().enumerate() {
            let Some(actual) = call.output_name(slot) else {
                continue;
            };
            // An output that is an input too, or that is there twice, has a name already.
            if let Some(known) = names.get(formal.as_str()) {
                copies.push(node("Identity", "", &[known], &[actual]));
            } else {
                names.insert(formal, actual.to_owned());
            }
        }
        let mut body = Vec::with_capacity(function.node.len() + copies.len());
        for inner in &function.node {
            self.define(inner.output.iter().map(String::as_str), &prefix, &mut names);
            self.n_copied_bytes += inner.encoded_len();
            if self.n_copied_bytes > MAX_COPIED_BYTES {
                let limit = MAX_COPIED_BYTES >> 20;
                return Err(format!("the model grows beyond {limit} MiB"));
            }
            let mut inner = inner.clone();
            self.rename(&mut inner, &names, &prefix);
            body.push(inner);
        }
        substitute_attributes(&mut body, call, function);
        body.extend(copies);
        Ok(body)
    }

    /// A beginning of names that no other call uses.
    fn prefix(&mut self, call: &NodeProto) -> String {
        let base = match call.label() {
            "" => call.op(),
            label => label,
        };
        let base = shortened(base, MAX_NAME_CHARS).into_owned();
        let count = self.prefixes.entry(base.clone()).or_default();
        *count += 1;
        match *count {
            1 => base,
            count => format!("{base}_{count}"),
        }
    }

    /// Gives new names to the values that a body or one of its subgraphs defines.
    fn define<'n>(
        &mut self,
        defined: impl Iterator<Item = &'n str>,
        prefix: &str,
        names: &mut Names<'n>,
    ) {
        for name in defined.filter(|name| !name.is_empty()) {
            if names.contains_key(name) {
                continue;
            }
            let base = format!("{prefix}/{name}");
            let mut unique = base.clone();
            let mut count = 1;
            while !self.used_names.insert(unique.clone()) {
                count += 1;
                unique = format!("{base}_{count}");
            }
            names.insert(name, unique);
        }
    }

    fn rename(&mut self, node: &mut NodeProto, names: &Names<'_>, prefix: &str) {
        if !node.label().is_empty() {
            node.name = Some(format!("{prefix}/{}", node.label()));
        }
        let NodeProto { fields, .. } = node;
        for name in fields.input.iter_mut().chain(&mut fields.output) {
            replace(name, names);
        }
        for AttributeProto { fields, .. } in &mut fields.attribute {
            for graph in fields
                .g
                .as_deref_mut()
                .into_iter()
                .chain(&mut fields.graphs)
            {
                self.rename_graph(graph, names, prefix);
            }
        }
    }

    fn rename_graph(&mut self, graph: &mut GraphProto, outer: &Names<'_>, prefix: &str) {
        let original = graph.clone();
        let mut names: Names<'_> = BTreeMap::new();
        let inputs = original.input.iter().filter_map(|v| v.name.as_deref());
        let initializers = original
            .initializer
            .iter()
            .filter_map(|t| t.name.as_deref());
        let sparse = original.sparse_initializer.iter();
        let sparse = sparse.filter_map(|s| s.values.as_ref()?.name.as_deref());
        let outputs = original
            .node
            .iter()
            .flat_map(|n| &n.output)
            .map(String::as_str);
        let defined = inputs.chain(initializers).chain(sparse).chain(outputs);
        self.define(defined, prefix, &mut names);
        for (name, new) in outer {
            names.entry(name).or_insert_with(|| new.clone());
        }
        let graph = &mut graph.fields;
        let values = graph.input.iter_mut().chain(&mut graph.output);
        for value in values.chain(&mut graph.value_info) {
            value.name.iter_mut().for_each(|name| replace(name, &names));
        }
        let sparse = graph.sparse_initializer.iter_mut();
        let sparse = sparse.filter_map(|s| s.fields.values.as_mut());
        for tensor in graph.initializer.iter_mut().chain(sparse) {
            tensor
                .name
                .iter_mut()
                .for_each(|name| replace(name, &names));
        }
        for node in &mut graph.node {
            self.rename(node, &names, prefix);
        }
    }
}

/// New names by old ones.
type Names<'n> = BTreeMap<&'n str, String>;

fn replace(name: &mut String, names: &Names<'_>) {
    if let Some(new) = names.get(name.as_str()) {
        name.clone_from(new);
    }
}

/// Fills references to attributes of the function from the call, then from the defaults. What neither has is left out,
/// as an optional attribute is.
fn substitute_attributes(nodes: &mut [NodeProto], call: &NodeProto, function: &FunctionProto) {
    let value_of = |name: &str| {
        let default = || {
            let same = |a: &&AttributeProto| a.name.as_deref() == Some(name);
            function.attribute_proto.iter().find(same)
        };
        call.find_attribute(name).or_else(default)
    };
    for node in nodes {
        let attributes = std::mem::take(&mut node.attribute);
        for mut attribute in attributes {
            match attribute.ref_attr_name.as_deref() {
                None | Some("") => {
                    let inner = &mut attribute.fields;
                    for graph in inner.g.as_deref_mut().into_iter().chain(&mut inner.graphs) {
                        substitute_attributes(&mut graph.node, call, function);
                    }
                    node.attribute.push(attribute);
                }
                Some(reference) => {
                    if let Some(value) = value_of(reference) {
                        let mut value = value.clone();
                        value.name.clone_from(&attribute.name);
                        node.attribute.push(value);
                    }
                }
            }
        }
    }
}
