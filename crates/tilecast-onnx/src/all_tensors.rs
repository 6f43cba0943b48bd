//! Every tensor message of a model, wherever it nests: initializers, attributes, subgraphs, functions, training graphs.

use crate::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, SparseTensorProto,
    TensorProto,
};

/// Defines one collector for shared and one for exclusive references; both visit in the same order.
macro_rules! collector {
    ($module:ident, $doc:literal, [$($mutable:tt)?], $iter:ident, $as_deref:ident, $as_ref:ident) => {
        mod $module {
            use super::{
                AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto,
            };

            type Found<'a> = Vec<(&'a str, &'a $($mutable)? TensorProto)>;

            #[doc = $doc]
            pub(crate) fn $module(model: &$($mutable)? ModelProto) -> Found<'_> {
                let mut found = Vec::new();
                let model = &$($mutable)? model.fields;
                if let Some(graph) = model.graph.$as_ref() {
                    in_graph(graph, &mut found);
                }
                for FunctionProto { fields, .. } in model.functions.$iter() {
                    in_nodes(&$($mutable)? fields.node, &mut found);
                    in_attributes("", &$($mutable)? fields.attribute_proto, &mut found);
                }
                for training in model.training_info.$iter() {
                    let training = &$($mutable)? training.fields;
                    for graph in training.initialization.$iter().chain(training.algorithm.$iter()) {
                        in_graph(graph, &mut found);
                    }
                }
                found
            }

            fn in_graph<'a>(graph: &'a $($mutable)? GraphProto, found: &mut Found<'a>) {
                let graph = &$($mutable)? graph.fields;
                in_nodes(&$($mutable)? graph.node, found);
                found.extend(graph.initializer.$iter().map(|tensor| ("", tensor)));
                graph.sparse_initializer.$iter().for_each(|sparse| in_sparse("", sparse, found));
            }

            fn in_nodes<'a>(nodes: &'a $($mutable)? [NodeProto], found: &mut Found<'a>) {
                for NodeProto { fields, .. } in nodes {
                    let label = fields.name.as_deref().filter(|name| !name.is_empty());
                    let owner = label.or(fields.output.first().map(String::as_str)).unwrap_or_default();
                    in_attributes(owner, &$($mutable)? fields.attribute, found);
                }
            }

            fn in_attributes<'a>(owner: &'a str, attributes: &'a $($mutable)? [AttributeProto], found: &mut Found<'a>) {
                for AttributeProto { fields, .. } in attributes {
                    found.extend(fields.t.$as_deref().map(|tensor| (owner, tensor)));
                    found.extend(fields.tensors.$iter().map(|tensor| (owner, tensor)));
                    fields.g.$as_deref().into_iter().for_each(|graph| in_graph(graph, found));
                    fields.graphs.$iter().for_each(|graph| in_graph(graph, found));
                    fields.sparse_tensor.$as_deref().into_iter().for_each(|sparse| in_sparse(owner, sparse, found));
                    fields.sparse_tensors.$iter().for_each(|sparse| in_sparse(owner, sparse, found));
                }
            }

            fn in_sparse<'a>(owner: &'a str, sparse: &'a $($mutable)? SparseTensorProto, found: &mut Found<'a>) {
                let sparse = &$($mutable)? sparse.fields;
                found.extend(sparse.values.$iter().chain(sparse.indices.$iter()).map(|tensor| (owner, tensor)));
            }
        }
        pub(crate) use $module::$module;
    };
}

collector!(
    all_tensors,
    "Every tensor, each with the name of the node whose attribute it is; empty for initializers.",
    [],
    iter,
    as_deref,
    as_ref
);
collector!(
    all_tensors_mut,
    "As [`super::all_tensors`], in the same order.",
    [mut],
    iter_mut,
    as_deref_mut,
    as_mut
);
