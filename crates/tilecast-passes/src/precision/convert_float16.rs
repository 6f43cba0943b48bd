//! FP16: the nodes that the plan gives FP16 compute in it, with casts only where precisions meet.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tilecast_onnx::proto::NodeProto;
use tilecast_onnx::{
    DataType, Graph, NodeId, Patch, Tensor, TypeMap, attribute, infer_types, node,
};
use tilecast_quant::HalfFormat;

use crate::names::FreshNames;
use crate::plan::stays_float32;
use crate::{Numerics, Outcome, Pass, PassContext, PassError, PassMeta, Precision, PrecisionPlan};

/// The pass's fixed facts.
pub(crate) const META: PassMeta = PassMeta {
    id: "convert_float16",
    summary: "compute in FP16 where the plan says so, keeping the types of graph inputs and outputs",
    numerics: Numerics::Lossy,
    explanation: "\
**What it does.** Values between FP16 nodes become float16, constants are stored in float16, and a Cast stands where an
FP16 node meets a float32 one or the graph's border: one per value and direction, shared by all readers. A constant that
both precisions read is kept once in each.

**Why.** Half the bytes, and GPUs compute in FP16. Precision is a matter of types: the rewrite follows the inferred type
of every value, so scales of Resize stay float32, Cast and ConstantOfShape change their attribute, and integer work is
left alone.

**Preconditions.** Every float value has an inferred type, and no node has a subgraph.

**Numerics.** Lossy; measured by the pipeline with rounding after every node. Values beyond 65504 become infinite.

**References.** IEEE 754-2019 binary16; ONNX operator type constraints.",
};

/// Converts nodes to FP16; see the pass's explanation.
#[derive(Clone, Debug)]
pub struct ConvertFloat16<'a> {
    /// Which nodes become FP16.
    pub plan: &'a PrecisionPlan,
}

impl Pass for ConvertFloat16<'_> {
    fn meta(&self) -> &'static PassMeta {
        &META
    }

    fn run(&self, graph: &Graph<'_>, _: &mut PassContext) -> Result<Outcome, PassError> {
        if let Some((id, _)) = graph
            .nodes()
            .find(|(_, n)| n.attribute.iter().any(|a| a.g.is_some()))
        {
            return Err(PassError::at(
                &META,
                &graph.path(id),
                "subgraphs are not supported in FP16 yet",
            ));
        }
        let halves: BTreeSet<NodeId> = graph
            .nodes()
            .filter(|(_, node)| self.plan.is(node.output_name(0), Precision::Fp16))
            .map(|(id, _)| id)
            .collect();
        if halves.is_empty() {
            return Ok(Outcome::Unchanged);
        }
        let mut rewrite = Rewrite {
            graph,
            types: infer_types(graph),
            halves,
            names: FreshNames::of(graph),
            patch: Patch::default(),
            narrowed: HashMap::new(),
            constants: BTreeMap::new(),
        };
        rewrite.produce_half_outputs()?;
        rewrite.read_half_inputs();
        rewrite.store_constants();
        Ok(Outcome::Rewrite(Box::new(rewrite.patch)))
    }
}

/// Which precisions read a constant, and where.
#[derive(Default)]
struct ConstantReaders {
    half: Vec<(NodeId, usize)>,
    single: bool,
}

struct Rewrite<'a, 'g> {
    graph: &'a Graph<'g>,
    types: TypeMap<'g>,
    halves: BTreeSet<NodeId>,
    names: FreshNames,
    patch: Patch,
    /// FP16 name per float32 value that was cast down.
    narrowed: HashMap<&'g str, String>,
    constants: BTreeMap<&'g str, ConstantReaders>,
}

impl<'g> Rewrite<'_, 'g> {
    fn is_float(&self, value: &str) -> bool {
        self.types.get(value) == Some(&DataType::F32)
    }

    /// Outputs of FP16 nodes become float16; float32 readers and graph outputs get a cast back.
    fn produce_half_outputs(&mut self) -> Result<(), PassError> {
        for id in self.halves.clone() {
            let node = self.graph.node(id);
            let makes_floats = node.output_name(0).is_some_and(|v| self.is_float(v));
            if let Some(attribute) = typed_attribute(node).filter(|_| makes_floats) {
                *self.patch.edit_node(self.graph, id) = to_half(node, attribute)
                    .map_err(|reason| PassError::at(&META, &self.graph.path(id), reason))?;
            }
            for slot in 0..node.output.len() {
                let Some(value) = node.output_name(slot).filter(|v| self.is_float(v)) else {
                    continue;
                };
                self.patch.set_value_type(value, Some(DataType::F16));
                let is_output = self.graph.is_output(value);
                let single_readers: Vec<_> = self
                    .graph
                    .uses(value)
                    .iter()
                    .copied()
                    .filter(|u| self.reads_single(u.node, u.slot))
                    .collect();
                if is_output {
                    self.patch.set_value_type(value, Some(DataType::F32));
                    let half = self.names.fresh(value, "_fp16");
                    self.patch.edit_node(self.graph, id).output[slot].clone_from(&half);
                    self.insert_cast(Some(id), &half, value, DataType::F32);
                    for u in self.graph.uses(value) {
                        if let (Some(slot), true) = (u.slot, self.halves.contains(&u.node)) {
                            self.patch.edit_node(self.graph, u.node).input[slot].clone_from(&half);
                        }
                    }
                } else if !single_readers.is_empty() {
                    let single = self.names.fresh(value, "_fp32");
                    self.insert_cast(Some(id), value, &single, DataType::F32);
                    for u in single_readers {
                        let Some(slot) = u.slot else { continue };
                        self.patch.edit_node(self.graph, u.node).input[slot].clone_from(&single);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether this use wants float32.
    fn reads_single(&self, reader: NodeId, slot: Option<usize>) -> bool {
        let fixed = slot.is_some_and(|slot| stays_float32(self.graph.node(reader).op(), slot));
        fixed || !self.halves.contains(&reader)
    }

    /// Inputs of FP16 nodes that nothing has made float16 yet: constants, graph inputs, results of float32 nodes.
    fn read_half_inputs(&mut self) {
        for (id, node) in self.graph.nodes() {
            for slot in 0..node.input.len() {
                let Some(value) = node.input_name(slot).filter(|v| self.is_float(v)) else {
                    continue;
                };
                let single = self.reads_single(id, Some(slot));
                let producer = self.graph.producer(value).map(|p| p.0);
                let constant = self.graph.initializer(value).is_some()
                    || producer.is_some_and(|p| self.graph.node(p).is("Constant"));
                if constant {
                    let readers = self.constants.entry(value).or_default();
                    if single {
                        readers.single = true;
                    } else {
                        readers.half.push((id, slot));
                    }
                } else if !single && !producer.is_some_and(|p| self.halves.contains(&p)) {
                    let half = self.narrow(value, producer);
                    self.patch.edit_node(self.graph, id).input[slot] = half;
                }
            }
        }
    }

    /// The float16 form of a float32 value, cast once directly behind its producer.
    fn narrow(&mut self, value: &'g str, producer: Option<NodeId>) -> String {
        if let Some(done) = self.narrowed.get(value) {
            return done.clone();
        }
        let half = self.names.fresh(value, "_fp16");
        self.insert_cast(producer, value, &half, DataType::F16);
        self.narrowed.insert(value, half.clone());
        half
    }

    fn insert_cast(&mut self, behind: Option<NodeId>, from: &str, to: &str, data_type: DataType) {
        let name = self.names.fresh(to, "_Cast");
        let cast = node("Cast", &name, &[from], &[to])
            .with_attribute(attribute::int("to", i64::from(data_type.code())));
        match behind {
            Some(id) => self.patch.insert_after(id, cast),
            None => self.patch.insert_first(cast),
        }
    }

    /// Constants that only FP16 nodes read change in place; the others get a second copy.
    fn store_constants(&mut self) {
        for (value, readers) in std::mem::take(&mut self.constants) {
            if readers.half.is_empty() {
                continue;
            }
            let Ok(Some(tensor)) = self.graph.constant(value) else {
                continue;
            };
            let Some(values) = tensor.to_f32_vec() else {
                continue;
            };
            let half = Tensor::from_raw(
                DataType::F16,
                tensor.dims().to_vec(),
                HalfFormat::F16.to_bytes(&values).into(),
            )
            .expect("two bytes per element");
            let keep_single = readers.single || self.graph.is_output(value);
            if keep_single {
                let name = self.names.fresh(value, "_fp16");
                self.patch.set_initializer(&name, &half);
                for (id, slot) in readers.half {
                    self.patch.edit_node(self.graph, id).input[slot].clone_from(&name);
                }
            } else if self.graph.initializer(value).is_some() {
                self.patch.set_initializer(value, &half);
                self.patch.set_value_type(value, Some(DataType::F16));
            } else if let Some((producer, _)) = self.graph.producer(value) {
                self.patch.edit_node(self.graph, producer).attribute =
                    vec![attribute::tensor("value", &half)];
                self.patch.set_value_type(value, Some(DataType::F16));
            }
        }
    }
}

/// The attribute of this operator that names or holds its output type.
fn typed_attribute(node: &NodeProto) -> Option<&'static str> {
    match node.op() {
        "Cast" => Some("to"),
        "ConstantOfShape" => Some("value"),
        "RandomNormal" | "RandomUniform" | "RandomNormalLike" | "RandomUniformLike" | "EyeLike" => {
            Some("dtype")
        }
        _ => None,
    }
}

/// The node with float16 in that attribute.
fn to_half(node: &NodeProto, name: &'static str) -> Result<NodeProto, String> {
    let replacement = if name == "value" {
        let fill = match node.find_attribute(name).and_then(|a| a.t.as_deref()) {
            Some(proto) => Tensor::from_proto(proto)
                .map_err(|e| e.to_string())?
                .to_f32_vec()
                .unwrap_or_default(),
            None => vec![0.0],
        };
        let half = Tensor::from_raw(
            DataType::F16,
            vec![1],
            HalfFormat::F16.to_bytes(&fill).into(),
        )
        .map_err(|e| e.to_string())?;
        attribute::tensor(name, &half)
    } else {
        attribute::int(name, i64::from(DataType::F16.code()))
    };
    let mut node = node.clone();
    node.attribute.retain(|a| a.name.as_deref() != Some(name));
    Ok(node.with_attribute(replacement))
}
